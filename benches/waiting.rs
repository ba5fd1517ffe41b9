//! What a run costs of its own while it only waits for a long operation.
//!
//! For each number of runs this program starts itself once more, drives that many runs to an
//! operation that answers "not yet" every fifteen seconds, and then watches its own processor time
//! and memory. With few runs the clock goes faster, so that there is anything to measure.
//!
//! At the end, what one run costs that waits many times, where a wait must not cost more because others came
//! before it.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Table, cpu, folder, is_quick, memory, option, runtime, show, this_program};
use futures::future::join_all;
use jiff::Timestamp;
use relight_engine::clock::{ScaledClock, SteppedClock};
use relight_engine::journal::SqliteJournal;
use relight_engine::worker::Worker;
use relight_engine::{Cx, Effect, Engine, Library, Operation, Outcome, Redo, Result, RunRequest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Number of runs, and how much faster than real time they wait.
const SIZES: [(usize, u32); 3] = [(1, 120), (100, 20), (1_000, 2)];
/// The peers' table: a thousand waiting runs in 100 MB.
const GOAL_MEMORY: f64 = 100.0;

/// How often one run waits, and the factor by which a wait may cost more where it is one of many.
const WAITS: [u32; 2] = [500, 5_000];
const GOAL_WAITS: f64 = 1.5;

const RUNBOOK: &str = r#"/*---
title = "Wait for something long"
effects = ["azure:write"]
[params.vm]
---*/
let before = now();
note(`${params.vm} is being rebuilt since ${before}`);
bench::long(params.vm)
"#;

fn main() {
    match option("--runs") {
        Some(runs) => wait(runs.parse().unwrap(), option("--speed").unwrap().parse().unwrap()),
        None => all(),
    }
}

fn all() {
    let mut table = Table::new("Waiting runs");
    for (runs, speed) in SIZES {
        let mut command = Command::new(this_program());
        command.args(["--runs", &runs.to_string(), "--speed", &speed.to_string()]);
        if is_quick() {
            command.arg("--quick");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Found = serde_json::from_slice(&output.stdout).unwrap();
        let polls = format!("{} looks in {:.0} min of run time", found.looks, found.run_minutes);
        table.note(format!("{runs} runs, {speed} x real time"), polls);
        let (Some(cpu), Some(start), Some(end)) = (found.cpu_ms, found.start_kb, found.end_kb) else {
            table.note("  processor and memory", "n/a");
            continue;
        };
        table.note("  processor per run and minute", format!("{:.2} ms", cpu / found.run_minutes));
        let share = cpu / found.run_minutes * runs as f64 / 600.0;
        table.note("  so all of them, in real time", format!("{share:.2} % of one core"));
        let grown = end.saturating_sub(start);
        let each = grown as f64 / runs as f64;
        let whole = end as f64 / 1024.0;
        let measured = format!("{each:.0} KB; {whole:.0} MB in all, {:.0} MB before", start as f64 / 1024.0);
        match runs {
            1_000 => table.goal("  memory per run", measured, "1,000 in 100 MB", whole <= GOAL_MEMORY),
            _ => table.note("  memory per run", measured),
        }
    }
    table.print();
    many_waits();
}

fn many_waits() {
    let mut table = Table::new("One run of many waits");
    let each = WAITS.map(|waits| {
        let waits = if is_quick() { waits / 10 } else { waits };
        let (cpu, wall) = one_run_of(waits);
        let each = cpu / waits;
        table.note(format!("{waits} waits"), format!("{} of processor, {} in all", show(cpu), show(wall)));
        table.note("  processor per wait", show(each));
        each
    });
    let ratio = each[1].as_secs_f64() / each[0].as_secs_f64().max(1e-9);
    table.goal(
        "a wait of the longer in those of the shorter",
        format!("{ratio:.2}"),
        "<= 1.5",
        ratio <= GOAL_WAITS,
    );
    table.print();
}

/// Drives one run that waits so often, half an hour each, as a service does, and returns the processor
/// time and the time that took.
fn one_run_of(waits: u32) -> (Duration, Duration) {
    let place = folder();
    let script = format!("/*---\ntitle = \"Wait\"\n---*/\nfor n in 0..{waits} {{ wait(\"30m\"); }}\n");
    let engine = Engine::builder()
        .journal(Arc::new(SqliteJournal::open(&place.path().join("relight.db")).unwrap()))
        .clock(Arc::new(SteppedClock::jumping(Timestamp::now())))
        .build()
        .unwrap();
    runtime().block_on(async {
        let run = engine.prepare(&RunRequest::new("wait").text(script)).await.unwrap();
        let (began, used) = (std::time::Instant::now(), cpu().unwrap_or_default());
        let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error}"));
        while !engine.journal().run(&run).await.unwrap().unwrap().status.is_over() {
            worker.tick().await.unwrap();
            worker.settle().await;
            engine.clock().sleep(Duration::from_secs(1)).await;
        }
        (cpu().unwrap_or_default() - used, began.elapsed())
    })
}

/// What one process saw.
#[derive(Deserialize)]
struct Found {
    looks: u64,
    run_minutes: f64,
    cpu_ms: Option<f64>,
    start_kb: Option<u64>,
    end_kb: Option<u64>,
}

/// Waits with so many runs, and prints what that cost as JSON.
fn wait(runs: usize, speed: u32) {
    let window = Duration::from_secs(if is_quick() { 3 } else { 30 });
    let place = folder();
    let journal = Arc::new(SqliteJournal::open(&place.path().join("relight.db")).unwrap());
    let now = Timestamp::now();
    let long = Long::default();
    let engine = Engine::builder()
        .operation(long.clone())
        .journal(journal)
        .clock(Arc::new(ScaledClock { origin: now, began: now, speed }))
        .library(Library::new().ship("long", RUNBOOK))
        .build()
        .unwrap();
    let found = runtime().block_on(async {
        let prepared = (0..runs).map(|n| {
            let request = RunRequest::new("long").param("vm", format!("vm-{n}"));
            let engine = engine.clone();
            async move { engine.prepare(&request).await.unwrap() }
        });
        let prepared = join_all(prepared).await;
        let start_kb = memory("VmRSS");
        for run in prepared {
            let engine = engine.clone();
            tokio::spawn(async move { engine.run(&run).await });
        }
        while long.began.load(Ordering::Relaxed) < runs as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The scripts' threads end, and those of the pool that read for them.
        tokio::time::sleep(Duration::from_secs(if is_quick() { 1 } else { 11 })).await;
        let before = (cpu(), long.looks.load(Ordering::Relaxed), std::time::Instant::now());
        tokio::time::sleep(window).await;
        let minutes = before.2.elapsed().as_secs_f64() / 60.0 * f64::from(speed) * runs as f64;
        json!({
            "looks": long.looks.load(Ordering::Relaxed) - before.1,
            "run_minutes": minutes,
            "cpu_ms": cpu().zip(before.0).map(|(after, before)| (after - before).as_secs_f64() * 1e3),
            "start_kb": start_kb,
            "end_kb": memory("VmRSS"),
        })
    });
    println!("{found}");
    // The runs wait for ever: the process ends with them.
    drop(place);
    std::process::exit(0);
}

/// The name of a machine.
#[derive(Deserialize, JsonSchema)]
struct Named {
    /// The name.
    vm: String,
}

/// An operation that is accepted and never done.
#[derive(Clone, Default)]
struct Long {
    began: Arc<AtomicU64>,
    looks: Arc<AtomicU64>,
}

impl Operation for Long {
    type Args = Named;
    type Output = ();
    const NAME: &'static str = "bench::long";
    const SUMMARY: &'static str = "Takes for ever.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Ask;

    async fn begin(&self, _: &Cx, args: &Named) -> Result<Outcome<()>> {
        self.began.fetch_add(1, Ordering::Relaxed);
        pending(&json!({ "operation": format!("/subscriptions/0000/operations/{}", args.vm) }))
    }

    async fn resume(&self, _: &Cx, _: &Named, at: &Value) -> Result<Outcome<()>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        pending(at)
    }
}

fn pending(state: &Value) -> Result<Outcome<()>> {
    let outcome = Outcome::pending(state, Duration::from_secs(15))?;
    Ok(outcome.within(Duration::from_secs(365 * 24 * 3600)).saying("still at it", Some(30.0)))
}
