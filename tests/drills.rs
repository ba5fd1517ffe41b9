//! Every runbook, killed between any two records and between every request and its record, faulted at every request:
//! the same final world, the same file, each request once.

mod azure;
mod branches;
mod keys;
mod rescue;
mod ssh;
mod stops;
mod transfers;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use relight_engine::clock::Clock;
use relight_engine::event::Lease;
use relight_engine::journal::MemoryJournal;
use relight_engine::{Driven, RunId, RunRequest};
use relight_lab::{GUEST_PASSWORD, Lab, LedgerEntry};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::cut::{Cut, Side};
use crate::support::stage::{Ended, Stage};
use crate::support::world::{
    FLAGSHIP, Ran, World, differences, minutes, plain_value, purposes, rdp_files, repeated, runbook,
};

/// How fast the lab's time passes beside real processes: a job of four minutes takes less than a second.
const SPEED: u32 = 300;
/// How many stages play at once: they mostly wait.
const AT_ONCE: usize = 4;

/// What the scripts of a drill may do.
const EVERY: [&str; 7] =
    ["azure:write", "net:probe", "net:forward", "ssh", "secret", "file:read", "file:write"];

/// One scenario: what happened before, and the run that is drilled.
#[derive(Clone, Copy, Debug)]
struct Drill {
    name: &'static str,
    /// A script that makes the world in which the run begins.
    before: &'static str,
    /// The name of a shipped runbook, or of the file that has the script.
    runbook: &'static str,
    /// What is run in place of a shipped runbook.
    script: Option<&'static str>,
    params: &'static [(&'static str, &'static str)],
    /// Whether a request may leave no trace, so that asking a person is the right end of a crash.
    may_ask: bool,
}

/// A shipped runbook in a world in which nothing happened before.
const fn shipped(
    name: &'static str,
    runbook: &'static str,
    params: &'static [(&'static str, &'static str)],
) -> Drill {
    Drill { name, before: "", runbook, script: None, params, may_ask: false }
}

const RECOVER: Drill = shipped("recover", FLAGSHIP, &[("vm", "web-01")]);
/// The record of an older job is there and must be deleted first: two requests instead of one.
const RECOVER_AGAIN: Drill = Drill {
    name: "recover again",
    before: r#"vmconnect::enable("web-01"); vmconnect::disable("web-01")"#,
    ..RECOVER
};
const DISABLE: Drill = Drill {
    before: r#"vmconnect::enable("web-01")"#,
    ..shipped("disable", "disable-vm-connect", &[("vm", "web-01")])
};
const RESTART: Drill = Drill { may_ask: true, ..shipped("restart", "restart-vm", &[("vm", "db-01")]) };
const RESTART_FORCED: Drill = shipped("restart forced", "restart-vm", &[("vm", "web-01"), ("force", "true")]);
const START: Drill = shipped("restart stopped", "restart-vm", &[("vm", "file-01")]);
const REPORT: Drill = shipped("report", "site-report", &[]);
const LET_IN: Drill = shipped("let SSH in", "enable-arc-ssh", &[("machine", "db-01"), ("openssh", "true")]);
const LET_IN_NO_MORE: Drill = Drill {
    before: r#"arm::register("Microsoft.HybridConnectivity");
               arc::endpoint_create("db-01"); arc::service_configure("db-01")"#,
    ..shipped("let SSH in no more", "disable-arc-ssh", &[("machine", "db-01")])
};

const ON_MACHINE: Drill = shipped(
    "run on machine",
    "run-on-machine",
    &[("machine", "app-01"), ("group", "rg-apps"), ("script", "echo once >> /tmp/ran; cat /tmp/ran")],
);
const ADD_KEY: Drill = shipped(
    "add key",
    "add-ssh-key",
    &[
        ("machine", "app-01"),
        ("group", "rg-apps"),
        ("user", "azureuser"),
        ("key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti"),
    ],
);
const VERIFY: Drill = Drill {
    before: r#"let app = arc::machine("app-01", #{ group: "rg-apps" });
               arm::register("Microsoft.HybridConnectivity");
               arc::endpoint_create(app); arc::service_configure(app)"#,
    ..shipped("verify", "verify-host-keys", &[("machine", "app-01"), ("group", "rg-apps")])
};
const ENTRA: Drill =
    shipped("enable entra ssh", "enable-entra-ssh", &[("machine", "app-01"), ("group", "rg-apps")]);

