//! What a durable step costs, against plain commits to SQLite on the same disk.
//!
//! Each round measures in turn: (a) one-row commits by one writer, straight through `rusqlite`;
//! (b) one run of many steps that change the world; (c) a hundred such runs at once; and beside
//! them the journal without an engine and the engine without a disk. Ratios are taken within a
//! round, so that whatever else the machine is doing hits both sides.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Put, Table, Times, between, cpu, folder, is_quick, middle, puts, runtime, show, spread};
use futures::future::join_all;
use jiff::Timestamp;
use relight_engine::event::{Event, Place, RunEnd, StepEnd};
use relight_engine::journal::{Claim, ClaimRequest, Journal, MemoryJournal, OwnerId, SqliteJournal, Sync};
use relight_engine::{Driven, Engine, RunId, RunRequest};
use rusqlite::Connection;
use serde_json::json;

const GOAL_STEP: f64 = 1.5;
/// In raw rates, by what a raw commit takes: where the disk is slow, sharing it wins more.
const GOAL_MANY: [(Duration, f64); 2] = [(Duration::from_micros(150), 3.0), (Duration::ZERO, 2.0)];
const GOAL_PROCESSOR: Duration = Duration::from_micros(20);
const AT_ONCE: u32 = 100;
/// Runs that are so many times as long tell what a step costs without its share of the run's beginning and end.
const LONGER: u32 = 6;

/// As many bytes as the two records of a step have, hashes and times included.
const PAYLOAD: usize = 640;

fn main() {
    let quick = is_quick();
    let rounds: u32 = if quick { 1 } else { 7 };
    let commits = if quick { 100 } else { 1_500 };
    let steps = if quick { 100 } else { 2_000 };
    let each = if quick { 5 } else { 60 };
    let runtime = runtime();

    let place = folder();
    let raw = Raw::open(&place.path().join("raw.db"));
    let journal = Arc::new(SqliteJournal::open(&place.path().join("relight.db")).unwrap());
    let (put, put_in_memory) = (Put::default(), Put::default());
    let engine = engine(&put, journal.clone());
    let in_memory = engine_in_memory(&put_in_memory);

    let mut all = [Times::default(), Times::default(), Times::default(), Times::default()];
    let (mut step_ratios, mut bare_ratios, mut many_ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut many_rates, mut raw_rates, mut step_rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut per_step, mut per_many) = (Vec::new(), Vec::new());
    let [mut raw_cpu, mut one_cpu, mut many_cpu, mut long_cpu] = [Duration::ZERO; 4];
    for _ in 0..rounds {
        let used = cpu();
        let mut plain = raw.commits(commits);
        raw_cpu += cpu().zip(used).map_or(Duration::ZERO, |(after, before)| after - before);

        let (before, used) = (journal.commits(), cpu());
        let one = runtime.block_on(one_run(&engine, &put, steps));
        one_cpu += cpu().zip(used).map_or(Duration::ZERO, |(after, before)| after - before);
        per_step.push((journal.commits() - before) as f64 / f64::from(steps));

        let bare = runtime.block_on(bare(&journal, steps));
        let computed = runtime.block_on(one_run(&in_memory, &put_in_memory, steps));

        let (before, used) = (journal.commits(), cpu());
        let took = runtime.block_on(many_runs(&engine, each));
        let commits_of_many = journal.commits() - before;
        many_cpu += cpu().zip(used).map_or(Duration::ZERO, |(after, before)| after - before);
        put.take();
        let used = cpu();
        runtime.block_on(many_runs(&engine, each * LONGER));
        long_cpu += cpu().zip(used).map_or(Duration::ZERO, |(after, before)| after - before);
        put.take();
        let made = f64::from(AT_ONCE * each);
        per_many.push(commits_of_many as f64 / made);

        // Half before, half after what it is compared with.
        plain.extend(&raw.commits(commits));

        let ratio = |times: &Times| times.median().as_secs_f64() / plain.median().as_secs_f64();
        step_ratios.push(ratio(&one));
        bare_ratios.push(ratio(&bare));
        let rate = made / took.as_secs_f64();
        many_ratios.push(rate / plain.rate());
        many_rates.push(rate);
        raw_rates.push(plain.rate());
        step_rates.push(one.rate());
        for (all, times) in all.iter_mut().zip([plain, one, bare, computed]) {
            all.extend(&times);
        }
    }

    let [plain, one, bare, computed] = &all;
    let both = |times: &Times| format!("p50 {}, p99 {}", show(times.median()), show(times.at(99)));
    let mut table = Table::new("A durable step");
    table.note("(a) a raw commit", both(plain));
    table.note("    raw commits per second", format!("{:.0}", middle(&raw_rates)));
    let raw_used = raw_cpu / (rounds * commits);
    table.note("    processor time per raw commit", show(raw_used));
    table.note("(b) a step of one run", both(one));
    table.note("    steps per second", format!("{:.0}", middle(&step_rates)));
    table.note("    commits per step", format!("{:.3}", middle(&per_step)));
    table.note("    processor time per step", show(one_cpu / (rounds * steps)));
    let ratio = middle(&step_ratios);
    table.goal("    p50 in raw commits", spread(&step_ratios), "<= 1.5", ratio <= GOAL_STEP);
    table.note("    the journal alone (start Now, finish Soon)", both(bare));
    table.note("    that p50 in raw commits", spread(&bare_ratios));
    table.note("    the engine alone (journal in memory)", both(computed));
    table.note(format!("(c) {AT_ONCE} runs: steps per second"), format!("{:.0}", middle(&many_rates)));
    table.note("    commits per step", format!("{:.3}", middle(&per_many)));
    let used = many_cpu / (rounds * AT_ONCE * each);
    table.goal("    processor time per step", show(used), "<= 20 us", used <= GOAL_PROCESSOR);
    let further = long_cpu.saturating_sub(many_cpu) / (rounds * AT_ONCE * each * (LONGER - 1));
    let in_raw = further.as_secs_f64() / raw_used.as_secs_f64();
    table.note("    that of a further step", format!("{}, {in_raw:.2} raw commits", show(further)));
    let rest = (many_cpu / (rounds * AT_ONCE)).saturating_sub(further * each);
    table.note("    that of a run besides its steps", show(rest));
    let ratio = middle(&many_ratios);
    let goal = GOAL_MANY.iter().find(|(slow, _)| plain.median() >= *slow).map_or(0.0, |(_, goal)| *goal);
    table.goal("    rate in raw rates", spread(&many_ratios), format!(">= {goal}"), ratio >= goal);
    table.note("rounds", rounds.to_string());
    table.print();
}

