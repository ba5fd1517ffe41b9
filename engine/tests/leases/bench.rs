//! Doors that operations open and close, and everything that keeps them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Call, Effected, RunEnd};
use relight_engine::journal::{Journal, MemoryJournal, OwnerId, RunFilter, Summary};
use relight_engine::worker::Worker;
use relight_engine::{
    Cx, Driven, Effect, Engine, Error, ErrorKind, HandedBack, Library, Operation, Outcome, Redo, Result,
    RunRequest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The doors of this file: what was sent to them, and what goes wrong next.
#[derive(Clone, Default)]
pub(crate) struct Doors(pub(crate) Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    sent: Vec<String>,
    /// How the next requests go wrong.
    errors: Vec<ErrorKind>,
    /// How all of them do.
    outage: Option<ErrorKind>,
    tries: u32,
    /// Where the request that opens is held back, if it is.
    held: Option<Held>,
    /// What one waits for that has come there.
    pub(crate) waits: Option<Arc<Semaphore>>,
}

/// A place at which a request is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Before its maker asks whether it may send.
    BeforePermit,
    /// On the wire.
    OnItsWay,
}

impl Doors {
    pub(crate) fn send(&self, what: String) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        state.tries += 1;
        let error = state.outage.or_else(|| state.errors.pop());
        if error.is_none_or(|kind| kind == ErrorKind::Transient) {
            state.sent.push(what);
        }
        error.map_or(Ok(()), |kind| Err(Error::new(kind, "the cloud is away")))
    }

    pub(crate) async fn open(&self, cx: &Cx, name: &str) -> Result<()> {
        self.pass(Held::BeforePermit).await;
        cx.may_send().await?;
        self.pass(Held::OnItsWay).await;
        self.send(format!("open {name}"))
    }

    pub(crate) async fn pass(&self, place: Held) {
        let release = {
            let mut state = self.0.lock().unwrap();
            if state.held != Some(place) {
                return;
            }
            state.waits.get_or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
        };
        release.acquire().await.unwrap().forget();
    }

    pub(crate) fn hold(&self, place: Held) {
        self.0.lock().unwrap().held = Some(place);
    }

    pub(crate) fn release(&self) {
        let mut state = self.0.lock().unwrap();
        state.held = None;
        state.waits.iter().for_each(|held| held.add_permits(1));
    }

    pub(crate) fn sent(&self) -> Vec<String> {
        self.0.lock().unwrap().sent.clone()
    }

    pub(crate) fn fail_with(&self, kinds: &[ErrorKind]) {
        self.0.lock().unwrap().errors = kinds.iter().rev().copied().collect();
    }

    pub(crate) fn outage(&self, kind: Option<ErrorKind>) {
        self.0.lock().unwrap().outage = kind;
    }

    pub(crate) fn closed(&self) -> usize {
        self.0.lock().unwrap().sent.iter().filter(|what| what.starts_with("close")).count()
    }

    pub(crate) fn tries(&self) -> u32 {
        std::mem::take(&mut self.0.lock().unwrap().tries)
    }
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Named {
    name: String,
}

/// How long a door may stay open.
pub(crate) const LONGEST: Duration = Duration::from_secs(8 * 3600);

/// Opens a door for an hour, and for eight when somebody extends that.
pub(crate) struct Open(Doors);

impl Operation for Open {
    type Args = Named;
    type Output = ();
    const NAME: &'static str = "door::open";
    const SUMMARY: &'static str = "Opens a door.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<()>> {
        let close = Call::new("door::close", json!({ "name": args.name }));
        let lease = cx.lease(cx.after(HOUR), close).titled(format!("the door {}", args.name));
        let lease = lease.subject(&args.name).door(&args.name).latest(cx.after(LONGEST));
        Ok(Outcome::pending(&json!("intent"), Duration::ZERO)?.with(Effected::LeaseOpened(lease)))
    }
    async fn resume(&self, cx: &Cx, args: &Named, _: &Value) -> Result<Outcome<()>> {
        if cx.leases_for(&args.name).await?.is_empty() {
            return Err(Error::rejected("it was closed before it was open"));
        }
        self.0.open(cx, &args.name).await?;
        Ok(Outcome::done(()))
    }
}

/// Closes a door, in a moment or two. It cannot be told afterwards whether the request arrived.
pub(crate) struct Close(Doors);

