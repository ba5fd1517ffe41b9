//! Secrets stay secret across processes, and keeping them so never changes what is sent.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::clock::SteppedClock;
use relight_engine::event::{Event, Park, RunEnd};
use relight_engine::journal::{Journal, MemoryJournal, OwnerId};
use relight_engine::{
    Cx, Driven, Effect, Engine, Error, ErrorKind, Library, Operation, Outcome, Probe, Redo, Result, RunId,
    RunRequest, Secret, SecretSource,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

const CANARY: &str = "canary-7f3a9c51e2";
/// The same in base64.
const CANARY_BASE64: &str = "Y2FuYXJ5LTdmM2E5YzUxZTI=";

/// A service that keeps what it is sent, and tells everybody.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    kept: BTreeMap<String, Value>,
    paths: Vec<String>,
    continuations: Vec<Value>,
}

impl Service {
    fn paths(&self) -> Vec<String> {
        self.0.lock().unwrap().paths.clone()
    }

    fn keep(&self, path: &str, body: Value) {
        let mut state = self.0.lock().unwrap();
        state.paths.push(path.to_owned());
        state.kept.insert(path.to_owned(), body);
    }
}

#[derive(Deserialize, JsonSchema)]
struct Stored {
    path: String,
    body: Value,
}

#[derive(Deserialize, JsonSchema)]
struct Asked {
    path: String,
}

struct Store(Service);
impl Operation for Store {
    type Args = Stored;
    type Output = Value;
    const NAME: &'static str = "box::store";
    const SUMMARY: &'static str = "Stores something.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &Stored) -> Result<Outcome<Value>> {
        let body = cx.reveal(&args.body).await?;
        self.0.keep(&args.path, body.clone());
        Ok(Outcome::done(json!({ "id": format!("/boxes/{}", args.path), "body": body })))
    }
}

struct Read(Service);
impl Operation for Read {
    type Args = Asked;
    type Output = Value;
    const NAME: &'static str = "box::read";
    const SUMMARY: &'static str = "Reads it back.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &Asked) -> Result<Outcome<Value>> {
        self.0.0.lock().unwrap().paths.push(args.path.clone());
        let kept = self.0.0.lock().unwrap().kept.get(&args.path).cloned().unwrap_or_default();
        let text = kept.to_string();
        cx.progress(format!("found {text}"), None);
        Ok(Outcome::done(json!({
            "id": format!("/boxes/{}", args.path),
            "plain": kept,
            "json": text,
            "url": text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>(),
        })))
    }
}

struct Slow(Service);
impl Operation for Slow {
    type Args = Stored;
    type Output = Value;
    const NAME: &'static str = "box::slow";
    const SUMMARY: &'static str = "Stores something in its own time.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Ask;
    async fn begin(&self, cx: &Cx, args: &Stored) -> Result<Outcome<Value>> {
        let body = cx.reveal(&args.body).await?;
        self.0.keep(&args.path, body.clone());
        let status = json!({ "status": format!("https://box/{}?with={body}", args.path) });
        self.0.0.lock().unwrap().continuations.push(status.clone());
        Outcome::pending(&status, Duration::from_secs(3600))
    }
    async fn resume(&self, _: &Cx, _: &Stored, at: &Value) -> Result<Outcome<Value>> {
        self.0.0.lock().unwrap().continuations.push(at.clone());
        Ok(Outcome::done(at.clone()))
    }
}

/// Is refused, or lost on its way, and repeats what it was given, plain and in base64.
struct Fail;
impl Fail {
    fn repeat(secret: &Value) -> String {
        assert_eq!(secret, CANARY, "the operation has the value itself");
        format!("what is {CANARY}, or {CANARY_BASE64}?")
    }
}
impl Operation for Fail {
    type Args = Stored;
    type Output = Value;
    const NAME: &'static str = "box::fail";
    const SUMMARY: &'static str = "Never stores anything.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Probe;
    async fn begin(&self, cx: &Cx, args: &Stored) -> Result<Outcome<Value>> {
        let kind = match args.path.as_str() {
            "denied" => ErrorKind::Denied,
            "invalid" => ErrorKind::Invalid,
            "unsent" => ErrorKind::Unsent,
            _ => ErrorKind::Transient,
        };
        Err(Error::new(kind, Fail::repeat(&cx.reveal(&args.body).await?)))
    }
    async fn probe(&self, cx: &Cx, args: &Stored) -> Result<Probe<Value>> {
        Ok(Probe::Unclear(Fail::repeat(&cx.reveal(&args.body).await?)))
    }
}

/// The environment of one process.
struct Kept(Vec<(&'static str, &'static str)>);

#[async_trait]
impl SecretSource for Kept {
    async fn reveal(&self, name: &str) -> Result<Secret> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| Secret::new(*value))
            .ok_or_else(|| Error::new(ErrorKind::Denied, format!("there is no secret `{name}`")))
    }
}

