//! How far files are on their way, said now and then.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::prelude::*;

/// How far what is carried is, all files together.
pub(in crate::ssh) struct Meter<'a> {
    cx: &'a Cx,
    what: String,
    whole: u64,
    now: Mutex<(u64, Instant)>,
}

impl<'a> Meter<'a> {
    pub(in crate::ssh) fn new(cx: &'a Cx, what: impl Into<String>, whole: u64) -> Self {
        Meter { cx, what: what.into(), whole, now: Mutex::new((0, Instant::now())) }
    }

    /// So much more has arrived, or need not be carried.
    pub(in crate::ssh) fn add(&self, count: u64) {
        let at = {
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            now.0 += count;
            if now.1.elapsed() < Duration::from_millis(200) && now.0 != self.whole {
                return;
            }
            now.1 = Instant::now();
            now.0
        };
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let percent = 100.0 * at as f64 / self.whole.max(1) as f64;
        let said = format!("{}: {} of {}", self.what, size(at), size(self.whole));
        self.cx.progress(said, Some(percent.min(100.0)));
    }
}

/// Returns a number of bytes as people say it.
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
