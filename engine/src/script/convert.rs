//! The one strict border between script values and JSON.
//!
//! A script sees every value *as read back from the journal*, on the first run too, so that a first
//! run and a replay cannot differ. What JSON cannot hold is refused rather than turned into text.

use jiff::{SignedDuration, Timestamp};
use rhai::{Array, Dynamic, Map};
use serde_json::{Number, Value};

use crate::limits::DEPTH;
use crate::measure::{Room, deeper, too_large};
use crate::recorded::{Special, escaped, unescaped};
use crate::value::SecretRef;

/// Turns a script's value into JSON of the recorded form.
///
/// # Errors
/// Names the part that JSON cannot hold, such as a function or a range, and refuses what is nested too
/// deeply or too large to be read back.
pub(crate) fn to_json(value: &Dynamic) -> Result<Value, String> {
    write(value, DEPTH, &mut Room::default())
}

fn write(value: &Dynamic, depth: usize, room: &mut Room) -> Result<Value, String> {
    room.take(4)?;
    if let Ok(text) = value.as_immutable_string_ref() {
        room.take_text(&text)?;
        return Ok(Value::String(text.to_string()));
    }
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
    if let Ok(letter) = value.as_char() {
        return Ok(Value::String(letter.to_string()));
    }
    if let Ok(items) = value.as_array_ref() {
        let depth = deeper(depth)?;
        let items = items.iter().enumerate();
        return items
            .map(|(n, item)| write(item, depth, room).map_err(|e| placed(e, || format!("item {n}"))))
            .collect();
    }
    if let Ok(map) = value.as_map_ref() {
        let depth = deeper(depth)?;
        let mut out = serde_json::Map::with_capacity(map.len());
        for (name, item) in map.iter() {
            room.take_text(name)?;
            let item = write(item, depth, room).map_err(|e| placed(e, || format!("`{name}`")))?;
            // A map is data whatever it looks like: only a special value is written as one.
            out.insert(escaped(name).unwrap_or_else(|| name.to_string()), item);
        }
        return Ok(Value::Object(out));
    }
    special(value)
        .map(|special| special.write())
        .ok_or_else(|| format!("a {} cannot be passed on or kept", friendly(value.type_name())))
}

/// Says in which part of a value something is wrong. Only the innermost parts are named: the way into a
/// value may be long.
fn placed(mut error: String, part: impl FnOnce() -> String) -> String {
    const LONGEST: usize = 200;
    if error.len() < LONGEST {
        error = format!("{error}, in {}", part());
    }
    error
}

/// Returns the special value that a script holds, if it is one.
fn special(value: &Dynamic) -> Option<Special> {
    if let Some(time) = value.clone().try_cast::<Timestamp>() {
        return Some(Special::Time(time));
    }
    if let Some(duration) = value.clone().try_cast::<SignedDuration>() {
        return Some(Special::Duration(duration));
    }
    value.clone().try_cast::<SecretRef>().map(Special::Secret)
}

/// Returns a time, a duration or the name of a secret as a person reads it.
pub(super) fn shown_special(value: &Dynamic) -> Option<String> {
    special(value).map(|special| match special {
        Special::Time(time) => format!("{time:.0}"),
        Special::Duration(duration) => format!("{duration:#}"),
        Special::Secret(secret) => secret.to_string(),
    })
}

/// Turns JSON of the recorded form into a script's value.
///
/// # Errors
/// A whole number beyond 64 signed bits is refused rather than rounded.
pub(crate) fn from_json(value: &Value) -> Result<Dynamic, String> {
    Ok(match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => from_number(number)?,
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(from_json).collect::<Result<Array, _>>()?.into(),
        Value::Object(map) => match Special::read(map) {
            Some(Special::Time(time)) => Dynamic::from(time),
            Some(Special::Duration(duration)) => Dynamic::from(duration),
            Some(Special::Secret(secret)) => Dynamic::from(secret),
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

fn from_number(number: &Number) -> Result<Dynamic, String> {
    match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => Ok(whole.into()),
        (None, Some(float)) if !number.is_u64() => Ok(float.into()),
        _ => Err(too_large(number)),
    }
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
    use crate::{limits, measure};
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

    #[test]
    fn data_that_looks_like_a_special_value_stays_data() {
        for data in [json!({ "$secret": "env:PW" }), json!({ "$$time": 1 }), json!([{ "$duration": "2h" }])] {
            let there = from_json(&crate::recorded::data(data.clone())).unwrap();
            assert!(!there.is::<SecretRef>());
            let recorded = to_json(&there).unwrap();
            assert_eq!(recorded, crate::recorded::data(data.clone()));
            assert_eq!(crate::recorded::plain(&recorded), data);
        }
    }

    #[test]
    fn what_could_not_be_read_back_is_refused_by_the_limit() {
        let mut deep = json!(1);
        for _ in 0..=limits::DEPTH {
            deep = json!([deep]);
        }
        let many = Value::from(vec![0; limits::PARTS + 1]);
        let long = Value::from("\u{1}".repeat(limits::VALUE / 6 + 1));
        for (value, says) in [(deep, "64 deep"), (many, "250000 parts"), (long, "8 MiB")] {
            assert!(measure::check(&value).expect_err(says).contains(says));
            let there = from_json(&value).unwrap();
            assert!(to_json(&there).expect_err(says).contains(says));
        }
        assert!(measure::check(&json!({ "n": u64::MAX })).expect_err("too large").contains("too large"));
    }
}
