//! What a hundred thousand parked runs cost the process that keeps them, and how late it wakes one.
//!
//! This process drives every run to a `wait_until` far away, but for a hundred that become due at
//! one moment, a hundred that become due one after the other later, so that they meet every
//! phase of the worker's looks, and a wave of thousands at the end, which shows how many it wakes in a second. Then it starts itself once more as a worker of that journal, so that the memory it
//! measures is that of keeping and not of making.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{
    Table, Times, cpu, folder, is_quick, megabytes, memory, option, runtime, show, size, this_program, time,
};
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use relight_engine::clock::{Clock, SystemClock};
use relight_engine::event::{Event, Park};
use relight_engine::journal::{Journal, SqliteJournal};
use relight_engine::worker::Worker;
use relight_engine::{Driven, Engine, Library, Notice, RunId, RunRequest};

/// What a person waits for who names a run.
const GOAL_FIND: Duration = Duration::from_millis(20);
const GOAL_LATE: Duration = Duration::from_secs(1);
const GOAL_MEMORY: u64 = 150 * 1024;
/// So many become due at one moment, and as many one by one.
const DUE: usize = 100;
/// How long after that moment the first of those is due, and how far they are apart.
const LATER: Duration = Duration::from_secs(3);
const APART: Duration = Duration::from_millis(37);
/// So many become due at one moment at last, and how long after the first.
const WAVE: usize = 5_000;
const WAVE_AFTER: Duration = Duration::from_secs(12);
const FAR: &str = "2100-01-01T00:00:00Z";

const RUNBOOK: &str = r#"/*---
title = "Wait"
[params.vm]
[params.time]
---*/
note(`${params.vm} is looked at again later`);
wait_until(params.time);
params.vm
"#;

fn main() {
    match option("--keep") {
        Some(path) => keep(Path::new(&path)),
        None => prepare(),
    }
}

fn engine(journal: Arc<dyn Journal>) -> relight_engine::EngineBuilder {
    Engine::builder().journal(journal).library(Library::new().ship("wait", RUNBOOK))
}

/// Makes the parked runs, then starts the worker.
fn prepare() {
    let (many, lead) = if is_quick() { (2_000, 6) } else { (100_000, 15) };
    let place = folder();
    let path = place.path().join("relight.db");
    let engine = engine(Arc::new(SqliteJournal::open(&path).unwrap())).build().unwrap();
    let runtime = runtime();
    let wave = wave();
    let far: Vec<String> = vec![FAR.to_owned(); many - 2 * DUE - wave];
    let (_, took) = time(|| runtime.block_on(park(&engine, &far)));
    let due = Timestamp::now() + Duration::from_secs(lead);
    let single = (0..DUE).map(|n| (due + LATER + APART * n as u32).to_string());
    let near = std::iter::repeat_n(due.to_string(), DUE).chain(single);
    let near: Vec<String> = near.chain(std::iter::repeat_n((due + WAVE_AFTER).to_string(), wave)).collect();
    runtime.block_on(park(&engine, &near));
    let made = memory("VmRSS");
    drop(runtime);
    drop(engine);

    let rate = far.len() as f64 / took.as_secs_f64();
    let mut command = Command::new(this_program());
    command.args(["--keep", path.to_str().unwrap(), "--due", &due.to_string(), "--runs", &many.to_string()]);
    command.args(["--made", &format!("{} ({rate:.0}/s), {:.0} MB of database", show(took), size(&path))]);
    command.args(["--maker", &megabytes(made)]);
    if is_quick() {
        command.arg("--quick");
    }
    assert!(command.status().unwrap().success());
}

fn wave() -> usize {
    if is_quick() { DUE } else { WAVE }
}

/// Drives one run for each time until it parks at its wait.
async fn park(engine: &Engine, times: &[String]) {
    let parked = stream::iter(times.iter().enumerate()).map(|(n, until)| {
        let (engine, until) = (engine.clone(), until.clone());
        tokio::spawn(async move {
            let request = RunRequest::new("wait").param("vm", format!("vm-{n:06}")).param("time", until);
            let run = engine.prepare(&request).await.unwrap();
            let driven = engine.drive(&run, Duration::ZERO).await.unwrap();
            assert!(matches!(driven, Driven::Parked(Park::Waiting, Some(_))), "{driven:?}");
        })
    });
    parked.buffer_unordered(256).for_each(async |done| done.unwrap()).await;
}

