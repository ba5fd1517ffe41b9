//! Carrying a step to its result, across failures, waits and processes.
//!
//! ```text
//!  Started ──► (begin) ──► Finished
//!     │           │
//!     │           └──► Accepted ──► (resume) ──► Finished
//!     ├──► Clean: certainly no effect; begins again
//!     └──► unclear: Redo decides between again, look first, and ask a person
//! ```
//!
//! Between any two of these the process may die; the next one stands where the journal says.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::branches::{BRANCHES, is_branching};
use super::call::{Called, Interrupt};
use super::child::{CHILD, child_of};
use super::closing::Closer;
use super::{Steps, Unwind, since, without_retry};
use crate::clock::Interval;
use crate::code::ErrorCode;
use crate::cx::Cx;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::event::{Effected, Event, Lease, Park, Progress, StepEnd};
use crate::journal::{LeaseFilter, Sync};
use crate::operation::{Outcome, Pending, Probe, Redo, Registered};
use crate::prepare::Parent;
use crate::replay::{PastStep, StepState};
use crate::retry::{Exhausted, RetryOptions, RetryPolicy};

/// How much longer a person who resumes an overdue step gives it.
const OVERTIME: Duration = Duration::from_secs(15 * 60);

/// Says of a step that other runs carry it on: they say when they are over.
fn elsewhere(continuation: Value) -> Pending {
    Pending {
        continuation,
        check_after: Duration::ZERO,
        within: Duration::from_secs(366 * 24 * 3600),
        progress: None,
        effected: Vec::new(),
    }
}

impl Steps {
    /// Carries a step to its result as patiently as the run is driven.
    pub(crate) async fn carry(&self, step: u32, fresh: bool) -> Result<StepEnd, Unwind> {
        self.reopen().await?;
        // A run that holds a port open and is put away to wait would close it.
        let holds = !self.core.handles.with_run(&self.tenure.run).is_empty();
        let patience = if holds { Duration::MAX } else { self.way.patience };
        self.carry_for(step, fresh, patience).await
    }

