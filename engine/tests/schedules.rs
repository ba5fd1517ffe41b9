//! Schedules as services keep them: every policy, two services, a stop and a start, what cannot be started, what takes too long.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Fate, Overlap, Schedule, Tick, TickCause};
use relight_engine::journal::{RunFilter, SqliteJournal, Status, Summary, TickFilter};
use relight_engine::schedule::Rule;
use relight_engine::worker::Worker;
use relight_engine::{Engine, Library, RunId, RunRequest, Span};

const MINUTE: Duration = Duration::from_secs(60);

/// A database, and the programs that come to it.
struct Bench {
    folder: tempfile::TempDir,
    clock: SteppedClock,
    library: Library,
}

fn text(script: &str) -> String {
    format!("/*---\ntitle = \"s\"\n---*/\n{script}")
}

impl Bench {
    fn new() -> Self {
        let library = Library::new()
            .ship("quick", &text("1"))
            .ship("slow", &text(r#"wait("90s"); 1"#))
            .ship("fails", &text(r#"fail("no")"#))
            .ship("asks", &text(r#"defer(|| note("cleaned up")); ask("Which one?")"#));
        let clock = SteppedClock::new("2026-11-20T22:00:00Z".parse().unwrap());
        Bench { folder: tempfile::tempdir().unwrap(), clock, library }
    }

    /// A program of its own.
    fn engine(&self) -> Engine {
        let journal = SqliteJournal::open(&self.folder.path().join("journal.db")).unwrap();
        Engine::builder()
            .journal(Arc::new(journal))
            .clock(Arc::new(self.clock.clone()))
            .library(self.library.clone())
            .build()
            .unwrap()
    }

    /// A schedule that fires every minute, for the first time a minute from now.
    async fn plan(&self, engine: &Engine, runbook: &str, overlap: Overlap) -> Schedule {
        let first = self.clock.now() + MINUTE;
        let mut schedule = Schedule::new("s", runbook, first);
        schedule.repeats = Some(Rule::every(Span::from(MINUTE), first).unwrap().to_string());
        schedule.terms.overlap = overlap;
        engine.add_schedule(&schedule).await.unwrap();
        schedule
    }

    /// Lets a service come, do what is due by now, and be stopped in good order.
    async fn visit(&self, engine: &Engine) {
        let mut worker = Worker::new(engine, |what, error| panic!("{what}: {error}"));
        // What ends is heard at the next look, and may let something else begin.
        loop {
            let found = worker.tick().await.unwrap();
            while !self.is_at_rest(engine).await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if found.runs.is_empty() && found.fired.is_empty() && found.closing.is_empty() {
                break;
            }
        }
        engine.hand_back();
        worker.run().await;
    }

    /// Whether nothing goes on before time passes: each run is over, put away until later, or sleeps.
    async fn is_at_rest(&self, engine: &Engine) -> bool {
        let open = engine.journal().runs(&RunFilter::open()).await.unwrap();
        let is_due = |run: &Summary| run.wake.is_some_and(|wake| wake <= self.clock.now());
        let under_way = open.iter().filter(|run| run.status == Status::Running).count();
        !open.iter().any(is_due) && self.clock.sleepers() == under_way
    }

    /// Passes minutes, and lets another service come in each.
    async fn minutes(&self, minutes: usize) {
        for _ in 0..minutes {
            self.clock.advance(MINUTE);
            self.visit(&self.engine()).await;
        }
    }
}

async fn history(engine: &Engine) -> Vec<String> {
    let mut ticks = engine.journal().ticks(&TickFilter::of("s")).await.unwrap();
    ticks.reverse();
    ticks.iter().map(told).collect()
}

fn told(tick: &Tick) -> String {
    let minute = |at: Timestamp| at.strftime("%H:%M").to_string();
    let due = match tick.count {
        1 => minute(tick.due),
        count => format!("{}-{} ({count})", minute(tick.due), minute(tick.last)),
    };
    let fate = match &tick.fate {
        Fate::Coalesced { into } => format!("into {}", minute(*into)),
        Fate::Skipped { because } | Fate::Missed { because } => {
            format!(
                "{} {}",
                tick.fate.as_str(),
                because.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
            )
        }
        _ => tick.fate.as_str().to_owned(),
    };
    match tick.cause {
        TickCause::Due => format!("{due} {fate}"),
        _ => format!("{due} {fate}, as a person wants"),
    }
}

async fn runs(engine: &Engine) -> Vec<Summary> {
    let mut runs = engine.journal().runs(&RunFilter::all()).await.unwrap();
    runs.sort_by_key(|run| run.created);
    runs
}

/// A run takes a minute and a half, and one is due in each of eight; every minute another service comes, finds first what is due and
/// then that a run can end, and is stopped.
async fn under(overlap: Overlap) -> (Vec<String>, Vec<Status>) {
    let bench = Bench::new();
    let engine = bench.engine();
    bench.plan(&engine, "slow", overlap).await;
    bench.minutes(8).await;
    let states = runs(&engine).await.into_iter().map(|run| run.status).collect();
    (history(&engine).await, states)
}

#[tokio::test]
async fn what_becomes_of_a_tick_while_a_run_is_under_way_is_the_policy() {
    use Status::{Parked, Prepared, Running, Stopped, Succeeded};
    let (history, states) = under(Overlap::Skip).await;
    let short: Vec<&str> =
        history.iter().map(|line| line.rsplit_once(" run").map_or(&**line, |(rest, _)| rest)).collect();
    assert_eq!(
        short,
        [
            "22:01 ran",
            "22:02-22:03 (2) skipped",
            "22:04 ran",
            "22:05-22:06 (2) skipped",
            "22:07 ran",
            "22:08 skipped"
        ]
    );
    assert_eq!(states.len(), 3);
    let (history, states) = under(Overlap::BufferOne).await;
    assert_eq!(history[..3], ["22:01 ran", "22:03 into 22:02", "22:02 ran"], "{history:?}");
    assert!(states.len() >= 3, "{states:?}");
    let (history, _) = under(Overlap::BufferAll).await;
    assert_eq!(history, ["22:01 ran", "22:02 ran", "22:03 ran", "22:04 ran"], "in order, the others wait");
    let (history, states) = under(Overlap::CancelOther).await;
    assert_eq!(history.len(), 8, "each ran: {history:?}");
    assert!(states[..7].iter().all(|state| *state == Stopped), "{states:?}");
    let (history, states) = under(Overlap::TerminateOther).await;
    assert_eq!(history.len(), 8, "{history:?}");
    assert!(states[..7].iter().all(|state| *state == Stopped), "{states:?}");
    let (history, states) = under(Overlap::AllowAll).await;
    assert_eq!(history.len(), 8, "{history:?}");
    let done = states.iter().filter(|state| **state == Succeeded).count();
    let under_way = states.iter().filter(|state| matches!(state, Parked | Prepared | Running)).count();
    assert!(done >= 5 && done + under_way == 8, "{states:?}");
}

#[tokio::test]
async fn two_services_account_for_each_tick_once() {
    let bench = Bench::new();
    let (one, two) = (bench.engine(), bench.engine());
    for n in 0..50 {
        let first = bench.clock.now() + MINUTE;
        let mut schedule = Schedule::new(format!("s{n}"), "quick", first);
        schedule.repeats = Some(Rule::every(Span::from(MINUTE), first).unwrap().to_string());
        one.add_schedule(&schedule).await.unwrap();
    }
    let complain = |what: &str, error: &relight_engine::Error| panic!("{what}: {error}");
    let (mut first, mut second) = (Worker::new(&one, complain), Worker::new(&two, complain));
    for _ in 0..5 {
        bench.clock.advance(MINUTE);
        let (a, b) = tokio::join!(first.tick(), second.tick());
        a.unwrap();
        b.unwrap();
        for _ in 0..3 {
            first.tick().await.unwrap();
            second.tick().await.unwrap();
        }
    }
    one.hand_back();
    two.hand_back();
    tokio::join!(first.run(), second.run());
    let ticks = one.journal().ticks(&TickFilter::default()).await.unwrap();
    let ran: std::collections::BTreeSet<RunId> = ticks
        .iter()
        .filter_map(|tick| match &tick.fate {
            Fate::Ran { run } => Some(run.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(ticks.iter().map(|tick| tick.count).sum::<u64>(), 250);
    let runs: std::collections::BTreeSet<RunId> = runs(&one).await.into_iter().map(|run| run.id).collect();
    assert_eq!(ran, runs, "each run has its tick, and each tick that ran its run");
}

#[tokio::test]
async fn a_downtime_is_made_up_for_by_one_run_and_a_pause_by_none() {
    let bench = Bench::new();
    let engine = bench.engine();
    bench.plan(&engine, "quick", Overlap::Skip).await;
    bench.clock.advance(MINUTE * 61);
    bench.minutes(1).await;
    assert_eq!(history(&engine).await, ["22:01-23:01 (61) into 23:02", "23:02 ran"]);
    engine.pause_schedule("s", "ann", "the site is closed").await.unwrap();
    assert!(engine.pause_schedule("s", "bob", "again").await.unwrap_err().message().contains("by ann"));
    bench.minutes(3).await;
    engine.resume_schedule("s").await.unwrap();
    assert!(engine.resume_schedule("s").await.is_err());
    bench.minutes(1).await;
    assert_eq!(history(&engine).await[2..], ["23:03-23:05 (3) skipped paused by", "23:06 ran"]);
    // What was skipped is made up for; what ran is not done again.
    let range = (bench.clock.now() - MINUTE * 4, bench.clock.now());
    let backfill = engine.backfill_schedule("s", range, "ann").await.unwrap();
    assert_eq!((backfill.wanted.len(), backfill.ran), (3, 2));
    bench.visit(&bench.engine()).await;
    let lines = history(&engine).await;
    assert_eq!(
        lines[4..],
        ["23:03 ran", "23:04 ran", "23:05 ran"].map(|line| format!("{line}, as a person wants"))
    );
    let again = engine.backfill_schedule("s", range, "ann").await.unwrap();
    assert_eq!((again.wanted.len(), again.ran), (0, 5));
    assert_eq!(runs(&engine).await.len(), 5);
    let ahead = (bench.clock.now(), bench.clock.now() + MINUTE * 2);
    assert!(engine.backfill_schedule("s", ahead, "ann").await.is_err(), "what is still to come");
}

#[tokio::test]
async fn a_window_says_what_is_too_late() {
    let bench = Bench::new();
    let engine = bench.engine();
    let mut schedule = bench.plan(&engine, "quick", Overlap::AllowAll).await;
    schedule.terms.catch_up = Some(Span::seconds(130));
    engine.replace_schedule(&schedule).await.unwrap();
    bench.clock.advance(MINUTE * 9);
    bench.minutes(1).await;
    assert_eq!(
        history(&engine).await,
        ["22:01-22:07 (7) missed no run", "22:08 ran", "22:09 ran", "22:10 ran"]
    );
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_asked_to_stop_and_cleans_up() {
    let bench = Bench::new();
    let engine = bench.engine();
    let mut schedule = bench.plan(&engine, "asks", Overlap::Skip).await;
    schedule.terms.longest = Some(Span::seconds(170));
    engine.replace_schedule(&schedule).await.unwrap();
    bench.minutes(3).await;
    assert!(matches!(runs(&engine).await[..], [Summary { status: Status::Parked, .. }]));
    bench.minutes(1).await;
    let all = runs(&engine).await;
    assert_eq!(all[0].status, Status::Stopped, "{all:?}");
    let records = engine.journal().records(&all[0].id, 0).await.unwrap();
    let cleaned = records.iter().any(|record| record.body.contains("cleaned up"));
    assert!(cleaned && records.iter().any(|record| record.body.contains("took too long")));
}

#[tokio::test]
async fn runs_that_fail_in_a_row_pause_the_schedule() {
    let bench = Bench::new();
    let engine = bench.engine();
    let mut schedule = bench.plan(&engine, "fails", Overlap::Skip).await;
    schedule.terms.pause_after = Some(2);
    engine.replace_schedule(&schedule).await.unwrap();
    bench.minutes(5).await;
    assert_eq!(history(&engine).await, ["22:01 ran", "22:02 ran", "22:03-22:05 (3) skipped paused by"]);
    let paused = engine.journal().schedule("s").await.unwrap().unwrap().standing.paused.unwrap();
    assert!(paused.because.starts_with("2 runs in a row failed"), "{}", paused.because);
    // A person may try it all the same.
    let fate = engine.trigger_schedule("s", "ann", None).await.unwrap();
    assert!(matches!(fate, Some(Fate::Ran { .. })), "{fate:?}");
}

/// Who does not know whether a wish has come through says it again.
#[tokio::test]
async fn a_wish_that_is_said_again_is_the_same() {
    for (overlap, runs, waiting, accounts) in
        [(Overlap::Skip, 1, 0, 2), (Overlap::BufferAll, 1, 1, 1), (Overlap::AllowAll, 2, 0, 2)]
    {
        let bench = Bench::new();
        let engine = bench.engine();
        bench.plan(&engine, "asks", overlap).await;
        let mut came_of = Vec::new();
        for wish in ["one", "two"] {
            let first = engine.trigger_schedule("s", "ann", Some(wish)).await.unwrap();
            for again in [&engine, &bench.engine()] {
                bench.clock.advance(Duration::from_secs(1));
                assert_eq!(
                    again.trigger_schedule("s", "ann", Some(wish)).await.unwrap(),
                    first,
                    "{overlap:?}"
                );
            }
            came_of.push(first);
        }
        assert!(matches!(came_of[0], Some(Fate::Ran { .. })), "{came_of:?}");
        assert_ne!(came_of[0], came_of[1]);
        assert_eq!(self::runs(&engine).await.len(), runs, "{overlap:?}");
        assert_eq!(history(&engine).await.len(), accounts, "{overlap:?}");
        let schedule = engine.journal().schedule("s").await.unwrap().unwrap();
        assert_eq!(schedule.standing.waiting.len(), waiting, "{overlap:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_many_say_at_once_is_one() {
    let bench = Bench::new();
    let engines = [bench.engine(), bench.engine()];
    bench.plan(&engines[0], "quick", Overlap::AllowAll).await;
    let wishes = engines.iter().cycle().take(16).cloned().map(|engine| {
        tokio::spawn(async move { engine.trigger_schedule("s", "ann", Some("one")).await.unwrap() })
    });
    let came_of = futures::future::join_all(wishes).await;
    let first = came_of[0].as_ref().unwrap();
    assert!(
        matches!(first, Some(Fate::Ran { .. }))
            && came_of.iter().all(|other| other.as_ref().unwrap() == first)
    );
    assert_eq!((runs(&engines[0]).await.len(), history(&engines[0]).await.len()), (1, 1));
}

#[tokio::test]
async fn a_wish_is_known_although_its_run_was_pruned() {
    let bench = Bench::new();
    let engine = bench.engine();
    bench.plan(&engine, "quick", Overlap::Skip).await;
    let first = engine.trigger_schedule("s", "ann", Some("one")).await.unwrap();
    let Some(Fate::Ran { run }) = &first else { panic!("{first:?}") };
    bench.visit(&bench.engine()).await;
    let later = bench.clock.now() + MINUTE;
    assert_eq!(engine.journal().prune(std::slice::from_ref(run), later).await.unwrap().len(), 1);
    assert_eq!(engine.trigger_schedule("s", "ann", Some("one")).await.unwrap(), first);
    assert_eq!(runs(&engine).await, []);
    let another = engine.trigger_schedule("s", "ann", None).await.unwrap();
    assert!(matches!(&another, Some(Fate::Ran { run: other }) if other != run), "{another:?}");
}

#[tokio::test]
async fn what_cannot_be_started_stays_due_until_somebody_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let book = folder.path().join("own.rhai");
    std::fs::write(&book, text("1")).unwrap();
    let mut bench = Bench::new();
    bench.library = Library::new().folder(folder.path());
    let engine = bench.engine();
    let schedule = bench.plan(&engine, "own", Overlap::Skip).await;
    let request = RunRequest::new("own");
    let mut pinned = schedule;
    pinned.id = "pinned".into();
    let pinned = engine.pin_schedule(pinned, &request).await.unwrap();
    engine.add_schedule(&pinned).await.unwrap();
    std::fs::remove_file(&book).unwrap();
    bench.clock.advance(MINUTE * 3);
    let complaints = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = complaints.clone();
    let mut worker =
        Worker::new(&engine, move |what, error| told.lock().unwrap().push(format!("{what}: {error}")));
    for _ in 0..3 {
        worker.tick().await.unwrap();
    }
    let said = complaints.lock().unwrap().clone();
    assert_eq!(said, ["schedule s: there is no runbook `own`"], "once, and the pinned one is none of these");
    assert!(history(&engine).await.is_empty());
    assert_eq!(engine.journal().ticks(&TickFilter::of("pinned")).await.unwrap().len(), 2);
    std::fs::write(&book, text("2")).unwrap();
    // It is looked at again by itself.
    bench.clock.advance(Duration::from_secs(11));
    worker.tick().await.unwrap();
    engine.hand_back();
    worker.run().await;
    assert_eq!(history(&engine).await, ["22:01-22:02 (2) into 22:03", "22:03 ran"]);
}

#[tokio::test]
async fn what_is_removed_or_changed_accounts_for_what_it_left() {
    let bench = Bench::new();
    let engine = bench.engine();
    let schedule = bench.plan(&engine, "slow", Overlap::BufferAll).await;
    bench.minutes(3).await;
    bench.clock.advance(MINUTE * 2);
    let mut changed = schedule.clone();
    changed.due = bench.clock.now() + SignedDuration::from_secs(3600);
    engine.replace_schedule(&changed).await.unwrap();
    assert_eq!(history(&engine).await, ["22:01 ran", "22:02 ran", "22:04-22:05 (2) skipped the schedule"]);
    engine.remove_schedule("s").await.unwrap();
    assert_eq!(history(&engine).await[3..], ["22:03 skipped the schedule"], "what waited");
    assert!(engine.remove_schedule("s").await.is_err());
    assert!(engine.journal().schedules().await.unwrap().is_empty());
}
