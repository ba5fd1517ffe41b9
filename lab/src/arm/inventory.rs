//! Lists: every resource of the subscription, and the disks and networks that belong to VMs.

use serde_json::{Value, json};

use super::{Cx, address::Address, clusters, machines, names, pages};
use crate::{arm_error::ArmError, http::Reply};

/// Answers `/resources`. The second page is empty and still has a successor, as Azure's can be.
pub(super) fn list(cx: &mut Cx<'_>, group: Option<&str>) -> Result<Reply, ArmError> {
    cx.check_resources_version()?;
    cx.read_only()?;
    cx.only_query(&["$filter", "$expand", "$top", "$skiptoken"])?;
    let size = pages::top(cx)?.unwrap_or(100);
    if let Some(group) = group
        && cx.world.group(group).is_none()
    {
        return Err(ArmError::group_not_found(group));
    }
    let wanted = |name: &str| group.is_none_or(|group| name.eq_ignore_ascii_case(group));
    let brief = |id: String, name: &str, kind: &str| json!({"id": id, "name": name, "type": kind, "location": cx.world.location});
    let mut all = Vec::new();
    for cluster in cx.world.clusters.iter().filter(|cluster| wanted(&cluster.group)) {
        all.push(brief(clusters::id(cx, cluster), &cluster.name, "Microsoft.AzureStackHCI/clusters"));
        for node in &cluster.nodes {
            all.push(brief(
                clusters::machine_id(cx, cluster, node),
                &node.name,
                "Microsoft.HybridCompute/machines",
            ));
        }
    }
    for vm in cx.world.vms.iter().filter(|vm| wanted(&vm.group)) {
        all.push(brief(machines::vm_id(cx, vm), &vm.name, "Microsoft.HybridCompute/machines"));
    }
    for vm in cx.world.azure_vms.iter().filter(|vm| wanted(&vm.group)) {
        all.push(brief(names::vm(cx, vm), &vm.name, names::VMS));
    }
    let networks = &cx.world.networks;
    for nic in networks.nics.iter().filter(|nic| wanted(&nic.group)) {
        all.push(brief(names::nic(cx, nic), &nic.name, names::NICS));
    }
    for group in networks.groups.iter().filter(|it| wanted(&it.group)) {
        all.push(brief(names::security_group(cx, group), &group.name, names::GROUPS));
    }
    // The Azure CLI sends an empty filter when it has none.
    if let Some(filter) = cx.call.query("$filter").filter(|filter| !filter.is_empty()) {
        let Some((field, value)) = parse_filter(filter) else {
            let message = format!("The filter '{filter}' is not supported.");
            return Err(ArmError::gateway(400, "InvalidFilterInQueryString", message));
        };
        all.retain(|resource| field_of(resource, field).eq_ignore_ascii_case(value));
    }
    if cx.call.query("$skiptoken").is_none() && all.len() > 1 {
        let rest = all.len().min(4).min(size);
        let next = pages::next_link(cx, &format!("gap:{rest}"));
        all.truncate(rest);
        return Ok(Reply::json(200, json!({"value": all, "nextLink": next})));
    }
    Ok(pages::page(cx, all, size))
}

/// Reads `<field> eq '<value>'`.
fn parse_filter(filter: &str) -> Option<(&str, &str)> {
    let (field, value) = filter.split_once(" eq ")?;
    let known = ["resourceType", "resourceGroup", "name"].contains(&field);
    known.then_some(())?;
    Some((field, value.trim().strip_prefix('\'')?.strip_suffix('\'')?))
}

/// Returns what a filter calls `field`.
fn field_of<'a>(resource: &'a Value, field: &str) -> &'a str {
    let text = |name: &str| resource[name].as_str().unwrap_or_default();
    match field {
        "resourceType" => text("type"),
        "resourceGroup" => text("id").split('/').nth(4).unwrap_or_default(),
        _ => text("name"),
    }
}

