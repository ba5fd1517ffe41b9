//! Every request that our operations send, against the API descriptions that Microsoft publishes.
//!
//! The lab is our own reading of Azure; this is Microsoft's. All shipped runbooks and all examples of the operations
//! run on the lab while every request is written down. Each must then be an operation of a description, with a body,
//! a name and a query that the description allows. Of the newest API versions only type lists are published, and of
//! some versions nothing: then the nearest version counts, and the output says so.
//!
//! The descriptions lie outside the repository: parts of Azure/azure-rest-api-specs (`specification/`) and
//! Azure/bicep-types-az (`bicep-types-az/`). `RELIGHT_SPECS` names the folder; without one the tests are skipped.

mod swagger;
mod types;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use relight_engine::{Driven, Effect, Engine, RunRequest, Secret, event::RunEnd};
use relight_stdlib::ssh::KnownHosts;
use relight_stdlib::{
    Azure, Dialer, Here,
    azure::{Arm, Cloud, Credential, SentRequest},
};
use serde_json::{Value, json};
use swagger::{Request, Shelf};

use crate::support::world::{SHIPPED, World};

/// A runbook with its parameters.
type Run = (&'static str, &'static [(&'static str, &'static str)]);

/// The shipped runbooks with parameters that lead them through all their branches. Each group has a site of its own.
const RUNS: &[&[Run]] = &[
    &[
        ("recover-unbootable-vm", &[("vm", "web-01")]),
        ("disable-vm-connect", &[("vm", "web-01")]),
        ("disable-vm-connect", &[("vm", "web-01")]),
    ],
    &[
        ("recover-unbootable-vm", &[("vm", "app-01"), ("group", "rg-apps"), ("cluster", "hq")]),
        ("disable-vm-connect", &[("vm", "app-01"), ("group", "rg-apps")]),
    ],
    &[
        ("enable-arc-ssh", &[("machine", "db-01")]),
        ("enable-arc-ssh", &[("machine", "db-01"), ("port", "2222")]),
        ("disable-arc-ssh", &[("machine", "db-01")]),
        ("disable-arc-ssh", &[("machine", "db-01")]),
    ],
    &[
        ("connect-azure-vm", &[("vm", "jump-01"), ("group", "rg-cloud")]),
        ("open-ssh-port", &[("vm", "api-01"), ("group", "rg-cloud"), ("source", "203.0.113.7")]),
        ("start-and-wait", &[("vm", "jump-01"), ("group", "rg-cloud")]),
        (
            "reset-access",
            &[
                ("vm", "jump-01"),
                ("group", "rg-cloud"),
                ("user", "azureuser"),
                ("ask", "false"),
                ("by", "run_command"),
                ("key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti"),
            ],
        ),
        (
            "reset-access",
            &[
                ("vm", "jump-01"),
                ("group", "rg-cloud"),
                ("user", "azureuser"),
                ("ask", "false"),
                ("reset_sshd", "true"),
                ("password", "env:APP_PASSWORD"),
            ],
        ),
        ("troubleshoot-ssh", &[("machine", "app-01"), ("group", "rg-apps"), ("ask", "false")]),
        ("connect-over-arc", &[("machine", "app-01"), ("group", "rg-apps")]),
        ("enable-arc-ssh", &[("machine", "app-01"), ("group", "rg-apps")]),
        ("enable-entra-ssh", &[("machine", "app-01"), ("group", "rg-apps")]),
        ("enable-entra-ssh", &[("machine", "api-01"), ("group", "rg-cloud"), ("identity", "true")]),
        ("enable-entra-ssh", &[("machine", "sql-01"), ("group", "rg-cloud"), ("desktop", "true")]),
        ("enable-openssh", &[("machine", "sql-01"), ("group", "rg-cloud")]),
        ("verify-host-keys", &[("machine", "app-01"), ("group", "rg-apps")]),
        ("run-on-machine", &[("machine", "app-01"), ("group", "rg-apps"), ("script", "hostname")]),
        (
            "add-ssh-key",
            &[
                ("machine", "app-01"),
                ("group", "rg-apps"),
                ("user", "azureuser"),
                ("key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti"),
            ],
        ),
        (
            "copy-files",
            &[
                ("machine", "app-01"),
                ("group", "rg-apps"),
                ("user", "azureuser"),
                ("password", "env:APP_PASSWORD"),
                ("direction", "download"),
                ("local", "etc"),
                ("remote", "/etc/ssh"),
            ],
        ),
        (
            "rdp-over-ssh",
            &[
                ("machine", "app-01"),
                ("group", "rg-apps"),
                ("user", "azureuser"),
                ("password", "env:APP_PASSWORD"),
                ("rdp_port", "22"),
                ("open_for", "1m"),
            ],
        ),
    ],
    &[
        ("collect-diagnostics", &[("machine", "jump-01"), ("group", "rg-cloud"), ("folder", "jump")]),
        ("collect-diagnostics", &[("machine", "app-01"), ("group", "rg-apps"), ("folder", "app")]),
    ],
    &[("rescue", &[("vm", "web-01"), ("ask", "false")])],
    &[("restart-vm", &[("vm", "db-01")])],
    &[("restart-vm", &[("vm", "file-01")])],
    &[("restart-vm", &[("vm", "web-01"), ("force", "true")])],
    &[("site-report", &[])],
    &[("site-report", &[("group", "rg-edge")])],
];

