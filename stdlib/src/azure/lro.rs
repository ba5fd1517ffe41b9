//! A long-running operation as a value: it is told what came back and answers what to do next.
//!
//! ```text
//! start ──► Done
//!   └─────► Pending ──► handle_response ──► Wait ──► handle_response ..
//!                             ├─► Final ──► handle_response ──► Done
//!                             ├─► Done
//!                             └─► Failed
//! ```
//!
//! It owns no socket and no clock, never sleeps, and can be stored at any point between two answers. Services differ
//! widely in what they send: a word we do not know means "still running", never a panic. The bearer token goes where
//! these addresses point, so each of them must be on the host that took the first request.
//!
//! What says nothing about the operation itself (a status that is not there, a refused read, a proxy's page) is never
//! read as its failure. Such an error is `Transient`: the engine asks again, and in the end a person.

use std::time::Duration;

use relight_engine::Error;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error;
use super::wire::{Method, Request, Response, same_origin, shortened, without_query};

/// How long to wait when a service does not say.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// How long to wait for something that should be there at any moment.
const SHORT_WAIT: Duration = Duration::from_secs(5);
/// The longest address that is kept. Signed ones of 3.25 KB were recorded.
const LONGEST_URL: usize = 16 * 1024;
/// The longest wait that is believed: contracts say at most ten minutes.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How often what was just made (a status, a resource, a result) may be missing before that is believed.
const PATIENCE: u8 = 6;

/// Where the result of a finished operation is read: `final-state-via` of an API description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalState {
    /// PUT and PATCH read the resource, POST reads `Location` when there is one, DELETE reads nothing.
    #[default]
    Unset,
    /// From `Location`.
    Location,
    /// From the last status answer.
    AzureAsyncOperation,
    /// From the address of the first request.
    OriginalUri,
}

/// What is asked while the operation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// A status resource, named by `Azure-AsyncOperation` (or `Operation-Location`).
    Async,
    /// What a synchronous call would have answered, at `Location`.
    Location,
    /// The resource itself and its `provisioningState`.
    Body,
    /// The result, once: the operation has succeeded.
    Result,
}

/// An operation under way: enough to go on following it after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lro {
    method: Method,
    /// The address of the first request.
    #[serde(with = "text")]
    url: Url,
    kind: Kind,
    /// What to ask next.
    #[serde(with = "text")]
    poll: Url,
    #[serde(default, with = "optional_text", skip_serializing_if = "Option::is_none")]
    location: Option<Url>,
    finish: FinalState,
    /// The last status word, for people.
    status: String,
    /// How often in a row what was asked for was not there.
    #[serde(default)]
    missing: u8,
    /// The result as far as it is known: from a synchronous first answer, then from the last status.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    result: Value,
    /// The id of the first request; polls carry it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_request_id: Option<String>,
}

/// What the first answer means.
#[derive(Clone, Debug)]
pub enum Started {
    /// It is done already.
    Done(Value),
    /// It is under way; look after the wait.
    Pending(Box<Lro>, Duration),
}

/// What a later answer means.
#[derive(Debug)]
pub enum Step {
    /// Still running: look again after the wait.
    Wait(Box<Lro>, Duration, Note),
    /// Succeeded: one more read brings the result.
    Final(Box<Lro>),
    /// Succeeded, with the result.
    Done(Value),
    /// Ended in failure; or, when the error is retryable, does not say how it stands.
    Failed(Error),
}

/// What a service says while an operation runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Note {
    /// Its own word.
    pub status: String,
    /// How much is done, 0 to 100.
    pub percent: Option<f64>,
}

/// A status word, sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Succeeded,
    Failed,
}

impl State {
    /// Only these words are final; whatever else a service says means "still running".
    fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "succeeded" | "completed" => State::Succeeded,
            "failed" | "canceled" | "cancelled" => State::Failed,
            _ => State::Running,
        }
    }
}

