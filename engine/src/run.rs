//! The life of a run: prepared, running, parked and running again, over.
//!
//! ```text
//!  prepared ──► running ◄──► parked
//!                  │
//!                  └──► succeeded | failed | stopped
//! ```
//!
//! A run is driven by one process at a time: it claims the run, replays the script from the top,
//! and carries on from the first step that has no result. While a step waits, no script is held:
//! the step is carried to its result alone, and then the script is replayed once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::bridge::on_own_thread;
use crate::core::Core;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::event::{Cause, Park, RunEnd, RunId, Signal, Source};
use crate::journal::{Claim, OwnerId, Status};
use crate::replay::History;
use crate::runbook::Runbook;
use crate::script::{Door, Ending};
use crate::step::{Steps, Unwind};

/// How far driving a run came.
#[derive(Clone, Debug, PartialEq)]
pub enum Driven {
    /// The run is over.
    Ended(RunEnd),
    /// The run is put away, until a time if it goes on by itself.
    Parked(Park, Option<Timestamp>),
    /// Another process drives it.
    Held {
        /// Who.
        by: OwnerId,
    },
}

impl Core {
    /// Drives a run until it is over, parked, or waits for longer than `patience`.
    pub(crate) async fn drive(self: &Arc<Self>, run: &RunId, patience: Duration) -> Result<Driven> {
        let tenure = match self.claim(run).await? {
            Claim::Granted(tenure) => tenure,
            Claim::Held { by, .. } => return Ok(Driven::Held { by }),
            Claim::Over => return self.how_it_ended(run).await,
        };
        let history = History::read(&self.journal.records(run, 0).await?)?;
        let sources: Arc<[Source]> = self.journal.sources(run).await?.into();
        let main = sources.first().ok_or_else(|| Error::storage(format!("run {run} has no source text")))?;
        let runbook = Runbook::parse(main)?;
        let params = Arc::new(history.prepared.params.clone());
        let cause = history.prepared.cause.clone();
        let steps = Arc::new(Steps::new(self.clone(), tenure, runbook, history));
        let driven = self.advance(&steps, sources.clone(), params, patience).await;
        match driven {
            Ok(Driven::Ended(end)) => {
                self.tell_parent(run, &cause).await?;
                Ok(Driven::Ended(end))
            }
            Ok(driven) => Ok(driven),
            Err(error) if error.kind() == ErrorKind::Diverged => {
                // The run must not look as if somebody drove it. If this fails too, the lease runs out.
                let failure = error.to_failure();
                let _ = steps.park(Park::Halted { failure }, None).await;
                Err(point_at(&sources, error, None))
            }
            Err(error) => Err(error),
        }
    }

