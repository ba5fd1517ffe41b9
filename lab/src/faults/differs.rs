//! Another Azure than the one that was inferred: answers that differ in one thing each.

use serde_json::{Value, json};

use crate::http::{Body, Call, Reply};

/// What is different in the answers about one type.
struct Difference {
    name: &'static str,
    /// The namespace and the types of the path, and the action; a namespace alone is its provider.
    of: &'static str,
    act: Act,
}

enum Act {
    /// On the resource, or on each of a list.
    Resource(fn(&mut Value)),
    /// In place of a refusal.
    Instead(u16, fn() -> Value),
}

use Act::{Instead, Resource};

const fn differ(name: &'static str, of: &'static str, act: Act) -> Difference {
    Difference { name, of, act }
}

/// The names of all differences, in order.
pub(super) const NAMES: [&str; 24] = {
    let mut names = [""; 24];
    let mut at = 0;
    while at < names.len() {
        names[at] = ALL[at].name;
        at += 1;
    }
    names
};

static DENIAL: Difference = differ(
    "permissions-deny",
    "microsoft.hybridcompute/machines/microsoft.authorization/denyassignments",
    Resource(|list| {
        list["value"] = json!([{"properties": {"permissions": [
            {"actions": ["Microsoft.HybridCompute/machines/extensions/delete"], "notActions": []}]}}]);
    }),
);

const ALL: [Difference; 24] = [
    differ("vm-connect-versions", "microsoft.azurestackhci", Resource(|it| offer(it, "clusters/jobs"))),
    differ("versions-azure-local", "microsoft.azurestackhci", Resource(|it| offer(it, "clusters"))),
    differ("versions-arc", "microsoft.hybridcompute", Resource(|it| offer(it, "machines/runCommands"))),
    differ("versions-connectivity", "microsoft.hybridconnectivity", Resource(|it| take(it, "resourceTypes"))),
    differ("versions-compute", "microsoft.compute", Resource(|it| offer(it, "virtualMachines/extensions"))),
    differ(
        "versions-network",
        "microsoft.network",
        Resource(|it| {
            let types = it["resourceTypes"].as_array_mut().into_iter().flatten();
            types.for_each(|kind| kind["locations"] = json!(["Brazil South"]));
        }),
    ),
    differ(
        "job-words",
        "microsoft.azurestackhci/clusters/jobs",
        Resource(|it| it["properties"]["provisioningState"] = json!("Queued")),
    ),
    differ(
        "job-vm-name",
        "microsoft.azurestackhci/clusters/jobs",
        Resource(|it| {
            for list in ["vmConnectProvisionJobDetails", "vmConnectRemoveJobDetails"] {
                let details = it["properties"][list].as_array_mut().into_iter().flatten();
                details.for_each(|detail| detail["vmName"] = json!("0a1b2c3d"));
            }
        }),
    ),
    differ(
        "host-addresses",
        "microsoft.hybridcompute/machines/microsoft.azurestackhci/virtualmachineinstances",
        Resource(|it| it["properties"]["hostNodeIpAddress"] = json!("10.99.0.1")),
    ),
    differ(
        "machine-words",
        "microsoft.hybridcompute/machines",
        Resource(|it| it["properties"]["status"] = json!("Online")),
    ),
    differ(
        "extension-words",
        "microsoft.hybridcompute/machines/extensions",
        Resource(|it| it["properties"]["provisioningState"] = json!("Installed")),
    ),
    differ(
        "extension-version",
        "microsoft.hybridcompute/machines/extensions",
        Resource(|it| it["properties"]["protectedSettings"] = json!({"token": "in the clear"})),
    ),
    differ(
        "service-answers",
        "microsoft.hybridcompute/machines/microsoft.hybridconnectivity/endpoints/serviceconfigurations",
        Resource(|it| it["properties"]["port"] = json!("22")),
    ),
    differ(
        "credentials-refused",
        "microsoft.hybridcompute/machines/microsoft.hybridconnectivity/endpoints/listcredentials",
        Instead(
            409,
            || json!({"error": {"code": "ServiceNotEnabled", "message": "The service is not enabled."}}),
        ),
    ),
    differ(
        "permissions-answer",
        "microsoft.hybridcompute/machines/microsoft.authorization/permissions",
        Resource(|it| take(it, "actions")),
    ),
    differ(
        "permissions-deny",
        "microsoft.hybridcompute/machines/microsoft.authorization/permissions",
        Resource(|it| it["notActions"] = json!(["Microsoft.HybridCompute/machines/extensions/delete"])),
    ),
    differ(
        "run-command-view",
        "microsoft.hybridcompute/machines/runcommands",
        Resource(|it| take(&mut it["properties"], "instanceView")),
    ),
    differ(
        "run-command-exit-code",
        "microsoft.hybridcompute/machines/runcommands",
        Resource(|it| take(&mut it["properties"]["instanceView"], "exitCode")),
    ),
    differ(
        "run-command-async",
        "microsoft.hybridcompute/machines/runcommands",
        Resource(|it| it["properties"]["provisioningState"] = json!("Creating")),
    ),
    differ(
        "run-command-output",
        "microsoft.hybridcompute/machines/runcommands",
        Resource(|it| it["properties"]["instanceView"]["output"] = json!("x".repeat(5000))),
    ),
    differ(
        "vm-view",
        "microsoft.compute/virtualmachines",
        Resource(|it| it["properties"]["instanceView"]["statuses"] = json!([{"code": "Power/on"}])),
    ),
    differ(
        "diagnostics-refused",
        "microsoft.compute/virtualmachines/retrievebootdiagnosticsdata",
        Instead(200, || json!({"serialConsoleLogBlobUri": null})),
    ),
    differ(
        "group-answers",
        "microsoft.network/networksecuritygroups",
        Resource(|it| take(&mut it["properties"], "defaultSecurityRules")),
    ),
    differ(
        "effective-rules-off",
        "microsoft.network/networkinterfaces/effectivenetworksecuritygroups",
        Instead(200, || json!({"value": []})),
    ),
];

