//! A run command: a script that the Arc agent of a machine runs, and what became of it.
//!
//! ```text
//! pending ──► running ──► succeeded, failed, timed out
//!    └── for ever, while the agent is out of touch
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Tags;

/// A run command of an Arc machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RunCommand {
    pub(crate) name: String,
    pub(crate) machine: String,
    pub(crate) group: String,
    /// The properties that are read back: all that was sent but the secrets.
    pub(crate) sent: Value,
    pub(crate) tags: Tags,
    /// When the agent takes it up; never, when `None`.
    pub(crate) begins: Option<Timestamp>,
    /// When the script is over; never, when `None`.
    pub(crate) ends: Option<Timestamp>,
    /// When nothing more is done about it: once the script is over, or has begun where nobody waits for it.
    pub(crate) settled: Option<Timestamp>,
    /// What the script did, which is told once it is over.
    pub(crate) outcome: Outcome,
    /// When the record will be gone, once its deletion was accepted.
    pub(crate) gone: Option<Timestamp>,
    /// How often a script ran under this name, so that a repeated request shows in a snapshot.
    pub(crate) runs: u32,
}

/// What a script did.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) status: u32,
    pub(crate) output: String,
    pub(crate) error: String,
    /// Whether it took longer than it might.
    pub(crate) is_late: bool,
}

impl RunCommand {
    pub(crate) fn is(&self, group: &str, machine: &str, name: &str) -> bool {
        self.is_on(group, machine) && self.name.eq_ignore_ascii_case(name)
    }

    pub(crate) fn is_on(&self, group: &str, machine: &str) -> bool {
        self.machine.eq_ignore_ascii_case(machine) && self.group.eq_ignore_ascii_case(group)
    }

    /// Returns the word for `provisioningState`. That the script failed is not among what it says.
    pub(crate) fn state(&self, now: Timestamp) -> &'static str {
        match () {
            () if self.gone.is_some() => "Deleting",
            () if self.settled.is_some_and(|at| at <= now) => "Succeeded",
            () => "Creating",
        }
    }

    /// Returns the word for `executionState`.
    pub(crate) fn execution(&self, now: Timestamp) -> &'static str {
        let has = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        match () {
            () if !has(self.begins) => "Pending",
            () if !has(self.ends) => "Running",
            () if self.outcome.is_late => "TimedOut",
            () if self.outcome.status != 0 => "Failed",
            () => "Succeeded",
        }
    }
}
