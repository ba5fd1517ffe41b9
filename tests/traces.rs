//! Traces go to a collector that holds them to the protocol: what is sent, one trace for what belongs together, and nothing that a run
//! would wait for.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
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
        value.and_then(|value| value["stringValue"].as_str().or(value["intValue"].as_str())).unwrap_or_default()
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
    for event in span.get("events").map(|all| all.as_array().expect("a list").as_slice()).unwrap_or_default() {
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
    for attribute in of.get("attributes").map(|all| all.as_array().expect("a list").as_slice()).unwrap_or_default() {
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
    let is_whole = |span: &&Span| span.attribute("relight.run") == run && span.attribute("relight.step").is_empty();
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
            .filter(|span| span.attribute("relight.run") == parent && !span.attribute("relight.step").is_empty())
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