impl Lro {
    /// Reads the first answer, which must be a success.
    ///
    /// # Errors
    /// `Rejected` when the resource ended as failed. `Transient` when the request was accepted and cannot be followed: its
    /// status is on another host, or its answer is none of Azure's.
    pub fn start(
        method: Method,
        url: &Url,
        finish: FinalState,
        response: &Response,
        client_request_id: Option<&str>,
    ) -> Result<Started, Error> {
        let body = response.json();
        let state = provisioning_state(body);
        let keeps_body = method == Method::Post && response.status == 200;
        let pending = |kind, poll: Url, location| {
            let lro = Lro {
                method,
                url: url.clone(),
                kind,
                poll,
                location,
                finish,
                status: state.map_or_else(|| "Accepted".into(), |word| shortened(word, 60)),
                missing: 0,
                result: if keeps_body { body.clone() } else { Value::Null },
                client_request_id: client_request_id.map(str::to_owned),
            };
            // A body that already says Succeeded may be the state before this update, so it is checked once, at once.
            let is_done = state.is_some_and(|word| State::of(word) == State::Succeeded);
            let wait = response.retry_after().unwrap_or(if is_done { Duration::ZERO } else { DEFAULT_WAIT });
            Started::Pending(Box::new(lro), wait.min(LONGEST_WAIT))
        };
        if method.is_read() || response.status == 204 {
            return Ok(Started::Done(body.clone()));
        }
        let follow = |target: &str| trusted(url, target).map_err(|why| error::unfollowed(method, url, &why));
        let location = response.header("location");
        for header in ["azure-asyncoperation", "operation-location"] {
            if let Some(target) = response.header(header) {
                let poll = follow(target)?;
                let location = location.and_then(|l| trusted(url, l).ok());
                return Ok(pending(Kind::Async, poll, location));
            }
        }
        let running = state.is_some_and(|word| State::of(word) == State::Running);
        if let Some(target) = location.filter(|_| response.status == 202) {
            let poll = follow(target)?;
            return Ok(pending(Kind::Location, poll.clone(), Some(poll)));
        }
        if response.text().is_some() {
            return Err(error::garbled(method, url, response));
        }
        // On 201 `Location` is plain HTTP for "here is the resource", unless it differs from it. A 200 is whole.
        if let Some(target) = location.filter(|_| running || response.status == 201 && state.is_none()) {
            let is_elsewhere = |l: &Url| !is_same_path(url, l) || is_extended(l);
            if let Some(poll) = trusted(url, target)
                .ok()
                .filter(|_| method != Method::Post || response.status == 201)
                .filter(is_elsewhere)
            {
                return Ok(pending(Kind::Location, poll.clone(), Some(poll)));
            }
        }
        match method {
            Method::Put | Method::Patch if running || response.status == 202 => {
                Ok(pending(Kind::Body, url.clone(), None))
            }
            Method::Put | Method::Patch if state.is_some_and(|word| State::of(word) == State::Failed) => {
                Err(error::ended(method, url, state.unwrap_or_default(), body, response.request_id()))
            }
            // Accepted without an address to ask: the resource itself shows when it is over.
            Method::Delete if response.status == 202 => Ok(pending(Kind::Body, url.clone(), None)),
            Method::Post if response.status == 202 => Ok(pending(Kind::Body, above(url), None)),
            _ => Ok(Started::Done(body.clone())),
        }
    }

    /// Returns what to send next.
    pub fn next_request(&self) -> Request {
        Request { method: Method::Get, url: self.poll.clone() }
    }

    /// Returns the method and the address of the first request.
    pub fn origin(&self) -> (Method, &Url) {
        (self.method, &self.url)
    }

    /// Returns the id that the first request carried.
    pub fn client_request_id(&self) -> Option<&str> {
        self.client_request_id.as_deref()
    }

