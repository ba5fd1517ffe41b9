//! ARM's manners and what can be read.

use reqwest::Method;
use serde_json::json;

use crate::support::{CLUSTER, INSTANCE, MACHINE, RESOURCES, Site, group, instance};

#[tokio::test]
async fn answers_carry_arms_headers_and_echo_ids_only_when_asked() {
    let site = Site::new().await;
    let url = format!("{}{}?api-version={RESOURCES}", site.about.url, site.scope());
    let request = || {
        let request = site.client.get(&url).bearer_auth(&site.token);
        request.header("x-ms-client-request-id", "mine").header("x-ms-correlation-request-id", "together")
    };
    let plain = request().send().await.expect("an answer");
    let asked = request().header("x-ms-return-client-request-id", "true").send().await.expect("an answer");
    assert!(plain.headers().get("x-ms-client-request-id").is_none());
    assert_eq!(asked.headers()["x-ms-client-request-id"], "mine");
    assert_eq!(plain.headers()["x-ms-correlation-request-id"], "together");
    assert!(plain.headers().contains_key("x-ms-request-id"));
    let routing = plain.headers()["x-ms-routing-request-id"].to_str().expect("text");
    assert!(routing.starts_with("EASTUS:20261120T080000Z:"), "{routing}");
    assert_eq!(plain.headers()["x-ms-ratelimit-remaining-subscription-reads"], "249");
    assert_eq!(asked.headers()["x-ms-ratelimit-remaining-subscription-reads"], "248");
    assert_eq!(asked.headers()["x-ms-ratelimit-remaining-subscription-global-reads"], "3720");
}

#[tokio::test]
async fn subscriptions_groups_and_providers_are_read() {
    let site = Site::new().await;
    let list = site.get("/subscriptions?api-version=2022-12-01").await;
    assert_eq!(list.body["value"][0]["subscriptionId"], site.about.subscription);
    assert_eq!(site.get(&format!("{{s}}?api-version={RESOURCES}")).await.body["state"], "Enabled");
    let groups = site.get(&format!("{{s}}/resourcegroups?api-version={RESOURCES}")).await;
    assert_eq!(groups.body["value"][1]["name"], "rg-apps");
    let provider =
        site.get(&format!("{{s}}/providers/microsoft.azurestackhci?api-version={RESOURCES}")).await;
    let types = provider.body["resourceTypes"].as_array().expect("types").clone();
    let jobs = types.iter().find(|t| t["resourceType"] == "clusters/jobs").expect("jobs");
    assert_eq!(jobs["apiVersions"][0], "2026-10-15-preview");
    let register = format!("{{s}}/providers/Microsoft.AzureStackHCI/register?api-version={RESOURCES}");
    let registered = site.send(Method::POST, &register, None).await;
    assert_eq!(registered.body["registrationState"], "Registered");
}

#[tokio::test]
async fn resources_come_in_pages_with_an_empty_one_between() {
    let site = Site::new().await;
    let mut next = "{s}/resources?api-version=2021-04-01".to_owned();
    let mut sizes = Vec::new();
    loop {
        let page = site.get(&next).await;
        assert_eq!(page.status, 200, "{page:?}");
        sizes.push(page.body["value"].as_array().expect("a page").len());
        match page.body["nextLink"].as_str() {
            Some(link) => next = link.to_owned(),
            None => break,
        }
    }
    assert_eq!(sizes, [4, 0, 22]);
    let filter = "%24filter=resourceType%20eq%20%27Microsoft.AzureStackHCI%2Fclusters%27";
    let clusters = site.get(&format!("{{s}}/resources?api-version=2021-04-01&{filter}")).await;
    assert_eq!(clusters.body["value"][1]["name"], "branch");
    let apps = "%24filter=resourceGroup%20eq%20%27rg-apps%27";
    let apps = site.get(&format!("{{s}}/resources?api-version=2021-04-01&{apps}")).await;
    assert_eq!(apps.body["value"][0]["name"], "app-01");
    let empty = site.get("{s}/resources?api-version=2021-04-01&%24filter=").await;
    assert_eq!(empty.status, 200, "the Azure CLI sends an empty filter");
    let odd = site.get("{s}/resources?api-version=2021-04-01&%24filter=tagName%20eq%20%27x%27").await;
    assert!(odd.is(400, "InvalidFilterInQueryString"));
}

#[tokio::test]
async fn ids_compare_without_case_and_double_slashes_pass() {
    let site = Site::new().await;
    let path = format!(
        "/{{s}}/RESOURCEGROUPS/RG-EDGE/PROVIDERS/microsoft.azurestackhci/CLUSTERS/HQ?API-VERSION={CLUSTER}"
    );
    let cluster = site.get(&path).await;
    assert_eq!((cluster.status, &cluster.body["name"]), (200, &json!("hq")));
}

