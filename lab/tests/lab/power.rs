//! Starting and stopping VMs.

use reqwest::Method;
use serde_json::json;

use crate::support::{INSTANCE, Site, instance, retry_after};

async fn act(site: &Site, vm: &str, action: &str) -> crate::support::Answer {
    site.send(Method::POST, &instance(vm, action, INSTANCE), None).await
}

#[tokio::test]
async fn a_vm_stops_and_starts_with_both_headers() {
    let site = Site::new().await;
    let stopping = act(&site, "db-01", "/stop").await;
    assert_eq!((stopping.status, retry_after(&stopping)), (202, 10));
    let status = stopping.header("azure-asyncoperation").expect("a status address").to_owned();
    let result = stopping.header("location").expect("a result address").to_owned();
    assert!(status.contains("/operationStatuses/") && result.contains("/operationResults/"));
    assert_eq!(site.vm("db-01").await["status"]["powerState"], "Stopping");
    site.clock.step(10);
    let poll = site.get(&status).await;
    assert_eq!(
        (poll.status, &poll.body["status"], poll.header("retry-after")),
        (200, &json!("Accepted"), None)
    );
    assert_eq!(site.get(&result).await.status, 202);
    site.clock.step(60);
    assert_eq!(site.get(&status).await.body["status"], "Succeeded");
    assert_eq!(site.get(&result).await.status, 200);
    assert_eq!(site.vm("db-01").await["status"]["powerState"], "Stopped");

    let starting = act(&site, "db-01", "/start").await;
    site.follow(&starting).await;
    assert_eq!(site.vm("db-01").await["status"]["powerState"], "Running");
    assert_eq!(site.lab.violations(), [""; 0]);
}

#[tokio::test]
async fn what_is_already_so_succeeds_without_effect() {
    let site = Site::new().await;
    let stop = act(&site, "file-01", "/stop").await;
    assert_eq!(site.follow(&stop).await.body["status"], "Succeeded");
    let start = act(&site, "db-01", "/start").await;
    assert_eq!(site.follow(&start).await.body["status"], "Succeeded");
    assert!(site.lab.ledger().iter().all(|entry| entry.status == 202 && !entry.effect));
    let restart = act(&site, "file-01", "/restart").await;
    let end = site.follow(&restart).await;
    assert_eq!((&end.body["status"], end.code()), (&json!("Failed"), "VirtualMachineNotRunning"));
}

#[tokio::test]
async fn a_busy_vm_refuses_a_second_action() {
    let site = Site::new().await;
    let restart = act(&site, "db-01", "/restart").await;
    assert!(act(&site, "db-01", "/stop").await.is(409, "ConflictingOperation"));
    site.follow(&restart).await;
    assert_eq!(act(&site, "db-01", "/stop").await.status, 202);
    let starts: Vec<_> =
        site.lab.snapshot()["vms"].as_array().expect("vms").iter().map(|vm| vm["starts"].clone()).collect();
    assert_eq!(starts, [0, 1, 0, 0, 0, 0]);
}

#[tokio::test]
async fn power_off_is_new_and_does_not_wait_for_the_guest() {
    let site = Site::new().await;
    let old = site.send(Method::POST, &instance("web-01", "/powerOff", "2025-06-01-preview"), None).await;
    assert!(old.is(404, "InvalidResourceType"));
    let hard = Some(json!({"skipShutdown": true}));
    let off = site.send(Method::POST, &instance("web-01", "/powerOff", INSTANCE), hard).await;
    assert_eq!(off.status, 202);
    site.clock.step(10);
    assert_eq!(site.vm("web-01").await["status"]["powerState"], "Stopped");
    let odd = Some(json!({"force": true}));
    let odd = site.send(Method::POST, &instance("db-01", "/powerOff", INSTANCE), odd).await;
    assert!(odd.is(400, "InvalidRequestContent") && odd.message().contains("force"));
}

#[tokio::test]
async fn an_unbootable_guest_takes_minutes_to_stop() {
    let site = Site::new().await;
    act(&site, "lin-02", "/stop").await;
    site.clock.step(120);
    assert_eq!(site.vm("lin-02").await["status"]["powerState"], "Stopping");
    site.clock.step(240);
    assert_eq!(site.vm("lin-02").await["status"]["powerState"], "Stopped");
}

#[tokio::test]
async fn a_cluster_that_is_offline_lets_actions_time_out() {
    let site = Site::new().await;
    let stop = act(&site, "pos-01", "/stop").await;
    assert_eq!(stop.status, 202);
    let end = site.follow(&stop).await;
    assert_eq!((&end.body["status"], end.code()), (&json!("Failed"), "Timeout"));
    assert_eq!(site.vm("pos-01").await["status"]["powerState"], "Running");
}

#[tokio::test]
async fn a_moved_vm_names_its_new_host() {
    let site = Site::new().await;
    assert!(site.lab.move_vm("rg-edge", "web-01", "HQ-NODE3"));
    assert_eq!(site.vm("web-01").await["hostNodeName"], "hq-node3");
    assert!(!site.lab.move_vm("rg-edge", "web-01", "br-node1"), "not a node of its cluster");
}
