//! Every fault acts where its name says, and only there.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    CLUSTER, INSTANCE, JOBS, MACHINE, Site, group, instance, job_path, provision, remove, retry_after,
};

fn new_group() -> Option<Value> {
    Some(json!({"location": "eastus"}))
}

#[tokio::test]
async fn reply_lost_does_the_work_and_says_nothing() {
    let site = Site::with(&["reply-lost=2"]).await;
    assert!(site.try_send(Method::PUT, &group("a"), new_group()).await.is_some());
    assert!(site.try_send(Method::PUT, &group("b"), new_group()).await.is_none());
    assert_eq!(site.get(&group("b")).await.status, 200, "it was made all the same");
    let last = &site.lab.ledger()[1];
    assert_eq!((last.status, last.effect), (201, true));
    assert!(site.try_send(Method::PUT, &group("c"), new_group()).await.is_some());
}

#[tokio::test]
async fn reset_before_does_nothing() {
    let site = Site::with(&["reset-before"]).await;
    assert!(site.try_send(Method::PUT, &group("a"), new_group()).await.is_none());
    assert_eq!(site.get(&group("a")).await.status, 404);
    assert_eq!(site.lab.ledger(), []);
    assert_eq!(site.lab.requests()[1].status, 0);
}

#[tokio::test]
async fn throttled_takes_the_recorded_bodies_in_turn() {
    let site = Site::with(&["throttled=5"]).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        let answer = site.get(&group("rg-edge")).await;
        assert_eq!(answer.status, 429);
        seen.push((answer.code().to_owned(), retry_after(&answer)));
    }
    let expected = [
        ("SubscriptionRequestsThrottled", 6),
        ("ResourceRequestsThrottled", 324),
        ("RetryableError", 12),
        ("OperationNotAllowed", 20),
        ("429", 293),
    ];
    assert_eq!(seen, expected.map(|(code, seconds)| (code.to_owned(), seconds)));
    assert_eq!(site.get(&group("rg-edge")).await.status, 200);

    let quiet = Site::with(&["throttled=no-header,writes"]).await;
    assert_eq!(quiet.get(&group("rg-edge")).await.status, 200);
    let refused = quiet.send(Method::PUT, &group("a"), new_group()).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, None));
    assert_eq!(quiet.send(Method::PUT, &group("a"), new_group()).await.status, 201);
}

#[tokio::test]
async fn slow_takes_ten_times_as_long() {
    let site = Site::with(&["slow"]).await;
    site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    site.clock.step(2000);
    assert_eq!(site.get(&job_path("open")).await.body["properties"]["provisioningState"], "InProgress");
    site.clock.step(700);
    assert_eq!(site.get(&job_path("open")).await.body["properties"]["provisioningState"], "Succeeded");
}

#[tokio::test]
async fn flaps_spoils_every_third_read() {
    let site = Site::with(&["flaps"]).await;
    let mut seen = Vec::new();
    for _ in 0..9 {
        seen.push(site.get(&group("rg-edge")).await.status);
    }
    assert_eq!(seen, [200, 200, 503, 200, 200, 502, 200, 200, 500]);
    assert_eq!(site.send(Method::PUT, &group("a"), new_group()).await.status, 201, "writes pass");
}

#[tokio::test]
async fn stuck_never_gets_anywhere() {
    let site = Site::with(&["stuck"]).await;
    let started = site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    site.clock.step(3000);
    assert_eq!(site.get(started.header("azure-asyncoperation").expect("an address")).await.status, 202);
    assert_eq!(site.get(&job_path("open")).await.body["properties"]["provisioningState"], "InProgress");
    assert_eq!(site.lab.snapshot()["clusters"][0]["nodes"][0]["port_open"], false);
}

#[tokio::test]
async fn never_ends_does_the_work_but_does_not_say_so() {
    let site = Site::with(&["never-ends"]).await;
    let started = site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    site.clock.step(3000);
    assert_eq!(site.get(started.header("azure-asyncoperation").expect("an address")).await.status, 202);
    assert_eq!(site.get(&job_path("open")).await.body["properties"]["provisioningState"], "Succeeded");
}

#[tokio::test]
async fn succeeded_but_updating_lags_behind() {
    let site = Site::with(&["succeeded-but-updating"]).await;
    assert_eq!(site.provision("open", "lin-02", "hq-node1").await.body["status"], "Succeeded");
    assert_eq!(site.get(&job_path("open")).await.body["properties"]["provisioningState"], "InProgress");
    assert_eq!(site.lab.snapshot()["clusters"][0]["nodes"][0]["port_open"], false);
    site.clock.step(45);
    assert_eq!(site.get(&job_path("open")).await.body["properties"]["provisioningState"], "Succeeded");
    assert_eq!(site.lab.snapshot()["clusters"][0]["nodes"][0]["port_open"], true);
}

