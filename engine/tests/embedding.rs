//! What a program that embeds the engine is promised, seen from outside it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Returns a program of `examples/`, which stands beside the tests.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}

#[test]
fn the_shortest_durable_program_goes_on_after_it_was_killed() {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(example("durable"));
    command.current_dir(place.path()).stdout(Stdio::piped());
    let mut first = command.spawn().unwrap();
    let mut said = BufReader::new(first.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "lamp is shipped");
    // It waits for three seconds now.
    std::thread::sleep(std::time::Duration::from_millis(500));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(said.next().is_none());

    let second = command.output().unwrap();
    let said = String::from_utf8(second.stdout).unwrap();
    assert_eq!(said.lines().next(), Some("bulb is shipped"), "{said}");
    assert!(said.contains("Succeeded"), "{said}");
    let third = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(third.starts_with("Ended"), "a run that is over is not run again: {third}");
}