/// What is nowhere described in the folder: Azure Resource Manager's own subscriptions, resource groups, providers and
/// permissions.
fn is_resource_manager(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let Some((_, below)) = path.rsplit_once("/providers/") else { return true };
    let (_, what) = below.split_once('/').unwrap_or((below, ""));
    matches!(what, "" | "register") || below == "microsoft.authorization/permissions"
}

/// What is described, but not in the folder: of Azure's networks it has interfaces, public addresses and security groups, and of its
/// virtual machines all but the images of extensions.
fn is_elsewhere(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ["/providers/microsoft.network/virtualnetworks/", "/artifacttypes/vmextension/"]
        .iter()
        .any(|part| path.contains(part))
}

/// What the descriptions of Compute take from a file that is not in the folder.
fn shared_by_compute() -> (PathBuf, Value) {
    let text =
        |place: &str, name: &str| json!({ "in": place, "name": name, "required": true, "type": "string" });
    let string = || json!({ "type": "string" });
    let strings = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let resource = json!({ "properties": {
        "id": string(), "name": string(), "type": string(), "location": string(), "tags": strings } });
    let document = json!({
        "parameters": {
            "ApiVersionParameter": text("query", "api-version"),
            "SubscriptionIdParameter": text("path", "subscriptionId"),
        },
        "definitions": {
            "Resource": resource,
            "ResourceWithOptionalLocation": resource,
            "SubResource": { "properties": { "id": string() } },
        },
    });
    ("specification/compute/resource-manager/Microsoft.Compute/common-types/v1/common.json".into(), document)
}

