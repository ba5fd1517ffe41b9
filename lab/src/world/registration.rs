//! A resource provider that the subscription may not use yet.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A provider that was not registered when the world began. Whatever is not listed is registered.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Registration {
    pub(crate) namespace: String,
    /// When it is registered, once somebody asked for it.
    pub(crate) done: Option<Timestamp>,
}

impl Registration {
    /// Returns the word for `registrationState`.
    pub(crate) fn state(&self, now: Timestamp) -> &'static str {
        match self.done {
            None => "NotRegistered",
            Some(done) if done > now => "Registering",
            Some(_) => "Registered",
        }
    }
}