impl Operation for Close {
    type Args = Named;
    type Output = String;
    const NAME: &'static str = "door::close";
    const SUMMARY: &'static str = "Closes a door.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Ask;
    async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<String>> {
        let leases = cx.leases_for(&args.name).await?;
        match (cx.closes(), leases.first()) {
            (None, Some(lease)) => Ok(Outcome::Close { lease: lease.id.clone(), then: json!(args.name) }),
            (_, None) => Ok(Outcome::done("it was closed".into())),
            (Some(_), Some(_)) => {
                self.0.send(format!("close {}", args.name))?;
                Outcome::pending(&json!("sent"), Duration::from_secs(2))
            }
        }
    }
    async fn resume(&self, cx: &Cx, args: &Named, at: &Value) -> Result<Outcome<String>> {
        let leases = cx.leases_for(&args.name).await?;
        if let Ok(back) = serde_json::from_value::<HandedBack>(at.clone()) {
            return Ok(match leases.first() {
                Some(lease) => Outcome::Close { lease: lease.id.clone(), then: back.then },
                None => Outcome::done(format!("handed back: {}", back.closed.unwrap_or_default())),
            });
        }
        let done = Outcome::done(format!("closed {}", args.name));
        Ok(leases.into_iter().fold(done, |done, lease| done.with(Effected::LeaseClosed { id: lease.id })))
    }
}

pub(crate) struct Bench {
    pub(crate) doors: Doors,
    pub(crate) clock: SteppedClock,
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) troubles: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    pub(crate) fn before() -> Self {
        Bench {
            doors: Doors::default(),
            clock: SteppedClock::jumping("2026-11-20T22:00:00Z".parse().unwrap()),
            journal: Arc::new(MemoryJournal::new()),
            troubles: Arc::default(),
        }
    }

    /// A door that was opened an hour ago but for a second.
    pub(crate) async fn new() -> Self {
        let bench = Bench::before();
        let driven = bench.carry(&bench.engine(), r#"door::open("front")"#).await;
        assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
        bench.clock.advance(HOUR - Duration::from_secs(1));
        bench.doors.tries();
        bench
    }

    /// A new process over the same journal, which can tell that those before it are gone.
    pub(crate) fn engine(&self) -> Engine {
        self.beside(true)
    }

    pub(crate) fn beside(&self, alone: bool) -> Engine {
        self.over(self.journal.clone(), alone)
    }

    pub(crate) fn over(&self, journal: Arc<dyn Journal>, alone: bool) -> Engine {
        let close = "/*---\ntitle = \"Close\"\neffects = [\"azure:write\"]\n---*/\ndoor::close(\"front\")";
        Engine::builder()
            .operation(Open(self.doors.clone()))
            .operation(Close(self.doors.clone()))
            .library(Library::new().ship("close", close))
            .journal(journal)
            .clock(Arc::new(self.clock.clone()))
            .owner(OwnerId::fresh(), Arc::new(move |_| alone))
            .build()
            .unwrap()
    }

    pub(crate) fn request(script: &str) -> RunRequest {
        RunRequest::new("script")
            .text(format!("/*---\ntitle = \"s\"\neffects = [\"azure:write\"]\n---*/\n{script}"))
    }

    pub(crate) async fn carry(&self, engine: &Engine, script: &str) -> Driven {
        let run = engine.prepare(&Self::request(script)).await.unwrap();
        engine.run(&run).await.unwrap()
    }

    pub(crate) fn worker(&self, engine: &Engine) -> Worker {
        let told = self.troubles.clone();
        Worker::new(engine, move |what, error| told.lock().unwrap().push(format!("{what}: {error}")))
    }

    /// Keeps everything going for a while, a step at a time.
    pub(crate) async fn keep(&self, worker: &mut Worker, length: Duration, step: Duration) {
        let end = self.clock.now() + length;
        while self.clock.now() < end && !self.is_closed().await {
            worker.tick().await.unwrap();
            worker.settle().await;
            self.clock.advance(step);
        }
    }

    /// Lets time pass, a second at a time, until something is over.
    pub(crate) async fn ticking<F: Future>(&self, something: F) -> F::Output {
        tokio::select! {
            output = something => output,
            () = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    self.clock.advance(Duration::from_secs(1));
                }
            } => unreachable!("time does not end"),
        }
    }

    pub(crate) async fn is_closed(&self) -> bool {
        self.journal.leases().await.unwrap().is_empty()
    }

    pub(crate) async fn closings(&self) -> Vec<Summary> {
        let mut runs = self.journal.runs(&RunFilter::default()).await.unwrap();
        runs.retain(|run| run.runbook.starts_with("close/"));
        runs
    }
}