#[tokio::test]
async fn other_spelling_changes_case_and_words() {
    let site = Site::with(&["other-spelling"]).await;
    let vm = site.get(&instance("web-01", "", INSTANCE)).await.body;
    assert_eq!(vm["type"], "microsoft.azurestackhci/virtualmachineinstances");
    assert_eq!(vm["properties"]["provisioningState"], "succeeded");
    assert_eq!(vm["properties"]["hostNodeName"], "HQ-NODE2");
    assert!(
        vm["id"]
            .as_str()
            .is_some_and(|id| { id.contains("/resourcegroups/rg-edge/providers/microsoft.hybridcompute/") })
    );
    assert_eq!(site.provision("open", "web-01", "HQ-NODE2").await.body["status"], "succeeded");
}

#[tokio::test]
async fn host_moves_leaves_the_port_open_on_the_wrong_node() {
    let site = Site::with(&["host-moves"]).await;
    assert_eq!(site.provision("open", "lin-02", "hq-node1").await.body["status"], "Succeeded");
    assert_eq!(site.vm("lin-02").await["hostNodeName"], "hq-node2");
    let nodes = site.lab.snapshot()["clusters"][0]["nodes"].clone();
    assert_eq!((&nodes[0]["port_open"], &nodes[1]["port_open"]), (&json!(true), &json!(false)));
    let closing = site.send(Method::PUT, &job_path("close"), Some(remove("lin-02", "hq-node1"))).await;
    assert_eq!(
        site.follow(&closing).await.body["status"],
        "Succeeded",
        "removing does not need the VM to be there"
    );
    assert_eq!(site.provision("again", "lin-02", "hq-node2").await.body["status"], "Succeeded");
    assert_eq!(site.vm("lin-02").await["hostNodeName"], "hq-node2", "it moves once");
}

#[tokio::test]
async fn token_expires_once_in_the_middle_of_polling() {
    let mut site = Site::with(&["token-expires"]).await;
    assert_eq!(site.get(&group("rg-edge")).await.status, 200);
    let started = site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    let url = started.header("azure-asyncoperation").expect("an address").to_owned();
    site.clock.step(15);
    let refused = site.get(&url).await;
    assert!(refused.is(401, "ExpiredAuthenticationToken") && refused.header("www-authenticate").is_some());
    assert!(site.get(&url).await.is(401, "ExpiredAuthenticationToken"));
    assert!(site.lab.violations()[0].contains("used again"));
    site.sign_in().await;
    assert_eq!(site.get(&url).await.status, 202);
}

