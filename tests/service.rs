//! A service in ordinary life: stopped in good order, killed, started beside a person, and asked to stop a run.

use std::io::{BufRead, BufReader};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use relight_engine::clock::Clock;
use serde_json::Value;

use crate::support::sealed::Sealed;
use crate::support::stage::{Stage, ended, signal, stand_still};

/// Slow enough that a heartbeat lasts for several seconds of the wall clock.
const SPEED: u32 = 30;

/// The longest that a state is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn runbook(stage: &Stage, name: &str, script: &str) {
    let front = format!("title = \"{name}\"\neffects = [\"azure:write\"]");
    stage.sealed.runbook(name, &format!("/*---\n{front}\n---*/\n{script}\n"));
}

/// Changes a tag of the group, which shows in the lab's ledger.
fn tag(name: &str) -> String {
    format!(
        r#"arm::patch("/subscriptions/" + local::vm("web-01").id.split("/")[2] + "/resourceGroups/rg-edge", "2022-09-01", #{{ tags: #{{ {name}: "yes" }} }});"#
    )
}

fn effects(stage: &Stage) -> usize {
    stage.lab.ledger().iter().filter(|entry| entry.effect).count()
}

fn status(stage: &Stage, runbook: &str) -> String {
    let run = stage.newest(runbook);
    run.map_or_else(String::new, |run| run["status"].as_str().expect("a status").to_owned())
}