/// Addresses that Azure makes up and hands out, to be used as they are: those of long-running operations.
fn is_opaque(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let is_status = path.contains("/locations/") && path.contains("/operations/");
    is_status || path.contains("/operationstatus") || path.contains("/operationresults/")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_one_that_azure_describes() {
    let Some(shelf) = shelf() else { return };
    let sent = collect().await;
    let mut report = Report::default();
    for request in &sent {
        report.add(&shelf, request);
    }
    println!("{report}");
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    for expected in [
        "PUT clusters/jobs",
        "GET clusters/jobs",
        "POST virtualMachineInstances/powerOff",
        "POST virtualMachineInstances/restart",
        "GET virtualMachineInstances",
        "GET machines",
        "GET edgeDevices",
        "PUT machines/extensions",
        "GET machines/extensions",
        "DELETE machines/extensions",
    ] {
        assert!(report.seen.contains(expected), "nothing sent {expected}: {:?}", report.seen);
    }
}

/// What can be read below the resource group of the `edge` world.
const READABLE: &[&str] = &[
    "Microsoft.AzureStackHCI/clusters",
    "Microsoft.AzureStackHCI/clusters/hq",
    "Microsoft.AzureStackHCI/clusters/hq/arcSettings",
    "Microsoft.AzureStackHCI/clusters/hq/arcSettings/default",
    "Microsoft.AzureStackHCI/clusters/hq/deploymentSettings",
    "Microsoft.AzureStackHCI/clusters/hq/deploymentSettings/default",
    "Microsoft.AzureStackHCI/clusters/hq/jobs",
    "Microsoft.AzureStackHCI/logicalNetworks/hq-lnet",
    "Microsoft.AzureStackHCI/networkInterfaces/web-01-nic",
    "Microsoft.AzureStackHCI/virtualHardDisks",
    "Microsoft.AzureStackHCI/virtualHardDisks/web-01-osdisk",
    "Microsoft.HybridCompute/machines",
    "Microsoft.HybridCompute/machines/web-01",
    "Microsoft.HybridCompute/machines/hq-node1",
    "Microsoft.HybridCompute/machines/db-01/extensions",
    "Microsoft.HybridCompute/machines/db-01/extensions/AzureMonitorWindowsAgent",
    "Microsoft.HybridCompute/machines/db-01/runCommands",
    "Microsoft.HybridCompute/machines/db-01/runCommands/keys",
    "Microsoft.HybridCompute/machines/hq-node1/providers/Microsoft.AzureStackHCI/edgeDevices",
    "Microsoft.HybridCompute/machines/hq-node1/providers/Microsoft.AzureStackHCI/edgeDevices/default",
    "Microsoft.HybridCompute/machines/web-01/providers/Microsoft.AzureStackHCI/virtualMachineInstances",
    "Microsoft.HybridCompute/machines/web-01/providers/Microsoft.AzureStackHCI/virtualMachineInstances/default",
];

/// What can be read below its resource group for VMs in Azure.
const READABLE_IN_AZURE: &[&str] = &[
    "Microsoft.Compute/virtualMachines",
    "Microsoft.Compute/virtualMachines/jump-01",
    "Microsoft.Compute/virtualMachines/jump-01/instanceView",
    "Microsoft.Compute/virtualMachines/batch-01/instanceView",
    "Microsoft.Compute/virtualMachines/jump-01/extensions",
    "Microsoft.Compute/virtualMachines/jump-01/runCommands",
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Network/networkInterfaces/jump-01-nic",
    "Microsoft.Network/publicIPAddresses",
    "Microsoft.Network/publicIPAddresses/batch-01-ip",
    "Microsoft.Network/networkSecurityGroups",
    "Microsoft.Network/networkSecurityGroups/shut-nsg",
    "Microsoft.Network/networkSecurityGroups/shut-nsg/securityRules",
    "Microsoft.Network/networkSecurityGroups/shut-nsg/defaultSecurityRules/DenyAllInBound",
];

/// The lab's answers, under every described version that it offers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_the_lab_is_one_that_azure_describes() {
    let Some(shelf) = shelf() else { return };
    let desk = Desk::new().await;
    // With the console open there is a job to be read.
    desk.carry(&desk.world.request("recover-unbootable-vm", &[("vm", "web-01")]), "recover").await;
    let below = format!(
        "/subscriptions/{}/resourceGroups/rg-edge/providers",
        desk.world.lab.descriptor().subscription
    );
    let script = format!(
        r#"arm::put("{below}/Microsoft.HybridCompute/machines/db-01/runCommands/keys", "2026-07-15",
            #{{ location: "eastus", properties: #{{ source: #{{ script: "hostname" }} }} }})"#
    );
    desk.carry(&desk.world.script(&["azure:write"], &script), "a run command").await;
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    let mut problems = BTreeSet::new();
    let in_azure = below.replace("rg-edge", "rg-cloud");
    let places = READABLE.iter().map(|name| (&below, name));
    for (below, name) in places.chain(READABLE_IN_AZURE.iter().map(|name| (&in_azure, name))) {
        let read =
            Request { method: "GET".into(), path: format!("{below}/{name}"), query: Vec::new(), body: None };
        for operation in shelf.operations(&read) {
            let Some(body) = desk.read(&read.path, operation.version).await else { continue };
            if let Some(found) = shelf.check_answer(&operation, &body) {
                *held.entry(name).or_default() += 1;
                // A subnet is there by its id alone, and its own description is not in the folder.
                let found =
                    found.into_iter().filter(|p| !p.contains("virtualNetwork.json#/definitions/Subnet"));
                problems.extend(found.map(|p| format!("{name} @ {}: {p}", operation.version)));
            }
        }
    }
    println!("{held:#?}");
    assert!(problems.is_empty(), "{problems:#?}");
    for kind in [
        "clusters/hq",
        "deploymentSettings/default",
        "edgeDevices/default",
        "extensions/AzureMonitorWindowsAgent",
        "runCommands/keys",
        "virtualHardDisks",
        "virtualMachineInstances/default",
    ] {
        assert!(
            held.keys().any(|name| name.ends_with(kind)),
            "no answer of {kind} was held against anything: {held:?}"
        );
    }
}

