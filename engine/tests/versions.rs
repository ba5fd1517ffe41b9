//! What another version recorded is taken over, or left as it is for that version.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use relight_engine::clock::SteppedClock;
use relight_engine::event::{Record, RunEnd};
use relight_engine::journal::{Around, Claim, ClaimRequest, Journal, MemoryJournal, Status};
use relight_engine::{
    Cx, Driven, Effect, Engine, EngineBuilder, ErrorKind, Library, NextStep, Operation, Outcome, Redo,
    Result, RunId, RunRequest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
struct Named {
    #[allow(dead_code, reason = "the name is only read from JSON")]
    name: String,
}

/// The first version of an operation, and two that follow it.
macro_rules! version {
    ($type:ident, $version:literal, $args:ty, $from:expr, $to:expr, $upgrade:expr) => {
        struct $type;
        impl Operation for $type {
            type Args = $args;
            type Output = Value;
            const NAME: &'static str = "box::fill";
            const SUMMARY: &'static str = "Fills a box.";
            const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
            const REDO: Redo = Redo::Resend;
            const STATE_VERSION: u32 = $version;
            fn upgrade(version: u64, at: &Value) -> Option<Value> {
                let upgrade: fn(u64, &Value) -> Option<Value> = $upgrade;
                upgrade(version, at)
            }
            async fn begin(&self, _: &Cx, _: &$args) -> Result<Outcome<Value>> {
                Outcome::pending(&$from, Duration::from_secs(3600))
            }
            async fn resume(&self, _: &Cx, _: &$args, at: &Value) -> Result<Outcome<Value>> {
                assert_eq!(*at, $from, "a state of this version");
                Ok(Outcome::done($to))
            }
        }
    };
}

version!(First, 1, Named, json!("half"), json!("full"), |_, _| None);
version!(Second, 2, Named, json!({ "level": "half" }), json!("full, says the second"), |_, at| Some(
    json!({ "level": at })
));
version!(Third, 3, Named, json!(0.5), json!(1), |_, _| None);

#[derive(Deserialize, JsonSchema)]
struct Numbered {
    /// Another argument altogether.
    #[allow(dead_code)]
    number: u32,
}
version!(Other, 1, Numbered, json!("half"), json!("full"), |_, _| None);

const SCRIPT: &str = r#"/*---
title = "Fill"
effects = ["azure:write"]
---*/
box::fill("one")
"#;

struct Bench {
    journal: Arc<MemoryJournal>,
    clock: SteppedClock,
}

impl Bench {
    fn new() -> Self {
        let clock = SteppedClock::jumping("2026-11-20T22:00:00Z".parse().unwrap());
        Bench { journal: Arc::new(MemoryJournal::new()), clock }
    }

    fn builder(&self) -> EngineBuilder {
        let library = Library::new().ship("fill", SCRIPT);
        Engine::builder().clock(Arc::new(self.clock.clone())).library(library).journal(self.journal.clone())
    }

    /// A run that waits with the state of a version.
    async fn waiting(&self, operation: impl Operation) -> RunId {
        let engine = self.builder().operation(operation).build().unwrap();
        let run = engine.prepare(&RunRequest::new("fill")).await.unwrap();
        let driven = engine.drive(&run, Duration::from_secs(60)).await.unwrap();
        assert!(matches!(driven, Driven::Parked(..)), "{driven:?}");
        self.clock.advance(Duration::from_secs(3600));
        run
    }

    /// Drives a run with a program that must leave it alone.
    async fn left_alone(&self, run: &RunId, program: EngineBuilder, says: &str) {
        let before = (self.journal.records(run, 0).await.unwrap(), self.journal.run(run).await.unwrap());
        let engine = program.build().unwrap();
        for _ in 0..2 {
            let error = engine.run(run).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
            assert!(error.message().contains(says), "{error:?}");
            assert!(
                error.hints().iter().any(|hint| hint.to_string().contains("another version")),
                "{error:?}"
            );
        }
        let after = (self.journal.records(run, 0).await.unwrap(), self.journal.run(run).await.unwrap());
        assert_eq!(after, before, "something was written");
    }

    async fn ends_with(&self, run: &RunId, program: EngineBuilder, value: Value) {
        let driven = program.build().unwrap().run(run).await.unwrap();
        assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value }));
    }
}

