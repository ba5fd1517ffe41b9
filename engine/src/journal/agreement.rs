//! Both journals give the same answers to the same calls, whatever the calls are.

use std::collections::HashMap;
use std::fmt::Debug;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::contract::sample::{answer, lease, new_run, owner, parked, schedule, started, succeeded, t};
use super::{
    Bounds, CameTo, Claim, ClaimRequest, ConcurrencyLimit, Delivery, DeliveryFilter, DeliveryState,
    ExtendRequest, Journal, LeaseFilter, MemoryJournal, NewRun, Occasion, PruneFilter, RunFilter, Settlement,
    Sort, SqliteJournal, Start, Subscription, Sync, Taking, Tenure, TickFilter,
};
use crate::error::{Error, Result};
use crate::event::{Cause, Effected, Event, Fate, Lease, RunEnd, RunId, StepEnd, Tick, TickCause};

const RUNS: [&str; 4] = ["a", "b", "c", "d"];
const OWNERS: [&str; 3] = ["one", "two", "three"];
const NAMES: [&str; 2] = ["x", "y"];
/// The groups of runs, and how many of each may be under way.
const LIMITS: [&[(&str, u32)]; 5] =
    [&[], &[("all", 1)], &[("all", 2), ("t", 1)], &[("t", 1)], &[("all", 2), ("book", 1), ("t", 2)]];

/// One call, over small sets of names so that calls meet.
#[derive(Clone, Debug)]
enum Move {
    Prepare {
        run: usize,
        wake: Option<i64>,
        /// Which groups it is of, and whether it waits for nobody.
        limits: usize,
        at_once: bool,
    },
    Heartbeat {
        owner: usize,
        lasts: i64,
    },
    Claim {
        run: usize,
        owner: usize,
        dead: Option<usize>,
        seen: Option<u64>,
        queued: bool,
    },
    /// The next event of a step, under the last tenure or the one before.
    Step {
        run: usize,
        stale: bool,
        soon: bool,
        effect: usize,
    },
    /// Two events of which the second may not follow.
    Overreach {
        run: usize,
    },
    Park {
        run: usize,
        lasts: Option<i64>,
    },
    Finish {
        run: usize,
    },
    Word {
        run: usize,
        step: u32,
    },
    Hear {
        run: usize,
        step: u32,
    },
    Forget {
        second: bool,
    },
    /// Of the lease as it is, or as it was a while ago; a run may be in the way.
    Extend {
        second: bool,
        stale: bool,
        unless: Option<usize>,
        lasts: i64,
    },
    /// Runs are taken away, whichever may go.
    Prune {
        runs: Vec<usize>,
    },
    /// A run that came from another, or whose closing of a lease it is.
    Descend {
        run: usize,
        from: usize,
    },
    /// A run for a lease that is due, as it is or as it was a while ago.
    Close {
        run: usize,
        stale: bool,
    },
    /// A look at a schedule: it becomes due later or is gone, with or without an account and a run; one that nobody has read last is void.
    Settle {
        name: usize,
        stale: bool,
        lasts: Option<i64>,
        account: Option<bool>,
        run: Option<usize>,
        closes: Option<bool>,
    },
    /// Stops one run and hears of the ends of others.
    HearEnds {
        name: usize,
        run: usize,
    },
    StopOverdue,
    PruneTicks {
        age: i64,
    },
    /// One, the other, both or none are told.
    Subscribe {
        who: usize,
    },
    Take {
        who: usize,
        lasts: i64,
    },
    /// Of the delivery that was taken last, or of one before.
    SettleDelivery {
        back: usize,
        came_to: usize,
    },
    Bound {
        who: usize,
        keep: usize,
    },
    Fail {
        run: usize,
    },
}