#[test]
fn what_is_wrong_in_an_answer_is_found() {
    let Some(shelf) = shelf() else { return };
    let machine = "machines/m/providers/Microsoft.AzureStackHCI";
    let common = |name: &str| json!({"id": "/x", "name": name, "type": "t", "kind": "HCI"});
    let with = |mut body: Value, more: Value| {
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (read, body, says) in [
        (
            hybrid("GET", &format!("{machine}/virtualMachineInstances/default"), "2024-08-01-preview", None),
            json!({"name": "default", "identity": null}),
            "body.identity must be object, not null",
        ),
        (
            request("GET", "virtualHardDisks/d", "2024-08-01-preview", None),
            json!({"location": "eastus", "properties": {"status": {"managedBy": []}}}),
            "managedBy is not a known field",
        ),
        (
            request("GET", "clusters/c/deploymentSettings/default", "2024-09-01-preview", None),
            json!({"name": "default", "properties": {"arcNodeResourceIds": [], "deploymentMode": "Deploy"}}),
            "deploymentConfiguration is missing",
        ),
        (
            hybrid("GET", &format!("{machine}/edgeDevices/default"), "2024-09-01-preview", None),
            with(
                common("default"),
                json!({"properties": {"reportedProperties": {"networkProfile": {"nicDetails": [{"switchName": null}]}}}}),
            ),
            "switchName must be string, not null",
        ),
    ] {
        let operations = shelf.operations(&read);
        let operation = operations.iter().find(|o| o.version == read.version()).expect("a description");
        let found = shelf.check_answer(operation, &body).expect("a schema");
        assert!(found.iter().any(|problem| problem.contains(says)), "{says}: {found:?}");
    }
}

#[test]
fn what_is_wrong_is_found() {
    let Some(shelf) = shelf() else { return };
    let job = |body: Value| request("PUT", "clusters/hq/jobs/vmc-p-1", "2026-05-01-preview", Some(body));
    let details = |details: Value| {
        json!({"properties": {"jobType": "VmConnectProvision", "deploymentMode": "Deploy",
            "vmConnectProvisionJobDetails": details}})
    };
    let right = job(details(json!([{"vmName": "web-01", "nodeName": "n1", "vmResourceGroupName": "g"}])));
    assert_eq!(refusal(&shelf, &right), "");

    let machine = "machines/m/providers/Microsoft.AzureStackHCI/virtualMachineInstances/default";
    let power_off =
        |body: Value| hybrid("POST", &format!("{machine}/powerOff"), "2026-04-01-preview", Some(body));
    assert_eq!(refusal(&shelf, &power_off(json!({"skipShutdown": true}))), "");
    let old = |method: &str, path: &str, body: Option<Value>| {
        hybrid(method, &format!("{machine}{path}"), "2024-08-01-preview", body)
    };
    assert_eq!(refusal(&shelf, &old("POST", "/start", None)), "");
    let mut with_query = old("GET", "", None);
    with_query.query.push(("$expand".to_owned(), "all".to_owned()));

    let extension =
        |method: &str, version: &str, body| hybrid(method, "machines/m/extensions/x", version, body);

    for (wrong, says) in [
        (job(details(json!([{"vmName": "web-01", "duration": 8}]))), "duration is not a known field"),
        (job(details(json!([{"nodeName": "n1"}]))), "vmName is missing"),
        (job(details(json!({"vmName": "web-01"}))), "must be array"),
        (job(details(json!([{"vmName": 1}]))), "must be string"),
        (job(json!({"properties": {"jobType": "VmConnectProvison"}})), "there is no `VmConnectProvison`"),
        (job(json!({"properties": {"deploymentMode": "Deploy"}})), "cannot be told what this is"),
        (
            job(json!({"properties": {"jobType": "VmConnectRemove", "vmConnectProvisionJobDetails": []}})),
            "not a known field",
        ),
        (
            job(
                json!({"id": "/x", "properties": {"jobType": "VmConnectRemove", "vmConnectRemoveJobDetails": []}}),
            ),
            "id is read-only",
        ),
        (
            request("PUT", "clusters/hq/jobs/a_b", "2026-05-01-preview", Some(details(json!([])))),
            "does not fit the pattern",
        ),
        (request("PUT", "clusters/hq/jobs/abc", "2026-05-01-preview", None), "the body is missing"),
        (
            request("PUT", "clusters/hq/job/abc", "2026-05-01-preview", Some(details(json!([])))),
            "no description",
        ),
        (
            request("PATCH", "clusters/hq/jobs/abc", "2026-05-01-preview", Some(details(json!([])))),
            "no description",
        ),
        (request("GET", "clusters/hq", "", None), "no api-version"),
        (power_off(json!({"skipShutdown": "yes"})), "must be boolean"),
        (power_off(json!({"force": true})), "force is not a known field"),
        (old("POST", "/strat", None), "no description"),
        (old("POST", "/start", Some(json!({}))), "there must be no body"),
        (old("PATCH", "", Some(json!({"properties": {"vmId": "x"}}))), "not a known field"),
        (old("PUT", "", Some(json!({"properties": {"provisioningState": "Succeeded"}}))), "is read-only"),
        (
            extension(
                "PUT",
                "2024-07-10",
                Some(json!({"location": "eastus", "properties": {"version": "1"}})),
            ),
            "version is not a known field",
        ),
        (
            extension("PUT", "2026-07-15", Some(json!({"properties": {"publisher": "p"}}))),
            "location is missing",
        ),
        (extension("POST", "2024-07-10", None), "no description"),
        (with_query, "no query parameter `$expand`"),
    ] {
        let refusal = refusal(&shelf, &wrong);
        assert!(refusal.contains(says), "{wrong:?} should be refused with `{says}`, not with `{refusal}`");
    }
}

fn request(method: &str, below: &str, version: &str, body: Option<Value>) -> Request {
    let path = format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.AzureStackHCI/{below}");
    at(method, path, version, body)
}

fn hybrid(method: &str, below: &str, version: &str, body: Option<Value>) -> Request {
    let path = format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.HybridCompute/{below}");
    at(method, path, version, body)
}

fn at(method: &str, path: String, version: &str, body: Option<Value>) -> Request {
    let query = [version].into_iter().filter(|v| !v.is_empty());
    Request {
        method: method.to_owned(),
        path,
        query: query.map(|v| ("api-version".to_owned(), v.to_owned())).collect(),
        body,
    }
}

/// Returns what is wrong with a request, nothing when it is right.
fn refusal(shelf: &Shelf, request: &Request) -> String {
    match judge(shelf, request) {
        Verdict::Described { problems, .. } => problems.join("; "),
        Verdict::Unknown(problem) => problem,
        Verdict::Undescribed => "nothing is described".to_owned(),
    }
}

/// What the descriptions say about a request.
enum Verdict {
    /// One of them has the operation.
    Described {
        /// Which, and how good a witness it is.
        by: String,
        /// What it does not allow.
        problems: Vec<String>,
    },
    /// They know the provider but not this.
    Unknown(String),
    /// They do not know the provider.
    Undescribed,
}

fn judge(shelf: &Shelf, request: &Request) -> Verdict {
    if let Some(operation) = shelf.operations(request).first() {
        let asked = request.version();
        let by = match operation.version == asked {
            true => operation.file.display().to_string(),
            false => format!("{} (nearest to {asked})", operation.file.display()),
        };
        return Verdict::Described { by, problems: shelf.check(operation, request) };
    }
    match provider(&request.path) {
        Some(namespace) if shelf.knows(&namespace) => {
            Verdict::Unknown(format!("no description has {} {}", request.method, request.path))
        }
        _ => Verdict::Undescribed,
    }
}

/// Returns the last resource provider of a path.
fn provider(path: &str) -> Option<String> {
    let mut segments = path.split('/').rev();
    let before = segments.clone().skip(1);
    let found = segments.by_ref().zip(before).find(|(_, before)| before.eq_ignore_ascii_case("providers"));
    found.map(|(namespace, _)| namespace.to_owned())
}

/// What all requests came to.
#[derive(Default)]
struct Report {
    described: BTreeMap<String, usize>,
    undescribed: BTreeMap<String, usize>,
    opaque: usize,
    seen: BTreeSet<String>,
    problems: BTreeSet<String>,
}

impl Report {
    fn add(&mut self, shelf: &Shelf, request: &Request) {
        let name = format!("{} {}", request.method, shape(&request.path));
        self.seen.insert(name.clone());
        if request.method == "GET" && is_opaque(&request.path) {
            self.opaque += 1;
            return;
        }
        match judge(shelf, request) {
            Verdict::Described { by, problems } => {
                *self.described.entry(by).or_default() += 1;
                self.problems.extend(problems.into_iter().map(|p| format!("{name}: {p}")));
            }
            Verdict::Undescribed | Verdict::Unknown(_)
                if is_resource_manager(&request.path) || is_elsewhere(&request.path) =>
            {
                *self.undescribed.entry(name).or_default() += 1;
            }
            Verdict::Undescribed => {
                self.problems.insert(format!("{name}: nothing is described"));
            }
            Verdict::Unknown(problem) => {
                self.problems.insert(problem);
            }
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total = |counts: &BTreeMap<String, usize>| counts.values().sum::<usize>();
        writeln!(f, "{} requests were held against a description:", total(&self.described))?;
        for (by, count) in &self.described {
            writeln!(f, "  {count:5} {by}")?;
        }
        writeln!(f, "{} requests have none:", total(&self.undescribed) + self.opaque)?;
        for (name, count) in &self.undescribed {
            writeln!(f, "  {count:5} {name}")?;
        }
        write!(f, "  {:5} addresses of operations, made up by the service", self.opaque)
    }
}

/// Returns the types of a path without the names, from the last provider on: `clusters/jobs`.
fn shape(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let provider = segments.iter().rposition(|s| s.eq_ignore_ascii_case("providers"));
    let below = provider.map_or(&segments[..], |at| &segments[(at + 2).min(segments.len())..]);
    below.iter().step_by(2).copied().collect::<Vec<_>>().join("/")
}

/// Reads the descriptions, or says that there are none.
fn shelf() -> Option<Shelf> {
    let root = std::env::var_os("RELIGHT_SPECS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs"), PathBuf::from);
    if !root.is_dir() {
        println!(
            "skipped: there are no API descriptions at {}; RELIGHT_SPECS names another folder",
            root.display()
        );
        return None;
    }
    let mut shelf = Shelf::default();
    put_on(&mut shelf, &root, &root);
    let (file, document) = shared_by_compute();
    shelf.add(file, document);
    assert!(shelf.len() > 0, "there is not one description below {}", root.display());
    Some(shelf)
}

fn put_on(shelf: &mut Shelf, root: &Path, folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_owned();
        if path.is_dir() {
            if name != "examples" {
                put_on(shelf, root, &path);
            }
            continue;
        }
        let read = || std::fs::read_to_string(&path).unwrap();
        let document = match path.extension().and_then(|ending| ending.to_str()) {
            Some("json") => serde_json::from_str(&read()).unwrap(),
            Some("md") if name == "types.md" => types::to_swagger(&read()).unwrap(),
            _ => continue,
        };
        shelf.add(path.strip_prefix(root).unwrap().to_owned(), document);
    }
}