/// What a run leaves behind, the same in every lab.
#[derive(Clone, Debug)]
struct Traces {
    world: Value,
    files: Vec<(String, String)>,
    requests: Vec<String>,
    value: Value,
}

impl Traces {
    /// What is different from what an uninterrupted run leaves.
    fn unlike(&self, ideal: &Traces, ledger: &[LedgerEntry]) -> Vec<String> {
        let mut wrong = differences(&ideal.world, &self.world);
        if self.files != ideal.files {
            wrong.push(format!("files: expected {:?}, got {:?}", ideal.files, self.files));
        }
        if self.requests != ideal.requests {
            wrong.push(format!("requests: expected {:#?}, got {:#?}", ideal.requests, self.requests));
        }
        if self.value != ideal.value {
            wrong.push(format!("value: expected {}, got {}", ideal.value, self.value));
        }
        wrong.extend(repeated(ledger).into_iter().map(|request| format!("repeated: {request}")));
        wrong
    }
}

// ---- in this process ------------------------------------------------------------------------------

async fn stage(drill: &Drill, faults: &[&str]) -> (World, RunRequest) {
    let world = match drill.script {
        Some(script) if script.contains("all(") => World::of_several("edge").await,
        _ => World::new().await,
    };
    let world = world.secret("env:APP_PASSWORD", GUEST_PASSWORD);
    if !drill.before.is_empty() {
        let before = world.run_script(&EVERY, drill.before).await;
        assert!(before.succeeded(), "{before:?}");
    }
    for fault in faults {
        world.lab.inject(fault.parse().expect("a fault that the lab knows"));
    }
    let request = world.request(drill.runbook, drill.params);
    let request = match drill.script {
        None => request,
        Some(script) => request.text(runbook(&EVERY, script)),
    };
    (world, request)
}

/// The files that a run leaves behind: consoles' and carried ones here, and those on the machine.
fn files(lab: &Lab, folder: &Path) -> Vec<(String, String)> {
    [rdp_files(folder), ssh::carried(folder), ssh::on_machine(lab), keys::traces(lab, folder)].concat()
}

fn traces(world: &World, value: &Value) -> Traces {
    let (lab, folder) = (&world.lab, world.folder.path());
    Traces {
        world: keys::without_key(lab.snapshot(), lab, folder),
        files: files(lab, folder),
        requests: purposes(&keys::without_key_sent(lab.ledger(), folder)),
        value: plain_value(&ssh::without_ports(keys::without_fingerprint(value.clone(), folder))),
    }
}

/// What an uninterrupted run leaves, how many records its process writes, and how many requests it makes.
async fn ideal(drill: &Drill) -> (Traces, u64, usize, usize) {
    let (world, request) = stage(drill, &[]).await;
    let (reads, writes) = (world.lab.requests().len(), world.lab.ledger().len());
    let records = world.written().await;
    let ran = world.carry(&request).await;
    let records = world.written().await - records;
    let reads = world.lab.requests().len() - reads;
    let writes = world.lab.ledger().len() - writes;
    (traces(&world, ran.value()), records, reads, writes)
}

/// Goes on with a run until it is over, answering what is undecided as somebody does who has looked at the machine.
///
/// Returns whether anything was asked, too.
async fn to_the_end(drill: &Drill, world: &World, mut ran: Ran) -> Result<(Ran, bool), String> {
    let mut asked = false;
    for _ in 0..5 {
        if matches!(ran.driven, Driven::Ended(_)) {
            return Ok((ran, asked));
        }
        let undecided = world.undecided().await;
        if undecided.is_empty() {
            return Err(format!("{:?}", ran.driven));
        }
        if !drill.may_ask {
            return Err(format!("it asks although it could look: {undecided:?}"));
        }
        asked = true;
        let mut have_happened = false;
        for run in undecided {
            let happened = restarted(world, &run).await || ssh::ran(&world.lab);
            let answer = if happened { "done" } else { "again" };
            let answered = world.engine().answer(&run, answer, "ada").await;
            answered.map_err(|e| format!("{answer} is refused: {e:?}"))?;
            have_happened |= happened;
        }
        if have_happened {
            // Whoever says that it happened has seen it end.
            world.clock.advance(minutes(5));
        }
        ran = world.resume(&ran.run).await;
    }
    Err(format!("it does not end: {:?}", ran.driven))
}

