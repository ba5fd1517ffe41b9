//! Whether the service does its work: the worker said so not long ago.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The worker says so every thirty seconds at least.
const SILENCE: Duration = Duration::from_secs(90);

/// When the worker last said that it is at work.
#[derive(Debug)]
pub(crate) struct Health(Mutex<Instant>);

impl Default for Health {
    fn default() -> Self {
        Health(Mutex::new(Instant::now()))
    }
}

impl Health {
    /// Says that the worker is at work.
    pub(crate) fn pulse(&self) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    /// Returns whether it was not long ago.
    pub(super) fn is_good(&self) -> bool {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).elapsed() < SILENCE
    }
}
