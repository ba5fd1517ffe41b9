//! How long a run of 10,000 recorded steps takes to come back to its first live step.
//!
//! The run is made once, by an engine that is interrupted in step 10,000. Each round resumes a
//! copy of that journal in a new engine, and a journal in between notes when it was asked for what:
//! the time between two questions is the engine's own.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::{Put, Table, Target, Times, folder, is_quick, puts, runtime, show, size, time};
use jiff::Timestamp;
use relight_engine::event::{self, Event, GENESIS, Park, Record, RunEnd, Source};
use relight_engine::journal::{Appended, Around, Claim, ClaimRequest, Journal, SqliteJournal, Sync, Tenure};
use relight_engine::replay::History;
use relight_engine::{Cx, Driven, Effect, Engine, Operation, Outcome, Redo, Result, RunId, RunRequest};

const GOAL: Duration = Duration::from_millis(100);

fn main() {
    let steps = if is_quick() { 500 } else { 10_000 };
    let rounds = if is_quick() { 2 } else { 15 };
    let runtime = runtime();
    let place = folder();
    let original = place.path().join("original.db");
    let run = runtime.block_on(record(&original, steps));

    let mut parts: Vec<(&str, Times)> = PARTS.iter().map(|name| (*name, Times::default())).collect();
    let (mut whole, mut ready) = (Times::default(), Times::default());
    for round in 0..rounds {
        let copy = place.path().join(format!("copy-{round}.db"));
        std::fs::copy(&original, &copy).unwrap();
        let moments = runtime.block_on(resume(&copy, &run, steps));
        for ((_, times), pair) in parts.iter_mut().zip(moments.windows(2)) {
            times.push(pair[1] - pair[0]);
        }
        // The commits before and after it are the disk's affair, and no replay.
        whole.push(moments[LIVE] - moments[CLAIMED]);
        ready.push(moments[LIVE + 1] - moments[0]);
        std::fs::remove_file(&copy).unwrap();
    }

    // The same work once more, bit by bit.
    let (mut verified, mut parsed, mut folded, mut compiled) =
        (Times::default(), Times::default(), Times::default(), Times::default());
    let journal = Arc::new(SqliteJournal::open(&original).unwrap());
    let records = runtime.block_on(journal.records(&run, 0)).unwrap();
    let library = relight_engine::Library::new().ship("put", &puts(steps + 10));
    let engine = Engine::builder().operation(Put::default()).library(library).build().unwrap();
    for _ in 0..rounds {
        verified.push(time(|| event::verify(GENESIS, 1, &records).unwrap()).1);
        parsed.push(time(|| records.iter().map(Record::event).collect::<Result<Vec<Event>>>().unwrap()).1);
        folded.push(time(|| History::read(&records).unwrap()).1);
        compiled.push(time(|| assert!(engine.check("put").unwrap().is_empty())).1);
    }

    let mut table = Table::new("Replay");
    let took = whole.median();
    table.goal(
        format!("replay of {steps} steps, from the claim to the first live step"),
        format!("p50 {}, best {}, worst {}", show(took), show(whole.min()), show(whole.max())),
        "<= 100 ms",
        took <= GOAL,
    );
    table.note("from drive() to the first live request, with three commits", show(ready.median()));
    for (name, times) in &parts {
        table.note(format!("  {name}"), share(times, took));
    }
    table.note("of which, measured once more alone:", "");
    table.note("  verifying the chain", share(&verified, took));
    table.note("  folding, records to history", share(&folded, took));
    table.note("    of which reading events from JSON", share(&parsed, took));
    table.note("  parsing, compiling and checking the runbook", share(&compiled, took));
    let bytes: usize = records.iter().map(|record| record.body.len()).sum();
    table.note(
        "the run",
        format!(
            "{} records, {:.1} MB of JSON, file {:.1} MB",
            records.len(),
            bytes as f64 / f64::from(1 << 20),
            size(&original)
        ),
    );
    table.note("rounds", rounds.to_string());
    table.print();
}

