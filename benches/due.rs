//! How late runs begin when a thousand schedules are due in the same second.
//!
//! The clock is the system's, the journal a database on the disk, the worker that of `relight serve`. A run begins when it is
//! written down, and is started when a driver has claimed it.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Table, Times, folder, is_quick, runtime, show};
use jiff::{SignedDuration, Timestamp};
use relight_engine::event::{Event, RunId, Schedule};
use relight_engine::journal::{Journal, RunFilter, SqliteJournal, Summary};
use relight_engine::worker::Worker;
use relight_engine::{Engine, Library};

fn main() {
    let many = if is_quick() { 100 } else { 1_000 };
    let place = folder();
    let library = Library::new().ship("one", "/*---\ntitle = \"One\"\n---*/\nnote(\"here\")");
    let runtime = runtime();
    let mut table = Table::new("Schedules that are due in the same second");
    runtime.block_on(async {
        let journal = Arc::new(SqliteJournal::open(&place.path().join("relight.db")).unwrap());
        let engine = Engine::builder().journal(journal.clone()).library(library).build().unwrap();
        let due = Timestamp::now() + SignedDuration::from_secs(if is_quick() { 3 } else { 10 });
        for n in 0..many {
            let mut schedule = Schedule::new(format!("s{n}"), "one", due);
            schedule.repeats = Some(format!("every 1h from {due}"));
            engine.add_schedule(&schedule).await.unwrap();
        }
        assert!(Timestamp::now() < due, "the schedules are there before they are due");
        let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error}"));
        let serving = tokio::spawn(async move { worker.run().await });
        while journal.runs(&RunFilter::all()).await.unwrap().iter().filter(is_over).count() < many {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        engine.hand_back();
        serving.await.unwrap();
        let (mut written, mut started, mut over) = (Times::default(), Times::default(), Times::default());
        for run in journal.runs(&RunFilter::all()).await.unwrap() {
            written.push(late(due, run.created));
            started.push(late(due, claimed(&*journal, &run.id).await));
            over.push(late(due, run.updated));
        }
        for (what, times) in
            [("due to written down", written), ("due to started", started), ("due to over", over)]
        {
            let spread = format!("p50 {}, p99 {}", show(times.median()), show(times.at(99)));
            table.note(format!("{what}, {many} at once"), spread);
        }
    });
    table.print();
}

fn is_over(run: &&Summary) -> bool {
    run.status.is_over()
}

fn late(due: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(due)).unwrap()
}

async fn claimed(journal: &dyn Journal, run: &RunId) -> Timestamp {
    let records = journal.records(run, 0).await.unwrap();
    let claim = records.iter().find(|record| matches!(record.event().unwrap(), Event::Claimed { .. }));
    claim.unwrap().at
}
