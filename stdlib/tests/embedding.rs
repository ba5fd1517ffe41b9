//! What a program that embeds the Azure operations is promised, seen from outside it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn a_program_that_is_killed_goes_on_with_what_it_asked_azure_for() {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(built.join("examples").join("power_off"));
    command.current_dir(folder.path()).stdout(Stdio::piped());

    let mut first = command.spawn().unwrap();
    let said = BufReader::new(first.stdout.take().unwrap()).lines().map(Result::unwrap);
    let until_accepted: Vec<String> = said.take_while(|line| line != "Azure is at it").collect();
    assert_eq!(until_accepted, ["local::vm", "local::power_off"]);
    first.kill().unwrap();
    first.wait().unwrap();

    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let expected = "Ended(Succeeded { value: String(\"Stopped\") })\nchanges asked of Azure: 1\n";
    assert_eq!(said, expected);
}