#[tokio::test]
async fn the_cluster_names_its_nodes_and_arc_settings_their_machines() {
    let site = Site::new().await;
    let base = "{s}/resourceGroups/rg-edge/providers/Microsoft.AzureStackHCI/clusters/hq";
    let cluster = site.get(&format!("{base}?api-version={CLUSTER}")).await.body;
    assert_eq!(cluster["properties"]["status"], "ConnectedRecently");
    assert_eq!(cluster["properties"]["reportedProperties"]["nodes"][1]["name"], "hq-node2");
    let arc = site.get(&format!("{base}/arcSettings/default?api-version={CLUSTER}")).await.body;
    let machine = arc["properties"]["perNodeDetails"][1]["arcInstance"].as_str().expect("an id").to_owned();
    let node = site.get(&format!("{machine}?api-version={MACHINE}")).await.body;
    assert_eq!(node["properties"]["cloudMetadata"]["provider"], "AzSHCI");
    assert_eq!(node["properties"]["parentClusterResourceId"], cluster["id"]);
    let deployment = site.get(&format!("{base}/deploymentSettings/default?api-version={CLUSTER}")).await.body;
    assert_eq!(deployment["properties"]["arcNodeResourceIds"][1], machine.as_str());
    let device =
        format!("{machine}/providers/Microsoft.AzureStackHCI/edgeDevices/default?api-version=2025-10-01");
    let cards =
        site.get(&device).await.body["properties"]["reportedProperties"]["networkProfile"]["nicDetails"]
            .clone();
    assert_eq!(cards[0]["ip4Address"], site.vm("web-01").await["hostNodeIpAddress"]);
    assert!(cards[1]["ip4Address"].as_str().is_some_and(|ip| ip.starts_with("127.")));
    assert_eq!(site.lab.violations(), [""; 0]);
}

#[tokio::test]
async fn machines_are_nodes_and_vms() {
    let site = Site::new().await;
    let all =
        site.get(&format!("{{s}}/providers/Microsoft.HybridCompute/machines?api-version={MACHINE}")).await;
    let kinds = all.body["value"].as_array().expect("machines").iter().filter(|m| m["kind"] == "HCI").count();
    assert_eq!((all.body["value"].as_array().map(Vec::len), kinds), (Some(10), 6));
    let apps = "{s}/resourceGroups/rg-apps/providers/Microsoft.HybridCompute/machines";
    let apps = site.get(&format!("{apps}?api-version={MACHINE}")).await;
    assert_eq!(apps.body["value"][0]["name"], "app-01");
    let vm = "{s}/resourceGroups/rg-edge/providers/Microsoft.HybridCompute/machines/web-01";
    let vm = site.get(&format!("{vm}?api-version={MACHINE}")).await;
    assert_eq!(vm.body["properties"]["status"], "Disconnected");
}

#[tokio::test]
async fn host_fields_appear_with_the_api_versions_that_brought_them() {
    let site = Site::new().await;
    let fields = |version: &'static str| {
        let path = instance("db-01", "", version);
        let site = &site;
        async move {
            let vm = site.get(&path).await.body["properties"].clone();
            ["hyperVVmId", "hostNodeName", "hostNodeIpAddress"].map(|name| vm[name].is_string())
        }
    };
    assert_eq!(fields("2024-01-01").await, [false; 3]);
    assert_eq!(fields("2025-04-01-preview").await, [true, true, false]);
    assert_eq!(fields(INSTANCE).await, [true; 3]);
    let agent = site.vm("web-01").await["instanceView"]["vmAgent"]["statuses"][0]["displayStatus"].clone();
    assert_eq!(agent, "Connecting");
}

#[tokio::test]
async fn what_is_missing_is_named_as_azure_names_it() {
    let site = Site::new().await;
    let below = "providers/Microsoft.AzureStackHCI/clusters";
    let get = |path: String| {
        let site = &site;
        async move { site.get(&path).await }
    };
    let cluster = get(format!("{{s}}/resourceGroups/rg-edge/{below}/nope?api-version={CLUSTER}")).await;
    assert!(cluster.is(404, "ResourceNotFound"));
    let text = "The Resource 'Microsoft.AzureStackHCI/clusters/nope' under resource group 'rg-edge' was not found. For \
                more details please go to https://aka.ms/ARMResourceNotFoundFix";
    assert_eq!(cluster.message(), text);
    assert_eq!(cluster.header("x-ms-failure-cause"), Some("gateway"));
    let parent =
        get(format!("{{s}}/resourceGroups/rg-edge/{below}/nope/jobs?api-version=2026-10-15-preview")).await;
    assert!(parent.is(404, "ParentResourceNotFound"));
    let nowhere = get(format!("{{s}}/resourceGroups/nope/{below}/hq?api-version={CLUSTER}")).await;
    assert_eq!(
        (nowhere.code(), nowhere.message()),
        ("ResourceGroupNotFound", "Resource group 'nope' could not be found.")
    );
    assert!(
        get(format!("/subscriptions/nope/resourcegroups?api-version={RESOURCES}"))
            .await
            .is(404, "SubscriptionNotFound")
    );
}

