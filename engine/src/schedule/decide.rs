//! What becomes of the ticks of a schedule: a pure function of the schedule as it stands, of what ended, and of now.
//!
//! ```text
//!  due by now ─┬─ paused ──────────────────────────────► skipped
//!              ├─ later than the catch-up window ──────► missed
//!              ├─ more than one, and one is enough ────► coalesced into the newest
//!              └─ arrives ─┬─ nothing under way ───────► ran
//!  trigger, backfill ──────┘  else: the overlap policy ► ran, skipped, coalesced, or waits for an end
//! ```
//!
//! What waits is kept in the schedule's [`Standing`](crate::event::Standing), and has its account when it leaves. A look takes a
//! bounded number of ticks, so that ten years of downtime are accounted for in steps that each fit a transaction.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Rule;
use crate::error::Result;
use crate::event::{Arrival, Fate, Overlap, Pause, RunId, Schedule, Tick, TickCause};
use crate::journal::{ScheduledEnd, Status};
use crate::value::Span;

/// How many ticks one look takes.
const AT_A_LOOK: usize = 1000;
/// How many runs one look starts: each of them writes its texts and its first record.
const STARTS: usize = 50;
/// How many ticks may wait for a run to end, and how many runs may be under way at once.
const AT_ONCE: usize = 1000;

/// What a look at a schedule comes to.
#[derive(Debug)]
pub(crate) struct Decision {
    /// The schedule afterwards; it is gone when there is nothing.
    pub(crate) to: Option<Schedule>,
    /// What became of ticks.
    pub(crate) ticks: Vec<Tick>,
    /// For what a run starts. Each has its account among `ticks`.
    pub(crate) starts: Vec<Arrival>,
    /// The runs that are asked to stop.
    pub(crate) stops: Vec<RunId>,
    /// The runs that have to be given up before anything starts. Whoever has done so looks again; until then nothing else is decided.
    pub(crate) give_up: Vec<RunId>,
}

/// Decides what becomes of what is due by `now`, and of `wanted` beside it, which a person asks for.
///
/// # Errors
/// `Invalid` when the rule cannot be read.
pub(crate) fn decide(
    schedule: &Schedule,
    ends: &[ScheduledEnd],
    wanted: &[Arrival],
    now: Timestamp,
) -> Result<Decision> {
    let mut look = Look {
        schedule: schedule.clone(),
        decision: Decision {
            to: None,
            ticks: Vec::new(),
            starts: Vec::new(),
            stops: Vec::new(),
            give_up: Vec::new(),
        },
        now,
    };
    look.hear(ends);
    let is_last = look.take_due()?;
    for arrival in wanted {
        look.arrive(arrival.clone());
    }
    look.start_waiting();
    let Look { schedule, mut decision, .. } = look;
    let is_over = is_last && schedule.standing.waiting.is_empty();
    decision.to = (!is_over).then_some(schedule);
    Ok(decision)
}

/// Returns the accounts of all that is due by `now` or waits, when no run will start for it any more, such as before a schedule is removed.
///
/// # Errors
/// `Invalid` when the rule cannot be read.
pub(crate) fn give_up(schedule: &Schedule, because: &str, now: Timestamp) -> Result<Vec<Tick>> {
    let mut ticks = schedule.leave(because, now);
    let rule = schedule.repeats.as_deref().map(Rule::parse).transpose()?;
    let offset = schedule.offset();
    let mut next = Some(schedule.due).filter(|due| *due < Timestamp::MAX);
    while let Some(due) = next.filter(|due| later(*due, offset) <= now) {
        let fate = Fate::Skipped { because: because.to_owned() };
        push(&mut ticks, Tick::new(&schedule.id, due, TickCause::Due, fate, now));
        next = rule.as_ref().and_then(|rule| rule.next_after(due));
    }
    Ok(ticks)
}

/// One look at a schedule.
struct Look {
    schedule: Schedule,
    decision: Decision,
    now: Timestamp,
}

