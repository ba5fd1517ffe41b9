//! Transcripts of the real command, in a sealed world. Read them to learn the tool.

use insta::assert_snapshot;

use crate::support::sealed::{Sealed, holds, newest_run};

/// A runbook that asks before it changes something.
const ASKS: &str = r#"/*---
title   = "Restart after a question"
effects = ["azure:write"]

[params.vm]
help = "the VM"
---*/
let vm = local::vm(params.vm);
if confirm(`Restart ${vm.name}?`) == "yes" {
    local::restart(vm);
}
vm.name
"#;

// ---- help and what needs no cloud ----------------------------------------------------------------

#[test]
fn help_names_every_command() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["-h"]).run(), @"");
}

#[test]
fn without_a_command_the_help_is_shown_and_nothing_done() {
    let world = Sealed::new();
    let output = world.relight::<&str>([]).run();
    assert!(output.ends_with(2).is_empty());
}

#[test]
fn list_shows_what_ships_and_what_is_ones_own() {
    let world = Sealed::new();
    world.runbook("web/ask", ASKS);
    world.runbook("broken", "let x = 1;");
    assert_snapshot!(world.relight(["list"]).run(), @"");
    assert_snapshot!(world.relight(["list", "--names"]).run().succeeds(), @"");
}

#[test]
fn show_tells_what_a_runbook_takes() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["show", "recover-unbootable-vm"]).run().succeeds(), @"");
}

#[test]
fn show_source_is_the_text_itself() {
    let world = Sealed::new();
    world.runbook("ask", ASKS);
    assert_eq!(world.relight(["show", "ask", "--source"]).run().succeeds(), ASKS);
}

#[test]
fn an_unknown_runbook_has_neighbours() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["show", "restrat-vm"]).run(), @"");
}

#[test]
fn what_ships_passes_the_check() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["check"]).run(), @"");
}

#[test]
fn check_finds_what_is_wrong_with_the_front_matter() {
    let world = Sealed::new();
    world.runbook("web", "/*---\ntitle = \"Web\"\nefects = [\"azure:read\"]\n---*/\n1\n");
    assert_snapshot!(world.relight(["check", "web"]).run(), @"");
}

#[test]
fn check_finds_a_call_of_nothing_and_an_effect_that_is_not_named() {
    let world = Sealed::new();
    let text = "/*---\ntitle = \"Web\"\neffects = [\"azure:read\"]\n---*/\n\
                let vm = local::vn(\"web-01\");\nlocal::restart(vm);\nlocal::vm();\n";
    world.runbook("web", text);
    assert_snapshot!(world.relight(["check", "web"]).run(), @"");
}

#[test]
fn check_reads_a_file_outside_the_library() {
    let world = Sealed::new();
    world.write("work/draft.rhai", "/*---\ntitle = \"Draft\"\n---*/\nlet x = ;\n");
    assert_snapshot!(world.relight(["check", "draft.rhai"]).run(), @"");
}

#[test]
fn docs_explain_an_operation() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["docs", "net::tcp_probe"]).run().succeeds(), @"");
}

#[test]
fn docs_of_nothing_say_what_was_meant() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["docs", "vmconnect::enabel"]).run(), @"");
    assert_snapshot!(world.relight(["docs", "enable"]).run(), @"");
}

#[test]
fn new_writes_a_runbook_that_passes_the_check() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["new", "web/look"]).run(), @"");
    world.relight(["check", "web/look"]).run().succeeds();
    assert_snapshot!(world.relight(["new", "web/look"]).run(), @"");
    assert_snapshot!(world.relight(["new", "../look"]).run(), @"");
}

#[test]
fn completions_know_the_commands() {
    let world = Sealed::new();
    let script = world.relight(["completions", "bash"]).run().succeeds();
    assert!(script.contains("recover") || script.contains("schedule"), "{script}");
}

// ---- configuration -----------------------------------------------------------------------------------

