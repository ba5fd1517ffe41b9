//! How many runs are under way at once, and who is next: two services on one database, people who wait, children, stops.
#![allow(clippy::unwrap_used, missing_docs)]

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use relight_engine::event::RunEnd;
use relight_engine::journal::{RunFilter, SqliteJournal, Status};
use relight_engine::worker::Worker;
use relight_engine::{
    Concurrency, Cx, Driven, Effect, Engine, Library, Operation, Outcome, Redo, Result, RunId, RunRequest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What all programs count together: how many runs work at this moment, how many did at most, and how many have.
#[derive(Clone, Default)]
struct Work(Arc<[AtomicUsize; 3]>);

#[derive(Deserialize, JsonSchema, Serialize)]
struct Nothing {}

impl Operation for Work {
    type Args = Nothing;
    type Output = ();
    const NAME: &'static str = "work::hard";
    const SUMMARY: &'static str = "Works for a moment.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;

    async fn begin(&self, _: &Cx, _: &Nothing) -> Result<Outcome<()>> {
        let [now, most, done] = &*self.0;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        now.fetch_sub(1, Ordering::SeqCst);
        done.fetch_add(1, Ordering::SeqCst);
        Ok(Outcome::done(()))
    }
}

impl Work {
    fn most(&self) -> usize {
        self.0[1].load(Ordering::SeqCst)
    }

    fn done(&self) -> usize {
        self.0[2].load(Ordering::SeqCst)
    }
}

/// A program of its own that comes to the database of a folder.
fn program(folder: &Path, work: &Work, runs: Option<u32>) -> Engine {
    let text = |matter: &str, script: &str| format!("/*---\ntitle = \"s\"\n{matter}\n---*/\n{script}");
    let vm = "\n[params.vm]\n";
    let library = Library::new()
        .ship("works", &text("effects = [\"azure:write\"]", "work::hard()"))
        .ship("single", &text("effects = [\"azure:write\"]\nconcurrency = 1", "work::hard()"))
        .ship(
            "on",
            &text(&format!("effects = [\"azure:write\"]\ntarget = [\"vm\"]{vm}"), "work::hard(); params.vm"),
        )
        .ship("asks", &text(&format!("target = [\"vm\"]{vm}"), "ask(\"Which one?\")"))
        .ship(
            "parent",
            &text("effects = [\"azure:write\"]\nconcurrency = 1", "run(\"single\"); run(\"single\"); 7"),
        );
    let mut concurrency = Concurrency::default();
    concurrency.runs = runs.and_then(NonZeroU32::new);
    let journal = SqliteJournal::open(&folder.join("journal.db")).unwrap();
    let builder = Engine::builder().operation(work.clone()).journal(Arc::new(journal)).library(library);
    builder.concurrency(concurrency).build().unwrap()
}

async fn start(engine: &Engine, runbook: &str, vm: Option<&str>) -> RunId {
    let request = RunRequest::new(runbook);
    engine.prepare(&vm.into_iter().fold(request, |request, vm| request.param("vm", vm))).await.unwrap()
}

async fn queue(engine: &Engine) -> Vec<RunId> {
    engine.queue().await.unwrap().into_iter().map(|queued| queued.run.id).collect()
}

/// Keeps runs going until none is open, and nobody waits.
async fn serve(engine: &Engine) {
    let mut worker = Worker::new(engine, |what, error| panic!("{what}: {error}"));
    let until_over = async {
        while !engine.journal().runs(&RunFilter::open()).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        engine.hand_back();
    };
    tokio::join!(worker.run(), until_over);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_together_keep_to_the_limits() {
    let (folder, work) = (tempfile::tempdir().unwrap(), Work::default());
    let [one, other] = [(); 2].map(|()| program(folder.path(), &work, Some(3)));
    for n in 0..40 {
        let runbook = if n % 4 == 0 { "single" } else { "on" };
        let vm = (runbook == "on").then(|| format!("vm-{}", n % 5));
        start(if n % 2 == 0 { &one } else { &other }, runbook, vm.as_deref()).await;
    }
    assert_eq!(queue(&one).await.len(), 37);
    tokio::join!(serve(&one), serve(&other));
    assert_eq!((work.done(), queue(&one).await.len()), (40, 0));
    assert!(work.most() <= 3, "{} at once", work.most());
    let over = one.journal().runs(&RunFilter::all()).await.unwrap();
    assert!(over.iter().all(|run| run.status == Status::Succeeded), "{over:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_drives_a_run_waits_for_its_turn() {
    let (folder, work) = (tempfile::tempdir().unwrap(), Work::default());
    let [one, other] = [(); 2].map(|()| program(folder.path(), &work, None));
    let asks = start(&one, "asks", Some("rg/web-01")).await;
    assert!(matches!(one.run(&asks).await.unwrap(), Driven::Parked(..)));
    // Names in Azure do not differ by case.
    let waits = start(&other, "on", Some("RG/Web-01")).await;
    let [queued] = other.queue().await.unwrap().try_into().unwrap();
    assert_eq!((queued.run.id.clone(), queued.full[0].by.clone()), (waits.clone(), vec![asks.clone()]));
    assert_eq!(queued.full[0].limit.group, "target:rg/web-01");
    let elsewhere = start(&other, "on", Some("rg/web-02")).await;
    assert!(matches!(other.run(&elsewhere).await.unwrap(), Driven::Ended(RunEnd::Succeeded { .. })));

    let waiting = tokio::spawn({
        let (other, waits) = (other.clone(), waits.clone());
        async move { other.run(&waits).await }
    });
    one.answer(&asks, "this", "ann").await.unwrap();
    assert!(matches!(one.run(&asks).await.unwrap(), Driven::Ended(RunEnd::Succeeded { .. })));
    // Told by nobody: another program ended what was in the way.
    assert!(matches!(waiting.await.unwrap().unwrap(), Driven::Ended(RunEnd::Succeeded { .. })));
    assert_eq!(work.done(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_the_queue_can_be_left_stopped_and_abandoned() {
    let (folder, work) = (tempfile::tempdir().unwrap(), Work::default());
    let [one, other] = [(); 2].map(|()| program(folder.path(), &work, None));
    let asks = start(&one, "asks", Some("a")).await;
    one.run(&asks).await.unwrap();
    let [left, stopped, abandoned] = [
        start(&one, "on", Some("a")).await,
        start(&one, "on", Some("a")).await,
        start(&one, "on", Some("a")).await,
    ];
    other.interrupt();
    assert_eq!(
        other.run(&left).await.unwrap(),
        Driven::Parked(relight_engine::event::Park::Interrupted, None)
    );
    one.stop(&stopped, "ann").await.unwrap();
    assert!(matches!(one.run(&stopped).await.unwrap(), Driven::Ended(RunEnd::Stopped { .. })));
    one.abandon(&abandoned, "ann", "not needed").await.unwrap();
    assert_eq!(queue(&one).await, std::slice::from_ref(&left));
    let mut at_once = RunRequest::new("on").param("vm", "a");
    at_once.at_once = true;
    let at_once = one.prepare(&at_once).await.unwrap();
    assert!(matches!(one.run(&at_once).await.unwrap(), Driven::Ended(RunEnd::Succeeded { .. })));
    assert_eq!((queue(&one).await, work.done()), (vec![left.clone()], 1));
    one.stop(&asks, "ann").await.unwrap();
    one.run(&asks).await.unwrap();
    assert!(matches!(one.run(&left).await.unwrap(), Driven::Ended(RunEnd::Succeeded { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_part_of_its_parent() {
    let (folder, work) = (tempfile::tempdir().unwrap(), Work::default());
    let one = program(folder.path(), &work, Some(1));
    let parents = [start(&one, "parent", None).await, start(&one, "parent", None).await];
    assert_eq!(queue(&one).await, parents[1..]);
    serve(&one).await;
    assert_eq!((work.done(), work.most()), (4, 1));
}