impl Look {
    /// Takes the ends of runs into account: who failed too often is paused.
    fn hear(&mut self, ends: &[ScheduledEnd]) {
        let standing = &mut self.schedule.standing;
        for end in ends {
            let before = standing.open.len();
            standing.open.retain(|run| *run != end.run);
            match end.status {
                _ if standing.open.len() == before => continue,
                Status::Failed => standing.failures = standing.failures.saturating_add(1),
                Status::Succeeded => standing.failures = 0,
                // A person ended it, which says nothing about the runbook.
                _ => {}
            }
            let most = self.schedule.terms.pause_after.unwrap_or(u32::MAX);
            if standing.failures >= most && standing.paused.is_none() {
                let because = match standing.failures {
                    1 => format!("run {} failed", end.run),
                    failures => format!("{failures} runs in a row failed, the last of them {}", end.run),
                };
                standing.paused = Some(Pause::new("relight", because, self.now));
            }
        }
    }

    /// Takes what the rule says up to now. Returns whether nothing will follow.
    fn take_due(&mut self) -> Result<bool> {
        if self.schedule.wakes().is_none_or(|wakes| wakes > self.now) {
            return Ok(self.schedule.due == Timestamp::MAX);
        }
        let rule = self.schedule.repeats.as_deref().map(Rule::parse).transpose()?;
        let after = |due: Timestamp| rule.as_ref().and_then(|rule| rule.next_after(due));
        let offset = self.schedule.offset();
        let is_due = |due: &Timestamp| later(*due, offset) <= self.now;
        let one_each = matches!(self.schedule.terms.overlap, Overlap::AllowAll | Overlap::BufferAll);
        let most = if one_each { STARTS } else { AT_A_LOOK };
        let due: Vec<Timestamp> = std::iter::successors(Some(self.schedule.due), |due| after(*due))
            .take_while(is_due)
            .take(most)
            .collect();
        let last = due.last().copied().unwrap_or(self.schedule.due);
        let next = after(last);
        self.schedule.due = next.unwrap_or(Timestamp::MAX);
        let newest = match &rule {
            Some(rule) if next.as_ref().is_some_and(is_due) => newest(rule, last, offset, self.now),
            _ => last,
        };
        for due in due {
            let fate = match self.refused(due, offset) {
                Some(fate) => fate,
                None if one_each || due == newest => {
                    self.arrive(Arrival::new(due, TickCause::Due));
                    continue;
                }
                None => Fate::Coalesced { into: newest },
            };
            self.account(due, TickCause::Due, fate);
        }
        Ok(next.is_none())
    }

    /// Returns what becomes of a tick that may not even arrive.
    fn refused(&self, due: Timestamp, offset: Duration) -> Option<Fate> {
        if let Some(pause) = &self.schedule.standing.paused {
            let because = format!("paused by {}: {}", pause.by, pause.because);
            return Some(Fate::Skipped { because });
        }
        let window = self.schedule.terms.catch_up?;
        let late = self.now.duration_since(later(due, offset));
        let is_late = late > SignedDuration::try_from(window.get()).unwrap_or(SignedDuration::MAX);
        is_late.then(|| Fate::Missed { because: format!("no run was started within {window} of it") })
    }

    /// Decides on something for which a run is wanted now.
    fn arrive(&mut self, arrival: Arrival) {
        let standing = &self.schedule.standing;
        if standing.open.is_empty() && standing.waiting.is_empty() {
            return self.start(arrival);
        }
        if matches!(arrival.cause, TickCause::Backfill { .. })
            && self.schedule.terms.overlap != Overlap::AllowAll
        {
            return self.wait(arrival);
        }
        match self.schedule.terms.overlap {
            Overlap::AllowAll if standing.open.len() < AT_ONCE => self.start(arrival),
            Overlap::AllowAll => self.skip(arrival, format!("{AT_ONCE} runs were under way already")),
            Overlap::BufferAll => self.wait(arrival),
            Overlap::Skip => {
                let because = match standing.open.first() {
                    Some(run) => format!("run {run} was still under way"),
                    None => "others waited for their run".to_owned(),
                };
                self.skip(arrival, because);
            }
            Overlap::BufferOne => match standing.waiting.iter().find(|other| !is_backfill(other)) {
                Some(other) => {
                    let into = other.due;
                    self.account(arrival.due, arrival.cause, Fate::Coalesced { into });
                }
                None => self.wait(arrival),
            },
            Overlap::CancelOther => {
                // Whoever waits already has asked.
                if standing.waiting.iter().all(is_backfill) {
                    self.decision.stops.clone_from(&standing.open);
                }
                self.replace_waiting(arrival);
            }
            Overlap::TerminateOther => {
                self.decision.give_up.clone_from(&standing.open);
                self.replace_waiting(arrival);
            }
        }
    }

