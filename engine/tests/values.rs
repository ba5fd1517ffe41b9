//! Values that scripts hold: times, durations, answers, what cannot be kept, large lists.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use relight_engine::clock::SteppedClock;
use relight_engine::event::{Event, RunEnd};
use relight_engine::journal::{MemoryJournal, OwnerId};
use relight_engine::{
    Cx, Driven, Effect, Engine, Given, Library, Notice, Operation, Outcome, Redo, Result, RunRequest,
    recorded,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Gives its argument back, as data from outside.
struct Echo;

#[derive(Deserialize, JsonSchema)]
struct Said {
    /// JSON text.
    text: String,
}

impl Operation for Echo {
    type Args = Said;
    type Output = Value;
    const NAME: &'static str = "box::echo";
    const SUMMARY: &'static str = "Gives data back.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, _: &Cx, args: &Said) -> Result<Outcome<Value>> {
        Ok(Outcome::done(serde_json::from_str(&args.text).unwrap()))
    }
}

/// Reads every sort of argument and says what it read.
struct Read;

#[derive(Deserialize, JsonSchema)]
struct ReadArgs {
    /// A time.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// A duration.
    duration: relight_engine::Span,
    /// Anything.
    body: Value,
}

#[derive(Serialize, JsonSchema)]
struct Seen {
    at: Timestamp,
    raw: String,
    sent: Value,
}

impl Operation for Read {
    type Args = ReadArgs;
    type Output = Seen;
    const NAME: &'static str = "box::read";
    const SUMMARY: &'static str = "Reads arguments.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &ReadArgs) -> Result<Outcome<Seen>> {
        let raw = format!("{} {}", args.time, args.duration);
        let sent = cx.reveal(&args.body).await?;
        Ok(Outcome::done(Seen { at: args.time.parse().unwrap(), raw, sent }))
    }
}

/// Answers with as much as it is asked for.
struct Large;

#[derive(Deserialize, JsonSchema)]
struct Size {
    /// How many machines.
    machines: usize,
    /// How deep.
    depth: usize,
}

impl Operation for Large {
    type Args = Size;
    type Output = Value;
    const NAME: &'static str = "box::large";
    const SUMMARY: &'static str = "Answers with much.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, _: &Cx, args: &Size) -> Result<Outcome<Value>> {
        let machine = |n: usize| {
            let fields =
                (0..30).map(|f| (format!("field_{f}"), json!(format!("the value of {f} in {n:05}"))));
            Value::Object(fields.chain([("name".to_owned(), json!(format!("vm-{n:05}")))]).collect())
        };
        let mut value: Value = (0..args.machines).map(machine).collect();
        for _ in 0..args.depth {
            value = json!([value]);
        }
        Ok(Outcome::done(value))
    }
}

struct Bench {
    journal: Arc<MemoryJournal>,
    clock: SteppedClock,
    notices: Arc<Mutex<Vec<Notice>>>,
    library: Library,
}

impl Bench {
    fn new() -> Self {
        Bench {
            journal: Arc::new(MemoryJournal::new()),
            clock: SteppedClock::jumping("2026-11-20T20:00:00Z".parse().unwrap()),
            notices: Arc::default(),
            library: Library::new(),
        }
    }

    fn with(mut self, name: &str, params: &str, script: &str) -> Self {
        let text = format!("/*---\ntitle = \"{name}\"\neffects = [\"secret\"]\n{params}\n---*/\n{script}");
        self.library = self.library.ship(name, &text);
        self
    }

    fn engine(&self) -> Engine {
        let notices = self.notices.clone();
        Engine::builder()
            .operation(Echo)
            .operation(Read)
            .operation(Large)
            .journal(self.journal.clone())
            .clock(Arc::new(self.clock.clone()))
            .library(self.library.clone())
            .owner(OwnerId::fresh(), Arc::new(|_: &OwnerId| true))
            .observer(Arc::new(move |notice: &Notice| notices.lock().unwrap().push(notice.clone())))
            .build()
            .unwrap()
    }

