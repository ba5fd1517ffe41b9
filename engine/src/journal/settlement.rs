//! What a look at a schedule comes to, as data: a journal does all of it or nothing.

use super::{NewRun, Status};
use crate::error::{Error, Result};
use crate::event::{RunId, Schedule, Tick};
use jiff::Timestamp;

/// What a schedule comes to at one look.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settlement {
    /// The schedule as it was read; nothing when there is none of that name.
    pub from: Option<Schedule>,
    /// What it becomes; it is gone when there is nothing.
    pub to: Option<Schedule>,
    /// What became of ticks.
    pub ticks: Vec<Tick>,
    /// The runs that begin.
    pub starts: Vec<Start>,
    /// The runs that are asked to stop, and by whom. One that is over is left alone.
    pub stops: Vec<(RunId, String)>,
    /// The runs of whose end it has heard now.
    pub heard: Vec<RunId>,
}

impl Settlement {
    /// Adds a schedule, if there is none of its name.
    pub fn add(schedule: Schedule) -> Self {
        Settlement { to: Some(schedule), ..Settlement::default() }
    }

    /// Changes nothing about a schedule as it was read.
    pub fn of(from: &Schedule) -> Self {
        Settlement { from: Some(from.clone()), to: Some(from.clone()), ..Settlement::default() }
    }

    /// Removes a schedule.
    pub fn remove(from: &Schedule) -> Self {
        Settlement { from: Some(from.clone()), ..Settlement::default() }
    }

    /// Says what it becomes.
    #[must_use]
    pub fn to(self, schedule: Schedule) -> Self {
        Settlement { to: Some(schedule), ..self }
    }

    /// Returns the name of the schedule.
    ///
    /// # Errors
    /// `Invalid` when there is none, or when there are two.
    pub fn schedule(&self) -> Result<&str> {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) if from.id != to.id => {
                Err(Error::invalid(format!("the schedule `{}` cannot become `{}`", from.id, to.id)))
            }
            (Some(schedule), _) | (None, Some(schedule)) => Ok(&schedule.id),
            (None, None) => Err(Error::invalid("a settlement is of a schedule")),
        }
    }
}

/// A run of a schedule that begins.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Start {
    /// The run.
    pub run: NewRun,
    /// When it is asked to stop if it is not over by then.
    pub until: Option<Timestamp>,
}

impl Start {
    /// Makes the start of a run that takes as long as it takes.
    pub fn new(run: NewRun) -> Self {
        Start { run, until: None }
    }
}

/// That a run of a schedule is over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduledEnd {
    /// The run.
    pub run: RunId,
    /// Its schedule.
    pub schedule: String,
    /// How it ended.
    pub status: Status,
}

/// Which accounts of ticks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TickFilter {
    /// Only those of a schedule.
    pub schedule: Option<String>,
    /// At most so many, the newest first; all when zero.
    pub limit: usize,
}

impl TickFilter {
    /// Lists those of a schedule.
    pub fn of(schedule: impl Into<String>) -> Self {
        TickFilter { schedule: Some(schedule.into()), ..TickFilter::default() }
    }

    /// Lists the newest of them, so many at most; all when zero.
    #[must_use]
    pub fn at_most(self, limit: usize) -> Self {
        TickFilter { limit, ..self }
    }
}
