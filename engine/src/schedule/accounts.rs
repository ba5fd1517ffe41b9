//! Every tick is accounted for exactly once: looks at all moments, with pauses, ends, triggers, backfills and clocks that jump, against
//! a model that counts ticks by itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Rule, decide, give_up};
use crate::event::{Arrival, Fate, Overlap, Pause, RunId, Schedule, Tick, TickCause};
use crate::journal::{ScheduledEnd, Status};
use crate::value::Span;

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// What happens to a schedule.
#[derive(Clone, Debug)]
enum Move {
    /// Time passes, or the clock is set back, and somebody looks.
    Look {
        seconds: i64,
    },
    /// A run ends.
    End {
        which: usize,
        failed: bool,
    },
    Pause,
    Resume,
    Trigger,
    Backfill {
        back: i64,
    },
}

fn any_move() -> impl Strategy<Value = Move> {
    let short = (0..90_i64).prop_map(|seconds| Move::Look { seconds });
    prop_oneof![
        8 => short,
        2 => (-7200..0_i64).prop_map(|seconds| Move::Look { seconds }),
        1 => (3600..200_000_i64).prop_map(|seconds| Move::Look { seconds }),
        6 => (0..3_usize, prop::bool::weighted(0.3)).prop_map(|(which, failed)| Move::End { which, failed }),
        1 => Just(Move::Pause),
        1 => Just(Move::Resume),
        1 => Just(Move::Trigger),
        1 => (0..9_i64).prop_map(|back| Move::Backfill { back }),
    ]
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let rule = prop_oneof![
        Just("every 10s from 1970-01-01T00:00:00Z"),
        Just("* * * * *"),
        Just("*/7 * * * * in Europe/Oslo"),
        Just("every 61s from 1970-01-01T00:00:07Z"),
    ];
    let maybe = |spans: &'static [u64]| prop::option::of(prop::sample::select(spans).prop_map(Span::seconds));
    (
        rule,
        prop::sample::select(&Overlap::ALL),
        maybe(&[0, 30, 600]),
        maybe(&[5, 90]),
        prop::option::of(1..3_u32),
    )
        .prop_map(|(rule, overlap, catch_up, jitter, pause_after)| {
            let mut schedule =
                Schedule::new("s", "book", Rule::parse(rule).unwrap().next_after(t(0)).unwrap());
            schedule.repeats = Some(rule.to_owned());
            schedule.terms.overlap = overlap;
            (schedule.terms.catch_up, schedule.terms.jitter) = (catch_up, jitter);
            schedule.terms.pause_after = pause_after;
            schedule
        })
}

/// A schedule in a world that notes what it is told.
struct World {
    schedule: Schedule,
    rule: Rule,
    first: Timestamp,
    now: Timestamp,
    /// The latest time that any clock has shown.
    latest: Timestamp,
    open: Vec<RunId>,
    started: BTreeSet<RunId>,
    ticks: Vec<Tick>,
    /// When it was triggered, and what was made up for.
    triggers: BTreeSet<Timestamp>,
    backfilled: BTreeSet<Timestamp>,
}

impl World {
    fn look(&mut self, mut ends: Vec<ScheduledEnd>, wanted: &[Arrival]) {
        self.latest = self.latest.max(self.now);
        loop {
            let decision = decide(&self.schedule, &ends, wanted, self.now).unwrap();
            for run in &decision.stops {
                assert!(self.open.contains(run), "{run} is stopped, which is over");
            }
            if self.schedule.terms.overlap == Overlap::TerminateOther {
                self.open.retain(|run| !decision.stops.contains(run));
            }
            for arrival in &decision.starts {
                let run = arrival.run("s");
                assert!(self.started.insert(run.clone()), "{run} starts twice, for {arrival:?}");
                assert!(arrival.due <= self.latest, "{arrival:?} starts before its time, at {}", self.now);
                self.open.push(run);
            }
            if self.schedule.terms.overlap != Overlap::AllowAll {
                assert!(self.open.len() <= 1, "two run at once: {:?}", self.open);
            }
            self.ticks.extend(decision.ticks);
            self.schedule = decision.to.expect("a rule that goes on for ever");
            let mut noted = self.schedule.standing.open.clone();
            noted.sort_unstable();
            let mut open = self.open.clone();
            open.sort_unstable();
            assert_eq!(noted, open);
            if self.schedule.wakes().is_none_or(|wakes| wakes > self.now) {
                return;
            }
            ends.clear();
            if !wanted.is_empty() {
                return self.look(ends, &[]);
            }
        }
    }