fn any_move() -> impl Strategy<Value = Move> {
    let (run, owner, name, step) = (0..RUNS.len(), 0..OWNERS.len(), 0..NAMES.len(), 1..3_u32);
    let lasts = 0..20_i64;
    let maybe = || prop::option::of(0..20_i64);
    prop_oneof![
        4 => (run.clone(), maybe(), 0..LIMITS.len(), prop::bool::weighted(0.1))
            .prop_map(|(run, wake, limits, at_once)| Move::Prepare { run, wake, limits, at_once }),
        2 => (owner.clone(), lasts.clone()).prop_map(|(owner, lasts)| Move::Heartbeat { owner, lasts }),
        4 => (run.clone(), owner.clone(), prop::option::of(owner), prop::option::weighted(0.2, 1..6_u64), prop::bool::weighted(0.1))
            .prop_map(|(run, owner, dead, seen, queued)| Move::Claim { run, owner, dead, seen, queued }),
        9 => (run.clone(), prop::bool::weighted(0.1), any::<bool>(), 0..6_usize)
            .prop_map(|(run, stale, soon, effect)| Move::Step { run, stale, soon, effect }),
        1 => run.clone().prop_map(|run| Move::Overreach { run }),
        2 => (run.clone(), maybe()).prop_map(|(run, lasts)| Move::Park { run, lasts }),
        1 => run.clone().prop_map(|run| Move::Finish { run }),
        2 => (run.clone(), step.clone()).prop_map(|(run, step)| Move::Word { run, step }),
        2 => (run.clone(), step).prop_map(|(run, step)| Move::Hear { run, step }),
        2 => (any::<bool>(), prop::bool::weighted(0.1), prop::option::weighted(0.3, run.clone()), lasts.clone())
            .prop_map(|(second, stale, unless, lasts)| Move::Extend { second, stale, unless, lasts }),
        1 => (run.clone(), any::<bool>()).prop_map(|(run, stale)| Move::Close { run, stale }),
        1 => prop::collection::vec(run.clone(), 1..3).prop_map(|runs| Move::Prune { runs }),
        1 => (run.clone(), run.clone()).prop_map(|(run, from)| Move::Descend { run, from }),
        1 => any::<bool>().prop_map(|second| Move::Forget { second }),
        4 => (name.clone(), prop::bool::weighted(0.1), maybe(), prop::option::of(any::<bool>()), prop::option::of(run.clone()), prop::option::of(any::<bool>()))
            .prop_map(|(name, stale, lasts, account, run, closes)| Move::Settle { name, stale, lasts, account, run, closes }),
        1 => (name, run).prop_map(|(name, run)| Move::HearEnds { name, run }),
        1 => Just(Move::StopOverdue),
        1 => (0..40_i64).prop_map(|age| Move::PruneTicks { age }),
        2 => (0..4_usize).prop_map(|who| Move::Subscribe { who }),
        3 => (0..2_usize, 0..9_i64).prop_map(|(who, lasts)| Move::Take { who, lasts }),
        3 => (0..3_usize, 0..4_usize).prop_map(|(back, came_to)| Move::SettleDelivery { back, came_to }),
        1 => (0..2_usize, 0..4_usize).prop_map(|(who, keep)| Move::Bound { who, keep }),
        1 => (0..RUNS.len()).prop_map(|run| Move::Fail { run }),
    ]
}

/// What a driver of the runs knows, so that it keeps its steps in order.
#[derive(Default)]
struct Driver {
    now: i64,
    tenures: HashMap<usize, Vec<Tenure>>,
    steps: HashMap<usize, (u32, bool)>,
    taken: Vec<Delivery>,
}

