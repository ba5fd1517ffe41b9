//! The unmodified Azure CLI on the lab's virtual machines in Azure: it comes to the same end as our operations.

use serde_json::{Value, json};

use super::{Az, Site, azure_cli};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

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

    let publisher = ["--publisher", "Microsoft.Azure.ActiveDirectory"];
    let extension =
        of("vm extension set --vm-name jump-01 --name AADSSHLoginForLinux --version 1.0", &publisher);
    assert_eq!(extension["provisioningState"], "Succeeded");

    of("vm user update --name jump-01 --username azureuser", &["--ssh-key-value", KEY]);
    let keys = site.lab.guest_file("jump-01", "/home/azureuser/.ssh/authorized_keys").unwrap_or_default();
    assert!(String::from_utf8_lossy(&keys).contains(KEY), "VMAccess let nobody in");

    let rule = [
        "--priority",
        "500",
        "--source-address-prefixes",
        "203.0.113.9",
        "--destination-port-ranges",
        "22",
        "--access",
        "Allow",
        "--protocol",
        "Tcp",
    ];
    let made = of("network nsg rule create --nsg-name shut-nsg --name by-az", &rule);
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
    // Azure's own client does not wait before its first look.
    let is_early = |it: &String| it.starts_with("poll of ") && it.contains("before the Retry-After");
    let complaints = site.lab.violations().into_iter().filter(|it| !is_early(it));
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<String>::new());
}
