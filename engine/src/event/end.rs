//! How a run ended.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Place;
use crate::error::Failure;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum RunEnd {
    /// The script ran to its end.
    Succeeded {
        /// Its last value.
        value: Value,
    },
    /// An error was not caught.
    Failed {
        /// The error.
        failure: Failure,
        /// Where it was raised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
    },
    /// A person stopped it.
    Stopped {
        /// Who.
        by: String,
        /// Why what it had deferred did not run: its script could not be replayed any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unreplayed: Option<Failure>,
    },
    /// A person gave up on it. What it deferred did not run, and what it opened is still open.
    Abandoned {
        /// Who.
        by: String,
        /// Why.
        because: String,
    },
}