impl Driver {
    /// Makes one call and returns what it came to.
    async fn make(&mut self, journal: &dyn Journal, next: &Move) -> String {
        self.now += 1;
        let at = t(self.now);
        let after = |lasts: i64| t(self.now + lasts);
        let id = |run: usize| RunId::from(RUNS[run]);
        match *next {
            Move::Prepare { run, wake, limits, at_once } => {
                let limits =
                    LIMITS[limits].iter().map(|(group, most)| ConcurrencyLimit::new(*group, *most)).collect();
                let new = NewRun { wake: wake.map(after), limits, at_once, ..new_run(RUNS[run]) };
                shown(journal.prepare(new, at).await)
            }
            Move::Heartbeat { owner: by, lasts } => {
                shown(journal.heartbeat(&owner(OWNERS[by]), after(lasts)).await)
            }
            Move::Claim { run, owner: by, dead, seen, queued } => {
                let mut request = ClaimRequest::new(&id(run), &owner(OWNERS[by]), at);
                request.dead = dead.map(|dead| owner(OWNERS[dead]));
                request.seen = seen;
                request.queued = queued;
                let claim = journal.claim(&request).await;
                if let Ok(Claim::Granted(tenure)) = &claim {
                    self.tenures.entry(run).or_default().push(tenure.clone());
                }
                shown(claim)
            }
            Move::Step { run, stale, soon, effect } => {
                let (step, open) = self.steps.get(&run).copied().unwrap_or_default();
                let event = if open { finished(step, effect, after(9)) } else { started(step + 1) };
                let sync = if soon { Sync::Soon } else { Sync::Now };
                let said = self.append(journal, run, usize::from(stale), &[event], sync).await;
                if said.starts_with("Ok") {
                    self.steps.insert(run, if open { (step, false) } else { (step + 1, true) });
                }
                said
            }
            Move::Overreach { run } => {
                self.append(journal, run, 0, &[parked(None), succeeded()], Sync::Soon).await
            }
            Move::Park { run, lasts } => {
                self.append(journal, run, 0, &[parked(lasts.map(|lasts| self.now + lasts))], Sync::Now).await
            }
            Move::Finish { run } => self.append(journal, run, 0, &[succeeded()], Sync::Now).await,
            Move::Word { run, step } => shown(journal.signal(&id(run), &answer(step), at).await),
            Move::Hear { run, step } => {
                self.append(journal, run, 0, &[Event::Signalled { signal: answer(step) }], Sync::Now).await
            }
            Move::Forget { second } => {
                let id = if second { "m" } else { "l" };
                shown(journal.forget_lease(id, "ann", "it is gone", at).await)
            }
            Move::Settle { name, stale, lasts, account, run, closes } => {
                let read = journal.schedule(NAMES[name]).await.unwrap();
                let mut to = lasts.map(|lasts| schedule(NAMES[name], self.now + lasts));
                if let (Some(to), Some(second)) = (&mut to, closes) {
                    to.closes = Some(if second { "m" } else { "l" }.to_owned());
                }
                let from = if stale { Some(schedule(NAMES[name], 1)) } else { read };
                let fate = |busy: bool| match busy {
                    true => Fate::Skipped { because: "busy".into() },
                    false => Fate::Missed { because: "too late".into() },
                };
                let before = t(self.now - 1 - i64::from(stale));
                let ticks = account.map(|busy| {
                    Tick::new(NAMES[name], at, TickCause::Due, fate(busy), at).after(Some(before))
                });
                let start = |run: usize| Start { until: lasts.map(after), ..Start::new(new_run(RUNS[run])) };
                let starts = run.map(start).into_iter().collect();
                let ticks = ticks.into_iter().collect();
                let settlement = Settlement { from, to, ticks, starts, ..Settlement::default() };
                shown(journal.settle(&settlement, at).await)
            }
            Move::Extend { second, stale, unless, lasts } => {
                let Some(mut found) = lease_of(journal, if second { "m" } else { "l" }).await else {
                    return "no lease".into();
                };
                let to = found.deadline.max(at) + SignedDuration::from_secs(lasts);
                if stale {
                    found.deadline -= SignedDuration::from_secs(1);
                }
                let unless = unless.map_or("closing".into(), id);
                shown(journal.extend_lease(&ExtendRequest::new(&found, to, "ann", at, unless)).await)
            }
            Move::Prune { ref runs } => {
                let ids: Vec<RunId> = runs.iter().map(|run| id(*run)).collect();
                shown(journal.prune(&ids, at).await)
            }
            Move::Descend { run, from } => {
                let mut new = new_run(RUNS[run]);
                new.prepared.cause = Cause::Rerun { of: id(from) };
                new.prepared.who = (from == 0).then(|| "ann".into());
                new.prepared.labels.insert("from".into(), RUNS[from].into());
                shown(journal.prepare(new, at).await)
            }
            Move::Close { run, stale } => {
                let deadline = lease_of(journal, "l").await.map_or(at, |lease| lease.deadline);
                let due = if stale { deadline - SignedDuration::from_secs(1) } else { deadline };
                let new = NewRun { due_lease: Some(("l".into(), due)), ..new_run(RUNS[run]) };
                shown(journal.prepare(new, at).await)
            }
            Move::HearEnds { name, run } => {
                let Some(read) = journal.schedule(NAMES[name]).await.unwrap() else {
                    return "nothing".into();
                };
                let heard = journal.scheduled_ends(2).await.unwrap().into_iter().map(|end| end.run).collect();
                let stops = vec![(id(run), "a schedule".to_owned())];
                shown(journal.settle(&Settlement { stops, heard, ..Settlement::of(&read) }, at).await)
            }
            Move::PruneTicks { age } => shown(journal.prune_ticks(t(self.now - age), 2).await),
            Move::StopOverdue => shown(journal.stop_overdue(at).await),
            Move::Subscribe { who } => {
                let one = Subscription::new(NAMES[0]);
                let other = Subscription::new(NAMES[1]).on([Occasion::Question, Occasion::MissedTick]);
                let told = [vec![], vec![one.clone()], vec![other.clone()], vec![one, other]];
                shown(journal.outbox().subscribe(&told[who]).await)
            }
            Move::Take { who, lasts } => {
                let taking = Taking::new(NAMES[who], &owner(OWNERS[who]), at, after(lasts));
                let taken = journal.outbox().take(&taking).await;
                self.taken.extend(taken.as_ref().ok().cloned().flatten());
                shown(taken)
            }
            Move::SettleDelivery { back, came_to } => {
                let Some(taken) = self.taken.iter().rev().nth(back) else { return "none taken".into() };
                let because = "no".to_owned();
                let came_to = match came_to {
                    0 => CameTo::Delivered,
                    1 => CameTo::Later { until: after(4), because },
                    2 => CameTo::GivenUp { because },
                    _ => CameTo::PutBack,
                };
                shown(journal.outbox().settle_delivery(taken, &came_to, at).await)
            }
            Move::Bound { who, keep } => {
                let bounds = Bounds::new(t(self.now - 20), keep, keep + 1);
                shown(journal.outbox().bound_deliveries(NAMES[who], &bounds, at).await)
            }
            Move::Fail { run } => self.append(journal, run, 0, &[failed()], Sync::Now).await,
        }
    }