#[tokio::test]
async fn a_state_of_a_newer_version_is_left_to_it() {
    let bench = Bench::new();
    let run = bench.waiting(Second).await;
    bench.left_alone(&run, bench.builder().operation(First), "state of version 2").await;
    bench.ends_with(&run, bench.builder().operation(Second), json!("full, says the second")).await;
}

#[tokio::test]
async fn a_state_of_an_older_version_is_taken_over_where_that_is_known() {
    let bench = Bench::new();
    let run = bench.waiting(First).await;
    bench.left_alone(&run, bench.builder().operation(Third), "state of version 1").await;
    bench.ends_with(&run, bench.builder().operation(Second), json!("full, says the second")).await;
}

#[tokio::test]
async fn arguments_and_operations_of_another_version_are_left_to_it() {
    let bench = Bench::new();
    let run = bench.waiting(First).await;
    bench.left_alone(&run, bench.builder().operation(Other), "recorded arguments of `box::fill`").await;
    bench.left_alone(&run, bench.builder(), "`box::fill`, an operation that this program has not").await;
    bench.ends_with(&run, bench.builder().operation(First), json!("full")).await;
}

/// A journal in which a newer version goes on with a run right before the older one claims it.
struct Overtaken(Arc<MemoryJournal>, Engine, Mutex<Vec<Record>>);

#[async_trait]
impl Around for Overtaken {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let driven = self.1.drive(&request.run, Duration::from_secs(60)).await?;
        assert!(matches!(driven, Driven::Parked(..)), "{driven:?}");
        *self.2.lock().unwrap() = self.0.records(&request.run, 0).await?;
        self.0.claim(request).await
    }
}

#[tokio::test]
async fn a_run_that_a_newer_version_went_on_with_before_the_claim_is_left_alone() {
    let bench = Bench::new();
    let newer = bench.builder().operation(Second).build().unwrap();
    let run = newer.prepare(&RunRequest::new("fill")).await.unwrap();
    let overtaken = Arc::new(Overtaken(bench.journal.clone(), newer.clone(), Mutex::default()));
    let older = bench.builder().operation(First).journal(overtaken.clone()).build().unwrap();
    let error = older.run(&run).await.unwrap_err();
    assert!(error.message().contains("state of version 2"), "{error:?}");
    let records = bench.journal.records(&run, 0).await.unwrap();
    assert_eq!(records, *overtaken.2.lock().unwrap(), "the older one writes nothing");
    bench.clock.advance(Duration::from_secs(3600));
    bench.ends_with(&run, bench.builder().operation(Second), json!("full, says the second")).await;
}

/// A journal whose last record is an event that only a newer version knows.
struct Newer(Arc<MemoryJournal>);

#[async_trait]
impl Around for Newer {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        let mut records = self.0.records(run, after).await?;
        if let Some(last) = records.last_mut() {
            last.body = json!({ "event": "teleported", "to": "elsewhere" }).to_string();
        }
        Ok(records)
    }
}

#[tokio::test]
async fn an_event_of_a_newer_version_is_left_to_it() {
    let bench = Bench::new();
    let run = bench.waiting(First).await;
    let older = || bench.builder().operation(First).journal(Arc::new(Newer(bench.journal.clone())));
    bench.left_alone(&run, older(), "unknown event type in record").await;
    bench.ends_with(&run, bench.builder().operation(First), json!("full")).await;

    // Whoever has only the older version can give it up.
    let run = bench.waiting(First).await;
    let engine = older().build().unwrap();
    engine.stop(&run, "ada").await.unwrap();
    let error = engine.run(&run).await.unwrap_err();
    assert!(error.hints().contains(&NextStep::Abandon.into()), "{error:?}");
    engine.abandon(&run, "ada", "the newer version is gone").await.unwrap();
    assert_eq!(bench.journal.run(&run).await.unwrap().unwrap().status, Status::Abandoned);
}
