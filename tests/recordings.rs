//! `--record FILE`: what a run said to Azure, as a file that can be handed on: it replays, and says nothing about anybody.

use std::path::Path;

use relight_stdlib::azure::recording::{Recording, Replayed};

use crate::support::stage::{Ended, Stage};

/// How much faster than the wall clock a lab's time passes here.
const SPEED: u32 = 2000;

fn read(file: &Path) -> Recording {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}\n{text}", file.display()))
}

/// What the world calls its own: names, addresses, ids.
fn own(stage: &Stage) -> Vec<String> {
    let lab = stage.lab.descriptor();
    let mut own: Vec<String> = [
        "db-01",
        "jump-01",
        "api-01",
        "web-01",
        "hq-node",
        "rg-edge",
        "rg-cloud",
        "rg-apps",
        "azureuser",
        "operator",
        "192.168.",
        "127.248.",
        "127.249.",
        "127.0.0.1",
        "lab-password",
        "eyJ",
        "Bearer",
        "SharedAccess",
        "Contoso",
    ]
    .map(str::to_owned)
    .to_vec();
    own.extend([
        lab.subscription.clone(),
        lab.tenant.clone(),
        lab.client_id.clone(),
        lab.client_secret.clone(),
    ]);
    own
}

fn assert_nobodys(stage: &Stage, file: &Path) {
    let text = std::fs::read_to_string(file).expect("the recording").to_lowercase();
    let found: Vec<String> = own(stage)
        .into_iter()
        .filter_map(|needle| {
            let at = text.find(&needle.to_lowercase())?;
            let around: String = text[at.saturating_sub(80)..].chars().take(160).collect();
            Some(format!("{needle}: ..{around}"))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn recorded(stage: &Stage, name: &str, args: &[&str]) -> (Ended, Replayed) {
    let file = format!("{name}.json");
    let ran = stage.relight(&[args, &["--record", &file]].concat());
    assert!(ran.err.contains(&format!("{file}, without secrets and names")), "{ran:?}");
    let file = stage.sealed.work().join(file);
    assert_nobodys(stage, &file);
    let replayed = read(&file).replay().unwrap_or_else(|wrong| panic!("{name}: {}", wrong.join("\n")));
    println!("{name}: {replayed:?}");
    (ran, replayed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_run_said_replays_and_names_nobody() {
    let stage = Stage::with(SPEED, &["long-poll-url"]).await;
    tokio::task::block_in_place(|| {
        let mut followed = 0;
        for (name, args, operations) in [
            ("recover", &["run", "recover-unbootable-vm", "vm=db-01"][..], 1),
            ("extension", &["run", "enable-arc-ssh", "machine=db-01", "openssh=true"], 3),
            ("command", &["run", "run-on-machine", "machine=db-01", "script=hostname"], 2),
            ("port", &["run", "open-ssh-port", "vm=api-01", "group=rg-cloud", "source=203.0.113.7"], 1),
            ("action", &["run", "start-and-wait", "vm=batch-01", "group=rg-cloud"], 1),
        ] {
            let (ran, replayed) = recorded(&stage, name, args);
            assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
            assert!(replayed.operations >= operations, "{name}: {replayed:?}");
            followed += replayed.operations - replayed.cut_off.len();
        }
        // A run that sees its goal reached asks no further.
        assert!(followed >= 6, "only {followed} operations were followed to their end");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_that_dies_leaves_a_whole_recording() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        let file = stage.sealed.work().join("died.json");
        let died =
            stage.killed_at_write(1, &["run", "recover-unbootable-vm", "vm=db-01", "--record", "died.json"]);
        assert_eq!(died.code, None, "{died:?}");
        let before = read(&file);
        assert!(!before.exchanges.is_empty(), "everything but the last exchange");
        assert!(before.exchanges.iter().all(|it| it.method == "GET"), "the write had no answer");
        // Another process goes on, and records what is left into a file of its own.
        let taken = stage.relight(&["runs", "resume", "@last", "--record", "died.json"]);
        assert_eq!(taken.code, Some(2), "{taken:?}");
        let done = stage.relight(&["runs", "resume", "@last", "--record", "rest.json"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        let rest = stage.sealed.work().join("rest.json");
        assert_nobodys(&stage, &rest);
        read(&rest).replay().unwrap();
        assert_eq!(read(&file), before, "nobody wrote into the first one");
    });
}

/// What happens to the recording is no reason to leave a port open.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_goes_on_when_its_recording_cannot() {
    let stage = Stage::new(SPEED).await;
    let folder = stage.sealed.work().join("gone");
    std::fs::create_dir(&folder).unwrap();
    let taken = folder.clone();
    stage.lab.on_write(move |_| drop(std::fs::remove_dir_all(&taken)));
    tokio::task::block_in_place(|| {
        let ran = stage.relight(&["run", "recover-unbootable-vm", "vm=db-01", "--record", "gone/x.json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.err.contains("x.json ends after "), "{ran:?}");
        assert!(!folder.exists());
    });
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_its_owner_can_read_a_recording() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        recorded(&stage, "mine", &["run", "site-report"]);
        let mode = std::fs::metadata(stage.sealed.work().join("mine.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_cannot_be_written_is_said_before_anything_is_sent() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        let work = stage.sealed.work();
        std::fs::create_dir(work.join("folder")).unwrap();
        stage.sealed.write("work/there.json", "mine");
        for (file, why) in [
            ("folder", "it is a folder"),
            ("there.json", "it is there already"),
            ("nowhere/x.json", "its folder is not there"),
            ("there.json/x.json", "ot a directory"),
        ] {
            for args in [&["run", "recover-unbootable-vm", "vm=db-01"][..], &["runs", "resume", "@last"]] {
                let refused = stage.relight(&[args, &["--record", file]].concat());
                assert_eq!(refused.code, Some(2), "{file}: {refused:?}");
                assert!(
                    refused.err.contains(why) && refused.err.contains("nothing can be recorded into"),
                    "{refused:?}"
                );
            }
        }
        assert_eq!(std::fs::read_to_string(work.join("there.json")).unwrap(), "mine");
        assert!(stage.lab.ledger().is_empty(), "something was sent");
        // Nothing is left of a command that failed before it said anything.
        let wrong = stage.relight(&["run", "recover-unbootable-vm", "vm=", "--record", "x.json"]);
        assert_ne!(wrong.code, Some(0));
        assert!(!work.join("x.json").exists());
        for args in [&["--plan"][..], &["--detach"]] {
            let refused = stage.relight(&[&["run", "site-report", "--record", "x.json"], args].concat());
            assert_eq!(refused.code, Some(2), "{refused:?}");
        }
    });
}
