//! The one door from script to effect.
//!
//! A call takes the next step number. *Replaying*, it must be the recorded call and hands back the
//! recorded result. *Live*, its intent is recorded, then it is carried to its result ([`carry`]).
//!
//! Owns: the numbers, the sandbox, the words from outside, and every append to the run's journal.

mod carry;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::bridge::Bridge;
use crate::core::{Core, Notice};
use crate::cx::Cx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Park, Place, Progress, RunEnd, Signal, StepEnd, digest};
use crate::journal::{Sync, Tenure};
use crate::operation::Registered;
use crate::redact::secrets_in;
use crate::replay::{History, PastStep, StepState, diverged, ended_early};
use crate::runbook::Runbook;
use crate::script::{Door, Raise};

/// The longest wait for which a script keeps its thread.
const KEEP_THREAD: Duration = Duration::from_secs(1);
/// How often a waiting run looks for words from outside.
const NAP: SignedDuration = SignedDuration::from_secs(5);
/// Why a script unwound.
#[derive(Debug)]
pub(crate) enum Unwind {
    /// The step under way wants to be looked at later.
    Wait(Timestamp),
    /// The run is parked; the event is written.
    Parked(Box<Park>, Option<Timestamp>),
    /// A person stopped the run; the event is written.
    Stop(String),
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
    core: Arc<Core>,
    tenure: Tenure,
    runbook: Runbook,
    workdir: PathBuf,
    paths: Arc<[String]>,
    bridge: Bridge,
    line: Mutex<Line>,
}

struct Line {
    history: History,
    /// The number of the last step that the script has reached.
    reached: u32,
    /// Whether the script is over and what it deferred runs.
    deferring: bool,
    /// Whether a word from outside may be waiting.
    signalled: bool,
    unwind: Option<Unwind>,
}

impl Steps {
    pub(crate) fn new(core: Arc<Core>, tenure: Tenure, runbook: Runbook, history: History) -> Self {
        Steps {
            core,
            tenure,
            runbook,
            workdir: PathBuf::from(&history.prepared.workdir),
            paths: history.prepared.paths.clone().into(),
            bridge: Bridge::here(),
            line: Mutex::new(Line { history, reached: 0, deferring: false, signalled: true, unwind: None }),
        }
    }

