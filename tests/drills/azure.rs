//! The same drills for virtual machines in Azure.

use super::branches::by_turns;
use super::stops::stopped_everywhere;
use super::{
    Drill, cut_everywhere, cut_in_every_way, fault_everywhere, ideal, keys, kill_everywhere, shipped,
};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

const OPEN: Drill = shipped(
    "open port",
    "open-ssh-port",
    &[("vm", "api-01"), ("group", "rg-cloud"), ("source", "203.0.113.7")],
);
/// What closes it does so once, and leaves the rules of others as they are.
const SHUT: Drill = Drill {
    name: "shut port",
    before: r#"network::open_port("api-01", #{ group: "rg-cloud", source: "203.0.113.7" })"#,
    runbook: "shut",
    script: Some(r#"network::close_port("api-01", #{ group: "rg-cloud" }).closed"#),
    params: &[],
    may_ask: false,
};
const START: Drill =
    shipped("start and wait", "start-and-wait", &[("vm", "batch-01"), ("group", "rg-cloud"), ("port", "0")]);
const CONNECT: Drill =
    shipped("connect to an Azure VM", "connect-azure-vm", &[("vm", "jump-01"), ("group", "rg-cloud")]);
const RESET: Drill = shipped(
    "reset access by a script",
    "reset-access",
    &[
        ("vm", "jump-01"),
        ("group", "rg-cloud"),
        ("user", "azureuser"),
        ("key", KEY),
        ("reset_sshd", "true"),
        ("by", "run_command"),
        ("ask", "false"),
    ],
);
/// The extension for it, which is given a password and must do it once.
const RESET_BY_VMACCESS: Drill = shipped(
    "reset access",
    "reset-access",
    &[
        ("vm", "jump-01"),
        ("group", "rg-cloud"),
        ("user", "azureuser"),
        ("key", KEY),
        ("password", "env:APP_PASSWORD"),
        ("reset_sshd", "true"),
        ("ask", "false"),
    ],
);
/// One that has no identity of its own yet.
const ENTRA: Drill = shipped(
    "enable entra ssh in Azure",
    "enable-entra-ssh",
    &[("machine", "api-01"), ("group", "rg-cloud"), ("identity", "true")],
);
const OPENSSH: Drill =
    shipped("enable openssh", "enable-openssh", &[("machine", "sql-01"), ("group", "rg-cloud")]);

/// From a VM that is off and whose port is shut to a session. It makes one key, whatever happens.
const FIRST: Drill = Drill {
    before: r#"compute::deallocate("api-01", #{ group: "rg-cloud" })"#,
    ..shipped(
        "first way in",
        "first-linux-vm",
        &[("vm", "api-01"), ("group", "rg-cloud"), ("source", "127.0.0.1"), ("key", keys::FILE)],
    )
};

#[tokio::test]
async fn ports_are_cut_at_every_record() {
    cut_in_every_way(OPEN).await;
    cut_in_every_way(SHUT).await;
}

#[tokio::test]
async fn ports_are_faulted_at_every_request() {
    fault_everywhere(OPEN, 1).await;
    fault_everywhere(SHUT, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn ports_are_killed_at_every_point() {
    kill_everywhere(OPEN).await;
    kill_everywhere(SHUT).await;
}

#[tokio::test]
async fn ways_in_are_cut_at_every_record() {
    cut_in_every_way(START).await;
    cut_in_every_way(CONNECT).await;
    cut_in_every_way(RESET).await;
    cut_in_every_way(RESET_BY_VMACCESS).await;
}

#[tokio::test]
async fn ways_in_are_faulted_at_every_request() {
    fault_everywhere(START, 2).await;
    fault_everywhere(CONNECT, 1).await;
    fault_everywhere(RESET, 1).await;
    fault_everywhere(RESET_BY_VMACCESS, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn ways_in_are_killed_at_every_point() {
    kill_everywhere(START).await;
    kill_everywhere(CONNECT).await;
    kill_everywhere(RESET).await;
    kill_everywhere(RESET_BY_VMACCESS).await;
}

#[tokio::test]
async fn the_first_way_in_is_cut_at_every_record() {
    let owned = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
    let left = [(keys::FILE, "private"), ("made_key.pub", "KEY\n"), ("api-01", "KEY")].map(owned);
    assert_eq!(ideal(&FIRST).await.0.files, left, "one key, which is let in once");
    cut_everywhere(FIRST, by_turns).await;
}

#[tokio::test]
async fn the_first_way_in_is_stopped_at_every_record() {
    stopped_everywhere(FIRST).await;
}

#[tokio::test]
async fn the_first_way_in_is_faulted_at_every_request() {
    fault_everywhere(FIRST, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn the_first_way_in_is_killed_at_every_point() {
    kill_everywhere(FIRST).await;
}

#[tokio::test]
async fn extensions_are_cut_at_every_record() {
    cut_in_every_way(ENTRA).await;
    cut_in_every_way(OPENSSH).await;
}

#[tokio::test]
async fn extensions_are_faulted_at_every_request() {
    fault_everywhere(ENTRA, 1).await;
    fault_everywhere(OPENSSH, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn extensions_are_killed_at_every_point() {
    kill_everywhere(ENTRA).await;
    kill_everywhere(OPENSSH).await;
}
