//! Several things at once inside one run: order, places, failures, persons, stops and crashes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Event, Park, RunEnd};
use relight_engine::journal::{
    Appended, Around, Claim, ClaimRequest, Journal, MemoryJournal, OwnerId, RunFilter, Status, Sync, Tenure,
};
use relight_engine::worker::Worker;
use relight_engine::{
    Answers, Cx, Driven, Effect, Engine, EngineBuilder, Error, ErrorKind, Library, Operation, Outcome, Probe,
    Redo, Result, RunId, RunRequest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// What the operations act on: how often each thing was asked for, and how many at once.
#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    sent: BTreeMap<String, u32>,
    now: u32,
    most: u32,
}

impl World {
    fn sent(&self) -> BTreeMap<String, u32> {
        self.0.lock().unwrap().sent.clone()
    }

    fn has(&self, name: &str) -> bool {
        self.0.lock().unwrap().sent.contains_key(name)
    }
}

#[derive(Deserialize, JsonSchema)]
struct Named {
    name: String,
}

/// Sends one request, and is done a while later. `bad` is refused.
struct Put(World);

impl Operation for Put {
    type Args = Named;
    type Output = String;
    const NAME: &'static str = "box::put";
    const SUMMARY: &'static str = "Sends one request.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Probe;
    async fn begin(&self, _: &Cx, args: &Named) -> Result<Outcome<String>> {
        match args.name.as_str() {
            "bad" => return Err(Error::rejected("this one is bad").code(relight_engine::ErrorCode::FAILED)),
            "denied" => return Err(Error::new(ErrorKind::Denied, "not for you")),
            _ => {}
        }
        let mut state = self.0.0.lock().unwrap();
        *state.sent.entry(args.name.clone()).or_default() += 1;
        state.now += 1;
        state.most = state.most.max(state.now);
        Outcome::pending(&json!(null), Duration::from_secs(60))
    }
    async fn resume(&self, _: &Cx, args: &Named, _: &Value) -> Result<Outcome<String>> {
        let mut state = self.0.0.lock().unwrap();
        state.now = state.now.saturating_sub(1);
        Ok(Outcome::done(format!("{} is done", args.name)))
    }
    async fn probe(&self, _: &Cx, args: &Named) -> Result<Probe<String>> {
        match self.0.has(&args.name) {
            true => Ok(Probe::Found(Outcome::done(format!("{} is done", args.name)))),
            false => Ok(Probe::Absent),
        }
    }
}

struct Bench {
    world: World,
    clock: SteppedClock,
    journal: Arc<dyn Journal>,
    library: Library,
}