/// What several processes share.
struct Stage {
    service: Service,
    journal: Arc<MemoryJournal>,
    clock: SteppedClock,
    /// What observers were shown, of all processes.
    shown: Arc<Mutex<String>>,
}

impl Stage {
    fn new() -> Self {
        Stage {
            service: Service::default(),
            journal: Arc::new(MemoryJournal::new()),
            clock: SteppedClock::new("2026-11-20T10:00:00Z".parse::<Timestamp>().unwrap()),
            shown: Arc::default(),
        }
    }

    /// A process with an environment of its own.
    fn process(&self, secrets: &[(&'static str, &'static str)]) -> Engine {
        let shown = self.shown.clone();
        let library = Library::new().ship(
            "child",
            "/*---\ntitle = \"Child\"\neffects = [\"azure:read\"]\n---*/\nask(\"child?\"); box::read(\"it\").plain",
        );
        Engine::builder()
            .operation(Store(self.service.clone()))
            .operation(Read(self.service.clone()))
            .operation(Slow(self.service.clone()))
            .operation(Fail)
            .journal(self.journal.clone())
            .clock(Arc::new(self.clock.clone()))
            .library(library)
            .secrets(Arc::new(Kept(secrets.to_vec())))
            .owner(OwnerId::fresh(), Arc::new(|_| true))
            .observer(Arc::new(move |notice| {
                let text = format!("{:?}\n", notice.event);
                shown.lock().unwrap().push_str(&text);
            }))
            .build()
            .unwrap()
    }

    /// Drives a run until it has come as far as that, and then puts the process away.
    async fn put_away(&self, engine: &Engine, run: &RunId, far: impl Fn() -> bool) {
        let driving = tokio::spawn({
            let (engine, run) = (engine.clone(), run.clone());
            async move { engine.run(&run).await }
        });
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !far() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("the run comes that far");
        engine.interrupt();
        // Whoever comes next must find what was under way on record.
        driving.await.unwrap().unwrap();
    }

    /// Everything that was recorded or shown.
    async fn everything(&self, runs: &[&RunId]) -> String {
        let mut all = self.shown.lock().unwrap().clone();
        for run in runs {
            for record in self.journal.records(run, 0).await.unwrap() {
                all.push_str(&record.body);
                all.push('\n');
            }
        }
        all
    }
}

const HEAD: &str = "/*---\ntitle = \"Test\"\neffects = [\"azure:write\", \"secret\"]\n[params.pw]\ntype = \"secret\"\n[params.group]\ndefault = \"rg-edge\"\n---*/\n";

fn request(body: &str) -> RunRequest {
    RunRequest::new("test").text(format!("{HEAD}{body}")).param("pw", "env:PW")
}

