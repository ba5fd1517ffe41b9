//! Two processes and one run: exactly one drives it, and the other says so.

use std::process::Child;
use std::time::{Duration, Instant};

use relight_engine::clock::Clock;
use relight_engine::journal::Status;
use serde_json::Value;

use crate::support::stage::{Ended, Stage, ended, signal, stand_still};
use crate::support::world::{FLAGSHIP, repeated};

/// Slow enough that a process which is late by a second still counts as alive: its heartbeat lasts for six.
const SPEED: u32 = 30;

/// The longest that a state is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::yield_now();
    }
}

/// Prepares a run of the flagship that a dead process left behind, and returns its id.
fn left_behind(stage: &Stage, record: u64) -> String {
    let dead = stage.crashes_after(record, &["run", FLAGSHIP, "vm=web-01"]);
    assert_eq!(dead.code, None, "{dead:?}");
    stage.newest(FLAGSHIP).expect("the run is written down")["id"].as_str().expect("an id").to_owned()
}

fn resume(stage: &Stage, run: &str) -> Child {
    stage.command(&["runs", "resume", run]).spawn().expect("relight starts")
}

/// Whether a process says that another one drives the run, in words and by its code.
fn stands_back(other: &Ended, run: &str) -> bool {
    other.code == Some(3)
        && other.err.contains("another process")
        && other.err.contains(&format!("relight runs watch {}", &run[..4]))
}

fn state(stage: &Stage) -> String {
    stage.newest(FLAGSHIP).expect("the run")["status"].as_str().expect("a status").to_owned()
}

fn jobs(stage: &Stage) -> usize {
    stage.lab.ledger().iter().filter(|entry| entry.effect).count()
}

/// Asserts that the run came to its end once: one request, one file, one end.
fn assert_once(stage: &Stage, run: &str) {
    assert_eq!(state(stage), Status::Succeeded.as_str());
    assert_eq!(repeated(&stage.lab.ledger()), Vec::<String>::new());
    assert_eq!(jobs(stage), 1, "{:#?}", stage.lab.ledger());
    assert_eq!(stage.rdp_files().len(), 1);
    let shown = stage.relight(&["runs", "show", run, "--json"]);
    let events: Vec<Value> =
        shown.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let ends = events.iter().filter(|event| event["event"] == "finished").count();
    assert_eq!(ends, 1, "{}", shown.out);
    let mut epochs: Vec<u64> = events
        .iter()
        .filter(|event| event["event"] == "claimed")
        .map(|event| event["epoch"].as_u64().expect("a number"))
        .collect();
    let all = epochs.clone();
    epochs.dedup();
    assert_eq!(epochs, all, "a fencing number was given twice");
    assert_eq!(stage.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_that_resume_at_once_are_one_that_drives() {
    // Before anything was done, before the request, and while it is under way.
    for record in [1, 6, 12] {
        let stage = Stage::new(2 * SPEED).await;
        tokio::task::block_in_place(|| {
            let run = left_behind(&stage, record);
            let (one, other) = (resume(&stage, &run), resume(&stage, &run));
            let both = [one, other].map(|child| std::thread::spawn(move || ended(child)));
            let both = both.map(|thread| thread.join().expect("a process ends"));
            let drove = both.iter().filter(|it| it.code == Some(0)).count();
            let stood_back = both.iter().filter(|it| stands_back(it, &run)).count();
            assert_eq!((drove, stood_back), (1, 1), "after record {record}: {both:#?}");
            assert_once(&stage, &run);
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_that_stands_still_is_alive_until_it_is_dead() {
    let stage = Stage::new(2).await;
    tokio::task::block_in_place(|| {
        // Time passes so slowly that nobody's heartbeat ends: only the lock on the owner's file tells.
        let first = stage.command(&["run", FLAGSHIP, "vm=web-01"]).spawn().expect("relight starts");
        until("the request is sent", || jobs(&stage) == 1);
        until("it waits", || stage.newest(FLAGSHIP).is_some_and(|run| run["status"] == "running"));
        let run = stage.newest(FLAGSHIP).expect("the run")["id"].as_str().expect("an id").to_owned();
        stand_still(&stage, first.id());
        let second = stage.relight(&["runs", "resume", &run]);
        assert!(stands_back(&second, &run), "{second:?}");
        let third = stage.relight(&["runs", "resume", &run]);
        assert!(stands_back(&third, &run), "{third:?}");
        let owner = || stage.newest(FLAGSHIP).expect("the run")["owner"].clone();
        let before = owner();
        signal(first.id(), "KILL");
        let first = ended(first);
        assert_eq!(first.code, None);
        // At once, although the heartbeat of the dead one would last for a minute and more.
        let began = Instant::now();
        let heir = resume(&stage, &run);
        until("the run has another owner", || owner() != before);
        assert!(began.elapsed() < Duration::from_secs(30), "it took {:?}", began.elapsed());
        assert_eq!(jobs(&stage), 1, "the heir adopts the request");
        signal(heir.id(), "KILL");
        assert_eq!(ended(heir).code, None);
    });
}

/// A process that sleeps past its heartbeat still holds its lock: nobody may replace it, and it goes on when it wakes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_that_sleeps_past_its_heartbeat_is_not_replaced() {
    let stage = Stage::new(3 * SPEED).await;
    tokio::task::block_in_place(|| {
        let first = stage.command(&["run", FLAGSHIP, "vm=web-01"]).spawn().expect("relight starts");
        until("the request is sent", || jobs(&stage) == 1);
        let run = stage.newest(FLAGSHIP).expect("the run")["id"].as_str().expect("an id").to_owned();
        stand_still(&stage, first.id());
        let asleep = stage.clock.now();
        let mut refused = 0;
        // Twice as long as a heartbeat lasts.
        while stage.clock.now().duration_since(asleep).as_secs() < 400 {
            let second = stage.relight(&["runs", "resume", &run]);
            assert!(stands_back(&second, &run), "{second:?}");
            refused += 1;
        }
        signal(first.id(), "CONT");
        let first = ended(first);
        assert_eq!(first.code, Some(0), "{first:?}");
        println!("race: the sleeper held the run against {refused} attempts");
        assert!(refused >= 2);
        assert_once(&stage, &run);
    });
}

/// A worker and a person: the run that `serve` drives is not driven twice, and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_and_a_person_do_not_drive_one_run() {
    let stage = Stage::new(2 * SPEED).await;
    tokio::task::block_in_place(|| {
        let run = left_behind(&stage, 8);
        let serving = stage.command(&["serve"]).spawn().expect("relight starts");
        let person = resume(&stage, &run);
        let person = ended(person);
        assert!(person.code == Some(0) || stands_back(&person, &run), "{person:?}");
        until("the run is over", || state(&stage) == "succeeded");
        signal(serving.id(), "INT");
        let serving = ended(serving);
        assert_eq!(serving.code, Some(0), "{serving:?}");
        assert_once(&stage, &run);
    });
}
