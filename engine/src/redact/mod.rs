//! What must not be written down: the values of secrets that this process has seen.
//!
//! A secret goes into a request, and a service may send it back: in a result, in an error, in a status
//! line. So what comes *from outside* is cleaned where it enters the record, and the script goes on with
//! the cleaned text. What the script itself says (arguments, questions, its last value) is left alone: it
//! never saw a secret, and the request must be what it says.
//!
//! Two things are not cleaned, because cleaning would change what is sent later:
//! - a value that the run's own texts hold anyway (a runbook, a parameter, an argument) is public in it;
//! - an operation's continuation is no text for people: secrets in it become references, which are undone
//!   before the operation reads it again.

mod find;
mod stream;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use self::find::{Finder, forms};
pub use self::stream::RedactStream;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::event::{Effected, Event, Park, RunEnd, RunId, Signal, Source, StepEnd};
use crate::hint::Hint;
use crate::replay::History;
use crate::value::{Secret, SecretRef};

/// A secret needs at least this many bytes: a shorter one would be found everywhere.
pub(crate) const SHORTEST: usize = 6;
/// A secret has at most this many bytes.
const LONGEST: usize = 64 * 1024;

/// The word under which a continuation keeps the references that stand for secrets.
const HIDDEN: &str = "$hidden";

/// The secrets that were revealed, with the names that stand for them.
#[derive(Default)]
pub(crate) struct Revealed(Mutex<Known>);

#[derive(Default)]
struct Known {
    secrets: Vec<(Secret, SecretRef)>,
    finder: Finder,
    /// Runs whose secrets were learnt for the sake of others.
    relatives: HashSet<RunId>,
}

impl Revealed {
    /// Remembers a secret. Afterwards it is taken out of everything that is recorded or shown.
    ///
    /// # Errors
    /// `Denied` when it could not be found again, so that it must not be used.
    pub(crate) fn learn(&self, name: &str, secret: &Secret) -> Result<()> {
        let refused = |why: String, hint: &str| Err(Error::new(ErrorKind::Denied, why).hint(hint));
        match secret.expose().len() {
            length if length < SHORTEST => {
                return refused(
                    format!("the secret `{name}` is shorter than {SHORTEST} bytes"),
                    "so short a text stands everywhere and could not be kept out of the record: choose a longer secret, then resume the run",
                );
            }
            length if length > LONGEST => {
                return refused(
                    format!("the secret `{name}` is longer than {LONGEST} bytes"),
                    "name the secret alone rather than a file that holds more, then resume the run",
                );
            }
            _ => {}
        }
        let mut known = self.known();
        let is_known =
            |(value, other): &(Secret, SecretRef)| value.expose() == secret.expose() && other.name == name;
        if known.secrets.iter().any(is_known) {
            return Ok(());
        }
        known.secrets.push((secret.clone(), SecretRef { name: name.to_owned() }));
        match Finder::new(known.secrets.iter().map(|(value, _)| value.expose())) {
            Some(finder) => known.finder = finder,
            None => {
                known.secrets.pop();
                return refused(
                    format!("the secret `{name}` is one too many to be kept out of the record"),
                    "restart the program, then resume the run",
                );
            }
        }
        Ok(())
    }

