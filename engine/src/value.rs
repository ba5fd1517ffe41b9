//! Small types that cross the border between scripts, operations and the journal.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

/// A length of time, written the way operators say it: `"90s"`, `"2h"`, `"1h 30m"`.
///
/// A bare number is refused, because nobody remembers whether it was seconds or minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// Makes a span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Span(Duration::from_secs(seconds))
    }

    /// Returns the length of time.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Span(duration)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a duration; write for example `90s`, `10m`, `2h` or `1h 30m`");
        if text.trim().parse::<f64>().is_ok() {
            return Err(wrong());
        }
        let span: jiff::Span = text.trim().parse().map_err(|_| wrong())?;
        let signed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        Duration::try_from(signed).map(Span).map_err(|_| format!("`{text}` is negative"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        write!(f, "{signed:#}")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration" })
    }
}

/// The name of a secret, never its value: `env:NAME` and whatever else the embedder's source knows.
///
/// This is all that a journal, a log or an error ever sees. An operation asks its
/// [`Cx`](crate::Cx) for the value at the moment of use.
///
/// Its JSON form `{"$secret": name}` is a reference only in what a run records: there, a plain map that happens to
/// look the same is written with its key escaped ([`recorded`](crate::recorded)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// Where the value is kept, such as `env:WEB01_PASSWORD`.
    #[serde(rename = "$secret")]
    pub name: String,
}

impl SecretRef {
    /// Returns the reference that a recorded value stands for, when it is one.
    pub fn from_json(value: &Value) -> Option<Self> {
        let map = value.as_object().filter(|map| map.len() == 1)?;
        map.get("$secret")?.as_str().map(|name| SecretRef { name: name.to_owned() })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret({})", self.name)
    }
}

/// A secret's value. It cannot be printed or serialised; [`expose`](Self::expose) is the one way in.
///
/// Clones share one copy, which is overwritten when the last of them is dropped. What was made of it, such as the
/// body of a request, is not.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Wraps a value. Given as a `String`, it is not copied.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(Arc::new(Zeroizing::new(value.into())))
    }

    /// Returns the value, for the request that needs it and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_write_the_way_people_say_them() {
        for (text, seconds) in
            [("90s", 90), ("10m", 600), ("2h", 7200), ("1h 30m", 5400), ("1h30m", 5400), ("1d", 86400)]
        {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.get().as_secs(), seconds, "{text}");
            assert_eq!(span.to_string().parse::<Span>().expect("reads back"), span);
        }
        for wrong in ["", "5", "5.5", "soon", "-2h", "2 fortnights", "1 month"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_prints_nothing() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
