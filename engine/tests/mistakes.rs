//! Mistakes that show only while a runbook runs: the run parks, and nothing that was done is lost.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Cause, Event, Park, RunEnd, Source};
use relight_engine::journal::{Around, Claim, ClaimRequest, Journal, MemoryJournal, OwnerId, Status, Sync};
use relight_engine::worker::Worker;
use relight_engine::{
    Cx, Driven, Effect, Engine, Error, ErrorKind, Library, Operation, Outcome, Redo, Result, RunId,
    RunRequest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

type Sent = Arc<Mutex<Vec<String>>>;

#[derive(Deserialize, JsonSchema)]
struct Named {
    name: String,
}

/// Sends a request, unless its name is one that only the operation knows to be wrong.
struct Send(Sent);
impl Operation for Send {
    type Args = Named;
    type Output = String;
    const NAME: &'static str = "box::send";
    const SUMMARY: &'static str = "Sends one request.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Ask;
    async fn begin(&self, _: &Cx, args: &Named) -> Result<Outcome<String>> {
        match args.name.as_str() {
            "a b" => return Err(Error::invalid("a name has no blank")),
            "nobody" => return Err(Error::rejected("there is no such box")),
            _ => self.0.lock().unwrap().push(args.name.clone()),
        }
        Ok(Outcome::done(args.name.clone()))
    }
}

/// Takes a minute, so that the script unwinds.
struct Slow(Sent);
impl Operation for Slow {
    type Args = Named;
    type Output = String;
    const NAME: &'static str = "box::slow";
    const SUMMARY: &'static str = "Sends one request and waits for it.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Ask;
    async fn begin(&self, _: &Cx, args: &Named) -> Result<Outcome<String>> {
        self.0.lock().unwrap().push(args.name.clone());
        Outcome::pending(&json!("under way"), Duration::from_secs(60))
    }
    async fn resume(&self, _: &Cx, args: &Named, _: &Value) -> Result<Outcome<String>> {
        Ok(Outcome::done(args.name.clone()))
    }
}

struct Opens(Sent);
impl Operation for Opens {
    type Args = Named;
    type Output = ();
    const NAME: &'static str = "http::open";
    const SUMMARY: &'static str = "Has an effect that no runbook of this file may have.";
    const EFFECTS: &'static [Effect] = &[Effect::Http];
    const REDO: Redo = Redo::Ask;
    async fn begin(&self, _: &Cx, args: &Named) -> Result<Outcome<()>> {
        self.0.lock().unwrap().push(args.name.clone());
        Ok(Outcome::done(()))
    }
}

struct Bench {
    sent: Sent,
    clock: SteppedClock,
    journal: Arc<MemoryJournal>,
    library: Library,
}

fn start() -> Timestamp {
    "2026-11-20T22:00:00Z".parse().unwrap()
}

fn front_matter(rest: &str, script: &str) -> String {
    format!("/*---\ntitle = \"T\"\neffects = [\"azure:write\"]\n{rest}---*/\n{script}")
}

impl Bench {
    fn with(script: &str) -> Self {
        Bench {
            sent: Arc::default(),
            clock: SteppedClock::jumping(start()),
            journal: Arc::new(MemoryJournal::new()),
            library: Library::new(),
        }
        .text("a", &front_matter("", script))
    }

    fn text(mut self, name: &str, text: &str) -> Self {
        self.library = self.library.ship(name, text);
        self
    }

    /// A new process over the same journal and world.
    fn engine(&self) -> Engine {
        self.over(self.journal.clone())
    }

    fn over(&self, journal: Arc<dyn Journal>) -> Engine {
        Engine::builder()
            .operation(Send(self.sent.clone()))
            .operation(Slow(self.sent.clone()))
            .operation(Opens(self.sent.clone()))
            .journal(journal)
            .clock(Arc::new(self.clock.clone()))
            .library(self.library.clone())
            .owner(OwnerId::fresh(), Arc::new(|_: &OwnerId| true))
            .build()
            .unwrap()
    }

    async fn run(&self) -> (RunId, Driven) {
        let engine = self.engine();
        let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
        let driven = engine.run(&run).await.unwrap();
        (run, driven)
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }

    async fn status(&self, run: &RunId) -> Status {
        self.journal.run(run).await.unwrap().unwrap().status
    }
}

fn mistake(driven: &Driven) -> (&relight_engine::Failure, usize) {
    match driven {
        Driven::Parked(Park::Mistake { failure, at, .. }, _) => {
            (failure, at.as_ref().map_or(0, |at| at.line))
        }
        other => panic!("expected a run that is parked on a mistake, got {other:?}"),
    }
}

#[tokio::test]
async fn a_mistake_after_a_step_parks_the_run_at_its_line() {
    for (wrong, says) in [
        (r#"wait("soon")"#, "soon"),
        (r#"box::send(17)"#, "wrong argument"),
        (r#"box::send("a b")"#, "no blank"),
        (r#"box::send("x", #{ nme: 1 })"#, "nme"),
        (r#"let list = [1]; list[7]"#, "out of bounds"),
        (r#"let map = #{ a: 1 }; map.b"#, "b"),
        (r#"1 + #{}"#, "+"),
        (r#"let n = 0; while true { n += 1; }"#, "operations"),
        (r#"fn deeper(n) { deeper(n + 1) } deeper(0)"#, "overflow"),
        (r#"run("no-such-" + "runbook")"#, "no-such-runbook"),
        (r#"defer(3)"#, "defer"),
    ] {
        let bench = Bench::with(&format!("box::send(\"first\");\n{wrong}"));
        let findings = bench.engine().check("a").unwrap();
        if !findings.is_empty() {
            // What can be seen beforehand never starts.
            let engine = bench.engine();
            let error = engine.prepare(&RunRequest::new("a")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}: {error:?}");
            continue;
        }
        let (run, driven) = bench.run().await;
        let (failure, line) = mistake(&driven);
        assert_eq!(failure.kind, ErrorKind::Script, "{wrong}");
        assert!(failure.message.contains(says), "{wrong}: {}", failure.message);
        assert_eq!(line, 6, "{wrong}");
        let trouble = bench.engine().trouble(&run).await.unwrap().unwrap();
        assert!(trouble.has_snippet(), "{wrong}");
        assert_eq!(bench.sent(), ["first"], "{wrong}");
        // Nobody mended it: it parks again, and the step before it is not done again.
        mistake(&bench.engine().run(&run).await.unwrap());
        assert_eq!(bench.sent(), ["first"], "{wrong}");
    }
}

#[tokio::test]
async fn a_mistake_before_the_first_step_is_simply_invalid() {
    for wrong in [r#"wait("soon")"#, r#"box::send("a b")"#, "let list = [1]; list[7]"] {
        let bench = Bench::with(wrong);
        let (_, driven) = bench.run().await;
        let Driven::Ended(RunEnd::Failed { failure, at }) = &driven else { panic!("{wrong}: {driven:?}") };
        assert_eq!(failure.kind, ErrorKind::Invalid, "{wrong}");
        assert_eq!(at.as_ref().unwrap().line, 5, "{wrong}");
        assert!(bench.sent().is_empty());
    }
}

#[tokio::test]
async fn what_the_author_raises_is_no_mistake() {
    for (raise, kind) in [
        (r#"fail("enough")"#, ErrorKind::Rejected),
        (r#"throw "enough""#, ErrorKind::Rejected),
        (r#"throw #{ kind: "storage", message: "enough" }"#, ErrorKind::Rejected),
        (r#"throw #{ kind: "diverged", message: "enough" }"#, ErrorKind::Rejected),
        (r#"throw #{ kind: "script", message: "enough" }"#, ErrorKind::Rejected),
        (r#"throw #{ kind: "stopped", message: "enough" }"#, ErrorKind::Rejected),
        (r#"throw #{ kind: "transient", message: "enough" }"#, ErrorKind::Transient),
        (r#"box::send("nobody")"#, ErrorKind::Rejected),
        (r#"try { box::send("nobody") } catch (e) { throw e }"#, ErrorKind::Rejected),
    ] {
        let (_, driven) = Bench::with(&format!("box::send(\"first\");\n{raise}")).run().await;
        match driven {
            Driven::Ended(RunEnd::Failed { failure, .. }) => assert_eq!(failure.kind, kind, "{raise}"),
            other => panic!("{raise}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_wrong_call_cannot_be_caught_and_a_slip_of_the_language_can() {
    let caught = r#"box::send("first"); try { let l = [1]; l[7] } catch (e) { e.message }"#;
    let (_, driven) = Bench::with(caught).run().await;
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    let (_, driven) =
        Bench::with(r#"box::send("first"); try { wait("soon") } catch { box::send("second") }"#).run().await;
    mistake(&driven);
}

/// Rhai goes on after an error inside the function that these are given.
const SWALLOWING: [&str; 9] = [
    "[3, 1, 2].sort(|a, b| { CALL; a - b })",
    "[3, 1, 2].filter(|x| { CALL; true })",
    "[3, 1, 2].map(|x| { CALL; x })",
    "[3, 1, 2].some(|x| { CALL; false })",
    "[3, 1, 2].index_of(|x| { CALL; false })",
    "[3, 1, 2].reduce(|sum, x| { CALL; x }, 0)",
    "let l = [3, 3, 2]; l.dedup(|a, b| { CALL; true }); l",
    "let l = [3, 1, 2]; l.retain(|x| { CALL; true }); l",
    "let m = #{ a: 1, b: 2 }; m.retain(|k, v| { CALL; true }); m.len()",
];

#[tokio::test]
async fn a_step_inside_sort_leaves_a_history_that_reads() {
    for shape in SWALLOWING {
        // A step that waits unwinds the script in the middle of the sorting.
        let bench = Bench::with(&shape.replace("CALL", r#"box::slow("x")"#));
        let (run, driven) = bench.run().await;
        assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{shape}: {driven:?}");
        bench.engine().history(&run).await.unwrap();

        // A mistake in there ends the run's way just there.
        let bench = Bench::with(&format!(
            "box::send(\"first\");\n{};\nbox::send(\"after\")",
            shape.replace("CALL", r#"wait("soon")"#)
        ));
        let (run, driven) = bench.run().await;
        mistake(&driven);
        assert_eq!(bench.sent(), ["first"], "{shape}");
        bench.engine().history(&run).await.unwrap();

        // A stop in there too.
        let bench = Bench::with(&format!(
            "defer(|| box::send(\"last\"));\n{};\nbox::send(\"after\")",
            shape.replace("CALL", r#"ask("well?")"#)
        ));
        let (run, driven) = bench.run().await;
        assert!(matches!(driven, Driven::Parked(Park::Question { .. }, _)), "{shape}: {driven:?}");
        let engine = bench.engine();
        engine.stop(&run, "ada").await.unwrap();
        let driven = engine.run(&run).await.unwrap();
        assert!(matches!(driven, Driven::Ended(RunEnd::Stopped { .. })), "{shape}: {driven:?}");
        assert_eq!(bench.sent(), ["last"], "{shape}");
        engine.history(&run).await.unwrap();
    }
}

/// Every function that takes a function, each with one that calls for two items at least.
const TAKING_A_FUNCTION: [&str; 22] = [
    "[3, 1, 2].sort(|a, b| { CALL; a - b })",
    "let l = [3, 1, 2]; l.sort_by(|a, b| { CALL; a - b })",
    "[3, 1, 2].order(|a, b| { CALL; a - b })",
    "[3, 1, 2].order_by(|a, b| { CALL; a - b })",
    "[3, 3, 2].dedup(|a, b| { CALL; true })",
    "[3, 1, 2].for_each(|| { CALL })",
    "[3, 1, 2].map(|x| { CALL; x })",
    "[3, 1, 2].filter(|x| { CALL; true })",
    "[3, 1, 2].reduce(|sum, x| { CALL; x })",
    "[3, 1, 2].find(|x| { CALL; false })",
    "[3, 1, 2].find_map(|x| { CALL; () })",
    "[3, 1, 2].some(|x| { CALL; false })",
    "[3, 1, 2].index_of(|x| { CALL; false })",
    "[3, 1, 2].reduce(|sum, x| { CALL; x }, 0)",
    "[3, 1, 2].reduce_rev(|sum, x| { CALL; x }, 0)",
    "[3, 1, 2].drain(|x| { CALL; true })",
    "[3, 1, 2].retain(|x| { CALL; true })",
    "#{ a: 1, b: 2 }.map(|k, v| { CALL; v })",
    "#{ a: 1, b: 2 }.filter(|k, v| { CALL; true })",
    "#{ a: 1, b: 2 }.drain(|k, v| { CALL; true })",
    "#{ a: 1, b: 2 }.retain(|k, v| { CALL; true })",
    "let f = || { CALL }; f.call(); f.call()",
];

#[tokio::test]
async fn an_error_inside_sort_is_the_error_of_sort() {
    for shape in TAKING_A_FUNCTION {
        for error in [r#"throw "nobody""#, r#"box::send("nobody")"#] {
            // The error itself, and the error after a step that went well.
            for (call, sent) in [
                (error.to_owned(), vec!["caught"]),
                (format!("box::send(\"x\"); {error}"), vec!["x", "caught"]),
            ] {
                let shape = shape.replace("CALL", &call);
                let script = format!("try {{ {shape} }} catch {{ box::send(\"caught\"); }}");
                let bench = Bench::with(&script);
                let (run, driven) = bench.run().await;
                assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{shape}: {driven:?}");
                assert_eq!(bench.sent(), sent, "{shape}");
                bench.engine().history(&run).await.unwrap();

                // Nobody catches it: it is the error of the run.
                let bench = Bench::with(&format!("{shape};\nbox::send(\"after\")"));
                let (_, driven) = bench.run().await;
                let Driven::Ended(RunEnd::Failed { failure, .. }) = driven else {
                    panic!("{shape}: {driven:?}")
                };
                assert_eq!(failure.kind, ErrorKind::Rejected, "{shape}");
                assert!(!bench.sent().contains(&"after".to_owned()), "{shape}");
            }
        }
    }
}

#[tokio::test]
async fn a_stopped_mistake_runs_what_was_deferred() {
    let script =
        r#"defer(|| box::send("clean up")); box::send("first"); defer(|| wait("soon")); wait("soon")"#;
    let bench = Bench::with(script);
    let (run, driven) = bench.run().await;
    mistake(&driven);
    assert_eq!(bench.sent(), ["first"]);
    let engine = bench.engine();
    engine.stop(&run, "ada").await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Stopped { .. })), "{driven:?}");
    assert_eq!(bench.sent(), ["first", "clean up"]);
    assert_eq!(bench.status(&run).await, Status::Stopped);
}

#[tokio::test]
async fn a_stop_between_two_steps_runs_what_was_deferred() {
    // The word comes while the script computes: the next call finds it.
    let bench =
        Bench::with(r#"defer(|| box::send("clean up")); box::send("first"); now(); box::send("never")"#);
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    engine.stop(&run, "ada").await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Stopped { .. })), "{driven:?}");
    assert_eq!(bench.sent(), ["clean up"]);
}

#[tokio::test]
async fn a_stop_that_finds_a_deferred_step_under_way_lets_it_come_to_its_end() {
    // Whoever takes the run up cannot tell by the step alone that the script was over.
    let bench = Bench::with(r#"defer(|| { wait("2h"); box::send("clean up") }); box::send("first")"#);
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    let driven = engine.drive(&run, Duration::from_secs(60)).await.unwrap();
    assert!(matches!(driven, Driven::Parked(Park::Waiting, Some(_))), "{driven:?}");
    engine.stop(&run, "ada").await.unwrap();
    let next = bench.engine();
    let driven = tokio::time::timeout(Duration::from_secs(20), next.run(&run)).await.unwrap().unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    assert_eq!(bench.sent(), ["first", "clean up"]);
}

/// The same record under another text: what another version of the program may make of it.
struct Retold(Arc<MemoryJournal>, &'static str);
#[async_trait]
impl Around for Retold {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    async fn sources(&self, run: &RunId) -> Result<Vec<Source>> {
        let mut sources = self.0.sources(run).await?;
        sources[0].text = front_matter("", self.1);
        Ok(sources)
    }
}

#[tokio::test]
async fn a_replay_that_ends_before_its_record_diverges() {
    for shorter in
        ["box::send(\"first\");", "box::send(\"first\"); fail(\"x\")", "box::send(\"first\"); [1][2]"]
    {
        let bench = Bench::with(r#"box::send("first"); box::send("second"); ask("well?")"#);
        let (run, _) = bench.run().await;
        let retold = bench.over(Arc::new(Retold(bench.journal.clone(), shorter)));
        // The question is answered, so that the script is replayed.
        retold.answer(&run, "yes", "ada").await.unwrap();
        let error = retold.run(&run).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Diverged, "{shorter}: {error:?}");
        assert!(error.message().contains("second") && error.message().contains("ends"), "{error}");
    }
}

const BROKEN: &str = r#"defer(|| box::send("clean up")); box::send("first"); let a = ask("well?"); wait("soon"); box::send(a)"#;

/// Runs [`BROKEN`] until it stands at its mistake, with a question answered.
async fn at_the_mistake() -> (Bench, RunId) {
    let bench = Bench::with(BROKEN);
    let (run, _) = bench.run().await;
    let engine = bench.engine();
    engine.answer(&run, "second", "ada").await.unwrap();
    mistake(&engine.run(&run).await.unwrap());
    assert_eq!(bench.sent(), ["first"]);
    (bench, run)
}

#[tokio::test]
async fn a_mended_text_goes_on_with_what_was_done_and_answered() {
    let (bench, run) = at_the_mistake().await;
    let bench = bench.text("a", &front_matter("", &BROKEN.replace("soon", "1m")));
    let engine = bench.engine();
    engine.mend(&run, None, "ada").await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    assert_eq!(bench.sent(), ["first", "second", "clean up"]);
    // The record says with which text it went on, and any process reads it so.
    let history = bench.engine().history(&run).await.unwrap();
    assert!(history.mended.unwrap()[0].text.contains("1m"));
    let records = bench.journal.records(&run, 0).await.unwrap();
    assert!(records.iter().any(|r| matches!(r.event().unwrap(), Event::Mended { by, .. } if by == "ada")));
}

#[tokio::test]
async fn the_children_of_a_mended_text_are_pinned_with_it() {
    let (bench, run) = at_the_mistake().await;
    let mended = BROKEN.replace("wait(\"soon\")", "run(\"kid\")");
    let bench = bench
        .text("a", &front_matter("", &mended))
        .text("kid", &front_matter("", "box::send(\"of that day\")"));
    bench.engine().mend(&run, None, "ada").await.unwrap();
    let bench = bench.text("kid", &front_matter("", "box::send(\"of another day\")"));
    let driven = bench.engine().run(&run).await.unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    assert_eq!(bench.sent(), ["first", "of that day", "second", "clean up"]);
}

#[tokio::test]
async fn a_text_that_goes_another_way_is_refused_and_the_run_keeps_its_own() {
    let (bench, run) = at_the_mistake().await;
    let before = bench.journal.records(&run, 0).await.unwrap();
    for (other, kind, says) in [
        (BROKEN.replace("first", "other"), ErrorKind::Diverged, "other"),
        ("box::send(\"first\")".to_owned(), ErrorKind::Diverged, "the script ends"),
        ("box::send(\"first\"); [1][3]; ask(\"well?\")".to_owned(), ErrorKind::Diverged, "the script ends"),
        ("box::send(".to_owned(), ErrorKind::Invalid, "cannot be read"),
        ("box::sned(\"first\")".to_owned(), ErrorKind::Invalid, "sned"),
    ] {
        let error = bench.engine().mend(&run, Some(front_matter("", &other)), "ada").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{other}: {error:?}");
        assert!(format!("{error:?}").contains(says), "{other}: {error:?}");
    }
    let more = front_matter("[params.new]\nrequired = false\n", BROKEN);
    let error = bench.engine().mend(&run, Some(more), "ada").await.unwrap_err();
    assert!(error.message().contains("`new`"), "{error:?}");
    assert_eq!(bench.journal.records(&run, 0).await.unwrap(), before, "nothing was written");
    assert_eq!(bench.sent(), ["first"], "nothing was sent");
    mistake(&bench.engine().run(&run).await.unwrap());
}

#[tokio::test]
async fn a_rerun_follows_the_run_with_the_same_parameters() {
    let text = front_matter("[params.x]\n[params.pw]\ntype = \"secret\"\n", "box::send(params.x); [1][3]");
    let bench = Bench::with("").text("a", &text);
    let engine = bench.engine();
    let request = RunRequest::new("a").param("x", "first").param("pw", "env:PW");
    let run = engine.prepare(&request).await.unwrap();
    mistake(&engine.run(&run).await.unwrap());
    let bench = bench.text("a", &text.replace("[1][3]", "params.x"));
    let engine = bench.engine();
    let again = engine.prepare(&engine.rerun(&run).await.unwrap()).await.unwrap();
    let driven = engine.run(&again).await.unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    assert_eq!(bench.sent(), ["first", "first"]);
    let (old, new) = (engine.history(&run).await.unwrap(), engine.history(&again).await.unwrap());
    assert_eq!(new.prepared.params, old.prepared.params);
    assert_eq!(new.prepared.cause, Cause::Rerun { of: run });
}

#[tokio::test]
async fn what_a_mistake_leaves_deferred_runs_after_the_time_that_the_runbook_says() {
    for (rest, hours) in [("", 24), ("mend_within = \"2h\"\n", 2)] {
        let bench = Bench::with("").text("a", &front_matter(rest, BROKEN));
        let (run, _) = bench.run().await;
        let engine = bench.engine();
        engine.answer(&run, "second", "ada").await.unwrap();
        let asked = bench.clock.now();
        mistake(&engine.run(&run).await.unwrap());
        let due = bench.journal.run(&run).await.unwrap().unwrap().wake.unwrap();
        assert_eq!(due, asked + Duration::from_secs(hours * 3600));
        // Looking at it again gives it no more time.
        bench.clock.advance(Duration::from_secs(hours * 1800));
        mistake(&engine.run(&run).await.unwrap());
        assert_eq!(bench.journal.run(&run).await.unwrap().unwrap().wake, Some(due));
        bench.clock.advance(Duration::from_secs(hours * 1800));
        let driven = engine.run(&run).await.unwrap();
        assert!(matches!(driven, Driven::Ended(RunEnd::Stopped { .. })), "{driven:?}");
        assert_eq!(bench.sent(), ["first", "clean up"]);
    }
    let error = Bench::with("").text("a", &front_matter("mend_within = \"soon\"\n", "1")).engine().check("a");
    assert!(error.unwrap()[0].has_snippet());
}

#[tokio::test]
async fn a_stop_of_a_run_that_cannot_be_replayed_reaches_an_end_and_says_so() {
    let bench = Bench::with(r#"defer(|| box::send("clean up")); box::send("first"); ask("well?")"#);
    let (run, _) = bench.run().await;
    for broken in ["box::send(\"other\")", "box::send("] {
        let journal = Arc::new(bench.journal.truncated(&run, u64::MAX));
        let retold = bench.over(Arc::new(Retold(journal.clone(), broken)));
        retold.stop(&run, "ada").await.unwrap();
        let driven = retold.run(&run).await.unwrap();
        let Driven::Ended(RunEnd::Stopped { by, unreplayed: Some(_) }) = &driven else {
            panic!("{broken}: {driven:?}")
        };
        assert_eq!(by, "ada");
        assert_eq!(journal.run(&run).await.unwrap().unwrap().status, Status::Stopped);
        assert_eq!(bench.sent(), ["first"]);
    }
}

#[tokio::test]
async fn whatever_its_state_a_run_can_be_abandoned() {
    let bench = Bench::with(r#"defer(|| box::send("clean up")); box::send("first"); ask("well?")"#);
    let (run, _) = bench.run().await;
    let engine = bench.engine();
    engine.abandon(&run, "ada", "the site is gone").await.unwrap();
    assert_eq!(bench.status(&run).await, Status::Abandoned);
    let driven = engine.run(&run).await.unwrap();
    let end = RunEnd::Abandoned { by: "ada".into(), because: "the site is gone".into() };
    assert_eq!(driven, Driven::Ended(end));
    assert_eq!(bench.sent(), ["first"], "what it deferred does not run");
    assert!(engine.abandon(&run, "ada", "again").await.is_err());

    // One that nobody has begun, and one that another process drives: that one loses it.
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    engine.abandon(&run, "ada", "a slip").await.unwrap();
    assert_eq!(bench.status(&run).await, Status::Abandoned);
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    let other = OwnerId::fresh();
    bench.journal.heartbeat(&other, bench.clock.now() + Duration::from_secs(60)).await.unwrap();
    let claim = bench.journal.claim(&ClaimRequest::new(&run, &other, bench.clock.now())).await.unwrap();
    let Claim::Granted(tenure) = claim else { panic!("{claim:?}") };
    engine.abandon(&run, "ada", "it hangs").await.unwrap();
    let late = [Event::Parked { park: Park::Interrupted, until: None }];
    let fenced = bench.journal.append(&tenure, &late, bench.clock.now(), Sync::Now).await.unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Stopped);
}

#[tokio::test]
async fn a_last_value_that_cannot_be_kept_is_a_mistake_and_not_nothing() {
    for last in ["let s = \"x\"; for i in 0..24 { s += s; } s", "let l = []; for i in 0..99 { l = [l]; } l"] {
        let bench = Bench::with(&format!("box::send(\"x\"); {last}"));
        let (_, driven) = bench.run().await;
        let Driven::Parked(Park::Mistake { failure, .. }, _) = driven else { panic!("{driven:?}") };
        assert!(failure.message.contains("last value cannot be kept"), "{failure:?}");
    }
    // What is no value at all is none.
    let (_, driven) = Bench::with("box::send(\"x\"); |x| x").run().await;
    assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value: Value::Null }));
}

#[tokio::test]
async fn a_child_that_needs_a_person_is_not_driven_again_and_again() {
    let bench =
        Bench::with("run(\"child\")").text("child", &front_matter("", "box::send(\"x\"); wait(\"soon\")"));
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error}"));
    let mut records = Vec::new();
    for _ in 0..8 {
        for _ in 0..4 {
            worker.tick().await.unwrap();
            worker.settle().await;
        }
        records.push(bench.journal.records(&run, 0).await.unwrap().len());
        bench.clock.advance(Duration::from_secs(3600));
    }
    assert!(records.iter().all(|count| *count == records[0]), "{records:?}");
}
