//! The recorded form of values that JSON has no type for.
//!
//! A point in time, a duration and the name of a secret are maps with one key that begins with `$`:
//! `{"$time": "2026-11-20T22:00:00Z"}`. Data that merely looks like one is escaped: a key that begins with `$`
//! is recorded with one more, so that nothing which came from outside reads back as anything but data.
//! Parameters, arguments and results stand in this form in the journal.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::value::SecretRef;

const TIME: &str = "$time";
const DURATION: &str = "$duration";
const SECRET: &str = "$secret";

/// A value that JSON has no type for.
pub(crate) enum Special {
    /// A point in time.
    Time(Timestamp),
    /// A length of time, which may be negative.
    Duration(SignedDuration),
    /// The name of a secret.
    Secret(SecretRef),
}

impl Special {
    /// Reads a map of the recorded form, when it is a special value.
    pub(crate) fn read(map: &Map<String, Value>) -> Option<Self> {
        let (name, value) = map.iter().next().filter(|_| map.len() == 1)?;
        let text = value.as_str()?;
        match name.as_str() {
            TIME => text.parse().ok().map(Special::Time),
            DURATION => text.parse().ok().map(Special::Duration),
            SECRET => Some(Special::Secret(SecretRef { name: text.to_owned() })),
            _ => None,
        }
    }

    /// Returns the recorded form.
    pub(crate) fn write(&self) -> Value {
        match self {
            Special::Time(time) => json!({ TIME: time.to_string() }),
            Special::Duration(duration) => json!({ DURATION: format!("{duration:#}") }),
            Special::Secret(secret) => json!({ SECRET: secret.name }),
        }
    }

    /// Returns what an operation or a person reads. A secret stays a reference.
    pub(crate) fn plain(&self) -> Value {
        match self {
            Special::Time(time) => Value::String(time.to_string()),
            Special::Duration(duration) => Value::String(format!("{duration:#}")),
            Special::Secret(_) => self.write(),
        }
    }
}

/// Returns plain data in the recorded form.
pub(crate) fn data(value: Value) -> Value {
    typed(value, &Value::Null)
}

/// Returns what an operation answered in the recorded form. Only the operation's declared type says what is a
/// time, a duration or a secret; everything else is data.
pub(crate) fn typed(value: Value, schema: &Value) -> Value {
    match value {
        Value::String(text) => {
            let special = match member(schema, |schema| schema.get("format")).and_then(Value::as_str) {
                Some("date-time") => text.parse().ok().map(Special::Time),
                Some("duration") => text.parse().ok().map(Special::Duration),
                _ => None,
            };
            special.map_or(Value::String(text), |special| special.write())
        }
        Value::Array(items) => {
            let schema = member(schema, |schema| schema.get("items")).unwrap_or(&Value::Null);
            items.into_iter().map(|item| typed(item, schema)).collect()
        }
        Value::Object(map) if member(schema, |schema| schema.get("properties")?.get(SECRET)).is_some() => {
            Value::Object(map)
        }
        Value::Object(mut map) => {
            for (name, item) in &mut map {
                let field = member(schema, |schema| schema.get("properties")?.get(name))
                    .or_else(|| member(schema, |schema| schema.get("additionalProperties")));
                *item = typed(item.take(), field.unwrap_or(&Value::Null));
            }
            if map.keys().all(|name| escaped(name).is_none()) {
                return Value::Object(map);
            }
            map.into_iter().map(|(name, item)| (escaped(&name).unwrap_or(name), item)).collect()
        }
        simple => simple,
    }
}

/// Returns a value of the recorded form as plain JSON: times and durations as text, data without its
/// escapes. A secret stays `{"$secret": ..}`, its name.
pub fn plain(value: &Value) -> Value {
    read(value, &|name| unescaped(name).unwrap_or(name).to_owned())
}

