//! Where the lab refuses what Azure might let pass.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{CLUSTER, Site, group, instance, job_path, provision};

#[tokio::test]
async fn an_early_poll_is_refused_and_noted() {
    let site = Site::new().await;
    let started = site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    let url = started.header("azure-asyncoperation").expect("an address").to_owned();
    site.clock.step(14);
    let early = site.get(&url).await;
    assert_eq!((early.status, early.header("retry-after")), (429, Some("1")));
    assert!(site.lab.violations()[0].contains("1 s before"), "{:?}", site.lab.violations());
    site.clock.step(1);
    assert_eq!(site.get(&url).await.status, 202);
    assert_eq!(site.lab.violations().len(), 1);
}

#[tokio::test]
async fn polling_on_after_the_end_is_noted_from_the_second_repeat() {
    let site = Site::new().await;
    let started = site.send(Method::POST, &instance("db-01", "/stop", "2026-04-01-preview"), None).await;
    site.follow(&started).await;
    let url = started.header("azure-asyncoperation").expect("an address").to_owned();
    site.get(&url).await;
    assert_eq!(site.lab.violations(), [""; 0], "one repeat is what a crash explains");
    site.get(&url).await;
    assert!(site.lab.violations()[0].contains("after its end had been told"));
}

#[tokio::test]
async fn a_rebuilt_status_address_is_refused() {
    let site = Site::new().await;
    let started = site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    let url = started.header("azure-asyncoperation").expect("an address");
    let bare = url.split("&t=").next().expect("a head").to_owned();
    site.clock.step(15);
    assert_eq!(site.get(&bare).await.status, 400);
    assert!(site.lab.violations()[0].contains("rebuilt"));
}

#[tokio::test]
async fn undocumented_fields_are_refused_by_name() {
    let site = Site::new().await;
    let set = |path: &[&str], value: Value| {
        let mut request = provision("lin-02", "hq-node1");
        let mut place = &mut request;
        for key in path {
            place = match key.parse::<usize>() {
                Ok(at) => &mut place[at],
                Err(_) => &mut place[*key],
            };
        }
        *place = value;
        request
    };
    for (request, name) in [
        (set(&["location"], json!("eastus")), "location"),
        (set(&["properties", "duration"], json!("2h")), "properties.duration"),
        (
            set(&["properties", "vmConnectRemoveJobDetails"], json!([])),
            "properties.vmConnectRemoveJobDetails",
        ),
        (
            set(&["properties", "vmConnectProvisionJobDetails", "0", "port"], json!(2179)),
            "properties.vmConnectProvisionJobDetails[0].port",
        ),
        (
            set(&["properties", "vmConnectProvisionJobDetails", "0", "nodeName"], Value::Null),
            "properties.vmConnectProvisionJobDetails[0].nodeName",
        ),
        (set(&["properties", "jobType"], json!("MakeCoffee")), "properties.jobType"),
    ] {
        let refused = site.send(Method::PUT, &job_path("open"), Some(request)).await;
        assert!(refused.is(400, "InvalidRequestContent"), "{refused:?}");
        assert_eq!(refused.body["error"]["target"], name);
    }
    let stop = instance("db-01", "/stop", "2026-04-01-preview");
    assert!(
        site.send(Method::POST, &stop, Some(json!({"now": true}))).await.is(400, "InvalidRequestContent")
    );
    let moved = site.send(Method::PATCH, &group("rg-edge"), Some(json!({"location": "x"}))).await;
    assert_eq!(moved.body["error"]["target"], "location");
    assert!(site.lab.ledger().iter().all(|entry| !entry.effect));
}

#[tokio::test]
async fn job_names_keep_to_the_shorter_limit() {
    let site = Site::new().await;
    for name in ["ab", "under_score", "name-of-more-than-24-chars"] {
        let refused = site.send(Method::PUT, &job_path(name), Some(provision("lin-02", "hq-node1"))).await;
        assert!(refused.is(400, "InvalidResourceName"), "{name}");
    }
}

#[tokio::test]
async fn unknown_query_parameters_are_refused_and_noted() {
    let site = Site::new().await;
    let path = format!(
        "{{s}}/resourceGroups/rg-edge/providers/Microsoft.AzureStackHCI/clusters/hq?api-version={CLUSTER}&x=1"
    );
    assert_eq!(site.get(&path).await.status, 400);
    assert!(site.lab.violations()[0].contains("`x`"));
}

#[tokio::test]
async fn bodies_must_be_json_and_say_so() {
    let site = Site::new().await;
    let url = format!("{}{}", site.about.url, group("rg-new").replace("{s}", &site.scope()));
    let put = |media: &'static str, body: &'static str| {
        let request = site.client.put(&url).bearer_auth(&site.token).header("content-type", media).body(body);
        async move { request.send().await.expect("an answer").status().as_u16() }
    };
    assert_eq!(put("text/plain", "{\"location\":\"eastus\"}").await, 415);
    assert_eq!(put("application/json", "{\"location\":").await, 400);
    assert_eq!(put("application/json; charset=utf-8", "{\"location\":\"eastus\"}").await, 201);
}

#[tokio::test]
async fn what_can_only_be_read_refuses_writes() {
    let site = Site::new().await;
    let cluster = format!(
        "{{s}}/resourceGroups/rg-edge/providers/Microsoft.AzureStackHCI/clusters/hq?api-version={CLUSTER}"
    );
    assert!(site.send(Method::DELETE, &cluster, None).await.is(405, "MethodNotAllowed"));
    assert!(
        site.send(Method::PUT, &instance("db-01", "", "2026-04-01-preview"), Some(json!({})))
            .await
            .is(405, "MethodNotAllowed")
    );
}

#[tokio::test]
async fn the_buckets_run_dry_and_refill() {
    let site = Site::new().await;
    let mut last = 0;
    for _ in 0..250 {
        last = site.get(&group("rg-edge")).await.status;
    }
    assert_eq!(last, 200);
    let dry = site.get(&group("rg-edge")).await;
    assert!(dry.is(429, "SubscriptionRequestsThrottled"));
    let wait: i64 = dry.header("retry-after").and_then(|s| s.parse().ok()).expect("seconds");
    assert!(dry.message().contains(&format!("after '{wait}' seconds")));
    assert_eq!(
        site.send(Method::PATCH, &group("rg-apps"), Some(json!({"tags": {"a": "b"}}))).await.status,
        200
    );
    site.clock.step(wait);
    assert_eq!(site.get(&group("rg-edge")).await.status, 200);
}
