//! A file that is on its way when its process is killed or put away: the next one goes on where it was.

use std::path::Path;
use std::time::{Duration, Instant};

use relight_engine::event::content_hash;
use serde_json::Value;

use super::ssh::{KNOWN, carried};
use super::{EVERY, SPEED};
use crate::support::stage::{Stage, ended, signal};
use crate::support::world::{repeated, runbook};

/// How large the file is: a machine of the lab holds 16 MiB.
const BYTES: usize = 8 << 20;
/// Where on its way it is, in bytes, when its process ends.
const PLACES: [usize; 3] = [BYTES / 16, BYTES / 4, BYTES / 2];
/// A line so slow that all of it takes two seconds.
const SLOW: &str = "relay-slow=4000";
/// Where it is on the machine.
const THERE: &str = "/tmp/ran";
/// What it is called here.
const HERE: &str = "carried.bin";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that nothing makes smaller, the same each time.
fn bulk() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    next.take(BYTES / 8).flatten().collect()
}

/// How much of the file has arrived in its temporary place.
fn arrived(stage: &Stage, direction: &str, sha256: &str) -> usize {
    match direction {
        "upload" => {
            let part = format!("{THERE}.{}.part", &sha256[..12]);
            stage.lab.guest_file("app-01", &part).map_or(0, |bytes| bytes.len())
        }
        _ => largest_part(&stage.sealed.work()),
    }
}

fn largest_part(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|it| it.expect("an entry"));
    let parts = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part"));
    // It may have taken its place meanwhile.
    parts.filter_map(|part| part.metadata().ok()).map(|it| it.len() as usize).max().unwrap_or_default()
}

/// Ends the process in one way at one place, goes on in another one, and returns how much that found.
async fn ended_at(direction: &str, place: usize, how: &str) -> u64 {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        let (bytes, name) = (bulk(), format!("{direction}, {how} at {place}"));
        let sha256 = content_hash(&bytes);
        let source = stage.sealed.work().join("source.bin");
        std::fs::write(&source, &bytes).expect("a file");
        let known = match direction {
            "upload" => KNOWN.to_owned(),
            _ => format!(
                r#"{KNOWN}
                let session = ssh::connect(app, "azureuser", #{{ password: secret("env:APP_PASSWORD") }});
                ssh::upload(session, "source.bin", "{THERE}");"#
            ),
        };
        let before = stage.sealed.write("work/before.rhai", &runbook(&EVERY, &known));
        let before = stage.relight(&["run", &before.to_string_lossy()]);
        assert_eq!(before.code, Some(0), "{before:?}");

        let local = format!("local={}", if direction == "upload" { "source.bin" } else { HERE });
        let (direct, remote) = (format!("direction={direction}"), format!("remote={THERE}"));
        let args = [
            "run",
            "copy-files",
            "machine=app-01",
            "group=rg-apps",
            "user=azureuser",
            "password=env:APP_PASSWORD",
            &direct,
            &local,
            &remote,
        ];
        stage.lab.inject(SLOW.parse().expect("a fault"));
        let mut child = stage.command(&args).spawn().expect("relight starts");
        let began = Instant::now();
        while arrived(&stage, direction, &sha256) < place {
            let over = child.try_wait().expect("a child");
            assert!(over.is_none() && began.elapsed() < PATIENCE, "{name}: it was over before: {over:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        signal(child.id(), how);
        let first = ended(child);
        let there = arrived(&stage, direction, &sha256);
        assert!((place..BYTES).contains(&there), "{name}: not inside the transfer: {there} bytes, {first:?}");
        assert_eq!(first.code, if how == "KILL" { None } else { Some(3) }, "{name}: {first:?}");

        stage.lab.clear_faults();
        let run = stage.newest("copy-files").expect("the run is written down");
        let run = run["id"].as_str().expect("an id").to_owned();
        let second = stage.relight(&["runs", "resume", &run]);
        assert_eq!(second.code, Some(0), "{name}: {second:?}");
        let value: Value = serde_json::from_str(&second.out).unwrap_or_else(|e| panic!("{e}: {second:?}"));
        assert_eq!(
            (&value["bytes"], &value["sha256"]),
            (&BYTES.into(), &Value::from(sha256.as_str())),
            "{name}"
        );

        // Whole where it belongs, and nothing beside it.
        let far = stage.lab.guest_file("app-01", THERE).expect("the file is there");
        assert_eq!(content_hash(&far), sha256, "{name}");
        assert!(
            stage.lab.guest_file("app-01", &format!("{THERE}.{}.part", &sha256[..12])).is_none(),
            "{name}"
        );
        let near = carried(&stage.sealed.work());
        let expected = if direction == "upload" { vec![] } else { vec![HERE] };
        assert_eq!(near.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected, "{name}");
        if direction == "download" {
            let near = std::fs::read(stage.sealed.work().join(HERE)).expect("the file is here");
            assert_eq!(content_hash(&near), sha256, "{name}");
        }
        assert_eq!(repeated(&stage.lab.ledger()), Vec::<String>::new(), "{name}");
        assert_eq!(stage.complaints(), Vec::<String>::new(), "{name}");
        let said = second.err.split("bytes; ").nth(1).and_then(|rest| rest.split(' ').next());
        said.and_then(|count| count.parse().ok())
            .unwrap_or_else(|| panic!("{name}: it began anew: {second:?}"))
    })
}

async fn ended_inside(direction: &str) {
    for how in ["KILL", "TERM", "INT"] {
        for place in PLACES {
            let found = ended_at(direction, place, how).await;
            println!("drill {direction}: {how} at {place} of {BYTES} bytes, went on at {found}");
            assert!(found >= place as u64, "{direction}, {how} at {place}: only {found} bytes were found");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_where_its_process_ended() {
    ended_inside("upload").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_where_its_process_ended() {
    ended_inside("download").await;
}
