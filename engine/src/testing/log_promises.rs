//! What every log of a run promises the step machine.
#![allow(clippy::unwrap_used, reason = "a promise that is not kept panics")]

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cuts::{Close, Cut, Job, Moments, Put, World};
use crate::builder::EngineBuilder;
use crate::clock::{Interval, SteppedClock};
use crate::drive::Driven;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Call, Effected, Event, Lease, Park, Place, RunEnd, RunId, Signal, StepEnd, fingerprint};
use crate::journal::{LeaseFilter, NewRun, Sync};
use crate::log::{Closing, Entry, Hold, Label, Logged, RunLog, Until, Woken};
use crate::prepare::RunRequest;

/// Whoever keeps runs, as these checks meet it. Every opening is that of one more driver, in the place of the last
/// one, which is dead.
#[async_trait]
pub trait Runs: Send + std::marker::Sync {
    /// Builds the engine of a driver.
    ///
    /// # Errors
    /// Those of [`EngineBuilder::build`].
    fn engine(&self, builder: EngineBuilder) -> Result<Engine>;

    /// Opens the log of a run, and begins the run if there is none of its id.
    ///
    /// # Errors
    /// Whatever keeps it from being opened.
    async fn open(&self, engine: &Engine, run: &NewRun) -> Result<Arc<dyn RunLog>>;

    /// Leaves a signal for a run.
    ///
    /// # Errors
    /// `Invalid` when the run is over.
    async fn signal(&self, run: &RunId, signal: &Signal) -> Result<()>;
}

/// One promise: panics when it is not kept. There are no runs yet.
pub type LogPromise = for<'a> fn(&'a dyn Runs) -> BoxFuture<'a, ()>;

macro_rules! promises {
    ($($name:ident)*) => {
        /// What every log promises, by name.
        pub const LOG_PROMISES: &[(&str, LogPromise)] =
            &[$((stringify!($name), |runs| $name(runs).boxed())),*];
    };
}

promises! {
    what_stands_at_a_position_is_handed_back_and_not_made_again
    what_comes_to_nothing_is_not_recorded
    who_opened_a_log_before_writes_nothing_more
    a_text_is_kept_with_the_entry_that_names_it
    a_signal_is_handed_out_once_and_stays_until_it_is_on_the_log
    a_wait_ends_with_its_time
    a_duty_is_there_with_its_record_and_is_carried_out_once
    another_run_is_begun_once_and_driven_to_its_end
    a_question_is_answered_by_a_signal
    a_stop_ends_a_run_and_what_it_deferred_runs
    nothing_is_sent_twice_wherever_its_driver_dies
    a_run_whose_drivers_die_again_and_again_comes_to_its_end
}

/// Checks every promise, each against runs that `fresh` keeps.
///
/// # Panics
/// When a promise is not kept; names all that are not.
pub async fn prove_logs<R: Runs>(fresh: impl AsyncFn() -> R) {
    let mut broken = Vec::new();
    for (name, promise) in LOG_PROMISES {
        let runs = fresh().await;
        if let Err(panic) = AssertUnwindSafe(promise(&runs)).catch_unwind().await {
            broken.push(format!("{name}: {}", crate::error::panic_message(panic.as_ref())));
        }
    }
    assert!(broken.is_empty(), "{} promises are not kept:\n{}", broken.len(), broken.join("\n"));
}

const T: Timestamp = Timestamp::UNIX_EPOCH;

/// Makes requests of each sort, waits, and has branches.
const LIFE: &str = r#"/*---
title = "A life"
effects = ["azure:write"]
---*/
let one = world::put("one");
note(`${one} is done`);
let job = world::job("job");
wait("2m");
let many = all(["a", "b", "c"], |name| world::put(name));
[one, job, many, world::put("last")]
"#;

fn engine(runs: &dyn Runs, world: &World) -> Engine {
    let builder = Engine::builder()
        .operation(Put(world.clone()))
        .operation(Job(world.clone()))
        .operation(Close(world.clone()))
        .clock(Arc::new(SteppedClock::jumping(T)));
    runs.engine(builder).unwrap()
}

