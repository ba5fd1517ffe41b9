//! What the lab remembers of its visitors.

use std::net::SocketAddr;

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

/// One connection to a console port.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ConsoleVisit {
    /// Lab time of the connection.
    pub at: Timestamp,
    /// The node's address that was connected to.
    pub address: SocketAddr,
    /// The preconnection blob, when one came.
    pub blob: Option<String>,
    /// The Arc machine id of the VM that the blob names.
    pub vm: Option<String>,
    /// Whether the console service would have connected this visitor to that VM.
    pub valid: bool,
    /// Why not.
    pub problem: Option<String>,
    /// What came behind the blob, or in its place.
    pub next: NextBytes,
}

/// What a visitor sent after the preconnection PDU.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum NextBytes {
    /// A TLS ClientHello, as from a client that negotiates nothing: what a console expects.
    TlsClientHello,
    /// An X.224 connection request, as to an ordinary RDP server.
    X224,
    /// Something else.
    Other,
    /// Nothing.
    Nothing,
}
