//! Traces go to a collector that holds them to the protocol: what is sent, one trace for what belongs together, and nothing that a run
//! would wait for.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::receiver::{Fate, Receiver, Told};
use crate::support::stage::{Ended, Stage, ended, files_below, signal};

const PATIENCE: Duration = Duration::from_secs(60);
const SUCCESS: Fate = Fate::Answer("200 OK\r\ncontent-type: application/json\r\n\r\n{}");
const UNAVAILABLE: Fate = Fate::Answer("503 Service Unavailable\r\n");

fn collector(fates: impl IntoIterator<Item = Fate>) -> Receiver {
    Receiver::start(fates.into_iter().chain(std::iter::repeat_n(SUCCESS, 200)))
}

fn configure(stage: &Stage, collector: &Receiver, more: &str) {
    let section = format!("[traces]\nendpoint = \"{}\"\n{more}\n", collector.url(""));
    stage.sealed.write("home/.config/relight/relight.toml", &section);
}

fn runbook(stage: &Stage, name: &str, script: &str) {
    stage
        .sealed
        .runbook(name, &format!("/*---\ntitle = \"{name}\"\neffects = [\"azure:write\"]\n---*/\n{script}\n"));
}

fn run(stage: &Stage, args: &[&str]) -> Ended {
    let ran = stage.relight(&[&["run"], args].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

fn id(stage: &Stage, runbook: &str) -> String {
    stage.newest(runbook).expect("the run")["id"].as_str().expect("an id").to_owned()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A span that keeps to the protocol.
#[derive(Clone, Debug)]
struct Span(Value);

impl Span {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn attribute(&self, name: &str) -> &str {
        let all = self.0["attributes"].as_array().expect("attributes");
        let found = all.iter().find(|attribute| attribute["key"] == name);
        let value = found.map(|attribute| &attribute["value"]);
        value
            .and_then(|value| value["stringValue"].as_str().or(value["intValue"].as_str()))
            .unwrap_or_default()
    }

    fn events(&self) -> Vec<&str> {
        let all = self.0["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|event| event["name"].as_str().expect("a name")).collect()
    }
}

/// Every span of what was told, held to the protocol: a name that the protocol does not know, or a form that it does not take, is a mistake.
#[track_caller]
fn spans(told: &[Told]) -> Vec<Span> {
    let mut spans = Vec::new();
    for told in told {
        assert_eq!(told.path, "/v1/traces");
        assert_eq!(told.header("content-type"), "application/json");
        let body = told.json();
        only(&body, &["resourceSpans"]);
        for from in body["resourceSpans"].as_array().expect("a list") {
            only(from, &["resource", "scopeSpans"]);
            only(&from["resource"], &["attributes"]);
            attributes(&from["resource"]);
            assert!(from["resource"].to_string().contains("service.name"), "{from:#}");
            for scope in from["scopeSpans"].as_array().expect("a list") {
                only(scope, &["scope", "spans"]);
                only(&scope["scope"], &["name", "version"]);
                spans.extend(scope["spans"].as_array().expect("a list").iter().map(span));
            }
        }
    }
    spans
}

#[track_caller]
fn span(span: &Value) -> Span {
    let known = ["traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano"];
    only(span, &[&known[..], &["attributes", "events", "links", "status"]].concat());
    identifier(&span["traceId"], 32);
    identifier(&span["spanId"], 16);
    if let Some(parent) = span.get("parentSpanId") {
        identifier(parent, 16);
    }
    assert_eq!(span["kind"].as_u64(), Some(1), "an enumeration is a number: {span:#}");
    assert!(!span["name"].as_str().expect("a text").is_empty());
    let (began, ended) = (nanoseconds(&span["startTimeUnixNano"]), nanoseconds(&span["endTimeUnixNano"]));
    assert!(began <= ended, "{span:#}");
    attributes(span);
    for event in span.get("events").map(|all| all.as_array().expect("a list").as_slice()).unwrap_or_default()
    {
        only(event, &["timeUnixNano", "name", "attributes"]);
        assert!(nanoseconds(&event["timeUnixNano"]) >= began, "{span:#}");
        attributes(event);
    }
    for link in span.get("links").map(|all| all.as_array().expect("a list").as_slice()).unwrap_or_default() {
        only(link, &["traceId", "spanId", "attributes"]);
        identifier(&link["traceId"], 32);
        identifier(&link["spanId"], 16);
        attributes(link);
    }
    if let Some(status) = span.get("status") {
        only(status, &["code", "message"]);
        assert_eq!(status["code"].as_u64(), Some(2), "{span:#}");
        assert!(status["message"].is_string(), "{span:#}");
    }
    Span(span.clone())
}

#[track_caller]
fn only(object: &Value, known: &[&str]) {
    for name in object.as_object().expect("an object").keys() {
        assert!(known.contains(&name.as_str()), "{name} in {object:#}");
    }
}

#[track_caller]
fn identifier(value: &Value, length: usize) {
    let text = value.as_str().expect("a text");
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    assert!(text.len() == length && is_hex && text.bytes().any(|byte| byte != b'0'), "{text}");
}

#[track_caller]
fn nanoseconds(value: &Value) -> u64 {
    value.as_str().expect("a text").parse().expect("a whole number")
}

#[track_caller]
fn attributes(of: &Value) {
    for attribute in
        of.get("attributes").map(|all| all.as_array().expect("a list").as_slice()).unwrap_or_default()
    {
        only(attribute, &["key", "value"]);
        assert!(attribute["key"].is_string(), "{attribute}");
        only(&attribute["value"], &["stringValue", "intValue"]);
        let value = attribute["value"].as_object().expect("an object");
        assert!(value.len() == 1 && value.values().all(Value::is_string), "{attribute}");
    }
}

/// The span of a run as the whole.
#[track_caller]
fn of_run<'a>(spans: &'a [Span], run: &str) -> &'a Span {
    let is_whole =
        |span: &&Span| span.attribute("relight.run") == run && span.attribute("relight.step").is_empty();
    let found: Vec<&Span> = spans.iter().filter(is_whole).collect();
    assert_eq!(found.len(), 1, "the span of run {run}, once: {spans:#?}");
    found[0]
}

/// The trace of a run as anybody works it out.
fn trace_by_hand(run: &str) -> String {
    let script = format!("printf 'relight trace {run}' | sha256sum | cut -c1-32");
    let output = Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_its_children_and_its_branches_are_one_trace() {
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let collector = collector([]);
        configure(&stage, &collector, "service = \"edge\"");
        runbook(&stage, "child", "now(); 1");
        let script = "let one = run(\"child\");\n\
                      all([1, 2], |n| { now(); n });\n\
                      try { arm::get(\"/subscriptions/x/resourceGroups/none\", \"2022-09-01\") } catch (e) {}\n\
                      throw \"it broke\";";
        runbook(&stage, "parent", script);
        let ran = stage.relight(&["run", "parent", "--label", "ticket=INC7"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let all = spans(&collector.told());
        let (parent, child) = (id(&stage, "parent"), id(&stage, "child"));

        let whole = of_run(&all, &parent);
        assert_eq!(whole.text("traceId"), trace_by_hand(&parent));
        assert!(whole.0.get("parentSpanId").is_none(), "{whole:#?}");
        assert_eq!((whole.text("name"), whole.attribute("relight.label.ticket")), ("parent", "INC7"));
        assert_eq!((whole.attribute("relight.end"), whole.attribute("relight.cause")), ("failed", "person"));
        assert!(whole.0["status"]["message"].as_str().expect("why").contains("it broke"), "{whole:#?}");

        assert!(all.iter().all(|span| span.text("traceId") == whole.text("traceId")), "{all:#?}");
        let known: BTreeSet<&str> = all.iter().map(|span| span.text("spanId")).collect();
        assert_eq!(known.len(), all.len(), "each once: {all:#?}");
        for span in all.iter().filter(|span| span.text("spanId") != whole.text("spanId")) {
            assert!(known.contains(span.text("parentSpanId")), "its parent is there: {span:#?}");
        }
        let steps: Vec<&Span> = all
            .iter()
            .filter(|span| {
                span.attribute("relight.run") == parent && !span.attribute("relight.step").is_empty()
            })
            .collect();
        let names: Vec<&str> = steps.iter().map(|span| span.text("name")).collect();
        assert_eq!(names, ["run", "all", "arm::get"]);
        assert_eq!(of_run(&all, &child).text("parentSpanId"), steps[0].text("spanId"));
        for branch in 0..2 {
            let branch = of_run(&all, &format!("{parent}.2.{branch}"));
            assert_eq!(branch.text("parentSpanId"), steps[1].text("spanId"));
        }
        assert!(steps[2].0["status"]["message"].is_string(), "{:#?}", steps[2]);
        assert_eq!(steps[2].attribute("relight.line"), "7", "{:#?}", steps[2]);

        // Again is another trace, which names the first one.
        let again = stage.relight(&["runs", "rerun", &parent]);
        assert_eq!(again.code, Some(1), "{again:?}");
        let (again, all) = (id(&stage, "parent"), spans(&collector.told()));
        let second = of_run(&all, &again);
        assert_eq!(second.text("traceId"), trace_by_hand(&again));
        assert_eq!(second.0["links"][0]["traceId"], whole.text("traceId"));
        assert_eq!(second.0["links"][0]["spanId"], whole.text("spanId"));

        let shown = stage.relight(&["runs", "show", &child]);
        assert!(shown.out.contains(&format!("trace    {}", trace_by_hand(&parent))), "{}", shown.out);
    });
}

/// Not now, and not now: then it is taken, the same spans each time. What lets one in goes along, and is in nothing that is left behind;
/// nor is a secret of the run in what is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_not_taken_is_sent_again_and_no_secret_is_told() {
    const CANARY: &str = "canary-7f3a9c51e2";
    const KEY: &str = "Bearer canary-otlp-51b0";
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let collector = collector([
            UNAVAILABLE,
            Fate::Close,
            Fate::Answer("429 Too Many Requests\r\nretry-after: 1\r\n"),
        ]);
        configure(&stage, &collector, "headers = { authorization = \"env:OTLP_AUTH\" }");
        let text = "/*---\ntitle = \"leaks\"\neffects = [\"azure:write\", \"secret\"]\n[params.token]\nhelp = \"x\"\ntype = \"secret\"\n---*/\n\
                    let group = \"/subscriptions/x/resourceGroups/\" + params.token.to_string();\n\
                    try { arm::put(group, \"2022-09-01\", #{ tags: #{ token: params.token } }) } catch (e) { note(e.message) }\n\
                    try { arm::get(\"/x/\" + secret(\"env:CANARY\").to_string(), \"2022-09-01\") } catch (e) { note(e.message) }\n\
                    throw `it broke with ${params.token}`;";
        stage.sealed.runbook("leaks", text);
        let mut command = stage.command(&["-vv", "serve"]);
        let serve = command.env("CANARY", CANARY).env("OTLP_AUTH", KEY).spawn().expect("relight starts");
        let ran = stage.relight(&["run", "leaks", "token=env:CANARY", "--detach"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        collector.until("it is taken", |told| told.len() == 4);
        let served = stop(serve);
        let told = collector.told();
        assert!(told[..4].windows(2).all(|two| two[0].body == two[1].body), "the same spans each time");
        let pause = told[3].at.duration_since(told[2].at);
        assert!(pause >= Duration::from_secs(1), "it asked for a second: {pause:?}");
        assert!(told.iter().all(|told| told.header("authorization") == KEY));
        let all = spans(&told[3..]);
        let failed = of_run(&all, &id(&stage, "leaks"));
        assert!(failed.text("name") == "leaks" && failed.0["status"]["message"].is_string(), "{failed:#?}");
        assert_eq!(
            served.err.matches("traces are not taken: it answered 503").count(),
            1,
            "said once: {}",
            served.err
        );
        assert!(served.err.contains("the collector takes traces again; 0 spans are lost"), "{}", served.err);

        let mut left: Vec<(String, Vec<u8>)> =
            told.iter().map(|told| ("a body".to_owned(), told.body.clone().into_bytes())).collect();
        left.push(("serve".to_owned(), format!("{}{}", served.out, served.err).into_bytes()));
        for path in files_below(&stage.sealed.path("state")) {
            left.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
        }
        assert!(left.iter().any(|(name, _)| name.ends_with("relight.db")), "the journal is looked at");
        for (name, bytes) in left {
            for secret in [CANARY, "canary-otlp-51b0"] {
                let holds = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!holds, "{name} has {secret}");
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_doctor_asks_whether_the_collector_takes_anything() {
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let line = |doctor: Ended| -> Vec<String> {
            let of_traces = |line: &&str| line.contains("traces");
            doctor.out.lines().filter(of_traces).map(str::to_owned).collect()
        };
        assert_eq!(line(stage.relight(&["doctor"])), [""; 0], "no collector, no word of it");
        let collector = collector([SUCCESS, Fate::Answer("401 Unauthorized\r\n")]);
        configure(&stage, &collector, "headers = { authorization = \"env:OTLP_AUTH\" }");
        let doctor = || {
            let mut command = stage.command(&["doctor"]);
            line(ended(command.env("OTLP_AUTH", "Bearer x").spawn().expect("relight starts")))
        };
        let well = doctor();
        assert!(well.len() == 1 && well[0].starts_with("ok") && well[0].ends_with(" takes them"), "{well:?}");
        let shut = doctor();
        assert!(shut[0].starts_with("warn") && shut[0].contains("it answered 401"), "{shut:?}");
        let told = collector.told();
        assert!(
            told.iter().all(|told| told.header("authorization") == "Bearer x" && told.path == "/v1/traces")
        );
        assert_eq!(told[0].body, r#"{"resourceSpans":[]}"#);
        let missing = line(stage.relight(&["doctor"]));
        assert!(missing[0].contains("OTLP_AUTH"), "{missing:?}");
    });
}

/// A collector that is not there, one that says nothing, one that refuses: the run is the same, and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_does_not_care_for_its_collector() {
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        runbook(&stage, "quick", "now(); \"done\"");
        let own = run(&stage, &["quick"]);
        let silent = Receiver::start(std::iter::repeat_n(Fate::Silence, 99));
        let refuses = Receiver::start(std::iter::repeat_n(Fate::Answer("401 Unauthorized\r\n"), 99));
        let moved = Receiver::start(std::iter::repeat_n(
            Fate::Answer("307 Temporary Redirect\r\nlocation: /elsewhere\r\n"),
            99,
        ));
        let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        for (url, says) in [
            (format!("http://{nobody}"), "2 spans are lost: no collector took them"),
            (silent.url(""), "2 spans are lost: the collector did not take them in time"),
            (refuses.url(""), "traces are not taken: it answered 401"),
            (moved.url(""), "traces are not taken: it answered 307: it wants the spans elsewhere"),
        ] {
            stage
                .sealed
                .write("home/.config/relight/relight.toml", &format!("[traces]\nendpoint = \"{url}\"\n"));
            let began = Instant::now();
            let ran = run(&stage, &["quick", "-v"]);
            println!("traces: {url}: the run took {:?}", began.elapsed());
            assert_eq!(ran.out, own.out, "{url}");
            assert!(ran.err.contains(says), "{url}: {}", ran.err);
        }
        assert_eq!(
            (silent.told().len(), refuses.told().len(), moved.told().len()),
            (1, 1, 1),
            "once for the run"
        );
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_told_unless_somebody_named_a_collector() {
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let collector = collector([]);
        runbook(&stage, "quick", "now(); 1");
        run(&stage, &["quick"]);
        let shown = stage.relight(&["runs", "show", &id(&stage, "quick")]);
        assert!(!shown.out.contains("trace"), "{}", shown.out);
        configure(&stage, &collector, "");
        let with = |variables: &[(&str, String)]| {
            let mut command = stage.command(&["run", "quick"]);
            let ran = ended(command.envs(variables.iter().cloned()).spawn().expect("relight starts"));
            assert_eq!(ran.code, Some(0), "{ran:?}");
        };
        with(&[("OTEL_SDK_DISABLED", "true".to_owned())]);
        assert!(collector.told().is_empty(), "{:#?}", collector.told());
        stage.sealed.write("home/.config/relight/relight.toml", "");
        with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url("/")),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b".to_owned()),
            ("OTEL_SERVICE_NAME", "edge".to_owned()),
        ]);
        let told = collector.told();
        let all = spans(&told);
        assert_eq!(all.len(), 2, "the run and its step: {all:#?}");
        assert_eq!(told[0].header("x-key"), "a b");
        assert!(told[0].body.contains("\"edge\""), "{}", told[0].body);

        let section = "[traces]\nendpoint = \"http://otel.example:4318\"\n";
        stage.sealed.write("home/.config/relight/relight.toml", section);
        let refused = stage.relight(&["run", "quick"]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains("in the clear") && refused.err.contains("endpoint = "), "{refused:?}");
    });
}

