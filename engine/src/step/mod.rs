//! The one way from script to effect.
//!
//! A call takes the next step number. *Replaying*, it must be the recorded call and hands back the
//! recorded result. *Live*, its intent is recorded, then it is carried to its result ([`execute`]).
//!
//! Owns: the numbers of the steps, and what is known of the run while it is driven. Beside it, one file a concern:
//! what a step may do ([`permit`]), how a run waits and hears signals ([`wait`]), how it leaves its driver
//! ([`ways_out`]), and the one place from which its records are written ([`record`]).

mod attempt;
mod branches;
mod call;
mod child;
mod closing;
mod execute;
mod handles;
mod large;
mod only_call;
mod output;
mod permit;
mod record;
mod secrets;
mod todo;
mod wait;
mod ways_out;

use attempt::Then;
pub(crate) use branches::{is_branching, is_elsewhere};
pub(crate) use closing::handed_over;

use std::borrow::Cow;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::bridge::Bridge;
use crate::clock::Interval;
use crate::core::Parts;
use crate::cx::Surroundings;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Cause, Event, Park, Place, Progress, Signal, Source, StepEnd};
use crate::log::{Hold, RunLog};
use crate::operation::Registered;
use crate::redact::Public;
use crate::replay::{History, PastStep, StepState, diverged, ended_early};
use crate::runbook::Runbook;
use crate::script::{Host, Raise};
use crate::unrecorded::Unrecorded;

/// How long a request may be on its way. A request that changes something must be given up earlier.
const SEND_MARGIN: Duration = Duration::from_secs(60);

/// Why a script unwound.
#[derive(Debug)]
pub(crate) enum Unwind {
    /// The step under way wants to be looked at later.
    Wait(Timestamp),
    /// The run is parked; the event is written.
    Parked(Box<Park>, Option<Timestamp>),
    /// A person stopped the run; the event is written.
    Stop(String),
    /// Only the script can tell what a signal means for the step under way.
    Replay,
    /// The step under way was a wrong call. Nothing was sent, and it is no step any more.
    Mistake(Error),
    /// Nothing more may be done or written.
    Halt(Error),
}

impl From<Error> for Unwind {
    fn from(error: Error) -> Self {
        Unwind::Halt(error)
    }
}

/// A run's steps, past and present.
pub(crate) struct Steps {
    parts: Arc<Parts>,
    log: Arc<dyn RunLog>,
    runbook: OnceLock<Runbook>,
    /// The texts that the run goes by.
    sources: Arc<[Source]>,
    public: Public,
    bridge: Bridge,
    around: Arc<Surroundings>,
    line: Mutex<Line>,
}

struct Line {
    history: History,
    /// How many records the history has.
    position: u64,
    /// The number of the last step that the script has reached.
    reached: u32,
    /// Whether the script has been evaluated since this drive began: only then is it known what `deferring` says.
    replayed: bool,
    /// When the last record that permits to send was made, on the clock's second hand.
    intended: Duration,
    /// Whether that was here.
    is_intended_here: bool,
    /// Whether the script is over and what it deferred runs.
    deferring: bool,
    /// Whether the secrets of earlier processes are known.
    remembers: bool,
    /// What was said to the run, and is not on the log.
    said: Vec<Signal>,
    unwind: Option<Unwind>,
    /// The interval to the next look, begun when the look was fixed.
    next_look: Option<Interval>,
}

impl Steps {
    /// Makes the steps of a run whose log was read up to `position`.
    pub(crate) fn new(
        parts: Arc<Parts>,
        log: Arc<dyn RunLog>,
        sources: Arc<[Source]>,
        history: History,
        position: u64,
    ) -> Arc<Self> {
        let intended = parts.clock.elapsed();
        let public = Public::new(&sources);
        let steps = Arc::new_cyclic(|me| Steps {
            around: Arc::new(around(me.clone(), &parts, &log, &history)),
            parts,
            log,
            runbook: OnceLock::new(),
            sources,
            public,
            bridge: Bridge::here(),
            line: Mutex::new(Line {
                history,
                position,
                reached: 0,
                replayed: false,
                intended,
                is_intended_here: false,
                deferring: false,
                remembers: false,
                said: Vec::new(),
                unwind: None,
                next_look: None,
            }),
        });
        steps.know_handles(0);
        steps
    }

    /// Says what the run may do. Until then no new step is permitted.
    pub(crate) fn set_runbook(&self, runbook: Runbook) {
        let _ = self.runbook.set(runbook);
    }