    /// Returns to the top of the script.
    pub(crate) fn rewind(&self) {
        let mut line = self.line();
        line.reached = 0;
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

    /// Ends the run.
    pub(crate) async fn finish(&self, end: RunEnd) -> Result<()> {
        self.record(vec![Event::Finished { end }], Sync::Now).await
    }

    /// Puts the run away.
    pub(crate) async fn park(&self, park: Park, until: Option<Timestamp>) -> Unwind {
        match self.record(vec![Event::Parked { park: park.clone(), until }], Sync::Now).await {
            Ok(()) => Unwind::Parked(Box::new(park), until),
            Err(error) => Unwind::Halt(error),
        }
    }

    /// Waits, looking for words from outside; gives up at once when it would take too long.
    async fn wait_until(&self, until: Timestamp, patience: Duration) -> Result<(), Unwind> {
        let clock = &self.core.clock;
        let now = clock.now();
        if until <= now {
            return Ok(());
        }
        if since(now, until) > patience {
            return Err(Unwind::Wait(until));
        }
        loop {
            let nap = clock.now().saturating_add(NAP).unwrap_or(Timestamp::MAX).min(until);
            tokio::select! {
                () = clock.sleep_until(nap) => {}
                () = self.core.interrupted() => {}
            }
            self.line().signalled = true;
            self.attend().await?;
            if clock.now() >= until {
                return Ok(());
            }
        }
    }

    /// Takes words from outside: an interruption, a stop, an answer.
    async fn attend(&self) -> Result<(), Unwind> {
        if self.core.is_interrupted() {
            return Err(self.park(Park::Interrupted, None).await);
        }
        if !std::mem::take(&mut self.line().signalled) {
            return Ok(());
        }
        self.core.stay_alive().await?;
        for signal in self.core.journal.signals(&self.tenure.run).await? {
            let stop = match &signal {
                Signal::Stop { .. } if self.stopped_by().is_some() => None,
                // What was deferred is the orderly end already; the word stays until it is over.
                Signal::Stop { .. } if self.line().deferring => continue,
                Signal::Stop { by } => Some(by.clone()),
                Signal::Answer { .. } | Signal::ChildEnded { .. } => None,
            };
            self.record(vec![Event::Signalled { signal }], Sync::Now).await?;
            if let Some(by) = stop {
                return Err(Unwind::Stop(by));
            }
        }
        Ok(())
    }

    /// Appends events, folds them into the past, and shows them.
    async fn record(&self, events: Vec<Event>, sync: Sync) -> Result<()> {
        let at = self.core.clock.now();
        let events =
            events.into_iter().map(|event| self.core.revealed.clean(event)).collect::<Result<Vec<_>>>()?;
        let appended = self.core.journal.append(&self.tenure, &events, at, sync).await?;
        {
            let mut line = self.line();
            line.signalled |= appended.signalled;
            for event in &events {
                line.history.apply(event.clone(), at)?;
            }
        }
        for (event, record) in events.into_iter().zip(&appended.records) {
            self.core.show(Notice { run: self.tenure.run.clone(), seq: Some(record.seq), at, event });
        }
        Ok(())
    }

    /// Learns the secrets that a step refers to before it hears from the service: the process that sent
    /// them may have been another.
    async fn learn_secrets(&self, cx: &Cx, args: &Value) -> Result<()> {
        for secret in secrets_in(args) {
            if !self.core.revealed.knows(&secret.name) {
                cx.secret(&secret).await?;
            }
        }
        Ok(())
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("no panic while the line is held")
    }

    fn past(&self, step: u32) -> Result<PastStep, Unwind> {
        let past = self.line().history.step(step).cloned();
        past.ok_or_else(|| Unwind::Halt(Error::storage(format!("step {step} is not in the journal"))))
    }

    fn operation(&self, name: &str) -> Result<Registered> {
        self.core.language.operation(name).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::Diverged,
                format!("this program has no operation `{name}`, which the run uses"),
            )
            .hint("resume the run with the version of the program that prepared it")
        })
    }

    fn cx(&self, step: u32, attempt: u32) -> Cx {
        let core = self.core.clone();
        let run = self.tenure.run.clone();
        Cx {
            run: run.clone(),
            step,
            attempt,
            clock: self.core.clock.clone(),
            journal: self.core.journal.clone(),
            secrets: self.core.secrets.clone(),
            revealed: self.core.revealed.clone(),
            workdir: self.workdir.clone(),
            paths: self.paths.clone(),
            on_progress: Arc::new(move |progress| {
                core.notice(&run, None, Event::Progress { step, progress })
            }),
        }
    }

    /// Returns a number in `0.0..1.0` that differs between runs, steps and attempts.
    fn jitter(&self, step: u32, failed: u32) -> f64 {
        let digits = digest(&[self.tenure.run.as_str(), &step.to_string(), &failed.to_string()]);
        u32::from_str_radix(&digits[..8], 16).map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
    }

    /// Refuses a new call that the runbook must not make.
    fn permit(&self, operation: &Registered, args: &Value) -> Result<()> {
        let declaration = &operation.declaration;
        if let Some(effect) = declaration.effects.iter().find(|effect| !self.runbook.allows(**effect)) {
            return Err(Error::invalid(format!(
                "`{}` is not among the effects of `{}`",
                declaration.name, self.runbook.name
            ))
            .hint(format!("add \"{}\" to the effects in the front matter", effect.as_str())));
        }
        operation.check(&without_retry(args))
    }

    /// Takes the next step of the script: from the record, or live.
    fn take(&self, operation: &Registered, args: Value, at: Place) -> Result<StepEnd, Unwind> {
        let name = operation.declaration.name;
        let (step, known) = {
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
                None => (step, false),
                Some(past) if past.operation != name || past.args != args => {
                    return Err(Unwind::Halt(diverged(step, past, name, &args)));
                }
                Some(PastStep { state: StepState::Finished(end), .. }) => return Ok(end.clone()),
                Some(_) => (step, true),
            }
        };
        self.bridge.wait(async {
            if known {
                return self.carry(step, false, KEEP_THREAD).await;
            }
            if let Err(unwind) = self.attend().await {
                // What never became a step takes no number.
                self.line().reached -= 1;
                return Err(unwind);
            }
            if let Err(error) = self.permit(operation, &args) {
                return Err(Unwind::Mistake(error));
            }
            let event = Event::StepStarted { step, operation: name.to_owned(), args, at, attempt: 1 };
            let sync = if operation.declaration.is_read_only() { Sync::Soon } else { Sync::Now };
            self.record(vec![event], sync).await?;
            self.carry(step, true, KEEP_THREAD).await
        })
    }
}

impl Door for Steps {
    fn call(&self, operation: &Registered, args: Value, at: Place) -> Result<Value, Raise> {
        match self.take(operation, args, at) {
            Ok(StepEnd::Ok(value)) => Ok(value),
            Err(Unwind::Mistake(error)) => {
                // What is no step takes no number.
                self.line().reached -= 1;
                Err(Raise::Throw(error))
            }
            Ok(StepEnd::Err(failure)) => Err(Raise::Throw(failure.to_error())),
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
            self.core.notice(
                &self.tenure.run,
                None,
                Event::Progress { step, progress: Progress { message, percent } },
            );
        }
    }

    fn is_halted(&self) -> bool {
        self.core.is_interrupted()
    }

    fn ends_anyway(&self) -> bool {
        self.stopped_by().is_some()
    }

    fn begin_deferred(&self) -> bool {
        let mut line = self.line();
        let runs = matches!(line.unwind, None | Some(Unwind::Stop(_))) && !self.core.is_interrupted();
        line.deferring |= runs;
        runs
    }
}

/// The policy of a call is the engine's business; the operation does not see it.
fn without_retry(args: &Value) -> Value {
    match args {
        Value::Object(map) if map.contains_key("retry") => Value::Object(
            map.iter().filter(|(name, _)| *name != "retry").map(|(n, v)| (n.clone(), v.clone())).collect(),
        ),
        plain => plain.clone(),
    }
}

fn since(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
