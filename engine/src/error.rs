//! What can go wrong, sorted by two questions: may we try again, and who acts next?
//!
//! There is one [`Error`] in this crate. Operations make it, the journal keeps its data (as a
//! [`Failure`]), scripts catch it as a map, and the embedding program shows it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::code::ErrorCode;
use crate::hint::{Hint, NextStep};

/// The result of nearly everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means for the run, and who acts next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request never took effect: no connection, or turned away for load. Any operation is retried.
    Unsent,
    /// Sent, with no answer or "later": whether it took effect is unclear, so [`Redo`](crate::Redo) decides.
    Transient,
    /// The service said no, or the operation ended in failure. The script may catch it.
    Rejected,
    /// An identity or a role is missing. The run parks for a person.
    Denied,
    /// The runbook or its arguments are wrong, found before anything was sent; no script can catch it.
    Invalid,
    /// A mistake of the runbook that shows only while it runs. The run parks until its text is mended.
    Script,
    /// A stop, a park or a shutdown. Not a failure; the run can be resumed.
    Stopped,
    /// Replay met another step than the one recorded. Nothing was sent.
    Diverged,
    /// The journal cannot be read or written. The run halts before the next effect.
    Storage,
}

impl ErrorKind {
    /// Returns the word that scripts and JSON use.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Unsent => "unsent",
            ErrorKind::Transient => "transient",
            ErrorKind::Rejected => "rejected",
            ErrorKind::Denied => "denied",
            ErrorKind::Invalid => "invalid",
            ErrorKind::Script => "script",
            ErrorKind::Stopped => "stopped",
            ErrorKind::Diverged => "diverged",
            ErrorKind::Storage => "storage",
        }
    }

    /// Returns whether a later attempt may succeed without anybody changing anything.
    pub fn is_retryable(self) -> bool {
        matches!(self, ErrorKind::Unsent | ErrorKind::Transient)
    }
}

/// What a remote service said about a failure, kept as data so that scripts can decide on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceError {
    /// The service's own code, such as `AuthorizationFailed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The HTTP status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the service says the error is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Nested errors, as the service sent them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Value>,
    /// The service's id of the request, for a support case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A piece of source text with the part that an error is about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snippet {
    /// The name shown above the text: a path, or "command line".
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
    /// Byte offset of the underlined part.
    pub offset: usize,
    /// Length of the underlined part in bytes.
    pub len: usize,
    /// What is said beside the underline.
    pub label: String,
}

impl Snippet {
    /// Returns a snippet that underlines the name at a one-based line and column of `text`.
    ///
    /// Columns count characters, as Rhai's positions do. A position inside `area::verb` underlines
    /// the whole of it.
    pub fn at(name: impl Into<String>, text: &Arc<str>, line: usize, column: usize) -> Self {
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = &text[start.min(text.len())..];
        let lead: usize = rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
        let (before, after) = rest.split_at(lead.min(rest.len()));
        let back = before.len() - before.trim_end_matches(is_name).len();
        let ahead = after.find(|c| !is_name(c)).unwrap_or(after.len()).max(1);
        let offset = (start + before.len() - back).min(text.len().saturating_sub(1));
        let len = (back + ahead).min(text.len() - offset);
        Snippet { name: name.into(), text: text.clone(), offset, len, label: String::new() }
    }

    /// Returns a snippet that underlines `len` bytes of `text` from `offset` on.
    pub fn new(name: impl Into<String>, text: impl Into<Arc<str>>, offset: usize, len: usize) -> Self {
        Snippet { name: name.into(), text: text.into(), offset, len, label: String::new() }
    }