#[tokio::test]
async fn cae_challenge_wants_a_new_token_and_may_want_its_claims() {
    let mut site = Site::with(&["cae-challenge"]).await;
    assert_eq!(site.get(&group("rg-edge")).await.status, 401);
    site.sign_in().await;
    assert_eq!(site.get(&group("rg-edge")).await.status, 200);

    let mut site = Site::with(&["cae-challenge=claims"]).await;
    let refused = site.get(&group("rg-edge")).await;
    let header = refused.header("www-authenticate").expect("a challenge").to_owned();
    let claims = header.split("claims=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("claims");
    let claims = String::from_utf8(STANDARD.decode(claims).expect("base64")).expect("text");
    site.sign_in().await;
    assert_eq!(site.get(&group("rg-edge")).await.status, 401, "a token without the claims is no answer");
    let encoded: String = claims.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = site.ask_token(&format!("{}&claims={encoded}", site.token_form())).await;
    site.token = answer.body["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(site.get(&group("rg-edge")).await.status, 200);
}

#[tokio::test]
async fn old_api_lists_what_is_registered() {
    let site = Site::with(&["old-api"]).await;
    let refused = site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    assert!(refused.is(400, "NoRegisteredProviderFound"));
    let list = "The supported api-versions are '2026-02-15-preview, 2026-03-01-preview, 2026-05-01-preview'.";
    assert!(refused.message().contains(list), "{}", refused.message());
    let older = job_path("open").replace(JOBS, "2026-05-01-preview");
    assert_eq!(site.send(Method::PUT, &older, Some(provision("lin-02", "hq-node1"))).await.status, 201);
    let provider = site.get("{s}/providers/Microsoft.AzureStackHCI?api-version=2022-09-01").await;
    assert!(!provider.text.contains("2026-06-01-preview"), "the provider's own list agrees");

    let site = Site::with(&["old-api=2026-04-01-preview"]).await;
    let odd = job_path("open").replace(JOBS, "2026-04-01-preview");
    assert!(
        site.send(Method::PUT, &odd, Some(provision("lin-02", "hq-node1"))).await.is(400, "InvalidParameter")
    );
}

#[tokio::test]
async fn role_missing_names_action_and_scope() {
    let site = Site::with(&["role-missing=/clusters/"]).await;
    let refused = site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    assert!(refused.is(403, "AuthorizationFailed"));
    assert!(
        refused.message().contains("action 'Microsoft.AzureStackHCI/clusters/jobs/write'"),
        "{}",
        refused.message()
    );
    assert_eq!(site.send(Method::PUT, &group("a"), new_group()).await.status, 201);
    assert_eq!(site.get(&job_path("open")).await.status, 404, "reading is allowed");
}

#[tokio::test]
async fn job_fails_with_a_reason_in_the_step() {
    let site = Site::with(&["job-fails"]).await;
    let end = site.provision("open", "lin-02", "hq-node1").await;
    assert_eq!((&end.body["status"], end.code()), (&json!("Failed"), "VmConnectProvisionFailed"));
    let job = site.get(&job_path("open")).await.body["properties"].clone();
    assert_eq!((&job["provisioningState"], &job["status"]), (&json!("Failed"), &json!("DeploymentFailed")));
    let step = &job["reportedProperties"]["deploymentStatus"]["steps"][0];
    assert_eq!(step["error"]["code"], "VmConnectProvisionFailed");
    assert!(step["recommendedSteps"][0].is_string());
    assert_eq!(site.lab.snapshot()["clusters"][0]["nodes"][0]["port_open"], false);
}

#[tokio::test]
async fn garbage_comes_once_in_three_kinds() {
    for (fault, expected) in
        [("garbage=2", "<html>"), ("garbage=2,null", "null"), ("garbage=2,truncated", "{\"id\"")]
    {
        let site = Site::with(&[fault]).await;
        assert!(site.get(&group("rg-edge")).await.body.is_object());
        let bad = site.get(&group("rg-edge")).await;
        assert_eq!(bad.status, 200);
        assert!(bad.text.starts_with(expected) && bad.body.is_null(), "{fault}: {}", bad.text);
        assert!(site.get(&group("rg-edge")).await.body.is_object());
    }
}

#[tokio::test]
async fn long_poll_urls_are_as_long_as_azures() {
    let site = Site::with(&["long-poll-url"]).await;
    let started = site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    let length = started.header("azure-asyncoperation").map_or(0, str::len);
    assert!((3000..3300).contains(&length), "{length}");
    assert_eq!(site.follow(&started).await.body["status"], "Succeeded");
}

#[tokio::test]
async fn conflict_lasts_until_the_other_write_is_done() {
    let site = Site::with(&["conflict"]).await;
    let put = async || site.send(Method::PUT, &job_path("open"), Some(provision("lin-02", "hq-node1"))).await;
    assert!(put().await.is(409, "ConflictingOperation"));
    site.clock.step(59);
    assert!(put().await.is(409, "ConflictingOperation"));
    site.clock.step(1);
    assert_eq!(put().await.status, 201);
}

#[tokio::test]
async fn an_instance_is_in_touch_as_long_as_one_of_its_nodes_is() {
    for (fault, node, cluster) in [
        ("agent-offline=hq-node2", "Disconnected", "Connected"),
        ("agent-offline=hq-node1", "Connected", "Connected"),
        ("agent-offline", "Disconnected", "NotConnectedRecently"),
    ] {
        let site = Site::with(&[fault]).await;
        let below = "{s}/resourceGroups/rg-edge/providers";
        let path = format!("{below}/Microsoft.HybridCompute/machines/hq-node2?api-version={MACHINE}");
        assert_eq!(site.get(&path).await.body["properties"]["status"], node, "{fault}");
        let path = format!("{below}/Microsoft.AzureStackHCI/clusters/hq?api-version={CLUSTER}");
        assert_eq!(site.get(&path).await.body["properties"]["connectivityStatus"], cluster, "{fault}");
    }
}

#[tokio::test]
async fn vm_actions_may_carry_one_header_only() {
    for (fault, status, location) in [("location-only", false, true), ("async-only", true, false)] {
        let site = Site::with(&[fault]).await;
        let started = site.send(Method::POST, &instance("db-01", "/stop", INSTANCE), None).await;
        let carried = ["azure-asyncoperation", "location"].map(|name| started.header(name).is_some());
        assert_eq!(carried, [status, location], "{fault}");
        assert_eq!(site.follow(&started).await.status, 200, "{fault}");
        assert_eq!(site.vm("db-01").await["status"]["powerState"], "Stopped", "{fault}");
    }
}