impl Bench {
    fn new(script: &str) -> Self {
        let start: Timestamp = "2026-11-20T22:00:00Z".parse().unwrap();
        Bench {
            world: World::default(),
            clock: SteppedClock::jumping(start),
            journal: Arc::new(MemoryJournal::new()),
            library: Library::new(),
        }
        .with("several", script)
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

    /// A new process.
    fn engine(&self) -> Engine {
        self.engine_over(self.journal.clone())
    }

    fn engine_over(&self, journal: Arc<dyn Journal>) -> Engine {
        self.builder(journal).owner(OwnerId::fresh(), Arc::new(|_| true)).build().unwrap()
    }

    fn builder(&self, journal: Arc<dyn Journal>) -> EngineBuilder {
        Engine::builder()
            .operation(Put(self.world.clone()))
            .journal(journal)
            .clock(Arc::new(self.clock.clone()))
            .library(self.library.clone())
    }

    async fn prepare(&self) -> RunId {
        self.engine().prepare(&RunRequest::new("several")).await.unwrap()
    }

    async fn run(&self) -> (RunId, Driven) {
        let run = self.prepare().await;
        let driven = self.engine().run(&run).await.unwrap();
        (run, driven)
    }

    async fn value(&self) -> Value {
        match self.run().await.1 {
            Driven::Ended(RunEnd::Succeeded { value }) => value,
            driven => panic!("{driven:?}"),
        }
    }

    async fn status(&self, run: &RunId) -> Option<Status> {
        self.journal.run(run).await.unwrap().map(|run| run.status)
    }

    fn refused(&self) -> String {
        let findings = self.engine().check("several").unwrap();
        findings.iter().map(|finding| format!("{finding}\n")).collect()
    }
}

#[tokio::test]
async fn the_results_come_in_the_order_of_the_items() {
    let bench = Bench::new(r#"let by = 10; all([3, 1, 2], |n| { wait(`${n}m`); n * by })"#);
    let (run, driven) = bench.run().await;
    assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value: json!([30, 10, 20]) }));
    // Each has a log of its own, and is listed with its run alone.
    for index in 0..3 {
        assert_eq!(bench.status(&run.branch(1, index)).await, Some(Status::Succeeded));
    }
    let listed = bench.journal.runs(&RunFilter::default()).await.unwrap();
    assert_eq!(listed.iter().map(|run| &run.id).collect::<Vec<_>>(), [&run]);
    assert_eq!(bench.journal.find(&run.as_str()[..6], 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn many_take_as_long_as_the_slowest_and_no_more_than_said_are_under_way() {
    let items: Vec<u32> = (0..50).collect();
    for (at_once, minutes) in [(50, 1), (10, 5)] {
        let script = format!("all({items:?}, |n| box::put(`p${{n}}`), #{{ at_once: {at_once} }}).len()");
        let bench = Bench::new(&script).standing();
        let run = bench.prepare().await;
        let engine = bench.engine();
        let driving = tokio::spawn({
            let run = run.clone();
            async move { engine.run(&run).await.unwrap() }
        });
        let began = bench.clock.now();
        while !driving.is_finished() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            bench.clock.advance(Duration::from_secs(1));
        }
        let took = bench.clock.now().duration_since(began).as_mins();
        assert!(took <= minutes + 1, "{took} minutes");
        assert_eq!(driving.await.unwrap(), Driven::Ended(RunEnd::Succeeded { value: json!(50) }));
        assert_eq!(bench.world.0.lock().unwrap().most, at_once as u32);
    }
}

#[tokio::test]
async fn a_failed_branch_stops_the_others_unless_all_are_wanted() {
    let names = r#"["a", "bad", "b", "c"]"#;
    let bench = Bench::new(&format!(
        "let e = (); try {{ all({names}, |n| {{ if n != \"bad\" {{ wait(\"5m\") }} box::put(n) }}, #{{ at_once: 3 }}) }} catch (caught) {{ e = caught }} #{{ code: e.code, message: e.message }}"
    ))
    .standing();
    let (run, driven) = bench.run().await;
    let Driven::Ended(RunEnd::Succeeded { value }) = driven else { panic!("{driven:?}") };
    assert_eq!(value, json!({ "code": "Failed", "message": "branch 2 of 4 failed" }));
    assert_eq!(bench.world.sent(), BTreeMap::new(), "what waited was stopped before its request");
    assert_eq!(bench.status(&run.branch(1, 0)).await, Some(Status::Stopped));
    assert_eq!(bench.status(&run.branch(1, 3)).await, None, "the last one was not begun");

    let bench = Bench::new(&format!(
        "let ends = all({names}, |n| box::put(n), #{{ on_error: \"collect\" }}); [ends[0].value, ends[1].error.message, ends.len()]"
    ));
    assert_eq!(bench.value().await, json!(["a is done", "this one is bad", 4]));
}

#[tokio::test]
async fn a_question_in_one_branch_does_not_hold_up_the_others() {
    let script =
        r#"all(["a", "b", "c"], |n| { if n == "a" { confirm("put a?"); } box::put(n) }, #{ at_once: 1 })"#;
    let bench = Bench::new(script);
    let (run, driven) = bench.run().await;
    let Driven::Parked(Park::Child { run: asks }, _) = driven else { panic!("{driven:?}") };
    assert_eq!(asks, run.branch(1, 0));
    assert_eq!(bench.world.sent().keys().collect::<Vec<_>>(), ["b", "c"]);
    let engine = bench.engine();
    engine.answer(&asks, "yes", "ada").await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    let value = json!(["a is done", "b is done", "c is done"]);
    assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value }));
    assert!(bench.world.sent().values().all(|sent| *sent == 1), "{:?}", bench.world.sent());
}