    fn make(&mut self, next: &Move) {
        match *next {
            Move::Look { seconds } => {
                self.now = self.now.max(t(0)) + SignedDuration::from_secs(seconds);
                self.look(vec![], &[]);
            }
            Move::End { which, failed } => {
                if self.open.is_empty() {
                    return;
                }
                let run = self.open.remove(which % self.open.len());
                let status = if failed { Status::Failed } else { Status::Succeeded };
                self.look(vec![ScheduledEnd { run, schedule: "s".into(), status }], &[]);
            }
            Move::Pause => self.schedule.standing.paused = Some(Pause::new("ann", "a reason", self.now)),
            Move::Resume => {
                // Whoever resumes accounts for the pause first.
                self.look(vec![], &[]);
                self.schedule.standing.paused = None;
                self.look(vec![], &[]);
            }
            Move::Trigger => {
                // Two in the same nanosecond are one, also when the clock was set back in between.
                while !self.triggers.insert(self.now) {
                    self.now += SignedDuration::from_nanos(1);
                }
                self.look(
                    vec![],
                    &[Arrival::new(self.now, TickCause::Trigger { by: "ann".into(), once: None })],
                );
            }
            Move::Backfill { back } => {
                let from = self.schedule.due - SignedDuration::from_secs(60 * back);
                let mut wanted = Vec::new();
                let mut due = self.rule.next_after(from.max(self.first - SignedDuration::from_nanos(1)));
                while let Some(tick) = due.filter(|tick| *tick < self.schedule.due) {
                    let arrival = Arrival::new(tick, TickCause::Backfill { by: "ann".into() });
                    let waits = self.schedule.standing.waiting.iter().any(|waiting| waiting.due == tick);
                    if !waits && !self.started.contains(&arrival.run("s")) && self.backfilled.insert(tick) {
                        wanted.push(arrival);
                    }
                    due = self.rule.next_after(tick);
                }
                self.look(vec![], &wanted);
            }
        }
    }

