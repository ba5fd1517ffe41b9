//! The recorded form of values that JSON has no type for.
//!
//! The name of a secret is a map with one key that begins with `$`: `{"$secret": "env:PW"}`. Data that merely
//! looks like one is escaped: a key that begins with `$` is recorded with one more, so that nothing which came
//! from outside reads back as anything but data. Parameters, arguments and results stand in this form in
//! the journal.

use serde_json::Value;

/// Returns plain data in the recorded form.
pub(crate) fn data(value: Value) -> Value {
    rename(value, &escaped)
}

/// Returns a value of the recorded form as plain JSON. A secret stays `{"$secret": ..}`, its name.
pub fn plain(value: &Value) -> Value {
    rename(value.clone(), &|name| unescaped(name).map(str::to_owned))
}

/// Returns how a key of data is recorded, when that differs.
pub(crate) fn escaped(name: &str) -> Option<String> {
    name.starts_with('$').then(|| format!("${name}"))
}

/// Returns what a recorded key stands for, when that differs.
pub(crate) fn unescaped(name: &str) -> Option<&str> {
    name.strip_prefix('$').filter(|rest| rest.starts_with('$'))
}

fn rename(value: Value, to: &dyn Fn(&str) -> Option<String>) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(|item| rename(item, to)).collect(),
        Value::Object(map) => {
            map.into_iter().map(|(name, item)| (to(&name).unwrap_or(name), rename(item, to))).collect()
        }
        simple => simple,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::SecretRef;
    use serde_json::json;

    #[test]
    fn data_never_looks_like_a_secret_and_comes_back_unchanged() {
        for value in [
            json!({ "$secret": "env:X" }),
            json!([{ "a": { "$secret": "env:X" }, "$$secret": { "$": 1 } }, "$secret"]),
        ] {
            let recorded = data(value.clone());
            assert!(SecretRef::from_json(&recorded).is_none(), "{recorded}");
            assert_eq!(plain(&recorded), value);
        }
        let secret = json!({ "$secret": "env:X" });
        assert_eq!(plain(&secret), secret);
    }
}