fn id(stage: &Stage, runbook: &str) -> String {
    stage.newest(runbook).expect("the run")["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_is_stopped_hands_its_runs_to_the_next() {
    for how in ["TERM", "HUP", "KILL"] {
        // A heartbeat lasts for 18 seconds.
        let stage = Stage::new(10).await;
        tokio::task::block_in_place(|| {
            runbook(&stage, "child", &format!("{} wait(\"50s\"); {}", tag("one"), tag("two")));
            runbook(&stage, "parent", &format!("run(\"child\"); {}", tag("three")));
            assert_eq!(stage.relight(&["run", "parent", "--detach"]).code, Some(0));
            let serve = stage.command(&["serve"]).spawn().expect("relight starts");
            // Killed between its effect and the record of it, a step may only be asked about.
            until("the child waits", || stage.newest("child").is_some_and(|child| child["step"] == 3));
            signal(serve.id(), how);
            let serve = ended(serve);
            if how == "KILL" {
                let left = stage.relight(&["runs"]);
                assert!(
                    left.out.contains("left behind") && left.out.contains("relight runs resume"),
                    "{left:?}"
                );
            } else {
                assert_eq!(serve.code, Some(0), "{serve:?}");
            }
            let next = stage.command(&["serve"]).spawn().expect("relight starts");
            let began = Instant::now();
            until("the parent is over", || status(&stage, "parent") == "succeeded");
            println!("service: over {:?} after {how} and a new start", began.elapsed());
            assert!(began.elapsed() < Duration::from_secs(15), "{how}: no heartbeat is waited for");
            signal(next.id(), "TERM");
            assert_eq!(ended(next).code, Some(0));
            assert_eq!(effects(&stage), 3, "{how}: {:#?}", stage.lab.ledger());
        });
    }
}

/// What the API has resumed is no less the service's: nobody is asked whether the VM was restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_driven_for_a_request_comes_to_its_record_before_a_service_ends() {
    let stage = Stage::new(SPEED).await;
    let (ops, run, mut serve, said, url) = tokio::task::block_in_place(|| {
        runbook(&stage, "restarts", "wait(\"2m\"); local::restart(\"db-01\").power_state");
        let person = stage.command(&["run", "restarts"]).spawn().expect("relight starts");
        until("it waits", || stage.newest("restarts").is_some_and(|run| run["step"] == 1));
        // Only whoever resumes it goes on with it, and not the worker of the service.
        signal(person.id(), "INT");
        assert_eq!(ended(person).code, Some(3));
        // With a wait before it, it would be put away and taken up by the worker after all.
        let over = stage.clock.now() + Duration::from_secs(120);
        until("there is nothing to wait for", || stage.clock.now() > over);
        let mut serve = stage.command(&["serve", "--listen", "127.0.0.1:0"]).spawn().expect("relight starts");
        let mut said = BufReader::new(serve.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let listening = said.find(|line| line.contains("listening at")).expect("an address");
        let (_, url) = listening.split_once("listening at ").expect("an address");
        let ops = stage.relight(&["token", "create", "ops", "--role", "run"]).out;
        (ops, id(&stage, "restarts"), serve, Mutex::new(said), url.to_owned())
    });
    let service = serve.id();
    stage.lab.on_write(move |_| {
        signal(service, "TERM");
        let _ = said.lock().expect("one request").find(|line| line.contains("Letting the runs park"));
        // In this time a service that waits for nothing is gone.
        std::thread::sleep(Duration::from_secs(1));
    });
    let resume = reqwest::Client::new().post(format!("{url}/v1/runs/{run}/resume")).bearer_auth(ops.trim());
    assert_eq!(resume.send().await.expect("an answer").status(), 202);
    tokio::task::block_in_place(|| {
        assert!(serve.wait().expect("an end").success());
        assert_eq!(status(&stage, "restarts"), "parked");
        let resumed = stage.relight(&["runs", "resume", &run]);
        assert_eq!(resumed.code, Some(0), "{resumed:?}");
        assert_eq!(effects(&stage), 1, "{:#?}", stage.lab.ledger());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_person_runs_beside_a_service_is_left_to_the_person() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        runbook(&stage, "mine", &format!("{} wait(\"6m\"); {}", tag("one"), tag("two")));
        let serve = stage.command(&["serve"]).spawn().expect("relight starts");
        let mine = stage.command(&["run", "mine"]).spawn().expect("relight starts");
        let owner = || stage.newest("mine").map_or(Value::Null, |run| run["owner"].clone());
        until("it waits", || effects(&stage) == 1);
        let before = owner();
        // A file that somebody tidied away says nothing about who is alive.
        let owners = stage.state().join("owners");
        for lock in std::fs::read_dir(&owners).expect("the owners").flatten() {
            std::fs::remove_file(lock.path()).expect("removed");
        }
        let other = stage.relight(&["runs", "resume", &id(&stage, "mine")]);
        assert_eq!(other.code, Some(3), "{other:?}");
        assert!(other.err.contains("another process"), "{other:?}");
        assert_eq!(owner(), before);
        let mine = ended(mine);
        assert_eq!(mine.code, Some(0), "{mine:?}");
        signal(serve.id(), "TERM");
        assert_eq!(ended(serve).code, Some(0));
        assert_eq!(effects(&stage), 2);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_from_elsewhere_reaches_the_child_that_a_service_drives() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        runbook(&stage, "child", &format!("{} wait(\"8h\"); {}", tag("one"), tag("two")));
        runbook(&stage, "parent", "run(\"child\")");
        assert_eq!(stage.relight(&["run", "parent", "--detach"]).code, Some(0));
        let serve = stage.command(&["serve"]).spawn().expect("relight starts");
        until("the child waits", || effects(&stage) == 1);
        let stopped = stage.relight(&["runs", "stop", &id(&stage, "parent")]);
        assert!(matches!(stopped.code, Some(0 | 3)), "{stopped:?}");
        until("both are over", || {
            [status(&stage, "parent"), status(&stage, "child")] == ["stopped", "stopped"]
        });
        signal(serve.id(), "TERM");
        assert_eq!(ended(serve).code, Some(0));
        assert_eq!(effects(&stage), 1);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn yes_answers_for_children_too() {
    let stage = Stage::new(10 * SPEED).await;
    tokio::task::block_in_place(|| {
        runbook(
            &stage,
            "child",
            &format!(
                "if ask(\"Really?\", #{{ choices: [\"yes\", \"no\"] }}) == \"yes\" {{ {} }}",
                tag("one")
            ),
        );
        runbook(&stage, "parent", "run(\"child\")");
        let ran = stage.relight(&["run", "parent", "--yes"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.err.contains("Really?"), "{ran:?}");
        let unasked = stage.relight(&["run", "parent"]);
        assert_eq!(unasked.code, Some(3), "a question of a child parks the parent: {unasked:?}");
    });
}

/// Two services on one database, of which one stands still for longer than its heartbeat lasts and then goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_stood_still_does_nothing_a_second_time() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        // What changes nothing has no effect.
        runbook(&stage, "beat", &tag("beat").replace("\"yes\"", "`${random()}`"));
        let add = ["schedule", "add", "beat", "--name", "beat", "--every", "1m", "--overlap", "allow-all"];
        assert_eq!(stage.relight(&add).code, Some(0));
        let first = stage.command(&["serve"]).spawn().expect("relight starts");
        until("the first one serves", || effects(&stage) >= 2);
        let second = stage.command(&["serve"]).spawn().expect("relight starts");
        stand_still(&stage, first.id());
        let (asleep, before) = (stage.clock.now(), effects(&stage));
        // Twice as long as a heartbeat lasts.
        until("the other one goes on alone", || {
            stage.clock.now().duration_since(asleep).as_secs() > 400 && effects(&stage) >= before + 4
        });
        signal(first.id(), "CONT");
        let woken = effects(&stage);
        until("both serve", || effects(&stage) >= woken + 3);
        assert_eq!(stage.relight(&["schedule", "pause", "beat", "--because", "enough"]).code, Some(0));
        until("what had begun is over", || {
            let open = stage.relight(&["runs", "list", "--open"]);
            open.out.is_empty()
        });
        for service in [first, second] {
            signal(service.id(), "TERM");
            let service = ended(service);
            assert_eq!(service.code, Some(0), "{service:?}");
        }
        let history = stage.relight(&["schedule", "history", "beat", "--limit", "10000", "--json"]);
        let ticks: Vec<Value> =
            history.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let at = |tick: &Value, name: &str| -> Timestamp {
            tick[name].as_str().expect("a time").parse().expect("a time")
        };
        let (newest, oldest) = (at(&ticks[0], "last"), at(&ticks[ticks.len() - 1], "due"));
        let counted: u64 = ticks.iter().map(|tick| tick["count"].as_u64().expect("a number")).sum();
        let minutes = newest.duration_since(oldest).as_secs() / 60;
        assert_eq!(
            counted,
            u64::try_from(minutes).expect("a length") + 1,
            "each minute once: {}",
            history.out
        );
        let mut runs: Vec<&str> = ticks.iter().filter_map(|tick| tick["fate"]["run"].as_str()).collect();
        let ran = runs.len();
        runs.sort_unstable();
        runs.dedup();
        assert_eq!(runs.len(), ran, "a run has one tick");
        assert_eq!(effects(&stage), ran, "{:#?}", stage.lab.ledger());
        assert_eq!(stage.complaints(), Vec::<String>::new());
        println!(
            "service: {ran} of {counted} firings ran, each once, {} of them while one stood still",
            woken - before
        );
    });
}

/// A program that gathers logs finds everything about a run by its id.
#[test]
fn a_log_in_json_names_the_run_of_each_line() {
    let world = Sealed::new();
    let hidden = "turned \u{202e} round";
    world.runbook("says", &format!("/*---\ntitle = \"Say\"\n---*/\nnote(\"{hidden}\"); 1"));
    let run = world.in_lab(["run", "says", "--detach"]).run().succeeds().trim().to_owned();
    let served = world.in_lab(["serve", "--until-closed"]).env("RELIGHT_LOG_FORMAT", "json").run().raw();
    let lines: Vec<serde_json::Value> = served
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let of_run: Vec<&str> = lines
        .iter()
        .filter(|line| line["run"] == run.as_str())
        .map(|line| line["message"].as_str().expect("a message"))
        .collect();
    assert!(of_run.contains(&hidden) && of_run.contains(&"succeeded"), "{served}");
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()), "{served}");
    assert!(!served.contains('\u{202e}'), "what turns text round is written out");
}
