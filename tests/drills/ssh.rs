//! The same drills for what goes over SSH, against the machines that the lab has itself.

use std::path::Path;

use relight_lab::Lab;
use serde_json::Value;

use super::branches::by_turns;
use super::stops::stopped_everywhere;
use super::{
    Drill, cut_everywhere, cut_in_every_way, fault_each, fault_everywhere, ideal, kill_everywhere, shipped,
};

/// A machine that lets SSH in and is known.
pub(super) const KNOWN: &str = r#"
    let app = arc::machine("app-01", #{ group: "rg-apps" });
    arm::register("Microsoft.HybridConnectivity");
    arc::endpoint_create(app);
    arc::service_configure(app);
    ssh::trust(app, [ssh::host_key(app).key]);
"#;
/// The same, and a folder here to carry there.
const WITH_A_FOLDER: &str = r#"
    let app = arc::machine("app-01", #{ group: "rg-apps" });
    arm::register("Microsoft.HybridConnectivity");
    arc::endpoint_create(app);
    arc::service_configure(app);
    ssh::trust(app, [ssh::host_key(app).key]);
    let session = ssh::connect(app, "azureuser", #{ password: secret("env:APP_PASSWORD") });
    ssh::download(session, "/etc/ssh", "conf");
"#;

const CONNECT: Drill =
    shipped("connect over Arc", "connect-over-arc", &[("machine", "app-01"), ("group", "rg-apps")]);
const UPLOAD: Drill = Drill {
    before: WITH_A_FOLDER,
    ..shipped(
        "upload",
        "copy-files",
        &[
            ("machine", "app-01"),
            ("group", "rg-apps"),
            ("user", "azureuser"),
            ("password", "env:APP_PASSWORD"),
            ("direction", "upload"),
            ("local", "conf"),
            ("remote", "/tmp/conf"),
        ],
    )
};
const DOWNLOAD: Drill = Drill {
    before: KNOWN,
    ..shipped(
        "download",
        "copy-files",
        &[
            ("machine", "app-01"),
            ("group", "rg-apps"),
            ("user", "azureuser"),
            ("password", "env:APP_PASSWORD"),
            ("direction", "download"),
            ("local", "carried"),
            ("remote", "/etc/ssh"),
        ],
    )
};
const DESKTOP: Drill = Drill {
    before: KNOWN,
    ..shipped(
        "desktop",
        "rdp-over-ssh",
        &[
            ("machine", "app-01"),
            ("group", "rg-apps"),
            ("user", "azureuser"),
            ("password", "env:APP_PASSWORD"),
            // A machine with Linux has no desktop; what listens there is not looked at.
            ("rdp_port", "22"),
            ("open_for", "1m"),
        ],
    )
};
/// What is in the way of SSH is mended, one thing after the other.
const TROUBLESHOOT: Drill = shipped(
    "troubleshoot",
    "troubleshoot-ssh",
    &[("machine", "app-01"), ("group", "rg-apps"), ("ask", "false")],
);
/// A command that must not run twice: what nobody can look up is asked.
const EXEC: Drill = Drill {
    name: "exec",
    before: KNOWN,
    runbook: "exec",
    script: Some(
        r#"let app = arc::machine("app-01", #{ group: "rg-apps" });
           let session = ssh::connect(app, "azureuser", #{ password: secret("env:APP_PASSWORD") });
           ssh::exec(session, "echo once >> /tmp/ran");
           ssh::exec(session, "cat /tmp/ran", #{ repeatable: true }).stdout"#,
    ),
    params: &[],
    may_ask: true,
};
/// Commands that may run again, files both ways, and a port that is open again where the run goes on.
const REPEATABLE: Drill = Drill {
    name: "repeatable",
    runbook: "repeatable",
    script: Some(
        r#"let app = arc::machine("app-01", #{ group: "rg-apps" });
           let session = ssh::connect(app, "azureuser", #{ password: secret("env:APP_PASSWORD") });
           let forward = ssh::forward(session, 22);
           let first = net::read(forward.address, forward.port, #{ up_to: "SSH-2.0-" }).ended;
           let name = ssh::exec(session, "hostname", #{ repeatable: true }).stdout;
           ssh::download(session, "/etc/hostname", "carried.txt");
           let up = ssh::upload(session, "carried.txt", "/tmp/name");
           let again = net::read(forward.address, forward.port, #{ up_to: "SSH-2.0-" }).ended;
           [first, name, up.bytes, again]"#,
    ),
    may_ask: false,
    ..EXEC
};

/// What can be wrong on the way, where it costs time and nothing else.
const ON_THE_WAY: [&str; 6] = [
    "relay-drops=app-01,100",
    "relay-drops=app-01,2000",
    "relay-drops=app-01,6000",
    "listener-late=app-01",
    "credentials-expire",
    "credentials-expire=1,open",
];

/// Whether the command that must not run twice has run.
pub(super) fn ran(lab: &Lab) -> bool {
    lab.guest_file("app-01", "/tmp/ran").is_some()
}

/// Returns what was carried to the machine, or written there.
pub(super) fn on_machine(lab: &Lab) -> Vec<(String, String)> {
    let names = ["/tmp/ran", "/tmp/name", "/tmp/conf/sshd_config", "/tmp/conf/ssh_host_ed25519_key.pub"];
    let there = names.iter().filter_map(|name| Some((*name, lab.guest_file("app-01", name)?)));
    there.map(|(name, bytes)| (name.to_owned(), String::from_utf8_lossy(&bytes).into_owned())).collect()
}

/// Returns what was carried here, parts of files included.
pub(super) fn carried(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at).expect("a folder").map(|it| it.expect("an entry")) {
            let name = entry.path().strip_prefix(folder).expect("below").to_string_lossy().into_owned();
            if !name.starts_with("carried") && !name.starts_with(".carried") {
                continue;
            }
            match entry.file_type().expect("a kind").is_dir() {
                true => left.push(entry.path()),
                false => {
                    let bytes = std::fs::read(entry.path()).expect("a file");
                    found.push((name, String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
        }
    }
    found.sort();
    found
}

/// Returns a value without the ports of this machine that were free.
pub(super) fn without_ports(value: Value) -> Value {
    match value {
        Value::String(text) => match text.split_once("127.0.0.1:") {
            Some((before, after)) => {
                let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
                Value::String(format!("{before}127.0.0.1:PORT{rest}"))
            }
            None => Value::String(text),
        },
        Value::Array(items) => items.into_iter().map(without_ports).collect(),
        Value::Object(map) => map.into_iter().map(|(name, it)| (name, without_ports(it))).collect(),
        other => other,
    }
}

async fn fault_on_the_way(drill: Drill) {
    let (ideal, _, reads, writes) = ideal(&drill).await;
    fault_each(drill, &ideal, &ON_THE_WAY.map(str::to_owned), reads, writes).await;
}

#[tokio::test]
async fn the_way_is_cut_at_every_record() {
    cut_everywhere(CONNECT, by_turns).await;
    cut_everywhere(DESKTOP, by_turns).await;
}

#[tokio::test]
async fn what_mends_is_cut_at_every_record() {
    cut_everywhere(TROUBLESHOOT, by_turns).await;
}

#[tokio::test]
async fn what_mends_is_faulted_on_its_way() {
    fault_on_the_way(TROUBLESHOOT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn what_mends_is_killed_at_every_point() {
    kill_everywhere(TROUBLESHOOT).await;
}

#[tokio::test]
async fn files_are_cut_at_every_record() {
    cut_in_every_way(UPLOAD).await;
    cut_in_every_way(DOWNLOAD).await;
}

#[tokio::test]
async fn sessions_are_cut_at_every_record() {
    cut_in_every_way(EXEC).await;
    cut_in_every_way(REPEATABLE).await;
}

#[tokio::test]
async fn the_way_is_stopped_at_every_record() {
    stopped_everywhere(CONNECT).await;
    stopped_everywhere(DESKTOP).await;
}

#[tokio::test]
async fn files_are_stopped_at_every_record() {
    stopped_everywhere(UPLOAD).await;
    stopped_everywhere(DOWNLOAD).await;
}

#[tokio::test]
async fn sessions_are_stopped_at_every_record() {
    stopped_everywhere(EXEC).await;
    stopped_everywhere(REPEATABLE).await;
}

#[tokio::test]
async fn the_way_is_faulted_at_every_request() {
    fault_everywhere(CONNECT, 3).await;
    fault_everywhere(DESKTOP, 3).await;
    fault_on_the_way(CONNECT).await;
    fault_on_the_way(DESKTOP).await;
}

#[tokio::test]
async fn files_are_faulted_at_every_request() {
    fault_everywhere(UPLOAD, 1).await;
    fault_everywhere(DOWNLOAD, 1).await;
    fault_on_the_way(UPLOAD).await;
    fault_on_the_way(DOWNLOAD).await;
}

#[tokio::test]
async fn sessions_are_faulted_at_every_request() {
    fault_everywhere(EXEC, 1).await;
    fault_everywhere(REPEATABLE, 1).await;
    fault_on_the_way(EXEC).await;
    fault_on_the_way(REPEATABLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn the_way_is_killed_at_every_point() {
    kill_everywhere(CONNECT).await;
    kill_everywhere(DESKTOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn files_are_killed_at_every_point() {
    kill_everywhere(UPLOAD).await;
    kill_everywhere(DOWNLOAD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn sessions_are_killed_at_every_point() {
    kill_everywhere(EXEC).await;
    kill_everywhere(REPEATABLE).await;
}