fn assert_clean(everything: &str, secret: &str) {
    let dressed: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for line in everything.lines() {
        for clothes in [secret, &dressed, &CANARY_BASE64[..8]] {
            assert!(!line.contains(clothes), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_an_earlier_process_stays_secret() {
    let stage = Stage::new();
    let first = stage.process(&[("env:PW", CANARY)]);
    let script = "box::store(\"it\", #{ pw: params.pw }); ask(\"go on?\"); let it = box::read(\"it\"); note(it.json); it.plain";
    let run = first.prepare(&request(script)).await.unwrap();
    assert!(matches!(first.run(&run).await.unwrap(), Driven::Parked(Park::Question { .. }, _)));
    // Another process, which reads before it ever uses the secret.
    let second = stage.process(&[("env:PW", CANARY)]);
    second.answer(&run, "yes", "me").await.unwrap();
    let Driven::Ended(RunEnd::Succeeded { value }) = second.run(&run).await.unwrap() else { panic!() };
    assert_eq!(value, json!({ "pw": "secret(env:PW)" }));
    assert_clean(&stage.everything(&[&run]).await, CANARY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_secret_is_gone_asks_for_it_before_it_hears_anything() {
    let stage = Stage::new();
    let first = stage.process(&[("env:PW", CANARY)]);
    let script = "box::store(\"it\", #{ pw: params.pw }); ask(\"go on?\"); box::read(\"it\").plain";
    let run = first.prepare(&request(script)).await.unwrap();
    first.run(&run).await.unwrap();
    let without = stage.process(&[]);
    without.answer(&run, "yes", "me").await.unwrap();
    let Driven::Parked(Park::Denied { failure }, None) = without.run(&run).await.unwrap() else { panic!() };
    assert!(failure.message.contains("env:PW"), "{failure:?}");
    assert_eq!(stage.service.paths(), ["it"], "nothing was asked");
    let with = stage.process(&[("env:PW", CANARY)]);
    assert!(matches!(with.run(&run).await.unwrap(), Driven::Ended(RunEnd::Succeeded { .. })));
    assert_clean(&stage.everything(&[&run]).await, CANARY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_also_a_name_changes_no_request() {
    let stage = Stage::new();
    let script = "box::store(\"it\", #{ pw: params.pw });
        let it = box::read(params.group);
        ask(\"go on?\");
        box::read(it.id.split(\"/\")[2]).id";
    let environment = [("env:PW", "rg-edge")];
    let first = stage.process(&environment);
    let run = first.prepare(&request(script)).await.unwrap();
    first.run(&run).await.unwrap();
    let second = stage.process(&environment);
    second.answer(&run, "yes", "me").await.unwrap();
    let Driven::Ended(RunEnd::Succeeded { value }) = second.run(&run).await.unwrap() else { panic!() };
    assert_eq!(value, json!("/boxes/rg-edge"));
    assert_eq!(stage.service.paths(), ["it", "rg-edge", "rg-edge"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_gets_its_state_back_as_it_was() {
    let stage = Stage::new();
    let first = stage.process(&[("env:PW", "cana\"ry &7f3a")]);
    let run = first.prepare(&request("box::slow(\"it\", #{ pw: params.pw }).status")).await.unwrap();
    stage.put_away(&first, &run, || stage.service.paths().len() == 1).await;
    stage.clock.advance(Duration::from_secs(3600));
    let second = stage.process(&[("env:PW", "cana\"ry &7f3a")]);
    let Driven::Ended(RunEnd::Succeeded { value }) = second.run(&run).await.unwrap() else { panic!() };
    let seen = stage.service.0.lock().unwrap().continuations.clone();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(value, json!("https://box/it?with={\"pw\":\"secret(env:PW)\"}"));
    let everything = stage.everything(&[&run]).await;
    for clothes in ["cana\"ry", "cana\\\"ry", "cana\\\\\"ry", "cana\\\\\\\"ry"] {
        assert!(!everything.contains(clothes), "{clothes} in {everything}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_in_another_process_knows_what_its_parent_used() {
    let stage = Stage::new();
    let first = stage.process(&[("env:PW", CANARY)]);
    let script = "box::store(\"it\", #{ pw: params.pw }); run(\"child\")";
    let run = first.prepare(&request(script)).await.unwrap();
    let child = RunId::derived(&["child", run.as_str(), "2"]);
    stage.put_away(&first, &run, || stage.shown.lock().unwrap().contains("child?")).await;
    let second = stage.process(&[("env:PW", CANARY)]);
    second.answer(&child, "yes", "me").await.unwrap();
    let Driven::Ended(RunEnd::Succeeded { value }) = second.run(&child).await.unwrap() else { panic!() };
    assert_eq!(value, json!({ "pw": "secret(env:PW)" }));
    assert_clean(&stage.everything(&[&run, &child]).await, CANARY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_too_short_to_be_found_is_not_used() {
    let stage = Stage::new();
    let engine = stage.process(&[("env:PW", "1234")]);
    let run = engine.prepare(&request("box::store(\"it\", #{ pw: params.pw })")).await.unwrap();
    let Driven::Parked(Park::Denied { failure }, None) = engine.run(&run).await.unwrap() else { panic!() };
    assert!(failure.message.contains("shorter than 6"), "{failure:?}");
    assert_eq!(stage.service.paths(), Vec::<String>::new());
}

/// Drives a run until it parks on an error that repeats its secret, and says why it did.
async fn parks_without_its_secret(path: &str, options: &str) -> Park {
    let stage = Stage { clock: SteppedClock::jumping(Timestamp::UNIX_EPOCH), ..Stage::new() };
    let engine = stage.process(&[("env:PW", CANARY)]);
    let call = format!("note(\"first\"); box::fail(\"{path}\", params.pw{options})");
    let run = engine.prepare(&request(&call)).await.unwrap();
    let Driven::Parked(told, None) = engine.run(&run).await.unwrap() else { panic!("{path} does not park") };

    let mut parks = Vec::new();
    for record in stage.journal.records(&run, 0).await.unwrap() {
        if let Event::Parked { park, .. } = record.event().unwrap() {
            assert_clean(&record.body, CANARY);
            assert!(record.body.contains("what is secret(env:PW), or secret(env:PW)"), "{}", record.body);
            parks.push(park);
        }
    }
    assert_eq!(parks, std::slice::from_ref(&told));
    let summary = stage.journal.run(&run).await.unwrap().unwrap();
    assert_clean(&format!("{:?}", summary.park), CANARY);
    assert_eq!(summary.park.as_ref(), Some(&told));
    assert_clean(&stage.everything(&[&run]).await, CANARY);
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_run_is_parked_tells_no_secret() {
    let denied = parks_without_its_secret("denied", "").await;
    assert!(matches!(denied, Park::Denied { .. }), "{denied:?}");
    let unclear = parks_without_its_secret("lost", "").await;
    assert!(matches!(unclear, Park::Undecided { .. }), "{unclear:?}");
    for path in ["lost", "unsent"] {
        let exhausted = parks_without_its_secret(path, ", #{ retry: #{ attempts: 1 } }").await;
        assert!(matches!(exhausted, Park::Exhausted { .. }), "{exhausted:?}");
    }
    let mistake = parks_without_its_secret("invalid", "").await;
    assert!(matches!(mistake, Park::Mistake { .. }), "{mistake:?}");
}