    /// Returns the texts that the run goes by.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Returns to the top of the script.
    pub(crate) fn rewind(&self) {
        let mut line = self.line();
        line.reached = 0;
        line.replayed = true;
        line.deferring = false;
        line.unwind = None;
    }

    /// Returns the step that has no result yet.
    pub(crate) fn unfinished(&self) -> Option<u32> {
        self.line().history.unfinished()
    }

    /// Returns why the script unwound.
    pub(crate) fn take_unwind(&self) -> Option<Unwind> {
        self.line().unwind.take()
    }

    /// Returns whether the run has begun no step yet: nothing was asked of the world or of a person.
    pub(crate) fn is_untouched(&self) -> bool {
        self.line().history.steps.is_empty()
    }

    /// Returns the error of a script that is over before its record is, if it is.
    pub(crate) fn ended_early(&self) -> Option<Error> {
        let line = self.line();
        ended_early(&line.history, line.reached)
    }

    /// Returns who stopped the run, if somebody did.
    pub(crate) fn stopped_by(&self) -> Option<String> {
        self.line().history.stop.as_ref().map(|stop| stop.by.clone())
    }

    fn closes_a_lease(&self) -> bool {
        matches!(self.line().history.prepared.cause, Cause::Lease { .. })
    }

    /// Returns an operation's error without the secrets that it may repeat.
    fn cleaned(&self, error: Error) -> Error {
        let mut failure = error.to_failure();
        let is_public = |value: &str| self.public.holds(value, &self.line().history);
        self.parts.revealed.clean_failure(&mut failure, &is_public);
        failure.to_error()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("no panic while the line is held")
    }

    fn past(&self, step: u32) -> Result<PastStep, Unwind> {
        let past = self.line().history.step(step).cloned();
        past.ok_or_else(|| Unwind::Halt(Error::storage(format!("step {step} is not on the log"))))
    }

    /// Returns what a step came to, if it is over.
    fn end_of(&self, step: u32) -> Option<StepEnd> {
        self.line().history.step(step).and_then(PastStep::end).cloned()
    }

    /// Returns whether other runs carry a step on.
    fn is_elsewhere(&self, step: u32) -> bool {
        let line = self.line();
        let state = line.history.step(step).map(|past| &past.state);
        matches!(state, Some(StepState::Accepted { continuation, .. }) if is_elsewhere(continuation))
    }

    fn operation(&self, name: &str) -> Result<Registered> {
        self.parts.language.operation(name).cloned().ok_or_else(|| no_operation(name))
    }

    /// Takes the next step of the script: from the record, or live.
    fn take(&self, operation: &Registered, args: Value, at: Place) -> Result<StepEnd, Unwind> {
        let (step, known) = self.reach(operation, &args)?;
        if let Some(end) = known {
            return Ok(end);
        }
        let kept = self.parts.threads.try_acquire().ok();
        let hold = if kept.is_some() { Hold::Thread } else { Hold::Script };
        self.bridge.wait(Box::pin(self.live(step, operation, args, at, hold)))?
    }

    /// Goes on to the next step of the script, which must be the recorded one if there is a record. Returns its
    /// number and what it came to, if it is over.
    fn reach(&self, operation: &Registered, args: &Value) -> Result<(u32, Option<StepEnd>), Unwind> {
        let mut line = self.line();
        line.reached += 1;
        let step = line.reached;
        if let (false, Some(stop)) = (line.deferring, line.history.stop.clone())
            && stop.step == step
        {
            line.reached -= u32::from(!stop.begun);
            return Err(Unwind::Stop(stop.by));
        }
        match line.history.step(step) {
            None => Ok((step, None)),
            Some(past) => match (differing(step, past, operation, args), &past.state) {
                (Some(error), _) => Err(Unwind::Halt(error)),
                (None, StepState::Finished(end)) => Ok((step, Some(end.clone()))),
                (None, _) => Ok((step, None)),
            },
        }
    }

    /// Takes a step that has no result yet: begins it, or goes on with it.
    async fn live(
        &self,
        step: u32,
        operation: &Registered,
        args: Value,
        at: Place,
        hold: Hold,
    ) -> Result<StepEnd, Unwind> {
        if self.line().history.step(step).is_some() {
            return self.execute_for(step, false, hold).await;
        }
        let fresh = match self.intend(step, operation, args, at).await {
            Ok(fresh) => fresh,
            Err(Unwind::Mistake(error)) => return Err(Unwind::Mistake(error)),
            Err(unwind) => {
                // What never became a step takes no number.
                if self.line().history.step(step).is_none() {
                    self.line().reached -= 1;
                }
                return Err(unwind);
            }
        };
        self.execute_for(step, fresh, hold).await
    }

