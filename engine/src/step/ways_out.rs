//! The ways in which a run leaves its driver: over, or put away with a reason.

use jiff::Timestamp;

use super::{Steps, Unwind};
use crate::drive::Halt;
use crate::error::{Error, Failure, Result};
use crate::event::{Cause, Event, Park, Place, RunEnd, Signal};
use crate::journal::Sync;
use crate::log::{Hold, Until, Woken};
use crate::runbook::MEND_WITHIN;

impl Steps {
    /// Ends the run, and tells the run that waits for it.
    pub(crate) async fn finish(&self, end: RunEnd) -> Result<(), Unwind> {
        let parent = match &self.line().history.prepared.cause {
            Cause::Run { id, .. } => Some(id.clone()),
            _ => None,
        };
        self.parts.handles.close(self.log.run()).await;
        self.last(Event::Finished { end, parent }).await
    }

    /// Puts the run away.
    pub(crate) async fn park(&self, park: Park, until: Option<Timestamp>) -> Unwind {
        self.parts.handles.close(self.log.run()).await;
        match self.record(vec![Event::Parked { park: park.clone(), until }], Sync::Now).await {
            // What the caller hears is what was written: without secrets.
            Ok(()) => Unwind::Parked(Box::new(self.line().history.park.clone().unwrap_or(park)), until),
            Err(unwind) => unwind,
        }
    }

    /// Puts the run away because driving it ends: for a person who interrupted it, or for the next
    /// process. What closes a lease is nobody's to keep: it always goes on at once.
    pub(crate) async fn put_down(&self) -> Unwind {
        match self.log.halted() {
            Some(Halt::Interrupt) if !self.closes_a_lease() => self.park(Park::Interrupted, None).await,
            _ => self.park(Park::HandedBack, Some(self.parts.clock.now())).await,
        }
    }

    /// Puts the run away until somebody mends its text. What it `deferred` runs in the end all the same:
    /// not later than the runbook says after the mistake was first met.
    pub(crate) async fn park_mistake(&self, failure: Failure, at: Option<Place>, deferred: bool) -> Unwind {
        let known = match &self.line().history.park {
            Some(Park::Mistake { failure: known, mend_by, .. }) if *known == failure => *mend_by,
            _ => None,
        };
        let mend_within = self.runbook.get().map_or(MEND_WITHIN, |runbook| runbook.mend_within);
        let mend_by = match deferred {
            true => known.or_else(|| Some(self.parts.after(mend_within))),
            false => None,
        };
        self.park(Park::Mistake { failure, at, mend_by }, mend_by).await
    }

    /// Stops the run when its time to be mended is over.
    pub(crate) async fn give_up_mending(&self) -> Result<(), Unwind> {
        let is_over = match &self.line().history.park {
            Some(Park::Mistake { mend_by: Some(by), .. }) => self.parts.clock.now() >= *by,
            _ => false,
        };
        if !is_over || self.stopped_by().is_some() {
            return Ok(());
        }
        let signal = Signal::Stop { by: "a mistake that nobody mended".to_owned() };
        match self.record(vec![Event::Signalled { signal }], Sync::Now).await {
            Err(Unwind::Stop(_)) => Ok(()),
            recorded => recorded,
        }
    }

    /// Ends a run that somebody stopped although its script cannot be replayed any more. What it
    /// deferred does not run then.
    pub(crate) async fn stop_unreplayed(&self, why: &Error) -> Result<Option<RunEnd>, Unwind> {
        if self.stopped_by().is_none() {
            if let Woken::Said(said) = self.log.wait(Until::Now, Hold::Step).await? {
                self.line().said.extend(said);
            }
            let is_stop = |signal: &&Signal| matches!(signal, Signal::Stop { .. });
            let stop = self.line().said.iter().find(is_stop).cloned();
            if let Some(signal) = stop {
                match self.record(vec![Event::Signalled { signal }], Sync::Now).await {
                    Ok(()) | Err(Unwind::Stop(_)) => {}
                    Err(unwind) => return Err(unwind),
                }
            }
        }
        let Some(by) = self.stopped_by() else { return Ok(None) };
        let end = RunEnd::Stopped { by, unreplayed: Some(why.to_failure()) };
        self.finish(end.clone()).await?;
        Ok(Some(end))
    }
}
