//! VM Connect jobs from the request to the open port.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{JOBS, Site, job_path, provision, remove, retry_after};

fn port_open(site: &Site, node: &str) -> bool {
    let world = site.lab.snapshot();
    let clusters = world["clusters"].as_array().expect("clusters").clone();
    let nodes = clusters.iter().flat_map(|c| c["nodes"].as_array().expect("nodes").clone());
    nodes.into_iter().any(|n| n["name"] == node && n["port_open"] == true)
}

#[tokio::test]
async fn a_port_is_opened_and_closed_with_the_manners_of_the_service() {
    let site = Site::new().await;
    let started = site.send(Method::PUT, &job_path("open"), Some(provision("web-01", "HQ-NODE2"))).await;
    assert_eq!(started.status, 201);
    assert_eq!(started.body["properties"]["provisioningState"], "Accepted");
    assert_eq!(started.body["properties"]["vmConnectProvisionJobDetails"][0]["nodeName"], "HQ-NODE2");
    assert_eq!(retry_after(&started), 15);
    assert!(started.header("location").is_none());
    let url = started.header("azure-asyncoperation").expect("an address").to_owned();
    let id = url.split('?').next().and_then(|path| path.rsplit('/').next()).expect("an id");
    let (guid, hex) = id.split_once('*').expect("a star");
    assert!(
        guid.len() == 36 && hex.len() == 64 && url.contains("/locations/EASTUS/operationStatuses/"),
        "{url}"
    );

    site.clock.step(15);
    let poll = site.get(&url).await;
    assert_eq!((poll.status, &poll.body["status"], retry_after(&poll)), (202, &json!("InProgress"), 15));
    let resigned = poll.header("azure-asyncoperation").expect("an address");
    assert!(resigned.contains("/locations/eastus/") && resigned != url);
    site.clock.step(30);
    assert_eq!(site.get(&url).await.status, 202, "the first address stays good");
    let job = site.get(&job_path("open")).await.body["properties"].clone();
    assert_eq!(job["status"], "DeploymentInProgress");
    assert!(!port_open(&site, "hq-node2"));

    site.clock.step(240);
    let end = site.get(&url).await;
    assert_eq!((end.status, &end.body["status"]), (200, &json!("Succeeded")));
    assert_eq!(end.body.get("properties"), Some(&Value::Null));
    assert!(end.header("azure-asyncoperation").is_none());
    let job = site.get(&job_path("open")).await.body["properties"].clone();
    assert_eq!((&job["provisioningState"], &job["status"]), (&json!("Succeeded"), &json!("Succeeded")));
    let step = &job["reportedProperties"]["deploymentStatus"]["steps"][0];
    assert_eq!(
        (&step["name"], &step["status"]),
        (&json!("VM Connect Provision Deployment"), &json!("Success"))
    );
    assert!(!step["endTimeUtc"].as_str().unwrap_or_default().ends_with('Z'));
    assert!(port_open(&site, "hq-node2"));

    let closing = site.send(Method::PUT, &job_path("close"), Some(remove("web-01", "hq-node2"))).await;
    assert_eq!(site.follow(&closing).await.body["status"], "Succeeded");
    assert!(!port_open(&site, "hq-node2"));
    assert_eq!(site.lab.violations(), [""; 0]);
}

#[tokio::test]
async fn jobs_are_listed_and_deleted_by_location() {
    let site = Site::new().await;
    assert_eq!(site.send(Method::DELETE, &job_path("open"), None).await.status, 204);
    site.provision("open", "lin-02", "hq-node1").await;
    let list = site.get(&job_path("").replace("/?", "?")).await;
    assert_eq!(list.body["value"][0]["name"], "open");
    let deleting = site.send(Method::DELETE, &job_path("open"), None).await;
    assert_eq!((deleting.status, deleting.text.as_str()), (202, ""));
    assert!(deleting.header("azure-asyncoperation").is_none());
    assert_eq!(site.get(&job_path("open")).await.body["properties"]["provisioningState"], "Deleting");
    assert!(
        site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1")))
            .await
            .is(409, "ConflictingOperation")
    );
    assert_eq!(site.follow(&deleting).await.status, 204);
    assert!(site.get(&job_path("open")).await.is(404, "ResourceNotFound"));
    assert!(port_open(&site, "hq-node1"), "deleting the record does not close the port");
}

