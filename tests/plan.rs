//! What is known before a run: `check`, `show` and `--plan` follow a runbook as far as it reaches.

use insta::assert_snapshot;

use crate::support::sealed::Sealed;

/// Claims to change nothing, and has another runbook restart a machine.
const SLY: &str = r#"/*---
title = "Look, and have it restarted"
effects = []
---*/
run("restart-vm", #{ params: #{ vm: "web-01" } });
"#;

/// Says what it does, in every way in which a runbook can reach further than its text.
const FAR: &str = r#"/*---
title = "Reaches far"
effects = ["azure:write"]
[params.vm]
---*/
import "tools" as tools;
run("wrapped", #{ params: #{ vm: params.vm } });
schedule::after("2h", "disable-vm-connect", #{ vm: params.vm });
tools::poke(params.vm);
if params.vm == "again" {
    run("far", #{ params: #{ vm: "once" } });
}
"#;

const WRAPPED: &str = r#"/*---
title = "Wrapped"
effects = ["azure:write"]
[params.vm]
[params.note]
default = "none"
---*/
note(params.note);
run("restart-vm", #{ params: #{ vm: params.vm } });
"#;

const TOOLS: &str = "fn poke(vm) { local::stop(vm) }\n";

fn world() -> Sealed {
    let world = Sealed::new();
    for (name, text) in [("sly", SLY), ("far", FAR), ("wrapped", WRAPPED), ("tools", TOOLS)] {
        world.runbook(name, text);
    }
    world
}

#[test]
fn check_finds_a_child_that_may_do_more() {
    assert_snapshot!(world().relight(["check", "sly"]).run(), @r#"
    --- stderr
    invalid

      x `restart-vm` may do more than `sly`
       ,-[sly:5:1]
     4 | ---*/
     5 | run("restart-vm", #{ params: #{ vm: "web-01" } });
       : ^|^
       :  `-- started here
       `----
      help: add "azure:write" to the effects of `sly`

    1 of 1 runbook cannot run.
    --- exit 2
    "#);
}

#[test]
fn a_run_that_would_do_more_than_it_says_does_not_start() {
    let world = world();
    let refused = world.in_lab(["run", "sly"]).run().to_string();
    assert!(
        refused.contains("`restart-vm` may do more than `sly`") && refused.contains("exit 2"),
        "{refused}"
    );
    assert!(!world.path("state").exists(), "a refusal leaves nothing behind");
}

#[test]
fn check_finds_what_an_import_and_a_schedule_do() {
    let world = world();
    world.runbook(
        "quiet",
        "/*---\ntitle = \"Quiet\"\n---*/\nimport \"tools\" as tools;\n\
         schedule::after(\"2h\", \"disable-vm-connect\", #{ vm: \"web-01\" });\n",
    );
    assert_snapshot!(world.relight(["check", "quiet"]).run(), @r#"
    --- stderr
    invalid

      x `disable-vm-connect` may do more than `quiet`
       ,-[quiet:5:1]
     4 | import "tools" as tools;
     5 | schedule::after("2h", "disable-vm-connect", #{ vm: "web-01" });
       : ^^^^^^^|^^^^^^^
       :        `-- started here
       `----
      help: add "azure:write" to the effects of `quiet`

    invalid

      x `local::stop` requires the effect `azure:write`, which `quiet` does not declare
       ,-[tools:1:15]
     1 | fn poke(vm) { local::stop(vm) }
       :               ^^^^^|^^^^^
       :                    `-- needs azure:write
       `----
      help: add "azure:write" to effects

    1 of 1 runbook cannot run.
    --- exit 2
    "#);
}

#[test]
fn check_finds_wrong_parameters_and_a_circle() {
    let world = world();
    world.runbook("round", "/*---\ntitle = \"Round\"\n---*/\nrun(\"round\");\n");
    world.runbook("wrong", "/*---\ntitle = \"Wrong\"\neffects = [\"azure:write\"]\n---*/\n\
         run(\"restart-vm\", #{ params: #{ vmm: \"web-01\" } });\nrun(\"restart-vm\");\nrun(\"restrat-vm\");\n");
    assert_snapshot!(world.relight(["check", "round", "wrong"]).run(), @r#"
    --- stderr
    invalid

      x `round` runs itself again and again
       ,-[round:4:1]
     3 | ---*/
     4 | run("round");
       : ^|^
       :  `-- it comes back here
       `----
      help: let a condition decide whether it goes on

    invalid

      x there is no runbook `restrat-vm`
       ,-[wrong:7:1]
     6 | run("restart-vm");
     7 | run("restrat-vm");
       : ^|^
       :  `-- named here
       `----
      help: did you mean restart-vm?

    invalid

      x `restart-vm` has no parameter `vmm`
       ,-[wrong:5:1]
     4 | ---*/
     5 | run("restart-vm", #{ params: #{ vmm: "web-01" } });
       : ^|^
       :  `-- in this call
     6 | run("restart-vm");
       `----

    invalid

      x `restart-vm` needs the parameter `vm`
       ,-[wrong:6:1]
     5 | run("restart-vm", #{ params: #{ vmm: "web-01" } });
     6 | run("restart-vm");
       : ^|^
       :  `-- in this call
     7 | run("restrat-vm");
       `----

    2 of 2 runbooks cannot run.
    --- exit 2
    "#);
}

#[test]
fn a_plan_shows_what_children_and_schedules_do() {
    let plan = world().relight(["run", "far", "vm=web-01", "--lab", "--plan"]).run().succeeds();
    assert_snapshot!(plan, @r#"
    far: Reaches far
    with vm=web-01

      1.    runs             run("wrapped", #{ params: #{ vm: "web-01" } })
            line 7             Runs another runbook to its end and gives its last value.
    1.1.    runs               run("restart-vm", #{ params: #{ vm: "web-01" } })
            line 9               Runs another runbook to its end and gives its last value.
    1.1.1.  reads                local::vm("web-01", #{ group: unknown })
            line 21                Reads one VM of Azure Local.
    1.1.2.  perhaps changes      local::start(unknown)
            line 26                Starts a VM, or resumes a paused one, and waits until it runs.
    1.1.3.  perhaps changes      local::power_off(unknown)
            line 28                Turns a VM off without asking its guest, like pulling the plug.
    1.1.4.  perhaps changes      local::start(unknown)
            line 29                Starts a VM, or resumes a paused one, and waits until it runs.
    1.1.5.  perhaps changes      local::restart(unknown)
            line 31                Restarts a VM that runs.
      2.    schedules        schedule::after("2h", "disable-vm-connect", #{ vm: "web-01" })
            line 8             Has a runbook run once after a while.
    2.1.    changes            vmconnect::disable("web-01", #{ group: unknown })
            line 17              Closes the console of a VM, unless another VM's lease shares the port of its host.
      3.    perhaps runs     run("far", #{ params: #{ vm: "once" } })
            line 11            Runs another runbook to its end and gives its last value.
                               far again, as above
      4.    perhaps changes  local::stop(unknown)
            line 1 of tools    Shuts a VM down and waits until it is off.

    At least 6 calls change something; `unknown` is what only the run can tell. Nothing was sent.
    "#);
}

#[test]
fn a_plan_is_json_too() {
    let plan = world().relight(["run", "far", "vm=web-01", "--lab", "--plan", "--json"]).run().succeeds();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["changes"], serde_json::json!({ "calls": 6, "or_more": true }));
    let child = &plan["calls"][0]["nested"]["calls"];
    assert_eq!(child["runbook"], "wrapped");
    let nested = &child["calls"][1]["nested"]["calls"]["calls"];
    assert!(nested.to_string().contains("local::restart"), "{nested}");
}

#[test]
fn what_cannot_be_known_is_called_unknown() {
    let world = Sealed::new();
    for (script, says) in [
        ("run(params.name)", "Whether anything changes is unknown;"),
        ("let f = Fn(\"r\" + \"un\"); f.call(params.name)", "Whether anything changes is unknown;"),
        ("Fn(\"run\").call(\"site-report\")", "Whether anything changes is unknown;"),
        ("local::stop(\"web-01\"); run(params.name)", "At least 1 call changes something;"),
        ("schedule::after(\"1h\", params.name, #{})", "Whether anything changes is unknown;"),
        ("\"restart-vm\".run(#{ params: #{ vm: \"web-01\" } })", "4 calls change something;"),
        ("local::vm(\"web-01\")", "0 calls change something;"),
    ] {
        world.runbook("x", &format!(
            "/*---\ntitle = \"x\"\neffects = [\"azure:write\"]\n[params.name]\ndefault = \"restart-vm\"\n---*/\n{script};\n"
        ));
        let plan = world.relight(["run", "x", "--lab", "--plan"]).run().succeeds();
        assert!(plan.contains(says), "{script}:\n{plan}");
    }
}

#[test]
fn show_lists_the_calls() {
    assert_snapshot!(world().relight(["show", "far"]).run().succeeds(), @r#"
    far: Reaches far

    Usage: relight run far vm=..

    Parameters:
      vm  string

    Calls:
      1.    runs             run("wrapped", #{ params: #{ vm: params.vm } })
    1.1.    runs               run("restart-vm", #{ params: #{ vm: unknown } })
    1.1.1.  reads                local::vm(unknown, #{ group: unknown })
    1.1.2.  perhaps changes      local::start(unknown)
    1.1.3.  perhaps changes      local::power_off(unknown)
    1.1.4.  perhaps changes      local::start(unknown)
    1.1.5.  perhaps changes      local::restart(unknown)
      2.    schedules        schedule::after("2h", "disable-vm-connect", #{ vm: params.vm })
    2.1.    changes            vmconnect::disable(unknown, #{ group: unknown })
      3.    perhaps runs     run("far", #{ params: #{ vm: "once" } })
                               far again, as above
      4.    perhaps changes  local::stop(unknown)
    At least 6 calls change something.

    May:     azure:write
    Source:  own, sha256 397c86bca38b3e9a
    "#);
}