    async fn append(
        &self,
        journal: &dyn Journal,
        run: usize,
        back: usize,
        events: &[Event],
        sync: Sync,
    ) -> String {
        let Some(tenure) = self.tenures.get(&run).and_then(|all| all.iter().rev().nth(back)) else {
            return "no tenure".into();
        };
        let appended = journal.append(tenure, events, t(self.now), sync).await;
        // An answer ahead of the disk may not know yet of a signal that has just arrived.
        match sync {
            Sync::Now => shown(appended),
            Sync::Soon => shown(appended.map(|appended| appended.last)),
        }
    }
}

async fn lease_of(journal: &dyn Journal, id: &str) -> Option<Lease> {
    journal.leases_where(&LeaseFilter::Id(id.into())).await.unwrap().pop()
}

fn finished(step: u32, effect: usize, deadline: Timestamp) -> Event {
    let second = deadline.as_second();
    let effected = match effect {
        0 => vec![Effected::LeaseOpened(lease("l", second))],
        1 => vec![Effected::LeaseOpened(lease("m", second)), Effected::LeaseClosed { id: "l".into() }],
        2 => vec![Effected::LeaseClosed { id: "m".into() }],
        3 => vec![Effected::Scheduled(Box::new(schedule("x", second)))],
        4 => vec![Effected::Unscheduled { id: "x".into() }],
        _ => vec![],
    };
    Event::StepFinished { step, end: StepEnd::Ok(serde_json::json!([1.5, "x", null]).into()), effected }
}

