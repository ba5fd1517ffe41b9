//! Which runs and which leases are meant.

use jiff::Timestamp;

use super::{Status, Summary};
use crate::event::{Lease, RunId};

/// Which runs to list.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunFilter {
    /// Only runs that are not over.
    pub open: bool,
    /// Only runs in this state.
    pub status: Option<Status>,
    /// Only runs of this runbook.
    pub runbook: Option<String>,
    /// Only runs that were prepared at this time or later.
    pub since: Option<Timestamp>,
    /// Only runs that come behind this one, which is the last of the page before.
    pub after: Option<(Timestamp, RunId)>,
    /// At most so many, newest first; all when zero.
    pub limit: usize,
}

impl RunFilter {
    /// Lists every run.
    pub fn all() -> Self {
        RunFilter::default()
    }

    /// Lists the runs that are not over.
    pub fn open() -> Self {
        RunFilter { open: true, ..RunFilter::default() }
    }

    /// Lists only those in a state.
    #[must_use]
    pub fn in_state(self, status: Status) -> Self {
        RunFilter { status: Some(status), ..self }
    }

    /// Lists only those of a runbook.
    #[must_use]
    pub fn of(self, runbook: impl Into<String>) -> Self {
        RunFilter { runbook: Some(runbook.into()), ..self }
    }

    /// Lists only those that were prepared at a time or later.
    #[must_use]
    pub fn since(self, time: Timestamp) -> Self {
        RunFilter { since: Some(time), ..self }
    }

    /// Lists those that come behind a run, which was the last of the page before.
    #[must_use]
    pub fn after(self, run: &Summary) -> Self {
        RunFilter { after: Some((run.created, run.id.clone())), ..self }
    }

    /// Returns whether a run is one of these, but for how many there are.
    pub fn fits(&self, run: &Summary) -> bool {
        let is_left_out = run.id.is_branch() || (self.open && run.status.is_over());
        !is_left_out
            && self.status.is_none_or(|status| run.status == status)
            && self.runbook.as_ref().is_none_or(|runbook| run.runbook == *runbook)
            && self.since.is_none_or(|since| run.created >= since)
            && self.after.as_ref().is_none_or(|(created, id)| (run.created, &run.id) < (*created, id))
    }

    /// Lists the newest of them, so many at most; all when zero.
    #[must_use]
    pub fn at_most(self, limit: usize) -> Self {
        RunFilter { limit, ..self }
    }
}

/// Which open leases to list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseFilter {
    /// Those whose deadline has come by a time.
    Due(Timestamp),
    /// The one of an id.
    Id(String),
    /// Those for one subject, compared without case.
    Subject(String),
    /// Those that share one door, compared without case.
    Door(String),
}

impl LeaseFilter {
    /// Returns whether a lease is meant.
    pub fn fits(&self, lease: &Lease) -> bool {
        match self {
            LeaseFilter::Due(now) => lease.deadline <= *now,
            LeaseFilter::Id(id) => lease.id == *id,
            LeaseFilter::Subject(subject) => lease.subject.eq_ignore_ascii_case(subject),
            LeaseFilter::Door(door) => lease.door.eq_ignore_ascii_case(door),
        }
    }
}
