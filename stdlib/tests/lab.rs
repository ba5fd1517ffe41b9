//! Every operation against the lab: the examples, and the console of a VM under every fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Park, RunEnd};
use relight_engine::journal::{MemoryJournal, OwnerId};
use relight_engine::{
    Driven, Engine, ErrorKind, Failure, Hint, Library, NextStep, Notice, RunId, RunRequest, Secret,
    SecretSource, recorded,
};
use relight_lab::{Lab, LabConfig};
use relight_stdlib::azure::{Arm, Cloud, Credential};
use relight_stdlib::ssh::KnownHosts;
use relight_stdlib::{Azure, Dialer, Here};
use serde_json::{Value, json};

/// The examples schedule it.
const DISABLE: &str = include_str!("../../runbooks/disable-vm-connect.rhai");

/// A lab, an engine and a clock that whoever waits moves forward.
struct World {
    lab: Lab,
    azure: Azure,
    clock: SteppedClock,
    journal: Arc<MemoryJournal>,
    engine: Engine,
    folder: tempfile::TempDir,
}

impl World {
    async fn with(faults: &[&str]) -> Self {
        let clock = SteppedClock::jumping("2026-11-20T10:00:00Z".parse().expect("a time"));
        let now = clock.clone();
        let mut config = LabConfig::new(Arc::new(move || now.now()));
        config.faults = faults.iter().map(|fault| fault.parse().expect("a fault")).collect();
        let lab = Lab::start(config).await.expect("the lab starts");
        let lab_is = lab.descriptor();
        let url: String = lab_is.url;
        let mut cloud = Cloud::public().with_ca_bundle(lab_is.ca_pem.into_bytes());
        cloud.arm = url.parse().expect("an address");
        cloud.login = cloud.arm.clone();
        let credential = Credential::ClientSecret {
            tenant: lab_is.tenant,
            client_id: lab_is.client_id,
            secret: Secret::new(lab_is.client_secret),
        };
        let arm =
            Arm::builder(cloud, credential).clock(Arc::new(clock.clone())).build().expect("a connection");
        let azure = Azure {
            arm,
            subscription: Some(lab_is.subscription),
            group: Some(lab_is.resource_group),
            dial: Dialer::direct(),
            known_hosts: KnownHosts::in_memory(),
            here: Here { proxy: Some("relight proxy".to_owned()), viewer: None },
        };
        let journal = Arc::new(MemoryJournal::new());
        let engine = process(&azure, &clock, &journal, |_| {});
        World { lab, azure, clock, journal, engine, folder: tempfile::tempdir().expect("a folder") }
    }

    async fn prepare(&self, script: &str) -> RunId {
        let front = "title = \"test\"\neffects = [\"azure:write\", \"net:probe\", \"net:forward\", \"file:write\", \"ssh\", \"screen\", \"secret\"]";
        let mut request = RunRequest::new("test").text(format!("/*---\n{front}\n---*/\n{script}\n"));
        request.workdir = self.folder.path().to_owned();
        self.engine.prepare(&request).await.expect("a sound script")
    }

    async fn run(&self, script: &str) -> Driven {
        let run = self.prepare(script).await;
        self.engine.drive(&run, Duration::from_secs(1_000_000)).await.expect("a run")
    }

    async fn value(&self, script: &str) -> Value {
        match self.run(script).await {
            Driven::Ended(RunEnd::Succeeded { value }) => value,
            other => panic!("{other:?}"),
        }
    }

    async fn open_leases(&self) -> usize {
        self.engine.journal().leases().await.expect("a journal").len()
    }

    /// Returns how often each request took effect, by method and the end of its path.
    fn effects(&self) -> BTreeMap<String, usize> {
        let mut effects = BTreeMap::new();
        for entry in self.lab.ledger().into_iter().filter(|entry| entry.effect) {
            *effects.entry(format!("{} {}", entry.method, entry.path)).or_default() += 1;
        }
        effects
    }

    /// Returns what the lab holds against us: impolite requests, and effects that happened twice.
    fn complaints(&self) -> Vec<String> {
        let twice = self.effects().into_iter().filter(|(_, count)| *count > 1);
        self.lab
            .violations()
            .into_iter()
            .chain(twice.map(|(what, count)| format!("{count} times {what}")))
            .collect()
    }
}