/// What is left to tell when a service is asked to end is told before it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_ends_tells_what_is_left() {
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let collector = collector([]);
        configure(&stage, &collector, "");
        runbook(&stage, "quick", "now(); 1");
        let serve = stage.command(&["serve"]).spawn().expect("relight starts");
        run(&stage, &["quick", "--detach"]);
        until("it is over", || stage.newest("quick").is_some_and(|run| run["status"] == "succeeded"));
        stop(serve);
        let all = spans(&collector.told());
        of_run(&all, &id(&stage, "quick"));
        assert_eq!(all.len(), 2, "{all:#?}");
    });
}

/// Killed in the middle of a run, and followed by another: one trace, in which the run is once and everything has its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_process_goes_on_with_the_trace() {
    let stage = Stage::new(600).await;
    tokio::task::block_in_place(|| {
        let collector = collector([]);
        configure(&stage, &collector, "");
        runbook(&stage, "waits", "now(); wait(\"1h\"); now(); 1");
        let first = stage.command(&["serve"]).spawn().expect("relight starts");
        run(&stage, &["waits", "--detach"]);
        let run = id(&stage, "waits");
        let events = |name: &str| -> Vec<Value> {
            let all = stage.lines(&["runs", "show", &run, "--json"]);
            all.into_iter().filter(|event| event["event"] == name).collect()
        };
        until("it waits", || events("step_started").len() == 2);
        signal(first.id(), "KILL");
        assert_eq!(ended(first).code, None, "it was killed");
        assert!(events("finished").is_empty(), "in the middle of the run");
        let next = stage.command(&["serve"]).spawn().expect("relight starts");
        let told = collector
            .until("the run is told", |told| spans(told).iter().any(|span| span.text("name") == "waits"));
        stop(next);
        let all = spans(&told);
        assert!(all.iter().all(|span| span.text("traceId") == trace_by_hand(&run)), "{all:#?}");
        let names: BTreeSet<&str> = all.iter().map(|span| span.text("spanId")).collect();
        assert_eq!(names.len(), all.len(), "each once: {all:#?}");
        let at = |event: &Value| {
            let at: jiff::Timestamp = event["time"].as_str().expect("a time").parse().expect("a time");
            at.as_nanosecond().to_string()
        };
        let whole = of_run(&all, &run);
        let prepared = &events("prepared")[0];
        assert_eq!(whole.text("startTimeUnixNano"), at(prepared), "as the record has it: {prepared:#}");
        assert_eq!(whole.text("endTimeUnixNano"), at(&events("finished")[0]));
        assert!(whole.events().iter().filter(|name| **name == "claimed").count() >= 2, "{whole:#?}");
        let waited = all.iter().find(|span| span.attribute("relight.step") == "2").expect("the wait");
        assert_eq!(waited.text("startTimeUnixNano"), at(&events("step_started")[1]), "begun by who is dead");
    });
}

fn stop(serve: Child) -> Ended {
    signal(serve.id(), "TERM");
    let served = ended(serve);
    assert_eq!(served.code, Some(0), "{served:?}");
    served
}