#[test]
fn an_unknown_key_of_the_configuration_is_underlined() {
    let world = Sealed::new();
    world.write("home/.config/relight/relight.toml", "[azure]\nsubscripton = \"x\"\n");
    assert_snapshot!(world.relight(["list"]).run(), @"");
}

#[test]
fn a_library_that_is_not_there_is_said() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["list", "--library", "nowhere"]).run(), @"");
}

// ---- what is refused before anything is sent ------------------------------------------------------------

#[test]
fn a_parameter_without_a_name_is_refused() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["run", "restart-vm", "web-01"]).run(), @"");
}

#[test]
fn a_missing_parameter_is_refused() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["run", "restart-vm"]).run(), @"");
}

#[test]
fn an_unknown_parameter_is_refused() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["run", "restart-vm", "vmm=web-01"]).run(), @"");
}

#[test]
fn a_wrong_value_is_underlined() {
    let world = Sealed::new();
    let args = ["run", "recover-unbootable-vm", "vm=web-01", "group=rg-edge", "disable_after=9h"];
    assert_snapshot!(world.relight(args).run(), @"");
}

#[test]
fn a_runbook_that_no_commit_holds_is_refused_on_demand() {
    let world = Sealed::new();
    world.runbook("ask", ASKS);
    assert_snapshot!(world.relight(["run", "ask", "vm=web-01", "--require-clean"]).run(), @"");
}

#[test]
fn a_refusal_leaves_no_run_behind() {
    let world = Sealed::new();
    world.relight(["run", "restart-vm", "--lab"]).run().ends_with(0x2);
    assert_snapshot!(world.relight(["runs", "--lab"]).run(), @"");
}

// ---- a plan ----------------------------------------------------------------------------------------------

#[test]
fn a_plan_says_what_would_happen_and_writes_nothing() {
    let world = Sealed::new();
    let plan = world.relight(["run", "recover-unbootable-vm", "vm=web-01", "--lab", "--plan"]).run();
    assert_snapshot!(plan, @"");
    assert!(!world.path("state").exists(), "a plan makes no folder");
}

// ---- an empty desk -----------------------------------------------------------------------------------------

#[test]
fn nothing_has_run_is_open_or_scheduled() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["runs"]).run(), @"");
    assert_snapshot!(world.relight(["leases"]).run(), @"");
    assert_snapshot!(world.relight(["schedule"]).run(), @"");
    assert_snapshot!(world.relight(["runs", "show", "nothing"]).run(), @"");
    assert_snapshot!(world.relight(["leases", "close", "nothing", "--lab"]).run(), @"");
    assert_snapshot!(world.relight(["schedule", "remove", "nothing"]).run(), @"");
}

#[test]
fn a_state_that_cannot_be_used_is_a_storage_error() {
    let world = Sealed::new();
    world.write("state", "a file, not a folder");
    assert_snapshot!(world.relight(["runs"]).run(), @"");
}

// ---- schedules ------------------------------------------------------------------------------------------------

#[test]
fn a_schedule_is_added_listed_and_removed() {
    let world = Sealed::new();
    let args = ["schedule", "add", "site-report", "group=rg-edge", "--cron", "30 6 * * MON-FRI in Europe/Berlin"];
    let id = world.relight(args).run().succeeds().trim().to_owned();
    let listed = world.relight(["schedule", "--json"]).run();
    assert!(listed.succeeds().contains("MON-FRI in Europe/Berlin"));
    world.relight(["schedule", "remove", &id]).run().succeeds();
    assert!(world.relight(["schedule"]).run().succeeds().is_empty());
}

#[test]
fn a_schedule_is_checked_when_it_is_made() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["schedule", "add", "restart-vm", "--after", "2h"]).run(), @"");
    let args = ["schedule", "add", "site-report", "group=rg", "--cron", "30 6 * * MON-FRI in Europe/Bärlin"];
    assert_snapshot!(world.relight(args).run(), @"");
    assert_snapshot!(world.relight(["schedule", "add", "site-report"]).run(), @"");
}

