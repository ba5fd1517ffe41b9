//! `relight doctor MACHINE` in worlds with something wrong with them: it names the cause first, and what it says mends it.
//!
//! Each world is looked at by the real command. What it says to do is pasted into a shell, or done by whoever may: an
//! administrator, or somebody at the machine. Then it is looked at again, until the road is open.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use relight_lab::Guest;
use relight_stdlib::Ref;
use relight_stdlib::doctor::{Patient, Verdict};
use relight_stdlib::ssh::KnownHosts;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::support::stage::{Ended, Stage, ended};
use crate::support::world::{World, azure, runbook};

/// How many worlds are looked at at once.
const AT_ONCE: usize = 4;
/// How fast time passes in them.
const SPEED: u32 = 300;
/// How long somebody waits for what takes its time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who does what the doctor says.
#[derive(Clone, Copy, PartialEq)]
enum Mend {
    /// The command, pasted into a shell.
    Pasted,
    /// Somebody who may: in a lab, whoever switched the fault on.
    ByOthers,
    /// Time.
    Waiting,
    /// Nobody: it stays as it is.
    Nobody,
}

use Mend::{ByOthers, Nobody, Pasted, Waiting};

/// A world with something wrong with it.
struct Broken {
    name: &'static str,
    machine: &'static str,
    options: &'static [&'static str],
    /// What happened before.
    before: &'static str,
    /// What is wrong from then on, in the order in which it is found: faults of the lab, and `secret` for a wrong one,
    /// `guest` for a machine on which nothing listens, `before` when all is so from the beginning, `slowly` when time is.
    faults: &'static [&'static str],
    road: &'static str,
    /// The causes in the order in which they are found, and who mends each.
    causes: &'static [(&'static str, Mend)],
    /// How the road stands at the end.
    ends: &'static str,
}

/// The Linux machine, which lets nobody in yet.
const APP: Broken = Broken {
    name: "",
    machine: "app-01",
    options: &["--group", "rg-apps"],
    before: "",
    faults: &[],
    road: "ssh",
    causes: &[],
    ends: "ok",
};
/// A Windows machine of the configured group.
const DB: Broken = Broken { machine: "db-01", options: &[], ..APP };
/// A VM in Azure, with SSH open.
const CLOUD: Broken = Broken { machine: "jump-01", options: &["--group", "rg-cloud"], ..APP };
/// The console of a VM that does not boot.
const CONSOLE: Broken = Broken { machine: "web-01", options: &[], road: "vm_connect", ..APP };