#[tokio::test]
async fn a_name_never_runs_twice() {
    let site = Site::new().await;
    let request = || Some(provision("lin-02", "hq-node1"));
    let started = site.send(Method::PUT, &job_path("open"), request()).await;
    let busy = site.send(Method::PUT, &job_path("open"), request()).await;
    assert!(busy.is(409, "ConflictingOperation"));
    assert!(site.send(Method::DELETE, &job_path("open"), None).await.is(409, "ConflictingOperation"));
    site.follow(&started).await;
    let same = site.send(Method::PUT, &job_path("open"), request()).await;
    assert_eq!((same.status, &same.body["properties"]["status"]), (200, &json!("Succeeded")));
    let other = site.send(Method::PUT, &job_path("open"), Some(provision("db-01", "hq-node1"))).await;
    assert!(other.is(409, "Conflict"));
    let effects = site.lab.ledger().iter().filter(|entry| entry.effect).count();
    assert_eq!(effects, 1);
}

#[tokio::test]
async fn the_service_closes_the_port_after_eight_hours() {
    let mut site = Site::new().await;
    site.provision("open", "lin-02", "hq-node1").await;
    site.clock.step(7 * 3600);
    site.sign_in().await;
    site.provision("again", "db-01", "hq-node1").await;
    assert!(port_open(&site, "hq-node1"));
    site.clock.step(3600);
    assert!(!port_open(&site, "hq-node1"), "a second opening does not extend the time");
}

#[tokio::test]
async fn closing_for_one_vm_closes_the_host() {
    let site = Site::new().await;
    site.provision("one", "lin-02", "hq-node1").await;
    site.provision("two", "db-01", "hq-node1").await;
    let closing = site.send(Method::PUT, &job_path("close"), Some(remove("db-01", "hq-node1"))).await;
    site.follow(&closing).await;
    assert!(!port_open(&site, "hq-node1"));
}

#[tokio::test]
async fn requests_that_cannot_come_true_fail_with_a_reason() {
    let site = Site::new().await;
    let foreign = json!({"properties": {"jobType": "VmConnectProvision", "vmConnectProvisionJobDetails":
        [{"vmName": "app-01", "nodeName": "hq-node3", "vmResourceGroupName": "rg-apps"}]}});
    for (job, request, code) in [
        ("wrong-node", provision("web-01", "hq-node1"), Some("VirtualMachineNotOnNode")),
        ("no-node", provision("web-01", "hq-node9"), Some("NodeNotFound")),
        ("fqdn", provision("web-01", "hq-node2.edge.contoso.com"), Some("NodeNotFound")),
        ("off", provision("file-01", "hq-node1"), Some("VirtualMachineNotRunning")),
        ("elsewhere", provision("app-01", "hq-node3"), Some("VirtualMachineNotFound")),
        ("elsewhere-named", foreign, None),
    ] {
        let started = site.send(Method::PUT, &job_path(job), Some(request)).await;
        assert_eq!(started.status, 201, "{job}");
        let end = site.follow(&started).await;
        let shown = site.get(&job_path(job)).await.body["properties"].clone();
        match code {
            Some(code) => {
                assert_eq!(
                    (end.status, &end.body["status"], end.code()),
                    (200, &json!("Failed"), code),
                    "{job}"
                );
                assert_eq!(
                    (&shown["provisioningState"], &shown["status"]),
                    (&json!("Failed"), &json!("ValidationFailed"))
                );
                let step = &shown["reportedProperties"]["validationStatus"]["steps"][0];
                assert_eq!(step["error"]["code"], code, "{job}");
                assert!(step["recommendedSteps"][0].is_string(), "{job}");
            }
            None => assert_eq!(end.body["status"], "Succeeded", "{job}"),
        }
    }
}

#[tokio::test]
async fn an_old_cluster_and_an_old_api_do_not_know_vm_connect() {
    let site = Site::new().await;
    let branch = job_path("open").replace("/hq/", "/branch/");
    let refused = site.send(Method::PUT, &branch, Some(provision("pos-01", "br-node1"))).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.message().contains("jobType") && refused.message().contains("10.2411.3.2"),
        "{}",
        refused.message()
    );
    let stable = job_path("open").replace(JOBS, "2026-10-01");
    let refused = site.send(Method::PUT, &stable, Some(provision("web-01", "hq-node2"))).await;
    assert!(refused.is(400, "InvalidParameter"));
}

#[tokio::test]
async fn validating_opens_nothing() {
    let site = Site::new().await;
    let mut request = provision("lin-02", "hq-node1");
    request["properties"]["deploymentMode"] = json!("Validate");
    let started = site.send(Method::PUT, &job_path("check"), Some(request)).await;
    assert_eq!(site.follow(&started).await.body["status"], "Succeeded");
    assert!(!port_open(&site, "hq-node1"));
}