    /// Returns the service's last word.
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Reads the answer to [`next_request`](Self::next_request).
    pub fn handle_response(mut self, response: &Response) -> Step {
        // Such an answer says nothing about the operation, only about the moment.
        if response.is_passing_trouble() {
            let pause = error::refused(Method::Get, &self.poll, response).pause();
            let note = Note { status: self.status.clone(), percent: None };
            return Step::Wait(Box::new(self), pause.unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT), note);
        }
        // What can be asked for next moves only within the host.
        if self.kind != Kind::Result
            && let Some(moved) = response.header("location").and_then(|l| trusted(&self.url, l).ok())
        {
            if self.kind == Kind::Location {
                self.poll = moved.clone();
            }
            self.location = Some(moved);
        }
        match self.kind {
            Kind::Async => self.handle_status(response),
            Kind::Location => self.handle_location(response),
            Kind::Body => self.handle_body(response),
            Kind::Result => self.handle_result(response),
        }
    }

    fn handle_status(mut self, response: &Response) -> Step {
        if !response.is_success() {
            return self.handle_no_status(response);
        }
        self.missing = 0;
        if response.status == 204 {
            return self.succeed(&Value::Null);
        }
        // Services sign the address anew in each answer. The first one stays good, and the clients that services are
        // tested with keep it; so do we.
        let body = response.json();
        let Some(word) = body.get("status").and_then(Value::as_str).or_else(|| provisioning_state(body))
        else {
            return self.wait(response, None);
        };
        match State::of(word) {
            State::Running => {
                let word = word.to_owned();
                self.wait(response, Some(&word))
            }
            State::Succeeded => self.succeed(body),
            State::Failed => {
                Step::Failed(error::failed(self.method, &self.url, word, body, response.request_id()))
            }
        }
    }

    fn handle_location(mut self, response: &Response) -> Step {
        // Some services put a status resource behind `Location`; its own words count then.
        let is_status = self.poll.path().to_ascii_lowercase().contains("operationstatus");
        if !response.is_success() && (is_status || matches!(response.status, 401 | 403 | 404 | 410)) {
            return self.handle_no_status(response);
        }
        // Otherwise this is what the call itself would have answered.
        if !response.is_success() {
            return Step::Failed(error::refused(Method::Get, &self.poll, response));
        }
        self.missing = 0;
        let body = response.json();
        let status = body.get("status").and_then(Value::as_str).filter(|_| is_status);
        let word = status.or_else(|| provisioning_state(body));
        match (response.status, word.map(State::of)) {
            (_, Some(State::Failed)) if response.status != 202 || status.is_some() => Step::Failed(
                error::failed(self.method, &self.url, word.unwrap_or_default(), body, response.request_id()),
            ),
            (202, Some(State::Succeeded)) if status.is_some() => self.succeed(body),
            (202, _) | (_, Some(State::Running)) => {
                let word = word.map(str::to_owned);
                self.wait(response, word.as_deref())
            }
            _ if status.is_some() => self.succeed(body),
            _ if response.text().is_some() => self.wait(response, None),
            _ => Step::Done(body.clone()),
        }
    }

    fn handle_body(mut self, response: &Response) -> Step {
        let is_delete = self.method == Method::Delete;
        if matches!(response.status, 404 | 410) {
            if is_delete {
                return Step::Done(Value::Null);
            }
            self.missing = self.missing.saturating_add(1);
            if self.missing < PATIENCE {
                return self.ask_again(response);
            }
        }
        if !response.is_success() {
            return self.undecided(response);
        }
        self.missing = 0;
        let body = response.json();
        match provisioning_state(body) {
            _ if response.status == 204 => Step::Done(Value::Null),
            Some(word) if State::of(word) == State::Running => {
                let word = word.to_owned();
                self.wait(response, Some(&word))
            }
            Some(word) if State::of(word) == State::Failed => {
                Step::Failed(error::ended(self.method, &self.url, word, body, response.request_id()))
            }
            // A resource that is still there has not been deleted, whatever its state says.
            _ if is_delete => self.wait(response, None),
            None if !body.is_object() => self.wait(response, None),
            _ => Step::Done(body.clone()),
        }
    }

    fn handle_result(mut self, response: &Response) -> Step {
        if response.is_success() && response.status != 202 && response.text().is_none() {
            return Step::Done(response.json().clone());
        }
        // What was just made may be invisible for a moment; what succeeded is not undone by a failed read.
        self.missing = self.missing.saturating_add(1);
        if self.missing < PATIENCE {
            return self.ask_again(response);
        }
        if self.method == Method::Post || matches!(response.status, 404 | 410) {
            return Step::Done(self.result);
        }
        self.undecided(response)
    }

    /// The status cannot be read, which says nothing about the operation. A young one may not be visible yet; one that
    /// stays away has been forgotten, and the resource has to tell.
    fn handle_no_status(mut self, response: &Response) -> Step {
        if !matches!(response.status, 404 | 410) {
            return self.undecided(response);
        }
        self.missing = self.missing.saturating_add(1);
        if self.missing < PATIENCE {
            return self.ask_again(response);
        }
        // What an action acts on is in good order before, meanwhile and afterwards: it cannot tell.
        if self.method == Method::Post {
            return self.undecided(response);
        }
        self.poll = self.url.clone();
        self.kind = Kind::Body;
        self.missing = 0;
        let note = Note { status: "status record is gone".into(), percent: None };
        Step::Wait(Box::new(self), Duration::ZERO, note)
    }

    /// Asks for the same again in a moment.
    fn ask_again(self, response: &Response) -> Step {
        let note = Note { status: self.status.clone(), percent: None };
        Step::Wait(Box::new(self), response.retry_after().unwrap_or(SHORT_WAIT).min(LONGEST_WAIT), note)
    }

    /// Nothing tells how the operation stands.
    fn undecided(&self, response: &Response) -> Step {
        let refusal = error::refused(Method::Get, &self.poll, response);
        Step::Failed(error::undecided(self.method, &self.url, refusal))
    }

    /// The operation succeeded: decides where its result is.
    fn succeed(mut self, status: &Value) -> Step {
        let result = match status.get("properties") {
            None | Some(Value::Null) => std::mem::take(&mut self.result),
            Some(properties) => properties.clone(),
        };
        let named =
            status.get("resourceLocation").and_then(Value::as_str).and_then(|l| trusted(&self.url, l).ok());
        // Where `Location` is the status address itself, the status is all there is.
        let location = self.location.clone().filter(|l| !is_same_operation(l, &self.poll));
        let read = match (self.method, self.finish) {
            (Method::Delete, _) => None,
            (Method::Put | Method::Patch, FinalState::Location) => {
                named.or(location).or_else(|| Some(self.url.clone()))
            }
            (Method::Put | Method::Patch, _) => named.or_else(|| Some(self.url.clone())),
            (_, FinalState::AzureAsyncOperation) => None,
            (_, FinalState::OriginalUri) => Some(self.url.clone()),
            (_, FinalState::Unset | FinalState::Location) => named.or(location),
        };
        let Some(poll) = read else {
            return Step::Done(result);
        };
        self.poll = poll;
        self.kind = Kind::Result;
        self.missing = 0;
        self.result = result;
        self.status = "Succeeded".into();
        Step::Final(Box::new(self))
    }

    fn wait(mut self, response: &Response, word: Option<&str>) -> Step {
        if let Some(word) = word {
            self.status = shortened(word, 60);
        }
        let percent = response
            .json()
            .get("percentComplete")
            .and_then(Value::as_f64)
            .filter(|p| (0.0..=100.0).contains(p));
        let note = Note { status: self.status.clone(), percent };
        Step::Wait(Box::new(self), response.retry_after().unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT), note)
    }
}

