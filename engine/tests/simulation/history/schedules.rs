//! Schedules that repeat: what a person makes and does of them, and that every tick of theirs has one account at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::Span;
use relight_engine::event::{Fate, Overlap, RunId, Schedule, Tick, TickCause};
use relight_engine::journal::TickFilter;
use relight_engine::schedule::Rule;

use super::History;
use crate::clock::minutes;

/// A schedule, from its first tick to its end.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) name: String,
    rule: String,
    overlap: Overlap,
    first: Timestamp,
    triggers: usize,
    /// When a person removed it.
    removed: Option<Timestamp>,
}

impl History {
    /// A person makes one or two schedules.
    pub(super) async fn plan(&mut self) {
        for n in 0..self.chance.from(1, 2) {
            let texts: Vec<String> = self.texts.iter().map(|(name, _)| name.clone()).collect();
            let runbook = self.chance.one_of(&texts).clone();
            let now = self.time.now();
            let every = Span::seconds(60 * self.chance.from(3, 20));
            let rule = Rule::every(every, now + minutes(1)).expect("a rule").to_string();
            let name = format!("plan-{n}");
            let mut schedule = Schedule::new(&name, runbook, now + minutes(1));
            schedule.repeats = Some(rule.clone());
            schedule.terms.overlap = *self.chance.one_of(&Overlap::ALL);
            let maybe = |chance: &mut crate::chance::Chance, most: u64| {
                chance.per_mille(300).then(|| Span::seconds(60 * chance.from(1, most)))
            };
            schedule.terms.catch_up = maybe(&mut self.chance, 30);
            schedule.terms.jitter = maybe(&mut self.chance, 5);
            schedule.terms.longest = maybe(&mut self.chance, 30);
            schedule.terms.pause_after = self.chance.per_mille(200).then_some(2);
            let (overlap, first) = (schedule.terms.overlap, schedule.due);
            self.say(|_| format!("a person schedules {schedule:?}"));
            if let Err(error) = self.desk().add_schedule(&schedule).await {
                self.violated(format!("a schedule cannot be added: {error:?}"));
            }
            self.plans.push(Planned { name, rule, overlap, first, triggers: 0, removed: None });
        }
    }

    /// A person does something about a schedule.
    pub(super) async fn replan(&mut self) {
        let standing: Vec<usize> =
            (0..self.plans.len()).filter(|n| self.plans[*n].removed.is_none()).collect();
        if standing.is_empty() {
            return;
        }
        let number = *self.chance.one_of(&standing);
        let name = self.plans[number].name.clone();
        let Some(schedule) = self.journal.schedule(&name).await.expect("a schedule") else {
            return self.violated(format!("the schedule {name} is gone"));
        };
        let (desk, now) = (self.desk().clone(), self.time.now());
        let is_paused = schedule.standing.paused.is_some();
        let what = self.chance.below(4);
        self.say(|_| format!("a person does {what} to {name}"));
        let done = match what {
            0 if is_paused => desk.resume_schedule(&name).await,
            0 => desk.pause_schedule(&name, "ann", "a reason").await,
            1 => {
                // Two in the same moment are one.
                self.time.pass(Duration::from_secs(1).try_into().expect("a second")).await;
                self.plans[number].triggers += 1;
                desk.trigger_schedule(&name, "ann", None).await.map(drop)
            }
            2 => {
                let from = now - minutes(self.chance.from(5, 60) as i64);
                let to = (schedule.due - Duration::from_nanos(1)).min(now);
                desk.backfill_schedule(&name, (from, to), "ann").await.map(drop)
            }
            _ => {
                self.plans[number].removed = Some(now);
                desk.remove_schedule(&name).await
            }
        };
        if let Err(error) = done {
            self.violated(format!("{what} cannot be done to {name}: {error:?}"));
        }
    }

    /// A person removes all schedules, so that everything comes to an end.
    pub(super) async fn unplan(&mut self) {
        for number in 0..self.plans.len() {
            if self.plans[number].removed.is_none() {
                let name = self.plans[number].name.clone();
                self.say(|_| format!("a person removes {name}"));
                self.plans[number].removed = Some(self.time.now());
                if let Err(error) = self.desk().remove_schedule(&name).await {
                    self.violated(format!("a schedule cannot be removed: {error:?}"));
                }
            }
        }
    }

    /// Checks that each tick of a schedule was accounted for once, from its first to its end.
    pub(super) async fn verify_ticks(&mut self) {
        for plan in self.plans.clone() {
            let ticks = self.journal.ticks(&TickFilter::of(&plan.name)).await.expect("ticks");
            let mut wrong = miscounted(&plan, &ticks);
            let mut runs: BTreeMap<RunId, usize> = BTreeMap::new();
            for tick in &ticks {
                if let Fate::Ran { run } = &tick.fate {
                    *runs.entry(run.clone()).or_default() += 1;
                }
            }
            for (run, times) in runs {
                let is_there = self.journal.run(&run).await.expect("a run").is_some();
                if times > 1 || !(is_there || self.pruned.contains_key(&run)) {
                    wrong.push(format!("{run} ran {times} times, or not at all"));
                }
            }
            for what in wrong {
                self.violated(format!("{} ({:?}): {what}", plan.name, plan.overlap));
            }
        }
        for end in self.journal.scheduled_ends(99).await.expect("ends") {
            self.violated(format!("nobody heard of the end of {}", end.run));
        }
    }
}

/// Counts the ticks of a plan one by one.
fn miscounted(plan: &Planned, ticks: &[Tick]) -> Vec<String> {
    let rule = Rule::parse(&plan.rule).expect("a rule");
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<Timestamp, usize> = BTreeMap::new();
    for account in ticks.iter().filter(|tick| tick.cause == TickCause::Due) {
        let mut tick = Some(account.due);
        let mut count = 0;
        while let Some(due) = tick.filter(|due| *due <= account.last) {
            *counts.entry(due).or_default() += 1;
            count += 1;
            tick = rule.next_after(due);
        }
        if count != account.count {
            wrong.push(format!("{account:?} counts {count}"));
        }
    }
    // Due when it was removed, or accounted for before the clock was set back.
    let last = counts.keys().next_back().copied();
    let end = last.max(plan.removed.map(|removed| removed - minutes(5)));
    let mut due = Some(plan.first);
    while let Some(tick) = due.filter(|tick| end.is_some_and(|end| *tick <= end)) {
        match counts.remove(&tick) {
            Some(1) => {}
            other => wrong.push(format!("the tick of {tick} has {} accounts", other.unwrap_or_default())),
        }
        due = rule.next_after(tick);
    }
    wrong.extend(counts.keys().map(|tick| format!("{tick} is no tick")));
    let triggered = ticks.iter().filter(|tick| matches!(tick.cause, TickCause::Trigger { .. })).count();
    if triggered != plan.triggers {
        wrong.push(format!("{} triggers have {triggered} accounts", plan.triggers));
    }
    wrong
}
