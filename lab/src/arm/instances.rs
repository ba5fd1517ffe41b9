//! VM instances: what Azure Local knows about a VM, and the actions that change its power.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Cx, address::Address, body::Fields, clusters, inventory, machines, operations};
use crate::{
    arm_error::ArmError,
    faults::Work,
    http::Reply,
    world::{Change, Failure, Power, Shape, Vm},
};

const INSTANCES: &str = "Microsoft.AzureStackHCI/virtualMachineInstances";

/// `Retry-After` of the answer to an action; the polls carry none.
const FIRST_WAIT: u32 = 10;

/// How long Azure tries to reach the resource bridge of a cluster that is offline.
const BRIDGE_PATIENCE: SignedDuration = SignedDuration::from_mins(25);

pub(super) fn answer(cx: &mut Cx<'_>, at: &Address, action: Option<&str>) -> Result<Reply, ArmError> {
    let (group, name) = (at.group().to_owned(), at.name(0, 0).to_owned());
    let below_machine =
        at.links.len() == 2 && at.links[0].namespace.eq_ignore_ascii_case("Microsoft.HybridCompute");
    let vm = cx.world.vm(&group, &name).filter(|_| below_machine).cloned();
    let Some(vm) = vm else {
        return Err(ArmError::resource_not_found("Microsoft.HybridCompute/machines", &name, &group));
    };
    if let Some(action) = action {
        cx.only_query(&[])?;
        return act(cx, &vm, action);
    }
    cx.read_only()?;
    cx.only_query(&[])?;
    let body = show(cx, &vm);
    if at.is_collection() {
        return Ok(Reply::json(200, json!({"value": [body]})));
    }
    if at.name(1, 0).eq_ignore_ascii_case("default") {
        return Ok(Reply::json(200, body));
    }
    Err(ArmError::resource_not_found(INSTANCES, at.name(1, 0), &group))
}

/// Starts a power change, which is also what happens when the VM is already as desired: the operation then succeeds
/// without doing anything.
fn act(cx: &mut Cx<'_>, vm: &Vm, action: &str) -> Result<Reply, ArmError> {
    let skip_shutdown = match action {
        "start" | "stop" | "restart" => {
            cx.no_body()?;
            false
        }
        "poweroff" if cx.version.as_str() >= "2026-04-01-preview" => skips_shutdown(cx)?,
        _ => return Err(unknown_action(&cx.version, action)),
    };
    let id = instance_id(cx, vm);
    if vm.change.is_some() {
        return Err(ArmError::conflicting_operation(&id));
    }

    let label = cx.world.next_label(action);
    let seconds = |from, to| cx.world.seed().seconds(&label, from, to);
    // A guest that does not boot cannot shut down in an orderly way; the host waits for it and then turns it off.
    let shutdown = match (skip_shutdown, vm.boots) {
        (true, _) => seconds(3, 6),
        (false, true) => seconds(25, 45),
        (false, false) => seconds(280, 320),
    };
    let reachable = cx.world.cluster_of(vm).is_some_and(|cluster| clusters::is_in_touch(cx, cluster));
    let (duration, change, failure) = match (action, vm.power) {
        _ if !reachable => (BRIDGE_PATIENCE, None, Some(bridge_timeout())),
        ("start", Power::Stopped) => (seconds(20, 40), Some((Power::Running, "Starting")), None),
        ("stop" | "poweroff", Power::Running) => (shutdown, Some((Power::Stopped, "Stopping")), None),
        ("restart", Power::Running) => (shutdown + seconds(20, 40), Some((Power::Running, "Stopping")), None),
        ("restart", Power::Stopped) => (seconds(5, 9), None, Some(not_running(vm))),
        _ => (seconds(2, 4), None, None),
    };
    let timing = cx.faults.timing(Work::Other, cx.now, duration);
    if let Some((to, shown)) = change
        && let Some(vm) = cx.world.vm_mut(&vm.group, &vm.name)
    {
        vm.change = Some(Change { to, shown: shown.to_owned(), at: timing.done });
        cx.effect = true;
    }

    let operation = operations::start(cx, Shape::VmAction, &id, "Accepted", timing.told, failure);
    if let Some(operation) = cx.world.operations.last_mut() {
        operation.next_poll = Some(cx.now + SignedDuration::from_secs(i64::from(FIRST_WAIT)));
    }
    let (with_status, with_location) = cx.faults.action_headers();
    let mut reply = Reply::empty(202).with("Retry-After", FIRST_WAIT.to_string());
    if with_status {
        reply = reply.with("Azure-AsyncOperation", operations::address(cx, &operation, false));
    }
    if with_location {
        reply = reply.with("Location", operations::address(cx, &operation, true));
    }
    Ok(reply)
}

