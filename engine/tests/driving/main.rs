//! Who drives a run, and who comes back to it: two callers, a parent and its child, a service that
//! ends in good order, a disk that fills, an operation that panics, a process that dies or sleeps.
#![allow(clippy::unwrap_used, missing_docs)]

mod children;
mod errors;
mod one_driver;
mod processes;

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

/// Drives a run in a process that nobody else speaks to.
async fn alone(engine: Engine, run: RunId) -> relight_engine::Result<Driven> {
    engine.run(&run).await
}
