//! One step: where the script called it, how far it is, and what it came to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Failure;

/// A place in a source text. Lines and columns are one-based; columns count characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The source, when it is not the runbook itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A message about work under way, with a percentage when the service gives one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// What the service last said.
    pub message: String,
    /// How much is done, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
}

impl Progress {
    /// Makes a message about work under way.
    pub fn new(message: impl Into<String>, percent: Option<f64>) -> Self {
        Progress { message: message.into(), percent }
    }
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// It gave a value.
    Ok(Arc<Value>),
    /// It gave a value that lies out of line, as JSON text under its fingerprint.
    Large {
        /// SHA-256 of the text, in hexadecimal.
        sha256: String,
        /// Its length.
        bytes: u64,
    },
    /// It failed in a way that the script may catch.
    Err(Failure),
}
