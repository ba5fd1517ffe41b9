//! The same drills for what is done when nothing else helps, and for what is brought home from a machine.

use super::{Drill, cut_in_every_way, fault_everywhere, kill_everywhere, shipped};

/// A VM whose guest does not boot: every road is tried, and the console is opened in the end.
const RESCUE: Drill = Drill {
    may_ask: true,
    ..shipped("rescue", "rescue", &[("vm", "web-01"), ("ask", "false"), ("within", "2m")])
};
/// One whose agent does what it is told.
const EARLY: Drill = shipped("rescue that is early over", "rescue", &[("vm", "db-01"), ("ask", "false")]);
const COLLECT: Drill = shipped(
    "collect",
    "collect-diagnostics",
    &[("machine", "app-01"), ("group", "rg-apps"), ("folder", "found")],
);
const COLLECT_IN_AZURE: Drill = shipped(
    "collect in Azure",
    "collect-diagnostics",
    &[("machine", "jump-01"), ("group", "rg-cloud"), ("folder", "found")],
);

#[tokio::test]
async fn a_rescue_is_cut_at_every_record() {
    cut_in_every_way(RESCUE).await;
    cut_in_every_way(EARLY).await;
}

#[tokio::test]
async fn a_rescue_is_faulted_at_every_request() {
    fault_everywhere(RESCUE, 3).await;
    fault_everywhere(EARLY, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_rescue_is_killed_at_every_point() {
    kill_everywhere(RESCUE).await;
    kill_everywhere(EARLY).await;
}

#[tokio::test]
async fn a_collection_is_cut_at_every_record() {
    cut_in_every_way(COLLECT).await;
    cut_in_every_way(COLLECT_IN_AZURE).await;
}

#[tokio::test]
async fn a_collection_is_faulted_at_every_request() {
    fault_everywhere(COLLECT, 3).await;
    fault_everywhere(COLLECT_IN_AZURE, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_collection_is_killed_at_every_point() {
    kill_everywhere(COLLECT).await;
    kill_everywhere(COLLECT_IN_AZURE).await;
}
