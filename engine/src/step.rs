//! The one door from script to effect.
//!
//! A call takes the next step number. *Replaying*, it must be the recorded call and hands back the
//! recorded result. *Live*, its intent is recorded, then it acts, then its result is recorded; and
//! between any two of these the process may die.
//!
//! ```text
//!  Started ──► (begin) ──► Finished
//!     │           │
//!     │           └──► Accepted ──► (resume) ──► Finished
//!     ├──► Clean: no effect; begins again
//!     └──► unclear: Redo decides between again, look first, and ask a person
//! ```

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::bridge::Bridge;
use crate::cx::Cx;
use crate::engine::{Core, Notice};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{
    Cause, Effected, Event, Lease, Park, Place, Progress, RunEnd, RunId, Signal, StepEnd, digest,
};
use crate::journal::{Sync, Tenure};
use crate::lease::CLOSE_AGAIN;
use crate::operation::{Outcome, Pending, Probe, Redo, Registered};
use crate::replay::{History, PastStep, StepState, diverged};
use crate::retry::{Exhausted, RetryOptions, RetryPolicy};
use crate::run::Driven;
use crate::runbook::Runbook;
use crate::script::{Door, Raise};

/// The longest wait for which a script keeps its thread.
const KEEP_THREAD: Duration = Duration::from_secs(1);
/// How often a waiting run looks for words from outside.
const NAP: SignedDuration = SignedDuration::from_secs(5);
/// How much longer a person who resumes an overdue step gives it.
const OVERTIME: Duration = Duration::from_secs(15 * 60);

/// When a run looks again at a child that waits for a person.
const CHILD_AGAIN: Duration = Duration::from_secs(15 * 60);

/// The word under which a step's continuation names a child run.
const CHILD: &str = "$child";

/// Why a script unwound.
#[derive(Debug)]
pub(crate) enum Unwind {
    /// The step under way wants to be looked at later.
    Wait(Timestamp),
    /// The run is parked; the event is written.
    Parked(Box<Park>, Option<Timestamp>),
    /// A person stopped the run; the event is written.
    Stop(String),
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

