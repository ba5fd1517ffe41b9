//! The parsers that read bytes of others, as one function each that must never panic, and what must hold besides.
//!
//! `fuzz/` feeds them for as long as somebody wants; the test below does so for a moment, with the same bytes each time.

use relight_engine::fuzzing::Target;
use reqwest::Url;

use crate::azure::ResourceId;
use crate::azure::auth::challenge_claims;
use crate::azure::error::{ArmError, refused};
use crate::azure::wire::{Method, Response};
use crate::rdp::RdpFile;

/// The body of a refusal.
pub fn error_body(bytes: &[u8]) {
    let response = Response::new(403, [("content-type", "application/json")], bytes);
    let _ = ArmError::read(response.json());
    if let Ok(url) = Url::parse("https://management.azure.com/subscriptions/s") {
        let error = refused(Method::Put, &url, &response);
        assert!(error.message().len() < 64 * 1024, "a message has a bound");
    }
}

/// How long a service wants to be left alone.
pub fn retry_after(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for name in ["Retry-After", "retry-after-ms", "x-ms-retry-after-ms"] {
        let pause = Response::new(429, [(name, text)], b"").retry_after();
        assert!(pause.is_none_or(|pause| !pause.is_zero()), "{name}: {text}");
    }
}

/// A challenge to sign in again.
pub fn www_authenticate(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = challenge_claims(text);
}

/// The id of a resource.
pub fn resource_id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = ResourceId::parse(text) {
        assert_eq!(ResourceId::parse(&id.to_string()).ok(), Some(id), "{text}");
    }
}

/// An RDP file.
pub fn rdp_file(bytes: &[u8]) {
    if let Some(file) = RdpFile::parse(bytes) {
        assert_eq!(RdpFile::parse(&file.bytes()), Some(file), "what is written is read back");
    }
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    (
        error_body,
        br#"{"error":{"code":"AuthorizationFailed","message":"no 'action' over scope '/subscriptions/s'","details":[{"code":"x"}],"innererror":{"message":"{\"error\":{}}"}}}"#,
    ),
    (retry_after, b"Fri, 20 Nov 2026 08:00:00 GMT"),
    (www_authenticate, br#"Bearer realm="", error="insufficient_claims", claims="eyJhIjp7fX0=""#),
    (
        resource_id,
        b"/subscriptions/0a1b/resourceGroups/rg-edge/providers/Microsoft.HybridCompute/machines/web-01",
    ),
    (rdp_file, b"full address:s:10.0.0.5\r\nserver port:i:2179\r\npcb:s:0a1b;EnhancedMode=0\r\n"),
];

#[cfg(test)]
mod tests {
    #[test]
    fn no_bytes_of_others_panic() {
        relight_engine::fuzzing::feed(&super::TARGETS);
    }
}
