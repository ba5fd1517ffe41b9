//! Who drives a run, and who comes back to it: two callers, a parent and its child, a service that
//! ends in good order, a disk that fills, an operation that panics, a process that dies or sleeps.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Call, Effected, Event, Park, RunEnd, Signal};
use relight_engine::journal::{
    Around, Claim, ClaimRequest, Journal, MemoryJournal, OwnerId, RunFilter, SqliteJournal, Status,
};
use relight_engine::worker::Worker;
use relight_engine::{
    Answers, Cx, Driven, Effect, Engine, Error, Library, Operation, Outcome, Probe, Redo, Result, RunId,
    RunRequest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// What was sent, and what is held back on its way.
#[derive(Clone, Default)]
struct World(Arc<State>);

#[derive(Default)]
struct State {
    sent: Mutex<Vec<String>>,
    held: Mutex<HashMap<String, Arc<tokio::sync::Semaphore>>>,
    arrived: Mutex<Vec<String>>,
    on_send: Mutex<HashMap<String, Box<dyn FnOnce() + Send>>>,
}

impl World {
    fn sent(&self) -> Vec<String> {
        self.0.sent.lock().unwrap().clone()
    }

    /// Holds requests of this name back, right before the operation asks whether it may send; with
    /// " on its way" behind the name, right after.
    fn hold(&self, name: &str) {
        self.0.held.lock().unwrap().insert(name.into(), Arc::new(tokio::sync::Semaphore::new(0)));
    }

    fn release(&self, name: &str) {
        self.0.held.lock().unwrap()[name].add_permits(1);
    }

    /// Whether a request waits to be released.
    fn has_arrived(&self, name: &str) -> bool {
        self.0.arrived.lock().unwrap().iter().any(|arrived| arrived == name)
    }

    fn when_sent(&self, name: &str, act: impl FnOnce() + Send + 'static) {
        self.0.on_send.lock().unwrap().insert(name.into(), Box::new(act));
    }

    async fn pass(&self, place: &str) {
        let held = self.0.held.lock().unwrap().get(place).cloned();
        if let Some(held) = held {
            self.0.arrived.lock().unwrap().push(place.into());
            held.acquire().await.unwrap().forget();
        }
    }

    async fn send(&self, cx: &Cx, name: &str) -> Result<()> {
        self.pass(name).await;
        cx.may_send().await?;
        self.pass(&format!("{name} on its way")).await;
        self.0.sent.lock().unwrap().push(name.to_owned());
        let act = self.0.on_send.lock().unwrap().remove(name);
        if let Some(act) = act {
            act();
        }
        Ok(())
    }
}

#[derive(Deserialize, JsonSchema)]
struct Named {
    name: String,
}

macro_rules! sends {
    ($type:ident, $name:literal, $redo:expr) => {
        struct $type(World);
        impl Operation for $type {
            type Args = Named;
            type Output = String;
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "Sends one request.";
            const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
            const REDO: Redo = $redo;
            async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<String>> {
                assert_ne!(args.name, "panic", "the operation went wrong");
                self.0.send(cx, &args.name).await?;
                Ok(Outcome::done(format!("{} is done", args.name)))
            }
            async fn probe(&self, _: &Cx, args: &Named) -> Result<Probe<String>> {
                Ok(match self.0.sent().contains(&args.name) {
                    true => Probe::Found(Outcome::done(format!("{} was done", args.name))),
                    false => Probe::Absent,
                })
            }
        }
    };
}

sends!(Put, "box::put", Redo::Resend);
sends!(Find, "box::find", Redo::Probe);
sends!(Post, "box::post", Redo::Ask);

/// Opens a door with a duty to close it in an hour.
struct Open(World);
impl Operation for Open {
    type Args = Named;
    type Output = ();
    const NAME: &'static str = "door::open";
    const SUMMARY: &'static str = "Opens a door.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<()>> {
        let close = Call::new("door::close", json!({ "name": args.name }));
        let lease =
            cx.lease(cx.after(Duration::from_secs(3600)), close).titled(format!("the door {}", args.name));
        let lease = lease.subject(&args.name).door(&args.name);
        Ok(Outcome::pending(&json!("intent"), Duration::ZERO)?.with(Effected::LeaseOpened(lease)))
    }
    async fn resume(&self, cx: &Cx, args: &Named, _: &Value) -> Result<Outcome<()>> {
        self.0.send(cx, &format!("open {}", args.name)).await?;
        Ok(Outcome::done(()))
    }
}

