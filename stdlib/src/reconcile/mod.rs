//! The mould of an operation that brings one resource into a state and waits until it is there.
//!
//! An operation says only what differs ([`DesiredState`]): how the resource stands, and which request changes it. What all
//! have in common is here, once: sending, waiting for what is under way already, following Azure's status while the
//! resource itself is read, and finding the trace of a request whose answer was lost ([`change`]). `docs/operations.md`
//! shows how to write one.
//!
//! Owns no knowledge of any resource. An operation that takes several requests is a saga of its own, which may store a
//! [`Change`] for each of them.

mod adapter;
mod change;
mod removed;
#[cfg(test)]
mod tests;
mod turn;

use serde::de::DeserializeOwned;

pub(crate) use adapter::register;
pub(crate) use change::{Advanced, Change};
pub(crate) use removed::Removed;

use crate::prelude::*;

/// A state that one resource shall be in: how to see whether it is, and the request that brings it there.
pub(crate) trait DesiredState: Send + Sync + 'static {
    /// What is wished for.
    type Args: Send + Sync + 'static;
    /// Which resource is meant, stored with the step.
    type Target: Serialize + DeserializeOwned + Send + Sync;
    /// What is known of it once it is as wished.
    type Value: Send + Sync + 'static;

    /// What to do when nobody knows whether the request left. [`Redo::Probe`] and [`Redo::Resend`] look at the resource
    /// before they send, also after a crash. [`Redo::Ask`] is for a change that leaves no trace: nothing that is under
    /// way counts as this step's doing, and the request leaves only from `begin`, where a crash is asked about.
    const REDO: Redo = Redo::Probe;

    /// Returns the connection.
    fn azure(&self) -> &Azure;

    /// Reads how the resource stands. Changes nothing.
    ///
    /// # Errors
    /// What makes the wish impossible, beside whatever Azure says.
    fn look(
        &self,
        cx: &Cx,
        args: &Self::Args,
        target: &Self::Target,
        known: Known,
    ) -> impl Future<Output = Result<Look<Self::Value>>> + Send;

    /// Says what is being done, as the beginning of a line: `web-01: start`.
    fn doing(&self, target: &Self::Target) -> String;

    /// Returns the request that changes it.
    fn request<'a>(&self, args: &'a Self::Args, target: &'a Self::Target) -> Request<'a>;

    /// Says more about a request that failed.
    fn explain(&self, _cx: &Cx, _target: &Self::Target, error: Error) -> impl Future<Output = Error> + Send {
        async { error }
    }
}

/// An operation that brings one resource into a state. [`register`] makes it one of the engine's.
pub(crate) trait ResourceOperation:
    DesiredState<Args: DeserializeOwned + JsonSchema, Value: Serialize + JsonSchema>
{
    /// The name in scripts: `area::verb`.
    const NAME: &'static str;
    /// One sentence that says what is true afterwards.
    const SUMMARY: &'static str;
    /// What it may do.
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::AzureWrite];
    /// Which codes its errors may have that a script can decide on.
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];
    /// How long it may take before a person is asked.
    const WITHIN: Duration;

    /// Returns examples; each runs as a test.
    fn examples() -> Vec<Example>;

    /// Finds the resource that the arguments mean. Asked once; changes nothing.
    ///
    /// # Errors
    /// That there is none, and whatever Azure says.
    fn target(&self, cx: &Cx, args: &Self::Args) -> impl Future<Output = Result<Self::Target>> + Send;

    /// Returns how long a call may take, where its arguments say so.
    fn within(&self, _args: &Self::Args) -> Duration {
        Self::WITHIN
    }
}

/// How a resource stands against what is wished for.
#[derive(Debug)]
pub(crate) enum Look<T> {
    /// As wished; this is the value of the operation.
    Reached(T),
    /// Something is being done to it, whoever asked for that: what, and how many percent of it.
    Moving(String, Option<f64>),
    /// Neither: a request is needed.
    Away,
    /// The resource cannot tell: the answer to the request is all there is.
    Blind,
}

impl<T> Look<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Look<U> {
        match self {
            Look::Reached(value) => Look::Reached(f(value)),
            Look::Moving(said, percent) => Look::Moving(said, percent),
            Look::Away => Look::Away,
            Look::Blind => Look::Blind,
        }
    }
}

/// What is known of a change besides the resource itself.
#[derive(Debug)]
pub(crate) struct Known {
    /// Whether this step sent its request, or may have.
    pub(crate) sent: bool,
    /// Whether the resource was seen moving, since the request if there was one.
    pub(crate) moved: bool,
    /// Whether Azure's status of the request is over, so that only the resource is left to ask.
    pub(crate) over: bool,
    /// What the request came to, at the look that follows the end of its status.
    pub(crate) result: Option<Value>,
}

impl Known {
    /// Returns whether this step's request has shown, so that a resource that rests says what it came to.
    pub(crate) fn is_concluded(&self) -> bool {
        self.sent && (self.moved || self.over)
    }
}

/// A request as an operation describes it.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    method: Method,
    path: String,
    /// Known-good api-versions, newest first.
    versions: Vec<&'a str>,
    /// The resource type, by which the version that a region offers is remembered.
    kind: &'a str,
    body: Option<Value>,
    finish: FinalState,
}

impl<'a> Request<'a> {
    /// Describes a request after which the resource is read, so that where its own result lies does not matter.
    pub(crate) fn new(method: Method, path: String, api: Api<'a>) -> Self {
        let finish = FinalState::AzureAsyncOperation;
        Request { method, path, versions: api.versions.to_vec(), kind: api.kind, body: None, finish }
    }

    /// Describes a request of which nothing is known: its own result is all there is.
    pub(crate) fn unknown(method: Method, path: &'a str, version: &'a str) -> Self {
        let (versions, finish) = (vec![version], FinalState::Unset);
        Request { method, path: path.to_owned(), versions, kind: path, body: None, finish }
    }

    /// Sets the body.
    pub(crate) fn body(self, body: impl Into<Option<Value>>) -> Self {
        Request { body: body.into(), ..self }
    }

    /// Says where the result of the request lies, when that is what is wanted of it.
    pub(crate) fn finish(self, finish: FinalState) -> Self {
        Request { finish, ..self }
    }

    async fn send(&self, azure: &Azure, cx: &Cx) -> Result<Started> {
        let api = Api { kind: self.kind, versions: &self.versions };
        let (method, finish) = (self.method, self.finish);
        azure.arm.write(cx, Write { method, path: &self.path, api, body: self.body.as_ref(), finish }).await
    }
}
