//! Lists in pages.

use serde_json::{Value, json};

use super::Cx;
use crate::{arm_error::ArmError, http::Reply};

/// Returns how many entries the client wants on a page, when it says so.
pub(super) fn top(cx: &Cx<'_>) -> Result<Option<usize>, ArmError> {
    let Some(text) = cx.call.query("$top") else { return Ok(None) };
    match text.parse() {
        Ok(size @ 1..=1000) => Ok(Some(size)),
        _ => {
            let message =
                format!("The value '{text}' of the query parameter '$top' must be between 1 and 1000.");
            Err(ArmError::gateway(400, "InvalidQueryParameterValue", message))
        }
    }
}

/// Returns one page of a list. The token says where it starts; `gap:n` is an empty page before item n.
pub(super) fn page(cx: &Cx<'_>, mut all: Vec<Value>, size: usize) -> Reply {
    let token = cx.call.query("$skiptoken").unwrap_or("0");
    if let Some(rest) = token.strip_prefix("gap:") {
        return Reply::json(200, json!({"value": [], "nextLink": next_link(cx, rest)}));
    }
    let start = token.parse::<usize>().unwrap_or(usize::MAX).min(all.len());
    let mut rest = all.split_off(start);
    if rest.len() <= size {
        return Reply::json(200, json!({"value": rest}));
    }
    rest.truncate(size);
    let next = next_link(cx, &(start + size).to_string());
    Reply::json(200, json!({"value": rest, "nextLink": next}))
}

pub(super) fn next_link(cx: &Cx<'_>, token: &str) -> String {
    let mut link = format!("{}{}?api-version={}", cx.base, cx.call.path, cx.version);
    if let Some(filter) = cx.call.query("$filter") {
        link.push_str("&%24filter=");
        link.push_str(&filter.replace(' ', "%20").replace('\'', "%27"));
    }
    if let Some(top) = cx.call.query("$top") {
        link.push_str("&%24top=");
        link.push_str(top);
    }
    format!("{link}&%24skiptoken={}", token.replace(':', "%3A"))
}
