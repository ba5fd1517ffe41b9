//! Runs that have no room wait for others to end, and whoever looks sees for whom.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use relight_engine::clock::Clock;
use serde_json::json;

use crate::support::sealed::Sealed;
use crate::support::stage::{Stage, ended, signal, stand_still};
use crate::support::world::{FLAGSHIP, repeated};

const ASKS: &str = "/*---\ntitle = \"Ask\"\ntarget = [\"vm\"]\n[params.vm]\n---*/\nask(\"Is it on?\", #{ choices: [\"yes\", \"no\"] })";

/// The ids of the runs in a list.
fn ids(stage: &Stage, args: &[&str], of: &str) -> Vec<String> {
    let line =
        |line: &serde_json::Value| line.pointer(of).and_then(|id| id.as_str()).expect("an id").to_owned();
    stage.lines(args).iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_waits_for_the_one_on_its_target_and_goes_on_by_itself() {
    let stage = Stage::new(60).await;
    tokio::task::block_in_place(|| {
        let file = stage.sealed.write("work/asks.rhai", ASKS).to_string_lossy().into_owned();
        let parked = stage.relight(&["run", &file, "vm=web-01"]);
        assert_eq!(parked.code, Some(3), "{parked:?}");
        let first = ids(&stage, &["runs", "--json"], "/id").remove(0);

        let waits = stage.relight(&["run", &file, "vm=WEB-01", "--detach"]);
        assert_eq!(waits.code, Some(0), "{waits:?}");
        let second = waits.out.trim().to_owned();
        assert!(waits.err.contains("at most one run on web-01 at once"), "{waits:?}");
        assert_eq!(ids(&stage, &["runs", "queue", "--json"], "/run/id"), [second.as_str()]);
        assert_eq!(
            stage.lines(&["runs", "queue", "--json"])[0]["full"],
            json!([{"group": "target:web-01", "most": 1, "by": [first]}])
        );
        let listed = stage.relight(&["runs"]).out;
        assert!(listed.contains("queued") && listed.contains("under way: "), "{listed}");
        // Neither another target nor whoever is in a hurry waits.
        for more in [&["vm=web-02"][..], &["vm=web-01", "--at-once", "--yes"][..]] {
            let runs = stage.relight(&[&["run", &file], more].concat());
            assert!(!runs.err.contains("waits until there is room"), "{runs:?}");
        }
        // Whoever comes to it waits with it, until somebody else has answered.
        let child = stage.command(&["runs", "resume", &second, "--yes"]).spawn().expect("relight starts");
        let answered = stage.relight(&["runs", "answer", &first, "yes"]);
        assert_eq!(answered.code, Some(0), "{answered:?}");
        let resumed = crate::support::stage::ended(child);
        assert_eq!(resumed.code, Some(0), "{resumed:?}");
        assert!(resumed.out.contains("yes"), "{resumed:?}");
        assert!(stage.relight(&["runs", "queue"]).err.contains("No run waits"));
    });
}

#[test]
fn whoever_goes_away_takes_a_run_out_of_the_queue_that_has_not_begun() {
    let world = Sealed::new();
    world.write("work/asks.rhai", ASKS);
    world.in_lab(["run", "asks.rhai", "vm=web-01"]).run().ends_with(3);
    let mut waits = world.in_lab(["run", "asks.rhai", "vm=web-01"]).spawn();
    waits.wait_for("waits until there is room");
    waits.signal("INT");
    let left = waits.end().to_string();
    assert!(left.contains("nothing of it was done") && left.contains("exit 3"), "{left}");
    // So does whoever wanted one again.
    let again = world.relight(["runs", "--lab", "--state", "parked", "--json"]).run().succeeds();
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    let mut waits = world.in_lab(["runs", "rerun", again["id"].as_str().unwrap()]).spawn();
    waits.wait_for("waits until there is room");
    waits.signal("INT");
    let left = waits.end().to_string();
    assert!(left.contains("nothing of it was done") && left.contains("exit 3"), "{left}");
    let listed = world.relight(["runs", "list", "--lab", "--state", "abandoned"]).run().succeeds();
    assert!(listed.contains("asks"), "{listed}");
    let queue = world.relight(["runs", "queue", "--lab"]).run().to_string();
    assert!(queue.contains("No run waits"), "{queue}");
}

#[test]
fn the_configuration_bounds_runs_in_all_and_of_a_runbook() {
    let world = Sealed::new();
    world.write("work/asks.rhai", ASKS);
    world.write("work/notes.rhai", "/*---\ntitle = \"Note\"\n---*/\nnote(\"noted\")");
    for (limits, expected) in [
        ("runs = 1", "at most one run in all at once"),
        ("runbooks = { notes = 1 }\nruns = 9", "No run waits"),
        ("runbooks = { asks = 2 }\nper_target = 9", "No run waits"),
    ] {
        let config = world.write("relight.toml", &format!("[concurrency]\n{limits}\n"));
        let relight = |args: &[&str]| world.relight(args).env("RELIGHT_CONFIG", &config);
        relight(&["run", "asks.rhai", "vm=web-01", "--lab"]).run().ends_with(3);
        relight(&["run", "notes.rhai", "--lab", "--detach"]).run().succeeds();
        let queue = relight(&["runs", "queue", "--lab"]).run().to_string();
        assert!(queue.contains(expected), "{limits}: {queue}");
        for run in world.relight(["runs", "list", "--lab", "--open", "--json"]).run().succeeds().lines() {
            let run: serde_json::Value = serde_json::from_str(run).unwrap();
            relight(&["runs", "abandon", run["id"].as_str().unwrap(), "--because", "done", "--lab"])
                .run()
                .succeeds();
        }
    }
    let config = world.write("relight.toml", "[concurrency]\nruns = 0\n");
    let refused = world.relight(["runs"]).env("RELIGHT_CONFIG", &config).run().to_string();
    assert!(refused.contains("runs = 0") && refused.contains("exit 2"), "{refused}");
}

/// A service that stands still keeps its run, and with it the run's place, for as long as it may come back; nobody else begins meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_place_is_held_by_a_service_that_stands_still() {
    let stage = Stage::new(60).await;
    tokio::task::block_in_place(|| {
        let detach = || stage.relight(&["run", FLAGSHIP, "vm=web-01", "--detach"]).out.trim().to_owned();
        let shown = |run: &str| stage.lines(&["runs", "show", run, "--json"]);
        let status = |run: &str| {
            let of = |line: &serde_json::Value| line["id"] == run;
            stage.lines(&["runs", "--json"]).into_iter().find(of).expect("the run")["status"].clone()
        };
        let until = |what: &str, is_so: &dyn Fn() -> bool| {
            let began = Instant::now();
            while !is_so() {
                assert!(began.elapsed() < Duration::from_secs(60), "waited too long until {what}");
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        let (first, second) = (detach(), detach());
        let leader = stage.command(&["serve"]).spawn().expect("relight starts");
        until("the first asks Azure for something", &|| stage.lab.ledger().iter().any(|entry| entry.effect));
        stand_still(&stage, leader.id());
        let other = stage.command(&["serve"]).spawn().expect("relight starts");
        let asleep = stage.clock.now();
        // Twice as long as a heartbeat lasts.
        while stage.clock.now().duration_since(asleep).as_secs() < 400 {
            assert_eq!(ids(&stage, &["runs", "queue", "--json"], "/run/id"), [second.as_str()]);
        }
        signal(leader.id(), "CONT");
        until("both are over", &|| [&first, &second].iter().all(|run| status(run) == "succeeded"));
        let time = |run: &str, event: &str| -> Timestamp {
            let lines = shown(run);
            let line = lines.iter().find(|line| line["event"] == event).expect("the event");
            line["time"].as_str().expect("a time").parse().expect("a time")
        };
        assert!(time(&first, "finished") <= time(&second, "claimed"), "one after the other");
        assert_eq!(repeated(&stage.lab.ledger()), Vec::<String>::new());
        for service in [leader, other] {
            signal(service.id(), "TERM");
            let ended = ended(service);
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
        assert_eq!(stage.complaints(), Vec::<String>::new());
    });
}