#[tokio::test]
async fn api_versions_are_checked_per_type_with_the_list() {
    let site = Site::new().await;
    let jobs = "{s}/resourceGroups/rg-edge/providers/Microsoft.AzureStackHCI/clusters/hq/jobs";
    let old = site.get(&format!("{jobs}?api-version=2023-12-01-preview")).await;
    assert!(old.is(400, "NoRegisteredProviderFound"));
    assert!(
        old.message().contains("API version '2023-12-01-preview' for type 'clusters/jobs'"),
        "{}",
        old.message()
    );
    assert!(
        old.message().contains("The supported api-versions are '2026-10-15-preview, "),
        "{}",
        old.message()
    );
    assert!(site.get(jobs).await.is(400, "MissingApiVersionParameter"));
    assert!(
        site.get("{s}/resourcegroups?api-version=1999-01-01").await.is(400, "InvalidApiVersionParameter")
    );
    let unknown =
        "{s}/resourceGroups/rg-edge/providers/Microsoft.AzureStackHCI/moons/x?api-version=2026-04-30";
    assert!(site.get(unknown).await.is(404, "InvalidResourceType"));
    let nobody = "{s}/resourceGroups/rg-edge/providers/Microsoft.Moon/craters/x?api-version=2026-04-30";
    assert!(site.get(nobody).await.is(404, "InvalidResourceNamespace"));
}

#[tokio::test]
async fn head_answers_without_a_body() {
    let site = Site::new().await;
    let missing = site.send(Method::HEAD, &group("nope"), None).await;
    assert_eq!((missing.status, missing.text.as_str()), (404, ""));
    assert_eq!(site.send(Method::HEAD, &group("rg-edge"), None).await.status, 204);
}

#[tokio::test]
async fn groups_are_made_changed_and_deleted_by_location_only() {
    let site = Site::new().await;
    let path = group("rg-new");
    let made = site.send(Method::PUT, &path, Some(json!({"location": "East US", "tags": {"a": "1"}}))).await;
    assert_eq!((made.status, &made.body["location"]), (201, &json!("eastus")));
    let again = site.send(Method::PUT, &path, Some(json!({"location": "eastus", "tags": {"a": "1"}}))).await;
    assert_eq!(again.status, 200);
    let moved = site.send(Method::PUT, &path, Some(json!({"location": "westeurope"}))).await;
    assert!(moved.is(409, "InvalidResourceGroupLocation"));
    let patched = site.send(Method::PATCH, &path, Some(json!({"tags": {"b": "2"}}))).await;
    assert_eq!(patched.body["tags"], json!({"b": "2"}));

    let deleting = site.send(Method::DELETE, &path, None).await;
    assert_eq!(
        (deleting.status, deleting.text.as_str(), deleting.header("retry-after")),
        (202, "", Some("15"))
    );
    assert!(deleting.header("azure-asyncoperation").is_none());
    assert_eq!(site.get(&path).await.body["properties"]["provisioningState"], "Deleting");
    assert!(site.send(Method::DELETE, &path, None).await.is(409, "ResourceGroupBeingDeleted"));
    let end = site.follow(&deleting).await;
    assert_eq!((end.status, end.text.as_str()), (200, ""));
    assert!(site.get(&path).await.is(404, "ResourceGroupNotFound"));

    let effects: Vec<(u16, bool)> = site.lab.ledger().iter().map(|e| (e.status, e.effect)).collect();
    assert_eq!(effects, [(201, true), (200, false), (409, false), (200, true), (202, true), (409, false)]);
    let full = site.send(Method::DELETE, &group("rg-edge"), None).await;
    assert!(full.is(409, "ResourceGroupDeletionBlocked"));
}

#[tokio::test]
async fn parts_of_vms_are_read_by_group() {
    let site = Site::new().await;
    for (kind, name) in [
        ("logicalNetworks", "hq-lnet"),
        ("networkInterfaces", "db-01-nic"),
        ("virtualHardDisks", "db-01-osdisk"),
    ] {
        let base = format!("{{s}}/resourceGroups/rg-edge/providers/Microsoft.AzureStackHCI/{kind}");
        let list = site.get(&format!("{base}?api-version={INSTANCE}")).await.body["value"].clone();
        assert!(
            list.as_array().is_some_and(|all| all.iter().any(|part| part["name"] == name)),
            "{kind}: {list}"
        );
        assert_eq!(site.get(&format!("{base}/{name}?api-version={INSTANCE}")).await.status, 200, "{kind}");
        assert_eq!(site.get(&format!("{base}/nope?api-version={INSTANCE}")).await.status, 404, "{kind}");
    }
}

