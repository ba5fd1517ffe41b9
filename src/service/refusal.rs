//! Why a request is not granted: a status, and one shape of JSON.

use hyper::StatusCode;
use relight_engine::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::Serialize;

/// What is said about a request that is not granted.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Refusal")]
pub(super) struct Told {
    /// What went wrong.
    pub(super) error: Trouble,
}

/// What went wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Trouble {
    /// A stable word for it, such as `not_found`.
    pub(super) kind: &'static str,
    /// What failed and on what, for people.
    pub(super) message: String,
    /// Why, the nearest cause first.
    pub(super) causes: Vec<String>,
    /// What to do next.
    pub(super) hints: Vec<String>,
    /// The request, as the audit journal names it.
    pub(super) request: String,
}

/// A request that is not granted.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    kind: &'static str,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    /// The methods that the path knows.
    pub(super) allow: Option<String>,
}

/// What comes of a request.
pub(super) type Outcome<T> = Result<T, Refusal>;

impl Refusal {
    /// Refuses with a status, a stable word and a message.
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Refusal { status, kind, message, causes: Vec::new(), hints: Vec::new(), allow: None }
    }

    /// Refuses a request that cannot be read.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// Refuses a request for something that is not there, or not for this token: which of both is not said.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Refuses what this token may not do.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// Refuses what does not fit how things stand.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// Refuses what is well written and wrong all the same.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    /// Adds what to do next.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says which methods the path knows.
    pub(super) fn allow(self, methods: String) -> Self {
        Refusal { allow: Some(methods), ..self }
    }

    /// Returns what an error of the engine is to whoever asked for something that does not fit how things stand.
    pub(super) fn as_conflict(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Invalid => {
                Refusal { status: StatusCode::CONFLICT, kind: "conflict", ..error.clone().into() }
            }
            _ => error.clone().into(),
        }
    }

    /// Returns what is said.
    pub(super) fn told(self, request: &str) -> Told {
        let Refusal { kind, message, causes, hints, .. } = self;
        Told { error: Trouble { kind, message, causes, hints, request: request.to_owned() } }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (status, kind) = match error.kind() {
            ErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            ErrorKind::Storage | ErrorKind::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ErrorKind::Diverged => (StatusCode::CONFLICT, "conflict"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let causes = match error.kind() {
            // What is wrong with the disk is for the log of whoever runs the service.
            ErrorKind::Storage => {
                tracing::error!("a request failed: {error:?}");
                Vec::new()
            }
            _ => error.to_failure().causes,
        };
        let hints = error.hints().iter().map(ToString::to_string).collect();
        Refusal { status, kind, message: error.message().to_owned(), causes, hints, allow: None }
    }
}
