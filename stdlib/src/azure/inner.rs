//! What Azure hides inside its errors: the ones that say why.
//!
//! "See inner errors for details" helps nobody. The innermost errors are the ones that name a cause instead of pointing
//! to another error, and they are what a person reads behind the outer one.

use std::fmt;

use serde_json::{Map, Value};

use super::wire::shortened;

/// How many innermost errors are shown.
const SHOWN: usize = 3;
/// The longest of them.
const LENGTH: usize = 300;
/// Where services put errors inside errors, in any letter case.
const INSIDE: [&str; 5] = ["details", "error", "innererror", "errors", "errorEntity"];

/// What an error says by itself.
#[derive(Clone, Copy)]
pub(super) struct Outer<'a> {
    pub(super) code: Option<&'a str>,
    pub(super) message: Option<&'a str>,
}

/// The innermost errors of one of Azure's, on one line: at most three, and how many more there are.
#[derive(Debug)]
pub(super) struct InnerErrors {
    shown: Vec<String>,
    more: usize,
}

impl InnerErrors {
    /// Finds the innermost errors in what stands inside another, unless they only repeat that one.
    pub(super) fn of<'a>(outer: Outer<'_>, inside: impl Iterator<Item = &'a Value>) -> Option<Self> {
        let mut shown = Vec::new();
        for value in inside {
            collect(value, outer, &mut shown);
        }
        let more = shown.len().saturating_sub(SHOWN);
        shown.truncate(SHOWN);
        (!shown.is_empty()).then_some(InnerErrors { shown, more })
    }
}

impl fmt::Display for InnerErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join("; "))?;
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for InnerErrors {}

/// Adds the innermost errors of a value. Returns whether there was any error in it, a repetition included.
fn collect(value: &Value, outer: Outer<'_>, leaves: &mut Vec<String>) -> bool {
    let map = match value {
        Value::Array(items) => {
            return items.iter().fold(false, |any, item| collect(item, outer, leaves) | any);
        }
        Value::Object(map) => map,
        _ => return false,
    };
    let inside = INSIDE.iter().filter_map(|name| field(map, name));
    if inside.fold(false, |any, inner| collect(inner, outer, leaves) | any) {
        return true;
    }
    let code = field(map, "code").and_then(word).filter(|code| !code.is_empty());
    let message = field(map, "message").and_then(word).filter(|text| !text.trim().is_empty());
    let repeats = match (&code, &message) {
        (None, None) => return false,
        (_, Some(message)) => outer.message.is_some_and(|said| said.contains(message.trim())),
        (code, None) => code.as_deref() == outer.code,
    };
    let leaf = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (code, message) => code.or(message).unwrap_or_default(),
    };
    let leaf = shortened(&leaf, LENGTH);
    if !repeats && !leaves.contains(&leaf) {
        leaves.push(leaf);
    }
    true
}

/// Returns a field whose name may be spelled in any letter case.
pub(super) fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name)
        .or_else(|| map.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
        .filter(|v| !v.is_null())
}

/// Returns a text or a number as text.
pub(super) fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::error::ArmError;
    use super::*;

    fn shown(body: Value) -> String {
        let error = ArmError::read(&body).expect("an error");
        error.inner().map(|inner| inner.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_innermost_errors_are_found_wherever_services_put_them() {
        let see = |details: Value| json!({"error": {"code": "A", "message": "See inner errors for details.", "details": details}});
        let hidden =
            json!({"error": {"code": "DiskFull", "message": "no room on ClusterStorage"}}).to_string();
        let disk = "DiskFull: no room on ClusterStorage";
        for (body, says) in [
            (see(json!([{"code": "DiskFull", "message": "no room on ClusterStorage"}])), disk),
            (see(json!([{"code": "B", "message": hidden}])), disk),
            (
                see(
                    json!([{"code": "B", "message": "m", "details": [{"code": "DiskFull", "message": "no room on ClusterStorage"}]}]),
                ),
                disk,
            ),
            (
                json!({"Code": "A", "Message": "m", "Details": [{"Message": "m"}, {"Code": "A"},
                    {"ErrorEntity": {"Code": "DiskFull", "Message": "no room on ClusterStorage"}}]}),
                disk,
            ),
            (
                json!({"error": {"code": "A", "message": "m",
                    "innererror": {"code": "DiskFull", "message": "no room on ClusterStorage"}}}),
                disk,
            ),
            (see(json!([{"code": "One", "message": null}, {"message": "two"}])), "One; two"),
        ] {
            assert_eq!(shown(body.clone()), says, "{body}");
        }
    }

    #[test]
    fn three_are_shown_and_what_only_repeats_is_not() {
        let details: Vec<Value> = (1..=5).map(|n| json!({"code": format!("E{n}"), "message": "m"})).collect();
        let many = |message: &str| json!({"error": {"code": "A", "message": message, "details": details}});
        assert_eq!(shown(many("outer")), "E1: m; E2: m; E3: m; and 2 more");
        assert_eq!(shown(many("all of them say: m")), "");
        let twice = json!([{"code": "B", "message": "b"}, {"code": "B", "message": "b"}]);
        assert_eq!(shown(json!({"code": "A", "message": "outer", "details": twice})), "B: b");
        let policy = json!([{"type": "PolicyViolation", "info": {"policyAssignmentName": "x"}}]);
        assert_eq!(shown(json!({"code": "A", "message": "outer", "additionalInfo": policy})), "");
    }
}