/// Takes its time to answer, and minds being asked meanwhile.
#[derive(Default)]
struct Slow(Mutex<(bool, u32)>);

#[async_trait]
impl Answers for Slow {
    async fn answer(&self, _: &RunId, question: &str, _: &[String]) -> Option<(String, String)> {
        {
            let mut at = self.0.lock().unwrap();
            assert!(!std::mem::replace(&mut at.0, true), "`{question}` is asked while another waits");
            at.1 += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.0.lock().unwrap().0 = false;
        Some(("yes".into(), "ada".into()))
    }
}

#[tokio::test]
async fn the_questions_of_branches_come_one_after_the_other() {
    let bench = Bench::new(r#"all([1, 2, 3], |n| confirm(`go on with ${n}?`))"#);
    let engine = bench.engine();
    let slow = Arc::new(Slow::default());
    engine.answer_with(slow.clone());
    let run = engine.prepare(&RunRequest::new("several")).await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value: json!([true, true, true]) }));
    assert_eq!(slow.0.lock().unwrap().1, 3);
}

#[tokio::test]
async fn a_branch_that_needs_a_person_is_what_the_run_is_parked_for() {
    let bench = Bench::new(r#"all(["a", "denied"], |n| box::put(n))"#);
    let (run, driven) = bench.run().await;
    assert!(
        matches!(&driven, Driven::Parked(Park::Child { run: of }, _) if *of == run.branch(1, 1)),
        "{driven:?}"
    );
    let branch = bench.journal.run(&run.branch(1, 1)).await.unwrap().unwrap();
    assert!(matches!(branch.park, Some(Park::Denied { .. })), "{branch:?}");
}

#[tokio::test]
async fn a_stop_reaches_every_branch_and_nothing_more_begins() {
    let script = r#"all(["a", "b", "c"], |n| { defer(|| box::put("after " + n)); wait("2h"); box::put(n) }, #{ at_once: 2 })"#;
    let bench = Bench::new(script).standing();
    let run = bench.prepare().await;
    let engine = bench.engine();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error}"));
    worker.tick().await.unwrap();
    worker.settle().await;
    assert_eq!(bench.status(&run).await, Some(Status::Parked));
    engine.stop(&run, "ada").await.unwrap();
    let patience = std::time::Instant::now() + Duration::from_secs(30);
    while bench.status(&run).await != Some(Status::Stopped) {
        assert!(std::time::Instant::now() < patience, "{:?}", bench.status(&run).await);
        worker.tick().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        bench.clock.advance(Duration::from_secs(10));
    }
    worker.settle().await;
    assert_eq!(bench.status(&run).await, Some(Status::Stopped));
    assert_eq!(bench.status(&run.branch(1, 0)).await, Some(Status::Stopped));
    assert_eq!(bench.status(&run.branch(1, 2)).await, None);
    assert_eq!(bench.world.sent().keys().collect::<Vec<_>>(), ["after a", "after b"]);
}

#[tokio::test]
async fn a_service_begins_the_next_when_one_is_over() {
    let bench = Bench::new(r#"all(["a", "b", "c", "d"], |n| { wait("2h"); box::put(n) }, #{ at_once: 2 })"#);
    let run = bench.prepare().await;
    let engine = bench.engine();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error}"));
    for _ in 0..40 {
        for _ in 0..4 {
            worker.tick().await.unwrap();
            worker.settle().await;
        }
        bench.clock.advance(Duration::from_secs(600));
    }
    assert_eq!(bench.status(&run).await, Some(Status::Succeeded));
    assert_eq!(bench.world.sent().values().sum::<u32>(), 4);
}

/// Drives a run in a process of its own. Nothing of the process is left when this returns: a branch has a thread of its
/// own, and may be about to send when the run that waits for it fails.
async fn in_a_process(engine: Engine, run: RunId) -> Result<Driven> {
    let process = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(20), engine.run(&run)).await.unwrap()
        })
    };
    tokio::task::spawn_blocking(process).await.unwrap()
}