struct Close(World);
impl Operation for Close {
    type Args = Named;
    type Output = ();
    const NAME: &'static str = "door::close";
    const SUMMARY: &'static str = "Closes a door.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<()>> {
        self.0.send(cx, &format!("close {}", args.name)).await?;
        let leases = cx.leases_for(&args.name).await?;
        Ok(leases
            .into_iter()
            .fold(Outcome::done(()), |outcome, lease| outcome.with(Effected::LeaseClosed { id: lease.id })))
    }
}

/// An operation that a newer version has dropped.
struct Old;
impl Operation for Old {
    type Args = Named;
    type Output = ();
    const NAME: &'static str = "old::thing";
    const SUMMARY: &'static str = "Does an old thing.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, _: &Cx, _: &Named) -> Result<Outcome<()>> {
        Ok(Outcome::done(()))
    }
}

struct Bench {
    world: World,
    clock: SteppedClock,
    journal: Arc<dyn Journal>,
    library: Library,
}

impl Bench {
    fn new() -> Self {
        let start: Timestamp = "2026-11-20T22:00:00Z".parse().unwrap();
        Bench {
            world: World::default(),
            clock: SteppedClock::jumping(start),
            journal: Arc::new(MemoryJournal::new()),
            library: Library::new(),
        }
    }

    /// A clock that moves only when the test moves it.
    fn standing(mut self) -> Self {
        self.clock = SteppedClock::new(self.clock.now());
        self
    }

    fn with(mut self, name: &str, script: &str) -> Self {
        let text = format!("/*---\ntitle = \"{name}\"\neffects = [\"azure:write\"]\n---*/\n{script}");
        self.library = self.library.ship(name, &text);
        self
    }

    fn builder(&self) -> relight_engine::EngineBuilder {
        let world = || self.world.clone();
        Engine::builder()
            .operation(Put(world()))
            .operation(Find(world()))
            .operation(Post(world()))
            .operation(Open(world()))
            .operation(Close(world()))
            .journal(self.journal.clone())
            .clock(Arc::new(self.clock.clone()))
            .library(self.library.clone())
    }

    /// A new process, which can tell that the ones before it are gone.
    fn engine(&self) -> Engine {
        self.builder().operation(Old).owner(OwnerId::fresh(), Arc::new(|_| true)).build().unwrap()
    }

    /// A new process, which knows no more of others than their heartbeats.
    fn stranger(&self) -> Engine {
        self.builder().operation(Old).build().unwrap()
    }

    async fn prepare(&self, engine: &Engine, runbook: &str) -> RunId {
        engine.prepare(&RunRequest::new(runbook)).await.unwrap()
    }

    async fn events(&self, run: &RunId) -> Vec<Event> {
        self.journal.records(run, 0).await.unwrap().iter().map(|record| record.event().unwrap()).collect()
    }

    async fn claims(&self, run: &RunId) -> usize {
        self.events(run).await.iter().filter(|event| matches!(event, Event::Claimed { .. })).count()
    }

    async fn park(&self, run: &RunId) -> Option<Park> {
        self.journal.run(run).await.unwrap().unwrap().park
    }

    async fn status(&self, run: &RunId) -> Status {
        self.journal.run(run).await.unwrap().unwrap().status
    }
}

/// Lets other tasks run until something is so.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    // Scripts run on threads of their own, so counting turns would measure the machine.
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while std::time::Instant::now() < patience {
        if is_so().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never: {what}");
}

/// Lets a worker look until it finds nothing more to do at this time.
async fn keep(engine: &Engine) {
    let mut worker = Worker::new(engine, |_, _| {});
    for _ in 0..50 {
        let found = worker.tick().await.unwrap();
        worker.settle().await;
        if found == relight_engine::worker::Found::default() {
            return;
        }
    }
    panic!("there is always something to do");
}

fn ended_well(driven: &Driven) -> bool {
    matches!(driven, Driven::Ended(RunEnd::Succeeded { .. }))
}

// One driver.

