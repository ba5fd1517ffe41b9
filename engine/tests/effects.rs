//! What is declared is true: effects reach as far as a run does, and only a secret is a secret.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use relight_engine::clock::SteppedClock;
use relight_engine::event::{Effected, Event, Park, RunEnd};
use relight_engine::journal::{Journal, MemoryJournal};
use relight_engine::worker::Worker;
use relight_engine::{
    Cx, Driven, Effect, Engine, Error, ErrorKind, Failure, Library, Operation, Outcome, Redo, Result, RunId,
    RunRequest, Secret, SecretSource,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// A cloud with one resource. What was sent to it stands in a list, with secrets in plain text.
#[derive(Clone, Default)]
struct Cloud(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    resource: Value,
    sent: Vec<Value>,
    replies_lost: u32,
}

impl Cloud {
    fn sent(&self) -> Vec<Value> {
        self.0.lock().unwrap().sent.clone()
    }

    fn send(&self, body: Value) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        state.sent.push(body);
        if state.replies_lost > 0 {
            state.replies_lost -= 1;
            return Err(Error::new(ErrorKind::Transient, "the reply was lost"));
        }
        Ok(())
    }
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Deserialize, JsonSchema)]
struct Body {
    body: Value,
}

struct Read(Cloud);
impl Operation for Read {
    type Args = Nothing;
    type Output = Value;
    const NAME: &'static str = "cloud::read";
    const SUMMARY: &'static str = "Reads the resource.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, _: &Cx, _: &Nothing) -> Result<Outcome<Value>> {
        Ok(Outcome::done(self.0.0.lock().unwrap().resource.clone()))
    }
}

struct Fail(Cloud);
impl Operation for Fail {
    type Args = Nothing;
    type Output = Value;
    const NAME: &'static str = "cloud::fail";
    const SUMMARY: &'static str = "Is refused, with the resource among the details.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, _: &Cx, _: &Nothing) -> Result<Outcome<Value>> {
        let details = vec![self.0.0.lock().unwrap().resource.clone()];
        let mut service = relight_engine::ServiceError::default();
        service.details = details;
        Err(Error::rejected("refused").service(service))
    }
}

struct Write(Cloud);
impl Operation for Write {
    type Args = Body;
    type Output = Value;
    const NAME: &'static str = "cloud::write";
    const SUMMARY: &'static str = "Replaces the resource.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &Body) -> Result<Outcome<Value>> {
        let body = cx.reveal(&args.body).await?;
        self.0.send(body.clone())?;
        Ok(Outcome::done(body))
    }
}

/// Changes the world, and its author found no word for it.
struct Mail(Cloud);
impl Operation for Mail {
    type Args = Body;
    type Output = ();
    const NAME: &'static str = "mail::send";
    const SUMMARY: &'static str = "Sends a mail.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Ask;
    async fn begin(&self, _: &Cx, args: &Body) -> Result<Outcome<()>> {
        self.0.send(args.body.clone())?;
        Ok(Outcome::done(()))
    }
}

#[derive(Deserialize, JsonSchema)]
struct Appoint {
    #[schemars(extend("format" = "runbook"))]
    runbook: String,
    params: Value,
}

struct Later;
impl Operation for Later {
    type Args = Appoint;
    type Output = ();
    const NAME: &'static str = "later::run";
    const SUMMARY: &'static str = "Has a runbook run in an hour.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &Appoint) -> Result<Outcome<()>> {
        let due = cx.after(Duration::from_secs(3600));
        let schedule = cx.schedule(&args.runbook, due).params(args.params.clone());
        Ok(Outcome::done(()).with(Effected::Scheduled(Box::new(schedule))))
    }
}

struct Vault;
#[async_trait]
impl SecretSource for Vault {
    async fn reveal(&self, name: &str) -> Result<Secret> {
        Ok(Secret::new(format!("the value of {name}")))
    }
}

