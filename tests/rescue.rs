//! The last resort: what a person is asked on the way, and what is brought home from a machine.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use relight_engine::event::Park;
use relight_lab::GUEST_PASSWORD;
use serde_json::{Value, json};

use crate::support::world::{Ran, SHIPPED, World};

/// Carries a rescue, answering its questions in turn. Returns what was asked, and how it ended.
async fn answered(world: &World, params: &[(&str, &str)], answers: &[&str]) -> (Vec<String>, Ran) {
    let mut ran = world.run("rescue", params).await;
    let mut asked = Vec::new();
    for answer in answers {
        let Park::Question { text: question, .. } = ran.park() else {
            panic!("nothing is asked: {:?}", ran.driven)
        };
        asked.push(question.clone());
        world.engine().answer(&ran.run, answer, "ada").await.expect("an answer");
        ran = world.resume(&ran.run).await;
    }
    (asked, ran)
}

fn tried(value: &Value) -> Vec<(&str, &str)> {
    let tried = value["tried"].as_array().expect("what was tried").iter();
    tried.map(|it| (it["road"].as_str().expect("a road"), it["why"].as_str().expect("why"))).collect()
}

#[tokio::test]
async fn a_person_says_what_is_enough_and_each_road_says_why_it_is_not() {
    let world = World::new().await;
    // The agent of db-01 does what it is told; nobody let SSH in.
    let (asked, ran) = answered(&world, &[("vm", "db-01")], &["no", "no"]).await;
    assert_eq!(asked[0], "Is that enough?");
    assert!(asked[1].starts_with("Restart db-01?"), "{asked:?}");
    let value = ran.value();
    let [ssh, run_command, rdp, restart] = tried(value)[..] else { panic!("{value:#}") };
    assert_eq!((ssh.0, run_command, rdp.0), ("ssh", ("run_command", "it was said not to be"), "rdp"));
    assert!(ssh.1.contains("NotRegistered") && rdp.1 == ssh.1, "{ssh:?} {rdp:?}");
    assert_eq!(restart, ("restart", "it was said not to be restarted"));
    // It ends with an open console that somebody closes.
    assert_eq!((value["road"].as_str(), value["rdp"].as_str()), (Some("vm_connect"), Some("db-01.rdp")));
    assert_eq!((world.open_ports().len(), world.leases().await.len()), (1, 1));

    let (_, ran) = answered(&world, &[("vm", "db-01")], &["yes"]).await;
    let command = ran.value()["command"].as_str().expect("a command");
    assert!(command.starts_with("relight run run-on-machine machine=/subscriptions/"), "{command}");
}

/// A VM that is off is started, and its agent then does what it is told.
#[tokio::test]
async fn a_restart_is_enough_when_the_agent_talks_again() {
    let world = World::new().await;
    let ran = world.run("rescue", &[("vm", "file-01"), ("ask", "false")]).await;
    let value = ran.value();
    assert_eq!(value["road"], json!("run_command"));
    let tried = tried(value);
    assert!(tried.iter().take(3).all(|(_, why)| *why == "`file-01` is stopped"), "{tried:?}");
    assert!(world.open_ports().is_empty(), "nobody needs the console");
}

#[tokio::test]
async fn nothing_is_restarted_that_must_not_be() {
    let world = World::new().await;
    let ran = world.run("rescue", &[("vm", "web-01"), ("ask", "false"), ("restart", "false")]).await;
    assert_eq!(tried(ran.value())[3], ("restart", "the VM must not be restarted"));
    assert_eq!(world.writes().keys().filter(|it| it.contains("restart")).count(), 0, "{:?}", world.writes());
}

