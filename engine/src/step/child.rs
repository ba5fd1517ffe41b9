//! A step that is a run of its own, and one that is a question.
//!
//! A child run has its own journal and is driven like any other run: here, unless somebody else has
//! it, and then its end is waited for. What a person says to the parent is meant for the child too: a
//! stop is passed on, and a question of the child reaches whoever answers for the parent.

use std::time::Duration;

use serde_json::Value;

use super::attempt::{Attempt, Made};
use super::{KEEP_THREAD, Steps, Unwind};
use crate::drive::{Driven, Way};
use crate::error::{Error, ErrorKind, Failure};
use crate::event::{Event, Park, RunEnd, RunId, Signal, StepEnd};
use crate::journal::Sync;
use crate::replay::{PastStep, StepState};

/// When a run that is put away looks again at its child. The child's end wakes it; this is the net.
const CHILD_AGAIN: Duration = Duration::from_secs(15 * 60);
/// The same where the child needs a person, which may take days.
pub(super) const PERSON_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a child that another process drives is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The word under which a step's continuation names a child run.
pub(super) const CHILD: &str = "$child";

/// Returns the child run that a step waits for.
pub(super) fn child_of(past: &PastStep) -> Option<RunId> {
    match &past.state {
        StepState::Accepted { continuation, .. } => {
            continuation.get(CHILD).and_then(Value::as_str).map(RunId::from)
        }
        _ => None,
    }
}

impl Steps {
    /// Drives a child run, or waits for whoever does, and takes its end for the step's.
    pub(super) async fn child(&self, child: &RunId, patience: Duration) -> Result<StepEnd, Unwind> {
        if patience <= KEEP_THREAD {
            return Err(Unwind::Wait(self.core.clock.now()));
        }
        let is_left = patience < Duration::MAX && self.core.answers().is_none();
        if is_left && self.waits_for_a_person(child).await? {
            let until = self.core.after(PERSON_AGAIN);
            return Err(self.park(Park::Child { run: child.clone() }, Some(until)).await);
        }
        let rest = self.rest();
        let end = loop {
            match self.drive_child(child, patience).await? {
                Driven::Ended(end) => break end,
                Driven::Parked(park, until) if patience < Duration::MAX || needs_a_person(&park) => {
                    let until = until.unwrap_or_else(|| self.core.after(PERSON_AGAIN));
                    return Err(self.park(Park::Child { run: child.clone() }, Some(until)).await);
                }
                Driven::Parked(_, Some(until)) => self.wait_until(until, Duration::MAX).await?,
                Driven::Held { .. } if patience < Duration::MAX => {
                    let until = self.core.after(CHILD_AGAIN);
                    return Err(self.park(Park::Child { run: child.clone() }, Some(until)).await);
                }
                Driven::Parked(_, None) | Driven::Held { .. } => self.watch(child).await?,
            }
        };
        rest.over().await?;
        // A stop that waited for the child takes effect before the script goes on.
        self.line().signalled = true;
        self.attend().await?;
        Ok(match end {
            RunEnd::Succeeded { value } => StepEnd::Ok(value),
            RunEnd::Failed { failure, .. } => {
                let error = Error::rejected(format!("the child run {child} failed"));
                let code = failure.code.clone();
                StepEnd::Err(Failure { code, ..error.because(failure.to_error()).to_failure() })
            }
            RunEnd::Stopped { by, .. } => StepEnd::Err(
                Error::rejected(format!("the child run {child} was stopped by {by}")).to_failure(),
            ),
            RunEnd::Abandoned { by, .. } => StepEnd::Err(
                Error::rejected(format!("the child run {child} was abandoned by {by}")).to_failure(),
            ),
        })
    }

    /// Returns whether a child would only be put away again: it needs a person, and nobody has said anything. A
    /// person who resumes the run drives it all the same, and who goes on with a run goes on with what was
    /// interrupted together with it.
    async fn waits_for_a_person(&self, child: &RunId) -> Result<bool, Unwind> {
        let summary = self.core.journal.run(child).await?;
        let now = self.core.clock.now();
        Ok(summary.is_some_and(|child| {
            let is_due = child.wake.is_some_and(|wake| wake <= now);
            child.park.is_some_and(|park| !park.is_waiting() && park != Park::Interrupted) && !is_due
        }))
    }