struct Bench {
    cloud: Cloud,
    clock: SteppedClock,
    journal: Arc<MemoryJournal>,
    library: Library,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Bench {
            cloud: Cloud::default(),
            clock: SteppedClock::jumping("2026-11-20T22:00:00Z".parse().unwrap()),
            journal: Arc::new(MemoryJournal::new()),
            library: Library::new().folder(folder.path()),
            folder,
        }
    }

    /// A bench whose cloud holds a resource.
    fn holding(resource: Value) -> Self {
        let bench = Bench::new();
        bench.cloud.0.lock().unwrap().resource = resource;
        bench
    }

    /// Writes a runbook into the library: lines of front matter, then the script.
    fn book(&self, name: &str, effects: &[&str], matter: &str, script: &str) {
        let text = format!("/*---\ntitle = \"{name}\"\neffects = {effects:?}\n{matter}\n---*/\n{script}\n");
        self.file(name, &text);
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(format!("{name}.rhai")), text).unwrap();
    }

    fn engine(&self) -> Engine {
        Engine::builder()
            .operation(Read(self.cloud.clone()))
            .operation(Fail(self.cloud.clone()))
            .operation(Write(self.cloud.clone()))
            .operation(Mail(self.cloud.clone()))
            .operation(Later)
            .journal(self.journal.clone())
            .clock(Arc::new(self.clock.clone()))
            .library(self.library.clone())
            .secrets(Arc::new(Vault))
            .build()
            .unwrap()
    }

    async fn run(&self, request: RunRequest) -> (RunId, Driven) {
        let engine = self.engine();
        let run = engine.prepare(&request).await.unwrap();
        let driven = engine.run(&run).await.unwrap();
        (run, driven)
    }

    /// Runs a script of these effects to its end.
    async fn script(&self, effects: &[&str], script: &str) -> Driven {
        self.book("main", effects, "", script);
        self.run(RunRequest::new("main")).await.1
    }

    /// Every record of a run as one text.
    async fn records(&self, run: &RunId) -> String {
        let records = self.journal.records(run, 0).await.unwrap();
        records.into_iter().map(|record| record.body + "\n").collect()
    }
}

fn value(driven: &Driven) -> &Value {
    match driven {
        Driven::Ended(RunEnd::Succeeded { value }) => value,
        other => panic!("expected success, got {other:?}"),
    }
}

