//! The lab's answers beside genuine recordings: same status codes, same header names, same fields.
//!
//! The recordings are not part of the repository; without them these tests say so and pass.

use std::{collections::BTreeSet, path::PathBuf};

use reqwest::Method;
use serde_json::Value;

use crate::support::{Site, group, job_path, provision};

fn exchanges(file: &str) -> Option<Vec<Value>> {
    let folder = std::env::var_os("RELIGHT_RECORDINGS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/recordings"),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(folder.join(file)) else {
        println!("skipped: no recording `{file}` (set RELIGHT_RECORDINGS to the folder that has it)");
        return None;
    };
    let recording: Value = serde_json::from_str(&text).expect("a recording");
    Some(recording["exchanges"].as_array().expect("exchanges").clone())
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

fn url(exchange: &Value) -> &str {
    exchange["url"].as_str().unwrap_or_default()
}

/// Checks that the lab's answer has every header name of the recorded one.
fn assert_headers(recorded: &Value, answer: &crate::support::Answer) {
    for name in keys(&recorded["headers"]) {
        assert!(answer.headers.contains_key(&name), "{name} is missing in {:?}", answer.headers);
    }
}

/// Returns the path of the first status address of a recording.
fn started_address(recording: &[Value]) -> String {
    let address = recording.iter().find_map(|e| e["headers"]["azure-asyncoperation"].as_str());
    address.and_then(|url| url.split('?').next()).expect("a status address").to_owned()
}

const CLUSTER_CRUD: &str = "04-stackhci-cluster-crud.2023-08-01.json";

#[tokio::test]
async fn a_cluster_has_the_recorded_fields() {
    let Some(recording) = exchanges(CLUSTER_CRUD) else {
        return;
    };
    let is_read = |e: &&Value| {
        e["method"] == "GET" && e["status"] == 200 && e["body"]["type"] == "microsoft.azurestackhci/clusters"
    };
    let recorded = recording.iter().find(is_read).expect("a read of the cluster");
    let site = Site::new().await;
    let path =
        "{s}/resourceGroups/rg-edge/providers/Microsoft.AzureStackHCI/clusters/hq?api-version=2023-08-01";
    let answer = site.get(path).await;
    assert_eq!(answer.status, recorded["status"].as_u64().expect("a status") as u16);
    assert_headers(recorded, &answer);
    let (ours, theirs) = (keys(&answer.body), keys(&recorded["body"]));
    assert_eq!(ours, theirs);
    assert_eq!(answer.body["type"], recorded["body"]["type"]);
    let missing: Vec<_> = keys(&recorded["body"]["properties"])
        .difference(&keys(&answer.body["properties"]))
        // These two appear only once a service principal was attached.
        .filter(|name| !name.starts_with("aadServicePrincipal") && !name.starts_with("aadApplication"))
        .cloned()
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[tokio::test]
async fn a_running_and_an_ended_status_have_the_recorded_shape() {
    let Some(recording) = exchanges(CLUSTER_CRUD) else {
        return;
    };
    let polls: Vec<&Value> = recording.iter().filter(|e| url(e).contains("/operationStatuses/")).collect();
    let running = polls.iter().find(|e| e["status"] == 202).expect("a running poll");
    let ended = polls.iter().find(|e| e["status"] == 200).expect("a last poll");

    let site = Site::new().await;
    let started = site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    let address = started.header("azure-asyncoperation").expect("an address").to_owned();
    site.clock.step(15);
    let answer = site.get(&address).await;
    assert_eq!(answer.status, 202);
    assert_headers(running, &answer);
    assert_eq!(keys(&answer.body), keys(&running["body"]));
    site.clock.step(300);
    let answer = site.get(&address).await;
    assert_eq!(answer.status, 200);
    assert_headers(ended, &answer);
    assert_eq!(keys(&answer.body), keys(&ended["body"]));
    let place = |path: &str| {
        let from = path.find("/providers/").expect("a provider");
        let to = path.rfind('/').expect("an id");
        path[from..to].to_owned()
    };
    assert_eq!(place(address.split('?').next().expect("a path")), place(&started_address(&recording)));
}

#[tokio::test]
async fn a_group_has_the_recorded_fields() {
    let Some(recording) = exchanges(CLUSTER_CRUD) else {
        return;
    };
    let recorded = recording
        .iter()
        .find(|e| e["body"]["type"] == "Microsoft.Resources/resourceGroups")
        .expect("a group");
    let site = Site::new().await;
    let answer = site.get(&group("rg-edge")).await;
    assert_headers(recorded, &answer);
    assert_eq!(keys(&answer.body), keys(&recorded["body"]));
}

#[tokio::test]
async fn refusals_have_the_recorded_shape() {
    let find = |file: &str, status: u64| {
        let found = exchanges(file)?.into_iter().find(|e| e["status"] == status);
        Some(found.expect("the refusal"))
    };
    let Some(unauthorized) = find("37-401-InvalidAuthenticationToken.json", 401) else {
        return;
    };
    let mut site = Site::new().await;
    let good = std::mem::replace(&mut site.token, "nonsense".to_owned());
    let answer = site.get(&group("rg-edge")).await;
    assert_eq!(answer.status, 401);
    assert_headers(&unauthorized, &answer);
    assert_eq!(answer.body, unauthorized["body"]);
    site.token = good;

    let Some(timeout) = find("32-network-503-ServerTimeout-on-poll.json", 503) else {
        return;
    };
    site.lab.inject("flaps".parse().expect("a fault"));
    site.get(&group("rg-edge")).await;
    site.get(&group("rg-edge")).await;
    let answer = site.get(&group("rg-edge")).await;
    assert_eq!(
        (answer.status, answer.code()),
        (503, timeout["body"]["error"]["code"].as_str().unwrap_or_default())
    );
    assert_headers(&timeout, &answer);
    assert_eq!(keys(&answer.body["error"]), keys(&timeout["body"]["error"]));
    site.lab.clear_faults();

    site.lab.inject("throttled=5".parse().expect("a fault"));
    let Some(retryable) = find("17-network-429-RetryableError.2022-01-01.json", 429) else {
        return;
    };
    let Some(transition) = find("52-go-servicebus-429-RetryAfter-293.json", 429) else {
        return;
    };
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(site.get(&group("rg-edge")).await);
    }
    for (answer, recorded) in [(&answers[2], &retryable), (&answers[4], &transition)] {
        assert_eq!(answer.body["error"]["code"], recorded["body"]["error"]["code"]);
        assert_eq!(keys(&answer.body["error"]), keys(&recorded["body"]["error"]));
    }
    assert_eq!(answers[4].header("retry-after"), transition["headers"]["retry-after"].as_str());
}