    /// Sets what is said beside the underline.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}

/// One error: a kind, a message, what the service said, next steps, and where in the script.
///
/// A message is a lowercase fragment that names the thing it failed on. The cause is in
/// [`source`](StdError::source), never repeated in the message.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    code: Option<ErrorCode>,
    message: String,
    hints: Vec<Hint>,
    service: Option<ServiceError>,
    retry_after: Option<Duration>,
    snippet: Option<Snippet>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Arc::new(Inner {
            kind,
            code: None,
            message: message.into(),
            hints: Vec::new(),
            service: None,
            retry_after: None,
            snippet: None,
            source: None,
        }))
    }

    /// Makes an error about a wrong runbook, parameter or argument.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Invalid, message)
    }

    /// Makes an error about a mistake of the runbook that shows only while it runs.
    pub fn script(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Script, message)
    }

    /// Makes an error about something that was refused or ended in failure.
    pub fn rejected(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Rejected, message)
    }

    /// Makes an error about the journal or the disk under it.
    pub fn storage(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Storage, message)
    }

    /// Makes an error about something recorded that this version of the program does not understand.
    /// Nothing may be written to the run then, so that the version that does can go on with it.
    pub fn unreadable(message: impl Into<String>) -> Self {
        Error::storage(message).hint(
            "another version of the program wrote it: go on with the run there; nothing was written or sent",
        )
        .hint(NextStep::Abandon)
    }

    /// Says by a stable word what went wrong, so that a script can decide on it.
    #[must_use]
    pub fn code(mut self, code: ErrorCode) -> Self {
        self.inner().code = Some(code);
        self
    }

    /// Adds what to do next: words such as a role or a file to edit, or a [`NextStep`].
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        let hint = hint.into();
        if !self.0.hints.contains(&hint) {
            self.inner().hints.push(hint);
        }
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner().source = Some(Arc::from(source.into()));
        self
    }

    /// Attaches what the service said.
    #[must_use]
    pub fn service(mut self, service: ServiceError) -> Self {
        self.inner().service = Some(service);
        self
    }

    /// Sets the pause that the service asked for before another attempt.
    #[must_use]
    pub fn retry_after(mut self, pause: Option<Duration>) -> Self {
        self.inner().retry_after = pause;
        self
    }

    /// Returns the source text that the error is about.
    pub fn points_at(&self) -> Option<&Snippet> {
        self.0.snippet.as_ref()
    }

    /// Points at the source text, unless an inner caller already did.
    #[must_use]
    pub fn snippet(mut self, snippet: Snippet) -> Self {
        if self.0.snippet.is_none() {
            self.inner().snippet = Some(snippet);
        }
        self
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    /// Returns what the error means for the run.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the message without its causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns what to do next, most useful first.
    pub fn hints(&self) -> &[Hint] {
        &self.0.hints
    }

    /// Returns what the service said, when a service was asked.
    pub fn service_error(&self) -> Option<&ServiceError> {
        self.0.service.as_ref()
    }

    /// Returns the stable word for what went wrong, if there is one.
    pub fn error_code(&self) -> Option<&ErrorCode> {
        self.0.code.as_ref()
    }

    /// Returns the service's own code.
    pub fn service_code(&self) -> Option<&str> {
        self.0.service.as_ref()?.code.as_deref()
    }

    /// Returns the HTTP status of the answer.
    pub fn status(&self) -> Option<u16> {
        self.0.service.as_ref()?.status
    }

    /// Returns the pause that the service asked for.
    pub fn pause(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns whether the error already points at a source text.
    pub fn has_snippet(&self) -> bool {
        self.0.snippet.is_some()
    }

    /// Returns the error as data for the journal. Source text and retry pause are not kept.
    pub fn to_failure(&self) -> Failure {
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Failure {
            kind: self.0.kind,
            code: self.0.code.clone(),
            message: self.0.message.clone(),
            causes,
            hints: self.0.hints.clone(),
            service: self.0.service.clone(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind.as_str(), self.0.message)?;
        let mut next = self.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        for hint in &self.0.hints {
            write!(f, " [{hint}]")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

/// An [`Error`] as the journal keeps it and as scripts catch it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// What the error means for the run.
    pub kind: ErrorKind,
    /// The stable word for what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The message without its causes.
    pub message: String,
    /// The cause chain, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do next, most useful first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<Hint>,
    /// What the service said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceError>,
}

impl Failure {
    /// Returns the failure as an error again, so that replay raises what the first run raised.
    pub fn to_error(&self) -> Error {
        let mut error = Error::new(self.kind, self.message.clone());
        let inner = error.inner();
        inner.code.clone_from(&self.code);
        inner.hints.clone_from(&self.hints);
        inner.service.clone_from(&self.service);
        inner.source = Cause::chain(&self.causes);
        error
    }
}

/// One recorded cause. The journal keeps texts, not types.
#[derive(Debug)]
struct Cause {
    text: String,
    next: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Cause {
    fn chain(texts: &[String]) -> Option<Arc<dyn StdError + Send + Sync>> {
        let (first, rest) = texts.split_first()?;
        Some(Arc::new(Cause { text: first.clone(), next: Cause::chain(rest) }))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.next.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

/// Returns what a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_the_whole_chain() {
        let inner = Error::storage("disk is full");
        let error = Error::rejected("failed to start `web-01`")
            .because(inner)
            .hint("free some space")
            .code(ErrorCode::BUSY)
            .service(ServiceError { code: Some("Conflict".into()), status: Some(409), ..Default::default() });
        let failure = error.to_failure();
        assert_eq!(failure.causes, ["disk is full"]);
        assert_eq!(failure.to_error().to_failure(), failure);
        assert_eq!(failure.to_error().service_code(), Some("Conflict"));
        assert_eq!(failure.to_error().error_code(), Some(&ErrorCode::BUSY));
    }

    #[test]
    fn a_snippet_underlines_the_whole_name() {
        let text: Arc<str> = "let x = 1;\n  vmconnect::enable(vm);\n".into();
        for column in [3, 14] {
            let snippet = Snippet::at("a.rhai", &text, 2, column);
            let underlined = &text[snippet.offset..snippet.offset + snippet.len];
            assert_eq!(underlined, "vmconnect::enable");
        }
    }

    #[test]
    fn a_snippet_beyond_the_text_stays_inside_it() {
        let text: Arc<str> = "x".into();
        for (line, column) in [(0, 0), (1, 9), (9, 1), (1, 1)] {
            let snippet = Snippet::at("a", &text, line, column);
            assert!(snippet.offset + snippet.len <= text.len());
        }
    }
}
