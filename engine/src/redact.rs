//! What must not be written down: the values of secrets that this process has seen.
//!
//! A secret goes into a request, and a service may send it back: in a result, in an error, in a status
//! line. Everything on its way to the journal or to an observer passes here.

use std::sync::Mutex;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::event::Event;
use crate::value::{Secret, SecretRef};

/// Values shorter than this are not looked for: they would be found everywhere.
const SHORTEST: usize = 6;

/// The secrets that were revealed, with the names that stand for them.
#[derive(Default)]
pub(crate) struct Revealed(Mutex<Vec<(Secret, String)>>);

impl Revealed {
    /// Remembers a secret.
    pub(crate) fn learn(&self, name: &str, secret: &Secret) {
        let mut known = self.0.lock().expect("no panic while the secrets are held");
        let is_known = known.iter().any(|(other, _)| other.expose() == secret.expose());
        if secret.expose().len() >= SHORTEST && !is_known {
            known.push((secret.clone(), SecretRef { name: name.to_owned() }.to_string()));
        }
    }

    /// Returns whether a secret of this name is known.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let shown = SecretRef { name: name.to_owned() }.to_string();
        self.0.lock().expect("no panic while the secrets are held").iter().any(|(_, known)| *known == shown)
    }

    /// Returns an event with every revealed value replaced by its name.
    ///
    /// # Errors
    /// `Storage` when the event does not survive it, which an event of our own always does.
    pub(crate) fn clean(&self, event: Event) -> Result<Event> {
        let known = self.0.lock().expect("no panic while the secrets are held");
        if known.is_empty() {
            return Ok(event);
        }
        let failed =
            |e: serde_json::Error| Error::storage("failed to take secrets out of an event").because(e);
        let mut value = serde_json::to_value(&event).map_err(failed)?;
        if replace(&mut value, &known) { serde_json::from_value(value).map_err(failed) } else { Ok(event) }
    }
}

/// Replaces values inside every string, names of fields included. Returns whether there was one.
fn replace(value: &mut Value, known: &[(Secret, String)]) -> bool {
    match value {
        Value::String(text) => clean_text(text, known),
        Value::Array(items) => items.iter_mut().fold(false, |found, item| replace(item, known) | found),
        Value::Object(map) => {
            let mut found = map.values_mut().fold(false, |found, item| replace(item, known) | found);
            if map.keys().any(|name| known.iter().any(|(secret, _)| name.contains(secret.expose()))) {
                found = true;
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(mut name, item)| {
                        clean_text(&mut name, known);
                        (name, item)
                    })
                    .collect();
            }
            found
        }
        _ => false,
    }
}

fn clean_text(text: &mut String, known: &[(Secret, String)]) -> bool {
    let mut found = false;
    for (secret, name) in known {
        if text.contains(secret.expose()) {
            *text = text.replace(secret.expose(), name);
            found = true;
        }
    }
    found
}

/// Returns the names of the secrets that arguments refer to.
pub(crate) fn secrets_in(args: &Value) -> Vec<SecretRef> {
    if let Some(secret) = SecretRef::from_json(args) {
        return vec![secret];
    }
    match args {
        Value::Array(items) => items.iter().flat_map(secrets_in).collect(),
        Value::Object(map) => map.values().flat_map(secrets_in).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Progress, StepEnd};
    use serde_json::json;

    #[test]
    fn a_value_that_comes_back_is_replaced_wherever_it_stands() {
        let revealed = Revealed::default();
        revealed.learn("env:PW", &Secret::new("hunter22"));
        let echo = json!({ "a": "hunter22", "b": [{ "c": "x hunter22 y" }], "hunter22": 1, "n": 22 });
        let event = Event::StepFinished { step: 1, end: StepEnd::Ok(echo), effected: Vec::new() };
        let text = serde_json::to_string(&revealed.clean(event).unwrap()).unwrap();
        assert!(!text.contains("hunter22"), "{text}");
        assert_eq!(text.matches("secret(env:PW)").count(), 3, "{text}");
    }

    #[test]
    fn everything_else_is_left_alone() {
        let revealed = Revealed::default();
        revealed.learn("env:SHORT", &Secret::new("a"));
        let event =
            Event::Progress { step: 1, progress: Progress { message: "a banana".into(), percent: None } };
        assert_eq!(revealed.clean(event.clone()).unwrap(), event);
    }
}