    async fn run(&self, name: &str) -> RunEnd {
        let engine = self.engine();
        let run = engine.prepare(&RunRequest::new(name)).await.unwrap();
        let Driven::Ended(end) = engine.run(&run).await.unwrap() else { panic!("the run is not over") };
        end
    }

    fn steps(&self) -> usize {
        let notices = self.notices.lock().unwrap();
        notices.iter().filter(|notice| matches!(notice.event, Event::StepStarted { .. })).count()
    }
}

async fn value_of(script: &str) -> Value {
    match Bench::new().with("a", "", script).run("a").await {
        RunEnd::Succeeded { value } => recorded::plain(&value),
        other => panic!("{script}\n{other:?}"),
    }
}

/// The error of a script, and how many steps it recorded.
async fn failure_of(script: &str) -> (String, usize) {
    let bench = Bench::new().with("a", "", script);
    let engine = bench.engine();
    let run = match engine.prepare(&RunRequest::new("a")).await {
        Ok(run) => run,
        Err(error) => return (format!("{error:?}"), 0),
    };
    let driven = engine.run(&run).await.unwrap();
    (format!("{driven:?}"), bench.steps())
}

#[tokio::test]
async fn times_and_durations_have_arithmetic() {
    for (script, expected) in [
        (r#"let t0 = now(); wait("90s"); now() - t0"#, json!("1m 30s")),
        (r#"let t0 = now(); wait(duration("1h 30m")); (now() - t0).minutes"#, json!(90)),
        (r#"let t = now() + duration("2h"); wait_until(t); now() >= t"#, json!(true)),
        (r#"time("2026-11-20T22:00:00Z") - duration("30m")"#, json!("2026-11-20T21:30:00Z")),
        (r#"duration("1h") + time("2026-11-20T22:00:00Z")"#, json!("2026-11-20T23:00:00Z")),
        (r#"duration("1h") * 2 + duration("1m") / 2 - 3 * duration("10s")"#, json!("2h")),
        (r#"duration("90m") / duration("1h")"#, json!(1.5)),
        (r#"let d = duration("36h"); [d.days, d.hours, d.minutes, d.seconds]"#, json!([1, 36, 2160, 129600])),
        (r#"let early = now(); early - (early + duration("1m"))"#, json!("1m ago")),
        (
            r#"`${time("2026-11-20T22:00:00.5Z")} for ${duration("1h30m")}`"#,
            json!("2026-11-20T22:00:00Z for 1h 30m"),
        ),
        (r#""at " + now() + ", " + duration("5m") + " left""#, json!("at 2026-11-20T20:00:00Z, 5m left")),
        (r#"[type_of(now()), type_of(duration("1s"))]"#, json!(["time", "duration"])),
        (
            r#"let t = (); [t == now(), now() != t, max(duration("1m"), duration("2m"))]"#,
            json!([false, true, "2m"]),
        ),
        (r#"#{ at: now(), all: [duration("5m")] }"#, json!({ "at": "2026-11-20T20:00:00Z", "all": ["5m"] })),
        (
            r#"let a = [duration("3m"), duration("1m")]; a.sort(|a, b| (a - b).seconds); a[0] in a && a == [duration("1m"), duration("3m")]"#,
            json!(true),
        ),
    ] {
        assert_eq!(value_of(script).await, expected, "{script}");
    }
}

#[tokio::test]
async fn what_has_no_meaning_is_refused_with_what_to_write() {
    for (script, says) in [
        ("now() + now()", "time - time is a duration"),
        ("now() * 2", "a time * a number has no meaning"),
        ("now() + 5", "time + duration"),
        (r#"duration("1m") + 5"#, "write durations on both sides"),
        (r#"5 - duration("1m")"#, "write durations on both sides"),
        (r#"duration("1m") < 90"#, "compare it with a duration"),
        (r#"now() > "2026-11-20T20:00:00Z""#, "a time cannot be compared with a text"),
        (r#""2026-11-20T20:00:00Z" == now()"#, "time(\\\"2026-11-20T22:00:00Z\\\")"),
        (r#"now() == duration("1m")"#, "a time cannot be compared with a duration"),
        (r#"now() < ()"#, "a time cannot be compared with ()"),
        (r#"duration("1m") / 0"#, "divided by zero"),
        (r#"duration("soon")"#, "is not a duration"),
        (r#"time("tomorrow")"#, "is not a point in time"),
        (r#"wait(now() - (now() + duration("1m")))"#, "negative"),
        (r#"wait(now())"#, "is not a duration"),
        (r#"time("9999-12-30T22:00:00Z") + duration("100000d")"#, "beyond what can be counted"),
    ] {
        let (error, _) = failure_of(script).await;
        assert!(error.contains(says), "{script}\n{error}");
    }
}

#[tokio::test]
async fn special_values_read_back_as_what_they_were_and_data_never_does() {
    let script = r#"
        let seen = box::read(now(), duration("90m"), #{ at: now(), "$schema": #{ "$time": "x" } });
        let data = box::echo(`{"$time":"2026-11-20T20:00:00Z"}`);
        let secret = box::echo(`{"$secret":"env:PW"}`);
        let body = box::read("2026-11-20T20:00:00Z", "1h", secret).sent;
        let child = run("child", #{ params: #{ at: seen.at, pause: duration("2h"), what: data } });
        [seen.at - now(), seen.raw, seen.sent, type_of(data), data, body, child]"#;
    let params =
        "[params.at]\ntype = \"time\"\n[params.pause]\ntype = \"duration\"\n[params.what]\ntype = \"map\"";
    let child = r#"#{ ends: params.at + params.pause, what: type_of(params.what["$time"]) }"#;
    let bench = Bench::new().with("a", "", script).with("child", params, child);
    let end = bench.run("a").await;
    let RunEnd::Succeeded { value } = end else { panic!("{end:?}") };
    assert_eq!(
        recorded::plain(&value),
        json!([
            "0s",
            "2026-11-20T20:00:00Z 1h 30m",
            { "at": "2026-11-20T20:00:00Z", "$schema": { "$time": "x" } },
            "map",
            { "$time": "2026-11-20T20:00:00Z" },
            { "$secret": "env:PW" },
            { "ends": "2026-11-20T22:00:00Z", "what": "string" },
        ])
    );
}

#[tokio::test]
async fn parameters_of_these_types_arrive_as_these_types() {
    let params = "[params.at]\ntype = \"time\"\nmin = \"2026-01-01T00:00:00Z\"\n[params.pause]\ntype = \"duration\"\ndefault = \"2h\"\nmax = \"8h\"";
    let bench = Bench::new().with("a", params, "[params.at + params.pause, params.pause.hours]");
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a").param("at", "2026-11-20T20:00:00+01:00")).await.unwrap();
    let Driven::Ended(RunEnd::Succeeded { value }) = engine.run(&run).await.unwrap() else { panic!() };
    assert_eq!(recorded::plain(&value), json!(["2026-11-20T21:00:00Z", 2]));
    let early = engine.prepare(&RunRequest::new("a").param("at", "2025-11-20T20:00:00Z")).await;
    assert!(format!("{:?}", early.unwrap_err()).contains("at least 2026-01-01"));
    let long = RunRequest::new("a").param("at", "2026-11-20T20:00:00Z").param("pause", "9h");
    assert!(format!("{:?}", engine.prepare(&long).await.unwrap_err()).contains("at most 8h"));
    let mut forged = RunRequest::new("a");
    forged.params.push(("at".into(), Given::Value(json!({ "$duration": "2h" }))));
    assert!(format!("{:?}", engine.prepare(&forged).await.unwrap_err()).contains("a time is needed"));
}

#[tokio::test]
async fn a_pattern_is_a_regular_expression() {
    let bench = Bench::new().with("a", "[params.vm]\npattern = \"[a-z]+-[0-9]{2}\"", "params.vm");
    let engine = bench.engine();
    assert!(engine.prepare(&RunRequest::new("a").param("vm", "web-01")).await.is_ok());
    let error = engine.prepare(&RunRequest::new("a").param("vm", "web-1")).await.unwrap_err();
    assert!(format!("{error:?}").contains("must look like [a-z]+-[0-9]{2}"), "{error:?}");
    let bench = Bench::new().with("a", "[params.vm]\npattern = \"[a-z\"", "1");
    let error = bench.engine().prepare(&RunRequest::new("a").param("vm", "a")).await.unwrap_err();
    assert!(format!("{error:?}").contains("no regular expression"), "{error:?}");
}

#[tokio::test]
async fn a_wrong_retry_map_is_refused_before_anything_is_recorded() {
    for (retry, says) in [
        ("42", "no map"),
        ("#{ attemps: 3 }", "unknown field `attemps`"),
        ("#{ within: 10 }", "invalid type"),
        ("#{ attempts: 0 }", "at least 1"),
    ] {
        for script in [
            format!("box::echo(\"1\", #{{ retry: {retry} }})"),
            format!("let wrong = {retry}; box::echo(\"1\", #{{ retry: wrong }})"),
        ] {
            let (error, steps) = failure_of(&script).await;
            assert!(error.contains(says) && error.contains("retry"), "{script}\n{error}");
            assert_eq!(steps, 0, "{script}");
        }
    }
    assert_eq!(value_of(r#"box::echo("1", #{ retry: #{ attempts: 2, within: duration("1m") } })"#).await, 1);
}

#[tokio::test]
async fn progress_of_a_script_is_seen_and_only_when_it_happens() {
    let bench =
        Bench::new().with("a", "", r#"progress("begin"); wait("1h"); progress("half", 50); wait("1h");"#);
    bench.run("a").await;
    let notices = bench.notices.lock().unwrap();
    let said: Vec<_> = notices
        .iter()
        .filter_map(|notice| match &notice.event {
            Event::Progress { progress, .. } if !progress.message.starts_with("waiting") => {
                Some((progress.message.as_str(), progress.percent))
            }
            _ => None,
        })
        .collect();
    assert_eq!(said, [("begin", None), ("half", Some(50.0))]);
}

#[tokio::test]
async fn a_site_with_five_thousand_machines_lists() {
    let script = r#"
        let vms = box::large(5000, 0);
        let names = [];
        for vm in vms { names.push(vm.name); }
        let report = "";
        for vm in vms { report += `${vm.name}: ${vm.field_3}\n`; }
        let odd = vms.filter(|vm| vm.name.ends_with("1"));
        note(report);
        [vms.len(), names[4999], report.len() > 100000, odd.len()]"#;
    assert_eq!(value_of(script).await, json!([5000, "vm-04999", true, 500]));
}

#[tokio::test]
async fn what_could_not_be_read_back_is_refused_before_it_is_recorded() {
    let deep = "let deep = []; for n in 0..130 { deep = [deep]; } ";
    for (script, says) in [
        (format!("{deep} note(deep)"), "nested 64 deep"),
        (
            format!("{deep} let child = \"child\"; run(child, #{{ params: #{{ x: deep }} }})"),
            "nested 64 deep",
        ),
        (r#"let s = "0123456789abcdef"; for n in 0..20 { s += s; } note(s)"#.to_owned(), "8 MiB"),
        ("let a = []; a.pad(250000, 0); note(a)".to_owned(), "250000 parts"),
    ] {
        let (error, steps) = failure_of(&script).await;
        assert!(error.contains(says), "{script}\n{error}");
        assert_eq!(steps, 0, "{script}");
    }
    for (script, says) in [
        ("box::large(1, 70)", "nested 64 deep"),
        ("box::large(9000, 0)", "8 MiB"),
        (r#"box::echo("18446744073709551615")"#, "too large for a script"),
    ] {
        let (error, steps) = failure_of(script).await;
        assert!(error.contains(says) && error.contains("kind: Rejected"), "{script}\n{error}");
        assert_eq!(steps, 1, "{script}");
    }
}
