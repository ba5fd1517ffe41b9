//! The one strict border between script values and JSON.
//!
//! A script sees every value *as read back from the journal*, on the first run too, so that a first
//! run and a replay cannot differ. What JSON cannot hold is refused rather than turned into text.

use rhai::{Array, Dynamic, Map};
use serde_json::{Number, Value};

use crate::recorded::{escaped, unescaped};
use crate::value::SecretRef;

/// Turns a script's value into JSON.
///
/// # Errors
/// Names the part that JSON cannot hold, such as a function or a range.
pub(crate) fn to_json(value: &Dynamic) -> Result<Value, String> {
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = value.as_bool() {
        return Ok(Value::Bool(flag));
    }
    if let Ok(number) = value.as_int() {
        return Ok(Value::from(number));
    }
    if let Ok(number) = value.as_float() {
        return Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| format!("the number {number} has no end"));
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(Value::String(text.to_string()));
    }
    if let Ok(letter) = value.as_char() {
        return Ok(Value::String(letter.to_string()));
    }
    if let Ok(items) = value.as_array_ref() {
        let items = items.iter().enumerate();
        return items.map(|(n, item)| to_json(item).map_err(|e| format!("{e}, in item {n}"))).collect();
    }
    if let Ok(map) = value.as_map_ref() {
        let mut out = serde_json::Map::with_capacity(map.len());
        for (name, item) in map.iter() {
            let item = to_json(item).map_err(|e| format!("{e}, in `{name}`"))?;
            // A map is data whatever it looks like: only a secret is written as one.
            out.insert(escaped(name).unwrap_or_else(|| name.to_string()), item);
        }
        return Ok(Value::Object(out));
    }
    if let Some(secret) = value.clone().try_cast::<SecretRef>() {
        return Ok(serde_json::json!({ "$secret": secret.name }));
    }
    Err(format!("a {} cannot be passed on or kept", friendly(value.type_name())))
}

/// Turns JSON into a script's value.
///
/// # Errors
/// A whole number beyond 64 signed bits is refused rather than rounded.
pub(crate) fn from_json(value: &Value) -> Result<Dynamic, String> {
    Ok(match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(float)) if !number.is_u64() => float.into(),
            _ => return Err(format!("the number {number} is too large for a script")),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(from_json).collect::<Result<Array, _>>()?.into(),
        Value::Object(map) => match SecretRef::from_json(value) {
            Some(secret) => Dynamic::from(secret),
            None => {
                let mut out = Map::new();
                for (name, item) in map {
                    let name = unescaped(name).unwrap_or(name);
                    out.insert(name.into(), from_json(item)?);
                }
                out.into()
            }
        },
    })
}

/// Returns a Rhai type's name in a reader's words.
fn friendly(type_name: &str) -> &str {
    match type_name {
        "Fn" => "function",
        "timestamp" => "timestamp",
        "blob" => "blob of bytes",
        name if name.contains("Range") => "range",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::data;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e12f64..1e12).prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map("[a-z$]{1,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_survives_the_border(value in any_json()) {
            let value = data(value);
            let there = from_json(&value).expect("goes in");
            prop_assert_eq!(to_json(&there).expect("comes out"), value);
        }
    }

    #[test]
    fn what_json_cannot_hold_is_refused_by_name() {
        let engine = rhai::Engine::new();
        for (script, says) in [
            ("#{ a: [1, |x| x] }", "function"),
            ("0..3", "range"),
            ("timestamp()", "cannot be passed on"),
            ("blob(3)", "blob"),
            ("1.0 / 0.0", "no end"),
        ] {
            let value: Dynamic = engine.eval(script).expect(script);
            let error = to_json(&value).expect_err(script);
            assert!(error.contains(says), "{script}: {error}");
        }
        assert!(from_json(&json!(u64::MAX)).is_err());
    }

    #[test]
    fn a_map_that_looks_like_a_secret_is_a_map() {
        let mut map = Map::new();
        map.insert("$secret".into(), "env:PW".into());
        let json = to_json(&map.into()).unwrap();
        assert_eq!(json, json!({ "$$secret": "env:PW" }));
        let back = from_json(&json).unwrap();
        assert_eq!(back.as_map_ref().unwrap().keys().next().unwrap(), "$secret");
    }

    #[test]
    fn a_secret_stays_a_reference() {
        let json = json!({ "$secret": "env:PW" });
        let there = from_json(&json).unwrap();
        assert_eq!(to_json(&there).unwrap(), json);
    }
}