/// Why a run did not go on, whether it ended or waits for a person.
fn refusal(driven: &Driven) -> &Failure {
    match driven {
        Driven::Ended(RunEnd::Failed { failure, .. }) | Driven::Parked(Park::Mistake { failure, .. }, _) => {
            failure
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

// ---- what may be repeated ------------------------------------------------------------------------

#[tokio::test]
async fn an_operation_without_a_word_for_its_effect_is_not_sent_again() {
    let bench = Bench::new();
    bench.cloud.0.lock().unwrap().replies_lost = 9;
    let driven = bench.script(&[], r#"mail::send("hello")"#).await;
    assert!(matches!(driven, Driven::Parked(Park::Undecided { .. }, None)), "{driven:?}");
    assert_eq!(bench.cloud.sent(), [json!("hello")]);
}

// ---- a secret is a type --------------------------------------------------------------------------

/// What somebody who can write JSON into a resource would like to be taken for a secret.
fn bait() -> Value {
    json!({ "location": "here", "tags": { "$secret": "env:X" }, "list": [{ "$secret": "env:X" }, { "$$secret": 1 }] })
}

#[tokio::test]
async fn what_came_from_the_cloud_is_written_back_as_it_is() {
    let bench = Bench::holding(bait());
    let script = "let r = cloud::read(); r.location = \"there\"; cloud::write(r)";
    let driven = bench.script(&["azure:write", "secret"], script).await;
    let mut expected = bait();
    expected["location"] = json!("there");
    assert_eq!(bench.cloud.sent(), [expected]);
    assert!(!value(&driven).to_string().contains("the value of"), "{driven:?}");
}

#[tokio::test]
async fn json_is_data_whichever_way_it_comes() {
    for (road, script) in [
        ("a result", "let x = cloud::read().tags;"),
        ("an error", "let x = (); try { cloud::fail() } catch (e) { x = e.details[0].tags; }"),
        ("text", r#"let x = parse_json("{\"$secret\":\"env:X\"}");"#),
        ("a map", r#"let x = #{ "$secret": "env:X" };"#),
        ("a thrown map", r#"let x = (); try { throw #{ "$secret": "env:X" } } catch (e) { x = e; }"#),
        ("a child's value", r#"let x = run("child", #{ params: #{ x: cloud::read().tags } });"#),
        ("a map's own text", r#"let x = parse_json(#{ "$secret": "env:X" }.to_json());"#),
    ] {
        let bench = Bench::holding(bait());
        let map = "[params.x]\ntype = \"map\"\nrequired = false";
        bench.book("child", &[], map, "params.x");
        let driven = bench.script(&["azure:write", "secret"], &format!("{script} cloud::write(x)")).await;
        value(&driven);
        assert_eq!(bench.cloud.sent(), [json!({ "$secret": "env:X" })], "{road}");
    }
}

#[tokio::test]
async fn a_parameter_is_a_secret_only_by_its_type() {
    let bench = Bench::new();
    let params = "[params.a]\ntype = \"map\"\n[params.b]\ntype = \"secret\"";
    bench.book("main", &["azure:write"], params, "cloud::write([params.a, params.b])");
    let request = RunRequest::new("main").param("a", r#"{"$secret":"env:X"}"#).param("b", "env:Y");
    let (run, driven) = bench.run(request).await;
    value(&driven);
    assert_eq!(bench.cloud.sent(), [json!([{ "$secret": "env:X" }, "the value of env:Y"])]);
    assert!(!bench.records(&run).await.contains("the value of"));
}

#[tokio::test]
async fn a_secret_stays_one_on_its_way_through_a_child() {
    let bench = Bench::new();
    bench.book(
        "child",
        &["azure:write"],
        "[params.pw]\ntype = \"secret\"",
        "cloud::write(params.pw); params.pw",
    );
    let script = r#"cloud::write(run("child", #{ params: #{ pw: secret("env:PW") } }))"#;
    value(&bench.script(&["azure:write", "secret"], script).await);
    assert_eq!(bench.cloud.sent(), [json!("the value of env:PW"), json!("the value of env:PW")]);
}

#[tokio::test]
async fn a_script_cannot_make_a_secret_of_text() {
    let bench = Bench::holding(json!({ "name": "env:X" }));
    bench.book("child", &["azure:write"], "[params.pw]\ntype = \"secret\"", "cloud::write(params.pw)");
    // The parent may use a secret of its own, and still cannot name another one.
    bench.book(
        "main",
        &["azure:write"],
        "[params.own]\ntype = \"secret\"\ndefault = \"env:OWN\"",
        r#"run("child", #{ params: #{ pw: cloud::read().name } })"#,
    );
    let (_, driven) = bench.run(RunRequest::new("main")).await;
    assert!(refusal(&driven).message.contains("pw"), "{driven:?}");
    assert!(bench.cloud.sent().is_empty());
}

// ---- effects reach as far as a run does ----------------------------------------------------------

#[tokio::test]
async fn a_child_may_do_no_more_than_its_parent() {
    for script in [
        r#"run("child")"#,
        r#"let name = "chi" + "ld"; run(name)"#,
        r#"Fn("run").call("child")"#,
        r#""child".run()"#,
    ] {
        let bench = Bench::new();
        bench.book("child", &["azure:write"], "", "cloud::write(1)");
        bench.book("main", &["azure:read"], "", script);
        let engine = bench.engine();
        let why = match engine.prepare(&RunRequest::new("main")).await {
            Err(error) => format!("{error:?}"),
            Ok(run) => format!("{:?}", refusal(&engine.run(&run).await.unwrap())),
        };
        assert!(why.contains("azure:write"), "{script}: {why}");
        assert!(bench.cloud.sent().is_empty(), "{script}");
    }
}

#[tokio::test]
async fn a_grandchild_may_do_no_more_than_the_first_of_the_line() {
    let bench = Bench::new();
    bench.book("grandchild", &["azure:write"], "", "cloud::write(1)");
    bench.book("child", &["azure:write"], "", r#"run("grand" + "child")"#);
    bench.book("main", &["azure:read"], "", r#"run("chi" + "ld")"#);
    let (_, driven) = bench.run(RunRequest::new("main")).await;
    refusal(&driven);
    assert!(bench.cloud.sent().is_empty());
}

#[tokio::test]
async fn what_a_run_schedules_may_do_no_more_than_the_run() {
    for name in [r#""later""#, r#""la" + "ter""#] {
        let bench = Bench::new();
        bench.book("later", &["azure:read"], "", "cloud::read()");
        bench.book("main", &["azure:read"], "", &format!("later::run({name}, #{{}})"));
        let engine = bench.engine();
        let run = engine.prepare(&RunRequest::new("main")).await.unwrap();
        value(&engine.run(&run).await.unwrap());
        // The library changes before the schedule is due: it uses the new text, and no more than was granted.
        bench.book("later", &["azure:write"], "", "cloud::write(1)");
        bench.clock.advance(Duration::from_secs(7200));
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = complaints.clone();
        let mut worker =
            Worker::new(&engine, move |what, error| heard.lock().unwrap().push(format!("{what}: {error}")));
        worker.tick().await.unwrap();
        worker.settle().await;
        assert!(bench.cloud.sent().is_empty(), "{name}");
        let complaints = complaints.lock().unwrap();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
    }
}

#[tokio::test]
async fn a_schedule_beyond_the_effects_is_refused_when_it_is_made() {
    for name in [r#""later""#, r#""la" + "ter""#] {
        let bench = Bench::new();
        bench.book("later", &["azure:write"], "", "cloud::write(1)");
        bench.book("main", &["azure:read"], "", &format!("later::run({name}, #{{}})"));
        let engine = bench.engine();
        let why = match engine.prepare(&RunRequest::new("main")).await {
            Err(error) => format!("{error:?}"),
            Ok(run) => format!("{:?}", refusal(&engine.run(&run).await.unwrap())),
        };
        assert!(why.contains("azure:write"), "{name}: {why}");
        assert!(bench.journal.schedules().await.unwrap().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn an_import_may_do_no_more_than_its_importer() {
    let bench = Bench::new();
    bench.file("tools", "fn poke() { cloud::write(1) }");
    bench.book("main", &["azure:read"], "", "import \"tools\" as tools; tools::poke()");
    let findings = bench.engine().check("main").unwrap();
    assert!(format!("{findings:?}").contains("cloud::write"), "{findings:?}");
    // What its own front matter asks for must be covered too, called or not.
    bench.book("tools", &["ssh"], "", "fn poke() { 1 }");
    let findings = bench.engine().check("main").unwrap();
    assert!(format!("{findings:?}").contains("ssh"), "{findings:?}");
}

#[tokio::test]
async fn a_call_is_found_however_it_is_written() {
    let bench = Bench::new();
    let calls = [
        r#""env:PW".secret()"#,
        r#"Fn("secret").call("env:PW")"#,
        r#"[1].map(|x| secret("env:PW"))"#,
        r#"`${secret("env:PW")}`"#,
    ];
    for script in calls {
        bench.book("main", &[], "", script);
        let findings = format!("{:?}", bench.engine().check("main").unwrap());
        assert!(findings.contains("`secret` requires the effect `secret`"), "{script}: {findings}");
    }
    // A function of the script's own is no operation, whatever it is called.
    bench.book("main", &[], "", r#"fn secret(name) { name + "!" } secret("mine")"#);
    assert!(bench.engine().check("main").unwrap().is_empty());
    bench.file("tools", "fn write(x) { x }");
    bench.book("main", &[], "", r#"import "tools" as cloud; cloud::write(1)"#);
    let findings = format!("{:?}", bench.engine().check("main").unwrap());
    assert!(findings.contains("an import cannot be called `cloud`"), "{findings}");
}

// ---- children are pinned -------------------------------------------------------------------------

#[tokio::test]
async fn children_are_pinned_with_the_run() {
    let bench = Bench::new();
    bench.file("words", "fn hello() { \"old\" }");
    bench.book("grandchild", &["azure:write"], "", "import \"words\" as words; cloud::write(words::hello())");
    bench.book("child", &["azure:write"], "", r#"wait("2h"); run("grandchild")"#);
    bench.book("main", &["azure:write"], "", r#"wait("2h"); run("child")"#);
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("main")).await.unwrap();
    let driven = engine.drive(&run, Duration::ZERO).await.unwrap();
    assert!(matches!(driven, Driven::Parked(Park::Waiting, Some(_))), "{driven:?}");
    bench.file("words", "fn hello() { \"new\" }");
    for name in ["child", "grandchild"] {
        std::fs::remove_file(bench.folder.path().join(format!("{name}.rhai"))).unwrap();
    }
    let driven = bench.engine().run(&run).await.unwrap();
    value(&driven);
    assert_eq!(bench.cloud.sent(), [json!("old")]);
}

#[tokio::test]
async fn a_child_with_a_computed_name_is_taken_from_the_library_as_it_is_then() {
    let bench = Bench::new();
    bench.book("child", &["azure:write"], "", r#"cloud::write("old")"#);
    bench.book("main", &["azure:write"], "", r#"wait("2h"); run("chi" + "ld")"#);
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("main")).await.unwrap();
    engine.drive(&run, Duration::ZERO).await.unwrap();
    bench.book("child", &["azure:write"], "", r#"cloud::write("new")"#);
    value(&bench.engine().run(&run).await.unwrap());
    assert_eq!(bench.cloud.sent(), [json!("new")]);
}

#[tokio::test]
async fn the_texts_of_children_are_part_of_the_evidence() {
    let bench = Bench::new();
    bench.book("child", &["azure:write"], "", "1");
    bench.book("main", &["azure:write"], "", r#"run("child")"#);
    let (run, _) = bench.run(RunRequest::new("main")).await;
    let records = bench.journal.records(&run, 0).await.unwrap();
    let Event::Prepared(prepared) = records[0].event().unwrap() else { panic!("not prepared") };
    let names: Vec<&str> = prepared.sources.iter().map(|pin| pin.name.as_str()).collect();
    assert_eq!(names, ["main", "child"]);
}

// ---- effects of the embedding program ------------------------------------------------------------

/// An operation with an effect that only the embedding program knows.
struct Ring(Cloud);
impl Operation for Ring {
    type Args = Body;
    type Output = ();
    const NAME: &'static str = "phone::ring";
    const SUMMARY: &'static str = "Rings somebody.";
    const EFFECTS: &'static [Effect] = &[Effect::Custom { word: "telephony", read_only: false }];
    const REDO: Redo = Redo::Ask;
    async fn begin(&self, _: &Cx, args: &Body) -> Result<Outcome<()>> {
        self.0.send(args.body.clone())?;
        Ok(Outcome::done(()))
    }
}

#[tokio::test]
async fn a_program_names_effects_of_its_own() {
    let cloud = Cloud::default();
    let matter =
        |effects: &str| format!("/*---\ntitle = \"x\"\neffects = [{effects}]\n---*/\nphone::ring(1)");
    let library = Library::new()
        .ship("says-so", &matter("\"telephony\""))
        .ship("says-nothing", &matter(""))
        .ship("misspells", &matter("\"telefony\""));
    let engine = Engine::builder().operation(Ring(cloud.clone())).library(library.clone()).build().unwrap();
    for (name, says) in [
        ("says-nothing", "`phone::ring` requires the effect"),
        ("misspells", "there is no effect `telefony`"),
    ] {
        let shown = format!("{:?}", engine.check(name).unwrap());
        assert!(shown.contains(says), "{shown}");
    }
    let shown = format!("{:?}", engine.check("misspells").unwrap());
    assert!(shown.contains("http, screen, secret, telephony"), "{shown}");
    let run = engine.prepare(&RunRequest::new("says-so")).await.unwrap();
    value(&engine.run(&run).await.unwrap());
    assert_eq!(cloud.sent(), [json!(1)]);
    // Without the operation the word means nothing.
    let without = Engine::builder().library(library).build().unwrap();
    let shown = format!("{:?}", without.check("says-so").unwrap());
    assert!(shown.contains("there is no effect `telephony`"), "{shown}");
}

#[tokio::test]
async fn a_secret_goes_only_where_secrets_are_declared() {
    let bench = Bench::new();
    // What is not a parameter of type `secret` hands a secret on, and cannot use it.
    bench.book("child", &["azure:write"], "[params.x]\ntype = \"list\"", "cloud::write(params.x)");
    let script = r#"run("child", #{ params: #{ x: [secret("env:PW")] } })"#;
    let driven = bench.script(&["azure:write", "secret"], script).await;
    assert!(bench.cloud.sent().is_empty(), "{driven:?}");
    // A child that takes a secret uses one: its parent must say so.
    bench.book(
        "child",
        &["azure:write"],
        "[params.pw]\ntype = \"secret\"\ndefault = \"env:PW\"",
        "cloud::write(params.pw)",
    );
    bench.book("main", &["azure:write"], "", r#"run("child")"#);
    let error = bench.engine().prepare(&RunRequest::new("main")).await.unwrap_err();
    assert!(format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn a_name_with_its_ending_is_the_same_text() {
    let bench = Bench::new();
    // It names itself: reading it must come to an end.
    bench.file("round", "import \"round.rhai\" as round; fn hello() { 1 }");
    bench.book("looks", &[], "", "import \"round\" as round; 1");
    assert!(bench.engine().check("looks").unwrap().is_empty());
    bench.book("main", &["azure:write"], "", "import \"words.rhai\" as words; cloud::write(words::hello())");
    bench.file("words", "fn hello() { \"hello\" }");
    let (_, driven) = bench.run(RunRequest::new("main")).await;
    value(&driven);
    assert_eq!(bench.cloud.sent(), [json!("hello")]);
}
