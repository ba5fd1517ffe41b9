//! What is opened is closed when it was promised: one closing, whoever asks, and never given up.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Call, Cause, Effected, Event, Park, Record, RunEnd};
use relight_engine::journal::{
    Appended, Around, Journal, MemoryJournal, OwnerId, RunFilter, Settlement, Status, Summary, Sync, Tenure,
};
use relight_engine::worker::Worker;
use relight_engine::{
    Cx, Driven, Effect, Engine, Error, ErrorKind, HandedBack, Library, Operation, Outcome, Redo, Result,
    RunId, RunRequest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The doors of this file: what was sent to them, and what goes wrong next.
#[derive(Clone, Default)]
struct Doors(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    sent: Vec<String>,
    /// How the next requests go wrong.
    errors: Vec<ErrorKind>,
    /// How all of them do.
    outage: Option<ErrorKind>,
    tries: u32,
    /// Where the request that opens is held back, if it is.
    held: Option<Held>,
    /// What one waits for that has come there.
    waits: Option<Arc<Semaphore>>,
}

/// A place at which a request is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Before its maker asks whether it may send.
    BeforePermit,
    /// On the wire.
    OnItsWay,
}

impl Doors {
    fn send(&self, what: String) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        state.tries += 1;
        let error = state.outage.or_else(|| state.errors.pop());
        if error.is_none_or(|kind| kind == ErrorKind::Transient) {
            state.sent.push(what);
        }
        error.map_or(Ok(()), |kind| Err(Error::new(kind, "the cloud is away")))
    }

    async fn open(&self, cx: &Cx, name: &str) -> Result<()> {
        self.pass(Held::BeforePermit).await;
        cx.may_send().await?;
        self.pass(Held::OnItsWay).await;
        self.send(format!("open {name}"))
    }

    async fn pass(&self, place: Held) {
        let release = {
            let mut state = self.0.lock().unwrap();
            if state.held != Some(place) {
                return;
            }
            state.waits.get_or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
        };
        release.acquire().await.unwrap().forget();
    }

    fn hold(&self, place: Held) {
        self.0.lock().unwrap().held = Some(place);
    }

    fn release(&self) {
        let mut state = self.0.lock().unwrap();
        state.held = None;
        state.waits.iter().for_each(|held| held.add_permits(1));
    }

    fn sent(&self) -> Vec<String> {
        self.0.lock().unwrap().sent.clone()
    }

    fn fail_with(&self, kinds: &[ErrorKind]) {
        self.0.lock().unwrap().errors = kinds.iter().rev().copied().collect();
    }

    fn outage(&self, kind: Option<ErrorKind>) {
        self.0.lock().unwrap().outage = kind;
    }

    fn closed(&self) -> usize {
        self.0.lock().unwrap().sent.iter().filter(|what| what.starts_with("close")).count()
    }

    fn tries(&self) -> u32 {
        std::mem::take(&mut self.0.lock().unwrap().tries)
    }
}

#[derive(Deserialize, JsonSchema)]
struct Named {
    name: String,
}

/// Opens a door for an hour.
struct Open(Doors);

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
        let lease = lease.subject(&args.name).door(&args.name);
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
struct Close(Doors);

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

struct Bench {
    doors: Doors,
    clock: SteppedClock,
    journal: Arc<MemoryJournal>,
    troubles: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn before() -> Self {
        Bench {
            doors: Doors::default(),
            clock: SteppedClock::jumping("2026-11-20T22:00:00Z".parse().unwrap()),
            journal: Arc::new(MemoryJournal::new()),
            troubles: Arc::default(),
        }
    }

