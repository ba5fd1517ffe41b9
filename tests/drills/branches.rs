//! The same drills for what does several things at once: a line of steps for each branch.

use std::collections::BTreeMap;

use relight_engine::clock::Clock;
use serde_json::json;

use super::stops::stopped_at;
use super::{DEATHS, Death, Drill, SPEED, cut_everywhere, fault_everywhere, ideal, kill_everywhere};
use crate::support::stage::{Stage, ended};
use crate::support::world::{World, open_ports, repeated, runbook};

/// Two consoles behind one port, and a VM that is started meanwhile: the last one waits for its place.
const SEVERAL: Drill = Drill {
    name: "several",
    before: "",
    runbook: "several",
    script: Some(
        r#"
        fn open(name) {
            let vm = local::vm(name);
            vmconnect::enable(vm).host
        }
        all(["db-01", "file-01", "lin-02"], |name| {
            if name == "file-01" { local::start(name).power_state } else { open(name) }
        }, #{ at_once: 2 })
        "#,
    ),
    params: &[],
    may_ask: false,
};
/// Two restarts: what nobody can look up is asked, each branch for itself.
const RESTARTS: Drill = Drill {
    name: "restarts",
    script: Some(
        r#"all(["db-01", "lin-02"], |vm| local::restart(vm).power_state, #{ on_error: "collect" })"#,
    ),
    runbook: "restarts",
    may_ask: true,
    ..SEVERAL
};

/// One way at each record, all of them in turn.
pub(super) fn by_turns(record: u64) -> Vec<Death> {
    vec![DEATHS[record as usize % DEATHS.len()]]
}

#[tokio::test]
async fn several_cut_at_every_record() {
    cut_everywhere(SEVERAL, by_turns).await;
}

#[tokio::test]
async fn restarts_cut_at_every_record() {
    cut_everywhere(RESTARTS, by_turns).await;
}

#[tokio::test]
async fn several_faulted_at_every_request() {
    fault_everywhere(SEVERAL, 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn several_killed_at_every_point() {
    kill_everywhere(SEVERAL).await;
}

#[tokio::test]
async fn several_stopped_at_every_record() {
    let (_, records, ..) = ideal(&SEVERAL).await;
    let (mut stopped, mut offenders) = (0, Vec::new());
    // The first two are the run's own, before anybody drives it.
    for record in 1..records - 2 {
        let (was_stopped, wrong) = stopped_at(&SEVERAL, record).await;
        stopped += u64::from(was_stopped);
        offenders.extend(wrong.into_iter().map(|wrong| format!("stopped after record {record}: {wrong}")));
    }
    println!("drill several: stopped at {stopped} of {records} records");
    // When the last branch is over there is little left to stop.
    assert!(stopped >= records * 3 / 4, "only {stopped} of {records}");
    assert!(offenders.is_empty(), "{} offenders:\n{}", offenders.len(), offenders.join("\n"));
}

/// Two processes and one run with branches: one drives all of it, and the other one stands back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_go_on_with_several_are_one_that_drives() {
    // Before the branches, while the first ones begin, and while their requests are under way.
    for record in [1, 6, 14, 30, 50] {
        let stage = Stage::new(SPEED / 5).await;
        tokio::task::block_in_place(|| {
            let text = runbook(&["azure:write"], SEVERAL.script.expect("a script"));
            let file = stage.sealed.write("work/several.rhai", &text);
            let dead = stage.crashes_after(record, &["run", &file.to_string_lossy()]);
            assert_eq!(dead.code, None, "{dead:?}");
            let run = stage.newest("several").expect("the run is written down");
            let run = run["id"].as_str().expect("an id").to_owned();
            // One of them begins at the run, the other one at a branch, if there is one yet.
            let resume = |id: &str| stage.command(&["runs", "resume", id]).spawn().expect("relight starts");
            let both = [resume(&run), resume(&run)].map(|child| std::thread::spawn(move || ended(child)));
            let both = both.map(|thread| thread.join().expect("a process ends"));
            let codes: BTreeMap<Option<i32>, usize> = both.iter().fold(BTreeMap::new(), |mut codes, it| {
                *codes.entry(it.code).or_default() += 1;
                codes
            });
            assert_eq!(codes, [(Some(0), 1), (Some(3), 1)].into(), "after record {record}: {both:#?}");
            assert_eq!(repeated(&stage.lab.ledger()), Vec::<String>::new(), "after record {record}");
            assert_eq!(stage.lab.ledger().iter().filter(|entry| entry.effect).count(), 3);
            assert_eq!(open_ports(&stage.lab.snapshot()), ["hq-node1"]);
            assert_eq!(stage.complaints(), Vec::<String>::new());
        });
    }
}

/// Fifty consoles at once take what the slowest takes, within what Azure allows.
#[tokio::test]
async fn fifty_consoles_take_as_long_as_the_slowest() {
    let world = World::of_several("site-of-50").await;
    let script = r#"
        let names = local::vms().map(|vm| vm.name);
        let hosts = all(names, |name| vmconnect::enable(name).host, #{ at_once: 50 });
        [hosts.len(), hosts[0], hosts[49]]
    "#;
    let began = world.clock.now();
    let ran = world.run_script(&["azure:write"], script).await;
    let took = world.clock.now().duration_since(began);
    assert_eq!(*ran.value(), json!([50, "fleet-node1", "fleet-node2"]));
    assert_eq!(repeated(&world.lab.ledger()), Vec::<String>::new());
    assert_eq!(world.leases().await.len(), 50);
    assert_eq!(world.open_ports().len(), 4);
    // A job takes 270 seconds at most, and is looked at every fifteen.
    let throttled = world.lab.requests().iter().filter(|request| request.status == 429).count();
    println!("drill fifty: {} requests in {took:#}, {throttled} refused", world.lab.requests().len());
    assert_eq!(throttled, 0);
    assert!(took.as_secs() < 330, "{took:#}");
}
