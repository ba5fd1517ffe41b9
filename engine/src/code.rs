//! Stable words for what went wrong, on which a script can decide.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, as a stable word: what a script reads as `e.code`.
///
/// A service's own code changes with the service; it is kept beside this one, in
/// [`ServiceError`](crate::ServiceError). An operation declares which codes its errors may have
/// ([`Operation::CODES`](crate::Operation::CODES)). An embedding program may have codes of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(Cow<'static, str>);

impl ErrorCode {
    /// What was named is not there.
    pub const NOT_FOUND: ErrorCode = ErrorCode::new("NotFound");
    /// What was waited for did not come in time.
    pub const TIMED_OUT: ErrorCode = ErrorCode::new("TimedOut");
    /// Turned away, because something else is being done or too much is asked for.
    pub const BUSY: ErrorCode = ErrorCode::new("Busy");
    /// What was meant is switched off.
    pub const OFF: ErrorCode = ErrorCode::new("Off");
    /// What was meant, or what leads to it, has no connection to the service.
    pub const OUT_OF_TOUCH: ErrorCode = ErrorCode::new("OutOfTouch");
    /// The author of the runbook had it fail.
    pub const FAILED: ErrorCode = ErrorCode::new("Failed");

    /// Every code of this crate, with what it says to the author of a runbook.
    pub const ALL: [(ErrorCode, &'static str); 6] = [
        (ErrorCode::NOT_FOUND, "what was named is not there"),
        (ErrorCode::TIMED_OUT, "what was waited for did not come in time"),
        (ErrorCode::BUSY, "turned away for now; only with `retry: #{ then: \"throw\" }`, else the run parks"),
        (ErrorCode::OFF, "what was meant is switched off"),
        (ErrorCode::OUT_OF_TOUCH, "what was meant, or what leads to it, has no connection"),
        (ErrorCode::FAILED, "the author of the runbook had it fail"),
    ];

    /// Makes a code of an embedding program's own.
    pub const fn new(word: &'static str) -> Self {
        ErrorCode(Cow::Borrowed(word))
    }

    /// Returns the word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what the code says to the author of a runbook; nothing for one of an embedding program.
    pub fn meaning(&self) -> Option<&'static str> {
        ErrorCode::ALL.iter().find(|(code, _)| code == self).map(|(_, meaning)| *meaning)
    }
}

impl From<String> for ErrorCode {
    fn from(word: String) -> Self {
        ErrorCode(Cow::Owned(word))
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