/// Whether the machine that a run's last step names was restarted.
async fn restarted(world: &World, run: &RunId) -> bool {
    let history = world.engine().history(run).await.expect("the run is read");
    let args = history.steps.last().expect("a step").args.to_string();
    world.lab.ledger().iter().any(|entry| {
        let machine = entry.path.split('/').skip_while(|part| *part != "machines").nth(1);
        entry.effect
            && entry.path.ends_with("/restart")
            && machine.is_some_and(|machine| args.contains(machine))
    })
}

/// Whether a run that ended after a person's answer may differ in its value: nobody read it.
fn judge(drill: &Drill, world: &World, ran: &Ran, ideal: &Traces, asked: bool) -> Vec<String> {
    if !ran.succeeded() {
        return vec![format!("{:?}", ran.driven)];
    }
    let mut traces = traces(world, ran.value());
    if asked && drill.may_ask {
        traces.value.clone_from(&ideal.value);
    }
    let mut wrong = traces.unlike(ideal, &world.lab.ledger());
    wrong.extend(world.complaints().into_iter().map(|complaint| format!("the lab complains: {complaint}")));
    wrong
}

/// The open ports that nobody has to close.
fn unleased(world: &World, leases: &[Lease]) -> Vec<String> {
    let is_leased = |node: &String| leases.iter().any(|lease| lease.title.ends_with(&format!(" on {node}")));
    let ports = world.open_ports().into_iter();
    ports.filter(|node| !is_leased(node)).map(|node| format!("{node} is open and nobody closes it")).collect()
}

/// Dies at one record and goes on in a new process. Returns what is wrong, or nothing when the run was over before.
async fn cut_at(drill: &Drill, ideal: &Traces, record: u64, death: Death) -> Option<Vec<String>> {
    let (mut world, request) = stage(drill, &[]).await;
    let memory = world.memory.clone().expect("a journal in memory");
    let cut = Cut::new(memory.clone(), record, death.side);
    world.passing(cut.while_alive(world.builder(), request.clone())).await;
    if !cut.is_dead() {
        return None;
    }
    // What a disk would hold: all of it, or all but what was still in line.
    let left: Arc<MemoryJournal> = if death.keeps { memory } else { Arc::new(memory.crash()) };
    world.journal = left.clone();
    world.memory = Some(left);
    if death.keeps {
        world.restarts_at_once();
    } else {
        world.clock.advance(minutes(2));
    }
    let engine = world.engine();
    // A run that was never written down is begun again by whoever wanted it.
    let run = match world.journal.run(&request.id).await.expect("the journal is read") {
        Some(summary) => summary.id,
        None => engine.prepare(&request).await.expect("the run is written down"),
    };
    let driven = match world.passing(engine.run(&run)).await {
        Ok(driven) => driven,
        Err(error) => return Some(vec![format!("cannot go on: {error:?}")]),
    };
    let mut wrong = match to_the_end(drill, &world, Ran { run, driven }).await {
        Ok((ran, asked)) => judge(drill, &world, &ran, ideal, asked),
        Err(wrong) => vec![wrong],
    };
    if !world.complaints().is_empty() {
        std::mem::forget(world);
        return Some(wrong);
    }
    let leases = world.leases().await;
    wrong.extend(unleased(&world, &leases));
    if let Some(deadline) = leases.iter().map(|lease| lease.deadline).max() {
        let troubles = world.keep_until(deadline + minutes(30)).await;
        if !(world.leases().await.is_empty() && world.open_ports().is_empty()) {
            wrong.push(format!("{:?} is open after {deadline}: {troubles:?}", world.open_ports()));
        }
    }
    Some(wrong)
}

