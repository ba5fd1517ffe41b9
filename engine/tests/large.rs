//! Large results lie out of line; what cannot be read back is an error of its step.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use relight_engine::clock::SteppedClock;
use relight_engine::event::{Event, RunEnd, StepEnd};
use relight_engine::journal::{Around, Journal, MemoryJournal, SqliteJournal};
use relight_engine::{
    Cx, Driven, Effect, Engine, Library, Operation, Outcome, Redo, Result, RunId, RunRequest, limits,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// A list of machines, or something that no record can hold.
#[derive(Clone, Default)]
struct Machines(Arc<AtomicU32>);

#[derive(Deserialize, JsonSchema)]
struct Ask {
    what: String,
    count: u32,
}

impl Operation for Machines {
    type Args = Ask;
    type Output = Value;
    const NAME: &'static str = "site::machines";
    const SUMMARY: &'static str = "Lists machines.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;

    async fn begin(&self, _: &Cx, args: &Ask) -> Result<Outcome<Value>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let machine = |n| json!({ "name": format!("vm-{n:05}"), "state": "Running", "size": n });
        Ok(Outcome::done(match args.what.as_str() {
            "list" => (0..args.count).map(machine).collect(),
            "deep" => (0..args.count).fold(json!(1), |inner, _| json!([inner])),
            _ => Value::String("x".repeat(args.count as usize)),
        }))
    }
}

const SCRIPT: &str = r#"/*---
title = "Count"
effects = ["azure:read"]
---*/
let all = site::machines("list", 3000);
let large = 0;
for machine in all { large += machine.size; }
let said = [];
for what in [["deep", 500], ["text", 9000000]] {
    try { site::machines(what[0], what[1]); } catch (e) { said += e.message; }
}
note(`${all.len()} machines`);
[all.len(), large, all[2999].name, said]
"#;

/// A new process, ten minutes after the one before.
fn engine(machines: &Machines, journal: Arc<dyn Journal>, nth: u32) -> Engine {
    let library = Library::new().ship("count", SCRIPT);
    let start: jiff::Timestamp = "2026-11-20T22:00:00Z".parse().unwrap();
    let clock = SteppedClock::jumping(start + Duration::from_secs(600) * nth);
    let builder = Engine::builder().operation(machines.clone()).clock(Arc::new(clock));
    builder.journal(journal).library(library).build().unwrap()
}

fn check(driven: &Driven) {
    let Driven::Ended(RunEnd::Succeeded { value }) = driven else { panic!("{driven:?}") };
    assert_eq!(value[0], 3000);
    assert_eq!(value[1], (0..3000).sum::<u32>());
    assert_eq!(value[2], "vm-02999");
    assert!(value[3][0].as_str().unwrap().contains("nested 64 deep"), "{value}");
    assert!(value[3][1].as_str().unwrap().contains("8 MiB"), "{value}");
}

async fn end_of_list(journal: &dyn Journal, run: &RunId) -> StepEnd {
    let records = journal.records(run, 0).await.unwrap();
    for record in &records {
        assert!(record.body.len() < limits::INLINE, "record {} has {} bytes", record.seq, record.body.len());
    }
    let mut ends = records.iter().filter_map(|record| match record.event().unwrap() {
        Event::StepFinished { step: 1, end, .. } => Some(end),
        _ => None,
    });
    ends.next_back().unwrap()
}

#[tokio::test]
async fn a_large_result_lies_out_of_line_and_is_replayed() {
    let (machines, journal) = (Machines::default(), Arc::new(MemoryJournal::new()));
    let first = engine(&machines, journal.clone(), 1);
    let run = first.prepare(&RunRequest::new("count")).await.unwrap();
    check(&first.run(&run).await.unwrap());
    let StepEnd::Large { sha256, bytes } = end_of_list(&*journal, &run).await else { panic!("out of line") };
    assert_eq!(journal.kept(&sha256).await.unwrap().len() as u64, bytes);
    assert_eq!(machines.0.load(Ordering::Relaxed), 3);

    // Another process that finds all steps recorded but the end.
    let records = journal.records(&run, 0).await.unwrap().len() as u64;
    let journal = Arc::new(journal.truncated(&run, records - 1));
    let second = engine(&machines, journal, 2);
    check(&second.run(&run).await.unwrap());
    assert_eq!(machines.0.load(Ordering::Relaxed), 3, "nothing was asked again");
}

/// A journal that counts how often a script wants a large result, which is once for each replay.
struct Counting(MemoryJournal, Arc<AtomicU32>);

#[async_trait]
impl Around for Counting {
    fn behind(&self) -> &dyn Journal {
        &self.0
    }

    async fn kept(&self, fingerprint: &str) -> Result<String> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.kept(fingerprint).await
    }
}

#[tokio::test]
async fn a_script_is_not_replayed_for_each_of_its_waits() {
    let wanted = Arc::new(AtomicU32::new(0));
    let journal = Arc::new(Counting(MemoryJournal::new(), wanted.clone()));
    let engine = engine(&Machines::default(), journal, 1);
    let script = r#"/*---
title = "Wait"
effects = ["azure:read"]
---*/
let all = site::machines("list", 3000);
for n in 0..100 { wait("30s"); }
all.len()
"#;
    let run = engine.prepare(&RunRequest::new("waits").text(script)).await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value: json!(3000) }));
    assert_eq!(wanted.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_is_checked_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let (machines, journal) = (Machines::default(), Arc::new(SqliteJournal::open(&path).unwrap()));
    let first = engine(&machines, journal.clone(), 1);
    let run = first.prepare(&RunRequest::new("count")).await.unwrap();
    check(&first.run(&run).await.unwrap());
    let StepEnd::Large { sha256, .. } = end_of_list(&*journal, &run).await else { panic!("out of line") };
    let db = rusqlite::Connection::open(&path).unwrap();
    let change = "UPDATE texts SET text = replace(text, 'vm-00007', 'vm-00008') WHERE fingerprint = ?1";
    assert_eq!(db.execute(change, [&sha256]).unwrap(), 1);
    let error = journal.kept(&sha256).await.unwrap_err();
    assert!(error.message().contains(&sha256), "{error:?}");
}