    /// Lets one wait in place of those that the rule or a trigger has made wait.
    fn replace_waiting(&mut self, arrival: Arrival) {
        let into = arrival.due;
        let (stay, go) =
            std::mem::take(&mut self.schedule.standing.waiting).into_iter().partition(is_backfill);
        self.schedule.standing.waiting = stay;
        for Arrival { due, cause } in go {
            self.account(due, cause, Fate::Coalesced { into });
        }
        self.wait(arrival);
    }

    fn wait(&mut self, arrival: Arrival) {
        let waiting = &self.schedule.standing.waiting;
        match waiting.first().filter(|_| waiting.len() >= AT_ONCE) {
            None => self.schedule.standing.waiting.push(arrival),
            // Names the first, so that two of these accounts are one only when nothing got in between.
            Some(first) => {
                let because = format!("{AT_ONCE} others waited already, the first for {}", first.due);
                self.skip(arrival, because);
            }
        }
    }

    fn skip(&mut self, arrival: Arrival, because: String) {
        self.account(arrival.due, arrival.cause, Fate::Skipped { because });
    }

    /// Starts what has waited for its turn. What a person asked for starts in a pause, too.
    fn start_waiting(&mut self) {
        let standing = &self.schedule.standing;
        let is_paused = standing.paused.is_some();
        if !standing.open.is_empty() {
            return;
        }
        let ready = standing.waiting.iter().position(|waiting| !is_paused || !waiting.cause.is_due());
        if let Some(ready) = ready {
            let arrival = self.schedule.standing.waiting.remove(ready);
            self.start(arrival);
        }
    }

    fn start(&mut self, arrival: Arrival) {
        let run = arrival.run(&self.schedule.id);
        self.account(arrival.due, arrival.cause.clone(), Fate::Ran { run: run.clone() });
        self.schedule.standing.open.push(run);
        self.decision.starts.push(arrival);
    }

    fn account(&mut self, due: Timestamp, cause: TickCause, fate: Fate) {
        push(&mut self.decision.ticks, Tick::new(&self.schedule.id, due, cause, fate, self.now));
    }
}

fn push(ticks: &mut Vec<Tick>, tick: Tick) {
    if !ticks.last_mut().is_some_and(|last| last.absorb(&tick)) {
        ticks.push(tick);
    }
}

fn is_backfill(arrival: &Arrival) -> bool {
    matches!(arrival.cause, TickCause::Backfill { .. })
}

fn later(due: Timestamp, offset: Duration) -> Timestamp {
    due.saturating_add(offset).unwrap_or(Timestamp::MAX)
}

/// Returns the last tick that is due by now; `known` is one. Looked for backwards, as there may be millions in between.
fn newest(rule: &Rule, known: Timestamp, offset: Duration, now: Timestamp) -> Timestamp {
    let now = now.saturating_sub(offset).unwrap_or(Timestamp::MIN);
    let mut back = SignedDuration::from_secs(60);
    let mut found = known;
    while let Ok(from) = now.checked_sub(back) {
        if from <= known {
            break;
        }
        if let Some(tick) = rule.next_after(from).filter(|tick| *tick <= now) {
            found = tick;
            break;
        }
        back = back.saturating_mul(2);
    }
    while let Some(next) = rule.next_after(found).filter(|next| *next <= now) {
        found = next;
    }
    found
}

/// Returns when a run that starts now is asked to stop, if its schedule says how long it may take.
pub(crate) fn until(longest: Option<Span>, now: Timestamp) -> Option<Timestamp> {
    longest.map(|longest| now.saturating_add(longest.get()).unwrap_or(Timestamp::MAX))
}
