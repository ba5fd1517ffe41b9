//! Histories saved by every release, replayed under today's code to the same end, without any request.
//!
//! A release saves its histories with `cargo nextest run journals::save --run-ignored only` and never changes
//! them again. They are what `relight runs export` prints.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::event::{
    Event, ExtendedLease, ForgottenLease, GENESIS, Lease, Park, Record, RunEnd, RunId, Schedule, Signal,
    Source, Tick, fingerprint, verify,
};
use relight_engine::journal::{
    Appended, Claim, ClaimRequest, ExtendRequest, Journal, NewRun, News, OwnerId, PruneFilter, Queued,
    RunFilter, ScheduledEnd, Settlement, Summary, Sync, Tenure, TickFilter,
};
use relight_engine::replay::History;
use relight_engine::{Driven, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::support::stage::Stage;
use crate::support::world::{FLAGSHIP, World, minutes};

/// A history as `relight runs export` prints it.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Saved {
    relight_export: u32,
    run: RunId,
    sources: Vec<Source>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    results: Vec<String>,
    records: Vec<Record>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals")
}

/// Every saved history with the name of its file.
fn saved() -> Vec<(String, Saved)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("tests/journals")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("text");
            (name.clone(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}")))
        })
        .collect()
}

/// A journal that holds one history without its end, checks it as the real ones do, and notes what is added.
struct Shelf {
    saved: Saved,
    added: Mutex<Vec<Event>>,
}

impl Shelf {
    /// Takes the end off a history, so that its script is replayed.
    fn without_end(mut saved: Saved) -> Arc<Self> {
        saved.records.pop();
        Arc::new(Shelf { saved, added: Mutex::default() })
    }

    fn not_here<T>(&self) -> Result<T> {
        Err(Error::storage("a saved history is only read"))
    }
}

#[async_trait]
impl Journal for Shelf {
    async fn prepare(&self, _: NewRun, _: Timestamp) -> Result<bool> {
        self.not_here()
    }

    async fn heartbeat(&self, _: &OwnerId, _: Timestamp) -> Result<()> {
        Ok(())
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let ClaimRequest { run, owner, .. } = request.clone();
        Ok(Claim::Granted(Tenure { run, owner, epoch: 1000 }))
    }

    async fn append(&self, _: &Tenure, events: &[Event], at: Timestamp, _: Sync) -> Result<Appended> {
        let mut added = self.added.lock().expect("no panic while adding");
        for event in events {
            // What cannot be written as a record is no event.
            Record::follow(GENESIS, 1, at, event)?;
            added.push(event.clone());
        }
        Ok(Appended::new((self.saved.records.len() + added.len()) as u64, false))
    }

    async fn records(&self, _: &RunId, after: u64) -> Result<Vec<Record>> {
        verify(GENESIS, 1, &self.saved.records)?;
        Ok(self.saved.records.iter().filter(|record| record.seq > after).cloned().collect())
    }

    async fn sources(&self, _: &RunId) -> Result<Vec<Source>> {
        Ok(self.saved.sources.clone())
    }

    async fn keep(&self, _: &str) -> Result<()> {
        self.not_here()
    }

    async fn kept(&self, _: &str) -> Result<String> {
        self.not_here()
    }

    async fn run(&self, _: &RunId) -> Result<Option<Summary>> {
        Ok(None)
    }

    async fn runs(&self, _: &RunFilter) -> Result<Vec<Summary>> {
        Ok(Vec::new())
    }

    async fn find(&self, _: &str, _: usize) -> Result<Vec<Summary>> {
        Ok(Vec::new())
    }

    async fn due(&self, _: Timestamp, _: usize) -> Result<Vec<RunId>> {
        Ok(Vec::new())
    }

    async fn next_due(&self, _: Timestamp) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    fn news(&self) -> News {
        News::default()
    }

    async fn was_written_past(&self) -> Result<bool> {
        Ok(false)
    }

    async fn signal(&self, _: &RunId, _: &Signal, _: Timestamp) -> Result<()> {
        self.not_here()
    }

    async fn signalled(&self, _: &OwnerId) -> Result<Vec<RunId>> {
        Ok(Vec::new())
    }

    async fn signals(&self, _: &RunId) -> Result<Vec<Signal>> {
        Ok(Vec::new())
    }

    async fn queue(&self) -> Result<Vec<Queued>> {
        Ok(Vec::new())
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        Ok(Vec::new())
    }

