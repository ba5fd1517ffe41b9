//! What Azure's own clients do over Arc: unmodified, and with the same state of the lab in the end as after our operations.

use std::process::{Command, Stdio};

use relight_lab::Lab;
use serde_json::{Value, json};

use super::{Az, Site, azure_cli, python};
use crate::support::world::differences;

/// The same with our operations.
const OURS: &str = r#"
    let app = arc::machine("app-01", #{ group: "rg-apps" });
    arm::register("Microsoft.HybridConnectivity");
    arc::endpoint_create(app);
    arc::service_configure(app);
    let ran = arc::run_command(app, "echo once >> /tmp/ran; cat /tmp/ran");
    arc::extension_install(app, "Microsoft.Azure.ActiveDirectory", "AADSSHLoginForLinux");
    arc::extension_install(app, "Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent");
    arc::extension_remove(app, "AzureMonitorLinuxAgent");
    ran.output
"#;

/// Returns a site on which our operations did that.
async fn by_us() -> Site {
    let site = Site::start(240).await;
    let whole = format!("/*---\ntitle = \"ours\"\neffects = [\"azure:write\"]\n---*/\n{OURS}");
    let file = site.sealed.write("work/ours.rhai", &whole).display().to_string();
    let place = format!("--lab={}", site.card.display());
    assert_eq!(site.sealed.relight(["run", &file, &place]).run().succeeds(), "once\n\n");
    site
}

/// Asserts that two labs are in the same state, on the machine as well.
fn are_alike(ours: &Lab, theirs: &Lab) {
    assert_eq!(differences(&ours.snapshot(), &theirs.snapshot()), Vec::<String>::new());
    for lab in [ours, theirs] {
        assert_eq!(lab.guest_file("app-01", "/tmp/ran").as_deref(), Some(&b"once\n"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_typed_sdks_work_in_the_lab_and_come_to_the_same_end() {
    let Some(python) = python("python3") else { return };
    let site = Site::start(240).await;
    let about = site.lab.descriptor();
    let card = site.sealed.write("descriptor.json", &serde_json::to_string(&about).unwrap());
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/sdk.py"))
        .arg(card)
        .args(["rg-apps", "app-01"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", site.sealed.path("home"))
        .env("REQUESTS_CA_BUNDLE", site.sealed.write("ca.pem", &about.ca_pem))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(seen["relay"].take().is_string());
    assert_eq!(
        seen,
        json!({
            "status": "Connected",
            "before": 404,
            "endpoint": "Succeeded",
            "port": 22,
            "relay": null,
            "services": ["SSH"],
            "ran": ["Succeeded", 0, "once\n"],
            "commands": ["by-sdk"],
            "extension": "Succeeded",
            "extensions": ["AADSSHLoginForLinux"],
            "removed": 404,
        })
    );
    are_alike(&by_us().await.lab, &site.lab);
    // Azure's SDKs look at a status address for the first time at once, whatever they were told.
    let is_early = |it: &String| it.starts_with("poll of ") && it.contains("before the Retry-After");
    let complaints = site.lab.violations().into_iter().filter(|it| !is_early(it));
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<String>::new());
}

/// Azure's own extensions of the CLI come from the network; what they send goes through `az rest` as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_azure_cli_comes_to_the_same_end() {
    let Some(program) = azure_cli() else { return };
    let site = Site::start(240).await;
    let about = site.lab.descriptor();
    let az = Az::new(&program, &site);
    az.sign_in(&about);
    az.json(&["provider", "register", "--namespace", "Microsoft.HybridConnectivity", "--wait"]);
    let machine = format!(
        "{}/subscriptions/{}/resourceGroups/rg-apps/providers/Microsoft.HybridCompute/machines/app-01",
        about.url, about.subscription
    );
    let location = az.get(&format!("{machine}?api-version=2024-07-10"))["location"].clone();
    let send = |method: &str, path: &str, version: &str, body: Value| {
        let url = format!("{machine}/{path}?api-version={version}");
        az.json(&["rest", "--method", method, "--url", &url, "--body", &body.to_string()])
    };
    const ENDPOINTS: &str = "2023-03-15";
    let endpoint = "providers/Microsoft.HybridConnectivity/endpoints/default";
    send("put", endpoint, ENDPOINTS, json!({"properties": {"type": "default"}}));
    let service = format!("{endpoint}/serviceConfigurations/SSH");
    let made = send("put", &service, ENDPOINTS, json!({"properties": {"serviceName": "SSH", "port": 22}}));
    assert_eq!(made["properties"]["port"], 22);
    let given =
        send("post", &format!("{endpoint}/listCredentials"), ENDPOINTS, json!({"serviceName": "SSH"}));
    assert!(given["relay"]["serviceConfigurationToken"].is_string());

    let settled = |path: &str, version: &str| {
        let deadline = std::time::Instant::now() + super::PATIENCE;
        loop {
            let now = az.get(&format!("{machine}/{path}?api-version={version}"));
            if ["Succeeded", "Failed"].iter().any(|it| now["properties"]["provisioningState"] == *it) {
                return now;
            }
            assert!(std::time::Instant::now() < deadline, "{now}");
        }
    };
    let gone = |path: &str, version: &str| {
        let url = format!("{machine}/{path}?api-version={version}");
        az.json(&["rest", "--method", "delete", "--url", &url]);
        let folder = format!("{machine}/{}?api-version={version}", path.split('/').next().unwrap());
        let deadline = std::time::Instant::now() + super::PATIENCE;
        let name = path.rsplit('/').next().unwrap();
        while super::names(&az.get(&folder)["value"]).iter().any(|it| it == name) {
            assert!(std::time::Instant::now() < deadline, "{path} stays");
        }
    };
    const COMMANDS: &str = "2026-07-15";
    let script = json!({"location": location, "properties": {
        "source": {"script": "echo once >> /tmp/ran; cat /tmp/ran"}, "asyncExecution": false, "timeoutInSeconds": 60}});
    send("put", "runCommands/by-az", COMMANDS, script);
    let ran = settled("runCommands/by-az", COMMANDS);
    assert_eq!(ran["properties"]["instanceView"]["output"], "once\n", "{ran}");
    gone("runCommands/by-az", COMMANDS);

    const EXTENSIONS: &str = "2024-07-10";
    for (publisher, kind) in [
        ("Microsoft.Azure.ActiveDirectory", "AADSSHLoginForLinux"),
        ("Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent"),
    ] {
        let body = json!({"location": location, "properties": {"publisher": publisher, "type": kind}});
        send("put", &format!("extensions/{kind}"), EXTENSIONS, body);
        let there = settled(&format!("extensions/{kind}"), EXTENSIONS);
        assert_eq!(there["properties"]["provisioningState"], "Succeeded", "{there}");
    }
    gone("extensions/AzureMonitorLinuxAgent", EXTENSIONS);
    are_alike(&by_us().await.lab, &site.lab);
    site.is_content();
}