fn skips_shutdown(cx: &Cx<'_>) -> Result<bool, ArmError> {
    if cx.call.body.trim_ascii().is_empty() {
        return Ok(false);
    }
    let body = cx.json_body()?;
    let fields = Fields::of(&body, "", &["skipShutdown"])?;
    Ok(fields.flag("skipShutdown")?.unwrap_or_default())
}

fn unknown_action(version: &str, action: &str) -> ArmError {
    let message = format!(
        "The resource type 'virtualMachineInstances/{action}' could not be found in the namespace \
         'Microsoft.AzureStackHCI' for api version '{version}'."
    );
    ArmError::gateway(404, "InvalidResourceType", message)
}

fn not_running(vm: &Vm) -> Failure {
    Failure {
        code: "VirtualMachineNotRunning".to_owned(),
        message: format!(
            "moc-operator virtualmachine serviceClient returned an error while reconciling: rpc error: code = \
             FailedPrecondition desc = virtual machine '{}' is not running",
            vm.name
        ),
        advice: "Start the VM instead.".to_owned(),
        in_validation: false,
    }
}

fn bridge_timeout() -> Failure {
    Failure {
        code: "Timeout".to_owned(),
        message: "Timedout while retrieving MocHealthChecker resource.".to_owned(),
        advice: "Check the Azure Arc resource bridge of the cluster.".to_owned(),
        in_validation: false,
    }
}

fn instance_id(cx: &Cx<'_>, vm: &Vm) -> String {
    format!("{}/providers/{INSTANCES}/default", machines::vm_id(cx, vm))
}

fn show(cx: &Cx<'_>, vm: &Vm) -> Value {
    let agent = match (vm.is_connected(), vm.power) {
        (true, _) => "Connected",
        (false, Power::Running) => "Connecting",
        (false, Power::Stopped) => "Disconnected",
    };
    let part = |kind: &str, suffix: &str| json!({"id": inventory::part_id(cx, &vm.group, kind, &format!("{}-{suffix}", vm.name))});
    let cluster_group = cx.world.cluster_of(vm).map_or("", |cluster| cluster.group.as_str());
    let custom_location = format!(
        "{}/providers/Microsoft.ExtendedLocation/customLocations/{}-cl",
        cx.group_id(cluster_group),
        vm.cluster
    );
    let mut os_disk = part("virtualHardDisks", "osdisk");
    os_disk["osType"] = json!(vm.os);
    let state = if vm.change.is_some() { "InProgress" } else { "Succeeded" };
    let mut body = json!({
        "id": instance_id(cx, vm),
        "name": "default",
        "type": INSTANCES,
        "extendedLocation": {"type": "CustomLocation", "name": custom_location},
        "properties": {
            "provisioningState": state,
            "status": {"errorCode": "", "errorMessage": "", "powerState": vm.power_word()},
            "vmId": vm.platform_id,
            "resourceUid": vm.guest_id,
            "instanceView": {"vmAgent": {
                "vmConfigAgentVersion": "v0.18.0",
                "statuses": [{
                    "code": "ProvisioningState/succeeded",
                    "level": "Info",
                    "displayStatus": agent,
                    "message": "",
                    "time": cx.now.to_string(),
                }],
            }},
            "guestAgentInstallStatus": {"vmUuid": vm.smbios_id, "status": "Succeeded", "errorDetails": []},
            "hardwareProfile": {"vmSize": "Custom", "processors": 4, "memoryMB": 8192},
            "storageProfile": {"osDisk": os_disk, "dataDisks": []},
            "networkProfile": {"networkInterfaces": [part("networkInterfaces", "nic")]},
            "osProfile": {"computerName": vm.name, "adminUsername": "operator"},
            "securityProfile": {"enableTPM": false, "uefiSettings": {"secureBootEnabled": true}},
        },
    });
    let properties = &mut body["properties"];
    let version = cx.version.as_str();
    if version >= "2025-04-01-preview" {
        properties["hyperVVmId"] = json!(vm.hyperv_id);
        properties["hostNodeName"] = json!(vm.node);
    }
    if version >= "2025-06-01-preview"
        && let Some(node) = cx.world.host(vm)
    {
        properties["hostNodeIpAddress"] = json!(cx.world.addresses(node)[0].to_string());
    }
    body
}