fn failed() -> Event {
    let failure = Error::rejected("no").to_failure();
    Event::Finished { end: RunEnd::Failed { failure, at: None }, parent: None }
}

fn shown<T: Debug>(result: Result<T>) -> String {
    format!("{:?}", result.map_err(|e| e.kind()))
}

/// Returns everything that can be seen of a journal.
async fn seen(journal: &dyn Journal, now: i64) -> Vec<String> {
    let mut all = vec![
        shown(journal.runs(&RunFilter::default()).await),
        shown(journal.runs(&RunFilter::open().at_most(2)).await),
        shown(journal.runs(&RunFilter::all().by("ann").sorted(Sort::Updated)).await),
        shown(journal.runs(&RunFilter::all().labelled("from", "b").sorted(Sort::Runbook)).await),
        shown(journal.prunable(&PruneFilter::all()).await),
        shown(journal.prunable(&PruneFilter::all().before(t(now - 9)).keeping(1)).await),
        shown(journal.queue().await),
        shown(journal.leases().await),
        shown(journal.forgotten_leases().await),
        shown(journal.extended_leases().await),
        shown(journal.schedules().await),
        shown(journal.schedules_due(t(now)).await),
        shown(journal.schedules_due(t(now + 9)).await),
        shown(journal.ticks(&TickFilter::default()).await),
        shown(journal.ticks(&TickFilter::of("x").at_most(2)).await),
        shown(journal.scheduled_ends(9).await),
        shown(journal.next_due(t(now)).await),
        shown(journal.outbox().subscriptions().await),
        shown(journal.outbox().delivery_tally().await),
        shown(journal.outbox().deliveries(&DeliveryFilter::default()).await),
        shown(
            journal
                .outbox()
                .deliveries(&DeliveryFilter::default().to("x").state(DeliveryState::Waiting).at_most(2))
                .await,
        ),
        shown(journal.outbox().next_delivery("x").await),
        shown(journal.outbox().next_delivery("y").await),
        shown(journal.next_due(t(now + 9)).await),
    ];
    for filter in [
        LeaseFilter::Due(t(now)),
        LeaseFilter::Due(t(now + 9)),
        LeaseFilter::Id("l".into()),
        LeaseFilter::Subject("/Subscriptions/1/VM".into()),
        LeaseFilter::Door("NODE1:2179".into()),
        LeaseFilter::Door("node2:2179".into()),
    ] {
        all.push(shown(journal.leases_where(&filter).await));
    }
    for (ahead, limit) in [(0, 2), (0, 9), (5, 9), (50, 9)] {
        all.push(shown(journal.due(t(now + ahead), limit).await));
    }
    for run in RUNS.map(RunId::from) {
        all.push(shown(journal.run(&run).await));
        all.push(shown(journal.pruned(&run).await));
        all.push(shown(journal.records(&run, 0).await));
        all.push(shown(journal.records(&run, 2).await));
        all.push(shown(journal.signals(&run).await));
        all.push(shown(journal.sources(&run).await));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_journals_agree(moves in prop::collection::vec(any_move(), 1..80)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let memory = MemoryJournal::new();
            let mut disk = SqliteJournal::open(&path).unwrap();
            let (mut in_memory, mut on_disk) = (Driver::default(), Driver::default());
            for (n, next) in moves.iter().enumerate() {
                let expected = in_memory.make(&memory, next).await;
                prop_assert_eq!(&on_disk.make(&disk, next).await, &expected, "move {}: {:?}", n, next);
                if n % 16 == 15 {
                    drop(disk);
                    disk = SqliteJournal::open(&path).unwrap();
                }
                if n % 8 == 7 {
                    prop_assert_eq!(seen(&disk, on_disk.now).await, seen(&memory, in_memory.now).await);
                }
            }
            prop_assert_eq!(seen(&disk, on_disk.now).await, seen(&memory, in_memory.now).await);
            Ok(())
        })?;
    }
}