/// Returns `properties.provisioningState`.
pub fn provisioning_state(body: &Value) -> Option<&str> {
    body.get("properties")?.get("provisioningState")?.as_str().filter(|word| !word.is_empty())
}

/// Reads an address out of an answer. It must be on the host that took the first request; otherwise this says why not.
fn trusted(url: &Url, target: &str) -> Result<Url, String> {
    if target.len() > LONGEST_URL {
        return Err(format!("an address of {} bytes", target.len()));
    }
    let target = url.join(target).map_err(|_| "an unreadable address".to_owned())?;
    if same_origin(url, &target) && target.username().is_empty() && target.password().is_none() {
        return Ok(target);
    }
    Err(format!("an address on another host ({})", without_query(&target)))
}

/// Returns whether an address carries the token of an operation, as API Management's do.
fn is_extended(target: &Url) -> bool {
    target.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("asyncId"))
}

fn is_same_path(one: &Url, other: &Url) -> bool {
    one.path().eq_ignore_ascii_case(other.path())
}

/// Returns whether two addresses ask the same of the same operation. Each answer may sign them anew.
fn is_same_operation(one: &Url, other: &Url) -> bool {
    let unsigned = |url: &Url| {
        let pairs = url.query_pairs().filter(|(name, _)| !matches!(name.as_ref(), "t" | "c" | "s" | "h"));
        let mut pairs: Vec<_> =
            pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned())).collect();
        pairs.sort_unstable();
        pairs
    };
    is_same_path(one, other) && unsigned(one) == unsigned(other)
}

/// Returns the address of the resource that an action acts on.
fn above(url: &Url) -> Url {
    let mut url = url.clone();
    if let Some((resource, _)) = url.path().trim_end_matches('/').rsplit_once('/') {
        let resource = resource.to_owned();
        url.set_path(&resource);
    }
    url
}

/// Stores an address as text.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Url;

    pub(super) fn serialize<S: Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(url.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Stores an address that may be missing as text.
mod optional_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::Url;

    pub(super) fn serialize<S: Serializer>(url: &Option<Url>, serializer: S) -> Result<S::Ok, S::Error> {
        url.as_ref().map(Url::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests;
