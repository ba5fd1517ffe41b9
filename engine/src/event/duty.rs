//! What a step makes due later: closing what it opened, running what it scheduled.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunId;
use crate::effect::Effects;

/// A call of an operation, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The operation's name.
    pub operation: String,
    /// Its arguments by name.
    pub args: Value,
}

/// A duty to close something that was opened, with a deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The lease's name, derived from the run and the step that opened it.
    pub id: String,
    /// The run that opened it.
    pub run: RunId,
    /// For whom it is open: the resource id of the machine, in lower case.
    pub subject: String,
    /// What is open: the wall that several leases may share, such as one port of one host.
    pub door: String,
    /// One line for a person: "VM Connect to web-01 on hq-node2".
    pub title: String,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it is closed at the latest.
    pub deadline: Timestamp,
    /// What closes it. It must do no harm when it is done twice: whoever finds it undecided looks, and
    /// does it again when that tells nothing.
    pub close: Call,
}

/// A lease that a person took off the list, although nobody saw what it left open closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgottenLease {
    /// Its last terms.
    pub lease: Lease,
    /// Who took it off.
    pub by: String,
    /// Why, in that person's words.
    pub because: String,
    /// When.
    pub at: Timestamp,
}

/// A run that is due at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The schedule's name, derived from what made it.
    pub id: String,
    /// The runbook to run.
    pub runbook: String,
    /// Its parameters: as a person would write them or, when a run made it, as that run recorded them.
    pub params: Value,
    /// When it fires next.
    pub due: Timestamp,
    /// How it repeats: a cron expression with a time zone. Fires once when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<String>,
    /// The run that made it, when a run did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The folder below which its runs may touch files.
    pub workdir: String,
    /// What the run that made it may do: its runs may do no more. The engine sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Effects>,
}

/// What else becomes true together with an event, in the same transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "does", rename_all = "snake_case")]
pub enum Effected {
    /// A lease is open. Repeating an id replaces its terms.
    LeaseOpened(Lease),
    /// A lease is closed.
    LeaseClosed {
        /// The lease.
        id: String,
    },
    /// A run is due at a time. Repeating an id replaces it.
    Scheduled(Schedule),
    /// A schedule is gone.
    Unscheduled {
        /// The schedule.
        id: String,
    },
}