    async fn forget_lease(&self, _: &str, _: &str, _: &str, _: Timestamp) -> Result<bool> {
        self.not_here()
    }

    async fn forgotten_leases(&self) -> Result<Vec<ForgottenLease>> {
        Ok(Vec::new())
    }

    async fn prunable(&self, _: &PruneFilter) -> Result<Vec<Summary>> {
        Ok(Vec::new())
    }

    async fn prune(&self, _: &[RunId], _: Timestamp) -> Result<Vec<RunId>> {
        self.not_here()
    }

    async fn pruned(&self, _: &RunId) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn extend_lease(&self, _: &ExtendRequest) -> Result<Option<ExtendedLease>> {
        self.not_here()
    }

    async fn extended_leases(&self) -> Result<Vec<ExtendedLease>> {
        Ok(Vec::new())
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        Ok(Vec::new())
    }

    async fn settle(&self, _: &Settlement, _: Timestamp) -> Result<bool> {
        self.not_here()
    }

    async fn ticks(&self, _: &TickFilter) -> Result<Vec<Tick>> {
        Ok(Vec::new())
    }

    async fn prune_ticks(&self, _: Timestamp, _: usize) -> Result<usize> {
        self.not_here()
    }

    async fn scheduled_ends(&self, _: usize) -> Result<Vec<ScheduledEnd>> {
        Ok(Vec::new())
    }

    async fn stop_overdue(&self, _: Timestamp) -> Result<Vec<RunId>> {
        Ok(Vec::new())
    }
}

fn end_of(saved: &Saved) -> RunEnd {
    match saved.records.last().expect("records").event().expect("an event") {
        Event::Finished { end, .. } => end,
        other => panic!("a saved history ends with its end, not {other:?}"),
    }
}

/// Replays a history. Returns how it ended, what was added, and how many requests were made.
async fn replay(saved: Saved) -> (Result<Driven>, Vec<Event>, usize) {
    let world = World::new().await;
    let run = saved.run.clone();
    let shelf = Shelf::without_end(saved);
    let driven = world.engine_over(shelf.clone()).run(&run).await;
    let added = shelf.added.lock().expect("no panic while adding").clone();
    (driven, added, world.lab.requests().len())
}

