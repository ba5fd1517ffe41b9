//! How an evaluation ends, and how what the interpreter says of it is read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use rhai::{Dynamic, EvalAltResult, Position};
use serde_json::Value;

use super::{NativeResult, convert};
use crate::code::ErrorCode;
use crate::error::{Error, ErrorKind, Failure, ServiceError};
use crate::event::{Place, Source};
use crate::hint::Hint;
use crate::recorded;

/// How one evaluation ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The script gave its last value.
    Value(Value),
    /// Nobody caught this.
    Error(Error, Option<Place>),
    /// The runbook itself is wrong here. Says whether it deferred something that has not run.
    Mistake(Error, Option<Place>, bool),
    /// The host ended it.
    Unwound,
}

impl Ending {
    /// Says of a mistake whether something is deferred behind it.
    pub(super) fn with_deferred(self, deferred: bool) -> Self {
        match self {
            Ending::Mistake(error, at, _) => Ending::Mistake(error, at, deferred),
            other => other,
        }
    }
}

/// Whether an evaluation is over although the interpreter may not know it yet: `sort` and its like
/// go on after an error inside the function that they were given.
#[derive(Default)]
pub(super) struct Over {
    is_over: AtomicBool,
    mistake: Mutex<Option<(Failure, Place)>>,
}

impl Over {
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Ends the evaluation: nothing is called any more.
    pub(super) fn end(&self, mistake: Option<(Failure, Place)>) {
        self.is_over.store(true, Ordering::Relaxed);
        *self.mistake() = mistake;
    }

    /// Reads the end of an evaluation; another may begin.
    pub(super) fn ending(&self, result: NativeResult, main: Option<&Source>) -> Ending {
        let was_over = self.is_over.swap(false, Ordering::Relaxed);
        match self.mistake().take() {
            Some((failure, at)) => {
                Ending::Mistake(failure.to_error(), Some(at).filter(|at| at.line > 0), false)
            }
            None if was_over => Ending::Unwound,
            None => ending(result, main),
        }
    }

    fn mistake(&self) -> MutexGuard<'_, Option<(Failure, Place)>> {
        self.mistake.lock().expect("no panic while the mistake is held")
    }
}

/// Raises a mistake in the runbook where there is no call to say so: nothing catches it.
pub(super) fn mistake(error: &Error) -> Box<EvalAltResult> {
    EvalAltResult::ErrorTerminated(Dynamic::from(error.to_failure()), Position::NONE).into()
}

pub(super) fn terminated(at: Position) -> Box<EvalAltResult> {
    EvalAltResult::ErrorTerminated(Dynamic::UNIT, at).into()
}

pub(super) fn place(source: Option<&str>, at: Position) -> Place {
    Place {
        source: source.filter(|s| !s.is_empty()).map(str::to_owned),
        line: at.line().unwrap_or(0),
        column: at.position().unwrap_or(0),
    }
}

/// Reads the end of an evaluation.
fn ending(result: NativeResult, main: Option<&Source>) -> Ending {
    let error = match result {
        Ok(value) => {
            return match convert::to_json(&value) {
                Ok(json) => Ending::Value(json),
                Err(why) if value.is_array() || value.is_map() || value.is_string() => {
                    let error = Error::script(format!("the runbook's last value cannot be kept: {why}"));
                    Ending::Mistake(error.hint("give less at the end, or nothing: `()`"), None, false)
                }
                // The last expression of a script is often a call for its effect: its value is no result.
                Err(_) => Ending::Value(Value::Null),
            };
        }
        Err(error) => error,
    };
    let (source, inner) = innermost(None, &error);
    let at = place(source, inner.position());
    let at = Some(at).filter(|at| at.line > 0);
    match inner {
        EvalAltResult::ErrorTerminated(token, _) => match token.clone().try_cast::<Failure>() {
            Some(mistake) => Ending::Mistake(mistake.to_error(), at, false),
            None => Ending::Unwound,
        },
        EvalAltResult::ErrorRuntime(thrown, _) => Ending::Error(thrown_error(thrown), at),
        EvalAltResult::ErrorParsing(..) => Ending::Mistake(Error::script(inner.to_string()), at, false),
        other => {
            let mut plain = other.to_string();
            if let Some(cut) = plain.rfind(" (line ") {
                plain.truncate(cut);
            }
            let named = main.map(|m| m.name.as_str()).unwrap_or_default();
            let message = format!("the runbook `{named}` went wrong: {}", lowercase(&plain));
            Ending::Mistake(Error::script(message), at, false)
        }
    }
}

/// Goes down to the error itself, with the source in which it was raised.
fn innermost<'a>(source: Option<&'a str>, error: &'a EvalAltResult) -> (Option<&'a str>, &'a EvalAltResult) {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, of, inner, _) => {
            innermost(Some(of.as_str()).filter(|s| !s.is_empty()).or(source), inner)
        }
        EvalAltResult::ErrorInModule(of, inner, _) => innermost(Some(of), inner),
        other => (source, other),
    }
}

/// Reads what a script threw: our own map thrown on, or any value of its own.
fn thrown_error(thrown: &Dynamic) -> Error {
    let Ok(json) = convert::to_json(thrown).map(|thrown| recorded::plain(&thrown)) else {
        return Error::rejected("the runbook threw a value").code(ErrorCode::FAILED);
    };
    let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(message) = text("message") else {
        let message = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
        return Error::rejected(message).code(ErrorCode::FAILED);
    };
    // Whatever the script says, it raises only what a script may have caught.
    let kind = text("kind").and_then(|k| serde_json::from_value(Value::String(k)).ok());
    let kind =
        kind.filter(|kind| matches!(kind, ErrorKind::Unsent | ErrorKind::Transient | ErrorKind::Rejected));
    let list = |name: &str| json.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let service = ServiceError {
        code: text("service_code"),
        status: json.get("status").and_then(Value::as_u64).and_then(|s| u16::try_from(s).ok()),
        target: text("target"),
        details: list("details"),
        request_id: text("request_id"),
    };
    // A map without a kind is none of ours: the author made it.
    let own = || json.get("kind").is_none().then_some(ErrorCode::FAILED);
    Failure {
        kind: kind.unwrap_or(ErrorKind::Rejected),
        code: text("code").map(ErrorCode::from).or_else(own),
        message,
        causes: list("causes").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        hints: text("hint").iter().flat_map(|h| h.lines()).map(Hint::from).collect(),
        service: (service != ServiceError::default()).then_some(service),
    }
    .to_error()
}

pub(super) fn lowercase(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