    /// Counts by itself: each tick from the first to the one that is due next has one account or waits for it.
    fn check(&self) {
        let mut accounts: BTreeMap<Timestamp, usize> = BTreeMap::new();
        let mut due = Some(self.first);
        while let Some(tick) = due.filter(|tick| *tick < self.schedule.due) {
            accounts.insert(tick, 0);
            due = self.rule.next_after(tick);
        }
        let mut once = |tick: Timestamp, how: &dyn std::fmt::Debug| {
            let times = accounts.get_mut(&tick).unwrap_or_else(|| panic!("{tick} is no tick: {how:?}"));
            *times += 1;
            assert_eq!(*times, 1, "{tick} again: {how:?}");
        };
        let spans: BTreeMap<Timestamp, Timestamp> =
            self.ticks.iter().map(|tick| (tick.due, tick.last)).collect();
        let (mut triggered, mut made_up) = (0, BTreeSet::new());
        for account in &self.ticks {
            match &account.cause {
                TickCause::Due => {
                    let mut count = 0;
                    let mut tick = Some(account.due);
                    while let Some(due) = tick.filter(|due| *due <= account.last) {
                        once(due, account);
                        count += 1;
                        tick = self.rule.next_after(due);
                    }
                    assert_eq!(account.count, count, "{account:?}");
                }
                TickCause::Trigger { .. } => triggered += 1,
                TickCause::Backfill { .. } => assert!(made_up.insert(account.due), "{account:?} again"),
            }
            if let Fate::Ran { run } = &account.fate {
                assert!(self.started.contains(run));
            }
            if let Fate::Coalesced { into } = account.fate {
                let has_account = spans.range(..=into).next_back().is_some_and(|(_, last)| into <= *last);
                let is_known = into >= self.schedule.due
                    || has_account
                    || self.schedule.standing.waiting.iter().any(|waiting| waiting.due == into);
                assert!(is_known, "{account:?} goes nowhere");
            }
        }
        for waiting in &self.schedule.standing.waiting {
            match waiting.cause {
                TickCause::Due => once(waiting.due, waiting),
                TickCause::Trigger { .. } => triggered += 1,
                TickCause::Backfill { .. } => assert!(made_up.insert(waiting.due), "{waiting:?} again"),
            }
        }
        let lost: Vec<_> = accounts.iter().filter(|(_, times)| **times == 0).collect();
        assert!(lost.is_empty(), "not accounted for: {lost:?}");
        assert_eq!((triggered, made_up), (self.triggers.len(), self.backfilled.clone()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_tick_is_accounted_for_once(
        schedule in any_schedule(),
        moves in prop::collection::vec(any_move(), 1..60),
    ) {
        let rule = Rule::parse(schedule.repeats.as_deref().unwrap()).unwrap();
        let first = schedule.due;
        let mut world = World {
            schedule,
            rule,
            first,
            now: t(0),
            latest: t(0),
            open: vec![],
            started: BTreeSet::new(),
            ticks: vec![],
            triggers: BTreeSet::new(),
            backfilled: BTreeSet::new(),
        };
        for next in &moves {
            world.make(next);
        }
        world.check();
        // Removed, all the rest has its account as well.
        world.ticks.extend(give_up(&world.schedule, "removed", world.now).unwrap());
        while world.schedule.due.saturating_add(world.schedule.offset()).unwrap() <= world.now {
            world.schedule.due = world.rule.next_after(world.schedule.due).unwrap();
        }
        world.schedule.standing.waiting.clear();
        world.check();
    }
}

fn due_at(rule: Option<&str>, due: i64) -> Schedule {
    let mut schedule = Schedule::new("s", "book", t(due));
    schedule.repeats = rule.map(str::to_owned);
    schedule
}

fn fates(ticks: &[Tick]) -> Vec<(u64, String)> {
    ticks.iter().map(|tick| (tick.count, tick.fate.as_str().to_owned())).collect()
}

#[test]
fn what_was_missed_by_a_long_downtime_is_made_up_for_by_one_run() {
    let mut schedule = due_at(Some("* * * * *"), 60);
    let now = t(60 * 525_600);
    let (mut looks, mut ticks, mut starts) = (0, Vec::new(), 0);
    while schedule.due <= now {
        let decision = decide(&schedule, &[], &[], now).unwrap();
        looks += 1;
        starts += decision.starts.len();
        ticks.extend(decision.ticks);
        schedule = decision.to.unwrap();
    }
    assert_eq!((looks, starts), (526, 1));
    assert_eq!(ticks.iter().map(|tick| tick.count).sum::<u64>(), 525_600);
    assert_eq!(ticks[0].fate, Fate::Coalesced { into: now });
    assert_eq!(ticks.last().map(|tick| tick.due), Some(now));
    assert_eq!(schedule.due, now + SignedDuration::from_mins(1));
}

#[test]
fn one_that_fires_once_is_gone_then_and_waits_out_a_pause() {
    let mut schedule = due_at(None, 60);
    let decision = decide(&schedule, &[], &[], t(60)).unwrap();
    assert_eq!((decision.starts.len(), decision.to), (1, None));
    schedule.standing.paused = Some(Pause::new("ann", "not tonight", t(0)));
    let decision = decide(&schedule, &[], &[], t(90)).unwrap();
    assert_eq!((decision.starts.len(), decision.to.as_ref()), (0, Some(&schedule)));
    schedule.standing.paused = None;
    schedule.terms.catch_up = Some(Span::seconds(20));
    let decision = decide(&schedule, &[], &[], t(90)).unwrap();
    assert_eq!((fates(&decision.ticks), decision.to), (vec![(1, "missed".into())], None));
}

#[test]
fn runs_that_fail_in_a_row_pause_it() {
    let mut schedule = due_at(Some("every 10s from 1970-01-01T00:00:00Z"), 10);
    schedule.terms.pause_after = Some(2);
    let end = |schedule: &mut Schedule, now: i64, status: Status| {
        let run = schedule.standing.open[0].clone();
        let ends = [ScheduledEnd { run, schedule: "s".into(), status }];
        *schedule = decide(schedule, &ends, &[], t(now)).unwrap().to.unwrap();
    };
    let ends = [Status::Failed, Status::Succeeded, Status::Failed, Status::Stopped, Status::Failed];
    for (n, status) in ends.into_iter().enumerate() {
        assert_eq!(schedule.standing.paused, None, "before run {n}");
        let now = 10 * (i64::try_from(n).unwrap() + 1);
        schedule = decide(&schedule, &[], &[], t(now)).unwrap().to.unwrap();
        end(&mut schedule, now + 1, status);
    }
    let pause =
        schedule.standing.paused.as_ref().expect("two in a row, whatever a person stopped in between");
    assert!(pause.because.starts_with("2 runs in a row failed"), "{}", pause.because);
    let decision = decide(&schedule, &[], &[], t(100)).unwrap();
    assert_eq!(fates(&decision.ticks), [(5, "skipped".into())]);
}

#[test]
fn a_jitter_is_the_same_for_a_schedule_and_another_for_another() {
    let offset = |name: &str| {
        let mut schedule = Schedule::new(name, "book", t(0));
        schedule.terms.jitter = Some(Span::seconds(600));
        schedule.offset()
    };
    let all: BTreeSet<_> = (0..100).map(|n| offset(&format!("s{n}"))).collect();
    assert!(all.len() > 95 && all.iter().all(|offset| offset.as_secs() < 600));
    assert!(all.first().unwrap().as_secs() < 60 && all.last().unwrap().as_secs() > 540);
    assert_eq!(offset("weekly"), offset("weekly"));
}