/// What was collected, by the names of the files.
fn found(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).expect("a folder");
    let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned();
    let mut found: Vec<_> = entries
        .iter()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), text(&entry.path())))
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn what_a_machine_tells_is_in_one_folder_with_its_hashes() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let folder = elsewhere.path().join("found");
    let params =
        [("machine", "jump-01"), ("group", "rg-cloud"), ("folder", folder.to_str().expect("a path"))];
    let world = World::new().await;
    let ran = world.run("collect-diagnostics", &params).await;
    assert_eq!(ran.value()["missing"], json!([]));

    let files = found(&folder);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let expected = "SHA256SUMS extensions.json log.txt machine.json network.json roads.json screen.bmp serial.log system.txt";
    assert_eq!(names.join(" "), expected);
    for (name, text) in &files {
        assert!(!text.contains(GUEST_PASSWORD) && !text.contains("sig="), "{name} holds a secret:\n{text}");
        assert_eq!(fs::metadata(folder.join(name)).expect("a file").permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::metadata(&folder).expect("a folder").permissions().mode() & 0o777, 0o700);
    let roads: Value = serde_json::from_str(&files[5].1).expect("JSON");
    assert_eq!(roads["roads"][3]["name"], json!("serial_log"));

    // The hashes are in the words of GNU's program, which finds what was changed.
    let check = || {
        Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(&folder).output().expect("sha256sum")
    };
    assert!(check().status.success(), "{:?}", check());
    fs::write(folder.join("log.txt"), "nothing happened\n").expect("a file");
    assert!(String::from_utf8_lossy(&check().stdout).contains("log.txt: FAILED"), "{:?}", check());

    // What was brought home is not written over.
    let again = world.run("collect-diagnostics", &params).await;
    let error = format!("{:?}", again.driven);
    assert!(error.contains("is there already, with something in it"), "{error}");
}

/// A guest that says nothing is no reason to bring nothing home.
#[tokio::test]
async fn what_is_missing_is_said() {
    let world = World::new().await;
    let ran = world.run("collect-diagnostics", &[("machine", "web-01")]).await;
    let value = ran.value();
    assert_eq!(value["missing"][0]["part"], json!("system.txt"));
    let folder = value["folder"].as_str().expect("a folder");
    assert!(folder.starts_with("web-01-2026-11-"), "{folder}");
    let missing = fs::read_to_string(world.request("x", &[]).workdir.join(folder).join("missing.json"));
    assert!(missing.expect("a file").contains("Disconnected since"));
}

/// A path parameter opens its folder, and nothing beside it.
#[tokio::test]
async fn a_folder_that_was_named_is_open_and_nothing_beside_it_is() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let world = World::new().await;
    for (path, is_written) in [
        ("params.folder + \"/x.txt\"", true),
        ("params.folder + \"/./x.txt\"", true),
        ("params.folder + \"/../x.txt\"", false),
        ("params.folder + \"x.txt\"", false),
        ("\"/etc/x.txt\"", false),
    ] {
        let text = format!(
            "/*---\ntitle = \"t\"\neffects = [\"file:write\"]\n[params.folder]\nhelp = \"f\"\ntype = \"path\"\n---*/\n\
             file::write({path}, \"x\")"
        );
        let folder = elsewhere.path().to_str().expect("a path");
        let ran = world.carry(&world.request("script", &[("folder", folder)]).text(text)).await;
        assert_eq!(ran.succeeded(), is_written, "{path}: {:?}", ran.driven);
        if !is_written {
            assert!(format!("{:?}", ran.driven).contains("is outside the run's folder"), "{:?}", ran.driven);
        }
    }
}

/// What guests are asked is something that a real shell takes.
#[test]
fn a_real_shell_takes_what_guests_are_asked() {
    let text = SHIPPED.iter().find(|(name, _)| *name == "collect-diagnostics").expect("the runbook").1;
    let script = text.split('`').find(|part| part.contains("echo '== up'")).expect("the script");
    let ran = Command::new("/bin/sh").args(["-c", script]).output().expect("a shell");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    for part in ["up", "disks", "addresses", "listening", "failed units"] {
        assert!(said.contains(&format!("== {part}\n")), "{said}");
    }
}
