//! `local::nodes`: lists the nodes of an Azure Local instance with their addresses.

use std::net::Ipv4Addr;

use futures::{StreamExt, TryStreamExt};

use super::api::{self, EDGE_DEVICE, MACHINE};
use super::cluster::{Cluster, same_host};
use crate::azure::Origin;
use crate::prelude::*;

/// How many nodes are read at the same time.
const AT_ONCE: usize = 8;

/// A physical machine of an Azure Local instance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Node {
    /// Name.
    pub(crate) name: String,
    /// Resource id of its Arc machine.
    pub(crate) id: ResourceId,
    /// Connected, Disconnected, Repairing, Draining, InMaintenance, Resuming, Processing or Unknown.
    pub(crate) state: String,
    /// Addresses at which it may be reached, most likely first.
    pub(crate) addresses: Vec<String>,
}

impl Azure {
    /// Reads one node. A node that reports nothing has no state and no addresses.
    ///
    /// Inferred: the instance's Arc settings name the Arc machine of each node; without them it is the machine of the
    /// node's name in the instance's resource group.
    pub(crate) async fn read_node(
        &self,
        on: impl Into<Origin>,
        cluster: &Cluster,
        name: &str,
    ) -> Result<Node> {
        let on = &on.into();
        let settings = self.arc_settings(on, cluster).await?;
        self.node_of(on, cluster, &settings, name).await
    }

    async fn arc_settings(&self, on: &Origin, cluster: &Cluster) -> Result<Value> {
        let path = format!("{}/arcSettings/default", cluster.id);
        Ok(self.arm.find_as(on, &path, api::ARC_SETTINGS).await?.unwrap_or_default())
    }

    async fn node_of(&self, on: &Origin, cluster: &Cluster, settings: &Value, name: &str) -> Result<Node> {
        let details = items(settings, "/properties/perNodeDetails");
        let named = details
            .filter(|node| text(node, "/name").is_some_and(|n| same_host(n, name)))
            .find_map(|node| ResourceId::parse(text(node, "/arcInstance")?).ok());
        let id = match (named, cluster.id.parent()) {
            (Some(id), _) => id,
            (None, Some(group)) => group.resource(MACHINE, name)?,
            (None, None) => {
                return Err(Error::rejected(format!("`{}` is in no resource group", cluster.id)));
            }
        };
        let path = format!("{id}/providers/{EDGE_DEVICE}/default");
        let device = self.arm.find_as(on, &path, api::EDGE_DEVICES).await?;
        let device = device.unwrap_or_default();
        Ok(Node {
            name: name.to_owned(),
            id,
            state: text(&device, "/properties/reportedProperties/deviceState")
                .unwrap_or("Unknown")
                .to_owned(),
            addresses: addresses(&device),
        })
    }
}

/// Returns the addresses at which a node may be reached, most likely first.
///
/// Inferred: those of adapters that are up and have a gateway; the management adapter first.
pub(crate) fn addresses(device: &Value) -> Vec<String> {
    let adapters = items(device, "/properties/reportedProperties/networkProfile/nicDetails");
    let mut found: Vec<(bool, String)> = adapters
        .filter(|nic| text(nic, "/nicStatus").is_some_and(|status| status.eq_ignore_ascii_case("Up")))
        .filter(|nic| text(nic, "/defaultGateway").is_some())
        .filter_map(|nic| {
            let address: Ipv4Addr = text(nic, "/ip4Address")?.parse().ok()?;
            let usable = !address.is_link_local() && !address.is_unspecified();
            let name = text(nic, "/adapterName").unwrap_or_default().to_ascii_lowercase();
            usable.then(|| (!name.starts_with("vmanagement"), address.to_string()))
        })
        .collect();
    found.sort_by_key(|(is_other, _)| *is_other);
    distinct(found.into_iter().map(|(_, address)| address))
}

/// Returns texts without repetitions, in their order.
pub(crate) fn distinct(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for text in texts {
        if !out.contains(&text) {
            out.push(text);
        }
    }
    out
}

/// Lists the nodes of an Azure Local instance with their state and their addresses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Azure Local instance: its name, its resource id, or a value with an `id`.
    cluster: Ref,
    /// Resource group. The configured group, then the whole subscription, when left out.
    #[serde(default)]
    group: Option<String>,
}

/// `local::nodes`.
pub(crate) struct ListNodes(pub(crate) Azure);

impl Operation for ListNodes {
    type Args = Args;
    type Output = Vec<Node>;

    const NAME: &'static str = "local::nodes";
    const SUMMARY: &'static str = "Lists the nodes of an Azure Local instance.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Name the nodes that are in touch.",
                r#"local::nodes("hq").filter(|n| n.state == "Connected").len()"#,
            )
            .on("edge")
            .gives(json!(3)),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Vec<Node>>> {
        let group = args.group.as_deref().filter(|group| !group.is_empty());
        let cluster = self.0.find_cluster(cx, &args.cluster, group.as_slice()).await?;
        let on = &Origin::from(cx);
        let settings = self.0.arc_settings(on, &cluster).await?;
        let (azure, cluster, settings) = (&self.0, &cluster, &settings);
        let reads = cluster
            .nodes
            .clone()
            .into_iter()
            .map(|name| async move { azure.node_of(on, cluster, settings, &name).await });
        let nodes = futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        Ok(Outcome::done(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_management_adapter_comes_first_and_dead_ends_are_left_out() {
        let nic = |name: &str, address: &str, gateway: &str, status: &str| json!({"adapterName": name, "ip4Address": address, "defaultGateway": gateway, "nicStatus": status});
        let device = json!({"properties": {"reportedProperties": {"networkProfile": {"nicDetails": [
            nic("vSMB", "10.71.1.1", "", "Up"),
            nic("ethernet", "10.0.0.5", "10.0.0.1", "Up"),
            nic("vManagement(x)", "10.0.0.4", "10.0.0.1", "up"),
            nic("ethernet 2", "169.254.1.1", "10.0.0.1", "Up"),
            nic("ethernet 3", "10.0.0.6", "10.0.0.1", "Disconnected"),
            nic("ethernet 4", "not an address", "10.0.0.1", "Up"),
            nic("ethernet 5", "10.0.0.5", "10.0.0.1", "Up"),
            {}
        ]}}}});
        assert_eq!(addresses(&device), ["10.0.0.4", "10.0.0.5"]);
        assert!(addresses(&json!(null)).is_empty());
    }
}