/// A journal that ends with the process after so many records.
struct Cut {
    journal: Arc<dyn Journal>,
    left: Mutex<Option<usize>>,
}

#[async_trait]
impl Around for Cut {
    fn behind(&self) -> &dyn Journal {
        &*self.journal
    }

    fn allow(&self) -> Result<()> {
        match *self.left.lock().unwrap() {
            None => Err(Error::storage("the process is gone")),
            Some(_) => Ok(()),
        }
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        self.allow()?;
        {
            let mut left = self.left.lock().unwrap();
            *left = left.and_then(|left| left.checked_sub(events.len()));
        }
        self.allow()?;
        self.journal.append(tenure, events, at, sync).await
    }
}

#[tokio::test]
async fn whatever_is_cut_off_is_carried_on_and_nothing_is_sent_twice() {
    let script = r#"let sum = 0; for part in all([1, 2, 3], |n| { box::put(`a${n}`); wait("10s"); box::put(`b${n}`); n }) { sum += part } sum"#;
    let mut tried = 0;
    for cut in 0.. {
        let bench = Bench::new(script);
        let run = bench.prepare().await;
        let journal = Arc::new(Cut { journal: bench.journal.clone(), left: Mutex::new(Some(cut)) });
        let first = in_a_process(bench.engine_over(journal), run.clone()).await;
        bench.clock.advance(Duration::from_secs(600));
        let driven = bench.engine().run(&run).await.unwrap();
        assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value: json!(6) }), "cut after {cut} records");
        let sent = bench.world.sent();
        assert!(sent.len() == 6 && sent.values().all(|sent| *sent == 1), "cut after {cut} records: {sent:?}");
        tried = cut;
        if first.is_ok() {
            break;
        }
    }
    assert!(tried > 30, "{tried} points");
}