    /// Returns whether a secret of this name is known.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.known().secrets.iter().any(|(_, known)| known.name == name)
    }

    /// Returns whether it is the first time that somebody asks about this run.
    pub(crate) fn meet(&self, run: &RunId) -> bool {
        self.known().relatives.insert(run.clone())
    }

    /// Takes secrets out of what an event brings from outside, but for values that are `public`.
    pub(crate) fn clean(&self, event: &mut Event, public: &dyn Fn(&str) -> bool) {
        let known = self.known();
        if known.secrets.is_empty() {
            return;
        }
        let cleaner = Cleaner { known: &known, public };
        match event {
            Event::StepRetrying { failure, .. } => cleaner.failure(failure),
            Event::StepAccepted { effected, .. } => cleaner.effected(effected),
            Event::StepFinished { end, effected, .. } => {
                match end {
                    StepEnd::Ok(value) => cleaner.value(Arc::make_mut(value)),
                    // It was cleaned before it was put out of line.
                    StepEnd::Large { .. } => {}
                    StepEnd::Err(failure) => cleaner.failure(failure),
                }
                cleaner.effected(effected);
            }
            Event::Parked { park, .. } => match park {
                Park::Undecided { failure }
                | Park::Exhausted { failure }
                | Park::Denied { failure }
                | Park::Mistake { failure, .. }
                | Park::Halted { failure } => cleaner.failure(failure),
                Park::Waiting
                | Park::Question { .. }
                | Park::Interrupted
                | Park::HandedBack
                | Park::Terminal { .. }
                | Park::Child { .. } => {}
            },
            Event::Signalled { signal: Signal::Answer { value, .. } } => cleaner.value(value),
            Event::Finished { end: RunEnd::Failed { failure, .. }, .. }
            | Event::Finished { end: RunEnd::Stopped { unreplayed: Some(failure), .. }, .. } => {
                cleaner.failure(failure);
            }
            Event::Progress { progress, .. } => cleaner.text(&mut progress.message),
            Event::Prepared(_)
            | Event::Claimed { .. }
            | Event::StepStarted { .. }
            | Event::StepExtended { .. }
            // Cleaned before it was cut into pieces.
            | Event::Output { .. }
            | Event::OutputKept { .. }
            | Event::FileWritten { .. }
            | Event::Mended { .. }
            | Event::Signalled { .. }
            | Event::Finished { .. } => {}
        }
    }

    /// Takes secrets out of what is told about a failure, but for values that are `public`.
    pub(crate) fn clean_failure(&self, failure: &mut Failure, public: &dyn Fn(&str) -> bool) {
        let known = self.known();
        Cleaner { known: &known, public }.failure(failure);
    }

    /// Takes secrets out of a text that is only shown.
    pub(crate) fn clean_text(&self, text: &mut String) {
        let known = self.known();
        Cleaner { known: &known, public: &|_| false }.text(text);
    }

    /// Puts references in the place of the secrets that an operation's state holds.
    pub(crate) fn hide(&self, state: Value) -> Value {
        let known = self.known();
        if known.secrets.is_empty() {
            return state;
        }
        let text = state.to_string();
        let mut hits = known.finder.hits(&text);
        hits.sort_by_key(|hit| (hit.at.start, usize::MAX - hit.at.end));
        let cleaner = Cleaner { known: &known, public: &|_| false };
        let mut parts = Vec::new();
        let mut plain = |text: &str| {
            let mut text = text.to_owned();
            // What is escaped in a way of its own cannot be made again; it is not kept either.
            cleaner.text(&mut text);
            parts.push(Value::String(text));
        };
        let (mut done, mut references) = (0, Vec::new());
        for hit in &hits {
            let (secret, name) = &known.secrets[hit.secret];
            let forms = forms(secret.expose());
            let (form, dressed) = &forms[hit.form];
            if hit.at.start >= done && text[hit.at.clone()] == **dressed {
                plain(&text[done..hit.at.start]);
                references.push(json!({ "$secret": name.name, "as": form }));
                done = hit.at.end;
            }
        }
        if hits.is_empty() {
            return state;
        }
        plain(&text[done..]);
        // Texts and references in turn, a text first and last.
        let mut references = references.into_iter();
        let parts: Vec<Value> =
            parts.into_iter().flat_map(|text| [Some(text), references.next()]).flatten().collect();
        json!({ HIDDEN: parts })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no panic while the secrets are held")
    }
}

/// Returns the parts of a state in which [`Revealed::hide`] found secrets, and nothing for any other state.
pub(crate) fn hidden_parts(state: &Value) -> Option<&Vec<Value>> {
    state.as_object().filter(|map| map.len() == 1)?.get(HIDDEN)?.as_array()
}

/// Returns what a part of a hidden state refers to: a secret, and in which of its forms it stood there.
pub(crate) fn reference(part: &Value) -> Option<(SecretRef, &str)> {
    let name = part.get("$secret")?.as_str()?.to_owned();
    Some((SecretRef { name }, part.get("as")?.as_str()?))
}

/// Returns a secret in one of the forms in which it is found.
pub(crate) fn dressed(secret: &Secret, form: &str) -> Option<String> {
    forms(secret.expose()).into_iter().find(|(name, _)| *name == form).map(|(_, text)| text)
}

struct Cleaner<'a> {
    known: &'a Known,
    public: &'a dyn Fn(&str) -> bool,
}

