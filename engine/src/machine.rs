//! The step machine: carries a run over its log, from its beginning to its end or until it is put away.
//!
//! The script is replayed from the top, and goes on from the first step that has no result. Through a
//! wait, a few hundred scripts keep their threads, so that a run of many waits is not replayed for each;
//! any other is let go of: its step is carried to its result alone, and then the script is replayed once.
//!
//! All that it knows of whoever keeps the run is [`RunLog`].

use std::sync::Arc;

use serde_json::Value;

use crate::bridge::on_own_thread;
use crate::core::Parts;
use crate::drive::Driven;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::event::{Branch, Call, Event, Park, Place, Prepared, RunEnd, Source};
use crate::journal::{NewRun, Sync};
use crate::log::{Entry, Label, RunLog};
use crate::replay::History;
use crate::runbook::Runbook;
use crate::script::{self, Host, Program};
use crate::step::{Steps, Unwind, no_operation};

/// What a run does.
pub(crate) enum Work {
    /// It evaluates a script: from its top, or only the function with which a branch begins.
    Script { program: Program, params: Value, branch: Option<Branch> },
    /// It makes one call.
    Call(Call),
}

impl Parts {
    /// Carries a run over a log that was not read yet. `run` says what is fixed about it: its first record, when the
    /// log is empty, and its texts.
    pub(crate) async fn carry_anew(self: &Arc<Self>, log: Arc<dyn RunLog>, run: &NewRun) -> Result<Driven> {
        let prepared = async {
            let events = vec![Event::Prepared(Box::new(run.prepared.clone()))];
            Ok(Entry::new(self.clock.now(), events, Sync::Now))
        };
        let first = log.next(0, Label::Run, Box::pin(prepared)).await?;
        let position = first.logged.last().map_or(0, |last| last.seq);
        let history = History::fold(first.logged.into_iter().map(|one| (one.seq, one.at, one.event)))?;
        if let Some(end) = history.end {
            return Ok(Driven::Ended(end));
        }
        self.understands(&history)?;
        let sources: Arc<[Source]> = history.mended.clone().unwrap_or_else(|| run.sources.clone()).into();
        let work = self.work(&history.prepared, &sources);
        self.carry(&Steps::new(self.clone(), log, sources, history, position), work).await
    }

    /// Carries a run until it is over, or its log lets go of it. `work` is what it does, or why it cannot go on.
    pub(crate) async fn carry(
        self: &Arc<Self>,
        steps: &Arc<Steps>,
        work: Result<(Runbook, Work)>,
    ) -> Result<Driven> {
        let work = work.map(|(runbook, work)| {
            steps.set_runbook(runbook);
            Arc::new(work)
        });
        loop {
            match self.carry_once(steps, &work).await? {
                Driven::Parked(park, until) => match steps.is_woken(until).await? {
                    true => {}
                    false => return Ok(Driven::Parked(park, until)),
                },
                driven => return Ok(driven),
            }
        }
    }

    async fn carry_once(self: &Arc<Self>, steps: &Arc<Steps>, work: &Result<Arc<Work>>) -> Result<Driven> {
        let driven = match (steps.give_up_mending().await, work) {
            (Err(unwind), _) => return parked(unwind),
            (Ok(()), Ok(work)) => self.advance(steps, work).await,
            (Ok(()), Err(error)) => Err(error.clone()),
        };
        let Err(error) = driven else { return driven };
        match error.kind() {
            ErrorKind::Storage | ErrorKind::Stopped => Err(error),
            kind => {
                match steps.stop_unreplayed(&error).await {
                    Ok(None) => {}
                    Ok(Some(end)) => return Ok(Driven::Ended(end)),
                    Err(unwind) => return parked(unwind),
                }
                // The run must not look as if somebody drove it.
                let failure = error.to_failure();
                match parked(steps.park(Park::Halted { failure }, None).await) {
                    Ok(_) if kind == ErrorKind::Diverged => Err(point_at(steps.sources(), error, None)),
                    driven => driven,
                }
            }
        }
    }

    /// Returns what a run does, and what it may do.
    ///
    /// # Errors
    /// `Invalid` when its text cannot be read any more; `Diverged` when this program has not what it calls.
    pub(crate) fn work(&self, prepared: &Prepared, sources: &Arc<[Source]>) -> Result<(Runbook, Work)> {
        match (prepared.call(), sources.first()) {
            (Some(call), _) => self.call(&prepared.runbook, call),
            (None, Some(main)) => self.script(main, sources, prepared),
            (None, None) => Err(Error::invalid("the run has no source text")),
        }
    }

    fn script(&self, main: &Source, sources: &Arc<[Source]>, prepared: &Prepared) -> Result<(Runbook, Work)> {
        let runbook = Runbook::parse(main)?;
        let program = self.language.compile(sources.clone())?;
        let (params, branch) = (prepared.params.clone(), prepared.branch().cloned());
        Ok((runbook, Work::Script { program, params, branch }))
    }