fn new_run(engine: &Engine, id: &str, text: &str) -> NewRun {
    let mut run = engine.draft(&RunRequest::new("life").text(text)).unwrap().run;
    run.id = RunId::from(id);
    run
}

/// Opens a log, and reads what stands on it.
async fn opened(runs: &dyn Runs, engine: &Engine, run: &NewRun) -> (Arc<dyn RunLog>, Vec<Logged>) {
    let log = runs.open(engine, run).await.unwrap();
    let mut read: Vec<Logged> = Vec::new();
    let mut label = Label::Run;
    loop {
        let position = read.last().map_or(0, |last| last.seq);
        let prepared = Event::Prepared(Box::new(run.prepared.clone()));
        let events = if position == 0 { vec![prepared] } else { Vec::new() };
        let made = async { Ok(Entry::new(T, events, Sync::Now)) };
        let next = log.next(position, label, made.boxed()).await.unwrap();
        if next.logged.is_empty() {
            return (log, read);
        }
        read.extend(next.logged);
        label = Label::Step(1);
    }
}

async fn add(log: &dyn RunLog, read: &mut Vec<Logged>, entry: Entry) {
    let position = read.last().map_or(0, |last| last.seq);
    let next = log.next(position, Label::Step(1), async { Ok(entry) }.boxed()).await.unwrap();
    assert!(next.fresh, "nothing stood behind record {position}");
    read.extend(next.logged);
}

fn started() -> Event {
    Event::StepStarted {
        step: 1,
        operation: "world::put".into(),
        args: json!({ "name": "one" }),
        at: Place::default(),
        attempt: 1,
        send_before: None,
    }
}

fn finished(end: StepEnd, effected: Vec<Effected>) -> Event {
    Event::StepFinished { step: 1, end, effected }
}

fn events(read: &[Logged]) -> Vec<Event> {
    let own = |event: &Event| !matches!(event, Event::Prepared(_) | Event::Claimed { .. });
    read.iter().map(|one| one.event.clone()).filter(own).collect()
}

async fn what_stands_at_a_position_is_handed_back_and_not_made_again(runs: &dyn Runs) {
    let engine = engine(runs, &World::default());
    let run = new_run(&engine, "a", LIFE);
    let (log, mut read) = opened(runs, &engine, &run).await;
    add(&*log, &mut read, Entry::new(T, vec![started()], Sync::Now)).await;
    add(&*log, &mut read, Entry::new(T, vec![finished(StepEnd::Ok(json!(1).into()), vec![])], Sync::Now))
        .await;

    let (again, known) = opened(runs, &engine, &run).await;
    assert_eq!(events(&known), events(&read));
    let numbers: Vec<u64> = known.iter().map(|one| one.seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let records = again.past(&run.id).await.unwrap();
    assert_eq!(records.len(), known.len());
    crate::event::verify(crate::event::GENESIS, 1, &records).unwrap();
}

async fn what_comes_to_nothing_is_not_recorded(runs: &dyn Runs) {
    let engine = engine(runs, &World::default());
    let run = new_run(&engine, "a", LIFE);
    let (log, mut read) = opened(runs, &engine, &run).await;
    let position = read.last().unwrap().seq;
    let failed = async { Err(Error::new(ErrorKind::Diverged, "no")) };
    let error = log.next(position, Label::Step(1), failed.boxed()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged);
    let nothing = log.next(position, Label::Step(1), async { Ok(Entry::new(T, vec![], Sync::Now)) }.boxed());
    assert_eq!(nothing.await.unwrap().logged, []);
    add(&*log, &mut read, Entry::new(T, vec![started()], Sync::Now)).await;
    assert_eq!(read.last().unwrap().seq, position + 1);
}

async fn who_opened_a_log_before_writes_nothing_more(runs: &dyn Runs) {
    let (one, other) = (engine(runs, &World::default()), engine(runs, &World::default()));
    let run = new_run(&one, "a", LIFE);
    let (old, read) = opened(runs, &one, &run).await;
    let (log, mut known) = opened(runs, &other, &run).await;
    let position = read.last().unwrap().seq;
    let made = async { Ok(Entry::new(T, vec![started()], Sync::Now)) };
    match old.next(position, Label::Step(1), made.boxed()).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Stopped),
        Ok(next) => panic!("a driver that lost the run has written {next:?}"),
    }
    let late = old.annotate(Entry::new(T, vec![started()], Sync::Now)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Stopped);
    add(&*log, &mut known, Entry::new(T, vec![started()], Sync::Now)).await;
}

