//! The name of a run.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hash::{digest, hex};

/// The name of a run: hexadecimal digits that are random from the first on. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(Arc<str>);

impl RunId {
    /// Makes an id for a run that a person starts. It is random from its first digit on, so that a short
    /// beginning tells it from others.
    pub fn fresh() -> Self {
        let random = uuid::Uuid::new_v4().as_bytes().to_owned();
        // Bytes 6 and 8 of a version 4 UUID are not all random.
        RunId(hex(&[&random[..6], &random[10..12]].concat()).into())
    }

    /// Makes the id of a branch of a step: it says what it is part of.
    pub fn branch(&self, step: u32, index: u32) -> Self {
        RunId(format!("{}.{step}.{index}", self.0).into())
    }

    /// Returns whether this is a branch, which is listed with its run and not by itself.
    pub fn is_branch(&self) -> bool {
        self.0.contains('.')
    }

    /// Returns the run that a branch is part of in the end; itself for what is no branch.
    pub fn whole(&self) -> Self {
        RunId(self.0.split('.').next().unwrap_or_default().into())
    }

    /// Returns how many branches stand one in the other here; 0 for a run of its own.
    pub fn nesting(&self) -> usize {
        self.0.matches('.').count() / 2
    }

    /// Makes the id of a run that something else fixes, such as the firing of a schedule.
    ///
    /// The same parts give the same id, so that what they stand for cannot start twice.
    pub fn derived(parts: &[&str]) -> Self {
        RunId(format!("d{}", &digest(parts)[..15]).into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<String> for RunId {
    fn from(text: String) -> Self {
        RunId(text.into())
    }
}

impl From<&str> for RunId {
    fn from(text: &str) -> Self {
        RunId(text.into())
    }
}
