//! A run in a line: what follows from its events.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::OwnerId;
use crate::error::{Error, Result};
use crate::event::{Event, Park, Prepared, Record, RunEnd, RunId};

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It exists and has not started.
    Prepared,
    /// A process drives it, or did when it died.
    Running,
    /// It is put away until a time or an answer.
    Parked,
    /// It ran to its end.
    Succeeded,
    /// It ended with an error.
    Failed,
    /// A person ended it.
    Stopped,
    /// A person gave up on it.
    Abandoned,
}

impl Status {
    /// Every state.
    pub const ALL: [Status; 7] = [
        Status::Prepared,
        Status::Running,
        Status::Parked,
        Status::Succeeded,
        Status::Failed,
        Status::Stopped,
        Status::Abandoned,
    ];

    /// Returns the word that lists and JSON use.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Prepared => "prepared",
            Status::Running => "running",
            Status::Parked => "parked",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Stopped => "stopped",
            Status::Abandoned => "abandoned",
        }
    }

    /// Returns whether the run is over.
    pub fn is_over(self) -> bool {
        matches!(self, Status::Succeeded | Status::Failed | Status::Stopped | Status::Abandoned)
    }
}

/// One line about a run, derived from its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// The run.
    pub id: RunId,
    /// Its runbook.
    pub runbook: String,
    /// Its state.
    pub status: Status,
    /// When it was prepared.
    pub created: Timestamp,
    /// When its last event was written.
    pub updated: Timestamp,
    /// When it goes on by itself.
    pub wake: Option<Timestamp>,
    /// Why it is parked.
    pub park: Option<Park>,
    /// The last step that was started.
    pub step: u32,
    /// The number of its last record.
    pub seq: u64,
    /// The hash of its last record.
    pub hash: String,
    /// The fencing number of its last claim.
    pub epoch: u64,
    /// Who drives it, or did when it died.
    pub owner: Option<OwnerId>,
    /// The run that it came from: [`Prepared::came_from`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_from: Option<RunId>,
    /// Who started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What whoever started it calls it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Summary {
    /// Returns the summary of a run after its first record.
    pub fn begin(id: &RunId, prepared: &Prepared, first: &Record) -> Self {
        Summary {
            id: id.clone(),
            runbook: prepared.runbook.clone(),
            status: Status::Prepared,
            created: first.at,
            updated: first.at,
            wake: Some(first.at),
            park: None,
            step: 0,
            seq: first.seq,
            hash: first.hash.clone(),
            epoch: 0,
            owner: None,
            came_from: prepared.came_from(),
            who: prepared.who.clone(),
            labels: prepared.labels.clone(),
        }
    }

    /// Returns whether it waits for others to end before it begins.
    pub fn is_queued(&self) -> bool {
        self.status == Status::Prepared && self.wake.is_none()
    }

    /// Folds one event in. The one place that says which event may follow which state.
    ///
    /// # Errors
    /// `Storage` when the event may not follow; the summary is unchanged then.
    pub fn apply(&mut self, event: &Event, record: &Record) -> Result<()> {
        let legal = match event {
            Event::Prepared(_) | Event::Progress { .. } | Event::Output { .. } => false,
            Event::Claimed { epoch, .. } => !self.status.is_over() && *epoch > self.epoch,
            _ => self.status == Status::Running,
        };
        if !legal || record.seq != self.seq + 1 {
            return Err(Error::storage(format!(
                "record {} of run {} may not follow: the run is {}",
                record.seq,
                self.id,
                self.status.as_str()
            )));
        }
        match event {
            Event::Claimed { owner, epoch } => {
                self.status = Status::Running;
                self.owner = Some(OwnerId::from(owner.clone()));
                self.epoch = *epoch;
                self.wake = None;
                self.park = None;
            }
            Event::StepStarted { step, .. } => self.step = *step,
            Event::Parked { park, until } => {
                self.status = Status::Parked;
                self.owner = None;
                self.wake = *until;
                self.park = Some(park.clone());
            }
            Event::Finished { end, .. } => {
                self.status = match end {
                    RunEnd::Succeeded { .. } => Status::Succeeded,
                    RunEnd::Failed { .. } => Status::Failed,
                    RunEnd::Stopped { .. } => Status::Stopped,
                    RunEnd::Abandoned { .. } => Status::Abandoned,
                };
                self.owner = None;
                self.wake = None;
                self.park = None;
            }
            _ => {}
        }
        self.seq = record.seq;
        self.hash.clone_from(&record.hash);
        self.updated = record.at;
        Ok(())
    }
}
