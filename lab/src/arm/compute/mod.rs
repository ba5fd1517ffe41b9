//! Virtual machines in Azure: what is known about them, and the actions that change their power.

mod action_run_command;
mod diagnostics;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Cx, address::Address, body::Fields, names, names::VMS, operations, pages, tags};
use crate::{
    arm_error::ArmError,
    faults::Work,
    http::Reply,
    machine::Os,
    world::{AzureChange, AzurePower, AzureVm, Shape},
};

pub(crate) use diagnostics::{blob, path_of_blob};

/// `Retry-After` of everything about virtual machines.
pub(super) const PACE: &str = "10";

pub(super) fn answer(cx: &mut Cx<'_>, at: &Address, action: Option<&str>) -> Result<Reply, ArmError> {
    if at.is_collection() && action.is_none() {
        cx.read_only()?;
        cx.only_query(&["$skiptoken", "$filter", "$expand", "statusOnly"])?;
        let with_view = cx.call.query("$expand").is_some() || cx.call.query("statusOnly") == Some("true");
        let in_group =
            |vm: &&AzureVm| at.group.as_ref().is_none_or(|group| vm.group.eq_ignore_ascii_case(group));
        let all = cx.world.azure_vms.iter().filter(in_group).map(|vm| show(cx, vm, with_view)).collect();
        return Ok(pages::page(cx, all, 100));
    }
    let (group, name) = (at.group().to_owned(), at.name(0, 0).to_owned());
    let missing = || ArmError::resource_not_found(VMS, &name, &group);
    let vm = cx.world.azure_vm(&group, &name).cloned().ok_or_else(missing)?;
    if let Some(action) = action {
        return match action {
            "runcommand" => action_run_command::run(cx, &vm),
            "retrievebootdiagnosticsdata" => diagnostics::retrieve(cx, &vm),
            _ => act(cx, &vm, action),
        };
    }
    match cx.call.method.as_str() {
        "PATCH" | "PUT" => change(cx, &vm),
        _ => {
            cx.read_only()?;
            cx.only_query(&["$expand"])?;
            let with_view =
                cx.call.query("$expand").is_some_and(|it| it.eq_ignore_ascii_case("instanceView"));
            Ok(Reply::json(200, show(cx, &vm, with_view)))
        }
    }
}

/// Answers `instanceView`, which is a resource of its own beside being a part of the VM.
pub(super) fn instance_view(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    cx.read_only()?;
    cx.only_query(&[])?;
    let (group, name) = (at.group(), at.name(0, 0));
    match cx.world.azure_vm(group, name) {
        Some(vm) => Ok(Reply::json(200, view(cx, vm))),
        None => Err(ArmError::resource_not_found(VMS, name, group)),
    }
}

/// Changes the tags, the identity, and whether the VM keeps what its screen shows. Everything else of a VM is as the world has it.
fn change(cx: &mut Cx<'_>, vm: &AzureVm) -> Result<Reply, ArmError> {
    cx.only_query(&[])?;
    let shown = show(cx, vm, false);
    let body = cx.json_body()?;
    let mut known: Vec<String> = shown.as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default();
    known.extend(["identity".to_owned(), "resources".to_owned()]);
    let fields = Fields::of(&body, "", &known.iter().map(String::as_str).collect::<Vec<_>>())?;
    let tags = tags::read(&fields)?;
    let wanted =
        body.pointer("/properties/diagnosticsProfile/bootDiagnostics/enabled").and_then(Value::as_bool);
    let identity = match fields.value("identity").map(|it| it["type"].as_str().unwrap_or_default()) {
        None => None,
        Some(kind @ ("SystemAssigned" | "None")) => Some(kind == "SystemAssigned"),
        Some(_) => {
            return Err(fields.wrong("identity", "must be SystemAssigned or None: the lab has no others"));
        }
    };
    if let Some(it) = cx.world.azure_vm_mut(&vm.group, &vm.name) {
        let before = (it.tags.clone(), it.has_diagnostics, it.has_identity);
        it.has_identity = identity.unwrap_or(it.has_identity);
        if let Some(tags) = tags {
            it.tags = tags;
        }
        it.has_diagnostics = wanted.unwrap_or(it.has_diagnostics);
        cx.effect = before != (it.tags.clone(), it.has_diagnostics, it.has_identity);
    }
    let changed = cx.world.azure_vm(&vm.group, &vm.name).cloned().unwrap_or_else(|| vm.clone());
    let body = show(cx, &changed, false);
    Ok(accepted(cx, &names::vm(cx, vm), 200, SignedDuration::from_secs(3), Some(body)))
}