    /// Returns who stopped the run, if somebody did.
    pub(crate) fn stopped_by(&self) -> Option<String> {
        self.line().history.stop.as_ref().map(|(_, by)| by.clone())
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

    /// Carries a step to its result, waiting at most `patience` at a time.
    ///
    /// `fresh` says that the caller has just written `StepStarted`, so that nothing can have been
    /// sent; a step found in that state is unclear.
    pub(crate) async fn carry(
        &self,
        step: u32,
        mut fresh: bool,
        patience: Duration,
    ) -> Result<StepEnd, Unwind> {
        let mut trouble = Trouble::default();
        loop {
            self.attend().await?;
            let past = self.past(step)?;
            let operation = self.operation(&past.operation)?;
            let args = without_retry(&past.args);
            let cx = self.cx(step, attempt(&past.state));
            let outcome = match &past.state {
                StepState::Finished(end) => return Ok(end.clone()),
                StepState::Clean { attempt, until, .. } => {
                    self.wait_until(*until, patience).await?;
                    self.start(step, &past, &operation, attempt + 1).await?;
                    fresh = true;
                    continue;
                }
                StepState::Started { .. } if fresh => {
                    fresh = false;
                    let outcome = operation.begin(&cx, &args).await;
                    self.begun(step, &past, &operation, outcome).await?;
                    continue;
                }
                StepState::Started { attempt, until, failure } => {
                    if let Some(until) = until {
                        self.wait_until(*until, patience).await?;
                    }
                    match self.decide(step, &past, &operation, &cx, &args, failure.as_ref()).await? {
                        Decision::Again => {
                            self.start(step, &past, &operation, attempt + 1).await?;
                            fresh = true;
                            continue;
                        }
                        Decision::Settled => continue,
                        Decision::Found(outcome) => Ok(outcome),
                        Decision::Failed(error) => Err(error),
                    }
                }
                StepState::Accepted { continuation, check_at, deadline } => {
                    if self.extend(step, &past).await? {
                        continue;
                    }
                    // The service says when to look; a deadline in between can wait for that look.
                    self.wait_until(trouble.not_before(*check_at), patience).await?;
                    if let Some(child) = continuation.get(CHILD).and_then(Value::as_str) {
                        self.child(step, &RunId::from(child), patience).await?;
                        continue;
                    }
                    let outcome = operation.resume(&cx, &args, continuation).await;
                    if matches!(outcome, Ok(Outcome::Pending(_))) && self.core.clock.now() >= *deadline {
                        self.settle(step, &past, outcome?).await?;
                        return Err(self.overdue(step, &past.operation, *deadline).await);
                    }
                    outcome
                }
            };
            match outcome {
                Ok(outcome) => {
                    trouble = Trouble::default();
                    self.settle(step, &past, outcome).await?;
                }
                Err(error) if error.kind().is_retryable() => {
                    self.poll_again(step, &past, &mut trouble, error).await?;
                }
                Err(error) => self.refused(step, error).await?,
            }
        }
    }

    // ---- how a step goes on ------------------------------------------------------------------

    /// Records the intent of an attempt. Reads need no intent on the disk: nothing is lost with them.
    async fn start(
        &self,
        step: u32,
        past: &PastStep,
        operation: &Registered,
        attempt: u32,
    ) -> Result<(), Unwind> {
        let event = Event::StepStarted {
            step,
            operation: past.operation.clone(),
            args: past.args.clone(),
            at: past.at.clone(),
            attempt,
        };
        let sync = if operation.declaration.is_read_only() { Sync::Soon } else { Sync::Now };
        Ok(self.record(vec![event], sync).await?)
    }

    /// Reads what beginning led to.
    async fn begun(
        &self,
        step: u32,
        past: &PastStep,
        operation: &Registered,
        outcome: Result<Outcome<Value>>,
    ) -> Result<(), Unwind> {
        let error = match outcome {
            Ok(outcome) => return self.settle(step, past, outcome).await,
            Err(error) => error,
        };
        if !error.kind().is_retryable() {
            return self.refused(step, error).await;
        }
        let clean = error.kind() == ErrorKind::Unsent || operation.declaration.is_read_only();
        let policy = policy(&past.args);
        let (now, failed) = (self.core.clock.now(), past.failed + 1);
        let delay = policy.delay(failed, since(past.since, now), error.pause(), self.jitter(step, failed));
        let until = self.core.after(delay.unwrap_or_default());
        let failure = error.to_failure();
        let retrying = Event::StepRetrying {
            step,
            attempt: attempt(&past.state),
            failure: failure.clone(),
            clean,
            until,
        };
        match delay {
            Some(_) => Ok(self.record(vec![retrying], Sync::Now).await?),
            None if policy.then == Exhausted::Throw
                && (clean || operation.declaration.redo == Redo::Resend) =>
            {
                self.end(step, StepEnd::Err(failure), Vec::new()).await
            }
            None => {
                self.record(vec![retrying], Sync::Now).await?;
                Err(self.put_away(Park::Exhausted { failure }).await)
            }
        }
    }

    /// Reads where an operation stands.
    async fn settle(&self, step: u32, past: &PastStep, outcome: Outcome<Value>) -> Result<(), Unwind> {
        match outcome {
            Outcome::Done(done) => self.end(step, StepEnd::Ok(done.value), done.effected).await,
            Outcome::Pending(pending) => self.accept(step, past, pending).await,
            Outcome::Ask { question, choices } => match &past.answer {
                Some(answer) => self.end(step, StepEnd::Ok(answer.clone()), Vec::new()).await,
                None => Err(self.park(Park::Question { text: question, choices }, None).await),
            },
            Outcome::Child { runbook, params } => {
                let child =
                    self.core.prepare_child(&self.tenure.run, step, &runbook, &params, &self.workdir).await;
                match child {
                    Ok(child) => {
                        let pending = Pending {
                            continuation: json!({ CHILD: child.as_str() }),
                            check_after: Duration::ZERO,
                            within: Duration::from_secs(366 * 24 * 3600),
                            progress: None,
                            effected: Vec::new(),
                        };
                        self.accept(step, past, pending).await
                    }
                    Err(error) => self.refused(step, error).await,
                }
            }
        }
    }

    /// Records that the operation goes on elsewhere. Only what changed is written.
    async fn accept(&self, step: u32, past: &PastStep, pending: Pending) -> Result<(), Unwind> {
        if let Some(progress) = pending.progress {
            self.core.notice(&self.tenure.run, None, Event::Progress { step, progress });
        }
        let check_at = self.core.after(pending.check_after);
        let known = match &past.state {
            StepState::Accepted { continuation, deadline, .. } => Some((continuation, *deadline)),
            _ => None,
        };
        if let Some((continuation, deadline)) = known
            && *continuation == pending.continuation
            && pending.effected.is_empty()
        {
            // The same state: nothing to write, only to wait.
            let state = StepState::Accepted { continuation: pending.continuation, check_at, deadline };
            if let Some(past) = self.line().history.steps.last_mut() {
                past.state = state;
            }
            return Ok(());
        }
        let deadline = known.map_or_else(|| self.core.after(pending.within), |(_, deadline)| deadline);
        let event = Event::StepAccepted {
            step,
            continuation: pending.continuation,
            check_at,
            deadline,
            effected: pending.effected,
        };
        Ok(self.record(vec![event], Sync::Now).await?)
    }

    async fn end(&self, step: u32, end: StepEnd, effected: Vec<Effected>) -> Result<(), Unwind> {
        let sync = if effected.is_empty() { Sync::Soon } else { Sync::Now };
        Ok(self.record(vec![Event::StepFinished { step, end, effected }], sync).await?)
    }

    /// Reads an error that no later attempt mends by itself.
    async fn refused(&self, step: u32, error: Error) -> Result<(), Unwind> {
        let failure = error.to_failure();
        match error.kind() {
            ErrorKind::Rejected | ErrorKind::Invalid => {
                let effected = self.close_early(step).await?;
                self.end(step, StepEnd::Err(failure), effected).await
            }

            ErrorKind::Denied => {
                let past = self.past(step)?;
                if matches!(past.state, StepState::Started { .. }) {
                    // A refusal is certain: the next attempt may begin as if there had been none.
                    let (attempt, until) = (attempt(&past.state), self.core.clock.now());
                    let failure = failure.clone();
                    self.record(
                        vec![Event::StepRetrying { step, attempt, failure, clean: true, until }],
                        Sync::Soon,
                    )
                    .await?;
                }
                Err(self.put_away(Park::Denied { failure }).await)
            }
            _ => Err(Unwind::Halt(error)),
        }
    }

    /// A step that failed half-way may have left its door open: its lease is due at once.
    async fn close_early(&self, step: u32) -> Result<Vec<Effected>, Unwind> {
        let (id, now) = (self.cx(step, 1).lease_id(), self.core.clock.now());
        let leases = self.core.journal.leases().await?;
        let own = leases.into_iter().filter(|lease| lease.id == id && lease.deadline > now);
        Ok(own.map(|lease| Effected::LeaseOpened(Lease { deadline: now, ..lease })).collect())
    }

    /// Decides about a request that may or may not have been sent.
    async fn decide(
        &self,
        step: u32,
        past: &PastStep,
        operation: &Registered,
        cx: &Cx,
        args: &Value,
        failure: Option<&crate::error::Failure>,
    ) -> Result<Decision, Unwind> {
        let was_undecided = matches!(self.line().history.park, Some(Park::Undecided { .. }));
        if let Some(answer) = past.answer.as_ref().filter(|_| was_undecided) {
            return self.answered(step, answer, operation, cx, args).await;
        }
        let redo =
            if operation.declaration.is_read_only() { Redo::Resend } else { operation.declaration.redo };
        let seen = match redo {
            Redo::Resend => return Ok(Decision::Again),
            Redo::Probe => match operation.probe(cx, args).await {
                Ok(Probe::Found(outcome)) => return Ok(Decision::Found(outcome)),
                Ok(Probe::Absent) => return Ok(Decision::Again),
                Ok(Probe::Unclear(seen)) => seen,
                Err(error) => return Ok(Decision::Failed(error)),
            },
            Redo::Ask => "the operation leaves no trace by which it could be told".to_owned(),
        };
        let mut error = Error::new(
            ErrorKind::Transient,
            format!("`{}` was sent, and nobody recorded whether it took effect", operation.declaration.name),
        )
        .hint(seen)
        .hint("look at the machine, then answer `done` (it happened), `again` (send it) or `failed`");
        if let Some(failure) = failure {
            error = error.because(failure.to_error());
        }
        Err(self.put_away(Park::Undecided { failure: error.to_failure() }).await)
    }

    /// Does what a person decided about an unclear request.
    async fn answered(
        &self,
        step: u32,
        answer: &Value,
        operation: &Registered,
        cx: &Cx,
        args: &Value,
    ) -> Result<Decision, Unwind> {
        match answer.as_str() {
            Some("again") => Ok(Decision::Again),
            // It happened; what it came to is for the operation to see.
            Some("done") => match operation.probe(cx, args).await {
                Ok(Probe::Found(outcome)) => Ok(Decision::Found(outcome)),
                Ok(Probe::Absent | Probe::Unclear(_)) => {
                    self.end(step, StepEnd::Ok(Value::Null), Vec::new()).await?;
                    Ok(Decision::Settled)
                }
                Err(error) => Ok(Decision::Failed(error)),
            },
            _ => {
                let failure = Error::rejected("a person looked and says that it failed").to_failure();
                self.end(step, StepEnd::Err(failure), Vec::new()).await?;
                Ok(Decision::Settled)
            }
        }
    }

    /// Looks again after a look that brought no answer. The operation itself goes on meanwhile, so
    /// there is no harm in trying until its deadline.
    async fn poll_again(
        &self,
        step: u32,
        past: &PastStep,
        trouble: &mut Trouble,
        error: Error,
    ) -> Result<(), Unwind> {
        let now = self.core.clock.now();
        trouble.failed += 1;
        let first = *trouble.since.get_or_insert(now);
        let policy = match &past.state {
            StepState::Accepted { deadline, .. } => {
                RetryPolicy { attempts: u32::MAX, within: since(first, *deadline), ..policy(&past.args) }
            }
            _ => policy(&past.args),
        };
        match policy.delay(
            trouble.failed,
            since(first, now),
            error.pause(),
            self.jitter(step, trouble.failed),
        ) {
            Some(delay) => {
                let message = format!("no answer ({error}); looking again");
                let progress = Progress { message, percent: None };
                self.core.notice(&self.tenure.run, None, Event::Progress { step, progress });
                trouble.until = Some(self.core.after(delay));
                Ok(())
            }
            None => Err(self.put_away(Park::Exhausted { failure: error.to_failure() }).await),
        }
    }

    /// Gives an overdue step more time when a person came back to it. Returns whether it did.
    async fn extend(&self, step: u32, past: &PastStep) -> Result<bool, Unwind> {
        let StepState::Accepted { continuation, check_at, deadline } = &past.state else {
            return Ok(false);
        };
        let now = self.core.clock.now();
        let resumed = matches!(self.line().history.park, Some(Park::Exhausted { .. }));
        if !resumed || now < *deadline {
            return Ok(false);
        }
        let event = Event::StepAccepted {
            step,
            continuation: continuation.clone(),
            check_at: now.max(*check_at),
            deadline: self.core.after(OVERTIME),
            effected: Vec::new(),
        };
        self.record(vec![event], Sync::Now).await?;
        Ok(true)
    }

    async fn overdue(&self, step: u32, operation: &str, deadline: Timestamp) -> Unwind {
        let error = Error::new(
            ErrorKind::Transient,
            format!("`{operation}` is still under way after its deadline {deadline}"),
        )
        .hint("it was not given up: resume the run to go on waiting, or stop it")
        .hint(format!("step {step} of run {}", self.tenure.run));
        self.put_away(Park::Exhausted { failure: error.to_failure() }).await
    }

    /// Parks for a person. A run that closes a lease comes back by itself until it is closed.
    async fn put_away(&self, park: Park) -> Unwind {
        let closes = matches!(self.line().history.prepared.cause, Cause::Lease { .. });
        let until = (closes && !matches!(park, Park::Undecided { .. })).then(|| self.core.after(CLOSE_AGAIN));
        self.park(park, until).await
    }

    /// Drives a child run, and takes its end for the step's.
    async fn child(&self, step: u32, child: &RunId, patience: Duration) -> Result<(), Unwind> {
        if patience <= KEEP_THREAD {
            return Err(Unwind::Wait(self.core.clock.now()));
        }
        match Box::pin(self.core.drive(child, patience)).await? {
            Driven::Ended(RunEnd::Succeeded { value }) => {
                self.end(step, StepEnd::Ok(value), Vec::new()).await
            }
            Driven::Ended(RunEnd::Failed { failure, .. }) => {
                let error =
                    Error::rejected(format!("the child run {child} failed")).because(failure.to_error());
                self.end(step, StepEnd::Err(error.to_failure()), Vec::new()).await
            }
            Driven::Ended(RunEnd::Stopped { by }) => {
                let error = Error::rejected(format!("the child run {child} was stopped by {by}"));
                self.end(step, StepEnd::Err(error.to_failure()), Vec::new()).await
            }
            Driven::Parked(_, until) => {
                // The child's end wakes this run; the time is the net under it.
                let until = until.unwrap_or_else(|| self.core.after(CHILD_AGAIN));
                Err(self.park(Park::Child { run: child.clone() }, Some(until)).await)
            }
            Driven::Held { .. } => self.wait_until(self.core.after(Duration::from_secs(5)), patience).await,
        }
    }

    // ---- waiting and words from outside ---------------------------------------------------------

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

    // ---- the journal ----------------------------------------------------------------------------

    /// Appends events, folds them into the past, and shows them.
    async fn record(&self, events: Vec<Event>, sync: Sync) -> Result<()> {
        let at = self.core.clock.now();
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
            if let (false, Some((stop, by))) = (line.deferring, &line.history.stop)
                && *stop == step
            {
                return Err(Unwind::Stop(by.clone()));
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
            self.attend().await?;
            if let Err(error) = self.permit(operation, &args) {
                // What never became a step takes no number.
                self.line().reached -= 1;
                return Ok(StepEnd::Err(error.to_failure()));
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

    fn begin_deferred(&self) -> bool {
        let mut line = self.line();
        let runs = matches!(line.unwind, None | Some(Unwind::Stop(_))) && !self.core.is_interrupted();
        line.deferring |= runs;
        runs
    }
}

/// What was decided about an unclear request.
enum Decision {
    /// Send it.
    Again,
    /// Its result is recorded.
    Settled,
    /// It took effect; go on from here.
    Found(Outcome<Value>),
    /// Looking failed.
    Failed(Error),
}

/// Looks at an operation under way that brought no answer. Lives only as long as the process: a
/// restart looks at once.
#[derive(Default)]
struct Trouble {
    failed: u32,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Trouble {
    fn not_before(&self, check_at: Timestamp) -> Timestamp {
        self.until.map_or(check_at, |until| until.max(check_at))
    }
}

fn attempt(state: &StepState) -> u32 {
    match state {
        StepState::Started { attempt, .. } | StepState::Clean { attempt, .. } => *attempt,
        StepState::Accepted { .. } | StepState::Finished(_) => 1,
    }
}

fn policy(args: &Value) -> RetryPolicy {
    let options =
        args.get("retry").and_then(|retry| serde_json::from_value::<RetryOptions>(retry.clone()).ok());
    RetryPolicy::default().with(&options.unwrap_or_default())
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
