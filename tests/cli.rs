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
if confirm(`Restart ${vm.name}?`) {
    local::restart(vm);
}
vm.name
"#;

// ---- help and what needs no cloud ----------------------------------------------------------------

#[test]
fn help_names_every_command() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["-h"]).run(), @r"
    Run durable runbooks for Azure Local and Azure Arc

    Usage: relight [OPTIONS] <COMMAND>

    Commands:
      run            Run a runbook
      list           List the runbooks
      show           Show what a runbook does, what it may touch and which parameters it takes
      check          Check runbooks without running them
      docs           Show what scripts can call
      new            Write a first runbook into the library
      runs           See runs, resume, stop and answer them, and take old ones away
      leases         See what is open, close it, and keep it open for longer
      schedule       Run runbooks later, or again and again, while `relight serve` runs
      serve          Keep runs, schedules and leases going
      notifications  See what receivers were told, and what waits for them
      token          Decide who may talk to `relight serve`
      audit          List the requests to `relight serve`, the newest first
      connect        Sign in on a machine through Azure Arc, for a shell or one command
      proxy          Carry SSH to a machine through Azure Arc, as OpenSSH's ProxyCommand
      certificate    Write a key and an SSH certificate of Entra ID, for OpenSSH's own tools
      login          Sign in to Azure with a code that you confirm in a browser
      logout         Forget who signed in with `relight login`
      whoami         Show as whom runs reach Azure, and whether that works
      lab            Serve a local Azure to practise on
      doctor         Check that everything is in place, and say what to do where it is not
      completions    Print a completion script for a shell

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Everywhere:
          --lab[=<FILE>]   Use the local lab instead of Azure: one of its own, or a running `relight
                           lab` through its FILE
          --library <DIR>  Look for runbooks in this folder first
          --config <FILE>  Read this configuration file
      -v, --verbose...     Say on standard error what is done; twice to say more

    Exit codes: 0 done, 1 failed, 2 wrong runbook or arguments, 3 parked, stopped or denied, 4 diverged,
    5 storage
    ");
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
    world.runbook("broken", "/*---\ntitel = \"Typo\"\n---*/");
    world.runbook("lib/names", "fn greet(name) { note(`hello ${name}`) }");
    assert_snapshot!(world.relight(["list"]).run(), @r"
    add-ssh-key            Let an SSH key in on a machine
    broken                 (broken: the front matter is not right in `broken`)
    collect-diagnostics    Collect what a machine can tell
    connect-azure-vm       Connect to an Azure VM by SSH
    connect-over-arc       Connect to a machine over Arc
    copy-files             Copy files to or from a machine
    disable-arc-ssh        Let SSH in through Azure Arc no more
    disable-vm-connect     Disable VM Connect
    enable-arc-ssh         Let SSH in through Azure Arc
    enable-entra-ssh       Let people in as they are signed in to Azure
    enable-openssh         Give a Windows machine an SSH server
    first-linux-vm         Sign in on a Linux VM in Azure for the first time
    open-ssh-port          Open a port of an Azure VM for a while
    rdp-over-ssh           Open a machine's desktop over SSH
    recover-unbootable-vm  Recover a VM that does not boot
    rescue                 Get back into a VM of Azure Local
    reset-access           Get back in on a VM in Azure
    restart-vm             Restart a VM
    run-on-machine         Run a script on a machine
    site-report            Report on a site
    start-and-wait         Start an Azure VM and wait until it can be used
    troubleshoot-ssh       Find out why SSH does not work, and mend it
    verify-host-keys       Verify a machine's SSH host keys
    web/ask                Restart after a question
    --- stderr

    Without front matter, and so only to be imported: lib/names

    Read more with `relight show RUNBOOK`, try one with `relight run RUNBOOK --lab`.
    ");
    assert_snapshot!(world.relight(["list", "--names"]).run().succeeds(), @r"
    add-ssh-key
    broken
    collect-diagnostics
    connect-azure-vm
    connect-over-arc
    copy-files
    disable-arc-ssh
    disable-vm-connect
    enable-arc-ssh
    enable-entra-ssh
    enable-openssh
    first-linux-vm
    open-ssh-port
    rdp-over-ssh
    recover-unbootable-vm
    rescue
    reset-access
    restart-vm
    run-on-machine
    site-report
    start-and-wait
    troubleshoot-ssh
    verify-host-keys
    web/ask
    ");
}

#[test]
fn show_tells_what_a_runbook_takes() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["show", "recover-unbootable-vm"]).run().succeeds(), @r#"
    recover-unbootable-vm: Recover a VM that does not boot

    Opens VM Connect on the host that runs the VM, writes an RDP file, and closes it again in time.

    Usage: relight run recover-unbootable-vm vm=.. [group=..] [cluster=..] [disable_after=..] [rdp=..]

    Parameters:
      vm             string    Azure Local VM: its name or its resource id
      group          string    Resource group of the VM [default env:AZURE_DEFAULTS_GROUP]
      cluster        string    Azure Local instance; found from the VM's host when left out [may be left out]
      disable_after  duration  When to disable VM Connect again [at least 5m; at most 8h; default 2h]
      rdp            path      Where to write the RDP file [default {vm}.rdp]

    Calls:
      1.  reads          local::vm(params.vm, #{ group: params.group })
      2.  changes        vmconnect::enable(unknown, #{ cluster: params.cluster, open_for: params.disable_after })
      3.  schedules      schedule::after(params.disable_after, "disable-vm-connect", #{ vm: unknown }, #{ closes: unknown })
    3.1.  changes          vmconnect::disable(unknown, #{ group: unknown })
      4.  perhaps reads  net::first_reachable(unknown, unknown, #{ wait: "2m" })
      5.  changes        rdp::write(params.rdp, unknown, #{ address: unknown })
    3 calls change something.

    May:      azure:write, net:probe, file:write
    At once:  one run on the same group/vm
    Roles:    Azure Stack HCI Administrator
    Source:   ships with relight, sha256 b9c9697639b54823
    "#);
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
    assert_snapshot!(world.relight(["show", "restrat-vm"]).run(), @r"
    --- stderr
    invalid

      x there is no runbook `restrat-vm`
      help: did you mean restart-vm?
    --- exit 2
    ");
}

#[test]
fn what_ships_passes_the_check() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["check"]).run(), @"22 runbooks checked, nothing found.");
}

#[test]
fn check_finds_what_is_wrong_with_the_front_matter() {
    let world = Sealed::new();
    world.runbook("web", "/*---\ntitle = \"Web\"\nefects = [\"azure:read\"]\n---*/\n1\n");
    assert_snapshot!(world.relight(["check", "web"]).run(), @r#"
    --- stderr
    invalid

      x the front matter is not right in `web`
       ,-[web:3:1]
     2 | title = "Web"
     3 | efects = ["azure:read"]
       : ^^^|^^
       :  `-- unknown field `efects`, expected one of `title`, `summary`, `roles`, `effects`, `mend_within`, `concurrency`, `target`, `params`
     4 | ---*/
       `----

    1 of 1 runbook cannot run.
    --- exit 2
    "#);
}

#[test]
fn check_finds_a_call_of_nothing_and_an_effect_that_is_not_named() {
    let world = Sealed::new();
    let text = "/*---\ntitle = \"Web\"\neffects = [\"azure:read\"]\n---*/\n\
                let vm = local::vn(\"web-01\");\nlocal::restart(vm);\nlocal::vm();\n";
    world.runbook("web", text);
    assert_snapshot!(world.relight(["check", "web"]).run(), @r#"
    --- stderr
    invalid

      x there is no operation `local::vn`
       ,-[web:5:10]
     4 | ---*/
     5 | let vm = local::vn("web-01");
       :          ^^^^|^^^^
       :  `-- not known
     6 | local::restart(vm);
       `----
      help: did you mean local::vm or local::vms?

    invalid

      x `local::restart` requires the effect `azure:write`, which `web` does not declare
       ,-[web:6:1]
     5 | let vm = local::vn("web-01");
     6 | local::restart(vm);
       : ^^^^^^^|^^^^^^
       :        `-- needs azure:write
     7 | local::vm();
       `----
      help: add "azure:write" to effects

    invalid

      x `local::vm` takes 1 arguments and an optional map
       ,-[web:7:1]
     6 | local::restart(vm);
     7 | local::vm();
       : ^^^^|^^^^
       :     `-- 0 given
       `----
      help: local::vm(vm, #{ group })

    1 of 1 runbook cannot run.
    --- exit 2
    "#);
}

#[test]
fn check_reads_a_file_outside_the_library() {
    let world = Sealed::new();
    world.write("work/draft.rhai", "/*---\ntitle = \"Draft\"\n---*/\nlet x = ;\n");
    assert_snapshot!(world.relight(["check", "draft.rhai"]).run(), @r"
    --- stderr
    invalid

      x the script of `draft` cannot be read
       ,-[draft:4:9]
     3 | ---*/
     4 | let x = ;
       :         |
       :         `-- unexpected ';'
       `----

    1 of 1 runbook cannot run.
    --- exit 2
    ");
}

#[test]
fn docs_explain_an_operation() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["docs", "net::tcp_probe"]).run().succeeds(), @r#"
    net::tcp_probe(address, port, #{ timeout })

    Tries once to connect to a port.

    Tries once to connect to a port, from the machine that drives the run. Sends nothing.

    Arguments:
      address  string  Address or name of the host.
      port     int     Port.

    Options (in a map after the arguments):
      timeout  duration  How long to try; 3 seconds when left out.

    Gives:
      address  string  Address or name that was tried.
      port     int     Port that was tried.
      open     bool    Whether somebody answered.
      took_ms  int     How long it took, in milliseconds.
      reason   string  Why not, when nobody did.

    Examples:
      // Nobody listens on port 1.
      net::tcp_probe("127.0.0.1", 1, #{ timeout: "1s" }).open
      // gives false

    Effects:        net:probe
    After a crash:  asked again
    "#);
}

#[test]
fn docs_list_the_codes_that_a_script_can_decide_on() {
    let docs = Sealed::new().relight(["docs", "local::restart"]).run().succeeds();
    let codes = docs.split_once("Errors (`e.code` in `catch (e)`):\n").expect("a list of codes").1;
    let codes = codes.split_once("\n\n").expect("what comes behind").0;
    assert_snapshot!(codes, @r#"
    NotFound    what was named is not there
    Busy        turned away for now; only with `retry: #{ then: "throw" }`, else the run parks
    Off         what was meant is switched off
    OutOfTouch  what was meant, or what leads to it, has no connection
    "#);
}

#[test]
fn docs_of_nothing_say_what_was_meant() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["docs", "vmconnect::enabel"]).run(), @r"
    --- stderr
    invalid

      x there is no operation or area `vmconnect::enabel`
      help: `vmconnect` has vmconnect::disable, vmconnect::enable, vmconnect::status
    --- exit 2
    ");
    assert_snapshot!(world.relight(["docs", "enable"]).run(), @r"
    --- stderr
    invalid

      x there is no operation or area `enable`
      help: did you mean vmconnect::enable?
    --- exit 2
    ");
}

#[test]
fn new_writes_a_runbook_that_passes_the_check() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["new", "web/look"]).run(), @r"
    [dir]/home/.config/relight/runbooks/web/look.rhai
    --- stderr
    Change it, then: relight check web/look
    Try it:          relight run web/look vm=web-01 --lab
    Look up calls:   relight docs
    ");
    world.relight(["check", "web/look"]).run().succeeds();
    assert_snapshot!(world.relight(["new", "web/look"]).run(), @r"
    --- stderr
    invalid

      x failed to write [dir]/home/.config/relight/runbooks/web/look.rhai
      `-> it is there already
      help: choose another name
    --- exit 2
    ");
    assert_snapshot!(world.relight(["new", "../look"]).run(), @r"
    --- stderr
    invalid

      x `../look` cannot be the name of a runbook
      help: a name is letters, digits, - and _, with / between folders of the library
    --- exit 2
    ");
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
    assert_snapshot!(world.relight(["list"]).run(), @r#"
    --- stderr
    invalid

      x the configuration [dir]/home/.config/relight/relight.toml is not right
       ,-[relight.toml:2:1]
     1 | [azure]
     2 | subscripton = "x"
       : ^^^^^|^^^^^
       :  `-- unknown field `subscripton`, expected one of `subscription`, `tenant`, `group`, `cloud`
       `----
    --- exit 2
    "#);
}

#[test]
fn a_library_that_is_not_there_is_said() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["list", "--library", "nowhere"]).run(), @r"
    --- stderr
    invalid

      x there is no runbook folder nowhere
      help: give another one with --library or RELIGHT_LIBRARY, or make it with `relight new NAME`
    --- exit 2
    ");
}

// ---- what is refused before anything is sent ------------------------------------------------------------

#[test]
fn a_parameter_without_a_name_is_refused() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["run", "restart-vm", "web-01"]).run(), @r"
    --- stderr
    error: invalid value 'web-01' for '[NAME=VALUE]...': a parameter is written NAME=VALUE, such as vm=web-01

    For more information, try '--help'.
    --- exit 2
    ");
}

#[test]
fn a_missing_parameter_is_refused() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["run", "restart-vm"]).run(), @r"
    --- stderr
    invalid

      x `restart-vm` needs the parameter `vm`
      help: vm: Azure Local VM: its name or its resource id
            write vm=...
    --- exit 2
    ");
}

#[test]
fn an_unknown_parameter_is_refused() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["run", "restart-vm", "vmm=web-01"]).run(), @r"
    --- stderr
    invalid

      x 2 mistakes in the parameters of `restart-vm`
      help: `restart-vm` has no parameter `vmm`; its parameters are vm, group, force
            `restart-vm` needs the parameter `vm`; vm: Azure Local VM: its name or its resource id; write vm=...
    --- exit 2
    ");
}

#[test]
fn a_wrong_value_is_underlined() {
    let world = Sealed::new();
    let args = ["run", "recover-unbootable-vm", "vm=web-01", "group=rg-edge", "disable_after=9h"];
    assert_snapshot!(world.relight(args).run(), @r"
    --- stderr
    invalid

      x wrong value for the parameter `disable_after`
       ,-[arguments:1:15]
     1 | disable_after=9h
       :               ^|
       :                `-- this value
       `----
      help: at most 8h
            disable_after (duration): When to disable VM Connect again
    --- exit 2
    ");
}

#[test]
fn a_runbook_that_no_commit_holds_is_refused_on_demand() {
    let world = Sealed::new();
    world.runbook("ask", ASKS);
    assert_snapshot!(world.relight(["run", "ask", "vm=web-01", "--require-clean"]).run(), @r"
    --- stderr
    invalid

      x the runbook `ask` is not in a git checkout
      help: commit the runbooks, or run without --require-clean
    --- exit 2
    ");
}

#[test]
fn a_refusal_leaves_no_run_behind() {
    let world = Sealed::new();
    world.relight(["run", "restart-vm", "--lab"]).run().ends_with(0x2);
    assert_snapshot!(world.relight(["runs", "--lab"]).run(), @r"
    --- stderr
    Nothing has run yet.
    ");
}

#[test]
fn a_run_compiles_each_of_its_texts_once() {
    let world = Sealed::new();
    world.runbook("lib/names", "fn greet(name) { `hello ${name}` }");
    world.runbook("child", "/*---\ntitle = \"A child\"\n---*/\nall([1, 2], |n| n)");
    world.runbook(
        "parent",
        "/*---\ntitle = \"A parent\"\n---*/\nimport \"lib/names\" as names;\n\
         note(names::greet(\"you\")); [run(\"child\"), run(\"child\")]",
    );
    let output = world.in_lab(["run", "parent"]).env("RELIGHT_LOG", "relight_engine=debug").run().raw();
    let compiled = |name: &str| output.matches(&format!("compiles `{name}`")).count();
    assert_eq!(["parent", "lib/names", "child"].map(compiled), [1, 1, 1], "{output}");
}

// ---- a plan ----------------------------------------------------------------------------------------------

#[test]
fn a_plan_says_what_would_happen_and_writes_nothing() {
    let world = Sealed::new();
    let plan = world.relight(["run", "recover-unbootable-vm", "vm=web-01", "--lab", "--plan"]).run();
    assert_snapshot!(plan, @r#"
    recover-unbootable-vm: Recover a VM that does not boot
    with vm=web-01 group=rg-edge disable_after=2h rdp=web-01.rdp

      1.  reads          local::vm("web-01", #{ group: "rg-edge" })
          line 32          Reads one VM of Azure Local.
      2.  changes  vmconnect::enable(unknown, #{ cluster: (), open_for: "2h" })
          line 37          Opens the console of a VM on its host, and leases it so that it is closed again.
      3.  schedules  schedule::after("2h", "disable-vm-connect", #{ vm: unknown }, #{ closes: unknown })
          line 38          Has a runbook run once after a while.
    3.1.  changes  vmconnect::disable(unknown, #{ group: unknown })
          line 17            Closes the console of a VM, unless another VM's lease shares the port of its host.
      4.  perhaps reads  net::first_reachable(unknown, unknown, #{ wait: "2m" })
          line 44          Finds the first of several addresses that answers on a port.
      5.  changes  rdp::write("web-01.rdp", unknown, #{ address: unknown })
          line 50          Writes a Remote Desktop file that opens the console of a VM.

    3 calls change something; `unknown` is what only the run can tell. Nothing was sent.
    "#);
    assert!(!world.path("state").exists(), "a plan makes no folder");
}

// ---- an empty desk -----------------------------------------------------------------------------------------

#[test]
fn nothing_has_run_is_open_or_scheduled() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["runs"]).run(), @r"
    --- stderr
    Nothing has run yet.
    ");
    assert_snapshot!(world.relight(["leases"]).run(), @r"
    --- stderr
    Nothing is open.
    ");
    assert_snapshot!(world.relight(["schedule"]).run(), @r"
    --- stderr
    Nothing is scheduled.
    ");
    assert_snapshot!(world.relight(["runs", "show", "nothing"]).run(), @r"
    --- stderr
    invalid

      x there is no run `nothing`
      help: list the runs with `relight runs`
    --- exit 2
    ");
    assert_snapshot!(world.relight(["leases", "close", "nothing", "--lab"]).run(), @r"
    --- stderr
    invalid

      x there is no open lease `nothing`
      help: list them with `relight leases`
    --- exit 2
    ");
    assert_snapshot!(world.relight(["schedule", "remove", "nothing"]).run(), @r"
    --- stderr
    invalid

      x there is no schedule `nothing`
      help: list them with `relight schedule`
    --- exit 2
    ");
}

#[test]
fn runs_are_filtered_and_paged() {
    let world = Sealed::new();
    world.runbook("fine", "/*---\ntitle = \"Fine\"\n---*/\n1\n");
    world.runbook("bad", "/*---\ntitle = \"Bad\"\n---*/\nfail(\"no\")\n");
    for runbook in ["fine", "bad", "fine", "fine"] {
        let _ = world.in_lab(["run", runbook]).run();
    }
    let list = |more: &[&str]| -> Vec<(String, String)> {
        let args = ["runs", "list", "--json", "--lab"].into_iter().chain(more.iter().copied());
        let text = |run: &serde_json::Value, name: &str| run[name].as_str().unwrap_or_default().to_owned();
        world.relight(args).run().json().iter().map(|run| (text(run, "id"), text(run, "runbook"))).collect()
    };
    let names = |more: &[&str]| list(more).into_iter().map(|(_, runbook)| runbook).collect::<Vec<_>>();
    assert_eq!(names(&[]), ["fine", "fine", "bad", "fine"]);
    assert_eq!(names(&["--state", "failed"]), ["bad"]);
    assert_eq!(names(&["--runbook", "fine", "--limit", "2"]), ["fine", "fine"]);
    assert_eq!(names(&["--since", "1d"]).len(), 4);
    assert_eq!(names(&["--since", "2031-01-01T00:00:00Z"]).len(), 0);
    let first = list(&["--limit", "2"]);
    assert_eq!(names(&["--after", &first[1].0]), ["bad", "fine"]);
    assert_snapshot!(world.relight(["runs", "list", "--state", "lost", "--lab"]).run(), @r"
    --- stderr
    error: invalid value 'lost' for '--state <STATE>': the states are prepared, running, parked, succeeded, failed, stopped, abandoned

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(world.relight(["runs", "list", "--since", "noon", "--lab"]).run(), @r"
    --- stderr
    invalid

      x `noon` is neither a time nor a duration
      help: write for example --since 2d, or --since [time]
    --- exit 2
    ");
    assert_snapshot!(world.relight(["runs", "list", "--state", "stopped", "--lab"]).run(), @r"
    --- stderr
    No run is like that.
    ");
}

#[test]
fn a_state_that_cannot_be_used_is_a_storage_error() {
    let world = Sealed::new();
    world.write("state", "a file, not a folder");
    assert_snapshot!(world.relight(["runs"]).run(), @r"
    --- stderr
    storage

      x failed to make the folder [dir]/state
      `-> File exists (os error 17)
      help: set RELIGHT_STATE to a folder that you can write to
    --- exit 5
    ");
}

// ---- the lab ----------------------------------------------------------------------------------------------------

#[test]
fn the_flagship_opens_a_console_and_says_when_it_closes() {
    let world = Sealed::new();
    let output = world.in_lab(["run", "recover-unbootable-vm", "vm=web-01"]).run();
    assert_snapshot!(output.without_progress(), @r#"
    {
      "address": "[address]",
      "closes_at": "[time]",
      "host": "hq-node2",
      "rdp": "web-01.rdp",
      "reachable": true
    }
    --- stderr
    run [id1] of recover-unbootable-vm
    done local::vm
    web-01 is Running on hq-node2; the agent in the guest does not answer
    done vmconnect::enable
    done schedule::after
    done net::first_reachable
    done rdp::write
    Open web-01.rdp. First it asks for an administrator of the host hq-node2, then the console of web-01 appears.
    Ctrl+Alt+End sends Ctrl+Alt+Del.
    VM Connect closes at [time] UTC.
    disable-vm-connect runs [time] UTC (in 2h)
    VM Connect to web-01 on hq-node2 stays open until [time] UTC (in 2h)
    Nobody sees to it: no `relight serve --lab` runs here. Have it done by one of these:
      relight serve --lab --until-closed    # stays here until nothing is open
    Close it now: relight leases close [id1]-3 --lab
    "#);
    assert!(holds(&world.work(), "web-01.rdp"));
    assert_snapshot!(world.relight(["leases", "--lab"]).run(), @r"
    LEASE  OPEN  CLOSES
    [id1]-3  VM Connect to web-01 on hq-node2  [time] UTC (in 2h)
    --- stderr
    Nobody closes it: no `relight serve --lab` runs here. Start one, or close it now:
      relight leases close [id1]-3 --lab
    ");
    let run = newest_run(&world);
    let shown = world.relight(["runs", "show", &run, "--lab"]).run().to_string();
    // As long as the address of the host that the lab chose.
    let bytes = std::fs::metadata(world.work().join("web-01.rdp")).unwrap().len().to_string();
    assert_snapshot!(shown.replace(&format!("web-01.rdp  {bytes}"), "web-01.rdp  [bytes]"), @r"
    run  [id1]
    runbook  recover-unbootable-vm, sha256 [id2]
    state    succeeded
    began  [time] UTC (now)
    by       ada@desk-7
    changed  [time] UTC (now)
    with     vm=web-01 group=rg-edge disable_after=2h rdp=web-01.rdp
    in       [dir]/work

    STEP  LINE  CALL  STATE  TOOK
       1  32  local::vm  done  [long]
       2  33  note  done  [long]  web-01 is Running on hq-node2; the agent in the guest does not answer
       3  37  vmconnect::enable  done  [long]
       4  38  schedule::after  done  [long]
       5  44  net::first_reachable  done  [long]
       6  50  rdp::write  done  [long]
       7  52  note  done  [long]  Open web-01.rdp. First it asks for an administrator of the host hq-...
       8  53  note  done  [long]  Ctrl+Alt+End sends Ctrl+Alt+Del.
       9  54  note  done  [long]  VM Connect closes at [time] UTC.

    FILE  BYTES  SHA-256  NOW
    web-01.rdp  [bytes]  [id3]  unchanged
    ");

    let lease = format!("{run}-3");
    world.in_lab(["leases", "close", &lease]).run().succeeds();
    assert_snapshot!(world.relight(["leases", "--lab"]).run(), @r"
    --- stderr
    Nothing is open.
    ");
}

#[test]
fn ctrl_c_parks_and_resume_goes_on_where_it_stood() {
    let world = Sealed::new();
    let mut run = world.in_lab(["run", "recover-unbootable-vm", "vm=web-01"]).spawn();
    run.wait_for("vmconnect::enable: ");
    run.signal("INT");
    assert_snapshot!(run.end().without_progress(), @r"
    --- stderr
    run [id1] of recover-unbootable-vm
    done local::vm
    web-01 is Running on hq-node2; the agent in the guest does not answer
    Parking the run; Ctrl-C once more leaves at once.
    run [id1] is parked; nothing is lost. Go on with:
      relight runs resume [id1] --lab
    VM Connect to web-01 on hq-node2 stays open until [time] UTC (in 2h)
    Nobody sees to it: no `relight serve --lab` runs here. Have it done by one of these:
      relight serve --lab --until-closed    # stays here until nothing is open
    Close it now: relight leases close [id1]-3 --lab
    --- exit 3
    ");

    let run = newest_run(&world);
    let resumed = world.in_lab(["runs", "resume", &run[..8]]).run();
    assert_snapshot!(resumed.without_progress(), @r#"
    {
      "address": "[address]",
      "closes_at": "[time]",
      "host": "hq-node2",
      "rdp": "web-01.rdp",
      "reachable": true
    }
    --- stderr
    run [id1] of recover-unbootable-vm, goes on after 2 steps
    done vmconnect::enable
    done schedule::after
    done net::first_reachable
    done rdp::write
    Open web-01.rdp. First it asks for an administrator of the host hq-node2, then the console of web-01 appears.
    Ctrl+Alt+End sends Ctrl+Alt+Del.
    VM Connect closes at [time] UTC.
    disable-vm-connect runs [time] UTC (in 2h)
    VM Connect to web-01 on hq-node2 stays open until [time] UTC (in 2h)
    Nobody sees to it: no `relight serve --lab` runs here. Have it done by one of these:
      relight serve --lab --until-closed    # stays here until nothing is open
    Close it now: relight leases close [id1]-3 --lab
    "#);

    // One request to open the port, by one of the two processes.
    let events = world.relight(["runs", "show", &run, "--lab", "--json"]).run().json();
    let started =
        events.iter().filter(|e| e["event"] == "step_started" && e["operation"] == "vmconnect::enable");
    assert_eq!(started.count(), 1);
    assert_snapshot!(world.in_lab(["runs", "resume", &run]).run(), @r"
    --- stderr
    invalid

      x run [id1] is over: it succeeded
    --- exit 2
    ");
}

/// A cloud that takes the connection and then says nothing: the request cannot be parked at once.
#[test]
fn the_second_ctrl_c_leaves_at_once() {
    let world = Sealed::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", silent.local_addr().unwrap());
    let mut run = world
        .relight(["run", "site-report"])
        .env("RELIGHT_CLOUD_ARM", &address)
        .env("RELIGHT_CLOUD_LOGIN", &address)
        .env("RELIGHT_CLOUD_AUDIENCE", &address)
        .env("AZURE_TENANT_ID", "00000000-0000-0000-0000-000000000001")
        .env("AZURE_CLIENT_ID", "00000000-0000-0000-0000-000000000002")
        .env("AZURE_CLIENT_SECRET", "canary")
        .env("AZURE_SUBSCRIPTION_ID", "00000000-0000-0000-0000-000000000003")
        .spawn();
    // The operation has begun once it has connected.
    run.wait_for("run ");
    let _held = silent.accept().unwrap();
    run.signal("INT");
    run.wait_for("Parking");
    run.signal("INT");
    run.end().ends_with(130);
}

#[cfg(debug_assertions)]
#[test]
fn a_killed_process_is_taken_over_at_once() {
    let world = Sealed::new();
    let killed = world
        .in_lab(["run", "recover-unbootable-vm", "vm=web-01"])
        .env("RELIGHT_CRASH_AFTER_RECORD", "8")
        .run();
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
        assert!(
            event["run"].is_string() && event["time"].is_string() && event["event"].is_string(),
            "{event}"
        );
    }
}

#[test]
fn a_question_parks_a_run_that_nobody_watches() {
    let world = Sealed::new();
    world.runbook("ask", ASKS);
    assert_snapshot!(world.in_lab(["run", "ask", "vm=web-01"]).run(), @r"
    --- stderr
    run [id1] of ask
    done local::vm
    Restart web-01? [yes/no]
    run [id1] is parked until somebody answers:
      relight runs answer [id1] yes --lab
    --- exit 3
    ");
    let run = newest_run(&world);
    assert_snapshot!(world.relight(["runs", "--lab"]).run(), @r"
    RUN  RUNBOOK  STATE  STEPS  CHANGED
    [id1]  ask  parked  2  now
      it asks: Restart web-01?
      relight runs answer [id1] yes --lab
    ");
    assert_snapshot!(world.in_lab(["runs", "answer", &run, "perhaps"]).run(), @r"
    --- stderr
    invalid

      x `perhaps` is no answer to run [id1]
      help: answer one of yes, no
    --- exit 2
    ");
    assert_snapshot!(world.in_lab(["runs", "answer", &run, "no"]).run(), @r"
    web-01
    --- stderr
    run [id1] of ask, goes on after 1 step
    done confirm  no
    ");
}

#[test]
fn yes_answers_in_advance() {
    let world = Sealed::new();
    world.runbook("ask", ASKS);
    let output = world.in_lab(["run", "ask", "vm=web-01", "--yes"]).run();
    assert_snapshot!(output.without_progress(), @r"
    web-01
    --- stderr
    run [id1] of ask
    done local::vm
    Restart web-01? yes
    done confirm  yes
    done local::restart
    ");
}

#[test]
fn a_parked_run_can_be_stopped() {
    let world = Sealed::new();
    world.runbook("ask", ASKS);
    world.in_lab(["run", "ask", "vm=web-01"]).run().ends_with(3);
    let run = newest_run(&world);
    assert_snapshot!(world.in_lab(["runs", "stop", &run]).run(), @r"
    --- stderr
    run [id1] is stopped
    ");
    assert_snapshot!(world.relight(["runs", "--lab"]).run(), @r"
    RUN  RUNBOOK  STATE  STEPS  CHANGED
    [id1]  ask  stopped  2  now
    ");
    let shown = world.relight(["runs", "show", "@last", "--lab"]).run().raw();
    let asked = shown.lines().find(|line| line.contains("confirm")).expect("the step");
    assert!(asked.contains("stopped"), "{shown}");
}

#[test]
fn a_failure_points_at_the_script() {
    let world = Sealed::new();
    world.runbook(
        "gone",
        "/*---\ntitle = \"Gone\"\neffects = [\"azure:read\"]\n---*/\nlocal::vm(\"nobody\");\n",
    );
    assert_snapshot!(world.in_lab(["run", "gone"]).run(), @r#"
    --- stderr
    run [id1] of gone
    failed local::vm  there is no VM `nobody` in resource group `rg-edge`
    rejected: NotFound

      x there is no VM `nobody` in resource group `rg-edge`
       ,-[gone:5:1]
     4 | ---*/
     5 | local::vm("nobody");
       : ^^^^|^^^^
       :     `-- here
       `----
      help: there are for example web-01, db-01, file-01, lin-02, app-01
    run [id1] failed; its record: relight runs show [id1] --lab
    --- exit 1
    "#);
}

#[test]
fn a_mistake_parks_the_run_and_the_mended_text_goes_on() {
    let world = Sealed::new();
    let text = "/*---\ntitle = \"Slip\"\neffects = [\"azure:read\"]\n---*/\nlet vm = local::vm(\"web-01\");\nvm.nme\n";
    world.runbook("slip", text);
    assert_snapshot!(world.in_lab(["run", "slip"]).run(), @r#"
    --- stderr
    run [id1] of slip
    done local::vm
    script

      x the runbook `slip` went wrong: property not found: nme
       ,-[slip:6:4]
     5 | let vm = local::vm("web-01");
     6 | vm.nme
       :    ^|^
       :     `-- here
       `----
    run [id1] is parked on a mistake in its runbook; nothing is lost. One of:
      relight runs resume [id1] --with-current-text --lab  # go on once the text is mended
      relight runs rerun [id1] --lab  # begin anew with the same parameters
      relight runs stop [id1] --lab  # end it; what it deferred runs
    --- exit 3
    "#);
    let run = newest_run(&world);
    // A text that does something else than what was done is refused.
    world.runbook("slip", &text.replace("web-01", "db-01"));
    let refused = world.in_lab(["runs", "resume", &run, "--with-current-text"]).run();
    assert_snapshot!(refused, @r#"
    --- stderr
    diverged

      x step 1 is not the one that was recorded
      |   recorded: local::vm {"vm":"web-01"}
      |  now:  local::vm {"vm":"db-01"}
       ,-[slip:5:10]
     4 | ---*/
     5 | let vm = local::vm("db-01");
       :          ^^^^|^^^^
       :              `-- here
     6 | vm.nme
       `----
      help: nothing was sent; a runbook must take the same way when it is run again: let now(), random() and operations decide, not anything else
            the run stays parked with its old text
            begin anew: `relight runs rerun [id1]`
    --- exit 4
    "#);
    world.runbook("slip", &text.replace("nme", "name"));
    assert_snapshot!(world.in_lab(["runs", "resume", &run, "--with-current-text"]).run(), @r"
    web-01
    --- stderr
    run [id1] of slip, goes on after 1 step
    ");
    assert_snapshot!(world.in_lab(["runs", "rerun", &run]).run(), @r"
    web-01
    --- stderr
    run [id2] follows run [id1]
    run [id2] of slip
    done local::vm
    ");
}

#[test]
fn a_mistake_of_several_branches_is_mended_once_for_all() {
    let world = Sealed::new();
    let text = "/*---\ntitle = \"Slips\"\neffects = [\"azure:read\"]\n---*/\n\
        all([\"web-01\", \"db-01\"], |name| local::vm(name).nme, #{ at_once: 1 })\n";
    // From a file: the library has no text to go on with.
    let file = world.write("work/slips.rhai", text).display().to_string();
    assert_snapshot!(world.in_lab(["run", &file]).run(), @r#"
    --- stderr
    run [id1] of slips
    done web-01 > local::vm
    done db-01 > local::vm
    script

      x the runbook `slips` went wrong: property not found: nme
       ,-[slips:5:49]
     4 | ---*/
     5 | all(["web-01", "db-01"], |name| local::vm(name).nme, #{ at_once: 1 })
       :                                                 ^|^
       :                                                  `-- here
       `----
    run [id1].1.0 is parked on a mistake in its runbook; nothing is lost. One of:
      relight runs resume [id1] --with-current-text=slips.rhai --lab  # go on with all branches once the text is mended
      relight runs rerun [id1] --lab  # begin anew with the same parameters
      relight runs stop [id1] --lab  # end it; what it deferred runs
    --- exit 3
    "#);
    let run = newest_run(&world);
    let shown = world.in_lab(["runs", "show", &run]).run().to_string();
    let mend = "Go on with: relight runs resume [id1] --with-current-text=slips.rhai --lab";
    assert!(shown.contains(mend), "{shown}");
    world.write("work/slips.rhai", &text.replace("nme", "name"));
    assert_snapshot!(world.in_lab(["runs", "resume", &run, "--with-current-text=slips.rhai"]).run(), @r#"
    [
      "web-01",
      "db-01"
    ]
    --- stderr
    run [id1] of slips, goes on
      all: 50% 1 of 2 branches are over
      all: 100% 2 of 2 branches are over
    done all
    "#);
}

#[test]
fn a_run_whose_child_is_over_says_how_it_goes_on() {
    let world = Sealed::new();
    world.runbook("kid", "/*---\ntitle = \"Kid\"\n---*/\nconfirm(\"go on?\")\n");
    world.runbook("parent", "/*---\ntitle = \"Parent\"\n---*/\nrun(\"kid\", #{})\n");
    world.in_lab(["run", "parent"]).run().ends_with(3);
    let runs = world.relight(["runs", "list", "--json", "--lab"]).run().json();
    let id = |of: &str| {
        let run = runs.iter().find(|run| run["runbook"] == of);
        run.expect("the run")["id"].as_str().expect("an id").to_owned()
    };
    let shown = || world.relight(["runs", "show", &id("parent"), "--lab"]).run().to_string();
    assert!(shown().contains("Go on with: relight runs answer [id"), "{}", shown());
    world.in_lab(["runs", "answer", &id("kid"), "yes"]).run().ends_with(0);
    assert!(shown().contains("Go on with: relight runs resume [id"), "{}", shown());
    world.in_lab(["runs", "resume", &id("parent")]).run().ends_with(0);
}

#[test]
fn a_run_is_abandoned_with_a_reason() {
    let world = Sealed::new();
    world.runbook("ask", ASKS);
    world.in_lab(["run", "ask", "vm=web-01"]).run().ends_with(3);
    let run = newest_run(&world);
    world.in_lab(["runs", "abandon", &run]).run().ends_with(2);
    assert_snapshot!(world.in_lab(["runs", "abandon", &run, "--because", "the VM is gone"]).run(), @r"
    --- stderr
    run [id1] is abandoned; what it deferred did not run
    ");
    assert_snapshot!(world.relight(["runs", "--lab"]).run(), @r"
    RUN  RUNBOOK  STATE  STEPS  CHANGED
    [id1]  ask  abandoned  2  now
    ");
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
    assert_snapshot!(world.in_lab(["run", "site-report", "--lab-fault", "gremlins"]).run(), @r"
    --- stderr
    invalid

      x unknown fault `gremlins`
      help: the faults are reply-lost, reset-before, throttled, slow, flaps, stuck, never-ends, status-gone, succeeded-but-updating, other-spelling, host-moves, wrong-address, host-unreachable, token-expires, cae-challenge, old-api, role-missing, denied, job-fails, extension-fails, garbage, long-poll-url, conflict, location-only, async-only, agent-offline, old-agent, relay-drops, relay-slow, listener-late, credentials-expire, host-key-changed, port-blocked, sshd-down, vm-off, address-changes, script-fails, no-diagnostics, wire-differs
    --- exit 2
    ");
}

#[test]
fn a_detached_run_is_driven_by_whoever_serves() {
    let world = Sealed::new();
    let run = world.relight(["run", "site-report", "--lab", "--detach"]).run().succeeds();
    let run = run.trim();
    assert_snapshot!(world.relight(["runs", "--lab"]).run(), @r"
    RUN  RUNBOOK  STATE  STEPS  CHANGED
    [id1]  site-report  prepared  0  now
      relight serve --lab
    ");
    let mut serve = world.in_lab(["serve"]).spawn();
    serve.wait_for("succeeded");
    serve.signal("TERM");
    serve.end().succeeds();
    assert!(world.relight(["runs", "show", run, "--lab"]).run().succeeds().contains("succeeded"));
}

#[test]
fn a_script_that_wants_all_memory_ends_and_the_service_goes_on() {
    let world = Sealed::new();
    let greedy = r#"note("begun"); let big = "0123456789abcdef"; for n in 0..16 { big += big; }
        let all = #{}; let n = 0; loop { all[`${n}`] = big + n; n += 1; }"#;
    world.runbook("greedy", &format!("/*---\ntitle = \"Greedy\"\n---*/\n{greedy}"));
    let run = world.relight(["run", "greedy", "--lab", "--detach"]).run().succeeds();
    let mut serve = world.in_lab(["serve"]).spawn();
    serve.wait_for("holds more than 256 MiB of memory");
    let other = world.relight(["run", "site-report", "--lab", "--detach"]).run().succeeds();
    serve.wait_for("succeeded");
    serve.signal("TERM");
    serve.end().succeeds();
    let mistaken = world.relight(["runs", "show", run.trim(), "--lab"]).run().to_string();
    assert!(mistaken.contains("parked") && mistaken.contains("256 MiB"), "{mistaken}");
    assert!(world.relight(["runs", "show", other.trim(), "--lab"]).run().succeeds().contains("succeeded"));
}

#[test]
fn progress_of_a_script_is_seen_in_a_pipe_and_by_programs() {
    let world = Sealed::new();
    let script = r#"progress("begin"); note("one"); progress(`half of ${[1, 2]}`, 50); note("two"); ()"#;
    world.runbook("talk", &format!("/*---\ntitle = \"Talk\"\n---*/\n{script}"));
    assert_snapshot!(world.in_lab(["run", "talk"]).run(), @r"
    --- stderr
    run [id1] of talk
    begin
    one
    50% half of [1, 2]
    two
    ");
    let lines = world.in_lab(["run", "talk", "--json"]).run().json();
    let said = lines.iter().filter(|line| line["event"] == "progress");
    let said: Vec<String> = said.map(|line| format!("{} {}", line["message"], line["percent"])).collect();
    assert_eq!(said, [r#""begin" null"#, r#""half of [1, 2]" 50.0"#]);
}

#[test]
fn a_served_lab_is_shared() {
    let world = Sealed::new();
    let mut lab = world.relight(["lab", "--speed", "240"]).spawn();
    lab.wait_for("The lab is at");
    let first = world.relight(["run", "site-report", "--lab"]).run().succeeds();
    assert!(first.contains("\"vms\": 6"), "{first}");
    let file = format!("--lab={}", world.path("state/lab/lab.json").display());
    let second = world.relight(["run", "site-report", &file]).run().succeeds();
    assert!(second.contains("\"vms\": 6"), "{second}");
    lab.signal("INT");
    lab.end().succeeds();
}

/// The lab as a cloud of one's own: addresses, certificates and a service principal from the environment.
#[test]
fn an_own_cloud_is_reached_with_a_service_principal() {
    let world = Sealed::new();
    let mut lab = world.relight(["lab", "--speed", "1"]).spawn();
    lab.wait_for("The lab is at");
    let card: serde_json::Value =
        serde_json::from_slice(&std::fs::read(world.path("state/lab/lab.json")).unwrap()).unwrap();
    let of = |name: &str| card["descriptor"][name].as_str().unwrap().to_owned();
    let there = |args: &[&str]| {
        world
            .relight(args)
            .env("RELIGHT_CLOUD_ARM", of("url"))
            .env("RELIGHT_CLOUD_LOGIN", of("url"))
            .env("RELIGHT_CLOUD_AUDIENCE", of("url"))
            .env("RELIGHT_CLOUD_CA_BUNDLE", world.path("state/lab/world/ca.pem"))
            .env("AZURE_TENANT_ID", of("tenant"))
            .env("AZURE_CLIENT_ID", of("client_id"))
            .env("AZURE_CLIENT_SECRET", of("client_secret"))
    };
    let doctor = there(&["doctor"]).run().succeeds();
    assert!(doctor.contains("ok    sign-in") && doctor.contains("the only one"), "{doctor}");
    let report = there(&["run", "site-report"]).run().succeeds();
    assert!(report.contains("\"vms\": 6"), "{report}");
    lab.signal("INT");
    lab.end().succeeds();
}

#[test]
fn a_default_that_is_meant_for_azure_does_not_reach_the_lab() {
    let world = Sealed::new();
    let plan = world.relight(["run", "restart-vm", "vm=web-01", "--lab", "--plan"]);
    let plan = plan.env("AZURE_DEFAULTS_GROUP", "rg-production").run().succeeds();
    assert!(plan.contains("group=rg-edge"), "{plan}");
}

#[test]
fn faults_are_for_a_lab_of_ones_own() {
    let world = Sealed::new();
    assert_snapshot!(world.relight(["run", "site-report", "--lab-fault", "slow"]).run(), @r"
    --- stderr
    invalid

      x --lab-speed and --lab-fault are for --lab
      help: add --lab
    --- exit 2
    ");
}

#[test]
fn an_exported_run_is_verified_and_a_changed_one_is_not() {
    let world = Sealed::new();
    world.in_lab(["run", "site-report"]).run().succeeds();
    let run = newest_run(&world);
    let exported = world.relight(["runs", "export", &run, "--lab"]).run().succeeds();
    world.write("work/run.json", &exported);
    assert_snapshot!(world.relight(["runs", "verify", "run.json"]).run(), @r"
    intact: run [id1] of site-report, 43 records, succeeded
    seal:  [id2]
    ");
    world.write("work/run.json", &exported.replace("rg-edge", "rg-edgy"));
    assert_snapshot!(world.relight(["runs", "verify", "run.json"]).run(), @r"
    --- stderr
    storage

      x record 4 of the run is damaged: its hash does not match its content
      help: the file was changed; nothing in it can be trusted
    --- exit 5
    ");
}

#[test]
fn a_runbook_is_checked_wherever_it_lies_and_however_its_file_begins() {
    let world = Sealed::new();
    let text = "\u{feff}/*---\ntitle = \"marked\"\n---*/\nnote(\"fine\")\n";
    let file = world.write("work/marked.rhai", text);
    for named in ["marked.rhai", &file.to_string_lossy()] {
        assert_eq!(world.relight(["check", named]).run().succeeds(), "1 runbook checked, nothing found.\n");
    }
    let ran = world.in_lab(["run", "marked.rhai"]).run();
    assert!(ran.raw().contains("fine"), "{ran}");
}

#[test]
fn the_newest_run_and_the_only_open_one_need_no_id() {
    let world = Sealed::new();
    world.runbook("asks", ASKS);
    let none = world.relight(["runs", "show", "@last", "--lab"]).run();
    assert!(none.raw().contains("nothing has run yet"), "{none}");
    world.in_lab(["run", "asks", "vm=web-01"]).run().ends_with(3);
    let run = newest_run(&world);
    let shown = world.relight(["runs", "show", "@last", "--lab"]).run().succeeds();
    assert!(shown.contains(&run), "{shown}");
    assert!(world.relight(["runs", "--lab"]).run().succeeds().contains(&run[..4]));
    world.in_lab(["run", "asks", "vm=db-01"]).run().ends_with(3);
    let two = world.in_lab(["runs", "resume"]).run();
    assert!(two.raw().contains("2 runs are open"), "{two}");
    world.in_lab(["runs", "stop", &run[..4]]).run().succeeds();
    let resumed = world.in_lab(["runs", "resume", "--yes"]).run();
    assert!(resumed.raw().contains("done local::restart"), "{resumed}");
}

#[test]
fn a_parent_and_the_child_for_which_it_waits_are_one_open_run() {
    let world = Sealed::new();
    world.runbook("asks", ASKS);
    let parent = "/*---\ntitle = \"Parent\"\neffects = [\"azure:write\"]\n---*/\nrun(\"asks\", #{ params: #{ vm: \"web-01\" } })";
    world.runbook("parent", parent);
    world.in_lab(["run", "parent"]).run().ends_with(3);
    let resumed = world.in_lab(["runs", "resume", "--yes"]).run();
    assert!(resumed.raw().contains("done asks > local::restart"), "{resumed}");

    // Also where both were interrupted.
    world.runbook("slow", "/*---\ntitle = \"Slow\"\n---*/\nprogress(\"waits\"); wait(\"6h\")");
    world.runbook("outer", "/*---\ntitle = \"Outer\"\n---*/\nrun(\"slow\")");
    let mut outer = world.in_lab(["run", "outer"]).spawn();
    outer.wait_for("waits");
    outer.signal("INT");
    outer.end().ends_with(3);
    let mut resumed = world.in_lab(["runs", "resume"]).spawn();
    resumed.wait_for("of outer, goes on");
    resumed.signal("INT");
    resumed.end().ends_with(3);
}

/// What a script says of a time and what the command says of it are in one zone, which is named.
#[test]
fn times_on_a_screen_are_in_one_zone() {
    let world = Sealed::new();
    let text = "/*---\ntitle = \"Says when\"\n---*/\nnote(\"until 2026-11-20T13:05:00Z\"); wait(\"5m\")";
    world.runbook("when", text);
    let there = |args: &[&str]| world.in_lab(args).env("TZ", "XST-5").run().raw();
    let ran = there(&["run", "when"]);
    assert!(ran.contains("until 2026-11-20 18:05 XST"), "{ran}");
    let shown = there(&["runs", "show", "@last"]);
    assert!(shown.contains("until 2026-11-20 18:05 XST") && !shown.contains("Z)"), "{shown}");
    // What a program reads is what was recorded.
    assert!(there(&["runs", "show", "@last", "--json"]).contains("until 2026-11-20T13:05:00Z"));
}

#[test]
fn a_lab_that_is_in_use_is_nothing_to_mend() {
    let world = Sealed::new();
    let mut serving = world.in_lab(["serve"]).spawn();
    serving.wait_for("serving the runs");
    let doctor = world.relight(["doctor", "--lab"]).run().succeeds();
    assert!(doctor.contains("ok    lab        another process runs it"), "{doctor}");
    serving.signal("INT");
    serving.end().succeeds();
}

#[test]
fn a_certificate_bundle_counts_for_the_public_cloud_too() {
    let world = Sealed::new();
    let doctor =
        world.relight(["doctor"]).env("RELIGHT_CLOUD_CA_BUNDLE", world.path("none.pem")).run().to_string();
    assert!(doctor.contains("fail  cloud      failed to read the certificates"), "{doctor}");
}

#[test]
fn doctor_says_what_is_missing_and_what_to_do() {
    let world = Sealed::new();
    let doctor = world.relight(["doctor"]).env("AZURE_CLIENT_SECRET", "canary-of-the-doctor").run();
    let text = doctor.to_string();
    assert!(!text.contains("canary"), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("ok    clock")).collect();
    assert_snapshot!(lines.join("\n"), @r"
    ok    state      [dir]/state
    ok    journal    [dir]/state/relight.db
    ok    leases     nothing is open
    ok    library    22 runbooks, all of them shipped; `relight new NAME` makes your own
    ok    cloud      AzureCloud at https://management.azure.com/
    fail  sign-in    AZURE_CLIENT_SECRET is set and AZURE_TENANT_ID and AZURE_CLIENT_ID are not
                     -> set AZURE_TENANT_ID and AZURE_CLIENT_ID, or unset AZURE_CLIENT_SECRET to sign in another way
    --- exit 1
    ");
    let lab = world.relight(["doctor", "--lab"]).run().succeeds();
    assert!(lab.contains("ok    lab"), "{lab}");
}

#[test]
fn a_reader_that_goes_away_is_a_polite_end() {
    let world = Sealed::new();
    let command = format!("{} docs | head -n 1", env!("CARGO_BIN_EXE_relight"));
    let output =
        std::process::Command::new("/bin/sh").args(["-c", &command]).env("HOME", world.path("home")).output();
    assert_eq!(String::from_utf8_lossy(&output.unwrap().stderr), "");
}
