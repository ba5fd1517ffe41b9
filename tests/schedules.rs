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