impl Cleaner<'_> {
    fn text(&self, text: &mut String) {
        let counts = |secret: usize| !(self.public)(self.known.secrets[secret].0.expose());
        let parts = self.known.finder.parts(text, &counts);
        for part in parts.into_iter().rev() {
            text.replace_range(part.at, &self.known.secrets[part.secret].1.to_string());
        }
    }

    /// Cleans every string, names of fields included, and a number that is a secret.
    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Number(number) => {
                let (before, mut after) = (number.to_string(), number.to_string());
                self.text(&mut after);
                if after != before {
                    *value = Value::String(after);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => {
                map.values_mut().for_each(|item| self.value(item));
                let is_dirty = |name: &String| !self.known.finder.hits(name).is_empty();
                if map.keys().any(is_dirty) {
                    let clean = std::mem::take(map).into_iter().map(|(mut name, item)| {
                        self.text(&mut name);
                        (name, item)
                    });
                    *map = clean.collect();
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn hint(&self, hint: &mut Hint) {
        let mut words = hint.to_string();
        self.text(&mut words);
        // A step that names a secret is told in words: it could not be offered.
        if words != hint.to_string() {
            *hint = Hint::Words(words);
        }
    }

    fn failure(&self, failure: &mut Failure) {
        // A code is a word of the program, or of the script, which saw no secret.
        let Failure { kind: _, code: _, message, causes, hints, service } = failure;
        self.text(message);
        causes.iter_mut().for_each(|text| self.text(text));
        hints.iter_mut().for_each(|hint| self.hint(hint));
        if let Some(service) = service {
            let texts = [&mut service.code, &mut service.target, &mut service.request_id];
            texts.into_iter().flatten().for_each(|text| self.text(text));
            service.details.iter_mut().for_each(|detail| self.value(detail));
        }
    }

    /// What closes a lease or is due later must be called as it was meant; only what people read is cleaned.
    fn effected(&self, effected: &mut [Effected]) {
        for effect in effected {
            if let Effected::LeaseOpened(lease) = effect {
                self.text(&mut lease.title);
            }
        }
    }
}

/// Which values a run's own texts hold, so that hiding them would only mark them.
pub(crate) struct Public {
    sources: Box<[Source]>,
    judged: Mutex<HashMap<String, bool>>,
}

impl Public {
    /// Begins with the texts that a run pins.
    pub(crate) fn new(sources: &[Source]) -> Self {
        Public { sources: sources.into(), judged: Mutex::default() }
    }

    /// Returns whether a value stands in the run's runbooks, in its parameters, or in the steps that came
    /// before the value was learnt.
    pub(crate) fn holds(&self, value: &str, history: &History) -> bool {
        let mut judged = self.judged.lock().expect("no panic while the judgements are held");
        *judged.entry(value.to_owned()).or_insert_with(|| {
            self.sources.iter().any(|source| source.text.contains(value))
                || contains(&history.prepared.params, value)
                || history.prepared.call().is_some_and(|call| contains(&call.args, value))
                || history.steps.iter().any(|step| {
                    contains(&step.args, value)
                        || matches!(step.end(), Some(StepEnd::Ok(result)) if contains(result, value))
                })
        })
    }
}

/// Returns whether a text stands in a string of a value. References to secrets are not its strings.
fn contains(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own.contains(text),
        Value::Number(number) => number.to_string().contains(text),
        Value::Array(items) => items.iter().any(|item| contains(item, text)),
        Value::Object(map) => map.iter().any(|(name, item)| name.contains(text) || contains(item, text)),
        Value::Null | Value::Bool(_) => false,
    }
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
    use crate::event::{Place, Progress};

    fn knowing(secrets: &[(&str, &str)]) -> Revealed {
        let revealed = Revealed::default();
        for (name, value) in secrets {
            revealed.learn(name, &Secret::new(*value)).expect("long enough");
        }
        revealed
    }

    fn cleaned(revealed: &Revealed, mut event: Event) -> Event {
        revealed.clean(&mut event, &|_| false);
        event
    }

    #[test]
    fn a_value_that_comes_back_is_replaced_wherever_it_stands() {
        let revealed = knowing(&[("env:PW", "hunter22"), ("env:PIN", "12345678")]);
        let echo = json!({ "a": "hunter22", "b": [{ "c": "x hunter22 y" }], "hunter22": 1, "n": 12345678 });
        let event = Event::StepFinished { step: 1, end: StepEnd::Ok(echo.into()), effected: Vec::new() };
        let text = serde_json::to_string(&cleaned(&revealed, event)).unwrap();
        assert!(!text.contains("hunter22") && !text.contains("12345678"), "{text}");
        assert_eq!(text.matches("secret(env:PW)").count(), 3, "{text}");
    }

    #[test]
    fn every_part_of_an_error_is_cleaned() {
        let revealed = knowing(&[("env:PW", "hunter22")]);
        let service = crate::error::ServiceError {
            code: Some("hunter22".into()),
            target: Some("hunter22".into()),
            details: vec![json!({ "hunter22": ["hunter22"] })],
            request_id: Some("hunter22".into()),
            ..Default::default()
        };
        let error = Error::rejected("no hunter22").hint("not hunter22").service(service);
        let failure = error.because(Error::rejected("hunter22")).to_failure();
        for event in [
            Event::StepFinished { step: 1, end: StepEnd::Err(failure.clone()), effected: Vec::new() },
            Event::Parked { park: Park::Exhausted { failure: failure.clone() }, until: None },
            Event::Finished { end: RunEnd::Failed { failure, at: None }, parent: None },
        ] {
            let text = serde_json::to_string(&cleaned(&revealed, event)).unwrap();
            assert!(!text.contains("hunter22"), "{text}");
            assert_eq!(text.matches("secret(env:PW)").count(), 8, "{text}");
        }
    }

    #[test]
    fn what_the_script_says_is_left_alone() {
        let revealed = knowing(&[("env:PW", "rg-edge")]);
        let started = Event::StepStarted {
            step: 1,
            operation: "arm::get".into(),
            args: json!({ "path": "/resourceGroups/rg-edge" }),
            at: Place::default(),
            attempt: 1,
            send_before: None,
        };
        let asked =
            Event::Parked { park: Park::Question { text: "rg-edge?".into(), choices: vec![] }, until: None };
        for event in [started, asked] {
            assert_eq!(cleaned(&revealed, event.clone()), event);
        }
    }

    #[test]
    fn a_public_value_is_left_alone() {
        let revealed = knowing(&[("env:PW", "rg-edge"), ("env:TOKEN", "hunter22")]);
        let progress = Progress { message: "hunter22 in rg-edge".into(), percent: None };
        let mut event = Event::Progress { step: 1, progress };
        revealed.clean(&mut event, &|value| value == "rg-edge");
        let Event::Progress { progress, .. } = event else { unreachable!() };
        assert_eq!(progress.message, "secret(env:TOKEN) in rg-edge");
    }

    #[test]
    fn short_secrets_are_refused() {
        let revealed = Revealed::default();
        for (value, fits) in [("a", false), ("12345", false), ("123456", true)] {
            assert_eq!(revealed.learn("env:PIN", &Secret::new(value)).is_ok(), fits, "{value}");
        }
        let error = revealed.learn("env:PIN", &Secret::new("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(revealed.learn("file:x", &Secret::new("x".repeat(LONGEST + 1))).is_err());
    }

    #[test]
    fn a_hidden_state_is_whole_again() {
        let revealed = knowing(&[("env:PW", r#"hunt"er 22"#), ("env:B", "hunter22")]);
        let state = json!({
            "url": "https://arm/x?pw=hunter22&b=aHVudGVyMjI=",
            r#"hunt"er 22"#: [r#"hunt"er 22"#, 22],
        });
        let hidden = revealed.hide(state.clone());
        let text = hidden.to_string();
        for value in ["hunter22", "aHVudGVy", r#"hunt\"er"#, r#"hunt\\\"er"#] {
            assert!(!text.contains(value), "{value} in {text}");
        }
        let parts = hidden_parts(&hidden).expect("there was something to hide");
        let whole: String = parts
            .iter()
            .map(|part| match reference(part) {
                Some((secret, form)) if secret.name == "env:PW" => {
                    dressed(&Secret::new(r#"hunt"er 22"#), form).unwrap()
                }
                Some((_, form)) => dressed(&Secret::new("hunter22"), form).unwrap(),
                None => part.as_str().unwrap().to_owned(),
            })
            .collect();
        assert_eq!(serde_json::from_str::<Value>(&whole).unwrap(), state);
        assert_eq!(revealed.hide(json!({ "url": "https://arm/x" })), json!({ "url": "https://arm/x" }));
    }
}
