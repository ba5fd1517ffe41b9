//! Runs from end to end over a journal in memory and a stepped clock: no sleep, no network.
#![allow(clippy::unwrap_used, missing_docs)]

mod others;
mod scripts;
mod steps;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Call, Effected, Event, Park, RunEnd};
use relight_engine::journal::{Journal, MemoryJournal, OwnerId, Status};
use relight_engine::worker::Worker;
use relight_engine::{
    Cx, Driven, Effect, Engine, Error, ErrorCode, ErrorKind, Library, Notice, Operation, Outcome, Probe,
    Redo, Result, RunRequest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// The world that the operations of this file act on: what was sent, and what goes wrong next.
#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    sent: Vec<String>,
    done: BTreeMap<String, bool>,
    errors: Vec<ErrorKind>,
    polls: u32,
    /// How many more looks for a trace bring no answer.
    blind: u32,
    looks: Vec<Timestamp>,
}

impl World {
    fn sent(&self) -> Vec<String> {
        self.0.lock().unwrap().sent.clone()
    }

    /// The next requests go wrong like this, in order.
    fn fail_with(&self, kinds: &[ErrorKind]) {
        self.0.lock().unwrap().errors = kinds.iter().rev().copied().collect();
    }

    /// Takes a request: fails before it, takes effect, or takes effect and fails after it.
    fn send(&self, name: &str) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        let error = state.errors.pop();
        if error == Some(ErrorKind::Unsent) {
            return Err(Error::new(ErrorKind::Unsent, "no connection"));
        }
        if let Some(kind @ (ErrorKind::Denied | ErrorKind::Rejected | ErrorKind::Invalid)) = error {
            return Err(Error::new(kind, "refused").hint("ask for the role"));
        }
        state.sent.push(name.to_owned());
        state.done.insert(name.to_owned(), true);
        match error {
            Some(kind) => Err(Error::new(kind, "the reply was lost")),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
struct Named {
    name: String,
}

macro_rules! write_operation {
    ($type:ident, $name:literal, $redo:expr) => {
        struct $type(World);
        impl Operation for $type {
            type Args = Named;
            type Output = String;
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "Sends one request.";
            const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
            const REDO: Redo = $redo;
            async fn begin(&self, _: &Cx, args: &Named) -> Result<Outcome<String>> {
                self.0.send(&args.name)?;
                Ok(Outcome::done(format!("{} is done", args.name)))
            }
            async fn probe(&self, cx: &Cx, args: &Named) -> Result<Probe<String>> {
                let mut state = self.0.0.lock().unwrap();
                state.looks.push(cx.now());
                if let Some(left) = state.blind.checked_sub(1) {
                    state.blind = left;
                    return Err(Error::new(ErrorKind::Transient, "no answer"));
                }
                Ok(match state.done.get(&args.name) {
                    Some(_) => Probe::Found(Outcome::done(format!("{} was done", args.name))),
                    None => Probe::Absent,
                })
            }
        }
    };
}

write_operation!(Put, "box::put", Redo::Resend);
write_operation!(Look, "box::look", Redo::Probe);
write_operation!(Post, "box::post", Redo::Ask);

/// A long operation: accepted at once, done after three looks, ten seconds apart.
struct Long(World);
impl Operation for Long {
    type Args = Named;
    type Output = u32;
    const NAME: &'static str = "box::long";
    const SUMMARY: &'static str = "Takes its time.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Ask;
    async fn begin(&self, _: &Cx, args: &Named) -> Result<Outcome<u32>> {
        self.0.send(&args.name)?;
        Ok(Outcome::pending(&json!({ "op": args.name }), Duration::from_secs(10))?
            .within(Duration::from_secs(900)))
    }
    async fn resume(&self, _: &Cx, args: &Named, at: &Value) -> Result<Outcome<u32>> {
        let mut state = self.0.0.lock().unwrap();
        state.polls += 1;
        let polls = state.polls;
        drop(state);
        if args.name == "never" || polls < 3 {
            return Ok(Outcome::pending(at, Duration::from_secs(10))?.saying("still at it", Some(30.0)));
        }
        Ok(Outcome::done(polls))
    }
}

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
    async fn resume(&self, _: &Cx, args: &Named, _: &Value) -> Result<Outcome<()>> {
        self.0.send(&format!("open {}", args.name))?;
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
        self.0.send(&format!("close {}", args.name))?;
        let mut outcome = Outcome::done(());
        for lease in cx.leases_for(&args.name).await? {
            outcome = outcome.with(Effected::LeaseClosed { id: lease.id });
        }
        Ok(outcome)
    }
}

fn start() -> Timestamp {
    "2026-11-20T22:00:00Z".parse().unwrap()
}

struct Bench {
    world: World,
    clock: SteppedClock,
    journal: Arc<MemoryJournal>,
    notices: Arc<Mutex<Vec<Notice>>>,
    library: Library,
    /// Whether processes can tell that another is gone; else only its heartbeat tells.
    alone: bool,
}

impl Bench {
    fn new() -> Self {
        Bench {
            world: World::default(),
            clock: SteppedClock::jumping(start()),
            journal: Arc::new(MemoryJournal::new()),
            notices: Arc::default(),
            library: Library::new(),
            alone: true,
        }
    }

    fn with(mut self, name: &str, script: &str) -> Self {
        let text = format!(
            "/*---\ntitle = \"{name}\"\neffects = [\"azure:write\"]\n[params.x]\nrequired = false\n---*/\n{script}"
        );
        self.library = self.library.ship(name, &text);
        self
    }

    /// A new process over the same journal and world.
    fn engine(&self) -> Engine {
        let notices = self.notices.clone();
        let world = || self.world.clone();
        Engine::builder()
            .operation(Put(world()))
            .operation(Look(world()))
            .operation(Post(world()))
            .operation(Long(world()))
            .operation(Open(world()))
            .operation(Close(world()))
            .journal(self.journal.clone())
            .clock(Arc::new(self.clock.clone()))
            .library(self.library.clone())
            .owner(OwnerId::fresh(), {
                let alone = self.alone;
                Arc::new(move |_: &OwnerId| alone)
            })
            .observer(Arc::new(move |notice: &Notice| notices.lock().unwrap().push(notice.clone())))
            .build()
            .unwrap()
    }

    async fn run(&self, name: &str) -> (relight_engine::RunId, Driven) {
        let engine = self.engine();
        let run = engine.prepare(&RunRequest::new(name)).await.unwrap();
        let driven = engine.run(&run).await.unwrap();
        (run, driven)
    }
}

fn value(driven: &Driven) -> &Value {
    match driven {
        Driven::Ended(RunEnd::Succeeded { value }) => value,
        other => panic!("expected success, got {other:?}"),
    }
}

fn failure(driven: &Driven) -> &relight_engine::Failure {
    match driven {
        Driven::Ended(RunEnd::Failed { failure, .. }) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}