/// Runs the shipped runbooks and the examples of all operations, and returns every request that was sent.
async fn collect() -> Vec<Request> {
    let mut sent = Vec::new();
    for runs in RUNS {
        let desk = Desk::new().await;
        for (runbook, params) in *runs {
            desk.carry(&desk.world.request(runbook, params), runbook).await;
        }
        sent.append(&mut desk.sent());
    }
    // It signs in with a file that nobody has here; what it runs is among the others.
    const ELSEWHERE: &str = "first-linux-vm";
    let shipped: BTreeSet<_> =
        SHIPPED.iter().map(|(name, _)| *name).filter(|name| *name != ELSEWHERE).collect();
    let run: BTreeSet<_> = RUNS.iter().flat_map(|runs| runs.iter()).map(|(name, _)| *name).collect();
    assert_eq!(run, shipped, "every shipped runbook is run");

    let effects = Effect::ALL.map(|(_, word)| word);
    for operation in Desk::new().await.engine.operations() {
        for example in operation.examples.iter().filter(|e| e.world == Some("edge")) {
            let desk = Desk::new().await;
            let title = format!("{}: {}", operation.name, example.title);
            desk.carry(&desk.world.script(&effects, example.script), &title).await;
            sent.append(&mut desk.sent());
        }
    }
    sent
}

