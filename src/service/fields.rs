//! The query of a request, read by the schema that describes it.

use serde::de::DeserializeOwned;
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::refusal::{Outcome, Refusal};

/// Reads a query into its type. `schema` is the one of that type, and says which texts are numbers and truths, and what may be given
/// more than once.
///
/// # Errors
/// 400, naming the field that is unknown, twice or not right.
pub(super) fn read<T: DeserializeOwned>(query: Option<&str>, schema: &Value) -> Outcome<T> {
    serde_json::from_value(Value::Object(named(query, schema)?))
        .map_err(|e| Refusal::bad(format!("the query is not right: {e}")))
}

fn named(query: Option<&str>, schema: &Value) -> Outcome<Map<String, Value>> {
    let mut map = Map::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decoded(name, true), decoded(value, true)) else {
            return Err(Refusal::bad("the query is not UTF-8"));
        };
        let Some(field) = schema["properties"].get(&name) else {
            return Err(Refusal::bad(format!("there is no query parameter `{}`", name.escape_debug())));
        };
        let is_list = is(field, "array");
        let value = typed(value, if is_list { &field["items"] } else { field })
            .ok_or_else(|| Refusal::bad(format!("the value of the query parameter `{name}` is not right")))?;
        match map.entry(&name) {
            Entry::Vacant(place) if is_list => _ = place.insert(Value::Array(vec![value])),
            Entry::Vacant(place) => _ = place.insert(value),
            Entry::Occupied(mut place) => match place.get_mut() {
                Value::Array(values) => values.push(value),
                _ => return Err(Refusal::bad(format!("the query parameter `{name}` is given twice"))),
            },
        }
    }
    Ok(map)
}

/// Returns whether a field may be of a type.
fn is(field: &Value, name: &str) -> bool {
    match &field["type"] {
        Value::Array(types) => types.iter().any(|one| one == name),
        one => one == name,
    }
}

fn typed(text: String, field: &Value) -> Option<Value> {
    if is(field, "integer") {
        let number = text.parse::<u64>().ok()?;
        let within = field["minimum"].as_u64().is_none_or(|least| number >= least)
            && field["maximum"].as_u64().is_none_or(|most| number <= most);
        return within.then(|| Value::from(number));
    }
    if is(field, "boolean") {
        return text.parse::<bool>().ok().map(Value::from);
    }
    Some(Value::String(text))
}

/// Decodes `%XX`, and `+` where a form is read. Nothing when an escape is none, or it is not UTF-8.
pub(super) fn decoded(text: &str, is_form: bool) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                out.push((digit()? * 16 + digit()?) as u8);
            }
            b'+' if is_form => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, PartialEq, Deserialize, schemars::JsonSchema)]
    struct Query {
        open: Option<bool>,
        limit: Option<u32>,
        name: Option<String>,
        #[serde(default)]
        label: Vec<String>,
    }

    fn query(text: &str) -> Result<Query, ()> {
        let schema = json!({ "properties": {
            "open": { "type": ["boolean", "null"] }, "limit": { "type": "integer", "minimum": 1, "maximum": 9 }, "name": { "type": "string" },
            "label": { "type": "array", "items": { "type": "string" } },
        }});
        read(Some(text), &schema).map_err(drop)
    }

    #[test]
    fn a_query_is_read_by_its_schema() {
        let read = query("open=true&limit=3&name=a%2Fb+c").unwrap();
        let name = Some("a/b c".to_owned());
        assert_eq!(read, Query { open: Some(true), limit: Some(3), name, label: Vec::new() });
        assert_eq!(query("label=a%3D1&open=true&label=b").unwrap().label, ["a=1", "b"]);
        assert_eq!(query("name=17").unwrap().name.as_deref(), Some("17"));
        for wrong in [
            "limit=x",
            "limit=-1",
            "limit=0",
            "limit=10",
            "open=1",
            "more=1",
            "limit=1&limit=2",
            "name=%ff",
            "name=%4",
        ] {
            assert!(query(wrong).is_err(), "{wrong}");
        }
    }
}
