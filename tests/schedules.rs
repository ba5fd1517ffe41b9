//! Schedules as people write them.

use insta::assert_snapshot;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::sealed::Sealed;

#[test]
fn a_schedule_is_added_listed_and_removed() {
    let world = Sealed::new();
    let args =
        ["schedule", "add", "site-report", "group=rg-edge", "--cron", "30 6 * * MON-FRI in Europe/Berlin"];
    let id = world.relight(args).run().succeeds().trim().to_owned();
    let listed = world.relight(["schedule", "--json"]).run();
    assert!(listed.succeeds().contains("MON-FRI in Europe/Berlin"));
    world.relight(["schedule", "remove", &id]).run().succeeds();
    assert!(world.relight(["schedule"]).run().succeeds().is_empty());
}

#[test]
fn a_schedule_has_a_name_and_says_when_it_runs() {
    let world = Sealed::new();
    let add = |more: &[&str]| {
        let args = ["schedule", "add", "site-report"].into_iter().chain(more.iter().copied());
        world.relight(args).run()
    };
    let nightly =
        add(&["--name", "month-end", "--on", "last weekday", "--time", "23:30", "--zone", "Europe/Oslo"]);
    assert_eq!(nightly.succeeds().trim(), "month-end");
    add(&["--name", "often", "--every", "6h"]).succeeds();
    let next = world.relight(["schedule", "next", "month", "--count", "24", "--json"]).run();
    let lines: Vec<Value> = next.succeeds().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 24);
    for line in &lines {
        let local: jiff::Zoned = line["local"].as_str().unwrap().parse().unwrap();
        let monday = local.weekday().to_monday_one_offset();
        assert!(monday <= 5 && (local.hour(), local.minute()) == (23, 30), "{local}");
        // No weekday of the month comes after it.
        let left = local.date().days_in_month() - local.day();
        assert!(left == 0 || monday == 5 && left <= 2, "{local}");
    }
    // The first time is now, the next ones follow at that distance.
    let next = world.relight(["schedule", "next", "often", "--count", "3", "--json"]).run();
    let due: Vec<Timestamp> = next
        .succeeds()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["due"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(due[1].duration_since(due[0]), SignedDuration::from_hours(6));
    assert_eq!(due[2].duration_since(due[1]), SignedDuration::from_hours(6));

    assert_snapshot!(add(&["--name", "often", "--every", "1h"]), @r"
    --- stderr
    invalid

      x there is a schedule `often` already
      help: see it with `relight schedule show often`, remove it with `relight schedule remove often`, or choose another name
    --- exit 2
    ");
    assert_snapshot!(add(&["--name", "Sunday", "--cron", "0 3 * * SUN"]), @r"
    --- stderr
    error: invalid value 'Sunday' for '--name <NAME>': a name has up to 63 of a-z, 0-9 and -, and begins with none of the last

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(add(&["--cron", "0 0 3 * * SUN"]), @r"
    --- stderr
    invalid

      x `0 0 3 * * SUN` is no schedule: it has 6 fields, and minute hour day month weekday are five
      help: write for example `30 6 * * MON-FRI in Europe/Berlin`, or `last weekday of the month at 03:00 in Europe/Oslo`
    --- exit 2
    ");
    assert_snapshot!(add(&["--cron", "0 3 * * SUN in UTC", "--zone", "Europe/Oslo"]), @r"
    --- stderr
    invalid

      x `0 3 * * SUN in UTC` names a time zone, and so does --zone
      help: name it once
    --- exit 2
    ");
    assert_snapshot!(add(&["--on", "last moonday", "--time", "03:00"]), @r"
    --- stderr
    invalid

      x `last moonday of the month at 03:00` is no schedule: `last moonday` is no day such as `last weekday`, `first monday` or `day 15`
      help: write for example `30 6 * * MON-FRI in Europe/Berlin`, or `last weekday of the month at 03:00 in Europe/Oslo`
    --- exit 2
    ");
    assert_snapshot!(add(&["--every", "1s"]), @r"
    --- stderr
    invalid

      x the shortest interval is [long]
    --- exit 2
    ");
    assert_snapshot!(add(&["--every", "1h", "--zone", "Europe/Oslo"]), @r"
    --- stderr
    error: the argument '--every <DURATION>' cannot be used with '--zone <ZONE>'

    Usage: relight schedule add <--at <TIME>|--after <DURATION>|--cron <CRON>|--every <DURATION>|--on <DAY>> <RUNBOOK> [NAME=VALUE]...

    For more information, try '--help'.
    --- exit 2
    ");
}

#[test]
fn a_schedule_that_cannot_run_any_more_says_so() {
    let world = Sealed::new();
    let text = "/*---\ntitle = \"T\"\n[params.name]\nhelp = \"n\"\n---*/\nnote(params.name)\n";
    world.runbook("tell", text);
    world
        .relight(["schedule", "add", "tell", "name=x", "--name", "told", "--cron", "0 3 * * SUN"])
        .run()
        .succeeds();
    let said = || world.relight(["schedule"]).run().to_string();
    assert!(!said().contains("cannot run"));
    world.runbook("tell", &text.replace("params.name", "params.title"));
    assert!(
        said().contains("told cannot run as it is: 2 mistakes in the parameters of `tell`\n"),
        "{}",
        said()
    );
    std::fs::remove_file(world.path("home/.config/relight/runbooks/tell.rhai")).unwrap();
    assert!(said().contains("told cannot run as it is: there is no runbook `tell`\n"), "{}", said());
    assert_snapshot!(world.relight(["schedule", "add", "tell.rhai", "--every", "1h"]).run(), @r"
    --- stderr
    invalid

      x `tell.rhai` is a file, and a schedule runs what the library has then
      help: put it into the library (`relight list` says where), and give its name
    --- exit 2
    ");
}

#[test]
fn a_schedule_is_checked_when_it_is_made() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["schedule", "add", "restart-vm", "--after", "2h"]).run(), @r"
    --- stderr
    invalid

      x `restart-vm` needs the parameter `vm`
      help: vm: Azure Local VM: its name or its resource id
            write vm=...
    --- exit 2
    ");
    let args = ["schedule", "add", "site-report", "group=rg", "--cron", "30 6 * * MON-FRI in Europe/Bärlin"];
    assert_snapshot!(world.relight(args).run(), @r"
    --- stderr
    invalid

      x `30 6 * * MON-FRI in Europe/Bärlin` is no schedule: there is no time zone `Europe/Bärlin`
      help: write for example `30 6 * * MON-FRI in Europe/Berlin`, or `last weekday of the month at 03:00 in Europe/Oslo`
    --- exit 2
    ");
    assert_snapshot!(world.relight(["schedule", "add", "site-report"]).run(), @r"
    --- stderr
    error: the following required arguments were not provided:
      <--at <TIME>|--after <DURATION>|--cron <CRON>|--every <DURATION>|--on <DAY>>

    Usage: relight schedule add <--at <TIME>|--after <DURATION>|--cron <CRON>|--every <DURATION>|--on <DAY>> <RUNBOOK> [NAME=VALUE]...

    For more information, try '--help'.
    --- exit 2
    ");
}

const TELL: &str = "/*---\ntitle = \"T\"\n[params.name]\nhelp = \"n\"\n---*/\nnote(params.name)\n";

#[test]
fn a_schedule_is_paused_triggered_and_made_up_for() {
    let world = Sealed::new();
    world.runbook("tell", TELL);
    let relight = |args: &[&str]| world.relight(args).run();
    relight(&[
        "schedule",
        "add",
        "tell",
        "name=x",
        "--name",
        "weekly",
        "--cron",
        "0 3 * * SUN",
        "--pause-after",
        "3",
    ])
    .succeeds();
    assert_snapshot!(relight(&["schedule", "pause", "week"]), @r"
    --- stderr
    error: the following required arguments were not provided:
      --because <WHY>

    Usage: relight schedule pause --because <WHY> <NAME>

    For more information, try '--help'.
    --- exit 2
    ");
    relight(&["schedule", "pause", "week", "--because", "the site is closed"]).succeeds();
    assert!(relight(&["schedule"]).raw().contains("paused: the site is closed"));
    assert!(
        relight(&["schedule", "pause", "weekly", "--because", "again"]).raw().contains("paused already, by")
    );
    let triggered = relight(&["schedule", "trigger", "weekly"]).succeeds().trim().to_owned();
    // The policy holds: the run is prepared, and nobody drives it.
    let refused = relight(&["schedule", "trigger", "weekly"]).raw();
    assert!(refused.contains(&format!("it is skipped: run {triggered} was still under way")), "{refused}");
    relight(&["schedule", "resume", "weekly"]).succeeds();
    assert_snapshot!(relight(&["schedule", "resume", "weekly"]), @r"
    --- stderr
    invalid

      x the schedule `weekly` is not paused
    --- exit 2
    ");
    let backfill =
        ["schedule", "backfill", "weekly", "--from", "2026-11-01T00:00:00Z", "--to", "2026-11-20T00:00:00Z"];
    assert!(relight(&backfill).raw().contains("3 to make up for"));
    let history = relight(&["schedule", "history", "weekly", "--json"]).json();
    let fates: Vec<&str> = history.iter().map(|tick| tick["fate"]["came_to"].as_str().unwrap()).collect();
    assert_eq!(fates, ["skipped", "ran"], "what is made up for waits for that run");
    let shown = relight(&["schedule", "show", "weekly", "--json"]).json().remove(0);
    assert_eq!(shown["standing"]["waiting"].as_array().unwrap().len(), 3);
    assert_eq!(shown["standing"]["open"][0], triggered.as_str());
    // Its history outlives it, and says what became of those that waited.
    relight(&["schedule", "remove", "weekly"]).succeeds();
    let history = relight(&["schedule", "history", "weekly", "--json"]).json();
    assert_eq!(history.len(), 5);
    assert_snapshot!(relight(&["schedule", "history", "nothing"]), @r"
    --- stderr
    invalid

      x there is no schedule `nothing`
      help: list them with `relight schedule`
    --- exit 2
    ");
}

#[test]
fn a_file_declares_schedules() {
    let world = Sealed::new();
    world.runbook("tell", TELL);
    let relight = |args: &[&str]| world.relight(args).run();
    let declare = |text: &str| {
        std::fs::write(world.path("home/.config/relight/runbooks/schedules.toml"), text).unwrap();
    };
    let weekly = "[weekly]\nrunbook = \"tell\"\ncron = \"0 3 * * SUN\"\nzone = \"Europe/Oslo\"\nparams = { name = \"x\" }\n";
    let often = "[often]\nrunbook = \"tell\"\nevery = \"6h\"\ncatch-up = \"10m\"\nparams = { name = 7 }\n";
    declare(&format!("{weekly}{often}"));
    let planned = relight(&["schedule", "apply", "--plan"]).raw();
    assert!(
        planned.contains("+ often  tell every 6h")
            && planned.contains("+ weekly  tell 0 3 * * SUN in Europe/Oslo")
    );
    assert!(relight(&["schedule", "--json"]).json().is_empty(), "a plan changes nothing");
    relight(&["schedule", "apply"]).succeeds();
    let due = |name: &str| relight(&["schedule", "show", name, "--json"]).json().remove(0)["due"].clone();
    let before = due("often");
    assert_eq!(relight(&["schedule", "apply"]).succeeds(), "", "nothing is left to do");
    // Other terms leave the rule where it stands.
    declare(&format!(
        "{weekly}{}overlap = \"buffer-all\"\n",
        often.replace("params = { name = 7 }\n", "params = { name = 8 }\n")
    ));
    assert_eq!(
        relight(&["schedule", "apply", "--json"]).json(),
        [serde_json::json!({ "schedule": "often", "change": "change", "fields": ["params", "terms"] })]
    );
    assert_eq!(due("often"), before);
    // What a person made is left alone, and so is the file that takes its name.
    relight(&["schedule", "add", "tell", "name=x", "--name", "mine", "--every", "1h"]).succeeds();
    declare(weekly);
    assert_eq!(relight(&["schedule", "apply"]).raw().matches("- often").count(), 1);
    assert_eq!(relight(&["schedule", "--json"]).json().len(), 2);
    declare(&weekly.replace("[weekly]", "[mine]"));
    assert!(
        relight(&["schedule", "apply"])
            .raw()
            .contains("the schedule `mine` is there already, made by a person or a run")
    );
    // All that is wrong is said, and nothing is changed.
    declare(
        "[a]\nrunbook = \"tell\"\ncron = \"0 3 * * SUN\"\n[b]\nrunbook = \"gone\"\nevery = \"1h\"\n\
         [c]\nrunbook = \"tell\"\nevery = \"1h\"\nat = \"2026-12-01T00:00:00Z\"\nparams = { name = \"x\" }\n\
         [D]\nrunbook = \"tell\"\nevery = \"1h\"\n[e]\nrunbook = \"tell\"\nevery = \"1h\"\nmoon = 1\n",
    );
    assert_snapshot!(relight(&["schedule", "apply"]), @r"
    --- stderr
    invalid

      x 5 schedules in [dir]/home/.config/relight/runbooks/schedules.toml are wrong
      help: [D] a name has up to 63 of a-z, 0-9 and -, and begins with none of the last
            [a] `tell` needs the parameter `name` name: n write name=...
            [b] there is no runbook `gone` the runbooks are add-ssh-key, collect-diagnostics, connect-azure-vm, connect-over-arc, copy-files, disable-arc-ssh, disable-vm-connect, enable-arc-ssh, enable-entra-ssh, enable-openssh, first-linux-vm, open-ssh-port, rdp-over-ssh, recover-unbootable-vm, rescue, reset-access, restart-vm, run-on-machine, site-report, start-and-wait, tell, troubleshoot-ssh, verify-host-keys; your own are looked for in [dir]/home/.config/relight/runbooks
            [c] it says at and every, and one of them is enough
            [e] unknown field `moon`, expected one of `at`, `after`, `cron`, `every`, `on`, `time`, `zone`, `overlap`, `catch-up`, `jitter`, `longest`, `pause-after`, `pin`
            nothing was changed
    --- exit 2
    ");
    declare("[a\n");
    assert!(relight(&["schedule", "apply"]).raw().contains("is not what was expected"));
    assert_eq!(relight(&["schedule", "--json"]).json().len(), 2);
}
