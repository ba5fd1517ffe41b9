//! A step that is a run of its own, and one that is a question.
//!
//! A child run has its own journal and is driven like any other run: here, unless somebody else has
//! it, and then its end is waited for. What a person says to the parent is meant for the child too: a
//! stop is passed on, and a question of the child reaches whoever answers for the parent.

use std::pin::pin;
use std::time::Duration;

use serde_json::Value;

use super::attempt::{Attempt, Made};
use super::{Steps, Unwind};
use crate::drive::Driven;
use crate::error::{Error, Failure, Result};
use crate::event::{Event, Park, RunEnd, RunId, Signal, StepEnd};
use crate::journal::Sync;
use crate::log::{Hold, Patience};
use crate::prepare::{self, Parent};
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
    /// Begins the child of a step, unless it was begun before.
    pub(super) async fn begin_child(&self, step: u32, runbook: &str, params: &Value) -> Result<RunId> {
        let run = prepare::child_of(self.log.run(), step);
        if self.log.standing(&run).await?.is_none() {
            let (depth, who, labels) = {
                let prepared = &self.line().history.prepared;
                (prepared.depth, prepared.who.clone(), prepared.labels.clone())
            };
            let (texts, workdir, paths) = (&*self.sources, &*self.around.workdir, &*self.around.paths);
            let granted = self.runbook()?.reach();
            let parent =
                Parent { run: self.log.run(), step, depth, granted, texts, workdir, paths, who, labels };
            let child = self.parts.draft_child(parent, runbook, params)?;
            self.log.begin(child).await?;
        }
        Ok(run)
    }

    /// Drives a child run, or waits for whoever does, and takes its end for the step's.
    pub(super) async fn child(&self, child: &RunId, hold: Hold) -> Result<StepEnd, Unwind> {
        let patience = self.log.patience(hold);
        if patience == Patience::None {
            return Err(Unwind::Wait(self.parts.clock.now()));
        }
        let is_left = patience == Patience::Some && self.parts.answers().is_none();
        if is_left && self.waits_for_a_person(child).await? {
            return Err(self.park_for(child, PERSON_AGAIN).await);
        }
        let end = loop {
            match self.drive_child(child, hold).await? {
                Driven::Ended(end) => break end,
                Driven::Parked(park, until) if patience == Patience::Some || needs_a_person(&park) => {
                    let until = until.unwrap_or_else(|| self.parts.after(PERSON_AGAIN));
                    return Err(self.park(Park::Child { run: child.clone() }, Some(until)).await);
                }
                Driven::Parked(_, Some(until)) => self.wait_until(until, Hold::Open).await?,
                // A child is part of its parent and stands in no queue.
                Driven::Held { .. } | Driven::Queued if patience == Patience::Some => {
                    return Err(self.park_for(child, CHILD_AGAIN).await);
                }
                Driven::Parked(_, None) | Driven::Held { .. } | Driven::Queued => self.watch(child).await?,
            }
        };
        // A stop that waited for the child takes effect before the script goes on.
        self.attend().await?;
        Ok(match end {
            RunEnd::Succeeded { value } => StepEnd::Ok(value.into()),
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

    async fn park_for(&self, child: &RunId, again: Duration) -> Unwind {
        let until = self.parts.after(again);
        self.park(Park::Child { run: child.clone() }, Some(until)).await
    }

    /// Returns whether a child would only be put away again: it needs a person, and nobody has said anything. A
    /// person who resumes the run drives it all the same, and who goes on with a run goes on with what was
    /// interrupted together with it.
    async fn waits_for_a_person(&self, child: &RunId) -> Result<bool, Unwind> {
        let standing = self.log.standing(child).await?;
        let now = self.parts.clock.now();
        Ok(standing.is_some_and(|child| {
            let is_due = child.wake.is_some_and(|wake| wake <= now);
            child.park.is_some_and(|park| !park.is_waiting() && park != Park::Interrupted) && !is_due
        }))
    }

    /// Drives the child, and listens meanwhile for what is said to this run.
    async fn drive_child(&self, child: &RunId, hold: Hold) -> Result<Driven, Unwind> {
        let driven = self.meanwhile(std::slice::from_ref(child), self.log.drive(child, hold)).await?;
        match driven {
            Some(driven) => Ok(driven?),
            None => Err(self.put_down_with(std::slice::from_ref(child)).await),
        }
    }

    /// Puts the runs down that nobody waits for any more, and then this one: what they have under way comes to its
    /// record first.
    pub(super) async fn put_down_with(&self, below: &[RunId]) -> Unwind {
        for run in below {
            self.log.let_go(run).await;
        }
        self.put_down().await
    }

    /// Waits until a child that another process drives is over, parked or free, and passes questions on.
    async fn watch(&self, child: &RunId) -> Result<(), Unwind> {
        let below = std::slice::from_ref(child);
        loop {
            if self.meanwhile(below, self.parts.clock.sleep(LOOK)).await?.is_none() {
                return Err(self.put_down().await);
            }
            self.attend_with(below).await?;
            let Some(standing) = self.log.standing(child).await? else { return Ok(()) };
            match &standing.park {
                Some(Park::Question { text, choices }) => {
                    let Some((answer, by)) = self.answer(text, choices).await? else { return Ok(()) };
                    let signal = Signal::Answer { step: standing.step, value: Value::String(answer), by };
                    self.log.tell(child, &signal).await?;
                }
                _ if standing.end.is_some() || !standing.is_driven => return Ok(()),
                _ => {}
            }
        }
    }

    /// Asks whoever answers here, else parks until somebody answers elsewhere.
    pub(super) async fn ask(
        &self,
        at: &Attempt<'_>,
        text: String,
        choices: Vec<String>,
    ) -> Result<(), Unwind> {
        let Some((answer, by)) = self.answer(&text, &choices).await? else {
            return Err(self.park(Park::Question { text, choices }, None).await);
        };
        let (step, value) = (at.step, Value::String(answer));
        let end = StepEnd::Ok(at.operation.answered(&value).into());
        let signal = Signal::Answer { step, value, by };
        let answered = Made::events(vec![Event::Signalled { signal }], Sync::Now);
        self.next(pin!(async { Ok(answered.and(Made::end(step, end, Vec::new()))) })).await.map(drop)
    }

    /// Returns the answer of whoever answers here, and listens meanwhile for a stop or an interruption.
    async fn answer(&self, text: &str, choices: &[String]) -> Result<Option<(String, String)>, Unwind> {
        let Some(answers) = self.parts.answers() else { return Ok(None) };
        // One at a time: an answer must not be taken for that of another branch.
        let answer = async {
            let _turn = self.parts.asking.lock().await;
            answers.answer(self.log.run(), text, choices).await
        };
        let Some(answer) = self.meanwhile(&[], answer).await? else { return Err(self.put_down().await) };
        Ok(answer.filter(|(answer, _)| choices.is_empty() || choices.contains(answer)))
    }
}

fn needs_a_person(park: &Park) -> bool {
    !park.is_waiting() || matches!(park, Park::Child { .. })
}
