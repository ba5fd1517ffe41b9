//! How a script names a resource: by name, by resource id, or by a value that carries an id.

use std::fmt;

use relight_engine::{Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::Value;

use crate::azure::ResourceId;
use crate::azure::id::is_name;

/// A resource as a script names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ref {
    /// By its whole id.
    Id(ResourceId),
    /// By its name, to be looked up.
    Name(String),
}

impl Ref {
    /// Reads a name or an id.
    ///
    /// # Errors
    /// `Invalid` when the text is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.starts_with('/') {
            return ResourceId::parse(text).map(Ref::Id);
        }
        if is_name(text) {
            return Ok(Ref::Name(text.to_owned()));
        }
        Err(Error::invalid(format!("`{text}` is neither a name nor a resource id")))
    }

    /// Reads a value of a script: a text, or a map with an `id` (a machine) or a `vm` (a console).
    fn read(value: &Value) -> Result<Self> {
        let text = value.as_str().or_else(|| value.get("id")?.as_str()).or_else(|| value.get("vm")?.as_str());
        let wrong = || {
            Error::invalid(
                "give a name, a resource id, or a value with an `id`, such as what `local::vm` gives",
            )
        };
        Ref::parse(text.ok_or_else(wrong)?)
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ref::Id(id) => f.pad(id.name()),
            Ref::Name(name) => f.pad(name),
        }
    }
}

impl<'de> Deserialize<'de> for Ref {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ref::read(&Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Ref {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ref".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "object" }] })
    }
}

/// Returns the names that somebody may have meant, closest first.
pub(crate) fn near<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_lowercase();
    let mut close: Vec<(usize, &str)> = names
        .into_iter()
        .map(|other| (strsim::levenshtein(&name, &other.to_lowercase()), other))
        .filter(|(distance, _)| *distance <= (name.chars().count() / 3).min(3))
        .collect();
    close.sort_unstable();
    close.dedup();
    close.into_iter().take(5).map(|(_, other)| other).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_ids_and_values_are_understood() {
        let id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.HybridCompute/machines/web-01";
        for value in [json!(id), json!({"id": id, "name": "x"}), json!({"vm": id, "host": "n"})] {
            let read: Ref = serde_json::from_value(value).unwrap();
            assert_eq!(read, Ref::Id(id.parse().unwrap()));
            assert_eq!(read.to_string(), "web-01");
        }
        assert_eq!(serde_json::from_value::<Ref>(json!("web-01")).unwrap(), Ref::Name("web-01".into()));
        for wrong in [json!(""), json!("a/b"), json!("/a"), json!(7), json!({}), json!(null)] {
            assert!(serde_json::from_value::<Ref>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn near_names_are_close_ones() {
        let names = ["web-01", "web-02", "db-01", "file-01"];
        assert_eq!(near("webb-01", names), ["web-01", "web-02"]);
        assert_eq!(near("WEB-1", names)[0], "web-01");
        assert!(near("totally-else", names).is_empty());
    }
}