#[tokio::test]
async fn a_branch_may_have_branches_once() {
    let bench = Bench::new(r#"all([1, 2], |a| all([10, 20], |b| a * b))"#);
    assert_eq!(bench.value().await, json!([[10, 20], [20, 40]]));
    let bench = Bench::new(r#"all([1], |a| all([1], |b| all([1], |c| c)))"#);
    let (_, driven) = bench.run().await;
    assert!(!matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
}

#[tokio::test]
async fn a_function_of_a_module_and_its_imports_are_found_again() {
    let bench =
        Bench::new(r#"import "util" as util; util::twice([1, 2])"#).with("more", "fn add(n, m) { n + m }");
    let bench = Bench {
        library: bench.library.clone().ship("util", "import \"deep\" as deep;\nfn own(n) { n * 100 }\nfn twice(list) { let by = 2; all(list, |n| deep::add(own(n), by)) }")
            .ship("deep", "fn add(n, m) { wait(\"1s\"); n + m }"),
        ..bench
    };
    assert_eq!(bench.value().await, json!([102, 202]));
}

#[tokio::test]
async fn what_a_branch_cannot_do_is_said_before_it_runs() {
    let lost = Bench::new("let sum = 0;\nall([1, 2], |n| { sum += n; });\nsum").refused();
    assert!(lost.contains("a branch has a copy of `sum`"), "{lost}");
    let pushed = Bench::new("let list = [];\nall([1, 2], |n| list.push(n));\nlist").refused();
    assert!(pushed.contains("a branch has a copy of `list`"), "{pushed}");
    assert_eq!(
        Bench::new("let n = 1; all([1, 2], |n| { n += 1; let sum = 0; sum += n; sum })").refused(),
        ""
    );
    let asked = Bench::new("[1, 2].all(|n| n > 0)").refused();
    assert!(asked.contains("does not ask whether something holds"), "{asked}");
    let wrong = Bench::new(r#"all([1], |n| n, #{ at_onec: 2 })"#).refused();
    assert!(wrong.contains("no option `at_onec`"), "{wrong}");
}

#[tokio::test]
async fn a_branch_that_cannot_end_is_stopped_once() {
    let script = r#"all(["a", "bad"], |n| {
        if n == "bad" { box::put(n); }
        defer(|| box::put("denied"));
        wait("5m");
    })"#;
    let bench = Bench::new(script).standing();
    let run = bench.prepare().await;
    let engine = bench.engine();
    let driven = tokio::time::timeout(Duration::from_secs(20), engine.run(&run)).await.unwrap().unwrap();
    assert!(
        matches!(&driven, Driven::Parked(Park::Child { run: of }, _) if *of == run.branch(1, 0)),
        "{driven:?}"
    );
    let records = bench.journal.records(&run.branch(1, 0), 0).await.unwrap();
    assert!(records.len() < 20, "{}", records.len());
}

#[tokio::test]
async fn a_run_does_not_watch_a_branch_that_another_service_drives() {
    let bench = Bench::new(r#"all(["a"], |n| { wait("2h"); box::put(n) })"#).standing();
    let run = bench.prepare().await;
    let engine =
        bench.builder(bench.journal.clone()).owner(OwnerId::fresh(), Arc::new(|_| false)).build().unwrap();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error}"));
    worker.tick().await.unwrap();
    worker.settle().await;
    let other = OwnerId::fresh();
    let (branch, now) = (run.branch(1, 0), bench.clock.now());
    bench.journal.heartbeat(&other, now + Duration::from_secs(86_400)).await.unwrap();
    let claim = bench.journal.claim(&ClaimRequest::new(&branch, &other, now)).await.unwrap();
    assert!(matches!(claim, Claim::Granted(_)));
    let records = async || bench.journal.records(&run, 0).await.unwrap().len();
    let before = records().await;
    for _ in 0..200 {
        bench.clock.advance(Duration::from_secs(60));
        worker.tick().await.unwrap();
        worker.settle().await;
    }
    let more = records().await - before;
    assert!((2..20).contains(&more), "{more} records");
}

#[tokio::test]
async fn a_mistake_of_several_branches_is_mended_once() {
    let wrong =
        r#"all(["a", "b", "c"], |n| { box::put(n); if n != "b" { n.nmae() } else { n } }, #{ at_once: 2 })"#;
    let bench = Bench::new(wrong);
    let (run, driven) = bench.run().await;
    assert!(matches!(driven, Driven::Parked(Park::Child { .. }, _)), "{driven:?}");
    let parked = async |index| bench.journal.run(&run.branch(1, index)).await.unwrap().unwrap().park;
    assert!(matches!(parked(0).await, Some(Park::Mistake { .. })));
    assert!(matches!(parked(2).await, Some(Park::Mistake { .. })));

    let engine = bench.engine();
    let text =
        |script: &str| format!("/*---\ntitle = \"several\"\neffects = [\"azure:write\"]\n---*/\n{script}");
    // What one of them would not do again is refused for all.
    let other = wrong.replace("box::put(n);", r#"if n == "c" { box::put("d") } else { box::put(n) };"#);
    let refused = engine.mend(&run, Some(text(&other)), "ada").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Diverged, "{refused:?}");
    assert!(matches!(parked(0).await, Some(Park::Mistake { .. })), "{:?}", parked(0).await);

    engine.mend(&run, Some(text(&wrong.replace("nmae()", "to_upper()"))), "ada").await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value: json!(["A", "b", "C"]) }));
    assert!(bench.world.sent().values().all(|sent| *sent == 1), "{:?}", bench.world.sent());
}

#[tokio::test]
async fn a_run_that_was_stopped_is_in_no_trouble_any_more() {
    let bench = Bench::new(r#"defer(|| box::put("after")); box::put("denied")"#);
    let (run, driven) = bench.run().await;
    assert!(matches!(driven, Driven::Parked(Park::Denied { .. }, _)), "{driven:?}");
    let engine = bench.engine();
    assert!(engine.trouble(&run).await.unwrap().is_some());
    engine.stop(&run, "ada").await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Stopped { .. })), "{driven:?}");
    // It would point at what was deferred.
    assert_eq!(engine.trouble(&run).await.unwrap().map(|error| error.to_string()), None);
}
