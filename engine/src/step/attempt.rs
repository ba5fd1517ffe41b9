//! What comes of an attempt at a step: the events that say so, and how its run goes on.
//!
//! Nothing here acts: what is returned is recorded by [`execute`](super::execute), in one place.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{since, without_retry};
use crate::code::ErrorCode;
use crate::error::{Error, ErrorKind, Failure};
use crate::event::{Effected, Event, Park, RunId, StepEnd, digest};
use crate::journal::Sync;
use crate::operation::{Done, Redo, Registered};
use crate::replay::{PastStep, StepState};
use crate::retry::{Exhausted, RetryOptions, RetryPolicy};

/// What is recorded next for a step, and how its run goes on.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) events: Vec<Event>,
    pub(super) sync: Sync,
    pub(super) then: Then,
}

/// How a run goes on with a step.
#[derive(Debug)]
pub(super) enum Then {
    /// By what its records say now.
    GoOn,
    /// An intent is on record now, and nothing can have been sent for it.
    Begin,
    /// Somebody has to do something first.
    PutAway(Box<Park>),
    /// Somebody has to answer first.
    Ask { question: String, choices: Vec<String> },
    /// The call was wrong and never became a step.
    Mistake(Error),
}

impl Made {
    /// Nothing changed that is worth a record.
    pub(super) fn nothing() -> Self {
        Made::events(Vec::new(), Sync::Soon)
    }

    /// Something is recorded, and the step goes on.
    pub(super) fn events(events: Vec<Event>, sync: Sync) -> Self {
        Made { events, sync, then: Then::GoOn }
    }

    /// The run is put away as it stands.
    pub(super) fn put_away(park: Park) -> Self {
        Made { then: Then::PutAway(Box::new(park)), ..Made::nothing() }
    }

    /// A question, whose answer is the step's value.
    pub(super) fn ask(question: String, choices: Vec<String>) -> Self {
        Made { then: Then::Ask { question, choices }, ..Made::nothing() }
    }

    /// The step has a result.
    pub(super) fn end(step: u32, end: StepEnd, effected: Vec<Effected>) -> Self {
        let sync = if effected.is_empty() { Sync::Soon } else { Sync::Now };
        Made::events(vec![Event::StepFinished { step, end, effected }], sync)
    }

    /// The call was refused before anything was sent: that of the mended text takes its place.
    pub(super) fn wrong_call(step: u32, error: &Error) -> Self {
        let failure = Failure { kind: ErrorKind::Script, ..error.to_failure() };
        let then = Then::Mistake(failure.to_error());
        Made { then, ..Made::end(step, StepEnd::Err(failure), Vec::new()) }
    }

    /// What is recorded, and then something else happens to the run.
    pub(super) fn and(mut self, next: Made) -> Self {
        self.events.extend(next.events);
        let sync = if self.sync == Sync::Now { Sync::Now } else { next.sync };
        Made { sync, then: next.then, ..self }
    }
}

/// A step as it stood before one more thing was done for it.
pub(super) struct Attempt<'a> {
    pub(super) run: &'a RunId,
    pub(super) step: u32,
    pub(super) past: &'a PastStep,
    pub(super) operation: &'a Registered,
    /// Whether the run closes a lease.
    pub(super) closes_a_lease: bool,
    /// Whether it was put away before: then one more attempt is made whenever it comes back.
    pub(super) has_come_back: bool,
}