/// A process that dies: on which side of the record, and what the next one finds.
#[derive(Clone, Copy, Debug)]
struct Death {
    side: Side,
    /// Whether all that was written reached the disk and the next process is there at once; or what was in line is
    /// lost and somebody comes two minutes later.
    keeps: bool,
}

const DEATHS: [Death; 4] = [
    Death { side: Side::Before, keeps: true },
    Death { side: Side::Before, keeps: false },
    Death { side: Side::After, keeps: true },
    Death { side: Side::After, keeps: false },
];

/// Cuts a run at every record, in each way that is asked for there.
async fn cut_everywhere(drill: Drill, deaths: fn(u64) -> Vec<Death>) {
    let (ideal, records, ..) = ideal(&drill).await;
    let (mut points, mut expected, mut offenders) = (0, 0, Vec::new());
    for record in 1..=records + 2 {
        for death in deaths(record) {
            // With several at once, how often each is looked at differs a little from run to run.
            expected += usize::from(record <= records * 9 / 10);
            let Some(wrong) = cut_at(&drill, &ideal, record, death).await else { continue };
            points += 1;
            offenders.extend(wrong.into_iter().map(|wrong| format!("record {record}, {death:?}: {wrong}")));
        }
    }
    println!("drill {}: {points} points in this process, {records} records", drill.name);
    assert!(points >= expected, "only {points} points for {records} records");
    assert!(offenders.is_empty(), "{} of {points} points:\n{}", offenders.len(), offenders.join("\n"));
}

async fn cut_in_every_way(drill: Drill) {
    cut_everywhere(drill, |_| DEATHS.to_vec()).await;
}

#[tokio::test]
async fn recover_cut_at_every_record() {
    cut_in_every_way(RECOVER).await;
}

#[tokio::test]
async fn recover_again_cut_at_every_record() {
    cut_in_every_way(RECOVER_AGAIN).await;
}

#[tokio::test]
async fn disable_cut_at_every_record() {
    cut_in_every_way(DISABLE).await;
}

#[tokio::test]
async fn restart_cut_at_every_record() {
    cut_in_every_way(RESTART).await;
}

#[tokio::test]
async fn restart_forced_cut_at_every_record() {
    cut_in_every_way(RESTART_FORCED).await;
}

#[tokio::test]
async fn restart_of_a_stopped_vm_cut_at_every_record() {
    cut_in_every_way(START).await;
}

#[tokio::test]
async fn report_cut_at_every_record() {
    cut_in_every_way(REPORT).await;
}

#[tokio::test]
async fn ssh_let_in_cut_at_every_record() {
    cut_in_every_way(LET_IN).await;
    cut_in_every_way(LET_IN_NO_MORE).await;
}

#[tokio::test]
async fn run_commands_cut_at_every_record() {
    cut_in_every_way(ON_MACHINE).await;
    cut_in_every_way(ADD_KEY).await;
    cut_in_every_way(VERIFY).await;
    cut_in_every_way(ENTRA).await;
}

/// Each request that writes, and every n-th one of all, goes wrong in each way, in turn.
async fn fault_everywhere(drill: Drill, every: usize) {
    let (ideal, _, reads, writes) = ideal(&drill).await;
    let mut faults: Vec<String> = Vec::new();
    for nth in 1..=writes {
        faults.extend([format!("reply-lost={nth}"), format!("reset-before={nth}")]);
    }
    for nth in (1..=reads).step_by(every) {
        faults.extend(["html", "truncated", "null"].map(|kind| format!("garbage={nth},{kind}")));
    }
    let others = [
        "throttled=1",
        "throttled=2,no-header",
        "throttled=3",
        "throttled=2,writes",
        "flaps",
        "token-expires",
        "cae-challenge",
        "conflict=8",
        "other-spelling",
        "long-poll-url",
        "old-api",
        "location-only",
        "async-only",
        "succeeded-but-updating",
        "never-ends",
    ];
    faults.extend(others.map(str::to_owned));
    fault_each(drill, &ideal, &faults, reads, writes).await;
}

