//! Extensions of Arc machines: their shapes as recorded, and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{MACHINE, Site};

fn path(machine: &str, name: &str) -> String {
    format!(
        "{{s}}/resourceGroups/rg-edge/providers/Microsoft.HybridCompute/machines/{machine}/extensions{name}?api-version={MACHINE}"
    )
}

fn ssh() -> Value {
    json!({"location": "eastus", "properties": {"publisher": "Microsoft.Azure.OpenSSH", "type": "WindowsOpenSSH",
        "typeHandlerVersion": "3.0", "settings": {"port": 22}, "protectedSettings": {"key": "s3cret"}}})
}

#[tokio::test]
async fn an_extension_is_installed_read_and_removed() {
    let site = Site::new().await;
    let ssh_path = path("db-01", "/ssh");
    let started = site.send(Method::PUT, &ssh_path, Some(ssh())).await;
    assert_eq!((started.status, started.text.as_str(), started.header("retry-after")), (202, "", Some("15")));
    assert!(started.header("azure-asyncoperation").expect("an address").contains("/operationstatus/"));
    assert!(started.header("location").expect("an address").contains("/operationresults/"));
    let creating = site.get(&ssh_path).await.body;
    assert_eq!(creating["properties"]["provisioningState"], "Creating");
    assert_eq!(creating["properties"]["instanceView"], Value::Null);

    let ended = site.follow(&started).await;
    assert_eq!((ended.body["status"].clone(), ended.body["id"].clone()), (json!("Succeeded"), Value::Null));
    let shown = site.get(&ssh_path).await.body;
    assert_eq!(ended.body["properties"], shown);
    assert_eq!(shown["properties"]["settings"], json!({"port": 22}));
    assert!(!ended.text.contains("s3cret"), "what is protected does not come back");
    assert_eq!(shown["properties"]["instanceView"]["status"]["code"], "0");
    let all = site.get(&path("db-01", "")).await.body;
    assert_eq!(all["value"].as_array().expect("a list").len(), 2);
    assert_eq!(site.lab.snapshot()["extensions"][1]["installs"], 1);

    let removing = site.send(Method::DELETE, &ssh_path, None).await;
    assert_eq!(site.get(&ssh_path).await.body["properties"]["provisioningState"], "Deleting");
    assert_eq!(site.follow(&removing).await.body.get("properties"), None);
    assert_eq!(site.get(&ssh_path).await.status, 404);
    assert_eq!(site.send(Method::DELETE, &ssh_path, None).await.status, 204);
    assert_eq!(site.lab.violations(), [""; 0]);
}

#[tokio::test]
async fn an_installation_that_fails_says_so_twice() {
    let site = Site::with(&["extension-fails"]).await;
    let started = site.send(Method::PUT, &path("db-01", "/ssh"), Some(ssh())).await;
    let ended = site.follow(&started).await.body;
    assert_eq!((ended["status"].as_str(), ended["error"]["code"].is_string()), (Some("Failed"), true));
    let shown = site.get(&path("db-01", "/ssh")).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Failed");
    assert_eq!(shown["properties"]["instanceView"]["status"]["level"], "Error");
}

#[tokio::test]
async fn work_for_an_agent_that_is_away_is_kept_for_hours() {
    let mut site = Site::new().await;
    let started = site.send(Method::PUT, &path("web-01", "/ssh"), Some(ssh())).await;
    site.clock.step(5 * 3600);
    site.sign_in().await;
    assert_eq!(site.get(&path("web-01", "/ssh")).await.body["properties"]["provisioningState"], "Creating");
    site.clock.step(3600);
    site.sign_in().await;
    let ended = site.get(started.header("azure-asyncoperation").expect("an address")).await.body;
    assert_eq!(ended["status"], "Failed");
}

#[tokio::test]
async fn what_is_not_documented_is_refused() {
    let site = Site::new().await;
    let with = |at: &str, value: Value| {
        let mut body = ssh();
        let (parent, name) = at.rsplit_once('/').expect("a path");
        let fields = body.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        fields.insert(name.to_owned(), value);
        body
    };
    for (body, target) in [
        (with("/name", json!("ssh")), "name"),
        (with("/location", json!("westeurope")), "location"),
        (with("/properties/version", json!("1")), "properties.version"),
        (with("/properties/provisioningState", json!("Succeeded")), "properties.provisioningState"),
        (with("/properties/typeHandlerVersion", json!("newest")), "properties.typeHandlerVersion"),
        (with("/properties/settings", json!("{}")), "properties.settings"),
        (with("/properties/type", json!("")), "properties.type"),
        (with("/properties/enableAutomaticUpgrade", json!("true")), "properties.enableAutomaticUpgrade"),
    ] {
        let refused = site.send(Method::PUT, &path("db-01", "/ssh"), Some(body)).await;
        assert!(refused.is(400, "InvalidRequestContent"), "{target}: {refused:?}");
        assert_eq!(refused.body["error"]["target"], target);
    }
    let nowhere = site.send(Method::PUT, &path("nope", "/ssh"), Some(ssh())).await;
    assert!(nowhere.is(404, "ParentResourceNotFound"), "{nowhere:?}");
    let old = path("db-01", "/ssh").replace(MACHINE, "2019-01-01");
    assert!(site.send(Method::PUT, &old, Some(ssh())).await.is(400, "NoRegisteredProviderFound"));
    assert!(site.send(Method::PATCH, &path("db-01", "/ssh"), Some(ssh())).await.is(405, "MethodNotAllowed"));
    assert!(
        site.send(Method::DELETE, &path("db-01", "/ssh"), Some(json!({"force": true})))
            .await
            .is(400, "InvalidRequestContent")
    );
}

