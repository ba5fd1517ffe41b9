//! Azure Local clusters and the settings that name their nodes' Arc machines.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Cx, address::Address, tags};
use crate::{
    arm_error::ArmError,
    faults::Faults,
    http::Reply,
    world::{Cluster, Node},
};

pub(super) fn answer(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    if at.is_collection() {
        cx.read_only()?;
        cx.only_query(&["$skiptoken"])?;
        let wanted =
            |cluster: &&Cluster| at.group.as_ref().is_none_or(|g| cluster.group.eq_ignore_ascii_case(g));
        let shown: Vec<Value> =
            cx.world.clusters.iter().filter(wanted).map(|cluster| show(cx, cluster)).collect();
        return Ok(Reply::json(200, json!({"value": shown})));
    }
    cx.only_query(&[])?;
    let (group, name) = (at.group(), at.name(0, 0));
    if matches!(cx.call.method.as_str(), "PUT" | "PATCH") {
        let desired = tags::desired(cx, &one(cx, group, name)?)?;
        if let Some(cluster) = cx.world.cluster_mut(group, name).filter(|cluster| cluster.tags != desired) {
            cluster.tags = desired;
            cx.effect = true;
        }
    } else {
        cx.read_only()?;
    }
    Ok(Reply::json(200, one(cx, group, name)?))
}

fn one(cx: &Cx<'_>, group: &str, name: &str) -> Result<Value, ArmError> {
    let cluster = cx.world.cluster(group, name).map(|cluster| show(cx, cluster));
    cluster.ok_or_else(|| ArmError::resource_not_found("Microsoft.AzureStackHCI/clusters", name, group))
}

/// Returns the cluster that an address is below of.
pub(super) fn parent<'a>(cx: &'a Cx<'_>, at: &Address, child: &str) -> Result<&'a Cluster, ArmError> {
    cx.world.cluster(at.group(), at.name(0, 0)).ok_or_else(|| {
        let action = if cx.call.is_read() { "read" } else { "write" };
        let id = format!(
            "{}/providers/Microsoft.AzureStackHCI/clusters/{}",
            cx.group_id(at.group()),
            at.name(0, 0)
        );
        ArmError::parent_not_found(action, child, &id)
    })
}

/// Returns whether the Arc agent of a node reaches Azure, in Azure's word.
pub(super) fn connection(faults: &Faults, node: &Node) -> &'static str {
    if faults.is_offline(&node.name) { "Disconnected" } else { "Connected" }
}

/// What an instance is called that is out of touch.
const GONE: &str = "NotConnectedRecently";

/// Returns whether an instance is in touch with Azure: through any of its nodes.
pub(super) fn is_in_touch(cx: &Cx<'_>, cluster: &Cluster) -> bool {
    cluster.connectivity == "Connected" && cluster.nodes.iter().any(|node| !cx.faults.is_offline(&node.name))
}

pub(super) fn arc_settings(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    settings(cx, at, "arcSettings", |cx, cluster| {
        let nodes = cluster.nodes.iter().map(|node| {
            let state = connection(cx.faults, node);
            json!({"name": node.name, "arcInstance": machine_id(cx, cluster, node), "state": state})
        });
        let is_whole = cluster.nodes.iter().all(|node| connection(cx.faults, node) == "Connected");
        json!({
            "provisioningState": "Succeeded",
            "arcInstanceResourceGroup": cluster.group,
            "aggregateState": if is_whole { "Connected" } else { "PartiallyConnected" },
            "perNodeDetails": nodes.collect::<Vec<_>>(),
        })
    })
}

pub(super) fn deployment_settings(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    settings(cx, at, "deploymentSettings", |cx, cluster| {
        let nodes: Vec<String> = cluster.nodes.iter().map(|node| machine_id(cx, cluster, node)).collect();
        let physical = cluster
            .nodes
            .iter()
            .map(|node| json!({"name": node.name, "ipv4Address": cx.world.addresses(node)[0].to_string()}));
        let data = json!({
            "namingPrefix": cluster.name,
            "domainFqdn": "edge.contoso.com",
            "physicalNodes": physical.collect::<Vec<_>>(),
        });
        json!({
            "provisioningState": "Succeeded",
            "deploymentMode": "Deploy",
            "arcNodeResourceIds": nodes,
            "deploymentConfiguration": {"version": "10.0.0.0", "scaleUnits": [{"deploymentData": data}]},
        })
    })
}