    /// Drives the child, and listens meanwhile for what is said to this run.
    async fn drive_child(&self, child: &RunId, patience: Duration) -> Result<Driven, Unwind> {
        let way = Way { patience, ..self.way.clone() };
        let mut driving = self.core.drive_child(child, way);
        loop {
            tokio::select! {
                driven = &mut driving => return match driven {
                    // That the child was lost to another process, or parked because it cannot be
                    // driven on, is not the end of this run.
                    Err(error) if error.kind() != ErrorKind::Storage => self.stand(child, error).await,
                    driven => Ok(driven?),
                },
                () = tokio::time::sleep(LOOK) => {}
                () = self.until_halted() => {
                    // What the child has under way comes to its record first.
                    drop(driving);
                    self.core.drives.until_put_down(child, &self.core.cancel).await;
                    return Err(self.put_down().await);
                }
            }
            self.line().signalled = true;
            self.attend_with(std::slice::from_ref(child)).await?;
        }
    }

    /// Returns how a child, or a closing, stands whose driving here ended with an error.
    pub(super) async fn stand(&self, child: &RunId, error: Error) -> Result<Driven, Unwind> {
        let summary = self.core.journal.run(child).await?;
        let Some(summary) = summary else { return Err(error.into()) };
        match (summary.park, summary.owner) {
            (Some(park), _) => Ok(Driven::Parked(park, summary.wake)),
            (None, Some(by)) if by != self.core.owner => Ok(Driven::Held { by }),
            _ if summary.status.is_over() => Ok(self.core.how_it_ended(child).await?),
            _ => Err(error.into()),
        }
    }

    /// Waits until a child that another process drives is over, parked or free, and passes questions on.
    async fn watch(&self, child: &RunId) -> Result<(), Unwind> {
        loop {
            tokio::select! {
                () = self.core.clock.sleep(LOOK) => {}
                () = self.until_halted() => {}
            }
            self.line().signalled = true;
            self.attend_with(std::slice::from_ref(child)).await?;
            let Some(summary) = self.core.journal.run(child).await? else { return Ok(()) };
            match &summary.park {
                Some(Park::Question { text, choices }) => {
                    let Some((answer, by)) = self.answer(text, choices).await? else { return Ok(()) };
                    let signal = Signal::Answer { step: summary.step, value: Value::String(answer), by };
                    self.core.journal.signal(child, &signal, self.core.clock.now()).await?;
                }
                _ if summary.status.is_over() || summary.owner.is_none() => return Ok(()),
                _ => {}
            }
        }
    }

    /// Passes a stop on to a child run. Returns whether the child is still to end.
    pub(super) async fn stop_child(&self, child: &RunId, by: &str) -> Result<bool, Unwind> {
        let journal = &self.core.journal;
        if journal.run(child).await?.is_none_or(|child| child.status.is_over()) {
            return Ok(false);
        }
        let stop = Signal::Stop { by: by.to_owned() };
        if !journal.signals(child).await?.iter().any(|signal| matches!(signal, Signal::Stop { .. })) {
            match journal.signal(child, &stop, self.core.clock.now()).await {
                Err(error) if error.kind() != ErrorKind::Invalid => return Err(error.into()),
                Ok(()) => self.core.drives.signal(child),
                // It has ended since: what waits for it sees that.
                Err(_) => {}
            }
        }
        Ok(true)
    }

    /// Asks whoever answers here, else parks until somebody answers elsewhere.
    pub(super) async fn ask(
        &self,
        at: &Attempt<'_>,
        text: String,
        choices: Vec<String>,
    ) -> Result<Made, Unwind> {
        let Some((answer, by)) = self.answer(&text, &choices).await? else {
            return Err(self.park(Park::Question { text, choices }, None).await);
        };
        let (step, value) = (at.step, Value::String(answer));
        let end = StepEnd::Ok(at.operation.answered(&value));
        let signal = Signal::Answer { step, value, by };
        let answered = Made::events(vec![Event::Signalled { signal }], Sync::Now);
        Ok(answered.and(Made::end(step, end, Vec::new())))
    }

    /// Returns the answer of whoever answers here, and listens meanwhile for a stop or an interruption.
    async fn answer(&self, text: &str, choices: &[String]) -> Result<Option<(String, String)>, Unwind> {
        let Some(answers) = self.core.answers() else { return Ok(None) };
        let rest = self.rest();
        // One at a time: an answer must not be taken for that of another branch.
        let mut answer = Box::pin(async {
            let _turn = self.core.asking.lock().await;
            answers.answer(&self.tenure.run, text, choices).await
        });
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                () = tokio::time::sleep(LOOK) => {}
                () = self.until_halted() => {}
            }
            self.line().signalled = true;
            self.attend().await?;
        };
        rest.over().await?;
        Ok(answer.filter(|(answer, _)| choices.is_empty() || choices.contains(answer)))
    }
}

fn needs_a_person(park: &Park) -> bool {
    !park.is_waiting() || matches!(park, Park::Child { .. })
}