fn share(times: &Times, whole: Duration) -> String {
    let median = times.median();
    format!("{} ({:.0} %)", show(median), 100.0 * median.as_secs_f64() / whole.as_secs_f64())
}

/// The claim is on the disk, among the moments that [`resume`] returns.
const CLAIMED: usize = 1;
/// The live step's intent is handed to the journal.
const LIVE: usize = 6;

/// The stretches between those moments.
const PARTS: [&str; 7] = [
    "heartbeat and claim (two commits)",
    "to the read",
    "reading and verifying records",
    "folding them",
    "reading the sources",
    "parsing, compiling and replaying",
    "commit of the live step's intent (not replay)",
];

/// Makes the run, and interrupts it in the last of its recorded steps.
async fn record(path: &Path, steps: u32) -> RunId {
    let journal = Arc::new(SqliteJournal::open(path).unwrap());
    let breaker = Breaker { at: steps - 1, engine: Arc::default() };
    let engine = Engine::builder().operation(breaker.clone()).journal(journal).build().unwrap();
    *breaker.engine.lock().unwrap() = Some(engine.clone());
    let request = RunRequest::new("put").text(puts(steps + 10));
    let run = engine.prepare(&request).await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert!(matches!(driven, Driven::Parked(Park::Interrupted, None)), "{driven:?}");
    assert_eq!(engine.history(&run).await.unwrap().steps.len(), steps as usize);
    run
}

/// Resumes the run, and returns the moments between which its parts lie.
async fn resume(path: &Path, run: &RunId, steps: u32) -> Vec<Instant> {
    let journal = Arc::new(Asked { journal: SqliteJournal::open(path).unwrap(), log: Mutex::default() });
    let put = Put::default();
    let engine = Engine::builder().operation(put.clone()).journal(journal.clone()).build().unwrap();
    let began = Instant::now();
    let driven = engine.run(run).await.unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    let sent = put.take();
    assert_eq!(sent.len(), 10, "{steps} steps were replayed");
    let log = journal.log.lock().unwrap();
    let find = |name: &str| *log.iter().find(|(asked, ..)| *asked == name).unwrap();
    let (claim, records, sources) = (find("claim"), find("records"), find("sources"));
    let live = find("append");
    vec![began, claim.2, records.1, records.2, sources.1, sources.2, live.1, sent[0]]
}

/// `bench::put`, which interrupts its engine in one of its calls.
#[derive(Clone)]
struct Breaker {
    at: u32,
    /// Taken out when it is interrupted: the engine holds its operations.
    engine: Arc<Mutex<Option<Engine>>>,
}

impl Operation for Breaker {
    type Args = Target;
    type Output = common::Resource;
    const NAME: &'static str = Put::NAME;
    const SUMMARY: &'static str = Put::SUMMARY;
    const EFFECTS: &'static [Effect] = Put::EFFECTS;
    const REDO: Redo = Put::REDO;

    async fn begin(&self, _: &Cx, args: &Target) -> Result<Outcome<common::Resource>> {
        if args.n == self.at
            && let Some(engine) = self.engine.lock().unwrap().take()
        {
            engine.interrupt();
        }
        Ok(Outcome::done(Put::answer(args.n)))
    }
}

/// A journal that notes when it was asked and when it answered.
struct Asked {
    journal: SqliteJournal,
    log: Mutex<Vec<(&'static str, Instant, Instant)>>,
}

impl Asked {
    async fn note<T>(&self, name: &'static str, answer: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let value = answer.await;
        self.log.lock().unwrap().push((name, began, Instant::now()));
        value
    }
}

#[async_trait]
impl Around for Asked {
    fn behind(&self) -> &dyn Journal {
        &self.journal
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        self.note("claim", self.journal.claim(request)).await
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        self.note("append", self.journal.append(tenure, events, at, sync)).await
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        self.note("records", self.journal.records(run, after)).await
    }

    async fn sources(&self, run: &RunId) -> Result<Vec<Source>> {
        self.note("sources", self.journal.sources(run)).await
    }
}