    /// A door that was opened an hour ago but for a second.
    async fn new() -> Self {
        let bench = Bench::before();
        let driven = bench.carry(&bench.engine(), r#"door::open("front")"#).await;
        assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
        bench.clock.advance(HOUR - Duration::from_secs(1));
        bench.doors.tries();
        bench
    }

    /// A new process over the same journal, which can tell that those before it are gone.
    fn engine(&self) -> Engine {
        self.beside(true)
    }

    fn beside(&self, alone: bool) -> Engine {
        self.over(self.journal.clone(), alone)
    }

    fn over(&self, journal: Arc<dyn Journal>, alone: bool) -> Engine {
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

    fn request(script: &str) -> RunRequest {
        RunRequest::new("script")
            .text(format!("/*---\ntitle = \"s\"\neffects = [\"azure:write\"]\n---*/\n{script}"))
    }

    async fn carry(&self, engine: &Engine, script: &str) -> Driven {
        let run = engine.prepare(&Self::request(script)).await.unwrap();
        engine.run(&run).await.unwrap()
    }

    fn worker(&self, engine: &Engine) -> Worker {
        let told = self.troubles.clone();
        Worker::new(engine, move |what, error| told.lock().unwrap().push(format!("{what}: {error}")))
    }

    /// Keeps everything going for a while, a step at a time.
    async fn keep(&self, worker: &mut Worker, length: Duration, step: Duration) {
        let end = self.clock.now() + length;
        while self.clock.now() < end && !self.is_closed().await {
            worker.tick().await.unwrap();
            worker.settle().await;
            self.clock.advance(step);
        }
    }

    /// Lets time pass, a second at a time, until something is over.
    async fn ticking<F: Future>(&self, something: F) -> F::Output {
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

    async fn is_closed(&self) -> bool {
        self.journal.leases().await.unwrap().is_empty()
    }

    async fn closings(&self) -> Vec<Summary> {
        let mut runs = self.journal.runs(&RunFilter::default()).await.unwrap();
        runs.retain(|run| run.runbook.starts_with("close/"));
        runs
    }
}

#[tokio::test]
async fn whoever_asks_at_the_same_time_there_is_one_request() {
    for round in 0..10 {
        let bench = Bench::new().await;
        bench.clock.advance(Duration::from_secs(1));
        let (serve, one, two) = (bench.beside(false), bench.beside(false), bench.beside(false));
        let mut worker = bench.worker(&serve);
        let lease = bench.journal.leases().await.unwrap().remove(0);
        let by_hand = async |engine: &Engine| {
            let run = engine.close_lease(&lease.id).await.unwrap();
            engine.run(&run).await.unwrap()
        };
        let (_, left, right, by_one, by_two) = tokio::join!(
            worker.tick(),
            bench.carry(&one, r#"door::close("front")"#),
            bench.carry(&two, r#"door::close("front")"#),
            by_hand(&one),
            by_hand(&two),
        );
        worker.settle().await;
        bench.keep(&mut worker, HOUR, MINUTE).await;
        assert_eq!(bench.doors.closed(), 1, "round {round}: {left:?} {right:?} {by_one:?} {by_two:?}");
        assert_eq!(bench.closings().await.len(), 1, "round {round}");
        assert!(bench.is_closed().await, "round {round}");
    }
}

/// A person closes a door while the request that opens it is held back, and stops the run that opens it.
/// Returns what was sent in the end.
async fn closed_while_it_opens(place: Held, beside: bool) -> Vec<String> {
    let mut bench = Bench::before();
    bench.clock = SteppedClock::new(bench.clock.now());
    bench.doors.hold(place);
    let (opener, other) = (bench.beside(false), bench.beside(false));
    let other = if beside { other } else { opener.clone() };
    let run = opener.prepare(&Bench::request(r#"door::open("front")"#)).await.unwrap();
    let opening = tokio::spawn({
        let (opener, run) = (opener.clone(), run.clone());
        async move { opener.run(&run).await }
    });
    while bench.doors.0.lock().unwrap().waits.is_none() {
        tokio::task::yield_now().await;
    }
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let closing = other.close_lease(&lease.id).await.unwrap();
    other.stop(&run, "ann").await.unwrap();
    let closing = tokio::spawn(async move { other.run(&closing).await });
    match place {
        Held::OnItsWay => bench.ticking(tokio::time::sleep(Duration::from_millis(40))).await,
        // Nobody hears of the opener until the door is closed.
        Held::BeforePermit => {
            let closed = async {
                while !bench.is_closed().await {
                    tokio::task::yield_now().await;
                }
            };
            bench.ticking(closed).await;
        }
    }
    bench.doors.release();
    bench.ticking(opening).await.unwrap().unwrap();
    bench.ticking(closing).await.unwrap().unwrap();
    assert!(bench.is_closed().await, "{:?}", bench.closings().await);
    bench.doors.sent()
}

#[tokio::test]
async fn a_closing_outwaits_the_request_that_opens() {
    for beside in [true, false] {
        let sent = closed_while_it_opens(Held::OnItsWay, beside).await;
        assert_eq!(sent, ["open front", "close front"], "in another process: {beside}");
    }
}

#[tokio::test]
async fn what_opens_is_not_sent_once_its_lease_is_over() {
    for beside in [true, false] {
        let sent = closed_while_it_opens(Held::BeforePermit, beside).await;
        assert_eq!(sent, ["close front"], "in another process: {beside}");
    }
}

#[tokio::test]
async fn a_schedule_and_a_deadline_in_the_same_second_close_once() {
    for round in 0..10 {
        let bench = Bench::new().await;
        let due = bench.clock.now() + SignedDuration::from_secs(1);
        let schedule = relight_engine::event::Schedule::new("s", "close", due);
        bench.journal.settle(&Settlement::add(schedule), bench.clock.now()).await.unwrap();
        bench.clock.set(due);
        // Two services at once, half of the time.
        let (engine, other) = (bench.beside(false), bench.beside(false));
        let (mut worker, mut second) = (bench.worker(&engine), bench.worker(&other));
        if round % 2 == 0 {
            let (one, two) = tokio::join!(worker.tick(), second.tick());
            assert_eq!(one.unwrap().closing.len() + two.unwrap().closing.len(), 1);
            second.settle().await;
        }
        bench.keep(&mut worker, HOUR, MINUTE).await;
        assert_eq!((bench.doors.closed(), bench.closings().await.len()), (1, 1), "round {round}");
        let runs = bench.journal.runs(&RunFilter::open()).await.unwrap();
        bench.clock.advance(MINUTE);
        worker.tick().await.unwrap();
        worker.settle().await;
        let open = bench.journal.runs(&RunFilter::open()).await.unwrap();
        assert!(open.is_empty(), "round {round}: {runs:?}");
    }
}

#[tokio::test]
async fn a_closing_comes_back_whatever_it_is_parked_for() {
    use ErrorKind::{Denied, Invalid, Rejected, Transient, Unsent};
    let cases: [(&str, Vec<ErrorKind>); 6] = [
        ("rejected", vec![Rejected]),
        ("invalid", vec![Invalid]),
        ("denied", vec![Denied, Denied]),
        ("exhausted", vec![Unsent; 7]),
        ("undecided", vec![Transient]),
        ("all of it", vec![Rejected, Denied, Transient, Unsent, Unsent, Unsent, Denied]),
    ];
    for (why, errors) in cases {
        let bench = Bench::new().await;
        let engine = bench.engine();
        let mut worker = bench.worker(&engine);
        bench.clock.advance(MINUTE);
        bench.doors.fail_with(&errors);
        bench.keep(&mut worker, 2 * HOUR, Duration::from_secs(15)).await;
        assert!(bench.is_closed().await, "{why}: {:?}", bench.closings().await);
        assert_eq!(bench.closings().await.len(), 1, "{why}: one run does it");
        assert_eq!(*bench.troubles.lock().unwrap(), Vec::<String>::new(), "{why}");
    }
}

#[tokio::test]
async fn a_closing_that_a_person_interrupted_or_stopped_is_taken_up_again() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let run = engine.close_lease(&lease.id).await.unwrap();
    engine.interrupt();
    engine.run(&run).await.unwrap();
    assert!(!bench.is_closed().await);

    let engine = bench.engine();
    engine.stop(&run, "ann").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Stopped { .. })));
    let mut worker = bench.worker(&engine);
    bench.clock.advance(MINUTE);
    bench.keep(&mut worker, HOUR, Duration::from_secs(15)).await;
    assert!(bench.is_closed().await);
    assert_eq!((bench.doors.closed(), bench.closings().await.len()), (1, 2));
}

#[tokio::test]
async fn a_week_of_outage_costs_one_run_and_an_attempt_every_quarter_of_an_hour() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let mut worker = bench.worker(&engine);
    bench.doors.outage(Some(ErrorKind::Unsent));
    bench.clock.advance(MINUTE);
    bench.keep(&mut worker, 7 * 24 * HOUR, 5 * MINUTE).await;
    let (runs, tries) = (bench.closings().await.len(), bench.doors.tries());
    println!("a week of outage: {runs} run, {tries} attempts");
    assert_eq!(runs, 1);
    // Four an hour, and the few before the pauses are that long.
    assert!((660..=690).contains(&tries), "{tries} attempts in a week");

    let state = engine.leases().await.unwrap().remove(0);
    assert!(state.is_late);
    let closing = state.closing.unwrap();
    assert!(closing.failed > 650 && closing.again.is_some());
    let (at, why) = closing.trouble.unwrap();
    assert!(bench.clock.now().duration_since(at) <= SignedDuration::from_mins(16));
    assert_eq!(why.message, "the cloud is away");

    bench.doors.outage(None);
    let back = bench.clock.now();
    bench.keep(&mut worker, HOUR, MINUTE).await;
    assert!(bench.is_closed().await);
    let late = bench.clock.now().duration_since(back);
    assert!(late <= SignedDuration::from_mins(17), "closed {late} after the cloud came back");
}

#[tokio::test]
async fn a_scheduled_closing_that_meets_an_outage_is_done_once_it_is_over() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let mut worker = bench.worker(&engine);
    let run = engine.prepare(&RunRequest::new("close")).await.unwrap();
    bench.doors.outage(Some(ErrorKind::Unsent));
    // Hours before its deadline nobody else asks for it.
    bench.keep(&mut worker, 5 * HOUR, MINUTE).await;
    assert!(!bench.is_closed().await);
    bench.doors.outage(None);
    for _ in 0..40 {
        bench.clock.advance(MINUTE);
        worker.tick().await.unwrap();
        worker.settle().await;
    }
    assert!(bench.is_closed().await);
    assert_eq!((bench.doors.closed(), bench.closings().await.len()), (1, 1));
    let asked = bench.journal.run(&run).await.unwrap().unwrap();
    assert_eq!(asked.status, Status::Succeeded, "{asked:?}");
}

#[tokio::test]
async fn whoever_asks_learns_why_it_is_not_closed_and_may_leave() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    bench.doors.outage(Some(ErrorKind::Denied));
    let run = engine.prepare(&Bench::request(r#"door::close("front")"#)).await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    let Driven::Parked(Park::Denied { failure }, Some(again)) = &driven else { panic!("{driven:?}") };
    assert_eq!(failure.message, "the cloud is away");
    assert!(*again <= bench.clock.now() + SignedDuration::from_secs(30));

    engine.stop(&run, "ann").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Stopped { .. })));
    let closing = bench.closings().await.remove(0);
    assert_eq!(closing.status, Status::Parked, "the duty stays: {closing:?}");
    bench.doors.outage(None);
    let mut worker = bench.worker(&engine);
    bench.keep(&mut worker, HOUR, Duration::from_secs(15)).await;
    assert!(bench.is_closed().await, "before its deadline, since somebody asked for it");
}

