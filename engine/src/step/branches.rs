//! A step that is many: each branch is a run of its own, with a log of its own.
//!
//! A branch is driven like a child run: here, unless somebody else has it. Whoever replays the step finds
//! every branch where its own log says it is, whichever was first before.
//!
//! ```text
//! not begun ──► under way ──► over          at most `at_once` are under way
//!                  │  ▲
//!                  ▼  │
//!               put away                    until a time, or until a person did something: then it
//! ```                                       leaves its place to another

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::child::{CHILD, PERSON_AGAIN};
use super::{Steps, Unwind};
use crate::builtin::{Branches, OnError};
use crate::drive::Driven;
use crate::error::{Error, Failure, Result};
use crate::event::{self, Event, Park, Progress, RunEnd, RunId, Signal, StepEnd};
use crate::log::{Hold, Patience, Standing};
use crate::prepare::Trunk;
use crate::replay::{PastStep, StepState};
use crate::script::thrown;

/// The word that says of a step's continuation that branches carry it on.
pub(super) const BRANCHES: &str = "$branches";
/// How often this run is looked at while its branches are under way.
const LOOK: Duration = Duration::from_secs(1);
/// When a run that is put away looks again at its branches. The end of one wakes it; this is the net.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// Returns whether a step waits for its branches.
pub(crate) fn is_branching(past: &PastStep) -> bool {
    matches!(&past.state, StepState::Accepted { continuation, .. } if continuation.get(BRANCHES).is_some())
}

/// Returns whether a continuation says only that other runs carry the step on.
pub(crate) fn is_elsewhere(continuation: &Value) -> bool {
    [CHILD, BRANCHES].iter().any(|word| continuation.get(word).is_some())
}

/// One branch that has begun.
struct Branch {
    run: RunId,
    now: Now,
    /// Whether it was told to stop because another has failed.
    is_told: bool,
}

/// Where a branch is.
enum Now {
    /// It is driven, here or elsewhere.
    UnderWay,
    PutAway(Park, Option<Timestamp>),
    Over(RunEnd),
}

type Driving = BoxFuture<'static, (usize, Result<Driven>)>;

impl Steps {
    /// Drives the branches of a step, and returns what came of them.
    pub(super) async fn branches(&self, step: u32, past: &PastStep, hold: Hold) -> Result<StepEnd, Unwind> {
        let patience = self.log.patience(hold);
        if patience == Patience::None {
            return Err(Unwind::Wait(self.parts.clock.now()));
        }
        let call = Branches::read(&past.args)?;
        let fan = Fan {
            steps: self,
            step,
            call: &call,
            hold,
            patience,
            trunk: None,
            branches: Vec::new(),
            driving: FuturesUnordered::new(),
        };
        let ends = fan.drive().await?;
        // A stop that waited for the branches takes effect before the script goes on.
        self.attend().await?;
        Ok(call.result(&ends))
    }

    /// Returns what branches have from this run.
    fn trunk(&self) -> Trunk {
        let prepared = self.line().history.prepared.clone();
        Trunk { run: self.log.run().clone(), prepared, sources: self.sources.clone() }
    }

    /// Returns the runs that a step has begun and that may be under way.
    pub(super) async fn open_below(&self, step: u32) -> Result<Vec<RunId>, Unwind> {
        let past = self.past(step)?;
        if !is_branching(&past) {
            return Ok(super::child::child_of(&past).into_iter().collect());
        }
        let mut open = Vec::new();
        for index in 0..items(&Branches::read(&past.args)?) {
            let run = self.log.run().branch(step, index);
            match self.log.standing(&run).await? {
                Some(standing) if standing.end.is_none() => open.push(run),
                Some(_) => {}
                // They begin in their order.
                None => break,
            }
        }
        Ok(open)
    }
}