#[tokio::test]
async fn a_fleet_comes_in_pages_of_a_hundred() {
    use crate::support::Clock;
    let clock = Clock::new();
    let mut config = relight_lab::LabConfig::new(clock.as_now());
    config.world = "site-of-250".parse().expect("a world");
    let site = Site::start(config, clock).await;
    let mut next = format!("{{s}}/providers/Microsoft.HybridCompute/machines?api-version={MACHINE}");
    let mut pages = Vec::new();
    loop {
        let page = site.get(&next).await.body;
        pages.push(page["value"].as_array().expect("a page").len());
        match page["nextLink"].as_str() {
            Some(link) => next = link.to_owned(),
            None => break,
        }
    }
    assert_eq!(pages, [100, 100, 54]);
}

#[tokio::test]
async fn whether_a_thing_exists_is_answered_without_content() {
    let site = Site::new().await;
    let machine = "{s}/resourceGroups/rg-edge/providers/Microsoft.HybridCompute/machines";
    for (path, status) in [
        (format!("{machine}/web-01?api-version={MACHINE}"), 204),
        (format!("{machine}/none?api-version={MACHINE}"), 404),
        (format!("{machine}?api-version={MACHINE}"), 204),
    ] {
        let answer = site.send(Method::HEAD, &path, None).await;
        assert_eq!((answer.status, answer.text.as_str()), (status, ""), "{path}");
    }
}

#[tokio::test]
async fn a_page_is_as_long_as_the_client_wants_it() {
    let site = Site::new().await;
    for list in ["{s}/resources", "{s}/resourcegroups"] {
        let mut path = format!("{list}?api-version={RESOURCES}&$top=1");
        let mut names = Vec::new();
        loop {
            let page = site.get(&path).await;
            let items = page.body["value"].as_array().expect("a list").clone();
            assert!(items.len() <= 1, "{path}: {items:?}");
            names.extend(items.iter().map(|item| item["id"].to_string()));
            let Some(next) = page.body["nextLink"].as_str() else { break };
            path = next.strip_prefix(&site.about.url).expect("the lab's own address").to_owned();
        }
        let all = names.len();
        names.dedup();
        assert!(names.len() == all && all >= 2, "{list}: {names:?}");
    }
    for wrong in ["0", "1001", "x"] {
        let answer = site.get(&format!("{{s}}/resources?api-version={RESOURCES}&$top={wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn tags_are_put_and_patched_and_nothing_else() {
    let site = Site::new().await;
    let below = "{s}/resourceGroups/rg-edge/providers";
    for path in [
        format!("{below}/Microsoft.HybridCompute/machines/web-01?api-version={MACHINE}"),
        format!("{below}/Microsoft.HybridCompute/machines/hq-node1?api-version={MACHINE}"),
        format!("{below}/Microsoft.AzureStackHCI/clusters/hq?api-version={CLUSTER}"),
    ] {
        let mut whole = site.get(&path).await.body;
        whole["tags"] = json!({"owner": "edge"});
        let put = site.send(Method::PUT, &path, Some(whole.clone())).await;
        assert_eq!((put.status, &put.body["tags"]), (200, &json!({"owner": "edge"})), "{path}");
        let patch = site.send(Method::PATCH, &path, Some(json!({"tags": {"a": "b"}}))).await;
        assert_eq!((patch.status, &patch.body["tags"]), (200, &json!({"a": "b"})), "{path}");
        assert_eq!(site.get(&path).await.body["tags"], json!({"a": "b"}));

        let count = site.lab.ledger().iter().filter(|entry| entry.effect).count();
        site.send(Method::PATCH, &path, Some(json!({"tags": {"a": "b"}}))).await;
        assert_eq!(site.lab.ledger().iter().filter(|entry| entry.effect).count(), count, "nothing changed");

        let mut odd = whole.clone();
        odd["properties"]["moon"] = json!(1);
        for wrong in [json!({"tags": {"a": 1}}), odd, json!({"location": "moon", "tags": {}})] {
            assert_eq!(
                site.send(Method::PUT, &path, Some(wrong.clone())).await.status,
                400,
                "{path} {wrong}"
            );
        }
    }
    let missing = format!("{below}/Microsoft.HybridCompute/machines/none?api-version={MACHINE}");
    assert_eq!(site.send(Method::PATCH, &missing, Some(json!({"tags": {}}))).await.status, 404);
}
