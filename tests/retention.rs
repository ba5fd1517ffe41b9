//! Runs that are over go when they were kept for long enough, as a whole, and whoever needs them keeps them.

use std::time::{Duration, Instant};

use relight_engine::RunId;
use relight_engine::event::Schedule;
use relight_engine::journal::{RunFilter, SqliteJournal};
use serde_json::Value;

use crate::support::sealed::Sealed;
use crate::support::stage::{Stage, ended, signal};
use crate::support::world::FLAGSHIP;

const SAYS: &str = "/*---\ntitle = \"Say\"\n---*/\nnote(\"said\"); 1";

/// A stage with runs that are over, the newest last.
fn filled(stage: &Stage, count: usize) -> Vec<String> {
    let file = stage.sealed.write("work/says.rhai", SAYS).to_string_lossy().into_owned();
    for n in 0..count {
        let label = format!("number={n}");
        let ran = stage.relight(&["run", &file, "--label", &label, "--label", "kind=short"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let mut ids = ids(stage, &["runs", "--json", "--limit", "0"]);
    ids.reverse();
    ids
}

fn ids(stage: &Stage, args: &[&str]) -> Vec<String> {
    stage.lines(args).iter().map(|run| run["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn runs_are_found_by_who_started_them_and_by_their_labels() {
    let stage = Stage::new(60).await;
    tokio::task::block_in_place(|| {
        let all = filled(&stage, 3);
        let list = |args: &[&str]| ids(&stage, &[&["runs", "list", "--json"], args].concat());
        assert_eq!(list(&["--label", "number=1"]), [all[1].clone()]);
        assert_eq!(list(&["--label", "number=1", "--label", "kind=long"]), [""; 0]);
        assert_eq!(list(&["--who", "ada@desk-7", "--label", "kind=short"]).len(), 3);
        assert_eq!(list(&["--who", "ada"]), [""; 0]);
        assert_eq!(list(&["--sort", "updated", "--limit", "1"]), [all[2].clone()]);
        assert_eq!(list(&["--sort", "runbook", "--after", &all[1]]), [all[0].clone()]);
        let shown = stage.relight(&["runs", "show", &all[1]]);
        assert!(shown.out.contains("ada@desk-7") && shown.out.contains("kind=short number=1"), "{shown:?}");
        let nothing = stage.relight(&["runs", "list", "--label", "number=9"]);
        assert!(nothing.err.contains("No run is like that"), "{nothing:?}");
        for wrong in ["=1", "a b=1", "number"] {
            let refused = stage.relight(&["run", "work/says.rhai", "--label", wrong]);
            assert_eq!(refused.code, Some(2), "{wrong}: {refused:?}");
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_kept_for_long_enough_is_exported_and_goes() {
    let stage = Stage::new(60).await;
    tokio::task::block_in_place(|| {
        let opened = stage.relight(&["run", FLAGSHIP, "vm=web-01", "disable_after=2h"]);
        assert_eq!(opened.code, Some(0), "{opened:?}");
        let needed = stage.newest(FLAGSHIP).expect("a run")["id"].clone();
        let all = filled(&stage, 5);
        let prune = |args: &[&str]| stage.relight(&[&["runs", "prune"], args].concat());
        assert_eq!(prune(&[]).code, Some(2), "a rule is wanted");
        let young = prune(&["--older-than", "90d"]);
        assert!(young.code == Some(0) && young.err.contains("No run has been kept"), "{young:?}");

        let would = prune(&["--keep", "2", "--dry-run"]);
        assert!(would.err.contains("3 runs would go. Nothing was pruned."), "{would:?}");
        let would = stage.lines(&["runs", "prune", "--keep", "2", "--dry-run", "--json"]);
        // The oldest is what opened the console, and is needed.
        let would: Vec<&Value> = would.iter().map(|run| &run["id"]).collect();
        assert_eq!(
            would,
            [&all[1], &all[2], &all[3]].map(|id| serde_json::json!(id)).iter().collect::<Vec<_>>()
        );

        let folder = stage.sealed.path("kept");
        let pruned = prune(&["--keep", "2", "--export", &folder.to_string_lossy()]);
        assert!(pruned.code == Some(0) && pruned.err.contains("Pruned 3 runs"), "{pruned:?}");
        for id in &all[1..4] {
            let file = folder.join(format!("{id}.json"));
            let verified = stage.relight(&["runs", "verify", &file.to_string_lossy(), "--json"]);
            assert_eq!(verified.code, Some(0), "{verified:?}");
            assert!(verified.out.contains(id), "{verified:?}");
            let gone = stage.relight(&["runs", "show", id]);
            assert!(gone.code == Some(2) && gone.err.contains("was pruned"), "{gone:?}");
        }
        let left = ids(&stage, &["runs", "--json"]);
        assert_eq!(left.len(), 3);
        assert!(left.iter().any(|id| *id == needed), "{left:?}");
        let closed = stage.relight(&["leases", "close", "@last"]);
        assert_eq!(closed.code, Some(0), "{closed:?}");
        assert_eq!(stage.complaints(), Vec::<String>::new());
    });
}

/// Killed when a piece is on the disk; what is left goes the next time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_prune_that_is_killed_leaves_whole_runs() {
    let stage = Stage::new(60).await;
    tokio::task::block_in_place(|| {
        filled(&stage, 3);
        let died = stage.crashes_after(1, &["runs", "prune", "--keep", "1"]);
        assert!(died.code.is_none(), "{died:?}");
        for id in ids(&stage, &["runs", "--json"]) {
            assert_eq!(stage.relight(&["runs", "show", &id]).code, Some(0));
        }
        assert_eq!(stage.relight(&["runs", "prune", "--keep", "1"]).code, Some(0));
        assert_eq!(ids(&stage, &["runs", "--json"]).len(), 1);
        assert_eq!(
            stage.relight(&["doctor", "--json"]).out.lines().filter(|it| it.contains("journal")).count(),
            1
        );
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_prunes_what_its_configuration_says() {
    let stage = Stage::new(60).await;
    tokio::task::block_in_place(|| {
        filled(&stage, 4);
        let config = stage.sealed.write("work/relight.toml", "[retention]\nkeep = 1\nexport = \"kept\"\n");
        let config = config.to_string_lossy().into_owned();
        let serve = stage.command(&["serve", "--config", &config]).spawn().expect("relight starts");
        let began = Instant::now();
        while ids(&stage, &["runs", "--json"]).len() > 1 {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing was pruned");
        }
        signal(serve.id(), "TERM");
        let served = ended(serve);
        assert_eq!(served.code, Some(0), "{served:?}");
        assert_eq!(std::fs::read_dir(stage.sealed.work().join("kept")).expect("a folder").count(), 3);
        let wrong = stage.sealed.write("work/wrong.toml", "[retention]\nolder = \"1d\"\n");
        let refused = stage.relight(&["runs", "--config", &wrong.to_string_lossy()]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
    });
}

/// A folder that cannot be written to: nothing goes.
#[test]
fn what_cannot_be_exported_stays() {
    let world = Sealed::new();
    world.write("work/says.rhai", SAYS);
    let ran = world.in_lab(["run", "says.rhai"]).run();
    ran.succeeds();
    let file = world.write("work/file", "no folder");
    let refused =
        world.relight(["runs", "prune", "--lab", "--keep", "0", "--export", &*file.to_string_lossy()]).run();
    let said = refused.to_string();
    assert!(said.contains("failed to make the folder"), "{said}");
    assert!(world.relight(["runs", "show", "@last", "--lab"]).run().to_string().contains("succeeded"));
}

/// The firing of a schedule whose run was pruned: it is over and does not start again, whoever asks.
#[tokio::test]
async fn what_a_schedule_fixed_starts_once_although_its_run_was_pruned() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = SqliteJournal::open(&folder.path().join("relight.db")).expect("a journal");
    let engine = relight_engine::Engine::builder()
        .library(relight_engine::Library::new().ship("says", SAYS))
        .journal(std::sync::Arc::new(journal))
        .build()
        .expect("an engine");
    let due = engine.clock().now();
    let journal = engine.journal().clone();
    let id = RunId::derived(&["schedule", "s", &due.to_string()]);
    for round in 0..2 {
        engine.add_schedule(&Schedule::new("s", "says", due)).await.expect("a schedule");
        let mut worker =
            relight_engine::worker::Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
        worker.tick().await.expect("a tick");
        worker.tick().await.expect("a tick");
        worker.settle().await;
        let runs = journal.runs(&RunFilter::all()).await.expect("runs");
        assert_eq!(runs.len(), usize::from(round == 0), "round {round}");
        assert_eq!(journal.schedules().await.expect("schedules"), [], "the tick is accounted for");
        let gone = journal.prune(std::slice::from_ref(&id), engine.clock().now()).await.expect("pruned");
        assert_eq!(gone.len(), usize::from(round == 0));
    }
    // The same id by a caller who asks for the same run again.
    let request = relight_engine::RunRequest::new("says").id(id.clone());
    assert_eq!(engine.prepare(&request).await.expect("it is known"), id);
    let error = engine.run(&id).await.expect_err("it is over and gone");
    assert!(error.message().contains("was pruned"), "{error}");
}