#[tokio::test]
async fn what_is_forgotten_is_left_alone_and_told() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let lease = bench.journal.leases().await.unwrap().remove(0);
    assert_eq!(engine.forget_lease(&lease.id, "ann", " ").await.unwrap_err().kind(), ErrorKind::Invalid);
    engine.forget_lease(&lease.id, "ann", "the node is gone").await.unwrap();
    assert_eq!(engine.close_lease(&lease.id).await.unwrap_err().kind(), ErrorKind::Invalid);
    bench.clock.advance(HOUR);
    let mut worker = bench.worker(&engine);
    assert!(worker.tick().await.unwrap().closing.is_empty());
    assert_eq!(bench.doors.closed(), 0);
    let told = engine.forgotten_leases().await.unwrap().remove(0);
    assert_eq!((told.by.as_str(), told.because.as_str()), ("ann", "the node is gone"));
}

#[tokio::test]
async fn whoever_closes_what_is_forgotten_stops() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let mut worker = bench.worker(&engine);
    bench.doors.outage(Some(ErrorKind::Unsent));
    let asks = engine.prepare(&RunRequest::new("close")).await.unwrap();
    bench.keep(&mut worker, HOUR, MINUTE).await;
    let lease = bench.journal.leases().await.unwrap().remove(0);
    engine.forget_lease(&lease.id, "ann", "the node is gone").await.unwrap();
    bench.doors.outage(None);
    for _ in 0..40 {
        bench.clock.advance(MINUTE);
        worker.tick().await.unwrap();
        worker.settle().await;
    }
    assert_eq!(bench.doors.closed(), 0);
    let closing = bench.closings().await.remove(0);
    assert_eq!(closing.status, Status::Stopped, "{closing:?}");
    let asks = bench.journal.run(&asks).await.unwrap().unwrap();
    assert_eq!(asks.status, Status::Succeeded, "{asks:?}");
}