/// Keeps the journal until the runs that are due are over.
fn keep(path: &Path) {
    let due: Timestamp = option("--due").unwrap().parse().unwrap();
    let runs = option("--runs").unwrap();
    let bare = memory("VmRSS");
    let (journal, opened) = time(|| Arc::new(SqliteJournal::open(path).unwrap()));
    let ends: Arc<Mutex<HashMap<RunId, Timestamp>>> = Arc::default();
    let seen = ends.clone();
    let engine = engine(journal.clone())
        .observer(Arc::new(move |notice: &Notice| {
            if matches!(notice.event, Event::Finished { .. }) {
                // Shown once it is on the disk, which is later than the time in the record.
                seen.lock().unwrap().insert(notice.run.clone(), Timestamp::now());
            }
        }))
        .build()
        .unwrap();
    let runtime = runtime();
    let _in = runtime.enter();
    let (mut none, mut full, mut looks) = (Times::default(), Times::default(), Times::default());
    let mut table = Table::new("Parked runs");

    runtime.block_on(async {
        // One look, before anything is due and by a worker of its own.
        let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error}"));
        // They park a moment after they are asked to.
        let after = due + Duration::from_secs(1);
        assert_eq!(journal.due(after, 1024).await.unwrap().len(), DUE);
        for _ in 0..100 {
            let now = Timestamp::now();
            assert!(now < due, "the worker came too late: give the runs more lead");
            none.push(timed(journal.due(now, 1024)).await);
            full.push(timed(journal.due(after, 1024)).await);
            looks.push(timed(worker.tick()).await);
        }
        drop(worker);
        let one = journal.due(after, 1).await.unwrap().remove(0);
        let mut found = Times::default();
        for _ in 0..100 {
            found.push(timed(journal.find(&one.as_str()[..6], 10)).await);
        }

        let keeping = {
            let engine = engine.clone();
            tokio::spawn(async move {
                Worker::new(&engine, |what, error| panic!("{what}: {error}")).run().await;
            })
        };
        SystemClock.sleep_until(Timestamp::now() + Duration::from_secs(1)).await;
        let began = (Timestamp::now(), cpu());
        SystemClock.sleep_until(due - Duration::from_millis(800)).await;
        let idle = (memory("VmRSS"), cpu(), Timestamp::now());

        let ended = async |many: usize, give_up: Timestamp| {
            while ends.lock().unwrap().len() < many && Timestamp::now() < give_up {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        ended(2 * DUE, due + WAVE_AFTER).await;
        let most = memory("VmHWM");
        let surge = due + WAVE_AFTER;
        SystemClock.sleep_until(surge).await;
        let before = cpu();
        ended(2 * DUE + wave(), surge + Duration::from_secs(60)).await;
        let spent = cpu().zip(before).map(|(after, before)| after - before);
        engine.interrupt();
        keeping.await.unwrap();

        // Of those that were due at one moment, and of those that came one by one.
        let mut late: [(Times, Times); 3] = Default::default();
        let ends = ends.lock().unwrap().clone();
        assert_eq!(ends.len(), 2 * DUE + wave(), "runs that were due are not over");
        let last = ends.values().max().unwrap().duration_since(surge);
        for (run, end) in ends {
            let records = journal.records(&run, 0).await.unwrap();
            let events: Vec<Event> = records.iter().map(|record| record.event().unwrap()).collect();
            let found = events.iter().zip(&records[1..]).find_map(|(event, next)| match event {
                Event::Parked { until: Some(until), .. } => Some((*until, next.at)),
                _ => None,
            });
            let (until, next) = found.unwrap();
            // Parked a moment after it was asked to, so some microseconds later than the round time.
            let (first, last) = &mut late[usize::from(until > due + LATER / 2) + usize::from(until >= surge)];
            first.push(next.duration_since(until).try_into().unwrap());
            last.push(end.duration_since(until).try_into().unwrap());
        }

        table.note(format!("making {runs} of them"), option("--made").unwrap());
        table.note("  memory of the process that made them", option("--maker").unwrap());
        table.note("opening the journal", show(opened));
        table.note("memory before opening it", megabytes(bare));
        table.goal(
            "memory while keeping them, nothing due",
            megabytes(idle.0),
            "<= 150 MB",
            idle.0.is_none_or(|kb| kb <= GOAL_MEMORY),
        );
        table.goal(
            format!("  at most, {} runs woken", 2 * DUE),
            megabytes(most),
            "<= 150 MB",
            most.is_none_or(|kb| kb <= GOAL_MEMORY),
        );
        if let (Some(before), Some(after)) = (began.1, idle.1) {
            let wall = idle.2.duration_since(began.0).as_secs_f64();
            let share = 100.0 * (after - before).as_secs_f64() / wall;
            table.note(
                "processor while nothing is due",
                format!("{share:.2} % of one core, over {wall:.0} s"),
            );
        }
        let both = |times: &Times| format!("p50 {}, p99 {}", show(times.median()), show(times.at(99)));
        table.note("one due(), nothing due", both(&none));
        table.note(format!("one due(), {DUE} due"), both(&full));
        table.note("one look of the worker, nothing due", both(&looks));
        table.goal(
            "a run by the beginning of its id",
            both(&found),
            "p99 <= 20 ms",
            found.at(99) <= GOAL_FIND,
        );
        assert_eq!(late[0].0.count(), DUE);
        let [moment, one_by_one, surge] = &late;
        for ((first, last), how) in [(moment, "at one moment"), (one_by_one, "one by one")] {
            let met = first.at(99) <= GOAL_LATE;
            table.goal(format!("{DUE} due {how}: to the next record"), both(first), "p99 <= 1 s", met);
            table.note("  to the run's end on the disk", both(last));
        }
        let rate = wave() as f64 / last.as_secs_f64();
        table.note(
            format!("{} due at one moment: all over after", wave()),
            format!("{} ({rate:.0} wakes/s)", show(last.unsigned_abs())),
        );
        table.note("  to the next record", both(&surge.0));
        table.note("  memory at most", megabytes(memory("VmHWM")));
        if let Some(spent) = spent {
            table.note("  processor of each wake", show(spent / wave() as u32));
        }
    });
    drop(engine);
    let alone = Arc::into_inner(journal);
    let (_, closed) = time(|| drop(alone));
    table.note("closing the journal", show(closed));
    table.print();
}

async fn timed<T>(work: impl Future<Output = relight_engine::Result<T>>) -> Duration {
    let began = std::time::Instant::now();
    work.await.unwrap();
    began.elapsed()
}