// ---- the lab ----------------------------------------------------------------------------------------------------

#[test]
fn the_flagship_opens_a_console_and_says_when_it_closes() {
    let world = Sealed::new();
    let output = world.in_lab(["run", "recover-unbootable-vm", "vm=web-01"]).run();
    assert_snapshot!(output.without("  vmconnect::enable:"), @"");
    assert!(holds(&world.work(), "web-01.rdp"));
    assert_snapshot!(world.relight(["leases", "--lab"]).run(), @"");
    let run = newest_run(&world);
    assert_snapshot!(world.relight(["runs", "show", &run, "--lab"]).run(), @"");

    let lease = format!("{run}-3");
    world.in_lab(["leases", "close", &lease]).run().succeeds();
    assert_snapshot!(world.relight(["leases", "--lab"]).run(), @"");
}

#[test]
fn ctrl_c_parks_and_resume_goes_on_where_it_stood() {
    let world = Sealed::new();
    let mut run = world.in_lab(["run", "recover-unbootable-vm", "vm=web-01"]).spawn();
    run.wait_for("vmconnect::enable: ");
    run.signal("INT");
    assert_snapshot!(run.end().without("  vmconnect::enable:"), @"");

    let run = newest_run(&world);
    let resumed = world.in_lab(["runs", "resume", &run[..8]]).run();
    assert_snapshot!(resumed.without("  vmconnect::enable:"), @"");

    // One request to open the port, by one of the two processes.
    let events = world.relight(["runs", "show", &run, "--lab", "--json"]).run().json();
    let started = events.iter().filter(|e| e["event"] == "step_started" && e["operation"] == "vmconnect::enable");
    assert_eq!(started.count(), 1);
    assert_snapshot!(world.in_lab(["runs", "resume", &run]).run(), @"");
}

#[cfg(debug_assertions)]
#[test]
fn a_killed_process_is_taken_over_at_once() {
    let world = Sealed::new();
    let killed = world.in_lab(["run", "recover-unbootable-vm", "vm=web-01"]).env("RELIGHT_CRASH_AFTER_RECORD", "8").run();
    assert!(killed.to_string().ends_with("--- killed"), "{killed}");
    world.in_lab(["runs", "resume", &newest_run(&world)]).run().succeeds();
    assert!(holds(&world.work(), "web-01.rdp"));
}

#[test]
fn json_is_one_event_per_line() {
    let world = Sealed::new();
    let events = world.in_lab(["run", "site-report", "--json"]).run().json();
    assert_eq!(events[0]["event"], "prepared");
    assert_eq!(events.last().unwrap()["event"], "finished");
    assert_eq!(events.last().unwrap()["end"], "succeeded");
    for event in &events {
        assert!(event["run"].is_string() && event["at"].is_string() && event["event"].is_string(), "{event}");
    }
}

#[test]
fn a_question_parks_a_run_that_nobody_watches() {
    let world = Sealed::new();
    world.runbook("ask", ASKS);
    assert_snapshot!(world.in_lab(["run", "ask", "vm=web-01"]).run(), @"");
    let run = newest_run(&world);
    assert_snapshot!(world.relight(["runs", "--lab"]).run(), @"");
    assert_snapshot!(world.in_lab(["runs", "answer", &run, "perhaps"]).run(), @"");
    assert_snapshot!(world.in_lab(["runs", "answer", &run, "no"]).run(), @"");
}

#[test]
fn yes_answers_in_advance() {
    let world = Sealed::new();
    world.runbook("ask", ASKS);
    let output = world.in_lab(["run", "ask", "vm=web-01", "--yes"]).run();
    assert_snapshot!(output.without("  local::restart:"), @"");
}

