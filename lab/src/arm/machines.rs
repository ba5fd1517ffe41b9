//! Arc machines: the nodes of the clusters and the VMs on them, and the network cards of a node.

use serde_json::{Value, json};

use super::{Cx, address::Address, clusters, pages, tags};
use crate::{
    arm_error::ArmError,
    faults::Faults,
    http::Reply,
    world::{Cluster, Node, Vm, World},
};

const MACHINES: &str = "Microsoft.HybridCompute/machines";

/// When every agent last came or went: nobody in this world keeps that.
const LAST_CHANGE: &str = "2026-11-02T06:30:00Z";

pub(super) fn answer(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    if at.is_collection() {
        cx.read_only()?;
        cx.only_query(&["$skiptoken", "$expand"])?;
        let cx = &*cx;
        let wanted = |group: &str| at.group.as_ref().is_none_or(|g| group.eq_ignore_ascii_case(g));
        let clusters = cx.world.clusters.iter().filter(|cluster| wanted(&cluster.group));
        let nodes =
            clusters.flat_map(|cluster| cluster.nodes.iter().map(move |node| show_node(cx, cluster, node)));
        let vms = cx.world.vms.iter().filter(|vm| wanted(&vm.group)).map(|vm| show_vm(cx, vm));
        let all: Vec<Value> = nodes.chain(vms).collect();
        return Ok(pages::page(cx, all, 100));
    }
    let (group, name) = (at.group(), at.name(0, 0));
    if matches!(cx.call.method.as_str(), "PUT" | "PATCH") {
        cx.only_query(&[])?;
        let desired = tags::desired(cx, &one(cx, group, name)?)?;
        if let Some(tags) = cx.world.machine_tags_mut(group, name).filter(|tags| **tags != desired) {
            *tags = desired;
            cx.effect = true;
        }
    } else {
        cx.read_only()?;
        cx.only_query(&["$expand"])?;
    }
    Ok(Reply::json(200, one(cx, group, name)?))
}

fn one(cx: &Cx<'_>, group: &str, name: &str) -> Result<Value, ArmError> {
    if let Some((cluster, node)) = cx.world.node(group, name) {
        return Ok(show_node(cx, cluster, node));
    }
    let vm = cx.world.vm(group, name).map(|vm| show_vm(cx, vm));
    vm.ok_or_else(|| ArmError::resource_not_found(MACHINES, name, group))
}

/// Answers `edgeDevices`, which only nodes have.
pub(super) fn edge_devices(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    cx.read_only()?;
    cx.only_query(&[])?;
    let (group, name) = (at.group(), at.name(0, 0));
    let Some((cluster, node)) = cx.world.node(group, name) else {
        return Err(ArmError::resource_not_found(MACHINES, name, group));
    };
    let body = show_edge_device(cx, cluster, node);
    if at.is_collection() {
        return Ok(Reply::json(200, json!({"value": [body]})));
    }
    if at.name(1, 0).eq_ignore_ascii_case("default") {
        return Ok(Reply::json(200, body));
    }
    Err(ArmError::resource_not_found("Microsoft.AzureStackHCI/edgeDevices", at.name(1, 0), group))
}

/// Returns the id of an Arc machine, when there is one of this name.
pub(super) fn id_of(cx: &Cx<'_>, group: &str, name: &str) -> Option<String> {
    let node = cx.world.node(group, name).map(|(cluster, node)| clusters::machine_id(cx, cluster, node));
    node.or_else(|| cx.world.vm(group, name).map(|vm| vm_id(cx, vm)))
}

/// Returns whether the agent of an Arc machine talks to Azure.
pub(super) fn is_connected(cx: &Cx<'_>, group: &str, name: &str) -> bool {
    is_agent_connected(cx.world, cx.faults, group, name)
}

/// The same, for those who answer no request to ARM.
pub(crate) fn is_agent_connected(world: &World, faults: &Faults, group: &str, name: &str) -> bool {
    match world.node(group, name) {
        Some((_, node)) => clusters::connection(faults, node) == "Connected",
        None => {
            world.vm(group, name).is_some_and(|vm| vm.is_connected() && !faults.is_named_offline(&vm.name))
        }
    }
}