/// A journal whose last record of a run is an event that only a newer version knows.
struct Newer(Arc<MemoryJournal>);

#[async_trait]
impl Around for Newer {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        let mut records = self.0.records(run, after).await?;
        if let Some(last) = records.last_mut() {
            last.body = json!({ "event": "teleported" }).to_string();
        }
        Ok(records)
    }
}

#[tokio::test]
async fn what_a_newer_version_closes_is_listed_all_the_same() {
    let bench = Bench::new().await;
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let run = bench.engine().close_lease(&lease.id).await.unwrap();
    bench.doors.outage(Some(ErrorKind::Denied));
    bench.engine().run(&run).await.unwrap();
    bench.clock.advance(HOUR);
    let older = bench.over(Arc::new(Newer(bench.journal.clone())), true);
    let open = older.leases().await.unwrap().remove(0);
    let (_, why) = open.closing.unwrap().trouble.unwrap();
    assert!(open.is_late && why.message.contains("unknown event type in record"), "{why:?}");
}

/// A journal that takes a moment, in which somebody sets the clock back by an hour: just when it is on
/// record that an operation is looked at again in two seconds.
struct SetsBack {
    journal: Arc<MemoryJournal>,
    clock: SteppedClock,
    was_set_back: AtomicBool,
}

#[async_trait]
impl Around for SetsBack {
    fn behind(&self) -> &dyn Journal {
        &*self.journal
    }