/// The branches of one step while they are driven.
struct Fan<'a> {
    steps: &'a Steps,
    step: u32,
    call: &'a Branches,
    hold: Hold,
    patience: Patience,
    /// What they have from their run, once one begins.
    trunk: Option<Trunk>,
    /// Those that have begun, in the order of their items.
    branches: Vec<Branch>,
    driving: FuturesUnordered<Driving>,
}

impl Fan<'_> {
    /// Drives the branches until all are over, or none can go on by itself while this run waits for it.
    ///
    /// Returns the ends of those that have begun.
    async fn drive(mut self) -> Result<Vec<RunEnd>, Unwind> {
        self.adopt().await?;
        loop {
            self.stop_after_a_failure().await?;
            self.begin().await?;
            self.go_on();
            if self.driving.is_empty() {
                if self.branches.iter().all(Branch::is_over) {
                    return Ok(self.branches.into_iter().filter_map(Branch::end).collect());
                }
                if self.patience != Patience::Endless || !self.goes_on_by_itself() {
                    return Err(self.put_away().await);
                }
            }
            let (steps, next, open) = (self.steps, self.until_next(), self.open());
            let event = async {
                tokio::select! {
                    Some(back) = self.driving.next() => Some(back),
                    () = steps.parts.clock.sleep(next) => None,
                    () = tokio::time::sleep(LOOK) => None,
                }
            };
            match steps.meanwhile(&open, event).await? {
                Some(Some((index, driven))) => self.came_back(index, driven?),
                Some(None) => {}
                None => return Err(self.put_down().await),
            }
            steps.attend_with(&self.open()).await?;
        }
    }

    /// Takes up the branches that began before this drive. They began in the order of their items.
    async fn adopt(&mut self) -> Result<(), Unwind> {
        for index in 0..items(self.call) {
            let run = self.steps.log.run().branch(self.step, index);
            let Some(standing) = self.steps.log.standing(&run).await? else { break };
            let now = self.found(standing);
            self.add(run, now);
        }
        Ok(())
    }

    /// Begins as many branches as may be under way.
    async fn begin(&mut self) -> Result<(), Unwind> {
        while self.places() > 0 && !self.has_failed() {
            let index = self.branches.len();
            let Some(item) = self.call.items.get(index).cloned() else { break };
            self.steps.attend_with(&self.open()).await?;
            if self.steps.is_asked_to_stop() {
                break;
            }
            let branch = event::Branch { function: self.call.each.clone(), item };
            let run = self.steps.log.run().branch(self.step, index as u32);
            let trunk = self.trunk.get_or_insert_with(|| self.steps.trunk());
            let drafted = self.steps.parts.draft_branch(trunk, (self.step, index as u32), branch);
            self.steps.log.begin(drafted).await?;
            self.add(run, Now::UnderWay);
        }
        Ok(())
    }

    fn add(&mut self, run: RunId, now: Now) {
        let is_under_way = matches!(now, Now::UnderWay);
        self.branches.push(Branch { run, now, is_told: false });
        if is_under_way {
            self.drive_one(self.branches.len() - 1);
        }
    }

    /// Returns where a branch is that began before this drive.
    fn found(&self, standing: Standing) -> Now {
        if let Some(end) = standing.end {
            return Now::Over(end);
        }
        // A worker takes up what waits for a time, and a person what waits for one.
        let parts = &self.steps.parts;
        let is_due = standing.wake.is_some_and(|wake| wake <= parts.clock.now());
        let is_left = !is_due && self.patience != Patience::Endless && parts.answers().is_none();
        match standing.park {
            // What was interrupted together with the run goes on with it.
            Some(park) if is_left && park != Park::Interrupted => Now::PutAway(park, standing.wake),
            _ => Now::UnderWay,
        }
    }

    fn drive_one(&mut self, index: usize) {
        let driving = self.steps.log.drive(&self.branches[index].run, self.hold);
        self.branches[index].now = Now::UnderWay;
        self.driving.push(Box::pin(async move { (index, driving.await) }));
    }

    /// Drives what was put away until now.
    fn go_on(&mut self) {
        let now = self.steps.parts.clock.now();
        let due = |branch: &Branch| matches!(branch.now, Now::PutAway(_, Some(until)) if until <= now);
        let due: Vec<usize> = (0..self.branches.len()).filter(|n| due(&self.branches[*n])).collect();
        for index in due {
            self.drive_one(index);
        }
    }

    /// Notes how far a branch came.
    fn came_back(&mut self, index: usize, driven: Driven) {
        self.branches[index].now = match driven {
            Driven::Ended(end) => Now::Over(end),
            Driven::Parked(park, until) => Now::PutAway(park, until),
            // A run that keeps its thread looks soon; one that is put away for it is woken by its end.
            Driven::Held { .. } | Driven::Queued => {
                let again = if self.patience != Patience::Endless { AGAIN } else { LOOK };
                Now::PutAway(Park::Waiting, Some(self.steps.parts.after(again)))
            }
        };
        if self.branches[index].is_over() {
            self.tell();
        }
    }

    /// Shows how many branches are over.
    fn tell(&self) {
        let (over, all) =
            (self.branches.iter().filter(|branch| branch.is_over()).count(), self.call.items.len());
        let percent = Some(100.0 * over as f64 / all as f64);
        let progress = Progress { message: format!("{over} of {all} branches are over"), percent };
        let event = Event::Progress { step: self.step, progress };
        self.steps.parts.notice(self.steps.log.run(), None, event);
    }

    /// Stops the other branches when one has failed and the call says so.
    async fn stop_after_a_failure(&mut self) -> Result<(), Unwind> {
        if !self.has_failed() {
            return Ok(());
        }
        for index in 0..self.branches.len() {
            let branch = &self.branches[index];
            if branch.is_over() || branch.is_told {
                continue;
            }
            let (run, is_put_away) = (branch.run.clone(), matches!(branch.now, Now::PutAway(..)));
            let stop = Signal::Stop { by: "a branch that failed".to_owned() };
            let is_open = self.steps.log.tell(&run, &stop).await?;
            // Once: what it deferred may need a person, and then it is put away again.
            self.branches[index].is_told = true;
            if is_open && is_put_away {
                self.drive_one(index);
            }
        }
        Ok(())
    }

    /// Puts the run away until the next branch is due or one is over.
    async fn put_away(&mut self) -> Unwind {
        let parts = &self.steps.parts;
        let open = self.branches.iter().filter(|branch| !branch.is_over());
        let until = open.clone().filter_map(|branch| branch.now.until()).min();
        // What a person has to do something about is named first.
        let Some(first) = open.min_by_key(|branch| !self.needs_a_person(branch)) else {
            return Unwind::Halt(Error::storage("a run is put away for branches that are over"));
        };
        let until = until.unwrap_or_else(|| parts.after(PERSON_AGAIN));
        self.steps.park(Park::Child { run: first.run.clone() }, Some(until)).await
    }

    /// Puts the branches down, and then the run.
    async fn put_down(&mut self) -> Unwind {
        // What they have under way comes to its record first.
        self.driving.clear();
        let all: Vec<RunId> = self.branches.iter().map(|branch| branch.run.clone()).collect();
        self.steps.put_down_with(&all).await
    }

    /// Returns how many more branches may be under way. One that needs a person gives up its place.
    fn places(&self) -> usize {
        let taken = self.branches.iter().filter(|b| !b.is_over() && !self.needs_a_person(b)).count();
        self.call.at_once().saturating_sub(taken)
    }

    fn has_failed(&self) -> bool {
        let failed = |branch: &Branch| matches!(&branch.now, Now::Over(end) if !matches!(end, RunEnd::Succeeded { .. }));
        self.call.on_error.unwrap_or_default() == OnError::Stop && self.branches.iter().any(failed)
    }

    /// Returns whether something that was put away comes back without a person.
    fn goes_on_by_itself(&self) -> bool {
        self.branches.iter().any(|branch| branch.now.until().is_some() && !self.needs_a_person(branch))
    }

    fn needs_a_person(&self, branch: &Branch) -> bool {
        match &branch.now {
            // In a service, a run below waits in a row of its own.
            Now::PutAway(Park::Child { .. }, _) => self.patience == Patience::Endless,
            Now::PutAway(park, _) => !park.is_waiting(),
            Now::UnderWay | Now::Over(_) => false,
        }
    }

    fn until_next(&self) -> Duration {
        let now = self.steps.parts.clock.now();
        let next = self.branches.iter().filter_map(|branch| branch.now.until()).min();
        let next = next.map(|next| next.duration_since(now));
        next.map_or(AGAIN, |left| left.try_into().unwrap_or(Duration::ZERO))
    }

    fn open(&self) -> Vec<RunId> {
        self.branches.iter().filter(|branch| !branch.is_over()).map(|branch| branch.run.clone()).collect()
    }
}

