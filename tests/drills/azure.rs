//! The same drills for virtual machines in Azure.

use super::{Drill, cut_in_every_way, fault_everywhere, kill_everywhere, shipped};

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
    "reset access",
    "reset-access",
    &[
        ("vm", "jump-01"),
        ("group", "rg-cloud"),
        ("user", "azureuser"),
        ("key", KEY),
        ("reset_sshd", "true"),
        ("ask", "false"),
    ],
);
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
}

#[tokio::test]
async fn ways_in_are_faulted_at_every_request() {
    fault_everywhere(START, 2).await;
    fault_everywhere(CONNECT, 1).await;
    fault_everywhere(RESET, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn ways_in_are_killed_at_every_point() {
    kill_everywhere(START).await;
    kill_everywhere(CONNECT).await;
    kill_everywhere(RESET).await;
}
