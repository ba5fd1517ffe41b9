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
//! A script's thread waits for all this by moving it around: what is rare is boxed, so that what is not stays small.
//!
//! Between any two of these the process may die; the next one stands where the journal says. What the
//! records say is to be done is [`todo`]; doing it is here; what came of it as events is [`attempt`]; and
//! the events are recorded in one place.
//!
//! [`attempt`]: super::attempt

use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::attempt::{Attempt, Made, Then};
use super::branches::BRANCHES;
use super::call::{Called, Interrupt};
use super::child::CHILD;
use super::todo::{Doubt, Known, Todo, todo};
use super::{Steps, Unwind};
use crate::clock::Interval;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::event::{Effected, Event, Lease, Park, Place, Progress, StepEnd};
use crate::journal::{LeaseFilter, Sync};
use crate::log::Hold;
use crate::operation::{Outcome, Pending, Probe, Registered};
use crate::replay::{PastStep, StepState};

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
    pub(crate) async fn execute(&self, step: u32) -> Result<StepEnd, Unwind> {
        self.reopen().await?;
        let is_open = !self.parts.handles.with_run(self.log.run()).is_empty();
        self.execute_for(step, false, if is_open { Hold::Open } else { Hold::Step }).await
    }

    /// Carries a step to its result, holding on to what the run holds while it waits.
    ///
    /// `fresh` says that the caller has just written `StepStarted`, so that nothing can have been
    /// sent; a step found in that state is unclear.
    pub(super) async fn execute_for(
        &self,
        step: u32,
        mut fresh: bool,
        hold: Hold,
    ) -> Result<StepEnd, Unwind> {
        let mut trouble = Trouble::default();
        loop {
            // An intent that was written a moment ago is carried out: put away here, it could not be told
            // from one whose request has left.
            if !fresh {
                let open = match self.is_elsewhere(step) {
                    true => Box::pin(self.open_below(step)).await?,
                    false => Vec::new(),
                };
                self.attend_with(&open).await?;
                if let Some(end) = self.end_of(step) {
                    return Ok(end);
                }
            }
            let past = self.past(step)?;
            let operation = self.operation(&past.operation)?;
            let at = self.attempt(step, &past, &operation);
            let todo = todo(&past, self.known(&at, fresh));
            if let Todo::Over(end) = todo {
                return Ok(end.clone());
            }
            if !fresh {
                self.check_terminal(&operation).await?;
                self.remember_secrets(&operation).await?;
            }
            let awaited = match todo {
                Todo::Begin => Awaited::Nothing,
                _ => Box::pin(self.await_before(step, &past, &todo, trouble.pause, hold)).await?,
            };
            let making = pin!(self.do_next(&at, &todo, awaited, &mut trouble));
            let then = self.next(making).await?;
            fresh = matches!(then, Then::Begin);
            match then {
                Then::GoOn | Then::Begin => {}
                Then::PutAway(park) => return Err(Box::pin(self.put_away(*park)).await),
                Then::Mistake(error) => return Err(Unwind::Mistake(error)),
                Then::Ask { question, choices } => Box::pin(self.ask(&at, question, choices)).await?,
            }
        }
    }

    /// Waits for whatever must be over before the next thing is done for a step: its time, and what other runs come
    /// to. Whatever touches the world is done where it is recorded.
    async fn await_before(
        &self,
        step: u32,
        past: &PastStep,
        todo: &Todo<'_>,
        pause: Option<Interval>,
        hold: Hold,
    ) -> Result<Awaited, Unwind> {
        if let Todo::Clear { .. } | Todo::Look { .. } = todo {
            self.outwait_its_maker(past, hold).await?;
        }
        if let Some(due) = todo.due() {
            self.wait_until(due, hold).await?;
        }
        if let Some(pause) = pause {
            self.wait(pause, hold).await?;
        }
        Ok(match todo {
            Todo::Child { run, .. } => Awaited::End(self.child(run, hold).await?),
            Todo::Branches { .. } => Awaited::End(self.branches(step, past, hold).await?),
            Todo::Close { closer, .. } => {
                let closed = self.await_closing(closer, hold).await?;
                self.outwait_its_maker(past, hold).await?;
                Awaited::Closed(closed)
            }
            _ => Awaited::Nothing,
        })
    }

    /// Does what is to be done next for a step, and returns what is recorded of it.
    async fn do_next(
        &self,
        at: &Attempt<'_>,
        todo: &Todo<'_>,
        awaited: Awaited,
        trouble: &mut Trouble,
    ) -> Result<Made, Unwind> {
        match (todo, awaited) {
            (_, Awaited::End(end)) => Ok(Made::end(at.step, end, Vec::new())),
            (Todo::Close { deadline, .. }, Awaited::Closed(closed)) => {
                Box::pin(self.look(at, Ok(closed), *deadline, trouble)).await
            }
            (Todo::Again { .. }, _) => Ok(self.once_more(at)),
            (Todo::Begin, _) => self.begin(at).await,
            (Todo::Clear { doubt, .. }, _) => Box::pin(self.clear(at, *doubt, trouble)).await,
            (Todo::Look { state, deadline, .. }, _) => {
                let state = Box::pin(self.cx(at.step, at.past).unhidden(state)).await;
                Box::pin(self.look(at, state, *deadline, trouble)).await
            }
            (Todo::Over(_) | Todo::Child { .. } | Todo::Branches { .. } | Todo::Close { .. }, _) => {
                Ok(Made::nothing())
            }
        }
    }

    fn attempt<'a>(&'a self, step: u32, past: &'a PastStep, operation: &'a Registered) -> Attempt<'a> {
        Attempt {
            run: self.log.run(),
            step,
            past,
            operation,
            closes_a_lease: self.closes_a_lease(),
            has_come_back: self.has_come_back(),
        }
    }

    fn known(&self, at: &Attempt<'_>, fresh: bool) -> Known {
        let was_asked = matches!(self.line().history.park, Some(Park::Undecided { .. }));
        let redo = at.operation.declaration.redo;
        Known { fresh, redo, was_asked, closes_a_lease: at.closes_a_lease }
    }

    /// Returns the intent of an attempt. Reads need none on the disk: nothing is lost with them.
    pub(super) fn intent(
        &self,
        step: u32,
        operation: &Registered,
        args: Value,
        at: Place,
        attempt: u32,
    ) -> Made {
        let event = Event::StepStarted {
            step,
            operation: operation.declaration.name.to_owned(),
            args,
            at,
            attempt,
            send_before: self.send_before(operation),
        };
        let sync = if operation.declaration.is_read_only() { Sync::Soon } else { Sync::Now };
        Made { then: Then::Begin, ..Made::events(vec![event], sync) }
    }

    fn once_more(&self, at: &Attempt<'_>) -> Made {
        let (args, place) = (Value::clone(&at.past.args), at.past.at.clone());
        self.intent(at.step, at.operation, args, place, at.past.attempt + 1)
    }

    /// Carries an intent out.
    async fn begin(&self, at: &Attempt<'_>) -> Result<Made, Unwind> {
        let (interrupt, cx) = Interrupt::of(self.cx(at.step, at.past));
        let begun = match self.call(at.operation, &interrupt, at.operation.begin(&cx, &at.args())).await? {
            Called::Ended(begun) => begun,
            Called::Unsent => return Ok(at.unsent(self.parts.clock.now())),
            Called::GivenUp => return Ok(Made::nothing()),
        };
        match begun {
            Ok(outcome) => self.settle(at, outcome).await,
            Err(error) if is_mistake(&error) && at.past.attempt == 1 && !at.closes_a_lease => {
                Ok(Made::wrong_call(at.step, &error))
            }
            Err(error) if error.kind().is_retryable() => Ok(at.failed(&error, self.parts.clock.now())),
            Err(error) => Box::pin(self.refused(at, error)).await,
        }
    }

    /// Settles whether a request has left.
    async fn clear(&self, at: &Attempt<'_>, doubt: Doubt, trouble: &mut Trouble) -> Result<Made, Unwind> {
        let found = match doubt {
            Doubt::Resend => return Ok(self.once_more(at)),
            Doubt::Ask => {
                let seen = "the operation leaves no trace by which it could be told";
                return Ok(at.undecided(seen.to_owned()));
            }
            Doubt::Failed => {
                let failure = Error::rejected("marked as failed by an operator").to_failure();
                return Ok(Made::end(at.step, StepEnd::Err(failure), Vec::new()));
            }
            Doubt::Probe | Doubt::Happened => match self.probe(at).await? {
                // It was interrupted: whoever goes on with the run looks again.
                None => return Ok(Made::nothing()),
                Some(Err(error)) => Err(error),
                Some(Ok(Probe::Found(outcome))) => Ok(outcome),
                // What it came to was for the operation to see.
                Some(Ok(_)) if doubt == Doubt::Happened => {
                    return Ok(Made::end(at.step, StepEnd::Ok(Value::Null.into()), Vec::new()));
                }
                Some(Ok(Probe::Absent)) => return Ok(self.once_more(at)),
                // What closes a lease may be done twice, and nobody is there to be asked.
                Some(Ok(Probe::Unclear(_))) if at.closes_a_lease => return Ok(self.once_more(at)),
                Some(Ok(Probe::Unclear(seen))) => return Ok(at.undecided(seen)),
            },
        };
        self.seen(at, found, trouble).await
    }

    /// Looks for a step's trace. Returns nothing when that was interrupted.
    async fn probe(&self, at: &Attempt<'_>) -> Result<Option<Result<Probe<Value>>>, Unwind> {
        let (interrupt, cx) = Interrupt::of(self.cx(at.step, at.past));
        match self.call(at.operation, &interrupt, at.operation.probe(&cx, &at.args())).await? {
            Called::Ended(found) => Ok(Some(found)),
            Called::Unsent | Called::GivenUp => Ok(None),
        }
    }

    /// Sees how far a step has come elsewhere.
    async fn look(
        &self,
        at: &Attempt<'_>,
        state: Result<Value>,
        deadline: Timestamp,
        trouble: &mut Trouble,
    ) -> Result<Made, Unwind> {
        if let Some(more) = self.more_time(at, deadline) {
            return Ok(more);
        }
        let outcome = match state {
            Ok(state) => {
                let (interrupt, cx) = Interrupt::of(self.cx(at.step, at.past));
                let (cx, args) = (self.holding(cx).await?, at.args());
                let call = at.operation.resume(&cx, &args, &state);
                match self.call(at.operation, &interrupt, call).await? {
                    Called::Ended(outcome) => outcome,
                    // It stands where it stood.
                    Called::Unsent | Called::GivenUp => return Ok(Made::nothing()),
                }
            }
            Err(error) => Err(error),
        };
        let now = self.parts.clock.now();
        match outcome {
            Ok(outcome @ Outcome::Pending(_)) if now >= deadline => {
                let last = std::mem::take(trouble).last;
                Ok(self.settle(at, outcome).await?.and(at.overdue(deadline, last, now)))
            }
            outcome => self.seen(at, outcome, trouble).await,
        }
    }

    /// Reads what a look has brought.
    async fn seen(
        &self,
        at: &Attempt<'_>,
        outcome: Result<Outcome<Value>>,
        trouble: &mut Trouble,
    ) -> Result<Made, Unwind> {
        match outcome {
            Ok(outcome) => {
                *trouble = Trouble::default();
                self.settle(at, outcome).await
            }
            Err(error) if error.kind().is_retryable() => Ok(self.look_again(at, trouble, error)),
            Err(error) => Box::pin(self.refused(at, error)).await,
        }
    }

    /// Reads where an operation stands.
    async fn settle(&self, at: &Attempt<'_>, mut outcome: Outcome<Value>) -> Result<Made, Unwind> {
        let step = at.step;
        if let Err(error) = self.grant(outcome.effected_mut()) {
            return Box::pin(self.refused(at, error)).await;
        }
        match outcome {
            Outcome::Done(done) => Ok(at.done(done)),
            Outcome::Pending(pending) => Ok(self.accepted(at, pending)),
            Outcome::Ask { question, choices } => match &at.past.answer {
                Some(answer) => {
                    Ok(Made::end(step, StepEnd::Ok(at.operation.answered(answer).into()), Vec::new()))
                }
                None => Ok(Made::ask(question, choices)),
            },
            Outcome::Close { lease, then } => Box::pin(self.hand_over(at, lease, then)).await,
            Outcome::Branches => Ok(self.accepted(at, elsewhere(json!({ BRANCHES: true })))),
            Outcome::Child { runbook, params } => {
                match Box::pin(self.begin_child(step, &runbook, &params)).await {
                    Ok(child) => Ok(self.accepted(at, elsewhere(json!({ CHILD: child.as_str() })))),
                    // What cannot be prepared does not exist: whatever the attempt, nothing was done.
                    Err(error) if is_mistake(&error) => Ok(Made::wrong_call(step, &error)),
                    Err(error) => Box::pin(self.refused(at, error)).await,
                }
            }
        }
    }

    /// The operation goes on elsewhere. Only what changed is written.
    pub(super) fn accepted(&self, at: &Attempt<'_>, pending: Pending) -> Made {
        let step = at.step;
        if let Some(progress) = pending.progress {
            self.parts.notice(self.log.run(), None, Event::Progress { step, progress });
        }
        let look = Interval::of(&*self.parts.clock, pending.check_after);
        let check_at = look.end();
        self.line().next_look = Some(look);
        let mut continuation = pending.continuation;
        if let Some(at) = continuation.get_mut("at") {
            *at = self.parts.revealed.hide(at.take());
        }
        let known = match &at.past.state {
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
            return Made::nothing();
        }
        let deadline = known.map_or_else(|| self.parts.after(pending.within), |(_, deadline)| deadline);
        let (send_before, effected) = (self.send_before(at.operation), pending.effected);
        let event = Event::StepAccepted { step, continuation, check_at, deadline, send_before, effected };
        Made::events(vec![event], Sync::Now)
    }

    /// Gives an overdue step more time when its run was put away meanwhile for something that had to be
    /// mended first: nobody looked since, and the work goes on.
    fn more_time(&self, at: &Attempt<'_>, deadline: Timestamp) -> Option<Made> {
        let StepState::Accepted { continuation, check_at, .. } = &at.past.state else { return None };
        let now = self.parts.clock.now();
        let resumed = self.line().history.park.as_ref().is_some_and(|park| !matches!(park, Park::Waiting));
        let event = (resumed && now >= deadline).then(|| Event::StepAccepted {
            step: at.step,
            continuation: continuation.clone(),
            check_at: now.max(*check_at),
            send_before: self.send_before(at.operation),
            deadline: self.parts.after(OVERTIME),
            effected: Vec::new(),
        })?;
        Some(Made::events(vec![event], Sync::Now))
    }

    /// Looks again after a look that brought no answer.
    fn look_again(&self, at: &Attempt<'_>, trouble: &mut Trouble, error: Error) -> Made {
        let now = self.parts.clock.now();
        trouble.failed += 1;
        let first = *trouble.since.get_or_insert(now);
        let Some(pause) = at.pause(trouble.failed, first, &error, now) else {
            return Made::put_away(Park::Exhausted { failure: error.to_failure() });
        };
        let progress = Progress { message: format!("no answer ({error}); looking again"), percent: None };
        self.parts.notice(self.log.run(), None, Event::Progress { step: at.step, progress });
        trouble.pause = Some(Interval::of(&*self.parts.clock, pause));
        trouble.last = Some(error);
        Made::nothing()
    }

    /// Reads an error that no later attempt mends by itself.
    pub(super) async fn refused(&self, at: &Attempt<'_>, error: Error) -> Result<Made, Unwind> {
        let (failure, now) = (error.to_failure(), self.parts.clock.now());
        match error.kind() {
            // Whatever was sent before, the step stands, and the script hears how it ended.
            _ if at.is_ended_by(&error) => {
                let failure = Failure { kind: ErrorKind::Rejected, ..failure };
                Ok(Made::end(at.step, StepEnd::Err(failure), self.close_early(at).await?))
            }
            // A closing gives up for nothing: it begins anew after a pause.
            ErrorKind::Rejected | ErrorKind::Invalid | ErrorKind::Script => Ok(at.begins_anew(failure, now)),
            ErrorKind::Denied => Ok(at.denied(failure, now)),
            _ => Err(Unwind::Halt(self.cleaned(error))),
        }
    }

    /// A step that failed half-way may have left its door open: its lease is due at once.
    async fn close_early(&self, at: &Attempt<'_>) -> Result<Vec<Effected>, Unwind> {
        let (id, now) = (self.cx(at.step, at.past).lease_id(), self.parts.clock.now());
        let own = self.log.leases(&LeaseFilter::Id(id)).await?;
        let own = own.into_iter().filter(|lease| lease.deadline > now);
        Ok(own.map(|lease| Effected::LeaseOpened(Lease { deadline: now, ..lease })).collect())
    }

    /// Parks for a person. A run that closes a lease comes back by itself until it is closed.
    pub(super) async fn put_away(&self, park: Park) -> Unwind {
        let until = self.closes_a_lease().then(|| self.parts.after(self.next_pause()));
        self.park(park, until).await
    }
}

/// What was waited for outside of what is recorded.
enum Awaited {
    Nothing,
    /// The end of other runs, which is the step's.
    End(StepEnd),
    /// The state with which an operation goes on that handed a closing over.
    Closed(Value),
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
