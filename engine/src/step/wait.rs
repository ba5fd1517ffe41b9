//! Waiting until a time or a signal, and taking signals between steps.

use std::time::Duration;

use jiff::Timestamp;

use super::{Steps, Unwind};
use crate::clock::Interval;
use crate::drive::Halt;
use crate::event::{Event, RunId, Signal};
use crate::journal::Sync;

impl Steps {
    pub(super) fn halted(&self) -> Option<Halt> {
        self.drive.cancel.get().or_else(|| self.core.cancel.get())
    }

    /// Returns once driving is to end.
    pub(super) async fn until_halted(&self) {
        tokio::select! {
            () = self.drive.cancel.wait() => {}
            () = self.core.cancel.wait() => {}
        }
    }

    /// Waits, looking for signals; gives up at once when it would take too long.
    pub(super) async fn wait_until(&self, until: Timestamp, patience: Duration) -> Result<(), Unwind> {
        let fixed = self.line().next_look.filter(|look| look.end() == until);
        let interval = fixed.unwrap_or_else(|| Interval::until(&*self.core.clock, until));
        self.wait(interval, patience).await
    }

    pub(super) async fn wait(&self, interval: Interval, patience: Duration) -> Result<(), Unwind> {
        let clock = &*self.core.clock;
        let left = interval.left(clock);
        if left.is_zero() {
            return Ok(());
        }
        if left > patience {
            return Err(Unwind::Wait(interval.end()));
        }
        let rest = self.rest();
        while !interval.is_over(clock) {
            tokio::select! {
                () = clock.sleep(interval.left(clock).min(self.way.nap)) => {}
                () = self.drive.signalled.notified() => {}
                () = self.until_halted() => {}
            }
            self.line().signalled = true;
            self.attend().await?;
        }
        rest.over().await
    }

    /// Gives up the run's place among those at work until the rest is over.
    pub(super) fn rest(&self) -> Rest<'_> {
        let had = self.place.lock().expect("no panic while a place is held").take().is_some();
        Rest { steps: self, had }
    }

    /// Takes signals: an interruption, a stop, an answer.
    pub(crate) async fn attend(&self) -> Result<(), Unwind> {
        self.attend_with(&[]).await
    }

    /// Takes signals while other runs may be under way for this one. A stop is passed on to
    /// them first: it takes effect here when all of them are over.
    pub(super) async fn attend_with(&self, below: &[RunId]) -> Result<(), Unwind> {
        if self.halted().is_some() {
            return Err(self.put_down().await);
        }
        if !std::mem::take(&mut self.line().signalled) {
            return Ok(());
        }
        self.core.stay_alive().await?;
        for signal in self.core.journal.signals(&self.tenure.run).await? {
            let stop = match &signal {
                Signal::Stop { .. } if self.stopped_by().is_some() => None,
                // Is the step under way the script's, or one that it deferred?
                Signal::Stop { .. } if self.must_replay() => {
                    self.line().signalled = true;
                    return Err(Unwind::Replay);
                }
                // What was deferred is the orderly end already; the signal stays until it is over.
                Signal::Stop { .. } if self.line().deferring => continue,
                Signal::Stop { by } => {
                    let mut are_open = false;
                    for run in below {
                        are_open |= self.stop_child(run, by).await?;
                    }
                    if are_open {
                        continue;
                    }
                    Some(by.clone())
                }
                Signal::Answer { .. } | Signal::ChildEnded { .. } => None,
            };
            self.record(vec![Event::Signalled { signal }], Sync::Now).await?;
            if let Some(by) = stop {
                return Err(Unwind::Stop(by));
            }
        }
        Ok(())
    }

    /// Returns whether a step is under way that the script has not come to in this drive.
    pub(super) fn must_replay(&self) -> bool {
        let line = self.line();
        !line.replayed && line.history.unfinished().is_some()
    }
}

/// A run that only waits, and takes nobody's place.
pub(super) struct Rest<'a> {
    steps: &'a Steps,
    had: bool,
}

impl Rest<'_> {
    /// Takes a place again, when there is one.
    pub(super) async fn over(self) -> Result<(), Unwind> {
        if let (true, Some(places)) = (self.had, &self.steps.way.places) {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place.ok(),
                () = self.steps.until_halted() => None,
            };
            *self.steps.place.lock().expect("no panic while a place is held") = place;
        }
        Ok(())
    }
}