impl Attempt<'_> {
    /// Returns the arguments as the operation sees them.
    pub(super) fn args(&self) -> std::borrow::Cow<'_, Value> {
        without_retry(&self.past.args)
    }

    /// The operation has done it.
    pub(super) fn done(&self, done: Done<Value>) -> Made {
        let end = Made::end(self.step, StepEnd::Ok(done.value.into()), done.effected);
        // What is open is seen from outside, such as a port: whoever goes on opens the same again.
        let sync = if self.operation.opens.is_some() { Sync::Now } else { end.sync };
        Made { sync, ..end }
    }

    /// Takes the attempt back, which certainly had no effect. The next one begins anew.
    fn taken_back(&self, failure: Failure, now: Timestamp) -> Made {
        let (step, attempt) = (self.step, self.past.attempt);
        let back = Event::StepRetrying { step, attempt, failure, clean: true, until: now };
        Made::events(vec![back], Sync::Soon)
    }

    /// The attempt was interrupted before it had an effect.
    pub(super) fn unsent(&self, now: Timestamp) -> Made {
        self.taken_back(Error::new(ErrorKind::Unsent, "it was interrupted").to_failure(), now)
    }

    /// Beginning failed, and may go well later.
    pub(super) fn failed(&self, error: &Error, now: Timestamp) -> Made {
        let (step, attempt) = (self.step, self.past.attempt);
        let declaration = &self.operation.declaration;
        let clean = error.kind() == ErrorKind::Unsent || declaration.is_read_only();
        let policy = self.policy();
        let failed = self.past.failed + 1;
        let delay = policy.delay(failed, since(self.past.since, now), error.pause(), self.jitter(failed));
        let until = now.saturating_add(delay.unwrap_or_default()).unwrap_or(Timestamp::MAX);
        let failure = error.to_failure();
        let retrying = Event::StepRetrying { step, attempt, failure: failure.clone(), clean, until };
        let is_safe = clean || declaration.redo == Redo::Resend;
        match delay {
            Some(_) => Made::events(vec![retrying], Sync::Now),
            None if policy.then == Exhausted::Throw && is_safe => {
                Made::end(step, StepEnd::Err(failure), Vec::new())
            }
            None => Made::events(vec![retrying], Sync::Now).and(Made::put_away(Park::Exhausted { failure })),
        }
    }

    /// Returns the pause before the operation is looked at again, which gave no answer this time; nothing
    /// when that was tried for long enough. It goes on meanwhile, so there is no harm in trying until its
    /// deadline.
    pub(super) fn pause(
        &self,
        failed: u32,
        first: Timestamp,
        error: &Error,
        now: Timestamp,
    ) -> Option<Duration> {
        let policy = match &self.past.state {
            StepState::Accepted { deadline, .. } if !self.has_come_back => {
                RetryPolicy { attempts: u32::MAX, within: since(first, *deadline), ..self.policy() }
            }
            _ => self.policy(),
        };
        policy.delay(failed, since(first, now), error.pause(), self.jitter(failed))
    }

    /// Returns whether an error ends the step for the script to hear of: no later attempt mends it.
    pub(super) fn is_ended_by(&self, error: &Error) -> bool {
        let is_final = matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Invalid | ErrorKind::Script);
        is_final && !self.closes_a_lease
    }

    /// Somebody said no; what has to be mended is outside.
    pub(super) fn denied(&self, failure: Failure, now: Timestamp) -> Made {
        let parked = Made::put_away(Park::Denied { failure: failure.clone() });
        match self.past.state {
            // A refusal is certain: the next attempt may begin as if there had been none.
            StepState::Started { .. } => self.taken_back(failure, now).and(parked),
            _ => parked,
        }
    }

    /// A closing came to nothing for good: the next attempt begins anew, after a pause.
    pub(super) fn begins_anew(&self, failure: Failure, now: Timestamp) -> Made {
        self.taken_back(failure.clone(), now).and(Made::put_away(Park::Exhausted { failure }))
    }

    /// Only a person can tell whether the request took effect. `seen` says what there is to be seen.
    pub(super) fn undecided(&self, seen: String) -> Made {
        let name = self.operation.declaration.name;
        let mut error = Error::new(
            ErrorKind::Transient,
            format!("`{name}` was sent, and nobody recorded whether it took effect"),
        )
        .hint(seen)
        .hint("look at the machine, then answer `done` (it happened), `again` (send it) or `failed`");
        if let StepState::Started { failure: Some(failure), .. } = &self.past.state {
            error = error.because(failure.to_error());
        }
        Made::put_away(Park::Undecided { failure: error.to_failure() })
    }

    /// It is under way for longer than it should be.
    pub(super) fn overdue(&self, deadline: Timestamp, last: Option<Error>, now: Timestamp) -> Made {
        let (name, step, run) = (self.operation.declaration.name, self.step, self.run);
        let mut error = Error::new(
            ErrorKind::Transient,
            format!("`{name}` is still under way after its deadline {deadline:.0}"),
        )
        .code(ErrorCode::TIMED_OUT)
        .hint("it was not given up: resume the run to go on waiting, or stop it")
        .hint(format!("step {step} of run {run}"));
        if let Some(last) = last {
            error = error.because(last);
        }
        let failure = error.to_failure();
        match self.closes_a_lease {
            true => self.begins_anew(failure, now),
            false => Made::put_away(Park::Exhausted { failure }),
        }
    }

    /// Returns how often and how long to try again.
    fn policy(&self) -> RetryPolicy {
        let options = self.past.args.get("retry");
        let options = options.and_then(|retry| serde_json::from_value::<RetryOptions>(retry.clone()).ok());
        let policy = RetryPolicy::default().with(&options.unwrap_or_default());
        match self.has_come_back {
            true => RetryPolicy { attempts: 1, ..policy },
            false => policy,
        }
    }

    /// Returns a number in `0.0..1.0` that differs between runs, steps and attempts.
    fn jitter(&self, failed: u32) -> f64 {
        let digits = digest(&[self.run.as_str(), &self.step.to_string(), &failed.to_string()]);
        u32::from_str_radix(&digits[..8], 16).map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
    }
}
