//! Tags: the one thing that may be changed of a cluster and of an Arc machine.

use serde_json::Value;

pub(super) use crate::{arm_error::ArmError, world::Tags as Map};

use super::{Cx, body::Fields};

/// Reads the tags out of a body, when it has some.
pub(super) fn read(fields: &Fields<'_>) -> Result<Option<Map>, ArmError> {
    match fields.value("tags") {
        None => Ok(None),
        Some(Value::Object(tags)) if tags.values().all(Value::is_string) => Ok(Some(tags.clone())),
        Some(_) => Err(fields.wrong("tags", "must be an object of strings")),
    }
}

/// Returns the tags that a PUT or PATCH asks for, as `az resource tag` and `az resource update` send it: a PUT brings
/// the whole resource as it was read. Anything that the resource does not have is refused.
pub(super) fn desired(cx: &Cx<'_>, shown: &Value) -> Result<Map, ArmError> {
    let known = |value: &Value| -> Vec<String> {
        value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
    };
    let body = cx.json_body()?;
    let had = || shown["tags"].as_object().cloned().unwrap_or_default();
    if cx.call.method == "PATCH" {
        return Ok(read(&Fields::of(&body, "", &["tags"])?)?.unwrap_or_else(had));
    }
    let mut top = known(shown);
    top.push("tags".to_owned());
    let top: Vec<&str> = top.iter().map(String::as_str).collect();
    let fields = Fields::of(&body, "", &top)?;
    if fields.required_text("location")? != shown["location"] {
        return Err(fields.wrong("location", "cannot be changed"));
    }
    if let Some(properties) = fields.value("properties") {
        let inner = known(&shown["properties"]);
        Fields::of(properties, "properties", &inner.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(read(&fields)?.unwrap_or_default())
}