    fn call(&self, name: &str, call: &Call) -> Result<(Runbook, Work)> {
        let operation =
            self.language.operation(&call.operation).ok_or_else(|| no_operation(&call.operation))?;
        let effects = operation.declaration.effects.iter().map(|effect| effect.as_str().to_owned()).collect();
        Ok((Runbook::without_text(name, effects), Work::Call(call.clone())))
    }

    /// Does a run's work once, from its beginning: what is recorded is not done again.
    async fn evaluate(self: &Arc<Self>, steps: &Arc<Steps>, work: &Arc<Work>) -> Result<script::Ending> {
        if let Work::Call(call) = &**work {
            return Ok(steps.only_call(call).await);
        }
        let host: Arc<dyn Host> = steps.clone();
        let (parts, work) = (self.clone(), work.clone());
        on_own_thread(move || match &*work {
            Work::Script { program, params, branch } => {
                parts.language.evaluate(program, params, branch.as_ref(), &host)
            }
            Work::Call(_) => script::Ending::Unwound,
        })
        .await
    }

    /// Carries the step under way, then the rest of the work, in turn.
    async fn advance(self: &Arc<Self>, steps: &Arc<Steps>, work: &Arc<Work>) -> Result<Driven> {
        match steps.outwait_openers().await {
            Ok(()) | Err(Unwind::Stop(_)) => {}
            Err(unwind) => return parked(unwind),
        }
        loop {
            if let Some(step) = steps.unfinished() {
                match steps.execute(step).await {
                    // After a stop, the script unwinds at that step and what it deferred runs. A wrong
                    // call is made, and refused, once more by the script.
                    Ok(_) | Err(Unwind::Stop(_) | Unwind::Mistake(_) | Unwind::Replay) => {}
                    Err(Unwind::Wait(until)) => {
                        return parked(steps.park(Park::Waiting, Some(until)).await);
                    }
                    Err(unwind) => return parked(unwind),
                }
            }
            steps.rewind();
            let ending = self.evaluate(steps, work).await?;
            let unwind = steps.take_unwind();
            let is_over = match &unwind {
                None => !matches!(ending, script::Ending::Unwound),
                Some(unwind) => matches!(unwind, Unwind::Stop(_)),
            };
            if let Some(diverged) = steps.ended_early().filter(|_| is_over) {
                return Err(diverged);
            }
            let end = match (ending, unwind) {
                (_, Some(Unwind::Wait(_))) => continue,
                (script::Ending::Unwound, None) => return parked(steps.put_down().await),
                (_, Some(Unwind::Stop(by))) => RunEnd::Stopped { by, unreplayed: None },
                (_, Some(unwind)) => return parked(unwind),
                (script::Ending::Value(value), None) => RunEnd::Succeeded { value },
                (script::Ending::Error(error, at), None) => {
                    RunEnd::Failed { failure: error.to_failure(), at }
                }
                (script::Ending::Mistake(error, at, deferred), None) => match steps.stopped_by() {
                    Some(by) => RunEnd::Stopped { by, unreplayed: None },
                    // Nothing was done that a person would want to keep: the runbook is simply wrong.
                    None if steps.is_untouched() => {
                        let failure = Failure { kind: ErrorKind::Invalid, ..error.to_failure() };
                        RunEnd::Failed { failure, at }
                    }
                    None => match steps.attend().await {
                        Ok(()) => return parked(steps.park_mistake(error.to_failure(), at, deferred).await),
                        // What the script deferred runs behind its mistake.
                        Err(Unwind::Stop(_)) => continue,
                        Err(unwind) => return parked(unwind),
                    },
                },
            };
            return match steps.finish(end.clone()).await {
                Ok(()) => Ok(Driven::Ended(end)),
                Err(unwind) => parked(unwind),
            };
        }
    }
}

fn parked(unwind: Unwind) -> Result<Driven> {
    match unwind {
        Unwind::Parked(park, until) => Ok(Driven::Parked(*park, until)),
        Unwind::Halt(error) | Unwind::Mistake(error) => Err(error),
        Unwind::Wait(until) => Ok(Driven::Parked(Park::Waiting, Some(until))),
        Unwind::Replay => Err(Error::storage("a script was replayed and is to be replayed again")),
        Unwind::Stop(by) => Ok(Driven::Ended(RunEnd::Stopped { by, unreplayed: None })),
    }
}

/// Returns an error with the script line that it is about underlined.
pub(crate) fn point_at(sources: &[Source], error: Error, at: Option<&Place>) -> Error {
    let Some(at) = at else { return error };
    let source = match &at.source {
        Some(name) => sources.iter().find(|source| source.name == *name),
        None => sources.first(),
    };
    let Some(source) = source else { return error };
    let text: Arc<str> = source.text.as_str().into();
    error.snippet(crate::error::Snippet::at(&source.name, &text, at.line, at.column).label("here"))
}