    async fn append(&self, by: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        let appended = self.journal.append(by, events, at, sync).await?;
        let waits = events.iter().any(|event| matches!(event, Event::StepAccepted { .. }));
        if waits && !self.was_set_back.swap(true, Ordering::Relaxed) {
            self.clock.set(self.clock.now() - SignedDuration::from_hours(1));
        }
        Ok(appended)
    }
}

#[tokio::test]
async fn a_closing_goes_on_though_the_clock_is_set_back() {
    let bench = Bench::new().await;
    let sets_back = Arc::new(SetsBack {
        journal: bench.journal.clone(),
        clock: bench.clock.clone(),
        was_set_back: AtomicBool::new(false),
    });
    let engine = bench.over(sets_back.clone(), true);
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let run = engine.close_lease(&lease.id).await.unwrap();
    let before = bench.clock.elapsed();
    let driven = engine.run(&run).await.unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    assert!(bench.is_closed().await && sets_back.was_set_back.load(Ordering::Relaxed));
    let took = bench.clock.elapsed() - before;
    assert!(took < MINUTE, "it waited for the hour: {took:?}");
}

#[tokio::test]
async fn looks_that_fail_keep_their_pauses_though_the_clock_is_set_back() {
    let mut bench = Bench::before();
    bench.clock = SteppedClock::new(bench.clock.now());
    bench.doors.outage(Some(ErrorKind::Unsent));
    let engine = bench.engine();
    let run = engine.prepare(&Bench::request(r#"door::open("front")"#)).await.unwrap();
    let opening = tokio::spawn(async move { engine.run(&run).await });
    while bench.doors.tries() == 0 {
        tokio::task::yield_now().await;
    }
    bench.clock.set(bench.clock.now() - SignedDuration::from_hours(1));
    bench.ticking(tokio::time::sleep(Duration::from_millis(60))).await;
    // Pauses grow, and time stands still.
    tokio::time::sleep(Duration::from_millis(40)).await;
    let tries = bench.doors.tries();
    assert!((1..=12).contains(&tries), "{tries} attempts in a minute");
    opening.abort();
}

#[tokio::test]
async fn a_closing_says_for_which_lease_it_is() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let lease = bench.journal.leases().await.unwrap().remove(0);
    assert_eq!(engine.leases().await.unwrap()[0].closing, None, "nobody asked yet");
    let run = engine.close_lease(&lease.id).await.unwrap();
    assert_eq!(engine.close_lease(&lease.id).await.unwrap(), run);
    let history = engine.history(&run).await.unwrap();
    assert_eq!(history.prepared.cause, Cause::Lease { id: lease.id });
    assert_eq!(engine.leases().await.unwrap()[0].closing.as_ref().unwrap().run, run);
}

#[tokio::test]
async fn a_closing_is_a_call_on_record_and_no_text() {
    // What would end a comment, a text or a template of a script, and what looks like a secret.
    let name = r#"the "front" */ ${door} {"$secret":"x"}"#;
    let bench = Bench::before();
    let engine = bench.engine();
    let opened = bench.carry(&engine, &format!("door::open({name:?})")).await;
    assert!(matches!(opened, Driven::Ended(RunEnd::Succeeded { .. })), "{opened:?}");
    let lease = bench.journal.leases().await.unwrap().remove(0);

    let run = engine.close_lease(&lease.id).await.unwrap();
    assert_eq!(engine.journal().sources(&run).await.unwrap(), []);
    let prepared = engine.history(&run).await.unwrap().prepared;
    assert_eq!(prepared.call(), Some(&lease.close));
    assert_eq!(prepared.sources, []);
    let planned: Vec<String> =
        engine.planned(&run).await.unwrap().into_iter().map(|it| it.operation).collect();
    assert_eq!(planned, ["door::close"]);

    let driven = engine.run(&run).await.unwrap();
    assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value: json!(format!("closed {name}")) }));
    let history = engine.history(&run).await.unwrap();
    assert_eq!(history.steps.len(), 1);
    assert_eq!((&*history.steps[0].operation, &*history.steps[0].args), ("door::close", &lease.close.args));
    assert_eq!(bench.doors.sent(), [format!("open {name}"), format!("close {name}")]);
    assert!(bench.is_closed().await);
    let error = engine.rerun(&run).await.unwrap_err();
    assert!(error.message().contains("has no runbook"), "{error}");
}

#[tokio::test]
async fn a_closing_that_is_parked_has_no_text_to_mend() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    bench.doors.outage(Some(ErrorKind::Denied));
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let run = engine.close_lease(&lease.id).await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert!(matches!(driven, Driven::Parked(Park::Denied { .. }, Some(_))), "{driven:?}");
    let text = "/*---\ntitle = \"s\"\neffects = [\"azure:write\"]\n---*/\ndoor::close(\"back\")";
    for text in [None, Some(text.to_owned())] {
        let error = engine.mend(&run, text, "ann").await.unwrap_err();
        assert!(error.message().contains("has no text to mend"), "{error}");
    }
}
