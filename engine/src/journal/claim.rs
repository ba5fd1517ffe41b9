//! Who drives a run: the process, its claim, and the right to write that comes of it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::RunId;

/// The name of a process that drives runs. Fresh for every process start, and cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OwnerId(Arc<str>);

impl OwnerId {
    /// Makes the name of a new process.
    pub fn fresh() -> Self {
        OwnerId(uuid::Uuid::new_v4().simple().to_string().into())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for OwnerId {
    fn from(text: String) -> Self {
        OwnerId(text.into())
    }
}

/// The right to write to a run: void as soon as another process has claimed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// The run.
    pub run: RunId,
    /// Who holds it.
    pub owner: OwnerId,
    /// The fencing number; every claim makes a higher one.
    pub epoch: u64,
}

/// What a process says that wants to drive a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// The run.
    pub run: RunId,
    /// Who wants it.
    pub owner: OwnerId,
    /// When.
    pub at: Timestamp,
    /// A process that is known, by other means than its heartbeat, to be gone.
    pub dead: Option<OwnerId>,
    /// The number of the last record that the process has read, if nothing may have followed.
    pub seen: Option<u64>,
    /// Also takes the run out of the queue.
    pub queued: bool,
}

impl ClaimRequest {
    /// Makes a request of a process for a run.
    pub fn new(run: &RunId, owner: &OwnerId, at: Timestamp) -> Self {
        ClaimRequest { run: run.clone(), owner: owner.clone(), at, dead: None, seen: None, queued: false }
    }

    /// Says that a process is gone, whatever its heartbeat says.
    pub fn dead(self, owner: &OwnerId) -> Self {
        ClaimRequest { dead: Some(owner.clone()), ..self }
    }

    /// Wants the run also when it is in the queue: it leaves it.
    pub fn queued(self) -> Self {
        ClaimRequest { queued: true, ..self }
    }

    /// Wants the run only as it was read: nothing after record `seq`.
    pub fn seen(self, seq: u64) -> Self {
        ClaimRequest { seen: Some(seq), ..self }
    }
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// The run is ours; `Event::Claimed` is in its journal.
    Granted(Tenure),
    /// Another process drives it.
    Held {
        /// Who.
        by: OwnerId,
        /// Until when its lease on the run holds, unless it renews it.
        until: Timestamp,
    },
    /// Somebody wrote to the run after what the caller has read.
    Moved,
    /// The run is in the queue: as many runs are under way as may be.
    Queued,
    /// The run is over.
    Over,
}

/// What is known about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It runs, or is suspended.
    Here,
    /// It is gone and will never write or send again.
    Gone,
    /// Only its heartbeat can tell.
    Unknown,
}