/// Each fault in turn changes nothing but how long it takes.
async fn fault_each(drill: Drill, ideal: &Traces, faults: &[String], reads: usize, writes: usize) {
    let mut offenders = Vec::new();
    for fault in faults {
        let (world, request) = stage(&drill, &[fault]).await;
        let ran = world.carry(&request).await;
        let mut wrong = match to_the_end(&drill, &world, ran).await {
            Ok((ran, asked)) => judge(&drill, &world, &ran, ideal, asked),
            Err(wrong) => vec![wrong],
        };
        // What differs only in letters is the fault's own doing.
        if fault == "other-spelling" {
            wrong.retain(|wrong| !wrong.starts_with("value: "));
        }
        offenders.extend(wrong.into_iter().map(|wrong| format!("{fault}: {wrong}")));
        if !world.complaints().is_empty() {
            std::mem::forget(world);
        }
    }
    println!(
        "drill {}: {} faults in turn ({reads} requests, {writes} of them write)",
        drill.name,
        faults.len(),
    );
    let failed: BTreeSet<&str> = offenders.iter().filter_map(|text| text.split(':').next()).collect();
    assert!(offenders.is_empty(), "{} of {} faults:\n{}", failed.len(), faults.len(), offenders.join("\n"));
}

#[tokio::test]
async fn recover_faulted_at_every_request() {
    fault_everywhere(RECOVER, 1).await;
}

#[tokio::test]
async fn recover_again_faulted_at_every_request() {
    fault_everywhere(RECOVER_AGAIN, 1).await;
}

#[tokio::test]
async fn disable_faulted_at_every_request() {
    fault_everywhere(DISABLE, 1).await;
}

#[tokio::test]
async fn restart_faulted_at_every_request() {
    fault_everywhere(RESTART, 1).await;
}

#[tokio::test]
async fn restart_forced_faulted_at_every_request() {
    fault_everywhere(RESTART_FORCED, 1).await;
}

#[tokio::test]
async fn report_faulted_at_every_request() {
    fault_everywhere(REPORT, 1).await;
}

#[tokio::test]
async fn ssh_let_in_faulted_at_every_request() {
    fault_everywhere(LET_IN, 1).await;
    fault_everywhere(LET_IN_NO_MORE, 1).await;
}

#[tokio::test]
async fn run_commands_faulted_at_every_request() {
    fault_everywhere(ON_MACHINE, 1).await;
    fault_everywhere(ADD_KEY, 1).await;
    fault_everywhere(VERIFY, 1).await;
    fault_everywhere(ENTRA, 1).await;
}

