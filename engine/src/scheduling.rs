//! Carrying out what a look at a schedule comes to.
//!
//! ```text
//!  due, an end, a person's wish ─► decide ─► drafts of the runs ─► one settlement: accounts, runs, the schedule as it stands now
//! ```
//!
//! Two processes that look at the same time settle once: a settlement is void when the schedule is not as it was read any more, and
//! the id of a run follows from its tick. Owns: what a run of a schedule is started with. Does not own: which ticks there are and what
//! becomes of them ([`schedule`](crate::schedule)), and when somebody looks ([`worker`](crate::worker)).

use jiff::Timestamp;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::event::{Arrival, Cause, Schedule, Source};
use crate::journal::{ScheduledEnd, Settlement, Start};
use crate::params::Given;
use crate::prepare::{RunRequest, by_name};
use crate::schedule::{self, decide};

/// What a look at a schedule came to.
#[derive(Debug)]
pub(crate) struct Settled {
    /// What was done.
    pub(crate) settlement: Settlement,
    /// For what a run was started.
    pub(crate) starts: Vec<Arrival>,
    /// Whether more is due than one look takes.
    pub(crate) is_unsettled: bool,
}

impl Core {
    /// Decides what becomes of a schedule that was just read, and does it. Returns nothing when it is another by now.
    ///
    /// # Errors
    /// `Invalid` when a run cannot be started: then nothing is done, and what is due stays due. `Storage`.
    pub(crate) async fn settle_schedule(
        &self,
        schedule: &Schedule,
        ends: &[ScheduledEnd],
        wanted: &[Arrival],
    ) -> Result<Option<Settled>> {
        let now = self.clock.now();
        let decision = decide(schedule, ends, wanted, now)?;
        let mut starts = Vec::with_capacity(decision.starts.len());
        for arrival in &decision.starts {
            starts.push(self.start_of(schedule, arrival, now).await?);
        }
        let by = format!("the schedule {}, for its next run", schedule.id);
        let is_unsettled = decision.to.as_ref().and_then(Schedule::wakes).is_some_and(|wakes| wakes <= now);
        let settlement = Settlement {
            from: Some(schedule.clone()),
            to: decision.to,
            ticks: decision.ticks,
            starts,
            stops: decision.stops.into_iter().map(|run| (run, by.clone())).collect(),
            heard: ends.iter().map(|end| end.run.clone()).collect(),
        };
        if !self.journal.settle(&settlement, now).await? {
            return Ok(None);
        }
        for (run, _) in &settlement.stops {
            self.drives.signal(run);
        }
        Ok(Some(Settled { settlement, starts: decision.starts, is_unsettled }))
    }

    /// Returns a run of a schedule as it would be started. Writes nothing.
    ///
    /// # Errors
    /// `Invalid` when it cannot be started; `Storage`.
    pub(crate) async fn start_of(
        &self,
        schedule: &Schedule,
        arrival: &Arrival,
        now: Timestamp,
    ) -> Result<Start> {
        let given = if schedule.run.is_some() { Given::Recorded } else { Given::Value };
        // What a script scheduled may name what its own run may name.
        let may_name = match &schedule.run {
            Some(run) => Some(self.paths_of(run).await?),
            None => None,
        };
        let mut pinned = Vec::with_capacity(schedule.pins.len());
        for pin in &schedule.pins {
            let text = self.journal.kept(&pin.fingerprint).await?;
            pinned.push(Source { name: pin.name.clone(), text });
        }
        let request = RunRequest {
            may_name,
            pinned,
            id: arrival.run(&schedule.id),
            params: by_name(&schedule.params, given),
            granted: schedule.granted.clone(),
            cause: Cause::Schedule { id: schedule.id.clone(), due: arrival.due },
            workdir: schedule.workdir.clone().into(),
            ..RunRequest::new(&schedule.runbook)
        };
        let run = self.draft(&request)?.run;
        Ok(Start { run, until: schedule::until(schedule.terms.longest, now) })
    }

    /// Changes a schedule as `change` says, again if another process was faster.
    ///
    /// # Errors
    /// `Invalid` when there is no such schedule, and whatever `change` says; `Storage`.
    pub(crate) async fn change_schedule(
        &self,
        id: &str,
        mut change: impl FnMut(&Schedule, Timestamp) -> Result<Settlement>,
    ) -> Result<()> {
        loop {
            let schedule = self.schedule(id).await?;
            let now = self.clock.now();
            if self.journal.settle(&change(&schedule, now)?, now).await? {
                return Ok(());
            }
        }
    }

    /// Returns a schedule.
    ///
    /// # Errors
    /// `Invalid` when there is none; `Storage`.
    pub(crate) async fn schedule(&self, id: &str) -> Result<Schedule> {
        let found = self.journal.schedule(id).await?;
        found.ok_or_else(|| Error::invalid(format!("there is no schedule `{id}`")))
    }
}