/// A site, and an engine whose requests are written down.
struct Desk {
    world: World,
    engine: Engine,
    sent: Arc<Mutex<Vec<SentRequest>>>,
}

impl Desk {
    async fn new() -> Self {
        let world = World::new().await.secret("env:APP_PASSWORD", relight_lab::GUEST_PASSWORD);
        let about = world.lab.descriptor();
        let mut cloud = Cloud::public();
        cloud.arm = about.url.parse().unwrap();
        cloud.login = cloud.arm.clone();
        cloud.audience.clone_from(&about.url);
        let credential = Credential::ClientSecret {
            tenant: about.tenant,
            client_id: about.client_id,
            secret: Secret::new(about.client_secret),
        };
        let sent = Arc::new(Mutex::new(Vec::new()));
        let seen = sent.clone();
        let clock = Arc::new(world.clock.clone());
        let arm = Arm::builder(cloud.with_ca_bundle(about.ca_pem.into_bytes()), credential)
            .clock(clock.clone())
            .on_request(move |request| {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
            })
            .build()
            .unwrap();
        let group = about.resource_group.clone();
        let azure = Azure {
            arm,
            subscription: Some(about.subscription),
            group: Some(about.resource_group),
            dial: Dialer::direct(),
            known_hosts: KnownHosts::in_memory(),
            here: Here { proxy: Some("relight proxy".to_owned()), viewer: None },
        };
        let engine = Engine::builder()
            .operations(relight_stdlib::all(&azure))
            .library(crate::support::world::shipped())
            .clock(clock)
            .secrets(world.pocket())
            .environment(Arc::new(move |name| (name == "AZURE_DEFAULTS_GROUP").then(|| group.clone())))
            .build()
            .unwrap();
        Desk { world, engine, sent }
    }

