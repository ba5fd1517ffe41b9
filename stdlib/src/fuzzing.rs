//! The parsers that read bytes of others, as one function each that must never panic, and what must hold besides.
//!
//! `fuzz/` feeds them for as long as somebody wants; the test below does so for a moment, with the same bytes each time.

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

/// A parser, and an input that it takes.
pub type Target = (fn(&[u8]), &'static [u8]);

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
    use proptest::prelude::*;
    use proptest::sample::Index;
    use proptest::test_runner::{Config, RngSeed, TestRunner};

    use super::*;

    #[test]
    fn no_bytes_of_others_panic() {
        let config = Config {
            cases: 2000,
            rng_seed: RngSeed::Fixed(6),
            failure_persistence: None,
            ..Config::default()
        };
        let changes = proptest::collection::vec((any::<Index>(), any::<u8>(), 0..3u8), 0..6);
        for (parse, seed) in TARGETS {
            parse(seed);
            let mutated = (changes.clone(), proptest::collection::vec(any::<u8>(), 0..64), any::<bool>());
            let result = TestRunner::new(config.clone()).run(&mutated, |(changes, noise, is_noise)| {
                let mut bytes = if is_noise { noise } else { seed.to_vec() };
                for (at, byte, how) in changes {
                    let at = at.index(bytes.len() + 1);
                    match how {
                        0 => bytes.insert(at, byte),
                        1 => bytes.truncate(at),
                        _ => bytes.iter_mut().skip(at).take(1).for_each(|it| *it = byte),
                    }
                }
                parse(&bytes);
                Ok(())
            });
            result.unwrap();
        }
    }
}