/// Starts a power change.
fn act(cx: &mut Cx<'_>, vm: &AzureVm, action: &str) -> Result<Reply, ArmError> {
    use AzurePower::{Deallocated, Running, Stopped};
    let known: &[&str] = match action {
        "poweroff" => &["skipShutdown"],
        "deallocate" => &["hibernate"],
        "start" | "restart" | "redeploy" | "reapply" => &[],
        _ => {
            let message = format!("The resource type 'virtualMachines/{action}' could not be found.");
            return Err(ArmError::gateway(404, "InvalidResourceType", message));
        }
    };
    cx.only_query(known)?;
    cx.no_body()?;
    if vm.change.is_some() {
        return Err(ArmError::conflicting_operation(&names::vm(cx, vm)));
    }
    let label = cx.world.next_label(action);
    let seconds = |from, to| cx.world.seed().seconds(&label, from, to);
    let (duration, change) = match (action, vm.power) {
        ("start", Stopped | Deallocated) => (seconds(20, 50), Some((Running, "starting", false))),
        ("restart", Running) => (seconds(20, 60), Some((Running, "stopping", false))),
        ("redeploy", Running) => (seconds(120, 240), Some((Running, "stopping", true))),
        ("poweroff", Running) => (seconds(10, 40), Some((Stopped, "stopping", false))),
        ("deallocate", Running | Stopped) => (seconds(30, 60), Some((Deallocated, "deallocating", false))),
        // Inferred: the words of Azure are not recorded.
        ("restart" | "redeploy", _) => {
            let message = format!("Cannot {action} VM '{}' because it is not running.", vm.name);
            return Err(ArmError::service(409, "OperationNotAllowed", message));
        }
        _ => (seconds(1, 4), None),
    };
    let timing = cx.faults.timing(Work::Other, cx.now, duration);
    if let Some((to, shown, moves)) = change
        && let Some(vm) = cx.world.azure_vm_mut(&vm.group, &vm.name)
    {
        vm.change = Some(AzureChange { to, shown: shown.to_owned(), moves, at: timing.done });
        cx.effect = true;
    }
    let operation =
        operations::start(cx, Shape::Compute, &names::vm(cx, vm), "InProgress", timing.told, None);
    Ok(with_addresses(cx, Reply::empty(202), &operation))
}

/// Answers with what is there already, and the addresses of an operation that brings it about.
fn accepted(cx: &mut Cx<'_>, id: &str, status: u16, takes: SignedDuration, body: Option<Value>) -> Reply {
    let timing = cx.faults.timing(Work::Other, cx.now, takes);
    let operation = operations::start(cx, Shape::Compute, id, "InProgress", timing.told, None);
    let reply = body.map_or_else(|| Reply::empty(status), |body| Reply::json(status, body));
    with_addresses(cx, reply, &operation)
}

fn with_addresses(cx: &Cx<'_>, reply: Reply, operation: &crate::world::Operation) -> Reply {
    reply
        .with("Azure-AsyncOperation", operations::address(cx, operation, false))
        .with("Location", operations::address(cx, operation, true))
        .with("azure-asyncnotification", "Enabled")
        .with("Retry-After", PACE)
}

pub(super) fn show(cx: &Cx<'_>, vm: &AzureVm, with_view: bool) -> Value {
    let nic = cx.world.nic_of(&vm.group, &vm.name);
    let nics: Vec<Value> = nic.iter().map(|nic| json!({"id": names::nic(cx, nic)})).collect();
    let profile = match vm.os {
        Os::Linux => {
            json!({"linuxConfiguration": {"disablePasswordAuthentication": false, "provisionVMAgent": true}})
        }
        Os::Windows => {
            json!({"windowsConfiguration": {"provisionVMAgent": true, "enableAutomaticUpdates": true}})
        }
    };
    let mut os_profile = json!({"computerName": vm.name, "adminUsername": crate::GUEST_USER, "secrets": [], "allowExtensionOperations": true});
    if let (Some(all), Some(own)) = (os_profile.as_object_mut(), profile.as_object()) {
        all.extend(own.clone());
    }
    let os = match vm.os {
        Os::Linux => "Linux",
        Os::Windows => "Windows",
    };
    let mut body = json!({
        "id": names::vm(cx, vm),
        "name": vm.name,
        "type": VMS,
        "location": cx.world.location,
        "tags": vm.tags,
        "properties": {
            "vmId": vm.id,
            "provisioningState": if vm.change.is_some() { "Updating" } else { "Succeeded" },
            "hardwareProfile": {"vmSize": vm.size},
            "storageProfile": {
                "osDisk": {"osType": os, "name": format!("{}-osdisk", vm.name), "createOption": "FromImage", "caching": "ReadWrite"},
                "dataDisks": [],
            },
            "osProfile": os_profile,
            "networkProfile": {"networkInterfaces": nics},
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": vm.has_diagnostics}},
        },
    });
    if vm.has_identity {
        body["identity"] = json!({"type": "SystemAssigned", "principalId": cx.world.seed().uuid(&vm.id), "tenantId": cx.world.tenant});
    }
    if with_view {
        body["properties"]["instanceView"] = view(cx, vm);
    }
    body
}

/// Returns what the VM and its agent say about themselves.
fn view(cx: &Cx<'_>, vm: &AzureVm) -> Value {
    let power = vm.power_word();
    let provisioning =
        if vm.change.is_some() { ("updating", "Updating") } else { ("succeeded", "Provisioning succeeded") };
    let mut view = json!({
        "statuses": [
            {"code": format!("ProvisioningState/{}", provisioning.0), "level": "Info", "displayStatus": provisioning.1},
            {"code": format!("PowerState/{power}"), "level": "Info", "displayStatus": format!("VM {power}")},
        ],
        "disks": [{"name": format!("{}-osdisk", vm.name), "statuses": []}],
    });
    // Managed diagnostics tell nothing here; a VM without a host has no agent.
    if vm.has_diagnostics {
        view["bootDiagnostics"] = json!({});
    }
    if vm.power != AzurePower::Deallocated {
        let is_ready = vm.is_up() && !cx.faults.is_named_offline(&vm.name);
        let status = match is_ready {
            true => json!({"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Ready",
                "message": "Guest Agent is running", "time": cx.now.to_string()}),
            false => {
                json!({"code": "ProvisioningState/Unavailable", "level": "Warning", "displayStatus": "Not Ready",
                "message": "VM status blob is found but not yet populated.", "time": cx.now.to_string()})
            }
        };
        let version = if is_ready { "2.11.1.4" } else { "Unknown" };
        view["vmAgent"] = json!({"vmAgentVersion": version, "statuses": [status], "extensionHandlers": []});
    }
    view
}