#[tokio::test]
async fn one_piece_of_work_at_a_time_and_one_extension_of_a_type() {
    let site = Site::new().await;
    let put = async |name: &str, body| site.send(Method::PUT, &path("db-01", name), Some(body)).await;
    let started = put("/ssh", ssh()).await;
    for (name, method) in [("/ssh", Method::PUT), ("/ssh", Method::DELETE), ("/other", Method::PUT)] {
        let body = (method == Method::PUT).then(ssh);
        assert!(site.send(method, &path("db-01", name), body).await.is(409, "HCRP409"), "{name}");
    }
    site.follow(&started).await;
    assert!(put("/other", ssh()).await.is(409, "PropertyChangeNotAllowed"));
    let mut another = ssh();
    another["properties"]["publisher"] = json!("Contoso");
    assert!(put("/ssh", another).await.is(409, "PropertyChangeNotAllowed"));
    assert_eq!(put("/ssh", ssh()).await.status, 202, "an unchanged request is carried out again");
}

fn in_azure(vm: &str, name: &str) -> String {
    format!(
        "{{s}}/resourceGroups/rg-cloud/providers/Microsoft.Compute/virtualMachines/{vm}/extensions/{name}?api-version=2024-07-01"
    )
}

fn wanted(publisher: &str, kind: &str, version: Option<&str>) -> Value {
    let mut body = json!({"location": "eastus", "properties": {"publisher": publisher, "type": kind}});
    if let Some(version) = version {
        body["properties"]["typeHandlerVersion"] = json!(version);
    }
    body
}

#[tokio::test]
async fn a_vm_in_azure_takes_what_the_region_has() {
    const ENTRA: &str = "Microsoft.Azure.ActiveDirectory";
    let site = Site::new().await;
    for (vm, body, status, code) in [
        ("jump-01", wanted(ENTRA, "AADSSHLogin", Some("1.0")), 404, "ArtifactNotFound"),
        ("jump-01", wanted("Contoso", "AADSSHLoginForLinux", Some("1.0")), 404, "ArtifactNotFound"),
        ("jump-01", wanted(ENTRA, "AADSSHLoginForLinux", Some("7.0")), 404, "ArtifactNotFound"),
        ("jump-01", wanted(ENTRA, "AADSSHLoginForLinux", Some("1.0.0")), 400, "InvalidParameter"),
        ("jump-01", wanted(ENTRA, "AADSSHLoginForLinux", None), 400, "InvalidParameter"),
        ("sql-01", wanted(ENTRA, "AADSSHLoginForLinux", Some("1.0")), 409, "OperationNotAllowed"),
        ("batch-01", wanted(ENTRA, "AADSSHLoginForLinux", Some("1.0")), 409, "OperationNotAllowed"),
    ] {
        let answer = site.send(Method::PUT, &in_azure(vm, "it"), Some(body.clone())).await;
        assert!(answer.is(status, code), "{vm} {body}: {} {}", answer.status, answer.text);
    }
    let list = "{s}/providers/Microsoft.Compute/locations/eastus/publishers/Microsoft.Azure.ActiveDirectory/artifacttypes/vmextension/types/AADLoginForWindows/versions?api-version=2024-07-01";
    let versions = site.get(list).await.body;
    assert_eq!(versions[2]["name"], "2.2.0.0", "{versions}");
    assert_eq!(site.get(&list.replace("AADLoginForWindows", "None")).await.status, 404);

    // Without an identity the installer fails, once the agent has tried.
    let body = wanted(ENTRA, "AADSSHLoginForLinux", Some("1.0"));
    let started = site.send(Method::PUT, &in_azure("api-01", "it"), Some(body)).await;
    assert_eq!(started.status, 201);
    let ended = site.follow(&started).await.body;
    assert!(ended["error"]["message"].as_str().is_some_and(|it| it.contains("exit status 22")), "{ended}");
}
