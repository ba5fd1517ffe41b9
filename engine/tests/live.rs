//! What a step says while it works, the files it writes, and what becomes of a call that is interrupted.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use relight_engine::clock::SteppedClock;
use relight_engine::event::{Event, Park, RunEnd, Stream, WrittenFile, content_hash};
use relight_engine::journal::{Journal, MemoryJournal, OwnerId};
use relight_engine::replay::{History, StepState};
use relight_engine::{
    Cx, Driven, Effect, Engine, Error, ErrorKind, Library, Notice, Operation, Outcome, Redo, Result, RunId,
    RunRequest, Secret, SecretRef, SecretSource,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

const CANARY: &str = "canary-7f3a9c51e2";

/// What the operations of this file were asked.
type Calls = Arc<Mutex<Vec<String>>>;

#[derive(Deserialize, JsonSchema)]
struct Spoken {
    pieces: Vec<String>,
    #[serde(default)]
    secret: Option<SecretRef>,
    #[serde(default)]
    times: Option<usize>,
}

/// Says something in pieces; with a secret, the secret in halves as well. Looks once more a second later.
struct Say(Calls);
impl Operation for Say {
    type Args = Spoken;
    type Output = usize;
    const NAME: &'static str = "box::say";
    const SUMMARY: &'static str = "Says something.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &Spoken) -> Result<Outcome<usize>> {
        self.0.lock().unwrap().push("say".into());
        for _ in 0..args.times.unwrap_or(1) {
            for piece in &args.pieces {
                cx.output(Stream::Stdout, piece.as_bytes());
            }
        }
        let Some(secret) = &args.secret else { return Ok(Outcome::done(args.pieces.len())) };
        let secret = cx.secret(secret).await?;
        let (first, _) = secret.expose().split_at(8);
        cx.output(Stream::Stderr, format!("it is {first}").as_bytes());
        Outcome::pending(&json!(8), Duration::from_secs(1))
    }
    async fn resume(&self, cx: &Cx, args: &Spoken, at: &Value) -> Result<Outcome<usize>> {
        let secret = cx.secret(args.secret.as_ref().unwrap()).await?;
        let (_, second) = secret.expose().split_at(at.as_u64().unwrap() as usize);
        cx.output(Stream::Stderr, format!("{second}.").as_bytes());
        Ok(Outcome::done(args.pieces.len()))
    }
}

#[derive(Deserialize, JsonSchema)]
struct Written {
    path: String,
    text: String,
}

struct Write;
impl Operation for Write {
    type Args = Written;
    type Output = ();
    const NAME: &'static str = "box::write";
    const SUMMARY: &'static str = "Writes a file.";
    const EFFECTS: &'static [Effect] = &[Effect::FileWrite];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &Written) -> Result<Outcome<()>> {
        cx.file(&args.path)?.replace(args.text.as_bytes()).unwrap();
        Ok(Outcome::done(()))
    }
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

macro_rules! hangs {
    ($type:ident, $name:literal, $effect:expr, $redo:expr, |$cx:ident| $body:expr) => {
        struct $type(Calls);
        impl Operation for $type {
            type Args = Nothing;
            type Output = ();
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "Takes for ever.";
            const EFFECTS: &'static [Effect] = &[$effect];
            const REDO: Redo = $redo;
            async fn begin(&self, $cx: &Cx, _: &Nothing) -> Result<Outcome<()>> {
                self.0.lock().unwrap().push($name.into());
                $body
            }
        }
    };
}

// Hears nothing.
hangs!(Deaf, "box::deaf", Effect::AzureWrite, Redo::Ask, |_cx| std::future::pending().await);
// Says that it has sent nothing when it hears that it shall end.
hangs!(Listens, "box::listens", Effect::AzureWrite, Redo::Ask, |cx| {
    cx.cancelled().await;
    assert!(cx.is_cancelled());
    Err(Error::new(ErrorKind::Unsent, "it was cancelled"))
});

struct Vault;
#[async_trait]
impl SecretSource for Vault {
    async fn reveal(&self, _: &str) -> Result<Secret> {
        Ok(Secret::new(CANARY))
    }
}