/// Offers one type of a provider under a version that nobody knows.
fn offer(provider: &mut Value, name: &str) {
    let types = provider["resourceTypes"].as_array_mut().into_iter().flatten();
    types
        .filter(|kind| kind["resourceType"] == name)
        .for_each(|kind| kind["apiVersions"] = json!(["2031-01-01"]));
}

/// Takes a field away.
fn take(value: &mut Value, field: &str) {
    value.as_object_mut().map(|map| map.remove(field));
}

/// Makes an answer the one of an Azure that differs in these things.
pub(super) fn act(names: &[String], call: &Call, reply: &mut Reply) {
    let of = types_of(call);
    let differences = ALL.iter().chain([&DENIAL]).filter(|it| it.of == of);
    for difference in differences.filter(|it| names.iter().any(|name| name == it.name)) {
        match (&difference.act, &mut reply.body) {
            (Resource(change), Body::Json(body)) if call.method == "GET" && reply.status == 200 => {
                match body.get_mut("value").and_then(Value::as_array_mut) {
                    Some(items) if !items.is_empty() => items.iter_mut().for_each(change),
                    _ => change(body),
                }
            }
            (Instead(status, body), Body::Json(refusal)) if matches!(reply.status, 400 | 409 | 412) => {
                reply.status = *status;
                *refusal = body();
            }
            _ => {}
        }
    }
}

/// Returns the namespaces and types of a path, and its action, without the names.
fn types_of(call: &Call) -> String {
    let segments: Vec<String> = call.segments().iter().map(|it| it.to_ascii_lowercase()).collect();
    let links = segments.split(|it| it == "providers").skip(1);
    let types = links.flat_map(|link| link.iter().take(1).chain(link.iter().skip(1).step_by(2)));
    types.map(String::as_str).collect::<Vec<_>>().join("/")
}
