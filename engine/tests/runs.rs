//! Runs from end to end over a journal in memory and a stepped clock: no sleep, no network.
#![allow(clippy::unwrap_used, missing_docs)]

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

#[tokio::test]
async fn a_run_goes_from_top_to_end() {
    let bench = Bench::new().with("a", r#"let x = box::put("one"); note(x); [x, box::long("two")]"#);
    let (_, driven) = bench.run("a").await;
    assert_eq!(value(&driven), &json!(["one is done", 3]));
    assert_eq!(bench.world.sent(), ["one", "two"]);
    assert!(bench.clock.now() >= start() + Duration::from_secs(30), "the three looks took their time");
}

#[tokio::test]
async fn a_run_cut_after_every_record_ends_the_same_and_sends_nothing_twice() {
    let script = r#"let a = box::look("a"); let t = now(); let b = box::long("b"); wait("1h"); box::look("c"); [a, b]"#;
    let bench = Bench::new().with("cut", script);
    let (run, driven) = bench.run("cut").await;
    let whole = value(&driven).clone();
    let records = bench.journal.records(&run, 0).await.unwrap();
    assert!(records.len() >= 14, "{}", records.len());
    let mut points = 0;
    for cut in 1..records.len() as u64 {
        // The world as it was when the record was written: every request of later steps is undone.
        let kept: Vec<Event> = records[..cut as usize].iter().map(|r| r.event().unwrap()).collect();
        // A request whose acceptance or result is on record has reached the world; an intent has not.
        let started = |name: &str| {
            kept.iter().find_map(|e| match e {
                Event::StepStarted { step, args, .. } if args["name"] == name => Some(*step),
                _ => None,
            })
        };
        let reached = |name: &str| {
            started(name).is_some_and(|number| {
                kept.iter().any(|e| match e {
                    Event::StepAccepted { step, .. } | Event::StepFinished { step, .. } => *step == number,
                    _ => false,
                })
            })
        };
        let bench = Bench {
            world: World::default(),
            clock: SteppedClock::jumping(start()),
            journal: Arc::new(bench.journal.truncated(&run, cut)),
            notices: Arc::default(),
            library: bench.library.clone(),
            alone: true,
        };
        for name in ["a", "b", "c"] {
            if reached(name) {
                bench.world.0.lock().unwrap().done.insert(name.into(), true);
            }
        }
        let driven = bench.engine().run(&run).await.unwrap();
        match &driven {
            Driven::Ended(RunEnd::Succeeded { value }) => {
                assert_eq!(
                    value.as_array().unwrap().len(),
                    whole.as_array().unwrap().len(),
                    "cut after {cut}"
                );
            }
            // The POST of `b` between intent and acceptance: nobody can tell.
            Driven::Parked(Park::Undecided { .. }, None) => {
                let last = kept.last().unwrap();
                assert!(
                    matches!(last, Event::StepStarted { args, .. } if args["name"] == "b"),
                    "cut after {cut}: {last:?}"
                );
            }
            other => panic!("cut after {cut}: {other:?}"),
        }
        let mut sent = bench.world.sent();
        sent.dedup();
        assert_eq!(sent, bench.world.sent(), "cut after {cut}: twice");
        points += 1;
    }
    println!("cut at {points} points");
}

#[tokio::test]
async fn a_lost_reply_is_decided_by_redo() {
    let bench = Bench::new()
        .with("put", r#"box::put("x")"#)
        .with("look", r#"box::look("y")"#)
        .with("post", r#"box::post("z")"#);
    bench.world.fail_with(&[ErrorKind::Transient]);
    let (_, driven) = bench.run("put").await;
    assert_eq!(value(&driven), "x is done");
    assert_eq!(bench.world.sent(), ["x", "x"], "a PUT is sent again");
    bench.world.fail_with(&[ErrorKind::Transient]);
    let (_, driven) = bench.run("look").await;
    assert_eq!(value(&driven), "y was done", "its trace was found");
    bench.world.fail_with(&[ErrorKind::Transient]);
    let (run, driven) = bench.run("post").await;
    assert!(matches!(driven, Driven::Parked(Park::Undecided { .. }, None)), "{driven:?}");
    assert_eq!(bench.world.sent().iter().filter(|s| *s == "z").count(), 1);
    // Resuming without an answer asks again; an answer decides.
    let engine = bench.engine();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Parked(Park::Undecided { .. }, None)));
    assert!(engine.answer(&run, "perhaps", "ada").await.is_err());
    engine.answer(&run, "done", "ada").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Succeeded { .. })));
    assert_eq!(bench.world.sent().iter().filter(|s| *s == "z").count(), 1);
}

