//! What a step holds open: opened again in another process, closed in order, whatever becomes of the run.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use relight_engine::clock::SteppedClock;
use relight_engine::event::{Event, Park, RunEnd, Stream};
use relight_engine::journal::{Claim, ClaimRequest, Journal, MemoryJournal, NewRun, OwnerId, Sync};
use relight_engine::worker::Worker;
use relight_engine::{
    Attached, Cx, Driven, Effect, Engine, Error, Handle, Library, Operation, Outcome, Redo, Registered,
    Reopen, Result, RunId, RunRequest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What was opened, used and closed, in order, by all processes.
type Log = Arc<Mutex<Vec<String>>>;

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    name: String,
    /// What it goes through.
    #[serde(default)]
    over: Option<Handle>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Recipe {
    name: String,
    /// Chosen when it was opened first.
    number: usize,
}

struct Live {
    name: String,
    number: usize,
}

macro_rules! attached {
    ($type:ident, $name:literal, $reopen:expr) => {
        struct $type(Log);
        impl Attached for $type {
            type Args = Wanted;
            type Recipe = Recipe;
            type Live = Live;
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "Holds something open.";
            const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
            const REOPEN: Reopen = $reopen;
            async fn open(&self, cx: &Cx, args: &Wanted, again: Option<&Recipe>) -> Result<(Recipe, Live)> {
                if let Some(over) = &args.over {
                    cx.live::<Live>(over).await?;
                }
                let name = args.name.clone();
                let number = {
                    let mut log = self.0.lock().unwrap();
                    log.push(format!("{} {name}", if again.is_some() { "reopen" } else { "open" }));
                    again.map_or(99 + log.len(), |recipe| recipe.number)
                };
                if name == "refused" && again.is_some() {
                    return Err(Error::rejected("the port is taken"));
                }
                if name == "hangs" {
                    std::future::pending::<()>().await;
                }
                Ok((Recipe { name: name.clone(), number }, Live { name, number }))
            }
            async fn close(&self, cx: &Cx, live: &Live) {
                self.0.lock().unwrap().push(format!("close {}", live.name));
                cx.output(Stream::Stderr, format!("{} is closed\n", live.name).as_bytes());
                if live.name == "stuck" {
                    std::future::pending::<()>().await;
                }
            }
        }
    };
}

attached!(Session, "session::open", Reopen::OnUse);
attached!(Port, "port::open", Reopen::WithRun);

#[derive(Deserialize, JsonSchema)]
struct Used {
    on: Handle,
}

/// Uses what is open.
struct Use(Log);
impl Operation for Use {
    type Args = Used;
    type Output = usize;
    const NAME: &'static str = "session::send";
    const SUMMARY: &'static str = "Uses a session.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    async fn begin(&self, cx: &Cx, args: &Used) -> Result<Outcome<usize>> {
        let live = cx.live::<Live>(&args.on).await?;
        self.0.lock().unwrap().push(format!("use {}", live.name));
        Ok(Outcome::done(live.number))
    }
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

/// Needs a person's terminal.
struct Shell(Log);
impl Operation for Shell {
    type Args = Nothing;
    type Output = ();
    const NAME: &'static str = "shell::open";
    const SUMMARY: &'static str = "Opens a shell.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    const TERMINAL: bool = true;
    async fn begin(&self, _: &Cx, _: &Nothing) -> Result<Outcome<()>> {
        self.0.lock().unwrap().push("shell".into());
        Ok(Outcome::done(()))
    }
}

struct Bench {
    log: Log,
    journal: Arc<MemoryJournal>,
    clock: SteppedClock,
    library: Library,
}

impl Bench {
    fn new(script: &str) -> Self {
        let text = format!("/*---\ntitle = \"a\"\neffects = [\"azure:write\"]\n---*/\n{script}\n");
        Bench {
            log: Log::default(),
            journal: Arc::new(MemoryJournal::new()),
            clock: SteppedClock::jumping("2026-11-20T22:00:00Z".parse().unwrap()),
            library: Library::new().ship("a", &text),
        }
    }

    /// A new process over the same journal, to which every other one is gone.
    fn engine(&self) -> Engine {
        Engine::builder()
            .operations([
                Registered::attached(Session(self.log.clone())),
                Registered::attached(Port(self.log.clone())),
                Registered::new(Use(self.log.clone())),
                Registered::new(Shell(self.log.clone())),
            ])
            .journal(self.journal.clone())
            .clock(Arc::new(self.clock.clone()))
            .library(self.library.clone())
            .grace(Duration::from_millis(100))
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

    /// Answers the question on which a run is parked, and goes on with it in another process.
    async fn answer(&self, run: &RunId) -> Driven {
        let engine = self.engine();
        engine.answer(run, "yes", "ada").await.unwrap();
        engine.run(run).await.unwrap()
    }

    /// Returns what was done since the last look.
    fn done(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    async fn until(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.log.lock().unwrap().iter().any(|done| done == what) {
            assert!(Instant::now() < deadline, "{what} did not come");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn events(&self, run: &RunId) -> Vec<Event> {
        let records = self.journal.records(run, 0).await.unwrap();
        records.iter().map(|record| record.event().unwrap()).collect()
    }
}

fn value(driven: &Driven) -> &Value {
    match driven {
        Driven::Ended(RunEnd::Succeeded { value }) => value,
        other => panic!("expected success, got {other:?}"),
    }
}

#[tokio::test]
async fn two_are_closed_in_order_and_what_they_say_is_on_record() {
    let bench = Bench::new(
        r#"let a = session::open("a"); session::open("b"); session::send(a); session::send(a.handle)"#,
    );
    let (run, driven) = bench.run().await;
    assert_eq!(value(&driven), &json!(100));
    assert_eq!(bench.done(), ["open a", "open b", "use a", "use a", "close b", "close a"]);
    let events = bench.events(&run).await;
    let kept = events.iter().filter(|event| matches!(event, Event::OutputKept { .. })).count();
    assert_eq!(kept, 2);
    assert!(matches!(events.last(), Some(Event::Finished { .. })), "nothing comes behind the end");
}

#[tokio::test]
async fn a_run_that_goes_on_elsewhere_opens_it_again_when_it_is_used() {
    let bench = Bench::new(
        r#"let a = session::open("a"); session::open("unused"); ask("Go on?"); wait("3h"); session::send(a)"#,
    );
    let (run, driven) = bench.run().await;
    assert!(matches!(driven, Driven::Parked(Park::Question { .. }, _)), "{driven:?}");
    assert_eq!(bench.done(), ["open a", "open unused", "close unused", "close a"]);
    assert_eq!(value(&bench.answer(&run).await), &json!(100), "the recipe is the one of the first time");
    assert_eq!(bench.done(), ["reopen a", "use a", "close a"]);
}

#[tokio::test]
async fn what_goes_through_another_is_closed_before_it() {
    let script = r#"let t = session::open("tunnel"); let s = session::open("inner", #{ over: t });
                    ask("Go on?"); session::send(s)"#;
    let bench = Bench::new(script);
    let (run, _) = bench.run().await;
    assert_eq!(bench.done(), ["open tunnel", "open inner", "close inner", "close tunnel"]);
    bench.answer(&run).await;
    assert_eq!(bench.done(), ["reopen tunnel", "reopen inner", "use inner", "close inner", "close tunnel"]);
}

#[tokio::test]
async fn a_port_is_open_before_its_run_goes_on_and_while_it_waits() {
    let bench = Bench::new(r#"port::open("p"); ask("Go on?"); wait("3h"); note("waited"); 1"#);
    let (run, _) = bench.run().await;
    assert_eq!(bench.done(), ["open p", "close p"]);
    let engine = bench.engine();
    engine.answer(&run, "yes", "ada").await.unwrap();
    // However impatient: a run that is put away to wait would close the port.
    assert_eq!(value(&engine.drive(&run, Duration::ZERO).await.unwrap()), &json!(1));
    assert_eq!(bench.done(), ["reopen p", "close p"]);
}

#[tokio::test]
async fn what_is_only_replayed_opens_nothing() {
    let bench = Bench::new(r#"port::open("refused"); let n = 0; for i in 0..30 { n += i; } n"#);
    let (run, _) = bench.run().await;
    assert_eq!(bench.done(), ["open refused", "close refused"]);
    // The same history without its end, as a process leaves it that dies a moment before.
    let journal = Arc::new(MemoryJournal::new());
    let mut events = bench.events(&run).await;
    assert!(matches!(events.pop(), Some(Event::Finished { .. })));
    let Event::Prepared(prepared) = events.remove(0) else { panic!("{events:?}") };
    let sources = bench.journal.sources(&run).await.unwrap();
    let now = "2026-11-20T22:00:00Z".parse().unwrap();
    let new = NewRun::new(run.clone(), *prepared, sources);
    journal.prepare(new, now).await.unwrap();
    let dead = OwnerId::fresh();
    journal.heartbeat(&dead, now).await.unwrap();
    let Claim::Granted(tenure) = journal.claim(&ClaimRequest::new(&run, &dead, now)).await.unwrap() else {
        panic!("held")
    };
    for event in events
        .into_iter()
        .filter(|event| matches!(event, Event::StepStarted { .. } | Event::StepFinished { .. }))
    {
        journal.append(&tenure, &[event], now, Sync::Now).await.unwrap();
    }
    let bench = Bench { journal, ..bench };
    assert_eq!(value(&bench.engine().run(&run).await.unwrap()), &json!(435));
    assert_eq!(bench.done(), [""; 0]);
}

#[tokio::test]
async fn a_port_that_cannot_be_opened_again_parks_the_run_and_does_not_keep_it_from_a_stop() {
    let bench = Bench::new(r#"port::open("refused"); ask("Go on?"); 1"#);
    let (run, _) = bench.run().await;
    let driven = bench.answer(&run).await;
    let Driven::Parked(Park::Exhausted { failure }, _) = driven else { panic!("{driven:?}") };
    assert_eq!(failure.message, "the port is taken");
    let engine = bench.engine();
    engine.stop(&run, "ada").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Stopped { .. })));
}

#[tokio::test]
async fn a_stop_closes_it_and_what_is_deferred_still_uses_it() {
    let bench = Bench::new(r#"let a = session::open("a"); defer(|| session::send(a)); wait("3h")"#);
    let clock = SteppedClock::new("2026-11-20T22:00:00Z".parse().unwrap());
    let bench = Bench { clock, ..bench };
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    let driving = tokio::spawn({
        let (engine, run) = (engine.clone(), run.clone());
        async move { engine.run(&run).await }
    });
    bench.until("open a").await;
    bench.engine().stop(&run, "ada").await.unwrap();
    while !driving.is_finished() {
        bench.clock.advance(Duration::from_secs(6));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let driven = driving.await.unwrap().unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Stopped { .. })), "{driven:?}");
    assert_eq!(bench.done(), ["open a", "use a", "close a"]);
}

#[tokio::test]
async fn neither_an_opening_nor_a_closing_that_hangs_holds_anything_up_for_long() {
    let bench = Bench::new(r#"session::open("stuck"); session::open("hangs")"#);
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    let driving = tokio::spawn({
        let (engine, run) = (engine.clone(), run.clone());
        async move { engine.run(&run).await }
    });
    bench.until("open hangs").await;
    let began = Instant::now();
    engine.interrupt();
    assert_eq!(driving.await.unwrap().unwrap(), Driven::Parked(Park::Interrupted, None));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(bench.done(), ["open stuck", "open hangs", "close stuck"]);
    // Opening leaves nothing behind: it simply begins again.
    let again = bench.engine();
    let driving = tokio::spawn({
        let (again, run) = (again.clone(), run.clone());
        async move { again.run(&run).await }
    });
    bench.until("open hangs").await;
    again.interrupt();
    assert_eq!(driving.await.unwrap().unwrap(), Driven::Parked(Park::Interrupted, None));
}

#[tokio::test]
async fn a_handle_that_names_nothing_open_is_an_error_of_its_step() {
    for (script, said) in [
        (r#"session::send("nobody/3")"#, "`nobody/3` is not open"),
        (r#"session::open("a"); session::send(42)"#, "handle"),
    ] {
        let (_, driven) = Bench::new(script).run().await;
        let told = format!("{driven:?}");
        assert!(told.contains(said), "{told}");
    }
}

#[tokio::test]
async fn what_needs_a_terminal_is_not_done_without_one() {
    let bench = Bench::new("shell::open(); 1");
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error}"));
    worker.tick().await.unwrap();
    worker.settle().await;
    let summary = bench.journal.run(&run).await.unwrap().unwrap();
    assert_eq!(summary.park, Some(Park::Terminal { operation: "shell::open".into() }));
    assert_eq!(summary.wake, None, "no service comes back to it");
    assert_eq!(bench.done(), [""; 0]);
    let attended = bench.engine();
    attended.attend();
    assert_eq!(value(&attended.run(&run).await.unwrap()), &json!(1));
    assert_eq!(bench.done(), ["shell"]);
}