/// The password on the machines of the lab.
struct OfGuests;

#[async_trait::async_trait]
impl SecretSource for OfGuests {
    async fn reveal(&self, _: &str) -> relight_engine::Result<Secret> {
        Ok(Secret::new(relight_lab::GUEST_PASSWORD))
    }
}

/// Makes what one process would have: an engine with an owner of its own, to whom everybody else is gone.
fn process(
    azure: &Azure,
    clock: &SteppedClock,
    journal: &Arc<MemoryJournal>,
    observe: impl Fn(&Notice) + Send + Sync + 'static,
) -> Engine {
    Engine::builder()
        .operations(relight_stdlib::all(azure))
        .library(Library::new().ship("disable-vm-connect", DISABLE))
        .clock(Arc::new(clock.clone()))
        .journal(journal.clone())
        .observer(Arc::new(observe))
        .owner(OwnerId::fresh(), Arc::new(|_| true))
        .secrets(Arc::new(OfGuests))
        .build()
        .expect("an engine")
}

fn hints(failure: &Failure) -> String {
    failure.hints.iter().map(Hint::to_string).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_gives_what_it_says() {
    let operations = relight_stdlib::all(&World::with(&[]).await.azure);
    let mut problems = Vec::new();
    for operation in &operations {
        for example in &operation.declaration.examples {
            let world = World::with(&[]).await;
            let got = world.run(example.script).await;
            let given = match &got {
                Driven::Ended(RunEnd::Succeeded { value }) => Some(recorded::plain(value)),
                _ => None,
            };
            if given != example.gives || !world.complaints().is_empty() {
                let name = operation.declaration.name;
                problems.push(format!(
                    "{name}: {}\n  gave {got:?}\n  {:?}",
                    example.title,
                    world.complaints()
                ));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The whole life of a console.
const CONSOLE: &str = r#"
    let vm = local::vm("web-01");
    let console = vmconnect::enable(vm);
    let address = net::first_reachable(console.addresses, console.port, #{ wait: "2m" });
    rdp::write("web-01.rdp", console, #{ address: address });
    let closed = vmconnect::disable(console);
    #{ opened: console.host, closed: closed.hosts, reached: address == rdp::read("web-01.rdp").address }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_console_is_opened_and_closed_once_whatever_happens() {
    let here = json!({ "closed": ["hq-node2"], "opened": "hq-node2", "reached": true });
    let moved = json!({ "closed": ["hq-node3"], "opened": "hq-node3", "reached": true });
    let mut problems = Vec::new();
    for (fault, wanted) in [
        ("flaps", &here),
        ("never-ends", &here),
        ("status-gone", &here),
        ("succeeded-but-updating", &here),
        ("other-spelling", &here),
        ("host-moves", &moved),
        ("wrong-address", &here),
        ("token-expires", &here),
        ("cae-challenge", &here),
        ("old-api", &here),
        ("garbage=3,html", &here),
        ("garbage=5,truncated", &here),
        ("garbage=9,null", &here),
        ("garbage=12,html", &here),
        ("long-poll-url", &here),
        ("conflict=30", &here),
        ("reply-lost=1", &here),
        ("reply-lost=2", &here),
        ("reset-before=1", &here),
        ("reset-before=2", &here),
        ("throttled=3", &here),
        ("throttled=2,no-header", &here),
        ("throttled=2,writes", &here),
    ] {
        let world = World::with(&[fault]).await;
        let got = world.run(CONSOLE).await;
        let ended = Driven::Ended(RunEnd::Succeeded { value: wanted.clone() });
        let leases = world.open_leases().await;
        if got != ended || leases > 0 || !world.complaints().is_empty() {
            problems.push(format!("{fault}: {got:?}\n  {leases} leases left; {:?}", world.complaints()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_person_waits_for_one() {
    let world = World::with(&["role-missing"]).await;
    match world.run(CONSOLE).await {
        Driven::Parked(Park::Denied { failure }, None) => {
            assert!(hints(&failure).contains("Azure Stack HCI Administrator"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(world.effects().is_empty());
    for fault in ["slow", "stuck"] {
        let world = World::with(&[fault]).await;
        assert!(matches!(world.run(CONSOLE).await, Driven::Parked(Park::Exhausted { .. }, None)), "{fault}");
        assert_eq!(
            world.open_leases().await,
            1,
            "{fault}: the duty to close is there before the port is open"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_to_do_next() {
    for (faults, script, part, hint) in [
        (vec!["job-fails"], CONSOLE, "firewall rule", "Check the Windows Defender Firewall"),
        (vec!["old-api=2023-01-01"], CONSOLE, "offered: 2023-01-01", "preview"),
        (vec!["host-unreachable"], CONSOLE, "answers on no address", "rdp::set_address"),
        (vec![], r#"vmconnect::enable("file-01")"#, "no console to show", "local::start"),
        (vec![], r#"vmconnect::enable("pos-01")"#, "VM Connect came with 2601", "solution update"),
        (vec![], r#"vmconnect::enable("web-01", #{ cluster: "branch" })"#, "release 2411", "solution update"),
        (vec![], r#"local::vm("app-01")"#, "no VM `app-01` in resource group `rg-edge`", "rg-apps"),
        (vec![], r#"local::vm("web-1")"#, "no VM `web-1`", "did you mean web-01"),
        (vec![], r#"local::vm("hq-node1")"#, "is an Arc machine", ""),
        (vec![], r#"local::cluster("hqq")"#, "no Azure Local instance `hqq`", "did you mean hq"),
        (vec![], r#"local::restart("file-01")"#, "is off", "local::start"),
        (vec!["extension-fails"], EXTENSION, "exited with code 1603", "azcmagent logs"),
        (vec!["extension-fails", "never-ends"], EXTENSION, "exited with code 1603", "azcmagent logs"),
        (vec!["extension-fails", "reply-lost"], EXTENSION, "exited with code 1603", "azcmagent logs"),
        (vec![], r#"arc::extension_install("web-01", "P", "T")"#, "is Disconnected since", "azcmagent show"),
        (vec![], r#"arc::extension_status("db-01", "nope")"#, "has no extension `nope`", ""),
        (vec![], r#"arc::machine("hq-node9")"#, "no Arc machine `hq-node9`", "did you mean hq-node1"),
    ] {
        let world = World::with(&faults).await;
        match world.run(script).await {
            Driven::Ended(RunEnd::Failed { failure, .. }) => {
                assert!(failure.message.contains(part), "{script}: {failure:?}");
                assert!(hints(&failure).contains(hint), "{script}: {failure:?}");
            }
            other => panic!("{faults:?} {script}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn older_jobs_are_cleared_even_when_an_answer_is_lost() {
    for fault in ["reply-lost=2", "flaps", "throttled=2,writes"] {
        let world = World::with(&[fault]).await;
        let script =
            r#"vmconnect::enable("web-01"); vmconnect::enable("web-01"); vmconnect::disable("web-01").hosts"#;
        assert_eq!(world.value(script).await, json!(["hq-node2"]), "{fault}");
        let deletes = world.effects().keys().filter(|what| what.starts_with("DELETE")).count();
        assert_eq!((deletes, world.open_leases().await), (1, 0), "{fault}");
        assert!(world.complaints().is_empty(), "{fault}: {:?}", world.complaints());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_give_back_at_once_do_not_leave_the_door_open() {
    for _ in 0..10 {
        let world = World::with(&[]).await;
        world.value(r#"vmconnect::enable("db-01"); vmconnect::enable("lin-02"); 0"#).await;
        assert_eq!(world.open_leases().await, 2);
        let close = |vm: &str| format!("vmconnect::disable(\"{vm}\").closed");
        let (one, other) = (close("db-01"), close("lin-02"));
        let closed = tokio::join!(world.value(&one), world.value(&other));
        assert!(closed.0 == json!(true) || closed.1 == json!(true), "{closed:?}");
        assert_eq!(world.open_leases().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_change_whose_answer_is_lost_is_not_repeated() {
    for fault in [
        "reply-lost=1",
        "never-ends",
        "status-gone",
        "succeeded-but-updating",
        "location-only",
        "async-only",
        "flaps",
        "other-spelling",
    ] {
        let world = World::with(&[fault]).await;
        let script = r#"[local::start("file-01").power_state, local::stop("db-01").power_state, local::power_off("web-01").power_state]"#;
        assert_eq!(world.value(script).await, json!(["Running", "Stopped", "Stopped"]), "{fault}");
        assert!(world.complaints().is_empty(), "{fault}: {:?}", world.complaints());
    }
    let world = World::with(&["reply-lost"]).await;
    let parked = world.run(r#"local::restart("db-01")"#).await;
    assert!(matches!(parked, Driven::Parked(Park::Undecided { .. }, _)), "{parked:?}");
    let world = World::with(&["never-ends"]).await;
    assert_eq!(world.value(r#"local::restart("db-01").power_state"#).await, json!("Running"));
}

/// The whole life of an extension.
const EXTENSION: &str = r#"
    let settings = #{ port: 22 };
    let it = arc::extension_install("db-01", "Microsoft.Azure.OpenSSH", "WindowsOpenSSH", #{ version: "3.0", settings: settings });
    let seen = arc::extension_status(arc::machine("db-01"), it.name);
    #{ version: seen.version, removed: arc::extension_remove("db-01", it.name).changed }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_is_installed_and_removed_once_whatever_happens() {
    let wanted = json!({ "removed": true, "version": "3.0.1.0" });
    let mut problems = Vec::new();
    for fault in [
        "slow",
        "flaps",
        "never-ends",
        "status-gone",
        "succeeded-but-updating",
        "other-spelling",
        "token-expires",
        "cae-challenge",
        "garbage=3,html",
        "garbage=5,truncated",
        "garbage=8,null",
        "long-poll-url",
        "reply-lost=1",
        "reply-lost=2",
        "reset-before=1",
        "reset-before=2",
        "throttled=3",
        "throttled=2,writes",
    ] {
        let world = World::with(&[fault]).await;
        let got = world.run(EXTENSION).await;
        let ended = Driven::Ended(RunEnd::Succeeded { value: wanted.clone() });
        if got != ended || world.effects().len() != 2 || !world.complaints().is_empty() {
            problems.push(format!("{fault}: {got:?}\n  {:?} {:?}", world.effects(), world.complaints()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_is_left_alone_changed_or_waited_for() {
    let world = World::with(&[]).await;
    const MONITOR: &str = r#"arc::extension_install("db-01", "Microsoft.Azure.Monitor", "AzureMonitorWindowsAgent", OPTIONS).version"#;
    for (options, version, requests) in [
        ("#{}", "1.31.0.0", 0),
        (r#"#{ version: "1" }"#, "1.31.0.0", 0),
        (r#"#{ version: "1.31" }"#, "1.31.0.0", 0),
        (r#"#{ version: "1.3" }"#, "1.3.1.0", 1),
        (r#"#{ version: "1.3", settings: #{ quiet: true } }"#, "1.3.1.0", 2),
        (r#"#{ settings: #{ quiet: true } }"#, "1.3.1.0", 2),
    ] {
        assert_eq!(world.value(&MONITOR.replace("OPTIONS", options)).await, json!(version), "{options}");
        assert_eq!(world.effects().into_values().sum::<usize>(), requests, "{options}");
    }
    // Somebody else removes it meanwhile: that is waited for, then it is installed once.
    let world = World::with(&[]).await;
    let removing = world.prepare(r#"arc::extension_remove("db-01", "AzureMonitorWindowsAgent")"#).await;
    world.engine.drive(&removing, Duration::ZERO).await.expect("a run");
    assert_eq!(world.value(&MONITOR.replace("OPTIONS", "#{}")).await, json!("3.0.1.0"));
    assert_eq!(world.effects().len(), 2);
    assert!(world.complaints().is_empty(), "{:?}", world.complaints());
    // What failed is tried again when it is asked for again, and not before.
    let world = World::with(&["extension-fails"]).await;
    let script = r#"arc::extension_install("db-01", "Microsoft.Azure.OpenSSH", "WindowsOpenSSH").state"#;
    let failed = world.run(script).await;
    assert!(matches!(&failed, Driven::Ended(RunEnd::Failed { .. })), "{failed:?}");
    assert_eq!(world.effects().into_values().sum::<usize>(), 1);
    world.lab.clear_faults();
    assert_eq!(world.value(script).await, json!("Succeeded"));
    // What is gone need not be removed.
    assert_eq!(world.value(r#"arc::extension_remove("db-01", "nope").changed"#).await, json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_the_journal_or_the_file() {
    let world = World::with(&[]).await;
    world.value(CONSOLE).await;
    let secret = world.lab.descriptor().client_secret;
    let file = std::fs::read(world.folder.path().join("web-01.rdp")).expect("the file");
    let text = String::from_utf8(file).expect("text");
    assert_eq!(text.matches("\r\n").count(), 4, "{text}");
    assert!(!text.contains(&secret) && !text.to_lowercase().contains("password"));
    for run in world.engine.journal().runs(&Default::default()).await.expect("a journal") {
        for record in world.engine.journal().records(&run.id, 0).await.expect("records") {
            assert!(!record.body.contains(&secret) && !record.body.contains("Bearer"), "{}", record.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_is_known_by_its_address_alone() {
    let lab = World::with(&[]).await.lab.descriptor();
    let world = World::with(&[]).await;
    let here = world.lab.descriptor();
    let cloud =
        Cloud::discover("lab", &here.url, Some(here.ca_pem.into_bytes().into())).await.expect("a cloud");
    let secret = Secret::new(here.client_secret);
    let credential = Credential::ClientSecret { tenant: here.tenant, client_id: here.client_id, secret };
    Arm::builder(cloud, credential).build().expect("a connection").sign_in().await.expect("a token");
    // Another lab's certificate is not trusted, and a lab that is gone cannot be reached.
    for ca in [None, Some(lab.ca_pem.into_bytes().into())] {
        let error = Cloud::discover("lab", &here.url, ca).await.expect_err("not trusted");
        assert_eq!(error.kind(), ErrorKind::Unsent, "{error:?}");
    }
}

/// Lets a process die at the n-th moment of a run, and another one take over: same end, no effect twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_any_moment_changes_nothing() {
    for script in [CONSOLE, EXTENSION] {
        dies_at_any_moment(script).await;
    }
}

async fn dies_at_any_moment(script: &str) {
    let clean = World::with(&[]).await;
    let wanted = clean.value(script).await;
    let effects: Vec<usize> = clean.effects().into_values().collect();
    let mut problems = Vec::new();
    for moment in 1..200 {
        let world = World::with(&[]).await;
        let run = world.prepare(script).await;
        let (died, mut dies) = tokio::sync::mpsc::unbounded_channel();
        // Moments are events that were written, and effects whose answer is still under way.
        let seen = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let tick = move || {
            let dies = seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 >= moment;
            if dies {
                let _ = died.send(());
            }
            dies
        };
        let tick: Arc<dyn Fn() -> bool + Send + Sync> = Arc::new(tick);
        let (on_event, on_write) = (tick.clone(), tick);
        world.lab.on_write(move |_| {
            on_write();
        });
        let first = process(&world.azure, &world.clock, &world.journal, move |notice| {
            // Nothing that the process would do next happens any more, whichever of its runs it is about.
            if notice.seq.is_some() && on_event() {
                std::panic::resume_unwind(Box::new("the process is dead"));
            }
        });
        let patience = Duration::from_secs(1_000_000);
        let survived = tokio::select! {
            biased;
            _ = dies.recv() => false,
            driven = first.drive(&run, patience) => driven.is_ok(),
        };
        if survived {
            println!("died at {} moments", moment - 1);
            assert!(moment > 12, "the drill must have had something to cut: {moment}");
            break;
        }
        // Nor does it come back to what it could not put down.
        first.interrupt();
        drop(first);
        // What had not reached the disk is lost with the process.
        let journal = Arc::new(world.journal.crash());
        let second = process(&world.azure, &world.clock, &journal, |_| {});
        let driven = second.drive(&run, patience).await.expect("a run");
        let same_effects = world.effects().into_values().collect::<Vec<_>>() == effects;
        let is_same = driven == Driven::Ended(RunEnd::Succeeded { value: wanted.clone() });
        if !is_same || !same_effects || !second.journal().leases().await.expect("a journal").is_empty() {
            problems.push(format!("moment {moment}: {driven:?}; {:?}", world.effects()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_says_so() {
    let lab = Lab::start(LabConfig::new(relight_lab::system_clock())).await.expect("the lab starts");
    let mut cloud = Cloud::public();
    cloud.arm = lab.descriptor().url.parse().expect("an address");
    cloud.login = cloud.arm.clone();
    let secret =
        Credential::ClientSecret { tenant: "t".into(), client_id: "c".into(), secret: Secret::new("s") };
    let arm = Arm::builder(cloud, secret).build().expect("a connection");
    let error = arm.sign_in().await.expect_err("its authority is unknown");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Unsent, "the certificate of 127.0.0.1 is not trusted")
    );
    assert_eq!(error.hints(), [Hint::Step(NextStep::Trust { host: "127.0.0.1".to_owned() })]);

    let asked = Cloud::discover("own", &lab.descriptor().url, None).await.expect_err("unknown here too");
    assert_eq!(asked.message(), error.message());
}

#[tokio::test]
async fn a_file_that_somebody_else_wrote_is_not_replaced() {
    const WRITE: &str = r#"
        try { rdp::write("x.rdp", #{ vm_id: "0a1b", addresses: ["192.0.2.10"] }) } catch (e) { e.message }"#;
    let world = World::with(&[]).await;
    let path = world.folder.path().join("x.rdp");
    let head = "/*---\ntitle = \"Write\"\neffects = [\"file:write\"]\n---*/\n";
    let write = async |script: &str| {
        let mut request = RunRequest::new("write");
        request.workdir = world.folder.path().to_owned();
        let run = world.engine.prepare(&request.text(format!("{head}{script}"))).await.expect("prepares");
        match world.engine.run(&run).await.expect("runs") {
            Driven::Ended(RunEnd::Succeeded { value }) => value,
            other => panic!("{other:?}"),
        }
    };
    for (before, is_replaced) in [
        ("my notes", false),
        ("full address:s:10.0.0.5\r\nscreen mode id:i:2\r\n", false),
        (
            "full address:s:10.0.0.5\r\nserver port:i:2179\r\npcb:s:0a1b;EnhancedMode=0\r\nnegotiate security layer:i:0\r\n",
            true,
        ),
    ] {
        std::fs::write(&path, before).expect("a file");
        let said = write(WRITE).await;
        let is = std::fs::read_to_string(&path).expect("a file") != before;
        assert_eq!(is, is_replaced, "{said}");
        assert_eq!(said == json!("x.rdp"), is_replaced, "{said}");
    }
    std::fs::write(&path, "my notes").expect("a file");
    write(&WRITE.replace("] })", "] }, #{ overwrite: true })")).await;
    assert!(std::fs::read_to_string(&path).expect("a file").starts_with("full address"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    }
    // A script cannot hand a child the right to a file that nobody named, and a default names nothing.
    let outside = world.folder.path().parent().expect("a folder").join("outside.rdp");
    let head = format!(
        "/*---\ntitle = \"Write\"\neffects = [\"file:write\"]\n[params.to]\ntype = \"path\"\ndefault = {:?}\n---*/\n",
        outside.display().to_string()
    );
    let mut request = RunRequest::new("write");
    request.workdir = world.folder.path().to_owned();
    let script =
        WRITE.replace("\"x.rdp\"", "params.to").replace("try {", "").replace("} catch (e) { e.message }", "");
    let run = world.engine.prepare(&request.text(format!("{head}{script}"))).await.expect("prepares");
    let driven = world.engine.run(&run).await;
    assert!(format!("{driven:?}").contains("outside the run's folder"), "{driven:?}");
    assert!(!outside.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_on_the_machine_is_said_and_not_tried_again() {
    let world = World::with(&[]).await;
    // A machine of the lab has 16 MiB.
    std::fs::write(world.folder.path().join("big"), vec![7; 20 << 20]).expect("a file");
    let script = r#"
        let app = arc::machine("app-01", #{ group: "rg-apps" });
        arm::register("Microsoft.HybridConnectivity");
        arc::endpoint_create(app);
        arc::service_configure(app);
        ssh::trust(app, [ssh::host_key(app).key]);
        let session = ssh::connect(app, "azureuser", #{ password: secret("env:APP_PASSWORD") });
        ssh::upload(session, "big", "/tmp/big")
    "#;
    match world.run(script).await {
        Driven::Ended(RunEnd::Failed { failure, .. }) => {
            assert_eq!(failure.kind, relight_engine::ErrorKind::Rejected, "{failure:?}");
            assert!(failure.message.contains("`/tmp/big` is not whole"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
}