#[tokio::test]
async fn a_look_that_brings_no_answer_is_tried_again_after_a_pause() {
    let bench = Bench::new().with("look", r#"box::look("y")"#);
    bench.world.fail_with(&[ErrorKind::Transient]);
    bench.world.0.lock().unwrap().blind = 4;
    let (_, driven) = bench.run("look").await;
    assert_eq!(value(&driven), "y was done");
    let looks = bench.world.0.lock().unwrap().looks.clone();
    assert_eq!(looks.len(), 5);
    assert!(looks.windows(2).all(|pair| pair[0] < pair[1]), "{looks:?}");
}

#[tokio::test]
async fn an_answer_again_sends_it_again_once() {
    let bench = Bench::new().with("post", r#"box::post("z")"#);
    bench.world.fail_with(&[ErrorKind::Transient]);
    let (run, _) = bench.run("post").await;
    let engine = bench.engine();
    engine.answer(&run, "again", "ada").await.unwrap();
    assert_eq!(value(&engine.run(&run).await.unwrap()), "z is done");
    assert_eq!(bench.world.sent(), ["z", "z"]);
}

#[tokio::test]
async fn unsent_requests_are_retried_for_any_operation() {
    let bench = Bench::new().with("post", r#"box::post("z")"#);
    bench.world.fail_with(&[ErrorKind::Unsent, ErrorKind::Unsent]);
    let (_, driven) = bench.run("post").await;
    assert_eq!(value(&driven), "z is done");
    assert_eq!(bench.world.sent(), ["z"]);
}

#[tokio::test]
async fn when_retries_run_out_the_run_parks_and_resumes() {
    let bench = Bench::new().with("post", r#"box::post("z", #{ retry: #{ attempts: 2 } })"#);
    bench.world.fail_with(&[ErrorKind::Unsent; 3]);
    let (run, driven) = bench.run("post").await;
    assert!(matches!(driven, Driven::Parked(Park::Exhausted { .. }, None)), "{driven:?}");
    let driven = bench.engine().run(&run).await.unwrap();
    assert_eq!(value(&driven), "z is done");
    assert_eq!(bench.world.sent(), ["z"]);
}

#[tokio::test]
async fn a_script_may_want_the_error_instead() {
    let script = r#"let r = ""; try { box::post("z", #{ retry: #{ attempts: 1, then: "throw" } }) } catch (e) { r = `${e.kind}: ${e.message}` } r"#;
    let bench = Bench::new().with("post", script);
    bench.world.fail_with(&[ErrorKind::Unsent]);
    let (_, driven) = bench.run("post").await;
    assert_eq!(value(&driven), "unsent: no connection");
}

#[tokio::test]
async fn a_missing_role_parks_and_a_refusal_is_caught() {
    let bench = Bench::new().with("a", r#"let r = ""; try { box::post("z") } catch (e) { r = e.message } r"#);
    bench.world.fail_with(&[ErrorKind::Denied]);
    let (run, driven) = bench.run("a").await;
    assert!(matches!(driven, Driven::Parked(Park::Denied { .. }, None)), "{driven:?}");
    bench.world.fail_with(&[ErrorKind::Rejected]);
    let driven = bench.engine().run(&run).await.unwrap();
    assert_eq!(value(&driven), "refused");
    assert!(bench.world.sent().is_empty());
}

#[tokio::test]
async fn no_script_swallows_a_stop_a_park_or_a_wrong_call() {
    let bench =
        Bench::new().with("a", r#"let r = ""; try { box::long("never") } catch (e) { r = "swallowed" } r"#);
    let (run, driven) = bench.run("a").await;
    assert!(
        matches!(&driven, Driven::Parked(Park::Exhausted { failure }, None) if failure.message.contains("still under way")),
        "{driven:?}"
    );
    let engine = bench.engine();
    engine.stop(&run, "ada").await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert_eq!(driven, Driven::Ended(RunEnd::Stopped { by: "ada".into(), unreplayed: None }));
    let bench = Bench::new().with("b", r#"let r = ""; try { box::put(1) } catch (e) { r = "swallowed" } r"#);
    let (_, driven) = bench.run("b").await;
    assert_eq!(failure(&driven).kind, ErrorKind::Invalid);
    assert!(bench.world.sent().is_empty());
}

#[tokio::test]
async fn an_overdue_step_gets_more_time_once_for_every_resume() {
    let bench = Bench::new().with("a", r#"box::long("never")"#);
    let (run, first) = bench.run("a").await;
    let Driven::Parked(Park::Exhausted { failure }, None) = &first else { panic!("{first:?}") };
    assert_eq!(failure.code, Some(ErrorCode::TIMED_OUT), "{failure:?}");
    let engine = bench.engine();
    for round in 1..=3 {
        let before = bench.clock.now();
        let driven = engine.run(&run).await.unwrap();
        assert!(matches!(driven, Driven::Parked(Park::Exhausted { .. }, None)), "{driven:?} after {first:?}");
        let waited = bench.clock.now().duration_since(before).as_secs();
        assert!((900..930).contains(&waited), "round {round} took {waited} s");
    }
    assert_eq!(bench.world.sent(), ["never"]);
}

#[tokio::test]
async fn what_is_not_among_the_effects_is_refused_before_anything_is_sent() {
    let mut bench = Bench::new();
    // Called through a function pointer, so that reading the script does not find it.
    let text = "/*---\ntitle = \"sneaky\"\n---*/\nlet f = || box::put(\"x\"); f.call()";
    bench.library = Library::new().ship("sneaky", text);
    let engine = bench.engine();
    let refused = engine.prepare(&RunRequest::new("sneaky")).await;
    let error = match refused {
        Err(error) => error,
        Ok(run) => failure(&engine.run(&run).await.unwrap()).to_error(),
    };
    assert!(error.message().contains("requires the effect"), "{error}");
    assert!(bench.world.sent().is_empty());
}

#[tokio::test]
async fn what_was_deferred_runs_newest_first_however_the_run_ends() {
    let script = r#"defer(|| box::put("first in")); defer(|| box::put("last in")); box::put("work"); if params.x == "fail" { fail("no") } box::long("never")"#;
    let bench = Bench::new().with("a", script);
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a").param("x", "fail")).await.unwrap();
    assert_eq!(failure(&engine.run(&run).await.unwrap()).message, "no");
    assert_eq!(bench.world.sent(), ["work", "last in", "first in"]);
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    engine.run(&run).await.unwrap();
    engine.stop(&run, "ada").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Stopped { .. })));
    assert_eq!(bench.world.sent()[3..], ["work", "never", "last in", "first in"]);
}

#[tokio::test]
async fn a_question_waits_for_its_answer_in_any_process() {
    let bench = Bench::new()
        .with("a", r#"let a = ask("which?", #{ choices: ["x", "y"] }); let b = confirm("sure?"); [a, b]"#);
    let (run, driven) = bench.run("a").await;
    assert!(matches!(&driven, Driven::Parked(Park::Question { text, .. }, None) if text == "which?"));
    let engine = bench.engine();
    assert!(engine.answer(&run, "z", "ada").await.is_err());
    engine.answer(&run, "y", "ada").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Parked(Park::Question { .. }, None)));
    engine.answer(&run, "yes", "ada").await.unwrap();
    assert_eq!(value(&engine.run(&run).await.unwrap()), &json!(["y", true]));
}

#[tokio::test]
async fn now_and_random_are_the_same_on_replay() {
    let bench = Bench::new().with("a", r#"let t = now(); let r = random(); wait("1d"); [t, r, t == now()]"#);
    let (_, driven) = bench.run("a").await;
    let items = value(&driven).as_array().unwrap();
    assert_eq!(items[0], json!({ "$time": "2026-11-20T22:00:00Z" }));
    assert_eq!(items[2], false);
}

#[tokio::test]
async fn a_script_that_takes_another_way_on_replay_is_halted() {
    let bench = Bench::new().with("a", r#"box::put("x"); ask("go on?")"#);
    let (run, _) = bench.run("a").await;
    // The pinned text is what counts: another text in the library changes nothing.
    let other =
        Bench { library: Library::new(), ..Bench::new() }.with("a", r#"box::put("y"); ask("go on?")"#);
    let other = Bench { journal: bench.journal.clone(), world: bench.world.clone(), ..other };
    let engine = other.engine();
    engine.answer(&run, "sure", "ada").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Succeeded { .. })));
    assert_eq!(bench.world.sent(), ["x"]);
}

#[tokio::test]
async fn a_child_run_is_one_step_and_starts_once() {
    let bench = Bench::new()
        .with("parent", r#"let a = run("child", #{ params: #{ x: "1" } }); wait("1h"); [a, run("child")]"#)
        .with("child", r#"box::put(`child ${params.x}`)"#);
    let (run, driven) = bench.run("parent").await;
    assert_eq!(value(&driven), &json!(["child 1 is done", "child  is done"]));
    assert_eq!(bench.world.sent(), ["child 1", "child "]);
    let records = bench.journal.records(&run, 0).await.unwrap().len() as u64;
    for cut in 1..records {
        let again = Bench { journal: Arc::new(bench.journal.truncated(&run, cut)), ..Bench::new() };
        let again = Bench { library: bench.library.clone(), ..again };
        again.engine().run(&run).await.unwrap();
        assert!(again.world.sent().is_empty(), "cut after {cut}: the children had ended");
    }
}

#[tokio::test]
async fn a_child_that_waits_for_a_person_wakes_its_parent_when_it_is_over() {
    let bench = Bench::new().with("parent", r#"run("child")"#).with("child", r#"ask("go on?")"#);
    let engine = bench.engine();
    let parent = engine.prepare(&RunRequest::new("parent")).await.unwrap();
    let driven = engine.drive(&parent, Duration::from_secs(60)).await.unwrap();
    let Driven::Parked(Park::Child { run: child }, Some(_)) = driven else { panic!("{driven:?}") };
    engine.answer(&child, "yes", "ada").await.unwrap();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    assert_eq!(worker.tick().await.unwrap().runs, [child]);
    worker.settle().await;
    assert_eq!(
        worker.tick().await.unwrap().runs,
        std::slice::from_ref(&parent),
        "at once, not at the next look"
    );
    worker.settle().await;
    assert_eq!(value(&engine.run(&parent).await.unwrap()), "yes");
}

#[tokio::test]
async fn a_lease_that_could_not_be_closed_is_tried_again_after_a_pause() {
    let bench = Bench::new().with("a", r#"door::open("front")"#);
    bench.run("a").await;
    let engine = bench.engine();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    bench.clock.advance(Duration::from_secs(3600));
    bench.world.fail_with(&[ErrorKind::Rejected, ErrorKind::Denied]);
    for (pause, sent) in [(0, 1), (29, 1), (1, 1), (59, 1), (1, 2)] {
        bench.clock.advance(Duration::from_secs(pause));
        worker.tick().await.unwrap();
        worker.settle().await;
        assert_eq!(bench.world.sent().len(), sent, "after another {pause} s");
    }
    assert_eq!(bench.world.sent(), ["open front", "close front"]);
    assert!(bench.journal.leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lease_is_there_with_the_intent_and_is_closed_at_its_deadline() {
    let bench = Bench::new().with("a", r#"door::open("front"); ask("keep it open?")"#);
    let (run, _) = bench.run("a").await;
    let records = bench.journal.records(&run, 0).await.unwrap();
    let accepted =
        records.iter().position(|r| matches!(r.event().unwrap(), Event::StepAccepted { .. })).unwrap() as u64
            + 1;
    let cut = bench.journal.truncated(&run, accepted);
    assert_eq!(cut.leases().await.unwrap().len(), 1, "the duty is as durable as the intent");
    assert!(bench.journal.truncated(&run, accepted - 1).leases().await.unwrap().is_empty());

    let engine = bench.engine();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    assert!(worker.tick().await.unwrap().closing.is_empty(), "not yet");
    bench.clock.advance(Duration::from_secs(3600));
    assert_eq!(worker.tick().await.unwrap().closing.len(), 1);
    worker.settle().await;
    assert_eq!(bench.world.sent(), ["open front", "close front"]);
    assert!(bench.journal.leases().await.unwrap().is_empty());
    worker.tick().await.unwrap();
    worker.settle().await;
    assert_eq!(bench.world.sent().len(), 2, "closed once");
}

#[tokio::test]
async fn what_failed_half_way_is_closed_at_once() {
    let bench = Bench::new().with("a", r#"door::open("front")"#);
    bench.world.fail_with(&[ErrorKind::Rejected]);
    let (_, driven) = bench.run("a").await;
    assert_eq!(failure(&driven).message, "refused");
    let engine = bench.engine();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    assert_eq!(worker.tick().await.unwrap().closing.len(), 1);
    worker.settle().await;
    assert_eq!(bench.world.sent(), ["close front"]);
    assert!(bench.journal.leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_worker_wakes_what_is_due_and_nothing_else() {
    let bench = Bench::new().with("a", r#"wait("3h"); box::put("late")"#);
    let clock = SteppedClock::new(start());
    let bench = Bench { clock, ..bench };
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    assert_eq!(worker.tick().await.unwrap().runs, std::slice::from_ref(&run));
    worker.settle().await;
    assert_eq!(engine.find(run.as_str()).await.unwrap().status, Status::Parked);
    bench.clock.advance(Duration::from_secs(3 * 3600 - 1));
    assert!(worker.tick().await.unwrap().runs.is_empty());
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(worker.tick().await.unwrap().runs, std::slice::from_ref(&run));
    worker.settle().await;
    assert_eq!(bench.world.sent(), ["late"]);
}

#[tokio::test]
async fn two_processes_never_drive_one_run() {
    let bench = Bench::new().with("a", r#"wait("1h"); box::put("x")"#);
    let bench = Bench { clock: SteppedClock::new(start()), alone: false, ..bench };
    let (one, two) = (bench.engine(), bench.engine());
    let run = one.prepare(&RunRequest::new("a")).await.unwrap();
    let first = {
        let (one, run) = (one.clone(), run.clone());
        tokio::spawn(async move { one.run(&run).await })
    };
    // Until the first waits for its hour, which a stepped clock does not let pass.
    let waits = |record: &relight_engine::event::Record| {
        matches!(record.event().unwrap(), Event::StepAccepted { .. })
    };
    while !bench.journal.records(&run, 0).await.unwrap().iter().any(waits) {
        tokio::task::yield_now().await;
    }
    assert!(matches!(two.run(&run).await.unwrap(), Driven::Held { .. }));
    // The first process is suspended past its heartbeat; the second takes the run over.
    bench.clock.advance(Duration::from_secs(3601));
    let theirs = two.run(&run).await;
    let ours = first.await.unwrap();
    assert_eq!(bench.world.sent(), ["x"], "theirs {theirs:?}, ours {ours:?}");
}

#[tokio::test]
async fn progress_is_shown_live_and_silent_in_replay() {
    let bench =
        Bench::new().with("a", r#"progress("looking", 10); note("found"); ask("go on?"); progress("done")"#);
    let (run, _) = bench.run("a").await;
    let engine = bench.engine();
    engine.answer(&run, "sure", "ada").await.unwrap();
    engine.run(&run).await.unwrap();
    let shown: Vec<String> = bench
        .notices
        .lock()
        .unwrap()
        .iter()
        .filter_map(|n| match &n.event {
            Event::Progress { progress, .. } => Some(progress.message.clone()),
            Event::StepStarted { operation, .. } if operation == "note" => Some("note".into()),
            _ => None,
        })
        .collect();
    assert_eq!(shown, ["looking", "note", "done"]);
}

#[tokio::test]
async fn wrong_runbooks_are_found_by_reading_them() {
    let cases = [
        (r#"box::putt("x")"#, "box::put?"),
        (r#"box::put()"#, "takes 1 arguments"),
        (r#"box::put("x", #{ size: 1 })"#, "no option `size`"),
        (r#"print("x")"#, "note("),
        (r#"eval("1")"#, "cannot be read"),
        ("let x = ;", "cannot be read"),
        ("unknown + 1", "cannot be read"),
        (r#"import "nowhere" as n; 1"#, "no runbook `nowhere`"),
        (r#"let n = "a"; import n as m; 1"#, "plain text"),
    ];
    for (script, says) in cases {
        let bench = Bench::new().with("a", script);
        let findings = bench.engine().check("a").unwrap();
        let shown = format!("{findings:?}");
        assert!(shown.contains(says), "{script}: {shown}");
        assert!(bench.engine().prepare(&RunRequest::new("a")).await.is_err(), "{script}");
    }
}

#[tokio::test]
async fn a_parameter_that_the_script_could_not_name_is_refused() {
    let text = "/*---\ntitle = \"a\"\n[params.until]\n---*/\nparams.until";
    let bench = Bench { library: Library::new().ship("a", text), ..Bench::new() };
    let shown = format!("{:?}", bench.engine().check("a").unwrap());
    assert!(shown.contains("cannot be called `until`"), "{shown}");
}

#[tokio::test]
async fn an_id_that_could_be_taken_for_something_else_is_refused() {
    let bench = Bench::new().with("a", "1");
    let engine = bench.engine();
    for id in ["", "one.1.0", "a b", "\u{1b}[2J", "ö", &"x".repeat(129)] {
        let refused = engine.prepare(&RunRequest::new("a").id(id)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{id:?}: {refused}");
    }
    assert_eq!(engine.prepare(&RunRequest::new("a").id("order-1_A")).await.unwrap().as_str(), "order-1_A");
}

#[tokio::test]
async fn a_script_cannot_use_up_the_machine() {
    for script in [
        "loop { }",
        "fn f(n) { f(n + 1) } f(0)",
        r#"let s = "x"; loop { s += s; }"#,
        "let a = [1]; loop { a += a; }",
        r#"let s = "x"; s.pad(1000000, "x"); let m = #{}; let n = 0; loop { m[`${n}`] = s + n; n += 1; }"#,
        r#"let s = "x"; s.pad(1000000, "x"); s.replace("x", s);"#,
    ] {
        let bench = Bench::new().with("a", script);
        let (_, driven) = bench.run("a").await;
        assert_eq!(failure(&driven).kind, ErrorKind::Invalid, "{script}");
    }
}
