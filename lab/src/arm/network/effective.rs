//! The rules that hold before a network interface: those of its subnet, its own, and those of whoever manages all networks.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Address, Cx, NICS, Reply, names, subnet_id};
use crate::{
    arm::operations,
    arm_error::ArmError,
    faults::Work,
    world::{RuleProperties, SecurityGroup, Shape},
};

pub(in crate::arm) fn list(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    cx.only_query(&[])?;
    cx.no_body()?;
    let (group, name) = (at.group().to_owned(), at.name(0, 0).to_owned());
    let is_it = |it: &&crate::world::Nic| {
        it.name.eq_ignore_ascii_case(&name) && it.group.eq_ignore_ascii_case(&group)
    };
    let nic = cx.world.networks.nics.iter().find(is_it).cloned();
    let nic = nic.ok_or_else(|| ArmError::resource_not_found(NICS, &name, &group))?;
    // Inferred: the code; the documents say that the VM must run.
    if !cx.world.azure_vm(&nic.group, &nic.vm).is_some_and(|vm| vm.is_up()) {
        let message = format!(
            "The network interface {} must be attached to a running virtual machine.",
            names::nic(cx, &nic)
        );
        return Err(ArmError::service(400, "NetworkInterfaceMustBeAttachedToRunningVirtualMachine", message));
    }
    let subnet = cx.world.networks.subnets.iter().find(|it| it.name == nic.subnet && it.group == nic.group);
    let mut value = Vec::new();
    if cx.faults.blocks_port(&nic.vm) {
        let is = RuleProperties {
            protocol: "Tcp".to_owned(),
            inbound: true,
            priority: 10,
            sources: vec!["*".to_owned()],
            source_ports: vec!["*".to_owned()],
            destinations: vec!["*".to_owned()],
            ports: vec!["0-65535".to_owned()],
            ..RuleProperties::default()
        };
        let manager =
            format!("{}/providers/Microsoft.Network/networkManagers/central", cx.group_id(&nic.group));
        value.push(json!({
            "association": {"networkManager": {"id": manager}},
            "effectiveSecurityRules": [show("deny-from-outside", &is)],
        }));
    }
    if let Some(subnet) = subnet
        && let Some(found) = subnet.rules.as_ref().and_then(|name| cx.world.security_group(&nic.group, name))
    {
        value.push(all_of(cx, found, &json!({"subnet": {"id": subnet_id(cx, subnet)}})));
    }
    if let Some(found) = nic.rules.as_ref().and_then(|name| cx.world.security_group(&nic.group, name)) {
        value.push(all_of(cx, found, &json!({"networkInterface": {"id": names::nic(cx, &nic)}})));
    }
    let timing = cx.faults.timing(Work::Other, cx.now, SignedDuration::from_secs(4));
    let resource = names::nic(cx, &nic);
    let operation = operations::start(cx, Shape::Network, &resource, "InProgress", timing.told, None);
    if let Some(last) = cx.world.operations.last_mut() {
        last.result = Some(json!({"value": value}));
    }
    Ok(Reply::empty(202)
        .with("Azure-AsyncOperation", operations::address(cx, &operation, false))
        .with("Location", operations::address(cx, &operation, true))
        .with("Retry-After", "5"))
}

fn all_of(cx: &Cx<'_>, group: &SecurityGroup, association: &Value) -> Value {
    let held = group.rules.iter().filter(|rule| rule.holds.is_some_and(|at| at <= cx.now) && rule.is.inbound);
    let own = held.map(|rule| show(&format!("securityRules/{}", rule.name), &rule.is));
    let defaults = RuleProperties::defaults();
    let defaults = defaults.iter().map(|(name, is)| show(&format!("defaultSecurityRules/{name}"), is));
    json!({
        "networkSecurityGroup": {"id": names::security_group(cx, group)},
        "association": association,
        "effectiveSecurityRules": own.chain(defaults).collect::<Vec<_>>(),
    })
}

/// Returns a rule in the words of this answer: ranges are spelled out, and everything stands in a list as well.
fn show(name: &str, is: &RuleProperties) -> Value {
    let range = |port: &String| match port.as_str() {
        "*" => "0-65535".to_owned(),
        range if range.contains('-') => range.to_owned(),
        port => format!("{port}-{port}"),
    };
    let ports: Vec<String> = is.ports.iter().map(range).collect();
    let source_ports: Vec<String> = is.source_ports.iter().map(range).collect();
    json!({
        "name": name,
        "protocol": if is.protocol == "*" { "All" } else { is.protocol.as_str() },
        "sourcePortRange": source_ports.first(),
        "destinationPortRange": ports.first(),
        "sourcePortRanges": source_ports,
        "destinationPortRanges": ports,
        "sourceAddressPrefix": is.sources.first(),
        "destinationAddressPrefix": is.destinations.first(),
        "sourceAddressPrefixes": is.sources,
        "destinationAddressPrefixes": is.destinations,
        "access": if is.allows { "Allow" } else { "Deny" },
        "priority": is.priority,
        "direction": "Inbound",
    })
}