    /// Runs to the end, which must be a good one: what fails on the way does not send the rest.
    async fn carry(&self, request: &RunRequest, title: &str) {
        let run = self.engine.prepare(request).await.unwrap_or_else(|e| panic!("{title}: {e:?}"));
        let driven = self.engine.run(&run).await.unwrap_or_else(|e| panic!("{title}: {e:?}"));
        assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{title}: {driven:?}");
    }

    /// Reads a resource of the lab, or returns nothing when it does not offer the version.
    async fn read(&self, path: &str, version: &str) -> Option<Value> {
        let script = format!(
            "try {{ arm::get({path:?}, {version:?}) }} catch (e) {{ if e.service_code == \"NoRegisteredProviderFound\" {{ () }} else {{ throw e }} }}"
        );
        let run = self.engine.prepare(&self.world.script(&["azure:read"], &script)).await.unwrap();
        match self.engine.run(&run).await.unwrap() {
            Driven::Ended(RunEnd::Succeeded { value }) => Some(value).filter(|value| !value.is_null()),
            other => panic!("{path} @ {version}: {other:?}"),
        }
    }

    fn sent(&self) -> Vec<Request> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().map(as_sent).collect()
    }
}

fn as_sent(request: &SentRequest) -> Request {
    // Azure makes up the token of a further page, as it does the rest of that address.
    let query = request.url.query_pairs().filter(|(name, _)| !name.eq_ignore_ascii_case("$skiptoken"));
    Request {
        method: request.method.as_str().to_owned(),
        path: request.url.path().to_owned(),
        query: query.map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        body: request.body.clone(),
    }
}