/// Returns a recorded argument as operations read it: times and durations are text, and what only looks like
/// a secret stays escaped, so that it is no secret to the operation either.
pub(crate) fn argument(value: &Value) -> Cow<'_, Value> {
    match has_special(value) {
        true => Cow::Owned(read(value, &str::to_owned)),
        false => Cow::Borrowed(value),
    }
}

fn has_special(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_special),
        Value::Object(map) => Special::read(map).is_some() || map.values().any(has_special),
        _ => false,
    }
}

fn read(value: &Value, name_of: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| read(item, name_of)).collect(),
        Value::Object(map) => match Special::read(map) {
            Some(special) => special.plain(),
            None => map.iter().map(|(name, item)| (name_of(name), read(item, name_of))).collect(),
        },
        simple => simple.clone(),
    }
}

/// Returns how a key of data is recorded, when that differs.
pub(crate) fn escaped(name: &str) -> Option<String> {
    name.starts_with('$').then(|| format!("${name}"))
}

/// Returns what a recorded key stands for, when that differs.
pub(crate) fn unescaped(name: &str) -> Option<&str> {
    name.strip_prefix('$').filter(|rest| rest.starts_with('$'))
}

/// Looks something up in a schema or in the alternatives that it allows, such as the one that is not null.
fn member<'a>(schema: &'a Value, get: impl Fn(&'a Value) -> Option<&'a Value> + Copy) -> Option<&'a Value> {
    let either = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    get(schema).or_else(|| either?.iter().find_map(|schema| member(schema, get)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::JsonSchema;
    use serde::Serialize;

    #[derive(Serialize, JsonSchema)]
    struct Seen {
        at: Timestamp,
        ago: Option<SignedDuration>,
        seen: Vec<Timestamp>,
        raw: Value,
        secret: SecretRef,
    }

    #[test]
    fn only_the_declared_type_makes_a_special_value() {
        let seen = Seen {
            at: Timestamp::UNIX_EPOCH,
            ago: Some(SignedDuration::from_secs(90)),
            seen: vec![Timestamp::UNIX_EPOCH],
            raw: json!({ "$secret": "env:PW" }),
            secret: SecretRef { name: "env:PW".into() },
        };
        let settings =
            schemars::generate::SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<Seen>();
        let told = serde_json::to_value(&seen).unwrap();
        let recorded = typed(told, schema.as_value());
        assert_eq!(
            recorded,
            json!({
                "at": { "$time": "1970-01-01T00:00:00Z" },
                "ago": { "$duration": "1m 30s" },
                "seen": [{ "$time": "1970-01-01T00:00:00Z" }],
                "raw": { "$$secret": "env:PW" },
                "secret": { "$secret": "env:PW" },
            })
        );
        assert_eq!(plain(&recorded)["raw"], json!({ "$secret": "env:PW" }));
        assert_eq!(argument(&recorded)["raw"], json!({ "$$secret": "env:PW" }));
        assert_eq!(argument(&recorded)["secret"], json!({ "$secret": "env:PW" }));
        assert_eq!(plain(&recorded)["at"], "1970-01-01T00:00:00Z");
        assert_eq!(argument(&recorded)["at"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn data_never_looks_like_a_special_value_and_comes_back_unchanged() {
        for value in [
            json!({ "$secret": "env:X" }),
            json!([{ "a": { "$secret": "env:X" }, "$$secret": { "$": 1 } }, "$secret"]),
            json!({ "$time": "2026-11-20T22:00:00Z" }),
            json!({ "$$time": [{ "$": 1 }] }),
            json!({ "$schema": { "$duration": "2h" } }),
            json!({ "$a": 1, "$b": { "$$$": 2 } }),
        ] {
            let recorded = data(value.clone());
            assert!(recorded.as_object().and_then(Special::read).is_none(), "{recorded}");
            assert_eq!(plain(&recorded), value, "{recorded}");
        }
        let secret = json!({ "$secret": "env:X" });
        assert_eq!(plain(&secret), secret);
    }
}