/// Answers a read of a child that exists once, as `default`.
fn settings(
    cx: &mut Cx<'_>,
    at: &Address,
    kind: &str,
    properties: impl Fn(&Cx<'_>, &Cluster) -> Value,
) -> Result<Reply, ArmError> {
    cx.read_only()?;
    cx.only_query(&[])?;
    let full = format!("Microsoft.AzureStackHCI/clusters/{kind}");
    let cluster = parent(cx, at, &full)?;
    let body = json!({
        "id": format!("{}/{kind}/default", id(cx, cluster)),
        "name": "default",
        "type": full,
        "properties": properties(cx, cluster),
    });
    if at.is_collection() {
        return Ok(Reply::json(200, json!({"value": [body]})));
    }
    if at.name(0, 1).eq_ignore_ascii_case("default") {
        return Ok(Reply::json(200, body));
    }
    let name = format!("{}/{}", cluster.name, at.name(0, 1));
    Err(ArmError::resource_not_found(&full, &name, at.group()))
}

/// Returns a cluster's resource id.
pub(super) fn id(cx: &Cx<'_>, cluster: &Cluster) -> String {
    format!("{}/providers/Microsoft.AzureStackHCI/clusters/{}", cx.group_id(&cluster.group), cluster.name)
}

/// Returns the id of a node's Arc machine.
pub(super) fn machine_id(cx: &Cx<'_>, cluster: &Cluster, node: &Node) -> String {
    format!("{}/providers/Microsoft.HybridCompute/machines/{}", cx.group_id(&cluster.group), node.name)
}

/// The shape, the lower-case type and the order of fields follow a recorded cluster.
pub(super) fn show(cx: &Cx<'_>, cluster: &Cluster) -> Value {
    let seed = cx.world.seed();
    let uuid = |what: &str| seed.uuid(&format!("cluster {} {what}", cluster.name));
    let nodes = (1..).zip(&cluster.nodes).map(|(number, node)| {
        json!({
            "name": node.name,
            "id": number,
            "windowsServerSubscription": "Disabled",
            "manufacturer": "Contoso",
            "model": "Edge 2",
            "osName": "Azure Stack HCI",
            "osVersion": "10.0.26100.7171",
            "serialNumber": uuid(&node.name)[..8].to_ascii_uppercase(),
            "coreCount": 32,
            "memoryInGiB": 256,
        })
    });
    let in_touch = is_in_touch(cx, cluster);
    json!({
        "id": id(cx, cluster),
        "name": cluster.name,
        "type": "microsoft.azurestackhci/clusters",
        "location": cx.world.location,
        "tags": cluster.tags,
        "identity":
            {"principalId": uuid("identity"), "tenantId": cx.world.tenant, "type": "SystemAssigned"},
        "properties": {
            "provisioningState": "Succeeded",
            "status": if in_touch { &cluster.status } else { GONE },
            "connectivityStatus": if in_touch { &cluster.connectivity } else { GONE },
            "lastSyncTimestamp": last_sync(in_touch, cx.now).to_string(),
            "cloudId": uuid("cloud"),
            "aadClientId": uuid("client"),
            "aadTenantId": cx.world.tenant,
            "softwareAssuranceProperties":
                {"softwareAssuranceStatus": "Disabled", "softwareAssuranceIntent": "Disable"},
            "desiredProperties": {"windowsServerSubscription": "Disabled", "diagnosticLevel": "Basic"},
            "reportedProperties": {
                "clusterName": cluster.name,
                "clusterId": uuid("cluster"),
                "clusterVersion": cluster.version,
                "nodes": nodes.collect::<Vec<_>>(),
            },
            "trialDaysRemaining": 60,
            "billingModel": "Trial",
            "serviceEndpoint": format!("https://dp.stackhci.azure.com/{}/", cx.world.location),
            "resourceProviderObjectId": uuid("provider"),
        },
    })
}

/// An instance in touch spoke to Azure within the quarter of an hour, one out of touch three days ago.
fn last_sync(in_touch: bool, now: Timestamp) -> Timestamp {
    let ago = if in_touch { 10 * 60 } else { 3 * 24 * 3600 };
    Timestamp::from_second(now.as_second() - ago).unwrap_or(now)
}