async fn a_text_is_kept_with_the_entry_that_names_it(runs: &dyn Runs) {
    let engine = engine(runs, &World::default());
    let run = new_run(&engine, "a", LIFE);
    let (log, mut read) = opened(runs, &engine, &run).await;
    let text = "x".repeat(100_000);
    let large = StepEnd::Large { sha256: fingerprint(&text), bytes: text.len() as u64 };
    let entry = Entry::new(T, vec![started(), finished(large, vec![])], Sync::Now).texts(vec![text.clone()]);
    add(&*log, &mut read, entry).await;
    let (again, _) = opened(runs, &engine, &run).await;
    assert_eq!(again.text(&fingerprint(&text)).await.unwrap(), text);
    assert_eq!(again.text(&fingerprint("none")).await.unwrap_err().kind(), ErrorKind::Storage);
}

async fn a_signal_is_handed_out_once_and_stays_until_it_is_on_the_log(runs: &dyn Runs) {
    let engine = engine(runs, &World::default());
    let run = new_run(&engine, "a", LIFE);
    let (log, _) = opened(runs, &engine, &run).await;
    let answer = |value: &str| Signal::Answer { step: 1, value: json!(value), by: "ann".into() };
    runs.signal(&run.id, &answer("one")).await.unwrap();
    let woken = log.wait(Until::Now, Hold::Step).await.unwrap();
    assert_eq!(woken, Woken::Said(vec![answer("one")]));
    assert_eq!(log.wait(Until::Now, Hold::Step).await.unwrap(), Woken::Time, "it is handed out once");

    // Nobody has recorded it: whoever comes next hears it, and what was said since.
    let (log, mut read) = opened(runs, &engine, &run).await;
    runs.signal(&run.id, &answer("two")).await.unwrap();
    let woken = log.wait(Until::Said, Hold::Step).await.unwrap();
    assert_eq!(woken, Woken::Said(vec![answer("one"), answer("two")]));
    let heard = Event::Signalled { signal: answer("one") };
    add(&*log, &mut read, Entry::new(T, vec![heard], Sync::Now)).await;
    let (log, _) = opened(runs, &engine, &run).await;
    let woken = log.wait(Until::Now, Hold::Step).await.unwrap();
    assert_eq!(woken, Woken::Said(vec![answer("two")]), "one is on the log");
}

async fn a_wait_ends_with_its_time(runs: &dyn Runs) {
    let engine = engine(runs, &World::default());
    let run = new_run(&engine, "a", LIFE);
    let (log, _) = opened(runs, &engine, &run).await;
    let clock = engine.clock();
    let over = Interval::of(&**clock, Duration::from_secs(90));
    assert_eq!(log.wait(Until::Time(over), Hold::Open).await.unwrap(), Woken::Time);
    assert!(over.is_over(&**clock));
    assert_eq!(log.halted(), None);
}