#[tokio::test]
async fn two_calls_for_one_run_are_one_drive() {
    let bench = Bench::new().with("a", r#"for n in 0..5 { box::post(`p${n}`) } "done""#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    let (one, two) = tokio::join!(engine.run(&run), engine.run(&run));
    assert!(ended_well(&one.unwrap()) && ended_well(&two.unwrap()));
    assert_eq!(bench.world.sent(), ["p0", "p1", "p2", "p3", "p4"]);
    assert_eq!(bench.claims(&run).await, 1);
}

#[tokio::test]
async fn a_worker_drives_parent_and_child_and_each_step_once() {
    let bench = Bench::new()
        .standing()
        .with("parent", r#"run("child")"#)
        .with("child", r#"wait("100m"); box::post("x"); "child""#);
    let engine = bench.engine();
    let mut parents = Vec::new();
    for _ in 0..8 {
        parents.push(bench.prepare(&engine, "parent").await);
    }
    for _ in 0..12 {
        keep(&engine).await;
        bench.clock.advance(Duration::from_secs(600));
    }
    for parent in &parents {
        assert_eq!(bench.status(parent).await, Status::Succeeded);
    }
    assert_eq!(bench.world.sent().len(), 8, "eight children, one request each");
}

#[tokio::test]
async fn a_worker_does_not_replay_a_run_for_each_of_its_waits() {
    let bench = Bench::new().with("a", r#"for n in 0..20 { wait("30m") } wait("2h"); "done""#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    keep(&engine).await;
    assert_eq!(bench.claims(&run).await, 1, "twenty waits, and one drive");
    assert_eq!(bench.status(&run).await, Status::Parked, "two hours are too long");
    bench.clock.advance(Duration::from_secs(2 * 3600));
    keep(&engine).await;
    assert_eq!(bench.status(&run).await, Status::Succeeded);
}

#[tokio::test]
async fn a_run_that_waits_under_a_worker_hears_a_stop_at_its_next_look() {
    let bench = Bench::new().standing().with("a", r#"wait("30m"); box::put("x")"#);
    let (engine, beside) = (bench.engine(), bench.engine());
    let run = bench.prepare(&engine, "a").await;
    let mut worker = Worker::new(&engine, |_, _| {});
    worker.tick().await.unwrap();
    until("the run waits", || async {
        bench.events(&run).await.iter().any(|event| matches!(event, Event::StepAccepted { .. }))
    })
    .await;
    beside.stop(&run, "ada").await.unwrap();
    worker.tick().await.unwrap();
    worker.settle().await;
    assert_eq!(bench.status(&run).await, Status::Stopped, "the clock has not moved");
    assert!(bench.world.sent().is_empty());
}

#[tokio::test]
async fn a_wait_is_as_long_as_it_says_though_the_clock_is_set_back() {
    let bench = Bench::new().standing().with("a", r#"wait("10m"); "done""#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    let driving = tokio::spawn({
        let run = run.clone();
        async move { engine.run(&run).await.unwrap() }
    });
    until("the run waits", || async {
        bench.events(&run).await.iter().any(|event| matches!(event, Event::StepAccepted { .. }))
    })
    .await;
    bench.clock.set(bench.clock.now() - Duration::from_secs(3600));
    for _ in 0..11 {
        bench.clock.advance(Duration::from_secs(60));
    }
    until("it is over", || async { driving.is_finished() }).await;
    assert!(ended_well(&driving.await.unwrap()));
}

#[tokio::test]
async fn what_is_driven_in_the_foreground_is_left_alone_by_a_worker_beside_it() {
    let bench = Bench::new().standing().with("a", r#"box::put("x")"#);
    let (mine, beside) = (bench.engine(), bench.engine());
    let run = mine.prepare_to_drive(&RunRequest::new("a")).await.unwrap();
    keep(&beside).await;
    assert!(bench.world.sent().is_empty());
    assert!(ended_well(&mine.run(&run).await.unwrap()));
}

#[tokio::test]
async fn a_call_that_is_dropped_parks_the_run_before_its_next_step() {
    let bench = Bench::new().with("a", r#"for n in 0..100 { box::put(`p${n}`) } "done""#);
    bench.world.hold("p3");
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    {
        let mut driving = Box::pin(engine.run(&run));
        until("the request is on its way", || {
            assert!(driving.as_mut().now_or_never().is_none());
            async { bench.world.has_arrived("p3") }
        })
        .await;
    }
    bench.world.release("p3");
    until("the run is put away", || async { bench.status(&run).await == Status::Parked }).await;
    assert_eq!(bench.world.sent(), ["p0", "p1", "p2", "p3"], "what was under way comes to its record");
    assert_eq!(bench.park(&run).await, Some(Park::Interrupted));
    assert!(ended_well(&engine.run(&run).await.unwrap()));
    assert_eq!(bench.world.sent().len(), 100);
}

// A stop in good order.

#[tokio::test]
async fn a_service_that_ends_hands_its_runs_to_the_next() {
    let bench = Bench::new().standing().with("a", r#"wait("20s"); box::post("x"); "done""#);
    let first = bench.engine();
    let run = bench.prepare(&first, "a").await;
    let mut service = Worker::new(&first, |_, _| {});
    tokio::join!(service.run(), async {
        until("it waits", || async {
            bench.events(&run).await.iter().any(|event| matches!(event, Event::StepAccepted { .. }))
        })
        .await;
        first.hand_back();
    });
    assert_eq!(bench.park(&run).await, Some(Park::HandedBack));
    let wake = bench.journal.run(&run).await.unwrap().unwrap().wake;
    assert!(wake.is_some_and(|wake| wake <= bench.clock.now()), "due at once");
    bench.clock.advance(Duration::from_secs(20));
    keep(&bench.engine()).await;
    assert_eq!(bench.status(&run).await, Status::Succeeded);
    assert_eq!(bench.world.sent(), ["x"]);
}

#[tokio::test]
async fn an_intent_whose_request_has_not_left_is_carried_out_before_a_stop_in_good_order() {
    let bench = Bench::new().with("a", r#"box::post("x"); box::post("y")"#);
    bench.world.hold("x");
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    let (driven, ()) = tokio::join!(engine.run(&run), async {
        until("the request is on its way", || async { bench.world.has_arrived("x") }).await;
        engine.hand_back();
        bench.world.release("x");
    });
    assert!(matches!(driven.unwrap(), Driven::Parked(Park::HandedBack, Some(_))));
    keep(&bench.engine()).await;
    assert_eq!(
        (bench.status(&run).await, bench.world.sent()),
        (Status::Succeeded, vec!["x".into(), "y".into()])
    );
}

#[tokio::test]
async fn a_person_who_interrupts_a_closing_leaves_it_to_the_worker() {
    let bench = Bench::new().with("a", r#"door::open("front")"#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    engine.run(&run).await.unwrap();
    let lease = bench.journal.leases().await.unwrap().remove(0);
    bench.world.hold("close front");
    bench.clock.advance(Duration::from_secs(3600));
    let closer = bench.engine();
    let mut service = Worker::new(&closer, |_, _| {});
    tokio::join!(service.run(), async {
        until("the closing is on its way", || async { bench.world.has_arrived("close front") }).await;
        // Ctrl-C, and the answer is lost.
        closer.interrupt();
        bench.world.release("close front");
    });
    keep(&bench.engine()).await;
    assert!(bench.journal.leases().await.unwrap().is_empty(), "{} stays open", lease.title);
}

// Errors while driving.

/// A journal whose disk is full while a switch is on, and how often it said so.
struct FullDisk(Arc<dyn Journal>, AtomicBool, AtomicUsize);

impl Around for FullDisk {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    fn allow(&self) -> Result<()> {
        match self.1.load(Ordering::SeqCst) {
            true => {
                self.2.fetch_add(1, Ordering::SeqCst);
                Err(Error::storage("the disk is full"))
            }
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_full_for_a_while_ends_neither_the_service_nor_its_runs() {
    let mut bench = Bench::new().standing().with("a", r#"for n in 0..3 { box::find(`p${n}`) } "done""#);
    let disk = Arc::new(FullDisk(bench.journal.clone(), AtomicBool::new(false), AtomicUsize::new(0)));
    let below = std::mem::replace(&mut bench.journal, disk.clone());
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    let full = disk.clone();
    bench.world.when_sent("p1", move || full.1.store(true, Ordering::SeqCst));
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let mut service =
        Worker::new(&engine, move |what, error| log.lock().unwrap().push(format!("{what}: {error}")));
    tokio::join!(service.run(), async {
        until("the disk is full", || async { disk.1.load(Ordering::SeqCst) }).await;
        for second in 0..600 {
            if second == 4 {
                disk.1.store(false, Ordering::SeqCst);
            }
            bench.clock.advance(Duration::from_secs(1));
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            if below.run(&run).await.unwrap().unwrap().status.is_over() {
                break;
            }
        }
        engine.hand_back();
    });
    assert_eq!(below.run(&run).await.unwrap().unwrap().status, Status::Succeeded);
    assert_eq!(
        bench.world.sent(),
        ["p0", "p1", "p2"],
        "what was sent before the disk filled was found again"
    );
    assert!(told.lock().unwrap().iter().any(|line| line.contains("the disk is full")));
}

#[tokio::test]
async fn a_dropped_call_that_cannot_be_put_down_is_put_down_when_the_disk_works_again() {
    // Nobody waits for it and no worker stands here: its own process has to come back to it.
    let mut bench = Bench::new().standing().with("a", r#"box::find("p0"); box::find("never")"#);
    let disk = Arc::new(FullDisk(bench.journal.clone(), AtomicBool::new(false), AtomicUsize::new(0)));
    let below = std::mem::replace(&mut bench.journal, disk.clone());
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    bench.world.hold("p0");
    {
        let mut driving = Box::pin(engine.run(&run));
        until("the request is on its way", || {
            assert!(driving.as_mut().now_or_never().is_none());
            async { bench.world.has_arrived("p0") }
        })
        .await;
        disk.1.store(true, Ordering::SeqCst);
    }
    bench.world.release("p0");
    until("the disk is asked in vain", || async { disk.2.load(Ordering::SeqCst) > 0 }).await;
    disk.1.store(false, Ordering::SeqCst);
    until("the run is put away", || {
        bench.clock.advance(Duration::from_secs(1));
        async { below.run(&run).await.unwrap().unwrap().status == Status::Parked }
    })
    .await;
    assert_eq!(below.run(&run).await.unwrap().unwrap().park, Some(Park::Interrupted));
    assert_eq!(bench.world.sent(), ["p0"]);
}

#[tokio::test]
async fn an_operation_that_panics_is_an_error_of_its_own() {
    let bench = Bench::new().with("a", r#"box::post("panic")"#).with("b", r#"box::put("y")"#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    let driven = engine.run(&run).await.unwrap();
    let Driven::Parked(Park::Undecided { failure }, None) = &driven else { panic!("{driven:?}") };
    assert!(format!("{failure:?}").contains("the operation went wrong"), "{failure:?}");
    let other = bench.prepare(&engine, "b").await;
    assert!(ended_well(&engine.run(&other).await.unwrap()), "the engine goes on");
}

/// A journal with a bug: whoever claims this run for the first time panics.
struct Buggy(Arc<dyn Journal>, RunId, AtomicBool);

#[async_trait]
impl Around for Buggy {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        assert!(request.run != self.1 || self.2.swap(true, Ordering::SeqCst), "the journal went wrong");
        self.0.claim(request).await
    }
}

#[tokio::test]
async fn a_panic_while_driving_is_told_and_tried_again_and_keeps_nobody_else() {
    let bench = Bench::new().standing().with("a", r#"box::put("x")"#).with("b", r#"box::put("y")"#);
    let run = bench.prepare(&bench.stranger(), "a").await;
    let other = bench.prepare(&bench.stranger(), "b").await;
    let buggy = Buggy(bench.journal.clone(), run.clone(), AtomicBool::new(false));
    let engine = bench.builder().journal(Arc::new(buggy)).build().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut worker = Worker::new(&engine, {
        let told = told.clone();
        move |what, error| told.lock().unwrap().push(format!("{what}: {error}"))
    });
    worker.tick().await.unwrap();
    worker.settle().await;
    assert_eq!(
        *told.lock().unwrap(),
        [format!("run {run}: driving run {run} failed: the journal went wrong")]
    );
    assert_eq!(bench.status(&other).await, Status::Succeeded);
    // The same service comes back to it.
    bench.clock.advance(Duration::from_secs(2));
    worker.tick().await.unwrap();
    worker.settle().await;
    assert_eq!(bench.status(&run).await, Status::Succeeded);
    assert_eq!(told.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_text_that_no_longer_compiles_parks_its_run() {
    let bench = Bench::new().with("a", r#"ask("go on?"); old::thing("y")"#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    engine.run(&run).await.unwrap();
    engine.answer(&run, "yes", "ada").await.unwrap();
    // A version with narrower limits cannot read the text any more.
    let mut limits = relight_engine::Limits::default();
    limits.expression_depth = 1;
    let newer = bench.builder().limits(limits).owner(OwnerId::fresh(), Arc::new(|_| true)).build().unwrap();
    keep(&newer).await;
    assert!(matches!(bench.park(&run).await, Some(Park::Halted { .. })), "{:?}", bench.park(&run).await);
}

#[tokio::test]
async fn a_run_whose_driving_ended_three_processes_is_parked() {
    let bench = Bench::new().with("a", r#"box::put("killer")"#);
    bench.world.hold("killer");
    let run = bench.prepare(&bench.engine(), "a").await;
    for death in 1..=3 {
        let engine = bench.engine();
        let mut driving = Box::pin(alone(engine, run.clone()));
        until("the run is driven", || {
            assert!(driving.as_mut().now_or_never().is_none());
            async { bench.claims(&run).await == death }
        })
        .await;
        // The process dies: nobody parks, nobody hears of it.
        std::mem::forget(driving);
    }
    let driven = bench.engine().run(&run).await.unwrap();
    let Driven::Parked(Park::Halted { failure }, None) = &driven else { panic!("{driven:?}") };
    assert!(failure.message.contains("3 times in a row"), "{failure:?}");
}

/// Drives a run in a process that nobody else speaks to.
async fn alone(engine: Engine, run: RunId) -> relight_engine::Result<Driven> {
    engine.run(&run).await
}

// A process that sleeps.

#[tokio::test]
async fn a_process_that_was_suspended_before_its_request_does_not_send_it_after_another_did() {
    let bench = Bench::new().standing().with("a", r#"box::find("x")"#);
    bench.world.hold("x");
    let (sleeper, other) = (bench.stranger(), bench.stranger());
    let run = bench.prepare(&sleeper, "a").await;
    let mut sleeping = Box::pin(sleeper.run(&run));
    until("the intent is recorded", || {
        assert!(sleeping.as_mut().now_or_never().is_none());
        async { bench.world.has_arrived("x") }
    })
    .await;
    // Its heartbeat is over. The other one takes the run, and first outwaits what may still be sent.
    bench.clock.advance(Duration::from_secs(181));
    let sent_before = bench.events(&run).await.into_iter().find_map(|event| match event {
        Event::StepStarted { send_before, .. } => send_before,
        _ => None,
    });
    assert!(sent_before.is_some_and(|until| until < bench.clock.now()));
    let taking = tokio::spawn({
        let (other, run) = (other.clone(), run.clone());
        async move { other.run(&run).await }
    });
    until("the run has changed hands", || async { bench.claims(&run).await == 2 }).await;
    // The sleeper wakes up: it is late, asks, and is refused.
    bench.world.release("x");
    let woken = sleeping.await;
    assert!(bench.world.sent().is_empty(), "{woken:?}");
    bench.world.release("x");
    assert!(ended_well(&taking.await.unwrap().unwrap()));
    assert_eq!(bench.world.sent(), ["x"]);
}

#[tokio::test]
async fn who_takes_over_outwaits_what_the_other_may_still_send() {
    let bench = Bench::new().standing().with("a", r#"box::find("x")"#);
    bench.world.hold("x");
    bench.world.hold("x on its way");
    let (sleeper, other) = (bench.stranger(), bench.stranger());
    let run = bench.prepare(&sleeper, "a").await;
    let drive = |engine: Engine| tokio::spawn(alone(engine, run.clone()));
    let sleeping = drive(sleeper);
    until("the intent is recorded", || async { bench.world.has_arrived("x") }).await;
    // Its heartbeat is over when it asks for more time to send, and is given it: nobody else has the run yet.
    bench.clock.advance(Duration::from_secs(181));
    bench.world.release("x");
    until("it may send", || async { bench.world.has_arrived("x on its way") }).await;
    let taking = drive(other);
    until("the run has changed hands", || async { bench.claims(&run).await == 2 }).await;
    let some_time = async |seconds: u64| {
        for _ in 0..seconds {
            bench.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Half a minute in which it may send, and a minute for what is on its way.
    some_time(85).await;
    bench.world.release("x");
    bench.world.release("x on its way");
    let _ = sleeping.await;
    some_time(30).await;
    bench.world.release("x on its way");
    assert!(ended_well(&taking.await.unwrap().unwrap()));
    assert_eq!(bench.world.sent(), ["x"]);
}

// Children.

#[tokio::test]
async fn a_runbook_that_runs_itself_comes_to_an_end() {
    let bench = Bench::new().with("again", r#"let name = "ag" + "ain"; run(name)"#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "again").await;
    let driven = engine.run(&run).await.unwrap();
    assert!(!ended_well(&driven), "{driven:?}");
    let runs = bench.journal.runs(&Default::default()).await.unwrap();
    assert!(runs.len() <= 10, "{} runs", runs.len());
}

#[tokio::test]
async fn a_stop_reaches_the_child_first() {
    let bench = Bench::new()
        .standing()
        .with("parent", r#"defer(|| box::put("parent cleans up")); run("child"); box::put("never")"#)
        .with("child", r#"defer(|| box::put("child cleans up")); wait("1h")"#);
    let engine = bench.engine();
    let parent = bench.prepare(&engine, "parent").await;
    let (driven, ()) = tokio::join!(engine.run(&parent), async {
        until("the child waits", || async {
            bench.journal.runs(&Default::default()).await.unwrap().len() == 2
        })
        .await;
        engine.stop(&parent, "ada").await.unwrap();
        for _ in 0..2000 {
            bench.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
            if bench.status(&parent).await.is_over() {
                break;
            }
        }
    });
    assert_eq!(driven.unwrap(), Driven::Ended(RunEnd::Stopped { by: "ada".into(), unreplayed: None }));
    assert_eq!(bench.world.sent(), ["child cleans up", "parent cleans up"]);
}

/// Says yes to everything.
struct Yes(Mutex<Vec<String>>);

#[async_trait]
impl Answers for Yes {
    async fn answer(&self, _: &RunId, question: &str, _: &[String]) -> Option<(String, String)> {
        self.0.lock().unwrap().push(question.to_owned());
        Some(("yes".into(), "ada".into()))
    }
}

#[tokio::test]
async fn the_question_of_a_child_reaches_whoever_answers_for_the_parent() {
    let bench = Bench::new().with("parent", r#"run("child")"#).with("child", r#"ask("go on?"); "went on""#);
    let engine = bench.engine();
    let yes = Arc::new(Yes(Mutex::default()));
    engine.answer_with(yes.clone());
    let run = bench.prepare(&engine, "parent").await;
    let driven = engine.run(&run).await.unwrap();
    assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value: json!("went on") }));
    assert_eq!(*yes.0.lock().unwrap(), ["go on?"]);
}

#[tokio::test]
async fn a_child_that_is_lost_to_another_process_is_still_waited_for() {
    let bench = Bench::new()
        .with("parent", r#"run("child", #{}) + " and " + box::put("after")"#)
        .with("child", r#"box::put("x"); "child""#);
    let (one, other) = (bench.stranger(), bench.engine());
    let run = bench.prepare(&one, "parent").await;
    bench.world.hold("x");
    let mut driving = Box::pin(one.run(&run));
    until("the request of the child is on its way", || {
        assert!(driving.as_mut().now_or_never().is_none());
        async { bench.world.has_arrived("x") }
    })
    .await;
    // The other takes the first for dead.
    let runs = bench.journal.runs(&RunFilter::default()).await.unwrap();
    let child = runs.into_iter().map(|run| run.id).find(|id| *id != run).unwrap();
    let driven = tokio::join!(driving, other.run(&child), async {
        until("the child is taken over", || async { bench.claims(&child).await == 2 }).await;
        bench.world.release("x");
        bench.world.release("x");
    });
    assert!(ended_well(driven.0.as_ref().unwrap()), "{driven:?}");
    assert!(ended_well(driven.1.as_ref().unwrap()), "{driven:?}");
}

#[tokio::test]
async fn the_end_of_a_child_wakes_its_parent_in_the_same_transaction() {
    let bench = Bench::new().with("parent", r#"run("child")"#).with("child", r#"ask("go on?"); 7"#);
    let engine = bench.engine();
    let parent = bench.prepare(&engine, "parent").await;
    let driven = engine.drive(&parent, Duration::from_secs(60)).await.unwrap();
    let Driven::Parked(Park::Child { run: child }, Some(_)) = driven else { panic!("{driven:?}") };
    let wake = bench.journal.run(&parent).await.unwrap().unwrap().wake;
    assert!(wake.is_some_and(|wake| wake > bench.clock.now()));
    engine.answer(&child, "yes", "ada").await.unwrap();
    engine.run(&child).await.unwrap();
    let wake = bench.journal.run(&parent).await.unwrap().unwrap().wake;
    assert!(wake.is_some_and(|wake| wake <= bench.clock.now()), "due at once");
}

// Places.

#[tokio::test]
async fn a_run_that_waits_takes_no_place() {
    let bench = Bench::new()
        .standing()
        .with("ticks", r#"for n in 0..100 { wait("5s"); }"#)
        .with("line", r#"box::put("line")"#);
    let engine = bench.engine();
    for _ in 0..300 {
        bench.prepare(&engine, "ticks").await;
    }
    let mut service = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    tokio::join!(service.run(), async {
        until("all of them wait", || async {
            let runs = bench.journal.runs(&Default::default()).await.unwrap();
            runs.iter().filter(|run| run.step >= 1).count() == 300
        })
        .await;
        bench.prepare(&engine, "line").await;
        bench.clock.advance(Duration::from_secs(1));
        until("the line ran", || async { !bench.world.sent().is_empty() }).await;
        engine.hand_back();
    });
}

// The program around the engine.

#[test]
fn a_runtime_that_is_torn_down_ends_the_scripts_without_a_panic() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(panic);
    }));
    let bench = Bench::new().standing().with("waits", r#"wait("5m")"#).with("busy", r#"box::post("x")"#);
    bench.world.hold("x");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = bench.engine();
        for runbook in ["waits", "busy"] {
            let run = bench.prepare(&engine, runbook).await;
            let engine = engine.clone();
            tokio::spawn(async move { engine.run(&run).await });
        }
        until("both are under way", || async {
            let runs = bench.journal.runs(&RunFilter::default()).await.unwrap();
            bench.world.has_arrived("x") && runs.iter().all(|run| run.step == 1)
        })
        .await;
    });
    drop(runtime);
    // The operations of the engine go with the last thread that has a part of it.
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while Arc::strong_count(&bench.world.0) > 1 {
        assert!(std::time::Instant::now() < patience, "a script's thread does not end");
        std::thread::yield_now();
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

// Processes over one database.

#[tokio::test]
async fn a_closing_waits_for_no_place() {
    let bench =
        Bench::new().standing().with("opens", r#"door::open("cellar")"#).with("busy", r#"box::post("x")"#);
    let engine = bench.engine();
    let opens = bench.prepare(&engine, "opens").await;
    assert!(ended_well(&engine.run(&opens).await.unwrap()));
    bench.world.hold("x");
    for _ in 0..300 {
        bench.prepare(&engine, "busy").await;
    }
    let mut worker = Worker::new(&engine, |_, _| {});
    worker.tick().await.unwrap();
    let at_work = || bench.world.0.arrived.lock().unwrap().len();
    until("all places are taken", || async { at_work() == 256 }).await;
    bench.clock.advance(Duration::from_secs(3600));
    worker.tick().await.unwrap();
    let closed = || async { bench.world.sent().contains(&"close cellar".to_owned()) };
    until("the door is closed", closed).await;
    assert_eq!(at_work(), 256);
    bench.world.0.held.lock().unwrap()["x"].add_permits(300);
    worker.settle().await;
}

#[tokio::test]
async fn an_embedding_program_takes_over_at_once_from_one_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("runs.db");
    let mut bench = Bench::new().standing().with("a", r#"box::put("x"); wait("1h"); box::put("y")"#);
    bench.journal = Arc::new(SqliteJournal::open(&database).unwrap());
    let dying = bench.stranger();
    let run = bench.prepare(&dying, "a").await;
    let mut driving = Box::pin(alone(dying, run.clone()));
    until("it waits", || {
        assert!(driving.as_mut().now_or_never().is_none());
        async { bench.journal.run(&run).await.unwrap().unwrap().step == 2 }
    })
    .await;
    // The same database, seen by another process: the first one holds its lock, so it keeps its run.
    let seen = Arc::new(SqliteJournal::open(&database).unwrap());
    let other = Bench {
        journal: seen,
        world: bench.world.clone(),
        clock: bench.clock.clone(),
        library: Library::new(),
    };
    bench.clock.advance(Duration::from_secs(600));
    let next = other.stranger();
    assert!(matches!(next.run(&run).await.unwrap(), Driven::Held { .. }), "alive past its heartbeat");
    // Its locks are gone: it died.
    let owner = bench.journal.run(&run).await.unwrap().unwrap().owner.unwrap();
    bench.journal.leave(&owner);
    std::mem::forget(driving);
    keep(&next).await;
    assert!(bench.claims(&run).await >= 2, "taken over at once");
}

/// A journal that cannot be read for signals while a request is on its way, and lets it go after a while.
struct Unread(Arc<dyn Journal>, World, Mutex<u32>);

#[async_trait]
impl Around for Unread {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    async fn signals(&self, run: &RunId) -> Result<Vec<Signal>> {
        if !self.1.has_arrived("x on its way") || self.1.sent().contains(&"x".to_owned()) {
            return self.0.signals(run).await;
        }
        let mut failed = self.2.lock().unwrap();
        *failed += 1;
        if *failed == 2 {
            self.1.release("x on its way");
        }
        Err(Error::storage("the disk does not answer"))
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_for_a_while_cuts_no_request_off() {
    let mut bench = Bench::new().with("a", r#"box::post("x"); "done""#);
    bench.world.hold("x on its way");
    let unread = Arc::new(Unread(bench.journal.clone(), bench.world.clone(), Mutex::default()));
    bench.journal = unread.clone();
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    assert!(ended_well(&engine.run(&run).await.unwrap()));
    assert_eq!(*unread.2.lock().unwrap(), 2);
    assert_eq!(bench.world.sent(), ["x"]);
}
