//! Networks of Azure: interfaces, public addresses, subnets, security groups and their rules.

mod effective;
mod rules;

use serde_json::{Value, json};

use super::{
    Cx,
    address::Address,
    names::{self, GROUPS, NICS},
    pages,
};
use crate::{
    arm_error::ArmError,
    http::Reply,
    world::{Nic, PublicAddress, Subnet},
};

pub(super) use effective::list as effective;
pub(super) use rules::{answer as rules, defaults as default_rules};

const ADDRESSES: &str = "Microsoft.Network/publicIPAddresses";
const NETWORKS: &str = "Microsoft.Network/virtualNetworks";

pub(super) fn nics(cx: &mut Cx<'_>, at: &Address, action: Option<&str>) -> Result<Reply, ArmError> {
    if let Some(action) = action {
        return match action {
            "effectivenetworksecuritygroups" => effective(cx, at),
            _ => Err(ArmError::not_allowed(&cx.call.method)),
        };
    }
    let all =
        cx.world.networks.nics.iter().filter(|it| is_in(at, &it.group)).map(|it| show_nic(cx, it)).collect();
    one_or_all(cx, at, NICS, all)
}

pub(super) fn addresses(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    let all = cx.world.networks.addresses.iter().filter(|it| is_in(at, &it.group));
    let all = all.map(|it| show_address(cx, it)).collect();
    one_or_all(cx, at, ADDRESSES, all)
}

pub(super) fn networks(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    let all = cx.world.networks.subnets.iter().filter(|it| is_in(at, &it.group));
    let all = all.map(|it| show_network(cx, it)).collect();
    one_or_all(cx, at, NETWORKS, all)
}

/// Answers for the subnets of a virtual network, of which it has one.
pub(super) fn subnets(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    cx.read_only()?;
    cx.only_query(&["$expand"])?;
    let (group, network, name) = (at.group(), at.name(0, 0), at.name(0, 1));
    let is_it = |it: &&Subnet| {
        it.group.eq_ignore_ascii_case(group)
            && it.network.eq_ignore_ascii_case(network)
            && (at.is_collection() || it.name.eq_ignore_ascii_case(name))
    };
    let found = cx.world.networks.subnets.iter().find(is_it);
    let shown = found.map(|it| show_subnet(cx, it));
    let shown =
        shown.ok_or_else(|| ArmError::resource_not_found(&format!("{NETWORKS}/subnets"), name, group))?;
    Ok(Reply::json(200, if at.is_collection() { json!({"value": [shown]}) } else { shown }))
}

pub(super) fn groups(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    let all = cx.world.networks.groups.iter().filter(|it| is_in(at, &it.group));
    let all = all.map(|it| rules::show_group(cx, it)).collect();
    one_or_all(cx, at, GROUPS, all)
}

fn is_in(at: &Address, group: &str) -> bool {
    at.group.as_ref().is_none_or(|named| group.eq_ignore_ascii_case(named))
}

/// Answers a read of one of these, or of all. Nobody makes or removes them here.
fn one_or_all(cx: &mut Cx<'_>, at: &Address, kind: &str, mut all: Vec<Value>) -> Result<Reply, ArmError> {
    cx.read_only()?;
    cx.only_query(&["$skiptoken", "$expand"])?;
    if at.is_collection() {
        return Ok(pages::page(cx, all, 100));
    }
    let name = at.name(0, 0);
    all.retain(|it| it["name"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(name)));
    all.pop()
        .map(|it| Reply::json(200, it))
        .ok_or_else(|| ArmError::resource_not_found(kind, name, at.group()))
}

fn subnet_id(cx: &Cx<'_>, it: &Subnet) -> String {
    format!("{}/subnets/{}", names::id(cx, &it.group, NETWORKS, &it.network), it.name)
}

fn etag(cx: &Cx<'_>, id: &str, edits: u32) -> String {
    format!("W/\"{}\"", cx.world.seed().uuid(&format!("etag {id} {edits}")))
}