async fn a_duty_is_there_with_its_record_and_is_carried_out_once(runs: &dyn Runs) {
    let world = World::default();
    let engine = engine(runs, &world);
    let run = new_run(&engine, "a", LIFE);
    let (log, mut read) = opened(runs, &engine, &run).await;
    let close = Call::new("world::close", json!({ "name": "a-1" }));
    let lease =
        Lease::new("a-1", &run.id, T, T + Duration::from_secs(60), close).subject("VM").door("host:1");
    let duty = Effected::LeaseOpened(lease.clone());
    log.take_on(&duty).await.unwrap();
    let entry = vec![started(), finished(StepEnd::Ok(Value::Null.into()), vec![duty])];
    add(&*log, &mut read, Entry::new(T, entry, Sync::Now)).await;

    let (log, _) = opened(runs, &engine, &run).await;
    for filter in
        [LeaseFilter::Id("a-1".into()), LeaseFilter::Subject("vm".into()), LeaseFilter::Door("HOST:1".into())]
    {
        assert_eq!(log.leases(&filter).await.unwrap(), std::slice::from_ref(&lease), "{filter:?}");
    }
    assert_eq!(log.leases(&LeaseFilter::Due(T)).await.unwrap(), []);
    log.check_wanted(&lease).await.unwrap();
    let Closing::Begun(closing) = log.close(&lease, true).await.unwrap() else {
        panic!("nobody closes it yet")
    };
    assert_eq!(log.close(&lease, true).await.unwrap(), Closing::UnderWay(closing.clone()));
    assert_eq!(log.check_wanted(&lease).await.unwrap_err().kind(), ErrorKind::Unsent);
    let closed = log.drive_closing(&closing, Hold::Open).await.unwrap();
    assert!(matches!(closed, Driven::Ended(RunEnd::Succeeded { .. })), "{closed:?}");
    assert_eq!(log.leases(&LeaseFilter::Id("a-1".into())).await.unwrap(), []);
    assert_eq!(log.close(&lease, true).await.unwrap(), Closing::Over);
    assert_eq!(world.sent(), BTreeMap::from([("close-a-1".to_owned(), 1)]));
}

async fn another_run_is_begun_once_and_driven_to_its_end(runs: &dyn Runs) {
    let world = World::default();
    let engine = engine(runs, &world);
    let (log, _) = opened(runs, &engine, &new_run(&engine, "a", LIFE)).await;
    let child = new_run(&engine, "b", LIFE);
    assert_eq!(log.standing(&child.id).await.unwrap(), None);
    log.begin(child.clone()).await.unwrap();
    log.begin(child.clone()).await.unwrap();
    assert_eq!(log.standing(&child.id).await.unwrap().unwrap().end, None);
    let (one, other) = tokio::join!(log.drive(&child.id, Hold::Open), log.drive(&child.id, Hold::Open));
    assert_eq!(one.unwrap(), other.unwrap());
    assert!(log.standing(&child.id).await.unwrap().unwrap().end.is_some());
    assert!(!log.tell(&child.id, &Signal::Stop { by: "ann".into() }).await.unwrap(), "it is over");
    assert!(world.sent().values().all(|sent| *sent == 1), "{:?}", world.sent());
}

/// Carries a run until it is over, as often as its log lets go of it.
async fn to_the_end(runs: &dyn Runs, engine: &Engine, run: &NewRun) -> RunEnd {
    loop {
        let log = runs.open(engine, run).await.unwrap();
        match engine.carry(log, run).await.unwrap() {
            Driven::Ended(end) => return end,
            Driven::Parked(..) | Driven::Held { .. } | Driven::Queued => {
                tokio::time::sleep(Duration::from_millis(1)).await
            }
        }
    }
}

/// Says something to a run as soon as it waits for a person.
async fn say(runs: &dyn Runs, engine: &Engine, run: &NewRun, signal: Signal) {
    let other = new_run(engine, "somebody", LIFE);
    let log = runs.open(engine, &other).await.unwrap();
    let is_asked = |park: &Park| !park.is_waiting();
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let records = log.past(&run.id).await.unwrap_or_default();
        let last = records.last().map(|last| last.event().unwrap());
        if matches!(&last, Some(Event::Parked { park, .. }) if is_asked(park)) {
            return runs.signal(&run.id, &signal).await.unwrap();
        }
    }
}

