//! One line of events per run: what the journal stores and what observers see as progress.
//!
//! Format version 1. A change to what is written here must answer three questions in its commit:
//! old reader and new data, new reader and old data, old writer and new data. Histories saved by
//! every release are replayed by the tests (`tests/journals/`).

mod duty;
mod end;
mod made;
mod park;
mod prepared;
mod record;
mod schedule;
mod step;
#[cfg(test)]
mod tests;
mod tick;

pub use duty::{Call, Effected, ExtendedLease, ForgottenLease, Lease};
pub use end::RunEnd;
use jiff::Timestamp;
pub use made::{KeptOutput, Stream, WrittenFile};
pub use park::{Park, Signal};
pub use prepared::{Branch, Cause, Entry, Function, Pin, Prepared, Provenance, Source};
pub use record::{GENESIS, Record, verify};
pub use schedule::{Arrival, Overlap, Pause, Schedule, Standing, Terms};
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use step::{Place, Progress, StepEnd};
pub use tick::{Fate, Tick, TickCause};

use crate::error::Failure;
#[cfg(feature = "sqlite")]
pub(crate) use crate::hash::unhex;
pub use crate::hash::{content_hash, digest, fingerprint, hex};
pub use crate::run_id::RunId;

/// The version of the event format that this build writes.
pub const FORMAT: u32 = 1;

/// One thing that happened to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The run exists; always the first event.
    Prepared(Box<Prepared>),
    /// A process took the run on.
    Claimed {
        /// The process.
        owner: String,
        /// The fencing number; grows with each claim.
        epoch: u64,
    },
    /// The intent of a step. Durable before its request leaves.
    StepStarted {
        /// The step's number, from 1.
        step: u32,
        /// The operation.
        operation: String,
        /// Its arguments by name.
        args: Value,
        /// Where the script calls it.
        at: Place,
        /// Which attempt this is, from 1.
        attempt: u32,
        /// Until when whoever wrote this may send. Whoever finds the step open later waits for that
        /// time, and a margin, unless the writer is known to be gone. Left out where nothing changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        send_before: Option<Timestamp>,
    },
    /// Whoever drives the step may send for longer. Written before the request that comes late.
    StepExtended {
        /// The step.
        step: u32,
        /// Until when, as in `StepStarted`.
        send_before: Timestamp,
    },
    /// An attempt failed in a way that another may mend.
    StepRetrying {
        /// The step.
        step: u32,
        /// The attempt that failed.
        attempt: u32,
        /// Its error.
        failure: Failure,
        /// Whether the request certainly had no effect.
        clean: bool,
        /// When the next attempt is due.
        until: Timestamp,
    },
    /// The operation is under way elsewhere; this is enough to go on waiting after a restart.
    StepAccepted {
        /// The step.
        step: u32,
        /// The operation's own state.
        continuation: Value,
        /// When to look next.
        check_at: Timestamp,
        /// When to stop waiting and ask a person.
        deadline: Timestamp,
        /// Until when whoever wrote this may send, as in `StepStarted`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        send_before: Option<Timestamp>,
        /// What became true with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        effected: Vec<Effected>,
    },
    /// The step's result. A failure of the kind `script` says that the call itself was wrong: nothing
    /// was sent, and the number is taken by the call that the mended text makes in its place.
    StepFinished {
        /// The step.
        step: u32,
        /// What it came to.
        end: StepEnd,
        /// What became true with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        effected: Vec<Effected>,
    },
    /// A step said something that is kept. Never part of a replay.
    OutputKept {
        /// The step.
        step: u32,
        /// The piece.
        #[serde(flatten)]
        output: KeptOutput,
    },
    /// A step wrote a file.
    FileWritten {
        /// The step.
        step: u32,
        /// The file.
        #[serde(flatten)]
        file: WrittenFile,
    },
    /// A signal took effect here.
    Signalled {
        /// The word.
        #[serde(flatten)]
        signal: Signal,
    },
    /// The run goes on with other texts, which replay what was recorded so far.
    Mended {
        /// The texts, the runbook itself first. They are part of the record.
        sources: Vec<Source>,
        /// Where the library stood.
        #[serde(default)]
        provenance: Provenance,
        /// Who wanted it.
        by: String,
    },
    /// The run is put away.
    Parked {
        /// Why.
        #[serde(flatten)]
        park: Park,
        /// When it goes on by itself, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// The run is over; always the last event.
    Finished {
        /// How.
        #[serde(flatten)]
        end: RunEnd,
        /// The run that waits for this one: it is told in the same transaction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<RunId>,
    },
    /// What the service last said. Shown, never stored.
    Progress {
        /// The step.
        step: u32,
        /// The message.
        #[serde(flatten)]
        progress: Progress,
    },
    /// What a step says, as it comes. Shown, never stored as it is: see `OutputKept`.
    Output {
        /// The step.
        step: u32,
        /// On which stream.
        stream: Stream,
        /// The next piece, wherever it begins and ends. Secrets are taken out.
        text: String,
    },
}

impl Event {
    /// Returns whether the journal keeps the event.
    pub fn is_durable(&self) -> bool {
        !matches!(self, Event::Progress { .. } | Event::Output { .. })
    }

    /// Returns the fingerprint of the text that lies beside the record: a large result, or kept output.
    pub fn text(&self) -> Option<&str> {
        match self {
            Event::StepFinished { end: StepEnd::Large { sha256, .. }, .. } => Some(sha256),
            Event::OutputKept { output, .. } => Some(&output.sha256),
            _ => None,
        }
    }

    /// Returns what becomes true together with the event.
    pub fn effected(&self) -> &[Effected] {
        match self {
            Event::StepAccepted { effected, .. } | Event::StepFinished { effected, .. } => effected,
            _ => &[],
        }
    }
}
