//! Run commands on Arc machines: what a script says, when, and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Site;

const NEWEST: &str = "2026-07-15";

fn path(group: &str, machine: &str, name: &str, version: &str) -> String {
    format!(
        "{{s}}/resourceGroups/{group}/providers/Microsoft.HybridCompute/machines/{machine}/runCommands{name}?api-version={version}"
    )
}

fn app(name: &str) -> String {
    path("rg-apps", "app-01", name, NEWEST)
}

fn script(text: &str, more: Value) -> Value {
    let mut properties = json!({"source": {"script": text}});
    if let (Some(all), Value::Object(more)) = (properties.as_object_mut(), more) {
        all.extend(more);
    }
    json!({"location": "eastus", "properties": properties})
}

impl Site {
    /// Runs a script to its end and returns what is told of it.
    async fn ran(&self, path: &str, body: Value) -> Value {
        let started = self.send(Method::PUT, path, Some(body)).await;
        assert!(matches!(started.status, 200 | 201), "{}", started.text);
        let ended = self.follow(&started).await;
        assert_eq!(ended.body["status"], "Succeeded", "{}", ended.text);
        let shown = self.get(path).await.body;
        assert_eq!(ended.body["properties"], shown);
        assert_eq!(shown["properties"]["provisioningState"], "Succeeded");
        shown["properties"]["instanceView"].clone()
    }
}

#[tokio::test]
async fn a_script_is_run_as_root_and_tells_how_it_ended() {
    let site = Site::new().await;
    let started =
        site.send(Method::PUT, &app("/one"), Some(script("whoami; echo no >&2; exit 3", json!({})))).await;
    assert_eq!(started.status, 201);
    assert_eq!(started.body["properties"]["provisioningState"], "Creating");
    assert_eq!(started.body["properties"]["instanceView"], json!({"executionState": "Pending"}));
    let busy = site.send(Method::PUT, &app("/one"), Some(script("true", json!({})))).await;
    assert!(busy.is(409, "Conflict"), "{}", busy.text);
    site.follow(&started).await;
    let view = &site.get(&app("/one")).await.body["properties"]["instanceView"];
    // A script that fails is no failure of Azure's.
    assert_eq!((&view["executionState"], &view["exitCode"]), (&json!("Failed"), &json!(3)));
    assert_eq!((&view["output"], &view["error"]), (&json!("root\n"), &json!("no\n")));

    // What it did stays: the next one sees it.
    let view = site.ran(&app("/two"), script("echo kept > /tmp/f", json!({}))).await;
    assert_eq!(view["executionState"], "Succeeded");
    let view =
        site.ran(&app("/three"), script("cat /tmp/f; sha256sum /etc/ssh/*.pub | wc -l", json!({}))).await;
    assert_eq!(view["output"], "kept\n2\n");
    assert_eq!(site.get(&app("")).await.body["value"].as_array().map(Vec::len), Some(3));

    let removed = site.send(Method::DELETE, &app("/one"), None).await;
    assert_eq!(removed.status, 202);
    site.follow(&removed).await;
    assert_eq!(site.get(&app("/one")).await.status, 404);
    assert_eq!(site.send(Method::DELETE, &app("/one"), None).await.status, 204);
    assert_eq!(site.lab.violations(), [""; 0]);
}

#[tokio::test]
async fn secrets_do_not_come_back_and_long_output_is_cut_at_its_front() {
    let site = Site::new().await;
    let more = json!({"parameters": [{"name": "WHO", "value": "me"}],
        "protectedParameters": [{"name": "KEY", "value": "s3cret"}]});
    let view = site.ran(&app("/p"), script("echo $WHO; printf %s $KEY | wc -c", more)).await;
    assert_eq!(view["output"], "me\n6\n");
    assert!(!site.get(&app("/p")).await.text.contains("s3cret"));
    let long = "x=0123456789; for a in 1 2 3 4 5 6 7 8; do x=$x$x; done; echo $x; echo $x; echo end";
    let view = site.ran(&app("/long"), script(long, json!({}))).await;
    let output = view["output"].as_str().unwrap_or_default();
    assert_eq!((output.len(), output.ends_with("\nend\n")), (4096, true));
}

#[tokio::test]
async fn a_script_may_be_late_or_nobody_may_wait_for_it() {
    let site = Site::new().await;
    let view = site.ran(&app("/late"), script("sleep 100", json!({"timeoutInSeconds": 60}))).await;
    assert_eq!(view["executionState"], "TimedOut");
    let shown =
        site.ran(&app("/async"), script("sleep 300; echo done", json!({"asyncExecution": true}))).await;
    assert_eq!(shown["executionState"], "Running");
    site.clock.step(310);
    let view = site.get(&app("/async")).await.body["properties"]["instanceView"].clone();
    assert_eq!((&view["executionState"], &view["output"]), (&json!("Succeeded"), &json!("done\n")));
}

#[tokio::test]
async fn an_agent_out_of_touch_never_takes_it_up() {
    let site = Site::with(&["agent-offline=app-01"]).await;
    let started = site.send(Method::PUT, &app("/x"), Some(script("true", json!({})))).await;
    assert_eq!(started.status, 201);
    site.clock.step(3000);
    let shown = site.get(&app("/x")).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Creating");
    assert_eq!(shown["properties"]["instanceView"]["executionState"], "Pending");
    assert_eq!(site.send(Method::DELETE, &app("/x"), None).await.status, 202);
}

#[tokio::test]
async fn windows_reads_its_host_keys_and_what_is_wrong_is_refused() {
    let site = Site::new().await;
    let db = |version| path("rg-edge", "db-01", "/keys", version);
    let view =
        site.ran(&db(NEWEST), script(r"Get-Content C:\ProgramData\ssh\ssh_host_*_key.pub", json!({}))).await;
    let output = view["output"].as_str().unwrap_or_default();
    assert_eq!((output.lines().count(), output.contains("ssh-ed25519 AAAA")), (2, true), "{view}");

    for version in ["2024-07-10", "2022-11-10"] {
        let refused = site.send(Method::PUT, &db(version), Some(script("exit", json!({})))).await;
        assert!(refused.is(400, "NoRegisteredProviderFound"), "{}", refused.text);
    }
    let good = script("exit", json!({}));
    for (name, body) in [
        ("/a!b", good.clone()),
        ("/x", json!({"location": "westus", "properties": {"source": {"script": "exit"}}})),
        ("/x", json!({"location": "eastus", "properties": {}})),
        ("/x", script("exit", json!({"timeout": 1}))),
        ("/x", script("exit", json!({"timeoutInSeconds": -1}))),
        ("/x", script("exit", json!({"parameters": {"a": "b"}}))),
    ] {
        let refused = site.send(Method::PUT, &path("rg-edge", "db-01", name, NEWEST), Some(body)).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
    }
}
