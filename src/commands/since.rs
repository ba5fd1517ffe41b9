//! A time, or how long ago it was.

use jiff::Timestamp;
use relight_engine::{Error, Span};

/// Reads a time, or how long ago it was.
///
/// # Errors
/// `Invalid` when it is neither.
pub(super) fn since(text: &str, now: Timestamp) -> relight_engine::Result<Timestamp> {
    if let Ok(ago) = text.parse::<Span>() {
        return Ok(now.saturating_sub(ago.get()).unwrap_or(Timestamp::MIN));
    }
    text.parse().map_err(|_| {
        Error::invalid(format!("`{text}` is neither a time nor a duration"))
            .hint("write for example --since 2d, or --since 2026-11-20T22:00:00Z")
    })
}
