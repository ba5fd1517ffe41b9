//! What signing in needs besides tokens: device codes, SSH certificates, and how a refusal is worded.

pub(crate) mod certificate;
pub(crate) mod device;

use jiff::Timestamp;
use serde_json::json;

use crate::{http::Reply, seed::random_uuid};

/// An error as Entra words it.
pub(crate) struct Refusal {
    status: u16,
    error: &'static str,
    number: u32,
    text: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, error: &'static str, number: u32, text: impl Into<String>) -> Self {
        Self { status, error, number, text: text.into() }
    }

    pub(crate) fn tenant(tenant: &str) -> Self {
        let text = format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
        Self::new(400, "invalid_request", 90002, text)
    }

    pub(crate) fn into_reply(self, now: Timestamp) -> Reply {
        let (trace, correlation) = (random_uuid(), random_uuid());
        let stamp = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let description = format!(
            "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}",
            self.number, self.text
        );
        let body = json!({
            "error": self.error,
            "error_description": description,
            "error_codes": [self.number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
        });
        Reply::json(self.status, body)
    }
}