const REGISTERED: &str = r#"arm::register("Microsoft.HybridConnectivity");"#;
const LET_IN: &str = r#"
    let app = arc::machine("app-01", #{ group: "rg-apps" });
    arm::register("Microsoft.HybridConnectivity");
    arc::endpoint_create(app); arc::service_configure(app);
    wait("3m");"#;
const KNOWN: &str = r#"
    let app = arc::machine("app-01", #{ group: "rg-apps" });
    arm::register("Microsoft.HybridConnectivity");
    arc::endpoint_create(app); arc::service_configure(app);
    ssh::trust(app, [ssh::host_key(app).key]);"#;
const DB_LET_IN: &str = r#"
    arm::register("Microsoft.HybridConnectivity");
    arc::endpoint_create("db-01"); arc::service_configure("db-01");
    wait("3m");"#;

const CONNECT: &str = "denied=Microsoft.HybridConnectivity/endpoints/listCredentials/action";
const LETTING_IN: &str = "denied=Microsoft.HybridConnectivity/endpoints/*write";
const RUNNING: &str = "denied=Microsoft.HybridCompute/machines/runCommands/write";
const OPENING: &str = "denied=Microsoft.AzureStackHCI/clusters/jobs/write";
const NOT_OFFERED: &str = "old-api=2026-10-01";

const WORLDS: &[Broken] = &[
    // ---- SSH through Arc: one thing
    Broken { name: "nobody was let in", causes: &[("provider", Pasted), ("host key", Pasted)], ..APP },
    Broken {
        name: "no endpoint",
        before: REGISTERED,
        causes: &[("endpoint", Pasted), ("host key", Pasted)],
        ..APP
    },
    Broken {
        name: "no service",
        before: r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            arm::register("Microsoft.HybridConnectivity"); arc::endpoint_create(app);"#,
        causes: &[("service", Pasted), ("host key", Pasted)],
        ..APP
    },
    Broken {
        name: "another port",
        options: &["--group", "rg-apps", "--port", "22"],
        before: r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create(app); arc::service_configure(app, #{ port: 2222 }); wait("3m");"#,
        causes: &[("service", Pasted), ("host key", Pasted)],
        ..APP
    },
    Broken { name: "host key unknown", before: LET_IN, causes: &[("host key", Pasted)], ..APP },
    Broken {
        name: "host key changed",
        before: KNOWN,
        faults: &["host-key-changed=app-01"],
        causes: &[("host key", Pasted)],
        ..APP
    },
    Broken {
        name: "agent offline",
        before: KNOWN,
        faults: &["agent-offline=app-01"],
        causes: &[("agent", ByOthers)],
        ..APP
    },
    Broken {
        name: "an agent with a list of its own",
        before: KNOWN,
        faults: &["old-agent=app-01"],
        causes: &[("relay", ByOthers)],
        ..APP
    },
    Broken {
        name: "credentials that are over",
        before: KNOWN,
        faults: &["credentials-expire=1000"],
        causes: &[("relay", ByOthers)],
        ..APP
    },
    Broken {
        name: "no right to connect",
        before: KNOWN,
        faults: &[CONNECT],
        causes: &[("right to connect", ByOthers)],
        ..APP
    },
    Broken {
        name: "nothing listens on the machine",
        before: KNOWN,
        faults: &["guest"],
        causes: &[("SSH server", Nobody)],
        ends: "blocked",
        ..APP
    },
    Broken {
        name: "no SSH server on Windows",
        before: DB_LET_IN,
        causes: &[("extension", Pasted), ("host key", Pasted)],
        ..DB
    },
    Broken {
        name: "an SSH server that failed to install",
        before: r#"
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create("db-01"); arc::service_configure("db-01"); wait("3m");
            try { arc::extension_install("db-01", "Microsoft.Azure.OpenSSH", "WindowsOpenSSH") } catch (e) {}"#,
        faults: &["before", "extension-fails"],
        causes: &[("extension", Nobody)],
        ends: "blocked",
        ..DB
    },
    Broken {
        name: "no such machine",
        machine: "db-1",
        causes: &[("machine", Nobody)],
        ends: "blocked",
        ..DB
    },
    Broken { name: "all well", before: KNOWN, ..APP },
    Broken {
        name: "the machine may not be read",
        before: KNOWN,
        faults: &["denied=Microsoft.HybridCompute/machines/read"],
        ..APP
    },
    Broken {
        name: "nobody says what may be done",
        before: KNOWN,
        faults: &["denied=Microsoft.Authorization/permissions/read"],
        ..APP
    },
    Broken {
        name: "what is let in may not be read",
        before: KNOWN,
        faults: &["denied=Microsoft.HybridConnectivity/*read"],
        ..APP
    },
    Broken { name: "Azure flaps", before: KNOWN, faults: &["flaps"], ..APP },
    Broken {
        name: "no right to let in",
        before: REGISTERED,
        faults: &[LETTING_IN],
        causes: &[("endpoint", ByOthers), ("endpoint", Pasted), ("host key", Pasted)],
        ..APP
    },
    Broken {
        name: "nothing but reading",
        before: KNOWN,
        faults: &["role-missing"],
        causes: &[("right to connect", ByOthers)],
        ..APP
    },
    Broken {
        name: "the wrong secret",
        before: KNOWN,
        faults: &["secret"],
        causes: &[("sign-in", ByOthers)],
        ..APP
    },
    Broken {
        name: "the listener is late",
        before: r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create(app); arc::service_configure(app);"#,
        faults: &["slowly", "before", "listener-late"],
        causes: &[("relay", Waiting), ("host key", Pasted)],
        ..APP
    },
    // ---- run command
    Broken {
        name: "no right to run",
        road: "run_command",
        faults: &[RUNNING],
        causes: &[("right to run commands", ByOthers)],
        ..APP
    },
    Broken {
        name: "no right to clean up",
        road: "run_command",
        faults: &["denied=Microsoft.HybridCompute/machines/runCommands/delete@rg-apps"],
        causes: &[("right to run commands", ByOthers)],
        ..APP
    },
    Broken {
        name: "no agent to run it",
        road: "run_command",
        faults: &["agent-offline=db-01"],
        causes: &[("agent", ByOthers)],
        ..DB
    },
    Broken {
        name: "nobody says what may be run",
        road: "run_command",
        faults: &["denied=*/permissions/read"],
        ends: "unknown",
        ..DB
    },
    // ---- VM Connect
    Broken { name: "a console that can be opened", ..CONSOLE },
    Broken {
        name: "a release without consoles",
        machine: "pos-01",
        causes: &[("instance", Nobody)],
        ends: "blocked",
        ..CONSOLE
    },
    Broken {
        name: "no right to open",
        faults: &[OPENING],
        causes: &[("right to open", ByOthers)],
        ..CONSOLE
    },
    Broken {
        name: "a region without VM Connect",
        faults: &[NOT_OFFERED],
        causes: &[("VM Connect", ByOthers)],
        ..CONSOLE
    },
    Broken {
        name: "a node out of touch",
        faults: &["agent-offline=hq-node2"],
        causes: &[("node", ByOthers)],
        ..CONSOLE
    },
    Broken { name: "a VM that is off", machine: "file-01", causes: &[("power", Pasted)], ..CONSOLE },
    Broken {
        name: "instances that may not be read",
        faults: &["denied=Microsoft.AzureStackHCI/clusters/read"],
        ends: "unknown",
        ..CONSOLE
    },
    Broken {
        name: "a VM that may not be read",
        faults: &["denied=Microsoft.AzureStackHCI/virtualMachineInstances/read"],
        ends: "unknown",
        ..CONSOLE
    },
    Broken {
        name: "jobs that may not be read",
        faults: &["denied=Microsoft.AzureStackHCI/clusters/jobs/read"],
        ends: "unknown",
        ..CONSOLE
    },
    // ---- VMs in Azure
    Broken { name: "a VM in Azure that nobody knows", causes: &[("host key", Pasted)], ..CLOUD },
    Broken {
        name: "a rule that shuts the port",
        machine: "api-01",
        causes: &[("rules", Pasted), ("host key", Pasted)],
        ..CLOUD
    },
    Broken {
        name: "a VM in Azure that is off",
        machine: "batch-01",
        causes: &[("power", Pasted), ("host key", Pasted)],
        ..CLOUD
    },
    Broken {
        name: "no public address",
        machine: "inner-01",
        causes: &[("port", Nobody)],
        ends: "blocked",
        ..CLOUD
    },
    Broken {
        name: "an SSH server in Azure that is down",
        faults: &["sshd-down=jump-01"],
        causes: &[("SSH server", ByOthers), ("host key", Pasted)],
        ..CLOUD
    },
    Broken {
        name: "no SSH server on Windows in Azure",
        machine: "sql-01",
        causes: &[("rules", Pasted), ("SSH server", Pasted), ("host key", Pasted)],
        ..CLOUD
    },
    Broken {
        name: "whoever manages all networks says no",
        faults: &["port-blocked=jump-01"],
        causes: &[("port", ByOthers), ("host key", Pasted)],
        ..CLOUD
    },
    Broken {
        name: "addresses that may not be read",
        faults: &["denied=Microsoft.Network/*/read"],
        ends: "unknown",
        ..CLOUD
    },
    Broken {
        name: "no right to run on a VM in Azure",
        road: "run_command",
        faults: &["denied=Microsoft.Compute/virtualMachines/runCommands/write"],
        causes: &[("right to run commands", ByOthers)],
        ..CLOUD
    },
    Broken {
        name: "no serial log",
        machine: "batch-01",
        road: "serial_log",
        causes: &[("diagnostics", Nobody)],
        ends: "blocked",
        ..CLOUD
    },
    Broken {
        name: "no right to the serial log",
        road: "serial_log",
        faults: &["denied=Microsoft.Compute/virtualMachines/retrieveBootDiagnosticsData/action"],
        causes: &[("right to the log", ByOthers)],
        ..CLOUD
    },
    // ---- two things
    Broken {
        name: "a rule that shuts the port, and an SSH server that is down",
        machine: "api-01",
        faults: &["sshd-down=api-01"],
        causes: &[("rules", Pasted), ("SSH server", ByOthers), ("host key", Pasted)],
        ..CLOUD
    },
    Broken {
        name: "off in Azure, and no right to run",
        machine: "batch-01",
        road: "run_command",
        faults: &["denied=Microsoft.Compute/virtualMachines/runCommands/write"],
        causes: &[("power", Pasted), ("right to run commands", ByOthers)],
        ..CLOUD
    },
    Broken {
        name: "off, and nobody was let in",
        machine: "file-01",
        causes: &[("power", Pasted), ("provider", Pasted), ("extension", Pasted), ("host key", Pasted)],
        ..DB
    },
    Broken {
        name: "agent offline, and nobody was let in",
        faults: &["agent-offline=app-01"],
        causes: &[("agent", ByOthers), ("provider", Pasted), ("host key", Pasted)],
        ..APP
    },
    Broken {
        name: "no right to connect, and no endpoint",
        before: REGISTERED,
        faults: &[CONNECT],
        causes: &[("right to connect", ByOthers), ("endpoint", Pasted), ("host key", Pasted)],
        ..APP
    },
    Broken {
        name: "agent offline, and another host key",
        before: KNOWN,
        faults: &["agent-offline=app-01", "host-key-changed=app-01"],
        causes: &[("agent", ByOthers), ("host key", Pasted)],
        ..APP
    },
    Broken {
        name: "no right to let in, and another port",
        options: &["--group", "rg-apps", "--port", "22"],
        before: r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create(app); arc::service_configure(app, #{ port: 2222 }); wait("3m");"#,
        faults: &["denied=*/serviceConfigurations/write"],
        causes: &[("service", ByOthers), ("service", Pasted), ("host key", Pasted)],
        ..APP
    },
    Broken {
        name: "off, and no right to run",
        machine: "file-01",
        road: "run_command",
        faults: &[RUNNING],
        causes: &[("power", Pasted), ("right to run commands", ByOthers)],
        ..DB
    },
    Broken {
        name: "a region without VM Connect, and no right to open",
        faults: &[NOT_OFFERED, OPENING],
        causes: &[("VM Connect", ByOthers), ("right to open", ByOthers)],
        ..CONSOLE
    },
    Broken {
        name: "a node out of touch, and no right to open",
        faults: &["agent-offline=hq-node2", OPENING],
        causes: &[("node", ByOthers), ("right to open", ByOthers)],
        ..CONSOLE
    },
    Broken {
        name: "off, on an instance without consoles",
        machine: "file-01",
        faults: &[NOT_OFFERED],
        causes: &[("power", Pasted), ("VM Connect", ByOthers)],
        ..CONSOLE
    },
    Broken {
        name: "the wrong secret, and the agent offline",
        before: KNOWN,
        faults: &["secret", "agent-offline=app-01"],
        causes: &[("sign-in", ByOthers), ("agent", ByOthers)],
        ..APP
    },
];

/// A world on its stage.
struct Scene<'a> {
    stage: &'a Stage,
    broken: &'a Broken,
    /// Whether somebody signs in with the wrong secret.
    is_wrong: bool,
}

impl Scene<'_> {
    /// Calls the doctor.
    fn doctor(&self) -> Ended {
        let mut args = vec!["doctor", self.broken.machine, "--json"];
        args.extend(self.broken.options);
        let mut command = self.stage.command(&args);
        if self.is_wrong {
            let card = std::fs::read_to_string(self.stage.sealed.path("lab.json")).expect("a card");
            let mut card: Value = serde_json::from_str(&card).expect("JSON");
            card["descriptor"]["client_secret"] = "wrong".into();
            let wrong = self.stage.sealed.write("wrong.json", &card.to_string());
            command = Command::new(env!("CARGO_BIN_EXE_relight"));
            command
                .args(args)
                .arg(format!("--lab={}", wrong.display()))
                .current_dir(self.stage.sealed.work())
                .env_clear()
                .env("HOME", self.stage.sealed.path("home"))
                .env("RELIGHT_STATE", self.stage.sealed.path("state"))
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped());
        }
        ended(command.spawn().expect("relight starts"))
    }

    /// Looks at the road. Returns how it stands, the first check that is in the way, and the command that mends it.
    fn look(&self) -> Result<(String, Option<String>, Option<String>), String> {
        let ended = self.doctor();
        let said: Value = serde_json::from_str(&ended.out).map_err(|e| format!("{e}: {ended:?}"))?;
        let roads = said["roads"].as_array().ok_or_else(|| format!("no roads: {said}"))?;
        let road = roads.iter().find(|road| road["name"] == self.broken.road);
        let road = road.ok_or_else(|| format!("no such road: {said:#}"))?;
        let verdict = road["verdict"].as_str().unwrap_or_default().to_owned();
        let expected = i32::from(roads.iter().any(|road| road["verdict"] == "blocked"));
        if ended.code != Some(expected) {
            return Err(format!("it ended with {:?}, and not with {expected}: {said:#}", ended.code));
        }
        let checks = road["checks"].as_array().expect("checks");
        let first = checks.iter().find(|check| check["verdict"] == verdict.as_str());
        let cause = first.and_then(|check| check["name"].as_str()).filter(|_| verdict != "ok");
        let command = road["next"]["command"].as_str();
        Ok((verdict, cause.map(str::to_owned), command.map(str::to_owned)))
    }

    fn paste(&self, command: &str) -> Result<(), String> {
        let relight = std::path::Path::new(env!("CARGO_BIN_EXE_relight")).parent().expect("a folder");
        let mut shell = self.stage.command(&[]);
        let vars: Vec<_> =
            shell.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        shell = Command::new("/bin/sh");
        shell
            .args(["-c", command])
            .current_dir(self.stage.sealed.work())
            .env_clear()
            .envs(vars)
            .env("PATH", format!("{}:/usr/bin:/bin", relight.display()))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let pasted = ended(shell.spawn().expect("a shell"));
        match pasted.code {
            Some(0) => Ok(()),
            _ => Err(format!("`{command}` does not work: {pasted:#?}")),
        }
    }

    /// Looks again until a change has come to be seen.
    fn settled(&self, expected: Option<&str>) -> Result<(String, Option<String>, Option<String>), String> {
        let began = Instant::now();
        loop {
            let found = self.look()?;
            if found.1.as_deref() == expected || began.elapsed() > PATIENCE {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Looks at a world until its road is open. Returns a line of the table, and what is wrong.
async fn play(broken: &Broken) -> (String, Vec<String>) {
    let is = |word: &str| broken.faults.contains(&word);
    let words = ["before", "secret", "guest", "slowly"];
    let mut faults: VecDeque<&str> =
        broken.faults.iter().copied().filter(|fault| !words.contains(fault)).collect();
    let stage = Stage::new(if is("slowly") { SPEED / 5 } else { SPEED }).await;
    tokio::task::block_in_place(|| {
        let inject = |faults: &VecDeque<&str>| {
            faults.iter().for_each(|fault| stage.lab.inject(fault.parse().expect("a fault")));
        };
        if is("before") {
            inject(&faults);
        }
        if !broken.before.is_empty() {
            let text = runbook(&["azure:write", "net:probe", "ssh"], broken.before);
            let file = stage.sealed.write("work/before.rhai", &text);
            let before = stage.relight(&["run", &file.to_string_lossy()]);
            assert_eq!(before.code, Some(0), "{}: {before:?}", broken.name);
        }
        if !is("before") {
            inject(&faults);
        }
        if is("guest") {
            let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let at = closed.local_addr().expect("an address");
            stage.lab.serve_guest(Guest { machine: broken.machine.to_owned(), port: 22, at });
        }
        let mut scene = Scene { stage: &stage, broken, is_wrong: is("secret") };
        let (mut line, mut wrong) = (format!("{}:", broken.name), Vec::new());
        for (cause, mend) in broken.causes {
            let found = match scene.settled(Some(cause)) {
                Ok(found) => found,
                Err(error) => return (line, vec![error]),
            };
            if found.1.as_deref() != Some(cause) {
                wrong.push(format!("expected {cause}, got {found:?}"));
                return (line, wrong);
            }
            line.push_str(&format!(" {cause}"));
            match (mend, &found.2) {
                (Pasted, Some(command)) => {
                    // Programs sign in without saying from where they come: whoever pastes it does.
                    if let Err(error) = scene.paste(&command.replace("=ADDRESS", "=127.0.0.1")) {
                        wrong.push(error);
                        return (line, wrong);
                    }
                    let words: Vec<&str> = command.split(' ').take(3).collect();
                    line.push_str(&format!(" [{}],", words.join(" ")));
                }
                (Pasted, None) => wrong.push(format!("{cause} names no command")),
                (ByOthers, command) => {
                    let role = command.as_deref().and_then(|it| it.split('"').nth(1));
                    line.push_str(&role.map_or(" [others],".to_owned(), |role| format!(" [{role}],")));
                    match std::mem::take(&mut scene.is_wrong) {
                        true => {}
                        false => drop(faults.pop_front()),
                    }
                    stage.lab.clear_faults();
                    inject(&faults);
                }
                (Waiting, _) => line.push_str(" [time],"),
                (Nobody, _) => line.push_str(" [stays],"),
            }
        }
        let last = broken.causes.last().filter(|(_, mend)| *mend == Nobody).map(|(cause, _)| *cause);
        match scene.settled(last.filter(|_| broken.ends == "blocked")) {
            Ok((verdict, cause, _)) => {
                if verdict != broken.ends {
                    wrong.push(format!("expected {} at the end, got {verdict}: {cause:?}", broken.ends));
                }
                line.push_str(&format!(" {verdict}"));
                line.push_str(
                    &cause.filter(|_| last.is_none()).map(|it| format!(" ({it})")).unwrap_or_default(),
                );
            }
            Err(error) => wrong.push(error),
        }
        let complaints = stage.complaints();
        wrong.extend(complaints.into_iter().map(|it| format!("the lab complains: {it}")));
        (line, wrong)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn the_cause_is_named_first_and_what_is_said_mends_it() {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let all: Vec<_> = WORLDS
        .iter()
        .map(|broken| {
            let slots = slots.clone();
            tokio::spawn(async move {
                let _slot = slots.acquire_owned().await;
                play(broken).await
            })
        })
        .collect();
    let (mut lines, mut offenders) = (Vec::new(), Vec::new());
    for (played, broken) in all.into_iter().zip(WORLDS) {
        let (line, wrong) = played.await.expect("a world is played");
        offenders.extend(wrong.into_iter().map(|wrong| format!("{}: {wrong}", broken.name)));
        lines.push(line);
    }
    println!("doctor: {} worlds\n{}", lines.len(), lines.join("\n"));
    assert!(offenders.is_empty(), "{} offenders:\n{}", offenders.len(), offenders.join("\n"));
    assert!(lines.len() >= 30);
    assert_snapshot!(lines.join("\n"), @r"
    nobody was let in: provider [relight run enable-arc-ssh], host key [relight run verify-host-keys], ok
    no endpoint: endpoint [relight run enable-arc-ssh], host key [relight run verify-host-keys], ok
    no service: service [relight run enable-arc-ssh], host key [relight run verify-host-keys], ok
    another port: service [relight run enable-arc-ssh], host key [relight run verify-host-keys], ok
    host key unknown: host key [relight run verify-host-keys], ok
    host key changed: host key [relight run verify-host-keys], ok
    agent offline: agent [others], ok
    an agent with a list of its own: relay [others], ok
    credentials that are over: relay [others], ok
    no right to connect: right to connect [Virtual Machine Local User Login], ok
    nothing listens on the machine: SSH server [stays], blocked
    no SSH server on Windows: extension [relight run enable-arc-ssh], host key [relight run verify-host-keys], ok
    an SSH server that failed to install: extension [stays], blocked
    no such machine: machine [stays], blocked
    all well: ok
    the machine may not be read: ok
    nobody says what may be done: ok
    what is let in may not be read: ok
    Azure flaps: ok
    no right to let in: endpoint [Contributor], endpoint [relight run enable-arc-ssh], host key [relight run verify-host-keys], ok
    nothing but reading: right to connect [Virtual Machine Local User Login], ok
    the wrong secret: sign-in [others], ok
    the listener is late: relay [time], host key [relight run verify-host-keys], ok
    no right to run: right to run commands [Azure Connected Machine Resource Administrator], ok
    no right to clean up: right to run commands [Azure Connected Machine Resource Administrator], ok
    no agent to run it: agent [others], ok
    nobody says what may be run: unknown (right to run commands)
    a console that can be opened: ok
    a release without consoles: instance [stays], blocked
    no right to open: right to open [Azure Stack HCI Administrator], ok
    a region without VM Connect: VM Connect [others], ok
    a node out of touch: node [others], ok
    a VM that is off: power [relight run restart-vm], ok
    instances that may not be read: unknown (instance)
    a VM that may not be read: unknown (power)
    jobs that may not be read: unknown (VM Connect)
    a VM in Azure that nobody knows: host key [relight run verify-host-keys], ok
    a rule that shuts the port: rules [relight run open-ssh-port], host key [relight run verify-host-keys], ok
    a VM in Azure that is off: power [relight run start-and-wait], host key [relight run verify-host-keys], ok
    no public address: port [stays], blocked
    an SSH server in Azure that is down: SSH server [others], host key [relight run verify-host-keys], ok
    no SSH server on Windows in Azure: rules [relight run open-ssh-port], SSH server [relight run enable-openssh], host key [relight run verify-host-keys], ok
    whoever manages all networks says no: port [others], host key [relight run verify-host-keys], ok
    addresses that may not be read: unknown (address)
    no right to run on a VM in Azure: right to run commands [Virtual Machine Contributor], ok
    no serial log: diagnostics [stays], blocked
    no right to the serial log: right to the log [Virtual Machine Contributor], ok
    a rule that shuts the port, and an SSH server that is down: rules [relight run open-ssh-port], SSH server [others], host key [relight run verify-host-keys], ok
    off in Azure, and no right to run: power [relight run start-and-wait], right to run commands [Virtual Machine Contributor], ok
    off, and nobody was let in: power [relight run restart-vm], provider [relight run enable-arc-ssh], extension [relight run enable-arc-ssh], host key [relight run verify-host-keys], ok
    agent offline, and nobody was let in: agent [others], provider [relight run enable-arc-ssh], host key [relight run verify-host-keys], ok
    no right to connect, and no endpoint: right to connect [Virtual Machine Local User Login], endpoint [relight run enable-arc-ssh], host key [relight run verify-host-keys], ok
    agent offline, and another host key: agent [others], host key [relight run verify-host-keys], ok
    no right to let in, and another port: service [Contributor], service [relight run enable-arc-ssh], host key [relight run verify-host-keys], ok
    off, and no right to run: power [relight run restart-vm], right to run commands [Azure Connected Machine Resource Administrator], ok
    a region without VM Connect, and no right to open: VM Connect [others], right to open [Azure Stack HCI Administrator], ok
    a node out of touch, and no right to open: node [others], right to open [Azure Stack HCI Administrator], ok
    off, on an instance without consoles: power [relight run restart-vm], VM Connect [others], ok
    the wrong secret, and the agent offline: sign-in [others], agent [others], ok
    ");
}

fn db() -> Ref {
    Ref::parse("db-01").expect("a name")
}

fn patient(machine: &Ref) -> Patient<'_> {
    Patient { machine, group: None, port: None }
}

/// Nothing is written anywhere in Azure, and credentials are asked for once.
#[tokio::test]
async fn looking_changes_nothing() {
    let world = World::new().await;
    let before = world.lab.snapshot();
    let azure = azure(&world.lab.descriptor(), Arc::new(world.clock.clone()), KnownHosts::in_memory());
    let found = azure.diagnose(&patient(&db()), Duration::from_secs(15)).await.expect("a diagnosis");
    assert!(!found.is_open(), "{found:?}");
    assert_eq!(world.lab.snapshot(), before);
    let written: Vec<String> = world.lab.ledger().iter().map(|entry| entry.path.clone()).collect();
    assert!(written.iter().all(|path| path.ends_with("/listCredentials")), "{written:?}");
    assert_eq!(written.len(), 1, "{written:?}");
}

/// Whoever does not answer is given up, and nobody is blamed for it but them.
#[tokio::test]
async fn who_does_not_answer_is_given_up() {
    let world = World::new().await;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let mut about = world.lab.descriptor();
    about.url = format!("https://{}", silent.local_addr().expect("an address"));
    let azure = azure(&about, Arc::new(world.clock.clone()), KnownHosts::in_memory());
    let found = azure.diagnose(&patient(&db()), Duration::from_millis(300)).await.expect("a diagnosis");
    for road in &found.roads {
        assert!(
            matches!(&road.verdict, Verdict::Blocked { why, .. } if why.contains("no token came within")),
            "{road:?}"
        );
        let others = road.checks.iter().skip(1);
        assert!(others.into_iter().all(|it| it.verdict == Verdict::Behind { cause: "sign-in" }), "{road:?}");
    }
}

/// As a runbook it mends one thing after the other, and asks before each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runbook_asks_before_it_mends() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        let asked = stage.relight(&["run", "troubleshoot-ssh", "machine=db-01"]);
        assert_eq!(asked.code, Some(3), "{asked:?}");
        assert!(asked.err.contains("Run enable-arc-ssh for it?"), "{asked:?}");
        assert!(stage.lab.ledger().iter().all(|entry| !entry.effect), "nothing was changed");
        let run = stage.newest("troubleshoot-ssh").expect("a run")["id"].as_str().expect("an id").to_owned();
        let refused = stage.relight(&["runs", "answer", &run, "no"]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains("Nothing more was changed"), "{refused:?}");

        let mended = stage.relight(&["run", "troubleshoot-ssh", "machine=db-01", "--yes"]);
        assert_eq!(mended.code, Some(0), "{mended:?}");
        let value: Value = serde_json::from_str(&mended.out).unwrap_or_else(|e| panic!("{e}: {mended:?}"));
        let runbooks = serde_json::json!(["enable-arc-ssh", "enable-arc-ssh", "verify-host-keys"]);
        assert_eq!((&value["verdict"], &value["mended"]), (&"ok".into(), &runbooks));
    });
}