fn show_nic(cx: &Cx<'_>, it: &Nic) -> Value {
    let id = names::nic(cx, it);
    let subnet = cx.world.networks.subnets.iter().find(|s| s.name == it.subnet && s.group == it.group);
    let mut ip = json!({
        "name": "ipconfig1",
        "id": format!("{id}/ipConfigurations/ipconfig1"),
        "type": format!("{NICS}/ipConfigurations"),
        "etag": etag(cx, &id, 0),
        "properties": {
            "provisioningState": "Succeeded",
            "privateIPAddress": it.private.to_string(),
            "privateIPAllocationMethod": "Dynamic",
            "primary": true,
            "privateIPAddressVersion": "IPv4",
        },
    });
    if let Some(subnet) = subnet {
        ip["properties"]["subnet"] = json!({"id": subnet_id(cx, subnet)});
    }
    if let Some(name) = &it.public {
        ip["properties"]["publicIPAddress"] = json!({"id": names::id(cx, &it.group, ADDRESSES, name)});
    }
    let mut body = json!({
        "name": it.name,
        "id": id,
        "etag": etag(cx, &id, 0),
        "type": NICS,
        "location": cx.world.location,
        "tags": {},
        "properties": {
            "provisioningState": "Succeeded",
            "ipConfigurations": [ip],
            "primary": true,
            "enableIPForwarding": false,
        },
    });
    if let Some(vm) = cx.world.azure_vm(&it.group, &it.vm) {
        body["properties"]["virtualMachine"] = json!({"id": names::vm(cx, vm)});
    }
    if let Some(name) = &it.rules {
        body["properties"]["networkSecurityGroup"] = json!({"id": names::id(cx, &it.group, GROUPS, name)});
    }
    body
}

fn show_address(cx: &Cx<'_>, it: &PublicAddress) -> Value {
    let id = names::id(cx, &it.group, ADDRESSES, &it.name);
    let nic = cx
        .world
        .networks
        .nics
        .iter()
        .find(|nic| nic.public.as_ref() == Some(&it.name) && nic.group == it.group);
    let sku = if it.is_dynamic { "Basic" } else { "Standard" };
    let mut body = json!({
        "name": it.name,
        "id": id,
        "etag": etag(cx, &id, 0),
        "type": ADDRESSES,
        "location": cx.world.location,
        "tags": {},
        "sku": {"name": sku, "tier": "Regional"},
        "properties": {
            "provisioningState": "Succeeded",
            "publicIPAddressVersion": "IPv4",
            "publicIPAllocationMethod": if it.is_dynamic { "Dynamic" } else { "Static" },
            "idleTimeoutInMinutes": 4,
        },
    });
    if let Some(nic) = nic {
        body["properties"]["ipConfiguration"] =
            json!({"id": format!("{}/ipConfigurations/ipconfig1", names::nic(cx, nic))});
        // Missing while none is given out.
        if let Some(address) = cx.world.public_address(nic) {
            body["properties"]["ipAddress"] = json!(address.to_string());
        }
    }
    body
}

fn show_subnet(cx: &Cx<'_>, it: &Subnet) -> Value {
    let id = subnet_id(cx, it);
    let mut body = json!({
        "name": it.name,
        "id": id,
        "etag": etag(cx, &id, 0),
        "type": format!("{NETWORKS}/subnets"),
        "properties": {"provisioningState": "Succeeded", "addressPrefix": it.prefix},
    });
    if let Some(name) = &it.rules {
        body["properties"]["networkSecurityGroup"] = json!({"id": names::id(cx, &it.group, GROUPS, name)});
    }
    body
}

fn show_network(cx: &Cx<'_>, it: &Subnet) -> Value {
    let id = names::id(cx, &it.group, NETWORKS, &it.network);
    json!({
        "name": it.network,
        "id": id,
        "etag": etag(cx, &id, 0),
        "type": NETWORKS,
        "location": cx.world.location,
        "tags": {},
        "properties": {
            "provisioningState": "Succeeded",
            "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
            "subnets": [show_subnet(cx, it)],
        },
    })
}
