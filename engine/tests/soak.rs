//! A service that runs for a year, in minutes: thousands of schedules and of runs that wait, under a clock that steps by some hours.
//! Each tick ran once, and nothing grows: neither memory, nor open files, nor the database.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Event, RunEnd, RunId, Schedule};
use relight_engine::journal::{Journal, PruneFilter, RunFilter, SqliteJournal};
use relight_engine::schedule::Rule;
use relight_engine::worker::Worker;
use relight_engine::{Engine, Library, RunRequest};

const HOUR: Duration = Duration::from_secs(3600);
/// By how much the clock steps, in hours.
const STEP: usize = 3;
const SCHEDULES: usize = 2000;
const WAITING: usize = 1000;
const DAYS: usize = 365;
/// How many runs that are over are kept.
const KEPT: usize = 500;
/// What may fill up meanwhile, in KiB: the page caches of SQLite, 16 MiB of who writes and 2 MiB of each of eight who read.
const CACHES: u64 = 32 * 1024;
/// What may be opened meanwhile: those who read come as they are needed, up to eight, each with the database and its log.
const READERS: u64 = 2 * 8;
/// What is left of a run that was pruned, so that it never starts again, in bytes.
const TOMBSTONE: u64 = 80;

fn library() -> Library {
    let text = |script: &str| format!("/*---\ntitle = \"s\"\n---*/\n{script}");
    Library::new()
        .ship("checks", &text("note(\"fine\"); 1"))
        .ship("waits", &text("for n in 0..6 { wait(\"60d\"); }"))
}

/// Most fire once a month, at a time of their own; some every day, a few twice a day.
fn plan(n: usize, begin: Timestamp) -> Schedule {
    let rule = match n {
        0..5 => Rule::every("12h".parse().unwrap(), begin + Duration::from_secs(60 * n as u64)).unwrap(),
        5..20 => Rule::parse(&format!("{n} {} * * * in Europe/Oslo", n % 24)).unwrap(),
        _ => Rule::parse(&format!("{} {} {} * * in America/New_York", n % 60, n % 24, n % 28 + 1)).unwrap(),
    };
    let mut schedule = Schedule::new(format!("s-{n}"), "checks", rule.next_after(begin).unwrap());
    schedule.repeats = Some(rule.to_string());
    schedule
}

/// Resident memory in KiB, open files, and the size of the database with what lies beside it.
fn taken(folder: &Path) -> [u64; 3] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = resident.trim().strip_suffix("kB").unwrap().trim().parse().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let files = std::fs::read_dir(folder).unwrap().filter_map(|file| file.unwrap().metadata().ok());
    [resident, open, files.map(|file| file.len()).sum()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(target_os = "linux"), ignore = "what a process takes is read from /proc")]
async fn a_year_of_service_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let clock = SteppedClock::new(begin);
    let journal = Arc::new(SqliteJournal::open(&folder.path().join("journal.db")).unwrap());
    let ended = Arc::new(AtomicU64::new(0));
    let counted = ended.clone();
    let engine = Engine::builder()
        .journal(journal.clone())
        .clock(Arc::new(clock.clone()))
        .library(library())
        .observer(Arc::new(move |notice| {
            if let Event::Finished { end: RunEnd::Succeeded { .. }, .. } = &notice.event {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }))
        .build()
        .unwrap();
    let end = begin + HOUR * (24 * DAYS as u32);
    let mut expected = 0;
    for n in 0..SCHEDULES {
        let schedule = plan(n, begin);
        let rule = Rule::parse(schedule.repeats.as_ref().unwrap()).unwrap();
        let mut due = Some(schedule.due);
        while let Some(tick) = due.filter(|tick| *tick <= end) {
            expected += 1;
            due = rule.next_after(tick);
        }
        engine.add_schedule(&schedule).await.unwrap();
    }
    for _ in 0..WAITING {
        engine.prepare(&RunRequest::new("waits")).await.unwrap();
    }

    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    let mut early = [0; 3];
    for hour in (STEP..=24 * DAYS).step_by(STEP) {
        clock.advance(HOUR * STEP as u32);
        loop {
            let found = worker.tick().await.unwrap();
            worker.settle().await;
            if found.runs.is_empty() && found.fired.is_empty() {
                break;
            }
        }
        if hour % 24 == 0 {
            tidy(&*journal, clock.now()).await;
        }
        if hour % (24 * 30) == 0 {
            println!("after {} days: {:?}", hour / 24, taken(folder.path()));
        }
        if hour == 24 * 60 {
            early = taken(folder.path());
        }
    }
    let late = taken(folder.path());
    println!(
        "after two months and at the end: KiB of memory, open files, bytes of the database: {early:?} {late:?}"
    );
    assert_eq!(
        ended.load(Ordering::Relaxed),
        expected + WAITING as u64,
        "each tick ran once, and whoever waited came to its end"
    );
    let open = journal.runs(&RunFilter::open()).await.unwrap();
    assert!(open.is_empty(), "{open:?}");
    for (what, early, late, more) in [
        ("memory", early[0], late[0], CACHES),
        ("open files", early[1], late[1], READERS),
        ("database", early[2], late[2], early[2] / 4 + TOMBSTONE * expected),
    ] {
        assert!(late <= early + more, "{what} grows: {early} after two months, {late} at the end");
    }
}

/// What retention does once a day.
async fn tidy(journal: &dyn Journal, now: Timestamp) {
    loop {
        let piece = journal.prunable(&PruneFilter::all().keeping(KEPT).at_most(100)).await.unwrap();
        let ids: Vec<RunId> = piece.into_iter().map(|run| run.id).collect();
        if journal.prune(&ids, now).await.unwrap().is_empty() {
            break;
        }
    }
    while journal.prune_ticks(now - 24 * 7 * HOUR, 1000).await.unwrap() == 1000 {}
}
