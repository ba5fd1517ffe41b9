//! What an observer sees of the requests.

use std::fmt;
use std::sync::Arc;

use relight_engine::Cx;
use reqwest::Url;
use serde_json::Value;

use crate::azure::wire::{Method, Response};

/// A request as an observer sees it, just before it is sent. Secrets in the body are still references.
#[derive(Clone, Debug)]
pub struct SentRequest {
    /// The method.
    pub method: Method,
    /// The whole address. That of a status may carry a signature.
    pub url: Url,
    /// The body.
    pub body: Option<Value>,
    /// Its `x-ms-client-request-id`.
    pub client_request_id: String,
}

pub(super) type OnRequest = Arc<dyn Fn(&SentRequest) + Send + Sync>;

/// A request and its answer, as an observer sees them. Secrets that were given to the request are still references in it; the
/// answer is as it came, and may say anything.
pub struct Exchange<'a> {
    /// The method.
    pub method: Method,
    /// The whole address. That of a status may carry a signature.
    pub url: &'a Url,
    /// The body of the request.
    pub request: Option<&'a Value>,
    /// What came back.
    pub answer: &'a Response,
    pub(in crate::azure) step: Option<&'a Cx>,
}

impl Exchange<'_> {
    /// Returns whether a text holds a secret that was revealed in this process, in whatever form.
    pub fn holds_secret(&self, text: &str) -> bool {
        self.step.is_some_and(|cx| {
            let mut redact = cx.redact();
            let mut cleaned = redact.push(text);
            cleaned.push_str(&redact.finish());
            cleaned != text
        })
    }
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.url.path(), self.answer.status)
    }
}

pub(super) type OnExchange = Arc<dyn Fn(&Exchange<'_>) + Send + Sync>;
