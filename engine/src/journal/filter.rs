//! Which runs and which leases are meant.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Status, Summary};
use crate::event::{Lease, RunId};

/// In which order runs are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// What was prepared last first.
    #[default]
    Created,
    /// What changed last first.
    Updated,
    /// By the names of the runbooks, and then what was prepared last first.
    Runbook,
}

impl Sort {
    /// Compares two runs: the lesser is listed first.
    pub fn compare(self, one: &Summary, other: &Summary) -> Ordering {
        let newest = |run: &Summary| (run.created, run.id.clone());
        match self {
            Sort::Created => newest(other).cmp(&newest(one)),
            Sort::Updated => (other.updated, &other.id).cmp(&(one.updated, &one.id)),
            Sort::Runbook => one.runbook.cmp(&other.runbook).then(newest(other).cmp(&newest(one))),
        }
    }
}

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
    /// Only runs that this person or program started.
    pub who: Option<String>,
    /// Only runs that have all of these labels.
    pub labels: BTreeMap<String, String>,
    /// In which order.
    pub sort: Sort,
    /// Only runs that come behind this one, which is the last of the page before.
    pub after: Option<Box<Summary>>,
    /// At most so many; all when zero.
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
        RunFilter { after: Some(Box::new(run.clone())), ..self }
    }

    /// Lists only those that somebody started.
    #[must_use]
    pub fn by(self, who: impl Into<String>) -> Self {
        RunFilter { who: Some(who.into()), ..self }
    }

    /// Lists only those that have a label.
    #[must_use]
    pub fn labelled(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Lists them in another order.
    #[must_use]
    pub fn sorted(self, sort: Sort) -> Self {
        RunFilter { sort, ..self }
    }

    /// Returns whether a run is one of these, but for how many there are.
    pub fn fits(&self, run: &Summary) -> bool {
        let is_left_out = run.id.is_branch() || (self.open && run.status.is_over());
        !is_left_out
            && self.status.is_none_or(|status| run.status == status)
            && self.runbook.as_ref().is_none_or(|runbook| run.runbook == *runbook)
            && self.since.is_none_or(|since| run.created >= since)
            && self.who.as_ref().is_none_or(|who| run.who.as_ref() == Some(who))
            && self.labels.iter().all(|(name, value)| run.labels.get(name) == Some(value))
            && self.after.as_ref().is_none_or(|after| self.sort.compare(after, run) == Ordering::Less)
    }

    /// Lists the first of them, so many at most; all when zero.
    #[must_use]
    pub fn at_most(self, limit: usize) -> Self {
        RunFilter { limit, ..self }
    }
}

/// Which runs that are over have been kept for long enough. Those that something still needs are none of them.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PruneFilter {
    /// Only runs that ended before this time.
    pub before: Option<Timestamp>,
    /// Not the newest ones, so many, of those that are over.
    pub keep: usize,
    /// Only runs of this runbook; the newest that are kept are then of this runbook, too.
    pub runbook: Option<String>,
    /// Only runs that come behind this one, which is the last of the page before.
    pub after: Option<(Timestamp, RunId)>,
    /// At most so many; all when zero.
    pub limit: usize,
}

impl PruneFilter {
    /// Means every run that is over.
    pub fn all() -> Self {
        PruneFilter::default()
    }

    /// Means only those that ended before a time.
    #[must_use]
    pub fn before(self, time: Timestamp) -> Self {
        PruneFilter { before: Some(time), ..self }
    }

    /// Leaves out the newest of those that are over.
    #[must_use]
    pub fn keeping(self, newest: usize) -> Self {
        PruneFilter { keep: newest, ..self }
    }

    /// Means only those of a runbook.
    #[must_use]
    pub fn of(self, runbook: impl Into<String>) -> Self {
        PruneFilter { runbook: Some(runbook.into()), ..self }
    }

    /// Means those that come behind a run, which was the last of the page before.
    #[must_use]
    pub fn after(self, run: &Summary) -> Self {
        PruneFilter { after: Some((run.created, run.id.clone())), ..self }
    }

    /// Means the oldest of them, so many at most; all when zero.
    #[must_use]
    pub fn at_most(self, limit: usize) -> Self {
        PruneFilter { limit, ..self }
    }

    /// Returns whether a run is one of those of which the newest are kept.
    pub fn counts(&self, run: &Summary) -> bool {
        run.status.is_over()
            && !run.id.is_branch()
            && self.runbook.as_ref().is_none_or(|runbook| run.runbook == *runbook)
    }

    /// Returns whether a run that counts is old enough, and behind the page before.
    pub fn fits(&self, run: &Summary) -> bool {
        self.before.is_none_or(|before| run.updated < before)
            && self.after.as_ref().is_none_or(|(created, id)| (run.created, &run.id) > (*created, id))
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