struct Bench {
    calls: Calls,
    journal: Arc<MemoryJournal>,
    clock: SteppedClock,
    notices: Arc<Mutex<Vec<Notice>>>,
    library: Library,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(script: &str) -> Self {
        let effects = r#"["azure:read", "azure:write", "file:write", "secret"]"#;
        let text = format!("/*---\ntitle = \"a\"\neffects = {effects}\n---*/\n{script}\n");
        Bench {
            calls: Calls::default(),
            journal: Arc::new(MemoryJournal::new()),
            clock: SteppedClock::jumping("2026-11-20T22:00:00Z".parse().unwrap()),
            notices: Arc::default(),
            library: Library::new().ship("a", &text),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A new process over the same journal.
    fn engine(&self) -> Engine {
        let notices = self.notices.clone();
        Engine::builder()
            .operation(Say(self.calls.clone()))
            .operation(Write)
            .operation(Deaf(self.calls.clone()))
            .operation(Listens(self.calls.clone()))
            .journal(self.journal.clone())
            .clock(Arc::new(self.clock.clone()))
            .library(self.library.clone())
            .secrets(Arc::new(Vault))
            .grace(Duration::from_millis(200))
            .owner(OwnerId::fresh(), Arc::new(|_: &OwnerId| true))
            .observer(Arc::new(move |notice: &Notice| notices.lock().unwrap().push(notice.clone())))
            .build()
            .unwrap()
    }

    async fn prepare(&self, engine: &Engine) -> RunId {
        let mut request = RunRequest::new("a");
        request.workdir = self.folder.path().to_owned();
        engine.prepare(&request).await.unwrap()
    }

    async fn run(&self) -> (RunId, Driven) {
        let engine = self.engine();
        let run = self.prepare(&engine).await;
        let driven = engine.run(&run).await.unwrap();
        (run, driven)
    }

    async fn history(&self, run: &RunId) -> History {
        History::read(&self.journal.records(run, 0).await.unwrap()).unwrap()
    }

    /// What is kept of the output, stream by stream in order, and how much was left out.
    async fn kept(&self, run: &RunId) -> (Vec<(Stream, String)>, u64) {
        let (mut all, mut missing) = (Vec::<(Stream, String)>::new(), 0);
        for record in self.journal.records(run, 0).await.unwrap() {
            let Event::OutputKept { output, .. } = record.event().unwrap() else { continue };
            let text = self.journal.kept(&output.sha256).await.unwrap();
            assert_eq!(text.len() as u64, output.bytes);
            missing += output.left_out;
            all.push((output.stream, text));
        }
        (all, missing)
    }

    /// What was shown.
    fn shown(&self) -> String {
        let notices = self.notices.lock().unwrap();
        let texts = notices.iter().filter_map(|notice| match &notice.event {
            Event::Output { text, .. } => Some(text.clone()),
            _ => None,
        });
        texts.collect()
    }

    /// Waits until an operation of this name has been asked so often.
    async fn until_called(&self, name: &str, times: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.calls.lock().unwrap().iter().filter(|call| *call == name).count() < times {
            assert!(Instant::now() < deadline, "`{name}` was not called {times} times");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn output_is_shown_as_it_comes_and_kept_without_secrets_wherever_the_pieces_part() {
    let bench = Bench::new(r#"box::say(["one\n", "tw", "o\n"], #{ secret: secret("env:PW") })"#);
    let (run, driven) = bench.run().await;
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    assert_eq!(bench.shown(), "one\ntwo\nit is secret(env:PW).");
    let (kept, missing) = bench.kept(&run).await;
    let said = [(Stream::Stdout, "one\ntwo\n"), (Stream::Stderr, "it is secret(env:PW).")];
    assert_eq!(kept, said.map(|(stream, text)| (stream, text.to_owned())));
    assert_eq!(missing, 0);
    let first = bench.notices.lock().unwrap().iter().find_map(|notice| match &notice.event {
        Event::Output { .. } => Some(notice.seq),
        _ => None,
    });
    assert_eq!(first, Some(None), "what is shown is no record");
}

#[tokio::test]
async fn a_replayed_step_says_nothing_again() {
    let bench = Bench::new(r#"box::say(["once\n"]); ask("Go on?")"#);
    let (run, driven) = bench.run().await;
    assert!(matches!(driven, Driven::Parked(Park::Question { .. }, _)), "{driven:?}");
    let engine = bench.engine();
    engine.answer(&run, "yes", "ada").await.unwrap();
    engine.run(&run).await.unwrap();
    assert_eq!(bench.shown(), "once\n");
    assert_eq!(bench.kept(&run).await.0.len(), 1);
    assert_eq!(*bench.calls.lock().unwrap(), ["say"]);
}

#[tokio::test]
async fn an_output_larger_than_the_cap_keeps_its_beginning_and_its_end() {
    let bench = Bench::new(r#"box::say(["0123456789abcde\n"], #{ times: 200000 }); box::say(["after\n"])"#);
    let (run, driven) = bench.run().await;
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    let (kept, missing) = bench.kept(&run).await;
    let texts: Vec<String> = kept.into_iter().map(|(_, text)| text).collect();
    let whole = 200_000 * 16;
    assert_eq!(texts.iter().map(|text| text.len() as u64).sum::<u64>() + missing, whole + 6);
    assert!(missing > 2_000_000, "{missing}");
    assert!(texts[0].starts_with("0123456789abcde\n") && texts.last().unwrap() == "after\n");
}

#[tokio::test]
async fn a_file_is_recorded_with_its_hash() {
    let bench =
        Bench::new(r#"box::write("a.txt", "one"); box::write("b.txt", "two"); box::write("a.txt", "three")"#);
    let (run, driven) = bench.run().await;
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    let file =
        |path: &str, text: &str| WrittenFile::new(path, content_hash(text.as_bytes()), text.len() as u64);
    let expected = vec![(1, file("a.txt", "one")), (2, file("b.txt", "two")), (3, file("a.txt", "three"))];
    assert_eq!(bench.history(&run).await.files, expected);
}

/// An interruption, and a stop from elsewhere, of a call that never ends by itself.
#[tokio::test]
async fn a_call_that_hears_nothing_is_given_up() {
    for stops in [false, true] {
        let bench = Bench::new("defer(|| box::say([\"bye\\n\"])); box::deaf()");
        let engine = bench.engine();
        let run = bench.prepare(&engine).await;
        let began = Instant::now();
        let driving = tokio::spawn({
            let (engine, run) = (engine.clone(), run.clone());
            async move { engine.run(&run).await }
        });
        bench.until_called("box::deaf", 1).await;
        match stops {
            true => bench.engine().stop(&run, "ada").await.unwrap(),
            false => engine.interrupt(),
        }
        let driven = driving.await.unwrap().unwrap();
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        match stops {
            true => {
                assert!(matches!(driven, Driven::Ended(RunEnd::Stopped { .. })), "{driven:?}");
                assert_eq!(bench.shown(), "bye\n", "what is deferred runs");
            }
            false => {
                assert_eq!(driven, Driven::Parked(Park::Interrupted, None));
                // Whether it had an effect is for a person to say.
                let driven = bench.engine().run(&run).await.unwrap();
                assert!(matches!(driven, Driven::Parked(Park::Undecided { .. }, _)), "{driven:?}");
            }
        }
        assert_eq!(bench.calls.lock().unwrap().iter().filter(|call| *call == "box::deaf").count(), 1);
    }
}

#[tokio::test]
async fn a_call_that_hears_the_interruption_begins_anew() {
    let bench = Bench::new("box::listens()");
    let engine = bench.engine();
    let run = bench.prepare(&engine).await;
    let driving = tokio::spawn({
        let (engine, run) = (engine.clone(), run.clone());
        async move { engine.run(&run).await }
    });
    bench.until_called("box::listens", 1).await;
    engine.interrupt();
    assert_eq!(driving.await.unwrap().unwrap(), Driven::Parked(Park::Interrupted, None));
    let history = bench.history(&run).await;
    assert!(matches!(history.steps[0].state, StepState::Clean { .. }), "{:?}", history.steps);
    // Certainly nothing was sent, so the next process asks nobody.
    let again = bench.engine();
    let driving = tokio::spawn({
        let (again, run) = (again.clone(), run.clone());
        async move { again.run(&run).await }
    });
    bench.until_called("box::listens", 2).await;
    again.interrupt();
    assert_eq!(driving.await.unwrap().unwrap(), Driven::Parked(Park::Interrupted, None));
}
