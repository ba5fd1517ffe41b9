//! Requests to addresses that the configuration names. Nothing of an address is ever in what is said about one.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::{Error, Result};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response};

use crate::trust::certificates;

/// How long it may take to be connected.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a request may take in all.
const REQUEST: Duration = Duration::from_secs(10);

/// Makes what sends them. Redirects are not followed: the address is the one that somebody chose.
///
/// # Errors
/// `Invalid` when the certificates that are trusted besides the system's cannot be used.
pub(crate) fn client(ca_bundle: Option<&Path>) -> Result<Client> {
    let mut http = Client::builder()
        .connect_timeout(CONNECT)
        .timeout(REQUEST)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("relight/", env!("CARGO_PKG_VERSION")));
    if let Some(bundle) = ca_bundle {
        http = http.tls_certs_merge(certificates(bundle)?);
    }
    http.build().map_err(|e| Error::invalid("TLS cannot be set up").because(e))
}

/// Returns the pause that an answer asks for.
pub(crate) fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    pause(response.headers().get(RETRY_AFTER)?.to_str().ok()?, now)
}

/// Reads `Retry-After`: seconds, or a date.
fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// Says what went wrong with a request, without the address.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let what = match () {
        () if error.is_timeout() => "no answer came in time",
        () if error.is_connect() => "it cannot be reached",
        () => "the request came to no answer",
    };
    // The innermost cause is the system's, or that of TLS; addresses are in those around it.
    let mut cause = std::error::Error::source(error);
    let mut said = None;
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            said = Some(io.kind().to_string());
        }
        cause = inner.source();
    }
    match said.filter(|_| !error.is_timeout()) {
        Some(said) => format!("{what}: {said}"),
        None => what.to_owned(),
    }
}

/// Returns a number in `0.0..=1.0`, by which pauses differ.
pub(crate) fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_in_seconds_or_a_date() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(pause("120", now), Some(Duration::from_secs(120)));
        assert_eq!(pause("Fri, 15 Jan 2027 08:01:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(pause("Fri, 15 Jan 2021 08:01:00 GMT", now), Some(Duration::ZERO));
        for nonsense in ["", "-5", "soon", "1e9"] {
            assert_eq!(pause(nonsense, now), None, "{nonsense}");
        }
    }
}
