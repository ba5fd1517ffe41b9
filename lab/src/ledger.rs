//! What the lab remembers of its visitors.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One mutating ARM request that arrived and was accepted or refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LedgerEntry {
    /// The place in the order of arrival, from 1.
    pub seq: u64,
    /// Lab time of arrival.
    pub at: Timestamp,
    /// `PUT`, `PATCH`, `POST` or `DELETE`.
    pub method: String,
    /// The path as it was sent, without the query.
    pub path: String,
    /// The `api-version` that was asked for, empty when there was none.
    pub api_version: String,
    /// `x-ms-client-request-id`, when sent.
    pub client_request_id: Option<String>,
    /// The correlation id of the answer.
    pub correlation_id: String,
    /// SHA-256 of the body as it was sent, in hex.
    pub body_sha256: String,
    /// The body, `null` when empty or not JSON.
    pub body: Value,
    /// The status that was answered, even if the answer never reached the client.
    pub status: u16,
    /// Whether the request changed the world.
    pub effect: bool,
}

/// One request of any kind.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestEntry {
    /// The HTTP method.
    pub method: String,
    /// The path as it was sent, without the query.
    pub path: String,
    /// Lab time of arrival.
    pub at: Timestamp,
    /// The status that was answered; 0 when the connection was closed without looking at the request.
    pub status: u16,
}