    /// Records the intent of a step, or finds it on record. Returns whether it is new: nothing can have been sent then.
    async fn intend(
        &self,
        step: u32,
        operation: &Registered,
        args: Value,
        at: Place,
    ) -> Result<bool, Unwind> {
        self.attend().await?;
        self.remember_secrets(operation).await?;
        if !self.parts.handles.with_run(self.log.run()).is_empty() {
            Box::pin(self.reopen()).await?;
        }
        self.permit(operation, &args).map_err(Unwind::Mistake)?;
        self.check_terminal(operation).await?;
        let mut call = Some((args, at));
        loop {
            let intent = pin!(async {
                let (args, at) = call.take().expect("what has been recorded is not made again");
                Ok(self.intent(step, operation, args, at, 1))
            });
            let then = self.next(intent).await?;
            let Some((args, _)) = &call else { return Ok(matches!(then, Then::Begin)) };
            let differs = match self.line().history.step(step) {
                // Something else stands there, such as a signal: the step comes behind it.
                None => continue,
                Some(past) => differing(step, past, operation, args),
            };
            let Some(error) = differs else { return Ok(false) };
            // It may be a wrong call, which the next record takes back.
            match self.next(pin!(async { Err(Unwind::Halt(error)) })).await {
                Ok(_) | Err(Unwind::Mistake(_)) => {}
                Err(unwind) => return Err(unwind),
            }
        }
    }
}

impl Host for Steps {
    fn call(&self, operation: &Registered, args: Value, at: Place) -> Result<Arc<Value>, Raise> {
        match self.take(operation, args, at).and_then(|end| self.value_of(end)) {
            Ok(Ok(value)) => Ok(value),
            Err(Unwind::Mistake(error)) => {
                // What is no step takes no number.
                self.line().reached -= 1;
                Err(Raise::Throw(error))
            }
            Ok(Err(failure)) => Err(Raise::Throw(failure.to_error())),
            Err(unwind) => {
                self.line().unwind = Some(unwind);
                Err(Raise::Unwind)
            }
        }
    }

    fn progress(&self, message: String, percent: Option<f64>) {
        let (step, live) = {
            let line = self.line();
            (line.reached, line.reached >= line.history.steps.len() as u32)
        };
        if live {
            self.parts.notice(
                self.log.run(),
                None,
                Event::Progress { step, progress: Progress { message, percent } },
            );
        }
    }

    fn is_halted(&self) -> bool {
        self.log.halted().is_some()
    }

    fn ends_anyway(&self) -> bool {
        self.stopped_by().is_some()
    }

    fn begin_deferred(&self) -> bool {
        let mut line = self.line();
        let runs = matches!(line.unwind, None | Some(Unwind::Stop(_))) && self.log.halted().is_none();
        line.deferring |= runs;
        runs
    }
}

/// Returns what the steps of a run have around them.
fn around(me: Weak<Steps>, parts: &Parts, log: &Arc<dyn RunLog>, history: &History) -> Surroundings {
    let prepared = &history.prepared;
    let closes = match &prepared.cause {
        Cause::Lease { id } => Some(id.clone()),
        _ => None,
    };
    Surroundings {
        run: log.run().clone(),
        closes,
        clock: parts.clock.clone(),
        duties: log.clone(),
        secrets: parts.secrets.clone(),
        revealed: parts.revealed.clone(),
        workdir: PathBuf::from(&prepared.workdir),
        paths: prepared.paths.clone(),
        unrecorded: Arc::new(Unrecorded::new(parts.revealed.clone())),
        handles: parts.handles.clone(),
        driving: me,
    }
}

/// Returns the error of a run that uses an operation which this program has not.
pub(crate) fn no_operation(name: &str) -> Error {
    Error::new(ErrorKind::Diverged, format!("this program has no operation `{name}`, which the run uses"))
        .hint("resume the run with the version of the program that prepared it")
}

/// Returns the error of a call that is not the recorded one, if it is another.
fn differing(step: u32, past: &PastStep, operation: &Registered, args: &Value) -> Option<Error> {
    let name = operation.declaration.name;
    let is_other = past.operation != name || *past.args != *args;
    is_other.then(|| diverged(step, past, name, args))
}

/// The policy of a call is the engine's business; the operation does not see it.
pub(crate) fn without_retry(args: &Value) -> Cow<'_, Value> {
    match args {
        Value::Object(map) if map.contains_key("retry") => Cow::Owned(Value::Object(
            map.iter().filter(|(name, _)| *name != "retry").map(|(n, v)| (n.clone(), v.clone())).collect(),
        )),
        plain => Cow::Borrowed(plain),
    }
}

fn since(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
