//! Reading request bodies strictly: what is not documented is refused by name.

use serde_json::{Map, Value};

use super::Cx;
use crate::arm_error::ArmError;

/// A JSON object of a request, with its place for error texts.
pub(super) struct Fields<'a> {
    place: String,
    fields: &'a Map<String, Value>,
}

impl Cx<'_> {
    /// Reads the body as JSON.
    pub(super) fn json_body(&self) -> Result<Value, ArmError> {
        let media = self.call.header("content-type").unwrap_or_default();
        if !media.to_ascii_lowercase().starts_with("application/json") {
            let message =
                format!("The content media type '{media}' is not supported. Only 'application/json' is.");
            return Err(ArmError::gateway(415, "UnsupportedMediaType", message));
        }
        serde_json::from_slice(&self.call.body).map_err(|e| {
            let message = format!("The request content was invalid and could not be deserialized: '{e}'.");
            ArmError::gateway(400, "InvalidRequestContent", message)
        })
    }

    /// Refuses a body where none is documented; an empty object is tolerated.
    pub(super) fn no_body(&self) -> Result<(), ArmError> {
        let text = self.call.body.trim_ascii();
        if text.is_empty() || text == b"{}" {
            return Ok(());
        }
        match serde_json::from_slice::<Map<String, Value>>(text)
            .ok()
            .and_then(|map| map.keys().next().cloned())
        {
            Some(name) => Err(ArmError::undocumented("member", &name)),
            None => Err(ArmError::gateway(400, "InvalidRequestContent", "This request takes no body.")),
        }
    }
}

impl<'a> Fields<'a> {
    /// Takes an object whose fields are all among `known`, ignoring nothing.
    pub(super) fn of(value: &'a Value, place: &str, known: &[&str]) -> Result<Self, ArmError> {
        let Value::Object(fields) = value else {
            let message = format!("The request content was invalid: '{place}' must be an object.");
            return Err(ArmError::gateway(400, "InvalidRequestContent", message).at(place));
        };
        if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(ArmError::undocumented("member", &join(place, name)));
        }
        Ok(Self { place: place.to_owned(), fields })
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Returns a text field that may be absent.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ArmError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "must be a string")),
        }
    }

    /// Returns a yes or no that may be absent.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ArmError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(name, "must be true or false")),
        }
    }

    /// Returns a text field that must be there and not be empty.
    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, ArmError> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| self.wrong(name, "is required"))
    }

    /// Returns a list that must be there and not be empty.
    pub(super) fn required_list(&self, name: &str) -> Result<&'a [Value], ArmError> {
        match self.value(name) {
            Some(Value::Array(items)) if !items.is_empty() => Ok(items),
            _ => Err(self.wrong(name, "is required and must be a list that is not empty")),
        }
    }

    pub(super) fn wrong(&self, name: &str, what: &str) -> ArmError {
        let name = join(&self.place, name);
        let message = format!("The request content was invalid: '{name}' {what}.");
        ArmError::gateway(400, "InvalidRequestContent", message).at(name)
    }
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}