    /// Carries a step to its result, waiting at most `patience` at a time.
    ///
    /// `fresh` says that the caller has just written `StepStarted`, so that nothing can have been
    /// sent; a step found in that state is unclear.
    pub(super) async fn carry_for(
        &self,
        step: u32,
        mut fresh: bool,
        patience: Duration,
    ) -> Result<StepEnd, Unwind> {
        let mut trouble = Trouble::default();
        loop {
            // An intent that was written a moment ago is carried out: put away here, it could not be told
            // from one whose request has left.
            if !fresh {
                let open = self.open_below(step).await?;
                self.attend_with(&open).await?;
            }
            if let Some(end) = self.end_of(step) {
                return Ok(end);
            }
            let past = self.past(step)?;
            let operation = self.operation(&past.operation)?;
            let args = without_retry(&past.args);
            let (interrupt, cx) = Interrupt::of(self.cx(step, &past));
            if !fresh {
                self.check_terminal(&operation).await?;
                self.remember_secrets(&operation).await?;
            }
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
                    match self.call(&operation, &interrupt, operation.begin(&cx, &args)).await? {
                        Called::Ended(outcome) => self.begun(step, &past, &operation, outcome).await?,
                        Called::Unsent => self.take_back(step, past.attempt).await?,
                        Called::GivenUp => {}
                    }
                    continue;
                }
                StepState::Started { attempt, until, failure } => {
                    self.outwait_its_maker(&past, patience).await?;
                    if let Some(until) = until {
                        self.wait_until(*until, patience).await?;
                    }
                    match self
                        .decide(step, &past, &operation, (&interrupt, &cx), &args, failure.as_ref())
                        .await?
                    {
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
                    self.wait_until(*check_at, patience).await?;
                    if let Some(pause) = trouble.pause {
                        self.wait(pause, patience).await?;
                    }
                    let back = match Closer::of(continuation) {
                        Some(closer) => Some(self.await_closing(&closer, patience).await?),
                        None => None,
                    };
                    if let Some(child) = child_of(&past) {
                        self.child(step, &child, patience).await?;
                        continue;
                    }
                    if is_branching(&past) {
                        self.branches(step, &past, patience).await?;
                        continue;
                    }
                    self.outwait_its_maker(&past, patience).await?;
                    let state = match back {
                        Some(back) => Ok(back),
                        None => cx.unhidden(continuation).await,
                    };
                    let outcome = match state {
                        Ok(state) => {
                            let cx = self.holding(cx).await?;
                            let call = operation.resume(&cx, &args, &state);
                            match self.call(&operation, &interrupt, call).await? {
                                Called::Ended(outcome) => outcome,
                                // It stands where it stood.
                                Called::Unsent | Called::GivenUp => continue,
                            }
                        }
                        Err(error) => Err(error),
                    };
                    if matches!(outcome, Ok(Outcome::Pending(_))) && self.core.clock.now() >= *deadline {
                        self.settle(step, &past, outcome?).await?;
                        return Err(self.overdue(step, &past.operation, *deadline, trouble.last).await);
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
            args: Value::clone(&past.args),
            at: past.at.clone(),
            attempt,
            send_before: self.send_before(operation),
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
        if is_mistake(&error) && past.attempt == 1 && !self.closes_a_lease() {
            return self.wrong_call(step, error).await;
        }
        if !error.kind().is_retryable() {
            return self.refused(step, error).await;
        }
        let clean = error.kind() == ErrorKind::Unsent || operation.declaration.is_read_only();
        let policy = self.policy(past);
        let (now, failed) = (self.core.clock.now(), past.failed + 1);
        let delay = policy.delay(failed, since(past.since, now), error.pause(), self.jitter(step, failed));
        let until = self.core.after(delay.unwrap_or_default());
        let failure = error.to_failure();
        let retrying =
            Event::StepRetrying { step, attempt: past.attempt, failure: failure.clone(), clean, until };
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
    async fn settle(&self, step: u32, past: &PastStep, mut outcome: Outcome<Value>) -> Result<(), Unwind> {
        if let Err(error) = self.grant(outcome.effected_mut()) {
            return self.refused(step, error).await;
        }
        match outcome {
            Outcome::Done(done) => self.end(step, StepEnd::Ok(done.value), done.effected).await,
            Outcome::Pending(pending) => self.accept(step, past, pending).await,
            Outcome::Ask { question, choices } => match &past.answer {
                Some(answer) => self.end_answered(step, answer).await,
                None => self.ask(step, question, choices).await,
            },
            Outcome::Close { lease, then } => self.hand_over(step, past, lease, then).await,
            Outcome::Branches => self.accept(step, past, elsewhere(json!({ BRANCHES: true }))).await,
            Outcome::Child { runbook, params } => {
                let (depth, mended) = {
                    let history = &self.line().history;
                    (history.prepared.depth, history.mended.clone())
                };
                let (run, workdir, paths) = (&self.tenure.run, &self.workdir, &self.paths);
                let parent = Parent { run, step, depth, mended, workdir, paths };
                match self.core.prepare_child(parent, &runbook, &params).await {
                    Ok(child) => self.accept(step, past, elsewhere(json!({ CHILD: child.as_str() }))).await,
                    // What cannot be prepared does not exist: whatever the attempt, nothing was done.
                    Err(error) if is_mistake(&error) => self.wrong_call(step, error).await,
                    Err(error) => self.refused(step, error).await,
                }
            }
        }
    }

    /// Records that the operation goes on elsewhere. Only what changed is written.
    pub(super) async fn accept(&self, step: u32, past: &PastStep, pending: Pending) -> Result<(), Unwind> {
        if let Some(progress) = pending.progress {
            self.core.notice(&self.tenure.run, None, Event::Progress { step, progress });
        }
        let look = Interval::of(&*self.core.clock, pending.check_after);
        let check_at = look.end();
        self.line().next_look = Some(look);
        let mut continuation = pending.continuation;
        if let Some(at) = continuation.get_mut("at") {
            *at = self.core.revealed.hide(at.take());
        }
        let known = match &past.state {
            StepState::Accepted { continuation, deadline, .. } => Some((continuation, *deadline)),
            _ => None,
        };
        if let Some((past, deadline)) = known
            && *past == continuation
            && pending.effected.is_empty()
        {
            // The same state: nothing to write, only to wait.
            let state = StepState::Accepted { continuation, check_at, deadline };
            if let Some(past) = self.line().history.steps.last_mut() {
                past.state = state;
            }
            return Ok(());
        }
        let deadline = known.map_or_else(|| self.core.after(pending.within), |(_, deadline)| deadline);
        let event = Event::StepAccepted {
            step,
            continuation,
            check_at,
            deadline,
            send_before: self.send_before(&self.operation(&past.operation)?),
            effected: pending.effected,
        };
        Ok(self.record(vec![event], Sync::Now).await?)
    }

    pub(super) async fn end(&self, step: u32, end: StepEnd, effected: Vec<Effected>) -> Result<(), Unwind> {
        let sync = if effected.is_empty() { Sync::Soon } else { Sync::Now };
        Ok(self.record(vec![Event::StepFinished { step, end, effected }], sync).await?)
    }

    /// Takes a call back that was refused before anything was sent: the call of the mended text takes
    /// its place.
    async fn wrong_call(&self, step: u32, error: Error) -> Result<(), Unwind> {
        let failure = Failure { kind: ErrorKind::Script, ..error.to_failure() };
        self.end(step, StepEnd::Err(failure.clone()), Vec::new()).await?;
        Err(Unwind::Mistake(failure.to_error()))
    }

    /// Reads an error that no later attempt mends by itself.
    pub(super) async fn refused(&self, step: u32, error: Error) -> Result<(), Unwind> {
        let failure = error.to_failure();
        match error.kind() {
            // A closing gives up for nothing: it begins anew after a pause.
            ErrorKind::Rejected | ErrorKind::Invalid | ErrorKind::Script if self.closes_a_lease() => {
                Err(self.begin_anew(step, failure).await?)
            }
            // Whatever was sent before, the step stands, and the script hears how it ended.
            ErrorKind::Rejected | ErrorKind::Invalid | ErrorKind::Script => {
                let failure = Failure { kind: ErrorKind::Rejected, ..failure };
                let effected = self.close_early(step).await?;
                self.end(step, StepEnd::Err(failure), effected).await
            }

            ErrorKind::Denied => {
                let past = self.past(step)?;
                if matches!(past.state, StepState::Started { .. }) {
                    // A refusal is certain: the next attempt may begin as if there had been none.
                    let (attempt, until) = (past.attempt, self.core.clock.now());
                    let failure = failure.clone();
                    self.record(
                        vec![Event::StepRetrying { step, attempt, failure, clean: true, until }],
                        Sync::Soon,
                    )
                    .await?;
                }
                Err(self.put_away(Park::Denied { failure }).await)
            }
            _ => Err(Unwind::Halt(self.cleaned(error))),
        }
    }

    /// A step that failed half-way may have left its door open: its lease is due at once.
    async fn close_early(&self, step: u32) -> Result<Vec<Effected>, Unwind> {
        let (id, now) = (self.cx(step, &self.past(step)?).lease_id(), self.core.clock.now());
        let own = self.core.journal.leases_where(&LeaseFilter::Id(id)).await?;
        let own = own.into_iter().filter(|lease| lease.deadline > now);
        Ok(own.map(|lease| Effected::LeaseOpened(Lease { deadline: now, ..lease })).collect())
    }

    /// Decides about a request that may or may not have been sent.
    async fn decide(
        &self,
        step: u32,
        past: &PastStep,
        operation: &Registered,
        (interrupt, cx): (&Interrupt, &Cx),
        args: &Value,
        failure: Option<&crate::error::Failure>,
    ) -> Result<Decision, Unwind> {
        let was_undecided = matches!(self.line().history.park, Some(Park::Undecided { .. }));
        if let Some(answer) = past.answer.as_ref().filter(|_| was_undecided) {
            return self.answered(step, answer, operation, (interrupt, cx), args).await;
        }
        let redo = match operation.declaration.redo {
            Redo::Ask if self.closes_a_lease() => Redo::Probe,
            redo => redo,
        };
        let seen = match redo {
            Redo::Resend => return Ok(Decision::Again),
            Redo::Probe => match self.probe(operation, interrupt, cx, args).await? {
                Ok(Probe::Found(outcome)) => return Ok(Decision::Found(outcome)),
                Ok(Probe::Absent) => return Ok(Decision::Again),
                // What closes a lease may be done twice, and nobody is there to be asked.
                Ok(Probe::Unclear(_)) if self.closes_a_lease() => return Ok(Decision::Again),
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

    /// Looks for a step's trace. Interrupted, the look is left to whoever goes on with the run.
    async fn probe(
        &self,
        operation: &Registered,
        interrupt: &Interrupt,
        cx: &Cx,
        args: &Value,
    ) -> Result<Result<Probe<Value>>, Unwind> {
        match self.call(operation, interrupt, operation.probe(cx, args)).await? {
            Called::Ended(found) => Ok(found),
            Called::Unsent | Called::GivenUp => Err(self.attend().await.err().unwrap_or(Unwind::Replay)),
        }
    }

    /// Does what a person decided about an unclear request.
    async fn answered(
        &self,
        step: u32,
        answer: &Value,
        operation: &Registered,
        (interrupt, cx): (&Interrupt, &Cx),
        args: &Value,
    ) -> Result<Decision, Unwind> {
        match answer.as_str() {
            Some("again") => Ok(Decision::Again),
            // It happened; what it came to is for the operation to see.
            Some("done") => match self.probe(operation, interrupt, cx, args).await? {
                Ok(Probe::Found(outcome)) => Ok(Decision::Found(outcome)),
                Ok(Probe::Absent | Probe::Unclear(_)) => {
                    self.end(step, StepEnd::Ok(Value::Null), Vec::new()).await?;
                    Ok(Decision::Settled)
                }
                Err(error) => Ok(Decision::Failed(error)),
            },
            _ => {
                let failure = Error::rejected("marked as failed by an operator").to_failure();
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
            StepState::Accepted { deadline, .. } if !self.has_come_back() => {
                RetryPolicy { attempts: u32::MAX, within: since(first, *deadline), ..self.policy(past) }
            }
            _ => self.policy(past),
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
                trouble.pause = Some(Interval::of(&*self.core.clock, delay));
                trouble.last = Some(error);
                Ok(())
            }
            None => Err(self.put_away(Park::Exhausted { failure: error.to_failure() }).await),
        }
    }

    /// Gives an overdue step more time when its run was put away meanwhile for something that had to be
    /// mended first: nobody looked since, and the work goes on. Returns whether it did.
    async fn extend(&self, step: u32, past: &PastStep) -> Result<bool, Unwind> {
        let StepState::Accepted { continuation, check_at, deadline } = &past.state else {
            return Ok(false);
        };
        let now = self.core.clock.now();
        let resumed = self.line().history.park.as_ref().is_some_and(|park| !matches!(park, Park::Waiting));
        if !resumed || now < *deadline {
            return Ok(false);
        }
        let event = Event::StepAccepted {
            step,
            continuation: continuation.clone(),
            check_at: now.max(*check_at),
            send_before: self.send_before(&self.operation(&past.operation)?),
            deadline: self.core.after(OVERTIME),
            effected: Vec::new(),
        };
        self.record(vec![event], Sync::Now).await?;
        Ok(true)
    }

    async fn overdue(&self, step: u32, operation: &str, deadline: Timestamp, last: Option<Error>) -> Unwind {
        let mut error = Error::new(
            ErrorKind::Transient,
            format!("`{operation}` is still under way after its deadline {deadline:.0}"),
        )
        .code(ErrorCode::TIMED_OUT)
        .hint("it was not given up: resume the run to go on waiting, or stop it")
        .hint(format!("step {step} of run {}", self.tenure.run));
        if let Some(last) = last {
            error = error.because(last);
        }
        let failure = error.to_failure();
        match self.closes_a_lease() {
            true => self.begin_anew(step, failure).await.unwrap_or_else(|unwind| unwind),
            false => self.put_away(Park::Exhausted { failure }).await,
        }
    }

    /// Parks for a person. A run that closes a lease comes back by itself until it is closed.
    pub(super) async fn put_away(&self, park: Park) -> Unwind {
        let until = self.closes_a_lease().then(|| self.core.after(self.next_pause()));
        self.park(park, until).await
    }

    /// Puts a closing away whose attempt came to nothing for good: the next one begins anew.
    async fn begin_anew(&self, step: u32, failure: Failure) -> Result<Unwind, Unwind> {
        let (attempt, until) = (self.past(step)?.attempt, self.core.clock.now());
        let retrying = Event::StepRetrying { step, attempt, failure: failure.clone(), clean: true, until };
        self.record(vec![retrying], Sync::Soon).await?;
        Ok(self.put_away(Park::Exhausted { failure }).await)
    }

    /// Returns how often and how long to try again.
    fn policy(&self, past: &PastStep) -> RetryPolicy {
        let options = past
            .args
            .get("retry")
            .and_then(|retry| serde_json::from_value::<RetryOptions>(retry.clone()).ok());
        let policy = RetryPolicy::default().with(&options.unwrap_or_default());
        match self.has_come_back() {
            true => RetryPolicy { attempts: 1, ..policy },
            false => policy,
        }
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
    pause: Option<Interval>,
    last: Option<Error>,
}

fn is_mistake(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Script)
}