#[tokio::test]
async fn every_saved_history_replays_to_its_end() {
    let all = saved();
    assert!(
        all.iter().any(|(name, _)| name == "0.1.0-recover-unbootable-vm.json"),
        "{:?} lacks the first",
        folder()
    );
    let mut offenders = Vec::new();
    for (name, saved) in &all {
        let mut offends = |what: String| offenders.push(format!("{name}: {what}"));
        if let Err(error) = verify(GENESIS, 1, &saved.records) {
            offends(format!("{error:?}"));
        }
        match History::read(&saved.records) {
            Ok(history) => {
                for (pin, source) in history.prepared.sources.iter().zip(&saved.sources) {
                    if pin.fingerprint != fingerprint(&source.text) {
                        offends(format!("the text of {} is not the one that was pinned", pin.name));
                    }
                }
            }
            Err(error) => offends(format!("{error:?}")),
        }
        let end = end_of(saved);
        let (driven, added, requests) = replay(saved.clone()).await;
        match &driven {
            Ok(Driven::Ended(again)) if *again == end => {}
            other => offends(format!("expected {end:?}, got {other:?}")),
        }
        if added != [Event::Finished { end, parent: None }] {
            offends(format!("something was added: {added:?}"));
        }
        if requests > 0 {
            offends(format!("{requests} requests were made"));
        }
    }
    println!("journals: {} histories replayed, no request", all.len());
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

/// The operations that wait in a state of their own; the raw writes share theirs. Each is saved in the
/// midst of its work.
const WAITING: &[&str] = &[
    "arc::extension_install",
    "arc::extension_remove",
    "arc::run_command, ended",
    "arc::run_command, running",
    "arm::delete",
    "arm::post",
    "local::power_off",
    "local::restart",
    "local::start",
    "local::stop",
    "net::wait_for_port",
    "ssh::key_pair",
    "vmconnect::disable",
    "vmconnect::enable",
    "wait",
];

/// An upgrade meets runs that stand anywhere: each is cut off at every state in which a step waited, and where
/// nobody recorded what became of such a step. Today's operations take it up from there.
#[tokio::test]
async fn every_saved_state_is_taken_up() {
    let (mut states, mut undecided) = (0, 0);
    let (mut met, mut stages, mut offenders) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (name, saved) in saved() {
        for at in 0..saved.records.len() {
            let (step, continuation) = match saved.records[at].event().expect("an event") {
                Event::StepAccepted { step, continuation, .. } => (step, Some(continuation)),
                Event::StepStarted { step, .. } => (step, None),
                _ => continue,
            };
            let mut cut = saved.clone();
            cut.records.truncate(at + 1);
            let history = History::read(&cut.records).expect("a history");
            let operation = history.step(step).expect("the step").operation.clone();
            if !WAITING.iter().any(|it| it.split(',').next() == Some(&operation)) {
                continue;
            }
            let world = World::new().await;
            let shelf = Arc::new(Shelf { saved: cut, added: Mutex::default() });
            // The lab never heard of the run: what matters is that the state is understood.
            let driven = world.engine_over(shelf.clone()).drive(&saved.run, Duration::ZERO).await;
            let added = shelf.added.lock().expect("no panic while adding").len();
            if driven.is_err() || added == 0 {
                offenders.push(format!("{name}: record {}, `{operation}`: {driven:?}", at + 1));
            }
            let Some(continuation) = continuation else {
                undecided += 1;
                continue;
            };
            states += 1;
            let at = &continuation["at"];
            for place in [at, &at["running"], &at["ended"]["removal"]] {
                let at = &place["stage"];
                let word = at.as_object().and_then(|at| at.keys().next().cloned());
                stages.extend(word.or_else(|| at.as_str().map(str::to_owned)));
            }
            let state = ["running", "ended"].into_iter().find(|word| !at[*word].is_null());
            met.insert(state.map_or_else(|| operation.clone(), |word| format!("{operation}, {word}")));
        }
    }
    println!(
        "journals: {states} saved states of {} kinds and {undecided} undecided steps taken up",
        met.len()
    );
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
    let missing: Vec<_> = WAITING.iter().filter(|name| !met.contains(**name)).collect();
    assert!(missing.is_empty(), "no state is saved of {missing:?}: {met:?}");
    // Where a change of one resource can stand, whichever operation it belongs to.
    assert_eq!(stages, ["following", "intended", "unsent", "watching"].map(str::to_owned).into());
}

/// What is written today reads back byte for byte: an old reader meets nothing new by accident.
#[tokio::test]
async fn every_saved_record_is_written_the_same_today() {
    let mut offenders = Vec::new();
    for (name, saved) in saved() {
        let mut previous = GENESIS.to_owned();
        for record in &saved.records {
            let event = record.event().expect("an event");
            match Record::follow(&previous, record.seq, record.at, &event) {
                Ok(again) if again == *record => {}
                Ok(again) => offenders.push(format!(
                    "{name}: record {}:\n  saved: {}\n  today: {}",
                    record.seq, record.body, again.body
                )),
                Err(error) => offenders.push(format!("{name}: record {}: {error:?}", record.seq)),
            }
            previous.clone_from(&record.hash);
        }
    }
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

#[tokio::test]
async fn a_flipped_byte_is_named() {
    let (_, intact) = saved().remove(0);
    let mut offenders = Vec::new();
    let mut flips = 0;
    for index in 0..intact.records.len() - 1 {
        let length = intact.records[index].body.len();
        for at in (0..length).step_by(length / 5 + 1) {
            let mut saved = intact.clone();
            let mut body = saved.records[index].body.clone().into_bytes();
            body[at] ^= 1;
            let Ok(body) = String::from_utf8(body) else { continue };
            saved.records[index].body = body;
            flips += 1;
            let (driven, added, requests) = replay(saved).await;
            let named = driven.as_ref().is_err_and(|error| {
                error.kind() == ErrorKind::Storage
                    && error.message().starts_with(&format!("record {} ", index + 1))
            });
            if !named || !added.is_empty() || requests > 0 {
                offenders.push(format!(
                    "record {}, byte {at}: {driven:?}, {added:?}, {requests} requests",
                    index + 1
                ));
            }
        }
    }
    println!("journals: {flips} flipped bytes, each named");
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

#[tokio::test]
async fn a_dropped_a_doubled_and_a_swapped_record_are_named() {
    let (_, intact) = saved().remove(0);
    let mut offenders = Vec::new();
    for index in 0..intact.records.len() - 2 {
        let mut dropped = intact.clone();
        dropped.records.remove(index);
        let mut doubled = intact.clone();
        doubled.records.insert(index, intact.records[index].clone());
        let mut swapped = intact.clone();
        swapped.records.swap(index, index + 1);
        for (what, saved, named) in [
            ("dropped", dropped, index + 1),
            ("doubled", doubled, index + 2),
            ("swapped", swapped, index + 1),
        ] {
            let (driven, added, requests) = replay(saved).await;
            let is_named = driven.as_ref().is_err_and(|error| {
                error.kind() == ErrorKind::Storage && error.message().starts_with(&format!("record {named} "))
            });
            if !is_named || !added.is_empty() || requests > 0 {
                offenders
                    .push(format!("record {} {what}: {driven:?}, {added:?}, {requests} requests", index + 1));
            }
        }
    }
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

#[tokio::test]
async fn a_changed_script_halts_at_the_step_that_differs() {
    let all = saved();
    let (_, intact) = all.iter().find(|(name, _)| name.contains(FLAGSHIP)).expect("the flagship's history");
    for (from, to, words) in [
        ("schedule::after(params.disable_after,", "schedule::after(\"5h\",", ["schedule::after", "5h"]),
        ("note(`${vm.name} is ${vm.status}`);", "", ["note", "vmconnect::enable"]),
        ("let console =", "note(\"hello\"); let console =", ["vmconnect::enable", "hello"]),
    ] {
        let mut saved = intact.clone();
        let text = saved.sources[0].text.replacen(from, to, 1);
        assert_ne!(text, saved.sources[0].text, "the runbook holds {from:?}");
        saved.sources[0].text = text;
        let (driven, added, requests) = replay(saved).await;
        let error = driven.expect_err("another script must not go on");
        assert_eq!(error.kind(), ErrorKind::Diverged, "{error:?}");
        assert!(error.message().contains("step ") && error.message().contains("recorded:"), "{error}");
        for word in words {
            assert!(error.message().contains(word), "{word} is missing in {error}");
        }
        assert!(error.hints().iter().any(|hint| hint.to_string().contains("nothing was sent")), "{error:?}");
        assert!(matches!(added.as_slice(), [] | [Event::Parked { .. }]), "{added:?}");
        assert_eq!(requests, 0);
    }
}

/// The command judges a saved history the same way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_verifies_what_was_saved() {
    let stage = Stage::new(60).await;
    tokio::task::block_in_place(|| {
        for (name, intact) in saved() {
            let judge = |saved: &Saved| {
                let file =
                    stage.sealed.write("saved.json", &serde_json::to_string_pretty(saved).expect("JSON"));
                stage.relight(&["runs", "verify", &file.to_string_lossy()])
            };
            let fine = judge(&intact);
            assert_eq!(fine.code, Some(0), "{name}: {fine:?}");
            assert!(
                fine.out.contains(&intact.records.last().expect("records").hash),
                "{name}: no seal in {fine:?}"
            );

            let mut flipped = intact.clone();
            flipped.records[2].body = flipped.records[2].body.replacen('e', "f", 1);
            let mut dropped = intact.clone();
            dropped.records.remove(3);
            let mut wrong = vec![("flipped", flipped, "record 3 "), ("dropped", dropped, "record 4 ")];
            let mut changed = intact.clone();
            // The closing of a lease has no text.
            if let Some(source) = changed.sources.first_mut() {
                source.text.push_str("\nnote(\"more\");\n");
                wrong.push(("changed", changed, "runbook's text"));
            }
            for (what, saved, words) in wrong {
                let refused = judge(&saved);
                assert_eq!(refused.code, Some(5), "{name} {what}: {refused:?}");
                assert!(refused.err.contains(words), "{name} {what} does not say {words:?}: {}", refused.err);
            }
        }
    });
}

/// The database that a program of a format left: a run that waits, one that asks, an open lease and a schedule.
fn database(format: u32) -> PathBuf {
    folder().join(format!("format-{format}.db"))
}

/// The formats of which one was saved, that of the commit before the last change of the format among them.
const FORMATS: [u32; 3] = [1, 3, 6];

/// What another program left behind is brought to its end: nothing is lost, and every door is closed.
#[tokio::test]
async fn a_saved_database_is_taken_over() {
    for format in FORMATS {
        let became = is_taken_over(format).await;
        let last = FORMATS[FORMATS.len() - 1];
        assert_eq!(became, last + 1, "save a database by the commit before the format changed");
    }
}

/// Returns the format of the database afterwards.
async fn is_taken_over(format: u32) -> u32 {
    let world = World::new().await;
    std::fs::copy(database(format), world.database()).expect("a copy");
    let world = world.on_disk();
    let runs = world.journal.runs(&RunFilter::default()).await.expect("runs");
    let left = runs.iter().map(|run| run.updated).max().expect("a run");
    world.clock.set(left + minutes(1));
    assert_eq!(world.leases().await.len(), 1, "a lease is open");
    assert_eq!(world.journal.schedules().await.expect("schedules").len(), 1);
    let parked: Vec<&Summary> = runs.iter().filter(|run| run.park.is_some()).collect();
    assert_eq!(parked.len(), 2, "{runs:#?}");
    let asks = parked.iter().find(|run| matches!(run.park, Some(Park::Question { .. }))).expect("a question");
    world.engine().answer(&asks.id, "blue", "ada").await.expect("answered");

    let troubles = world.keep_until(left + minutes(10 * 60)).await;
    assert_eq!(troubles, Vec::<String>::new());
    assert_eq!(world.leases().await, []);
    assert_eq!(world.journal.schedules().await.expect("schedules"), []);
    let mut values = Vec::new();
    for run in world.journal.runs(&RunFilter::default()).await.expect("runs") {
        let history = History::read(&world.records(&run.id).await).expect("a history");
        let Some(RunEnd::Succeeded { value }) = history.end else { panic!("{run:?}: {:?}", history.end) };
        values.push(value);
    }
    for expected in [json!(["waited", 2]), json!("blue")] {
        assert!(values.contains(&expected), "{expected} is not among {values:?}");
    }
    let db = rusqlite::Connection::open(world.database()).expect("the database");
    db.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a format")
}

/// Saves a database of today's format: `cargo nextest run journals::save_database --run-ignored only`.
#[tokio::test]
#[ignore = "run when the format changes before its release, and for every format that is released"]
async fn save_database() {
    let world = World::new().await.on_disk();
    let opened = world.run_script(&["azure:write"], r#"vmconnect::enable("web-01").host"#).await;
    assert!(opened.succeeded(), "{opened:?}");
    for script in [
        r#"let n = 1; wait("3h"); n += 1; ["waited", n]"#,
        r#"ask("Which one?", #{ choices: ["red", "blue"] })"#,
        r#"schedule::after("2h", "disable-vm-connect", #{ vm: local::vm("web-01").id }); "planned""#,
    ] {
        let engine = world.engine();
        let run = engine.prepare(&world.script(&["azure:write"], script)).await.expect("a run");
        engine.drive(&run, Duration::from_secs(60)).await.expect("driven");
    }
    // One moment of it in one file, whoever else has it open.
    let db = rusqlite::Connection::open(world.database()).expect("the database");
    let format = db.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a format");
    let _ = std::fs::remove_file(database(format));
    db.execute("VACUUM INTO ?1", [database(format).to_string_lossy()]).expect("a copy");
}

/// Returns a port that says something to the first who connects.
fn greeting(text: &'static str) -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a visitor");
        std::io::Write::write_all(&mut stream, text.as_bytes()).expect("heard");
    });
    port
}

/// Saves today's histories: `cargo nextest run journals::save --run-ignored only`.
#[tokio::test]
#[ignore = "a release runs it, once: what is saved stays as it is"]
async fn save() {
    std::fs::create_dir_all(folder()).expect("tests/journals");
    let version = env!("CARGO_PKG_VERSION");
    let write = |name: &str, saved: Saved| {
        let path = folder().join(format!("{version}-{name}.json"));
        if path.exists() {
            println!("{} was saved before, and stays as it is", path.display());
            return;
        }
        let text = serde_json::to_string_pretty(&saved).expect("JSON") + "\n";
        std::fs::write(path, text).expect("written");
    };
    async fn export(world: &World, run: &RunId) -> Saved {
        let records = world.records(run).await;
        let mut results = Vec::new();
        for record in &records {
            if let Event::OutputKept { output, .. } = record.event().expect("an event") {
                results.push(world.journal.kept(&output.sha256).await.expect("a text"));
            }
        }
        let sources = world.journal.sources(run).await.expect("sources");
        Saved { relight_export: 1, run: run.clone(), sources, results, records }
    }
    let world = World::with(&["throttled=1", "reset-before"]).await;
    let ran = world.recover().await;
    assert!(ran.succeeded());
    write(FLAGSHIP, export(&world, &ran.run).await);
    let closed = world.run("disable-vm-connect", &[("vm", "web-01")]).await;
    write("disable-vm-connect", export(&world, &closed.run).await);
    let runs = world.journal.runs(&RunFilter::all()).await.expect("runs");
    let closing = runs.iter().find(|run| run.runbook.starts_with("close/")).expect("a closing");
    write("closing", export(&world, &closing.id).await);
    let report = world.run("site-report", &[]).await;
    write("site-report", export(&world, &report.run).await);
    let failed = world.run(FLAGSHIP, &[("vm", "pos-01")]).await;
    write("recover-failed", export(&world, &failed.run).await);

    // Everything that waits, in the midst of its work.
    let script = r#"
        let vm = local::vm("web-01");
        local::stop(vm); local::start(vm); local::restart(vm); local::power_off(vm);
        let group = "/subscriptions/" + vm.id.split("/")[2] + "/resourceGroups/rg-saved";
        arm::put(group, "2022-09-01", #{ location: "eastus" });
        arm::patch(group, "2022-09-01", #{ tags: #{ saved: "yes" } });
        arm::delete(group, "2022-09-01");
        arc::extension_install("db-01", "Microsoft.Azure.OpenSSH", "WindowsOpenSSH");
        arc::extension_remove("db-01", "WindowsOpenSSH");
        try { net::wait_for_port("127.0.0.1", 9, #{ wait: "1m" }) } catch (e) {}
        try { arm::post(vm.id + "/providers/Microsoft.AzureStackHCI/virtualMachineInstances/default/restart", "2025-06-01-preview", #{}) } catch (e) { note(e.message) }
        wait("20m")"#;
    let busy = world.run_script(&["azure:write", "net:probe"], script).await;
    assert!(busy.succeeded(), "{busy:?}");
    write("busy", export(&world, &busy.run).await);

    // A script on a machine, until it has ended and until it is removed; a key that has no place yet.
    let script = r#"
        let ran = arc::run_command("db-01", "hostname", #{ timeout: "5m" });
        let pair = ssh::key_pair("id_saved", #{ comment: "saved" });
        [ran.exit_code, pair.key.starts_with("ssh-ed25519 ")]"#;
    let machine = world.run_script(&["azure:write", "file:write"], script).await;
    assert_eq!(*machine.value(), json!([0, true]));
    write("machine", export(&world, &machine.run).await);

    // A VM that moves the wrong way is waited for, sent to and followed, and its status ends too early.
    world.lab.inject("succeeded-but-updating".parse().expect("a fault"));
    let start = r#"arm::post(local::vm("file-01").id + "/providers/Microsoft.AzureStackHCI/virtualMachineInstances/default/start", "2025-06-01-preview")"#;
    let engine = world.engine();
    let starting = engine.prepare(&world.script(&["azure:write"], start)).await.expect("a run");
    engine.drive(&starting, Duration::ZERO).await.expect("driven");
    let stopped = world.run_script(&["azure:write"], r#"local::stop("file-01").power_state"#).await;
    assert_eq!(*stopped.value(), json!("Stopped"));
    write("contrary", export(&world, &stopped.run).await);
    world.lab.clear_faults();

    // What a step says, a file, and what it holds open.
    let script = format!(
        r#"let tunnel = net::forward("127.0.0.1", {});
           let heard = net::read(tunnel.address, tunnel.port, #{{ up_to: "login:" }});
           rdp::write("web-01.rdp", #{{ vm_id: "0a1b", addresses: ["192.0.2.10"] }});
           heard.text"#,
        greeting("ready on node-1\nlogin: ")
    );
    let said = world.run_script(&["net:forward", "net:probe", "file:write"], &script).await;
    assert_eq!(*said.value(), json!("ready on node-1\nlogin: "));
    write("said", export(&world, &said.run).await);

    // A question and its answer, a caught error, a wait of hours, and what is deferred.
    let request = world.script(
        &["azure:write"],
        r#"defer(|| note("deferred")); let t = now(); let n = random();
           let caught = ""; try { local::vm("nobody") } catch (e) { caught = e.kind }
           wait("3h"); let said = ask("Go on?", #{ choices: ["yes", "no"] }); [said, caught, n < 1.0]"#,
    );
    let engine = world.engine();
    let run = engine.prepare(&request).await.expect("a run");
    engine.run(&run).await.expect("driven");
    engine.answer(&run, "yes", "ada").await.expect("answered");
    world.clock.advance(minutes(1));
    let answered = world.resume(&run).await;
    assert!(answered.succeeded(), "{answered:?}");
    write("asked", export(&world, &run).await);
}