/// The comparison finds what it is there for: a request that was sent twice, and a world that is another.
#[tokio::test]
async fn a_repeated_request_is_an_offender() {
    let (ideal, ..) = ideal(&RECOVER).await;
    let (world, request) = stage(&RECOVER, &[]).await;
    let ran = world.carry(&request).await;
    assert_eq!(judge(&RECOVER, &world, &ran, &ideal, false), Vec::<String>::new());
    assert!(world.run_script(&["azure:write"], r#"local::restart("db-01")"#).await.succeeded());
    assert!(world.run_script(&["azure:write"], r#"local::restart("db-01")"#).await.succeeded());
    let wrong = judge(&RECOVER, &world, &ran, &ideal, false).join("\n");
    assert!(wrong.contains("repeated: 2 times POST"), "{wrong}");
    assert!(wrong.contains("starts: expected 0, got 2"), "{wrong}");
}

// ---- with real processes --------------------------------------------------------------------------

/// How a process is killed.
#[derive(Clone, Copy, Debug)]
enum Kill {
    Never,
    AfterRecord(u64),
    AtWrite(u64),
}

/// What came of one point.
struct Point {
    was_killed: bool,
    records: u64,
    writes: u64,
    asked: bool,
    traces: Traces,
    wrong: Vec<String>,
}

async fn play(drill: Drill, kill: Kill) -> Point {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        if !drill.before.is_empty() {
            let text = runbook(&EVERY, drill.before);
            let file = stage.sealed.write("work/before.rhai", &text);
            let before = stage.relight(&["run", &file.to_string_lossy()]);
            assert_eq!(before.code, Some(0), "{before:?}");
        }
        let before = stage.lab.ledger().iter().filter(|entry| entry.effect).count();
        let records_before = stage.written();
        let params: Vec<String> =
            drill.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let written = drill.script.map(|script| {
            let text = runbook(&EVERY, script);
            stage.sealed.write(&format!("work/{}.rhai", drill.runbook), &text).to_string_lossy().into_owned()
        });
        let mut args = vec!["run", written.as_deref().unwrap_or(drill.runbook)];
        args.extend(params.iter().map(String::as_str));
        let mut ended = match kill {
            Kill::Never => stage.relight(&args),
            Kill::AfterRecord(record) => stage.crashes_after(record, &args),
            Kill::AtWrite(nth) => stage.killed_at_write(nth, &args),
        };
        let was_killed = ended.code.is_none();
        let mut wrong = Vec::new();
        let mut asked = false;
        let run = stage.newest(drill.runbook).expect("the run is written down");
        let id = run["id"].as_str().expect("an id").to_owned();
        let is_over = |run: &Value| {
            ["succeeded", "failed", "stopped"].contains(&run["status"].as_str().unwrap_or_default())
        };
        if was_killed && !is_over(&run) {
            ended = stage.relight(&["runs", "resume", &id]);
            if ended.code == Some(3) && drill.may_ask {
                asked = true;
                // It may be a child that asks.
                let asking =
                    ended.err.split("relight runs answer ").nth(1).and_then(|it| it.get(..4)).unwrap_or(&id);
                let asking = asking.to_owned();
                wrong.extend(asks(&stage, &asking, &ended));
                let restarted =
                    stage.lab.ledger().iter().any(|entry| entry.effect && entry.path.ends_with("/restart"));
                let happened = restarted || ssh::ran(&stage.lab);
                ended = stage.relight(&["runs", "answer", &asking, if happened { "done" } else { "again" }]);
                if !id.starts_with(&asking) {
                    ended = stage.relight(&["runs", "resume", &id]);
                }
            }
            if ended.code != Some(0) {
                wrong.push(format!("resuming ended with {:?}:\n{}{}", ended.code, ended.out, ended.err));
            }
        }
        if !was_killed && ended.code != Some(0) {
            wrong.push(format!("running ended with {:?}:\n{}{}", ended.code, ended.out, ended.err));
        }
        // An answer that says "done" may come while the machine is still on its way.
        let settles = std::time::Instant::now();
        while asked
            && stage.lab.snapshot().to_string().contains("Stopping")
            && settles.elapsed().as_secs() < 20
        {
            std::thread::yield_now();
        }
        if was_killed {
            let again = stage.relight(&["runs", "resume", &id]);
            if again.code != Some(2) || !again.err.contains("is over") {
                wrong.push(format!("a run that is over is resumed: {again:?}"));
            }
        }
        wrong.extend(
            stage.complaints().into_iter().map(|complaint| format!("the lab complains: {complaint}")),
        );
        let (ledger, folder) = (stage.lab.ledger(), stage.sealed.work());
        Point {
            was_killed,
            records: stage.written() - records_before,
            writes: (ledger.iter().filter(|entry| entry.effect).count() - before) as u64,
            asked,
            traces: Traces {
                world: keys::without_key(stage.lab.snapshot(), &stage.lab, &folder),
                files: files(&stage.lab, &folder),
                requests: purposes(&keys::without_key_sent(ledger.clone(), &folder)),
                value: Value::Null,
            },
            wrong: wrong
                .into_iter()
                .chain(repeated(&ledger).into_iter().map(|it| format!("repeated: {it}")))
                .collect(),
        }
    })
}

/// What is wrong with how a run asks about a request that nobody can judge.
fn asks(stage: &Stage, run: &str, ended: &Ended) -> Vec<String> {
    let shown = stage.relight(&["runs", "show", run]);
    let mut wrong = Vec::new();
    for word in ["done", "again", "failed"] {
        if !ended.err.contains(&format!("relight runs answer {} {word}", &run[..4])) {
            wrong.push(format!("the command does not say how to answer `{word}`:\n{}", ended.err));
        }
    }
    for text in ["nobody recorded whether it took effect", "look at the machine", "relight runs answer"] {
        if !format!("{}{}", shown.out, shown.err).contains(text) {
            wrong.push(format!("`runs show` does not say {text:?}:\n{}{}", shown.out, shown.err));
        }
    }
    wrong
}

async fn kill_everywhere(drill: Drill) {
    let ideal = play(drill, Kill::Never).await;
    assert_eq!(ideal.wrong, Vec::<String>::new());
    let records = (1..=ideal.records).map(Kill::AfterRecord);
    let kills: Vec<Kill> = records.chain((1..=ideal.writes).map(Kill::AtWrite)).collect();
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut points = JoinSet::new();
    for kill in kills {
        let slots = slots.clone();
        points.spawn(async move {
            let _slot = slots.acquire_owned().await;
            (kill, play(drill, kill).await)
        });
    }
    let mut played = Vec::new();
    while let Some(point) = points.join_next().await {
        played.push(point.expect("a point is played"));
    }
    // How often a status changes depends on the machine, and the number of records with it: go on beyond the end.
    let came_to_its_end =
        |(kill, point): &(Kill, Point)| matches!(kill, Kill::AfterRecord(_)) && !point.was_killed;
    for record in ideal.records + 1.. {
        if played.iter().any(came_to_its_end) {
            break;
        }
        assert!(record < 3 * ideal.records, "no run came to its end: {record} were all killed");
        let kill = Kill::AfterRecord(record);
        played.push((kill, play(drill, kill).await));
    }
    let (mut after_records, mut at_writes, mut asked, mut offenders) = (0, 0, 0, Vec::new());
    for (kill, point) in played {
        match kill {
            Kill::AfterRecord(_) if point.was_killed => after_records += 1,
            Kill::AfterRecord(record) if point.records >= record => {
                offenders.push(format!("{kill:?}: it lived on and wrote {} records", point.records));
            }
            Kill::AtWrite(_) => at_writes += u64::from(point.was_killed),
            Kill::AfterRecord(_) | Kill::Never => {}
        }
        asked += u64::from(point.asked);
        let unlike = point.traces.unlike(&ideal.traces, &[]);
        offenders.extend(point.wrong.iter().chain(&unlike).map(|wrong| format!("{kill:?}: {wrong}")));
    }
    println!(
        "drill {}: {after_records} points after a record, {at_writes} between sent and recorded; {asked} asked a person",
        drill.name
    );
    assert_eq!(at_writes, ideal.writes, "a request was not met");
    assert!(offenders.is_empty(), "{} offenders:\n{}", offenders.len(), offenders.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn recover_killed_at_every_point() {
    kill_everywhere(RECOVER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn recover_again_killed_at_every_request() {
    let ideal = play(RECOVER_AGAIN, Kill::Never).await;
    assert_eq!((ideal.wrong, ideal.writes), (Vec::<String>::new(), 2));
    for nth in 1..=2 {
        let point = play(RECOVER_AGAIN, Kill::AtWrite(nth)).await;
        assert!(point.was_killed);
        assert_eq!(point.wrong, Vec::<String>::new(), "request {nth}");
        assert_eq!(point.traces.unlike(&ideal.traces, &[]), Vec::<String>::new(), "request {nth}");
    }
    println!("drill recover again: 2 points between sent and recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn disable_killed_at_every_point() {
    kill_everywhere(DISABLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn restart_killed_at_every_point() {
    kill_everywhere(RESTART).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn restart_forced_killed_at_every_point() {
    kill_everywhere(RESTART_FORCED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn ssh_let_in_killed_at_every_point() {
    kill_everywhere(LET_IN).await;
    kill_everywhere(LET_IN_NO_MORE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn run_commands_killed_at_every_point() {
    kill_everywhere(ON_MACHINE).await;
    kill_everywhere(ADD_KEY).await;
    kill_everywhere(VERIFY).await;
    kill_everywhere(ENTRA).await;
}

/// The lab and the processes agree on the time, or nothing above means anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_read_the_time_of_the_lab() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        let file = stage.sealed.write("work/when.rhai", &runbook(&[], "now()"));
        let before = stage.clock.now();
        let said = stage.relight(&["run", &file.to_string_lossy()]);
        let after = stage.clock.now();
        let shown: jiff::Timestamp = said.out.trim().parse().unwrap_or_else(|e| panic!("{e}: {said:?}"));
        assert!(before <= shown && shown <= after, "{before} {shown} {after}");
    });
}