    /// Carries the step under way, then the script, in turn.
    async fn advance(
        self: &Arc<Self>,
        steps: &Arc<Steps>,
        sources: Arc<[Source]>,
        params: Arc<serde_json::Value>,
        patience: Duration,
    ) -> Result<Driven> {
        let program = Arc::new(self.language.compile(sources)?);
        loop {
            if let Some(step) = steps.unfinished() {
                match steps.carry(step, false, patience).await {
                    // After a stop, the script unwinds at that step and what it deferred runs. A wrong
                    // call is made, and refused, once more by the script.
                    Ok(_) | Err(Unwind::Stop(_) | Unwind::Mistake(_)) => {}
                    Err(Unwind::Wait(until)) => {
                        return parked(steps.park(Park::Waiting, Some(until)).await);
                    }
                    Err(unwind) => return parked(unwind),
                }
            }
            steps.rewind();
            let door: Arc<dyn Door> = steps.clone();
            let (core, script, values) = (self.clone(), program.clone(), params.clone());
            let ending = on_own_thread(move || core.language.evaluate(&script, &values, &door)).await?;
            let unwind = steps.take_unwind();
            let is_over = match &unwind {
                None => !matches!(ending, Ending::Unwound),
                Some(unwind) => matches!(unwind, Unwind::Stop(_)),
            };
            if let Some(diverged) = steps.ended_early().filter(|_| is_over) {
                return Err(diverged);
            }
            let end = match (ending, unwind) {
                (_, Some(Unwind::Wait(_))) => continue,
                (Ending::Unwound, None) => {
                    return parked(steps.park(Park::Interrupted, None).await);
                }
                (_, Some(Unwind::Stop(by))) => RunEnd::Stopped { by },
                (_, Some(unwind)) => return parked(unwind),
                (Ending::Value(value), None) => RunEnd::Succeeded { value },
                (Ending::Error(error, at), None) => RunEnd::Failed { failure: error.to_failure(), at },
                (Ending::Mistake(error, at), None) => match steps.stopped_by() {
                    Some(by) => RunEnd::Stopped { by },
                    // Nothing was done that a person would want to keep: the runbook is simply wrong.
                    None if steps.is_untouched() => {
                        let failure = Failure { kind: ErrorKind::Invalid, ..error.to_failure() };
                        RunEnd::Failed { failure, at }
                    }
                    None => {
                        let park = Park::Mistake { failure: error.to_failure(), at };
                        return parked(steps.park(park, None).await);
                    }
                },
            };
            steps.finish(end.clone()).await?;
            return Ok(Driven::Ended(end));
        }
    }

    /// Claims a run, also from an owner that is known to be dead. Where owners can be told alive
    /// from dead, a living one keeps its run even when it was suspended past its heartbeat.
    async fn claim(&self, run: &RunId) -> Result<Claim> {
        self.stay_alive().await?;
        let now = self.clock.now();
        let mut dead = None;
        if let (Some(is_dead), Some(summary)) = (&self.liveness, self.journal.run(run).await?)
            && let (Status::Running, Some(by)) = (summary.status, summary.owner)
            && by != self.owner
        {
            if !is_dead(&by) {
                return Ok(Claim::Held { by, until: now });
            }
            dead = Some(by);
        }
        self.journal.claim(run, &self.owner, dead.as_ref(), now).await
    }

    /// Tells the parent of a run that is over, if it is parked on it.
    async fn tell_parent(&self, run: &RunId, cause: &Cause) -> Result<()> {
        let Cause::Run { id: parent, .. } = cause else { return Ok(()) };
        match self.journal.run(parent).await? {
            Some(summary) if summary.status == Status::Parked => {
                self.journal.signal(parent, &Signal::ChildEnded { run: run.clone() }, self.clock.now()).await
            }
            _ => Ok(()),
        }
    }

    /// Returns how a run that is over ended.
    pub(crate) async fn how_it_ended(&self, run: &RunId) -> Result<Driven> {
        let history = History::read(&self.journal.records(run, 0).await?)?;
        history
            .end
            .map(Driven::Ended)
            .ok_or_else(|| Error::storage(format!("run {run} is over without an end")))
    }
}

fn parked(unwind: Unwind) -> Result<Driven> {
    match unwind {
        Unwind::Parked(park, until) => Ok(Driven::Parked(*park, until)),
        Unwind::Halt(error) | Unwind::Mistake(error) => Err(error),
        Unwind::Wait(until) => Ok(Driven::Parked(Park::Waiting, Some(until))),
        Unwind::Stop(by) => Ok(Driven::Ended(RunEnd::Stopped { by })),
    }
}

/// Returns an error with the script line that it is about underlined.
pub(crate) fn point_at(sources: &[Source], error: Error, at: Option<&crate::event::Place>) -> Error {
    let Some(at) = at else { return error };
    let source = match &at.source {
        Some(name) => sources.iter().find(|source| source.name == *name),
        None => sources.first(),
    };
    let Some(source) = source else { return error };
    let text: Arc<str> = source.text.as_str().into();
    error.snippet(crate::error::Snippet::at(&source.name, &text, at.line, at.column).label("here"))
}