#[test]
fn a_parked_run_can_be_stopped() {
    let world = Sealed::new();
    world.runbook("ask", ASKS);
    world.in_lab(["run", "ask", "vm=web-01"]).run().ends_with(3);
    let run = newest_run(&world);
    assert_snapshot!(world.in_lab(["runs", "stop", &run]).run(), @"");
    assert_snapshot!(world.relight(["runs", "--lab"]).run(), @"");
}

#[test]
fn a_failure_points_at_the_script() {
    let world = Sealed::new();
    world.runbook("gone", "/*---\ntitle = \"Gone\"\neffects = [\"azure:read\"]\n---*/\nlocal::vm(\"nobody\");\n");
    assert_snapshot!(world.in_lab(["run", "gone"]).run(), @"");
}

#[test]
fn a_missing_role_parks_the_run_and_says_which() {
    let world = Sealed::new();
    let args = ["run", "recover-unbootable-vm", "vm=web-01", "--lab-fault", "role-missing"];
    let output = world.in_lab(args).run();
    let text = output.to_string();
    assert!(text.contains("Azure Stack HCI Administrator") && text.contains("relight runs resume"), "{text}");
    output.ends_with(3);
}

#[test]
fn an_unknown_fault_is_refused() {
    let world = Sealed::new();
    assert_snapshot!(world.in_lab(["run", "site-report", "--lab-fault", "gremlins"]).run(), @"");
}

#[test]
fn a_detached_run_is_driven_by_whoever_serves() {
    let world = Sealed::new();
    let run = world.relight(["run", "site-report", "--lab", "--detach"]).run().succeeds();
    let run = run.trim();
    assert_snapshot!(world.relight(["runs", "--lab"]).run(), @"");
    let mut serve = world.in_lab(["serve"]).spawn();
    serve.wait_for("succeeded");
    serve.signal("TERM");
    serve.end().succeeds();
    assert!(world.relight(["runs", "show", run, "--lab"]).run().succeeds().contains("succeeded"));
}

#[test]
fn a_served_lab_is_shared() {
    let world = Sealed::new();
    let mut lab = world.relight(["lab", "--speed", "240"]).spawn();
    lab.wait_for("The lab is at");
    let first = world.relight(["run", "site-report", "--lab"]).run().succeeds();
    let file = format!("--lab={}", world.path("state/lab/lab.json").display());
    let second = world.relight(["run", "site-report", &file]).run().succeeds();
    assert_eq!(first, second);
    lab.signal("INT");
    lab.end().succeeds();
}

#[test]
fn an_exported_run_is_verified_and_a_changed_one_is_not() {
    let world = Sealed::new();
    world.in_lab(["run", "site-report"]).run().succeeds();
    let run = newest_run(&world);
    let exported = world.relight(["runs", "export", &run, "--lab"]).run().succeeds();
    world.write("work/run.json", &exported);
    assert_snapshot!(world.relight(["runs", "verify", "run.json"]).run(), @"");
    world.write("work/run.json", &exported.replace("rg-edge", "rg-edgy"));
    assert_snapshot!(world.relight(["runs", "verify", "run.json"]).run(), @"");
}

#[test]
fn doctor_says_what_is_missing_and_what_to_do() {
    let world = Sealed::new();
    let doctor = world.relight(["doctor"]).env("AZURE_CLIENT_SECRET", "canary-of-the-doctor").run();
    let text = doctor.to_string();
    assert!(!text.contains("canary"), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("ok    clock")).collect();
    assert_snapshot!(lines.join("\n"), @"");
    let lab = world.relight(["doctor", "--lab"]).run().succeeds();
    assert!(lab.contains("ok    lab"), "{lab}");
}

#[test]
fn a_reader_that_goes_away_is_a_polite_end() {
    let world = Sealed::new();
    let command = format!("{} docs | head -n 1", env!("CARGO_BIN_EXE_relight"));
    let output = std::process::Command::new("/bin/sh").args(["-c", &command]).env("HOME", world.path("home")).output();
    assert_eq!(String::from_utf8_lossy(&output.unwrap().stderr), "");
}