/// Answers reads of logical networks, network interfaces and virtual hard disks, which follow from clusters and VMs.
pub(super) fn guest_part(cx: &mut Cx<'_>, at: &Address, kind: &str) -> Result<Reply, ArmError> {
    cx.read_only()?;
    cx.only_query(&["$skiptoken"])?;
    let all = guest_parts(cx, kind);
    let in_group = |part: &Value| {
        at.group.is_none()
            || part["id"].as_str().is_some_and(|id| {
                let group = format!("{}/", cx.group_id(at.group()));
                id.to_ascii_lowercase().starts_with(&group.to_ascii_lowercase())
            })
    };
    let mut all: Vec<Value> = all.into_iter().filter(in_group).collect();
    if at.is_collection() {
        return Ok(pages::page(cx, all, 100));
    }
    all.retain(|part| part["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(at.name(0, 0))));
    all.pop().map(|part| Reply::json(200, part)).ok_or_else(|| {
        ArmError::resource_not_found(&format!("Microsoft.AzureStackHCI/{kind}"), at.name(0, 0), at.group())
    })
}

/// Returns the id of a network or disk.
pub(super) fn part_id(cx: &Cx<'_>, group: &str, kind: &str, name: &str) -> String {
    format!("{}/providers/Microsoft.AzureStackHCI/{kind}/{name}", cx.group_id(group))
}

fn guest_parts(cx: &Cx<'_>, kind: &str) -> Vec<Value> {
    let resource = |group: &str, name: String, properties: Value| {
        json!({
            "id": part_id(cx, group, kind, &name),
            "name": name,
            "type": format!("Microsoft.AzureStackHCI/{kind}"),
            "location": cx.world.location,
            "tags": {},
            "properties": properties,
        })
    };
    let network = |cluster: &str| {
        let group = cx.world.clusters.iter().find(|c| c.name == cluster).map_or("", |c| c.group.as_str());
        part_id(cx, group, "logicalNetworks", &format!("{cluster}-lnet"))
    };
    match kind {
        "logicalNetworks" => {
            let clusters = cx.world.clusters.iter().map(|cluster| {
                let subnet = json!({"name": "default", "properties":
                    {"addressPrefix": "192.168.200.0/24", "ipAllocationMethod": "Static", "vlan": 0}});
                resource(
                    &cluster.group,
                    format!("{}-lnet", cluster.name),
                    json!({
                        "provisioningState": "Succeeded",
                        "vmSwitchName": "ConvergedSwitch(compute_management)",
                        "dhcpOptions": {"dnsServers": ["192.168.200.222"]},
                        "subnets": [subnet],
                    }),
                )
            });
            clusters.collect()
        }
        "networkInterfaces" => (10..)
            .zip(&cx.world.vms)
            .map(|(number, vm)| {
                let address: u32 = number;
                let ip = json!({"name": "ipconfig", "properties": {
                    "privateIPAddress": format!("192.168.{}.{}", 200 + address / 250, address % 250),
                    "prefixLength": "24", "subnet": {"id": network(&vm.cluster)}}});
                resource(
                    &vm.group,
                    format!("{}-nic", vm.name),
                    json!({
                        "provisioningState": "Succeeded",
                        "macAddress": format!("00-15-5D-00-{:02X}-{:02X}", address / 256, address % 256),
                        "dnsSettings": {"dnsServers": []},
                        "ipConfigurations": [ip],
                    }),
                )
            })
            .collect(),
        _ => (cx.world.vms.iter())
            .map(|vm| {
                let mut status = json!({"errorCode": "", "errorMessage": ""});
                if cx.version.as_str() >= "2025-06-01-preview" {
                    status["managedBy"] = json!([machines::vm_id(cx, vm)]);
                }
                resource(
                    &vm.group,
                    format!("{}-osdisk", vm.name),
                    json!({
                        "provisioningState": "Succeeded",
                        "diskSizeGB": 127,
                        "dynamic": true,
                        "diskFileFormat": "vhdx",
                        "hyperVGeneration": "V2",
                        "status": status,
                    }),
                )
            })
            .collect(),
    }
}
