//! Azure's own clients on the lab's virtual machines in Azure, unmodified: they come to the same end as our operations.

use std::process::{Command, Stdio};

use relight_lab::Lab;
use serde_json::{Value, json};

use super::{Az, Site, azure_cli, python};
use crate::support::world::differences;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

/// The same with our operations, as far as it lasts.
const OURS: &str = r#"
    let batch = compute::vm("batch-01", #{ group: "rg-cloud" });
    compute::start(batch);
    let jump = compute::vm("jump-01", #{ group: "rg-cloud" });
    let ran = compute::invoke_command(jump, "echo once >> /tmp/ran; cat /tmp/ran");
    let more = compute::run_command(jump, "echo twice >> /tmp/ran; exit 3", #{ may_fail: true });
    compute::extension_install(jump, "Microsoft.OSTCExtensions", "VMAccessForLinux", #{
        protected_settings: #{ username: "azureuser", ssh_key: KEY },
    });
    let api = compute::vm("api-01", #{ group: "rg-cloud" });
    let door = network::open_port(api, #{ source: "203.0.113.7" });
    let other = network::open_port(api, #{ source: "203.0.113.7", port: 23 });
    network::close_port(api, #{ port: 23 });
    [ran.output, more.exit_code, door.rules.len(), other.rules.len()]
"#;

/// What is done with the CLI below, with our operations.
const AS_AZ: &str = r#"
    let jump = compute::vm("jump-01", #{ group: "rg-cloud" });
    compute::invoke_command(jump, "echo once >> /tmp/ran; cat /tmp/ran");
    compute::extension_install(jump, "Microsoft.Azure.ActiveDirectory", "AADSSHLoginForLinux");
    let access = |settings| compute::extension_install(jump, "Microsoft.OSTCExtensions", "VMAccessForLinux", #{
        name: "enablevmaccess", settings: #{}, protected_settings: settings,
    });
    access.call(#{ username: "azureuser", ssh_key: KEY });
    access.call(#{ reset_ssh: true });
    compute::identity_assign("api-01", #{ group: "rg-cloud" });
    network::open_port("api-01", #{ group: "rg-cloud", source: "203.0.113.9" });
    compute::start("batch-01", #{ group: "rg-cloud" });
"#;

/// Returns a site on which a script of ours has run.
async fn on_a_site(script: &str) -> Site {
    let site = Site::start(240).await;
    let script = script.replace("KEY", &format!("{KEY:?}"));
    let whole = format!("/*---\ntitle = \"ours\"\neffects = [\"azure:write\"]\n---*/\n{script}");
    let file = site.sealed.write("work/ours.rhai", &whole).display().to_string();
    let place = format!("--lab={}", site.card.display());
    let said = site.sealed.relight(["run", &file, &place]).run().succeeds();
    site.sealed.write("said", &said);
    site
}

/// Returns a site on which our operations did what the SDKs do.
async fn by_us() -> Site {
    let site = on_a_site(OURS).await;
    let said = std::fs::read_to_string(site.sealed.path("said")).unwrap();
    let value: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(value, json!(["once\n", 3, 1, 2]));
    site
}

/// Asserts that two labs are in the same state, on the machine as well.
fn are_alike(ours: &Lab, theirs: &Lab) {
    let alike = |lab: &Lab| {
        let mut world = lab.snapshot();
        // Where both groups keep a port shut we let it through in both; what we closed is gone from either.
        world["security_groups"].as_array_mut().unwrap().retain(|it| it["name"] != "subnet-nsg");
        world
    };
    assert_eq!(differences(&alike(ours), &alike(theirs)), Vec::<String>::new());
    for lab in [ours, theirs] {
        assert_eq!(lab.guest_file("jump-01", "/tmp/ran").as_deref(), Some(&b"once\ntwice\n"[..]));
        let keys = lab.guest_file("jump-01", "/home/azureuser/.ssh/authorized_keys").unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&keys), format!("{KEY}\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_typed_sdks_work_on_virtual_machines_and_come_to_the_same_end() {
    let Some(python) = python("python3") else { return };
    let site = Site::start(240).await;
    let about = site.lab.descriptor();
    let card = site.sealed.write("descriptor.json", &serde_json::to_string(&about).unwrap());
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/azure_vms.py"))
        .arg(card)
        .arg(KEY)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", site.sealed.path("home"))
        .env("REQUESTS_CA_BUNDLE", site.sealed.write("ca.pem", &about.ca_pem))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        seen,
        json!({
            "before": ["PowerState/deallocated"],
            "after": ["PowerState/running"],
            "agent": "Ready",
            "ran": "Enable succeeded: \n[stdout]\nonce\n\n[stderr]\n",
            "exit_code": 3,
            "extension": ["Succeeded", null],
            "versions": ["1.4.3.0", "1.5.20.1"],
            "refused": "InvalidParameter",
            "rule": "Succeeded",
            "conflict": "SecurityRuleConflict",
            "effective": [
                "securityRules/allow-admin",
                "securityRules/allow-desktop",
                "securityRules/allow-web",
                "securityRules/by-sdk",
                "securityRules/deny-admin",
            ],
            "removed": 404,
            "address": true,
        })
    );
    are_alike(&by_us().await.lab, &site.lab);
    // Azure's SDKs look at a status address for the first time at once, whatever they were told.
    let is_early = |it: &String| it.starts_with("poll of ") && it.contains("before the Retry-After");
    let complaints = site.lab.violations().into_iter().filter(|it| !is_early(it));
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_azure_cli_works_on_virtual_machines() {
    let Some(program) = azure_cli() else { return };
    let site = Site::start(240).await;
    let az = Az::new(&program, &site);
    az.sign_in(&site.lab.descriptor());
    let of = |words: &str, more: &[&str]| -> Value {
        let mut all: Vec<&str> = words.split(' ').collect();
        all.extend(["--resource-group", "rg-cloud"]);
        all.extend(more);
        az.json(&all)
    };

    let log = of("vm boot-diagnostics get-boot-log --name jump-01", &[]);
    assert!(log.as_str().is_some_and(|log| log.contains("jump-01 login:")), "{log}");

    let script = ["--command-id", "RunShellScript", "--scripts", "echo once >> /tmp/ran; cat /tmp/ran"];
    let ran = of("vm run-command invoke --name jump-01", &script);
    assert_eq!(ran["value"][0]["message"], "Enable succeeded: \n[stdout]\nonce\n\n[stderr]\n");

    // Without a version it asks for the newest, as we do.
    let publisher = ["--publisher", "Microsoft.Azure.ActiveDirectory"];
    let extension = of("vm extension set --vm-name jump-01 --name AADSSHLoginForLinux", &publisher);
    assert_eq!(extension["provisioningState"], "Succeeded");

    of("vm user update --name jump-01 --username azureuser", &["--ssh-key-value", KEY]);
    let keys = site.lab.guest_file("jump-01", "/home/azureuser/.ssh/authorized_keys").unwrap_or_default();
    assert!(String::from_utf8_lossy(&keys).contains(KEY), "VMAccess let nobody in");
    of("vm user reset-ssh --name jump-01", &[]);
    of("vm identity assign --name api-01", &[]);

    let rule = [
        ["--priority", "999"],
        ["--source-address-prefixes", "203.0.113.9/32"],
        ["--destination-port-ranges", "22"],
        ["--access", "Allow"],
        ["--protocol", "Tcp"],
    ];
    let made = of("network nsg rule create --nsg-name shut-nsg --name by-az", rule.as_flattened());
    assert_eq!(made["provisioningState"], "Succeeded", "{made}");
    let effective = of("network nic list-effective-nsg --name api-01-nic", &[]).to_string();
    assert!(effective.contains("securityRules/by-az") && effective.contains("DenyAllInBound"), "{effective}");

    let view = of("vm get-instance-view --name batch-01", &["--query", "instanceView.statuses[].code"]);
    assert_eq!(view, json!(["ProvisioningState/succeeded", "PowerState/deallocated"]));
    of("vm start --name batch-01", &[]);
    let vms = &site.lab.snapshot()["azure_vms"];
    let batch = vms.as_array().and_then(|all| all.iter().find(|vm| vm["name"] == "batch-01")).cloned();
    assert_eq!(
        batch.map(|vm| (vm["power"].clone(), vm["starts"].clone())),
        Some((json!("running"), json!(1)))
    );
    let ours = on_a_site(AS_AZ).await;
    assert_eq!(differences(&ours.lab.snapshot(), &site.lab.snapshot()), Vec::<String>::new());
    // Azure's own client does not wait before its first look.
    let is_early = |it: &String| it.starts_with("poll of ") && it.contains("before the Retry-After");
    let complaints = site.lab.violations().into_iter().filter(|it| !is_early(it));
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<String>::new());
}
