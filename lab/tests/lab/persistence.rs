//! A saved lab comes back as it was.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use relight_lab::LabConfig;
use reqwest::Method;
use serde_json::json;

use crate::support::{Clock, Site, group, job_path, provision};

fn config(clock: &Clock, dir: &std::path::Path) -> LabConfig {
    let mut config = LabConfig::new(clock.as_now());
    config.dir = Some(dir.to_owned());
    config
}

#[tokio::test]
async fn an_operation_goes_on_across_a_restart_under_the_same_address() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::new();
    let site = Site::start(config(&clock, dir.path()), clock.clone()).await;
    let started = site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    let url = started.header("azure-asyncoperation").expect("an address").to_owned();
    let (about, token, ledger, vm) =
        (site.about.clone(), site.token.clone(), site.lab.ledger(), site.vm("lin-02").await);
    // Nothing is written on the way out: what counts is what was saved with the write.
    site.lab.stop().await;
    #[cfg(unix)]
    for file in std::fs::read_dir(dir.path()).expect("the folder").map(|file| file.expect("a file").path()) {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} holds keys", file.display());
    }

    clock.step(300);
    let mut site = Site::start(config(&clock, dir.path()), clock.clone()).await;
    assert_eq!(site.about, about, "same address, authority and secrets");
    site.token = token;
    assert_eq!(site.lab.ledger(), ledger);
    assert_eq!(
        site.get(&url).await.body["status"],
        "Succeeded",
        "the old token and the old address are good"
    );
    assert_eq!(site.vm("lin-02").await["hostNodeIpAddress"], vm["hostNodeIpAddress"]);
    assert_eq!(site.lab.snapshot()["clusters"][0]["nodes"][0]["port_open"], true);
    let ca = std::fs::read_to_string(dir.path().join("ca.pem")).expect("ca.pem");
    assert_eq!(ca, about.ca_pem);
}

#[tokio::test]
async fn ids_follow_from_the_seed() {
    let [a, b] = [Site::new().await, Site::new().await];
    assert_eq!(a.about.subscription, b.about.subscription);
    assert_eq!(a.vm("db-01").await["hyperVVmId"], b.vm("db-01").await["hyperVVmId"]);
    let clock = Clock::new();
    let mut other = LabConfig::new(clock.as_now());
    other.seed = 2;
    assert_ne!(Site::start(other, clock).await.about.subscription, a.about.subscription);
}

#[tokio::test]
async fn hooks_run_after_saving_and_before_the_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::new();
    let site = Site::start(config(&clock, dir.path()), clock.clone()).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, file) = (Arc::clone(&calls), dir.path().join("lab.json"));
    site.lab.on_write(move |entry| {
        counted.fetch_add(1, Ordering::SeqCst);
        let saved = std::fs::read_to_string(&file).expect("a saved lab");
        assert!(saved.contains(&entry.correlation_id));
        // An answer that left early would overtake this.
        std::thread::sleep(std::time::Duration::from_millis(100));
        counted.fetch_add(10, Ordering::SeqCst);
    });
    site.send(Method::PUT, &group("rg-new"), Some(json!({"location": "eastus"}))).await;
    assert_eq!(calls.load(Ordering::SeqCst), 11);
    site.send(Method::PUT, &group("rg-new"), Some(json!({"location": "eastus"}))).await;
    assert_eq!(calls.load(Ordering::SeqCst), 11, "nothing changed");
}

#[tokio::test]
async fn the_ledger_holds_what_was_sent() {
    let site = Site::new().await;
    let url = format!("{}{}", site.about.url, group("rg-new").replace("{s}", &site.scope()));
    let request = site.client.put(url).bearer_auth(&site.token).header("x-ms-client-request-id", "step-7");
    request.json(&json!({"location": "eastus"})).send().await.expect("an answer");
    let entry = &site.lab.ledger()[0];
    assert_eq!((entry.seq, entry.method.as_str(), entry.status, entry.effect), (1, "PUT", 201, true));
    assert!(entry.path.ends_with("/resourceGroups/rg-new"), "{}", entry.path);
    assert_eq!(entry.client_request_id.as_deref(), Some("step-7"));
    assert_eq!(entry.body, json!({"location": "eastus"}));
    assert_eq!((entry.body_sha256.len(), entry.at), (64, site.clock.now()));
    assert_eq!(site.lab.requests().len(), 2, "the token request is a request too");
}

#[tokio::test]
async fn a_dropped_lab_is_gone() {
    let site = Site::new().await;
    let (client, url) = (site.client.clone(), site.about.url.clone());
    drop(site);
    for _ in 0..100 {
        if client.get(&url).send().await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it still answers");
}

#[tokio::test]
async fn a_taken_port_and_a_broken_file_are_said_plainly() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::new();
    let site = Site::start(config(&clock, dir.path()), clock.clone()).await;
    let taken = relight_lab::Lab::start(config(&clock, dir.path())).await.expect_err("the port is taken");
    assert!(taken.to_string().starts_with("failed to listen on 127.0.0.1:"), "{taken}");
    site.lab.stop().await;
    std::fs::write(dir.path().join("lab.json"), "{").expect("a file");
    let broken = relight_lab::Lab::start(config(&clock, dir.path())).await.expect_err("not a lab");
    assert!(broken.to_string().starts_with("failed to understand the saved lab"), "{broken}");
}

/// A lab that dies between the effect and the answer is the one case a copy of its folder at that moment shows exactly.
#[tokio::test]
async fn what_was_saved_before_the_answer_is_whole() {
    let (dir, copy) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let clock = Clock::new();
    let site = Site::start(config(&clock, dir.path()), clock.clone()).await;
    let (from, to) = (dir.path().join("lab.json"), copy.path().join("lab.json"));
    site.lab.on_write(move |_| assert!(std::fs::copy(&from, &to).is_ok()));
    site.lab.inject("reply-lost".parse().expect("a fault"));
    let lost = site.try_send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    assert!(lost.is_none());
    site.lab.stop().await;

    let site = Site::start(config(&clock, copy.path()), clock.clone()).await;
    let job = site.get(&job_path("open")).await.body["properties"].clone();
    assert_eq!(job["provisioningState"], "Accepted");
    assert_eq!(site.lab.ledger().len(), 1);
    clock.step(300);
    assert_eq!(site.lab.snapshot()["clusters"][0]["nodes"][0]["port_open"], true);
}