/// Returns the id of a VM's Arc machine.
pub(super) fn vm_id(cx: &Cx<'_>, vm: &Vm) -> String {
    format!("{}/providers/{MACHINES}/{}", cx.group_id(&vm.group), vm.name)
}

fn show_node(cx: &Cx<'_>, cluster: &Cluster, node: &Node) -> Value {
    let addresses = cx.world.addresses(node).map(|address| json!({"address": address.to_string()}));
    json!({
        "id": clusters::machine_id(cx, cluster, node),
        "name": node.name,
        "type": MACHINES,
        "location": cx.world.location,
        "tags": node.tags,
        "properties": {
            "provisioningState": "Succeeded",
            "status": clusters::connection(cx.faults, node),
            "osType": "windows",
            "osName": "windows",
            "osSku": "Azure Stack HCI",
            "osVersion": "10.0.26100.2605",
            "lastStatusChange": LAST_CHANGE,
            "vmId": cx.world.seed().uuid(&format!("node {}", node.name)),
            "machineFqdn": format!("{}.edge.contoso.com", node.name),
            "agentVersion": "1.57.03197.2747",
            "cloudMetadata": {"provider": "AzSHCI"},
            "parentClusterResourceId": clusters::id(cx, cluster),
            "networkProfile": {"networkInterfaces": [{"ipAddresses": addresses}]},
        },
    })
}

fn show_vm(cx: &Cx<'_>, vm: &Vm) -> Value {
    let status = if is_connected(cx, &vm.group, &vm.name) { "Connected" } else { "Disconnected" };
    json!({
        "id": vm_id(cx, vm),
        "name": vm.name,
        "type": MACHINES,
        "kind": "HCI",
        "location": cx.world.location,
        "tags": vm.tags,
        "properties": {
            "provisioningState": "Succeeded",
            "status": status,
            "lastStatusChange": LAST_CHANGE,
            "osType": vm.os.to_ascii_lowercase(),
            "osName": vm.os.to_ascii_lowercase(),
            "vmId": vm.guest_id,
            "vmUuid": vm.smbios_id,
            "agentVersion": if cx.faults.ages_agent(&vm.name) { "1.30.02313.1007" } else { "1.57.03197.2747" },
        },
    })
}

fn show_edge_device(cx: &Cx<'_>, cluster: &Cluster, node: &Node) -> Value {
    let [first, second] = cx.world.addresses(node);
    let card = |name: &str, address: String, gateway: &str, kind: &str, status: &str| {
        json!({
            "adapterName": name,
            "interfaceDescription": "Hyper-V Virtual Ethernet Adapter",
            "ip4Address": address,
            "subnetMask": "255.255.255.0",
            "defaultGateway": gateway,
            "dnsServers": [],
            "nicType": kind,
            "nicStatus": status,
            "vlanId": "0",
        })
    };
    let [a, b, c, _] = first.octets();
    let gateway = format!("{a}.{b}.{c}.1");
    let mut body = json!({
        "id": format!("{}/providers/Microsoft.AzureStackHCI/edgeDevices/default", clusters::machine_id(cx, cluster, node)),
        "name": "default",
        "type": "Microsoft.AzureStackHCI/edgeDevices",
        "kind": "HCI",
        "properties": {
            "provisioningState": "Succeeded",
            "reportedProperties": {
                "deviceState": clusters::connection(cx.faults, node),
                "networkProfile": {
                    "nicDetails": [
                        card("vmanagement(compute_management)", first.to_string(), &gateway, "Virtual", "Up"),
                        card("vmanagement2", second.to_string(), &gateway, "Virtual", "Up"),
                        card("vSMB(storage)", "169.254.10.1".into(), "", "Virtual", "Up"),
                        card("slot 3 port 2", String::new(), "", "Physical", "Disconnected"),
                    ],
                    "switchDetails": [{"switchName": "ConvergedSwitch", "switchType": "External"}],
                },
            },
        },
    });
    // Not among the fields of older versions.
    if cx.version.as_str() >= "2026-04-30" {
        body["properties"]["reportedProperties"]["lastSyncTimestamp"] = json!(cx.now.to_string());
    }
    body
}
