//! What wakes a worker, and that nothing else does.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Park, Schedule};
use relight_engine::journal::{
    Around, Journal, MemoryJournal, RunFilter, Settlement, SqliteJournal, Status, Summary,
};
use relight_engine::worker::Worker;
use relight_engine::{Engine, Library, Result, RunId, RunRequest};
use tokio::task::JoinHandle;

const HOUR: Duration = Duration::from_secs(3600);

/// A journal whose looks are counted: how often it is asked what is due, and whether others wrote.
#[derive(Default)]
struct Counted {
    journal: MemoryJournal,
    ticks: AtomicUsize,
    asked: AtomicUsize,
}

#[async_trait]
impl Around for Counted {
    fn behind(&self) -> &dyn Journal {
        &self.journal
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>> {
        self.ticks.fetch_add(1, Ordering::SeqCst);
        self.journal.due(now, limit).await
    }

    async fn was_written_past(&self) -> Result<bool> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.journal.was_written_past().await
    }
}

/// A clock that stands still until somebody moves it.
fn still() -> SteppedClock {
    SteppedClock::new("2026-11-20T22:00:00Z".parse().unwrap())
}

fn engine(journal: Arc<dyn Journal>, clock: &SteppedClock) -> Engine {
    let text = |script: &str| format!("/*---\ntitle = \"s\"\n---*/\n{script}");
    Engine::builder()
        .journal(journal)
        .clock(Arc::new(clock.clone()))
        .library(
            Library::new()
                .ship("one", &text("1"))
                .ship("asks", &text(r#"ask("Which one?")"#))
                .ship("waits", &text(r#"wait("2h"); 2"#)),
        )
        .build()
        .unwrap()
}

fn serve(engine: &Engine) -> JoinHandle<()> {
    let mut worker = Worker::new(engine, |what, error| panic!("{what}: {error}"));
    tokio::spawn(async move { worker.run().await })
}

/// Waits until a run is as it should be, and fails when it does not become so.
async fn until(engine: &Engine, run: &RunId, is_so: impl Fn(&Summary) -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !engine.journal().run(run).await.unwrap().is_some_and(|run| is_so(&run)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let stands = engine.journal().run(run).await;
    waited.await.unwrap_or_else(|_| panic!("nobody comes to {run}: {stands:?}"));
}

fn is_over(run: &Summary) -> bool {
    run.status == Status::Succeeded
}

/// Time stands still: whatever happens, happens because it was told.
async fn is_woken_by_what_is_written(journal: Arc<dyn Journal>) {
    let clock = still();
    let engine = engine(journal, &clock);
    let serving = serve(&engine);
    for _ in 0..3 {
        let run = engine.prepare(&RunRequest::new("one")).await.unwrap();
        until(&engine, &run, is_over).await;
    }
    let run = engine.prepare(&RunRequest::new("asks")).await.unwrap();
    until(&engine, &run, |run| matches!(run.park, Some(Park::Question { .. }))).await;
    engine.answer(&run, "this one", "ann").await.unwrap();
    until(&engine, &run, is_over).await;
    engine.hand_back();
    serving.await.unwrap();
}

#[tokio::test]
async fn what_is_written_in_this_process_wakes_it_at_once() {
    is_woken_by_what_is_written(Arc::new(MemoryJournal::new())).await;
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(&folder.path().join("journal.db")).unwrap();
    is_woken_by_what_is_written(Arc::new(journal)).await;
}

#[tokio::test]
async fn it_sleeps_until_the_next_thing_is_due() {
    let clock = still();
    let engine = engine(Arc::new(MemoryJournal::new()), &clock);
    let serving = serve(&engine);
    let run = engine.prepare(&RunRequest::new("waits")).await.unwrap();
    until(&engine, &run, |run| run.status == Status::Parked).await;
    let schedule = Schedule::new("s", "one", clock.now() + HOUR);
    engine.add_schedule(&schedule).await.unwrap();
    clock.advance(HOUR);
    let fired = RunId::derived(&["schedule", "s", &schedule.due.to_string()]);
    until(&engine, &fired, is_over).await;
    assert_eq!(engine.journal().run(&run).await.unwrap().unwrap().status, Status::Parked);
    clock.advance(HOUR);
    until(&engine, &run, is_over).await;
    engine.hand_back();
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_nothing_is_due_it_does_not_look() {
    let clock = still();
    let journal = Arc::new(Counted::default());
    let engine = engine(journal.clone(), &clock);
    let serving = serve(&engine);
    let step = Duration::from_millis(500);
    for _ in 0..120 {
        clock.advance(step);
        tokio::time::sleep(step).await;
    }
    let (ticks, asked) = (journal.ticks.load(Ordering::SeqCst), journal.asked.load(Ordering::SeqCst));
    println!("a minute of nothing: {ticks} ticks, asked {asked} times whether others wrote");
    assert!(ticks <= 2, "{ticks} ticks in a minute");
    assert!((50..=60).contains(&asked), "asked {asked} times");
    engine.hand_back();
    serving.await.unwrap();
}

#[tokio::test]
async fn what_another_process_writes_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let clock = still();
    let serving = engine(Arc::new(SqliteJournal::open(&path).unwrap()), &clock);
    let served = serve(&serving);
    let other = engine(Arc::new(SqliteJournal::open(&path).unwrap()), &clock);
    for _ in 0..2 {
        let run = other.prepare(&RunRequest::new("one")).await.unwrap();
        until(&other, &run, is_over).await;
    }
    serving.hand_back();
    served.await.unwrap();
    assert_eq!(other.journal().runs(&RunFilter::open()).await.unwrap(), []);
}

#[tokio::test]
async fn a_database_says_whether_anybody_wrote_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let (one, other) = (SqliteJournal::open(&path).unwrap(), SqliteJournal::open(&path).unwrap());
    assert!(one.was_written_past().await.unwrap(), "the first look finds everything new");
    assert!(!one.was_written_past().await.unwrap());
    one.leases().await.unwrap();
    assert!(!one.was_written_past().await.unwrap(), "a read is no write");
    let schedule = Schedule::new("s", "one", Timestamp::UNIX_EPOCH);
    assert!(other.settle(&Settlement::add(schedule), Timestamp::UNIX_EPOCH).await.unwrap());
    assert!(one.was_written_past().await.unwrap());
    assert!(!one.was_written_past().await.unwrap());
}
