//! Another spelling of the same answer, as different parts of Azure write it.

use serde_json::Value;

/// Lowers the case of ids, types and terminal words everywhere in an answer.
pub(super) fn respell(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(respell),
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| match value {
            Value::String(text) => respell_field(key, text),
            other => respell(other),
        }),
        _ => {}
    }
}

fn respell_field(key: &str, text: &mut String) {
    let is_id = text.starts_with("/subscriptions/") || text.starts_with("/providers/");
    if is_id {
        // Azure lowers the fixed words and the types but mostly keeps names; lowering all is the worst of it.
        *text = text.to_ascii_lowercase();
    } else if key == "type" {
        *text = text.to_ascii_lowercase();
    } else if key == "hostNodeName" {
        *text = text.to_ascii_uppercase();
    } else if matches!(key, "status" | "provisioningState") {
        *text = match text.as_str() {
            "Canceled" => "Cancelled".to_owned(),
            "Succeeded" | "Failed" | "Success" => text.to_ascii_lowercase(),
            _ => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_types_and_words_change() {
        let mut body = json!({"id": "/subscriptions/S/resourceGroups/G", "type": "A/B", "name": "Keep",
            "properties": {"provisioningState": "Succeeded", "steps": [{"status": "Canceled"}]}});
        respell(&mut body);
        let expected = json!({"id": "/subscriptions/s/resourcegroups/g", "type": "a/b", "name": "Keep",
            "properties": {"provisioningState": "succeeded", "steps": [{"status": "Cancelled"}]}});
        assert_eq!(body, expected);
    }
}
