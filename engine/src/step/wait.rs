//! Waiting until a time or a signal, and taking signals between steps.

use jiff::Timestamp;

use super::{Steps, Unwind};
use crate::clock::Interval;
use crate::error::Result;
use crate::event::{Event, RunId, Signal};
use crate::journal::Sync;
use crate::log::{Hold, Until, Woken};

impl Steps {
    /// Waits until a moment, taking signals; gives up at once when that is too long for what the run holds.
    pub(super) async fn wait_until(&self, until: Timestamp, hold: Hold) -> Result<(), Unwind> {
        let fixed = self.line().next_look.filter(|look| look.end() == until);
        let interval = fixed.unwrap_or_else(|| Interval::until(&*self.parts.clock, until));
        self.wait(interval, hold).await
    }

    pub(super) async fn wait(&self, interval: Interval, hold: Hold) -> Result<(), Unwind> {
        loop {
            match self.log.wait(Until::Time(interval), hold).await? {
                Woken::Time => return Ok(()),
                Woken::TooLong => return Err(Unwind::Wait(interval.end())),
                Woken::Halted => return Err(self.put_down().await),
                Woken::Said(said) => self.hear(said, &[]).await?,
            }
        }
    }

    /// Waits, with the run put away on record, until it goes on. Returns whether it does so here.
    pub(crate) async fn is_woken(&self, until: Option<Timestamp>) -> Result<bool> {
        let until =
            until.map_or(Until::Said, |until| Until::Time(Interval::until(&*self.parts.clock, until)));
        Ok(match self.log.wait(until, Hold::Nothing).await? {
            Woken::Time => true,
            Woken::Said(said) => {
                self.line().said.extend(said);
                true
            }
            Woken::TooLong | Woken::Halted => false,
        })
    }

    /// Waits for something that goes on meanwhile, taking signals. A stop is passed on to the runs that are
    /// under way for this one. Returns nothing when the run is to be put down.
    pub(super) async fn meanwhile<T>(
        &self,
        below: &[RunId],
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, Unwind> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(Some(done)),
                woken = self.log.wait(Until::Said, Hold::Open) => match woken? {
                    Woken::Said(said) => self.hear(said, below).await?,
                    Woken::Halted => return Ok(None),
                    Woken::Time | Woken::TooLong => {}
                },
            }
        }
    }

    /// Takes signals: an interruption, a stop, an answer.
    pub(crate) async fn attend(&self) -> Result<(), Unwind> {
        self.attend_with(&[]).await
    }

    /// Takes signals while other runs may be under way for this one. A stop is passed on to
    /// them first: it takes effect here when all of them are over.
    pub(super) async fn attend_with(&self, below: &[RunId]) -> Result<(), Unwind> {
        match self.log.wait(Until::Now, Hold::Step).await? {
            Woken::Halted => Err(Box::pin(self.put_down()).await),
            Woken::Said(said) => Box::pin(self.hear(said, below)).await,
            Woken::Time | Woken::TooLong if self.line().said.is_empty() => Ok(()),
            Woken::Time | Woken::TooLong => Box::pin(self.hear(Vec::new(), below)).await,
        }
    }

    /// Takes what was said to the run, now and before, as far as it can be taken now.
    pub(super) async fn hear(&self, said: Vec<Signal>, below: &[RunId]) -> Result<(), Unwind> {
        let waiting = {
            let mut line = self.line();
            line.said.extend(said);
            if line.said.is_empty() {
                return Ok(());
            }
            line.said.clone()
        };
        for signal in waiting {
            let stop = match &signal {
                Signal::Stop { .. } if self.stopped_by().is_some() => None,
                // Is the step under way the script's, or one that it deferred?
                Signal::Stop { .. } if self.must_replay() => return Err(Unwind::Replay),
                // What was deferred is the orderly end already; the signal stays until it is over.
                Signal::Stop { .. } if self.line().deferring => continue,
                Signal::Stop { by } => {
                    let mut are_open = false;
                    for run in below {
                        are_open |= self.log.tell(run, &signal).await?;
                    }
                    if are_open {
                        continue;
                    }
                    Some(by.clone())
                }
                Signal::Answer { .. } | Signal::ChildEnded { .. } => None,
            };
            self.line().said.retain(|known| *known != signal);
            self.record(vec![Event::Signalled { signal }], Sync::Now).await?;
            if let Some(by) = stop {
                return Err(Unwind::Stop(by));
            }
        }
        Ok(())
    }

    /// Returns whether a stop waits that cannot be taken yet.
    pub(super) fn is_asked_to_stop(&self) -> bool {
        let is_stop = |signal: &Signal| matches!(signal, Signal::Stop { .. });
        self.stopped_by().is_none() && self.line().said.iter().any(is_stop)
    }

    /// Returns whether a step is under way that the script has not come to in this drive.
    pub(super) fn must_replay(&self) -> bool {
        let line = self.line();
        !line.replayed && line.history.unfinished().is_some()
    }
}