fn engine(put: &Put, journal: Arc<dyn Journal>) -> Engine {
    Engine::builder().operation(put.clone()).journal(journal).build().unwrap()
}

fn engine_in_memory(put: &Put) -> Engine {
    engine(put, Arc::new(MemoryJournal::new()))
}

async fn prepare(engine: &Engine, steps: u32) -> RunId {
    let request = RunRequest::new("put").text(puts(steps));
    engine.prepare(&request).await.unwrap()
}

async fn to_the_end(engine: &Engine, run: &RunId) {
    let driven = engine.run(run).await.unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
}

/// Times each step of one run, from request to request.
async fn one_run(engine: &Engine, put: &Put, steps: u32) -> Times {
    let run = prepare(engine, steps).await;
    to_the_end(engine, &run).await;
    let sent = put.take();
    assert_eq!(sent.len(), steps as usize);
    between(&sent)
}

/// Times many runs at once, from the first claim to the last end.
async fn many_runs(engine: &Engine, each: u32) -> Duration {
    let runs = join_all((0..AT_ONCE).map(|_| prepare(engine, each))).await;
    let began = Instant::now();
    let driven = runs.into_iter().map(|run| {
        let engine = engine.clone();
        tokio::spawn(async move { to_the_end(&engine, &run).await })
    });
    for end in join_all(driven).await {
        end.unwrap();
    }
    began.elapsed()
}

/// Times the journal as the engine uses it for one run, without engine and script.
async fn bare(journal: &SqliteJournal, steps: u32) -> Times {
    let (now, owner) = (Timestamp::now(), OwnerId::fresh());
    let alive = now + Duration::from_secs(3600);
    journal.heartbeat(&owner, alive).await.unwrap();
    // Prepared by an engine that is never used again.
    let journal_of = engine_in_memory(&Put::default());
    let run = {
        let other = journal_of.prepare(&RunRequest::new("bare").text(puts(1))).await.unwrap();
        let records = journal_of.journal().records(&other, 0).await.unwrap();
        let Event::Prepared(prepared) = records[0].event().unwrap() else { panic!("the first record") };
        let sources = journal_of.journal().sources(&other).await.unwrap();
        let new = relight_engine::journal::NewRun::new(other.clone(), *prepared, sources);
        journal.prepare(new, now).await.unwrap();
        other
    };
    let Claim::Granted(tenure) = journal.claim(&ClaimRequest::new(&run, &owner, now)).await.unwrap() else {
        panic!("nobody else knows the run")
    };
    let mut moments = Vec::with_capacity(steps as usize);
    for step in 1..=steps {
        let started = Event::StepStarted {
            step,
            operation: "bench::put".into(),
            args: json!({ "n": step }),
            at: Place { source: None, line: 7, column: 16 },
            attempt: 1,
            send_before: None,
        };
        let finished = Event::StepFinished {
            step,
            end: StepEnd::Ok(serde_json::to_value(Put::answer(step)).unwrap().into()),
            effected: Vec::new(),
        };
        journal.append(&tenure, &[started], Timestamp::now(), Sync::Now).await.unwrap();
        moments.push(Instant::now());
        journal.append(&tenure, &[finished], Timestamp::now(), Sync::Soon).await.unwrap();
    }
    let end = Event::Finished { end: RunEnd::Succeeded { value: json!(null) }, parent: None };
    journal.append(&tenure, &[end], Timestamp::now(), Sync::Now).await.unwrap();
    between(&moments)
}

/// SQLite with the pragmas of the journal, and nothing else.
struct Raw(Connection);

impl Raw {
    fn open(path: &Path) -> Self {
        let db = Connection::open(path).unwrap();
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
        db.execute_batch(
            "PRAGMA synchronous = FULL;
             CREATE TABLE rows (n INTEGER PRIMARY KEY NOT NULL, body TEXT NOT NULL) STRICT;",
        )
        .unwrap();
        Raw(db)
    }

    fn commits(&self, count: u32) -> Times {
        let mut times = Times::default();
        let body = "x".repeat(PAYLOAD);
        let mut add = self.0.prepare_cached("INSERT INTO rows (body) VALUES (?1)").unwrap();
        for _ in 0..count {
            let began = Instant::now();
            add.execute([&body]).unwrap();
            times.push(began.elapsed());
        }
        times
    }
}