async fn a_question_is_answered_by_a_signal(runs: &dyn Runs) {
    let engine = engine(runs, &World::default());
    let text = "/*---\ntitle = \"Ask\"\neffects = []\n---*/\nask(\"Which?\")";
    let run = new_run(&engine, "a", text);
    let answer = Signal::Answer { step: 1, value: json!("this"), by: "ann".into() };
    let (end, ()) = tokio::join!(to_the_end(runs, &engine, &run), say(runs, &engine, &run, answer));
    assert_eq!(end, RunEnd::Succeeded { value: json!("this") });
}

async fn a_stop_ends_a_run_and_what_it_deferred_runs(runs: &dyn Runs) {
    let world = World::default();
    let engine = engine(runs, &world);
    let text = "/*---\ntitle = \"Stop\"\neffects = [\"azure:write\"]\n---*/\n\
                defer(|| world::put(\"last\")); ask(\"Which?\"); world::put(\"never\")";
    let run = new_run(&engine, "a", text);
    let stop = Signal::Stop { by: "ann".into() };
    let (end, ()) = tokio::join!(to_the_end(runs, &engine, &run), say(runs, &engine, &run, stop));
    assert_eq!(end, RunEnd::Stopped { by: "ann".into(), unreplayed: None });
    let sent: Vec<String> = world.sent().into_keys().collect();
    assert!(matches!(&sent[..], [last] if last.ends_with("-last")), "{sent:?}");
}

/// Drives a run by drivers of whom each dies after some moments. Returns how it ended, and how many there were.
async fn dying(runs: &dyn Runs, world: &World, id: &str, lives: impl Fn(usize) -> usize) -> (RunEnd, usize) {
    for n in 0.. {
        let engine = engine(runs, world);
        let run = new_run(&engine, id, LIFE);
        let log = runs.open(&engine, &run).await.unwrap();
        let log = Cut { log, moments: Moments::up_to(lives(n)) };
        match engine.carry(Arc::new(log), &run).await {
            Ok(Driven::Ended(end)) => return (end, n),
            Ok(driven) => panic!("{driven:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Storage, "{error}"),
        }
    }
    unreachable!("there is always another driver")
}

/// What a life sends that nobody disturbs, and what it comes to.
async fn undisturbed(runs: &dyn Runs) -> (RunEnd, usize) {
    let world = World::default();
    let (end, _) = dying(runs, &world, "undisturbed", |_| usize::MAX).await;
    assert_eq!(end, RunEnd::Succeeded { value: json!(["one", "job", ["a", "b", "c"], "last"]) });
    let sent = world.sent();
    assert!(sent.len() == 6 && sent.values().all(|sent| *sent == 1), "{sent:?}");
    (end, sent.len())
}

async fn nothing_is_sent_twice_wherever_its_driver_dies(runs: &dyn Runs) {
    let (expected, requests) = undisturbed(runs).await;
    for moment in 0.. {
        let world = World::default();
        let lives = |n| if n == 0 { moment } else { usize::MAX };
        let (end, deaths) = dying(runs, &world, &format!("moment-{moment}"), lives).await;
        let sent = world.sent();
        assert_eq!(end, expected, "cut off at moment {moment}");
        assert!(
            sent.len() == requests && sent.values().all(|sent| *sent == 1),
            "at moment {moment}: {sent:?}"
        );
        if deaths == 0 {
            assert!(moment > 20, "a life has {moment} moments");
            return;
        }
    }
}

async fn a_run_whose_drivers_die_again_and_again_comes_to_its_end(runs: &dyn Runs) {
    let (expected, requests) = undisturbed(runs).await;
    for life in [4, 5, 7] {
        let world = World::default();
        let (end, deaths) = dying(runs, &world, &format!("life-{life}"), |_| life).await;
        let sent = world.sent();
        assert!(deaths > 2 && end == expected, "lives of {life} moments: {deaths} deaths, {end:?}");
        assert!(sent.len() == requests && sent.values().all(|sent| *sent == 1), "lives of {life}: {sent:?}");
    }
}