impl Branch {
    fn is_over(&self) -> bool {
        matches!(self.now, Now::Over(_))
    }

    fn end(self) -> Option<RunEnd> {
        match self.now {
            Now::Over(end) => Some(end),
            Now::UnderWay | Now::PutAway(..) => None,
        }
    }
}

impl Now {
    fn until(&self) -> Option<Timestamp> {
        match self {
            Now::PutAway(_, until) => *until,
            Now::UnderWay | Now::Over(_) => None,
        }
    }
}

impl Branches {
    /// Returns the end of the step, from the ends of the branches that have begun.
    fn result(&self, ends: &[RunEnd]) -> StepEnd {
        match self.on_error.unwrap_or_default() {
            OnError::Stop => self.whole(ends),
            OnError::Collect => StepEnd::Ok(ends.iter().map(collected).collect::<Value>().into()),
        }
    }

    /// Returns all values, or the failure of the first branch that has failed.
    fn whole(&self, ends: &[RunEnd]) -> StepEnd {
        let failures: Vec<(usize, Failure)> =
            ends.iter().enumerate().filter_map(|(n, end)| Some((n, failure(end)?))).collect();
        // What was stopped was so because of what failed.
        let stopped = |end: &RunEnd| matches!(end, RunEnd::Stopped { .. });
        let first = failures.iter().find(|(n, _)| !stopped(&ends[*n])).or(failures.first());
        let Some((n, failure)) = first else {
            return StepEnd::Ok(ends.iter().map(value).collect::<Value>().into());
        };
        let failed = failures.iter().filter(|(n, _)| !stopped(&ends[*n])).count();
        let others = match failed {
            0 | 1 => String::new(),
            failed => format!(", and {} more", failed - 1),
        };
        let error = Error::rejected(format!("branch {} of {} failed{others}", n + 1, self.items.len()));
        let code = failure.code.clone();
        StepEnd::Err(Failure { code, ..error.because(failure.to_error()).to_failure() })
    }
}

fn items(call: &Branches) -> u32 {
    u32::try_from(call.items.len()).unwrap_or(u32::MAX)
}

fn value(end: &RunEnd) -> Value {
    match end {
        RunEnd::Succeeded { value } => value.clone(),
        _ => Value::Null,
    }
}

fn failure(end: &RunEnd) -> Option<Failure> {
    let error = match end {
        RunEnd::Succeeded { .. } => return None,
        RunEnd::Failed { failure, .. } => return Some(failure.clone()),
        RunEnd::Stopped { by, .. } => Error::rejected(format!("it was stopped by {by}")),
        RunEnd::Abandoned { by, .. } => Error::rejected(format!("it was abandoned by {by}")),
    };
    Some(error.to_failure())
}

/// Returns what a script finds of a branch where it wants all of them.
fn collected(end: &RunEnd) -> Value {
    match failure(end) {
        None => json!({ "value": value(end) }),
        Some(failure) => json!({ "error": thrown(&failure) }),
    }
}
