//! `vmconnect`: the console of a VM through port 2179 of its host.
//!
//! VM Connect is a pair of cluster jobs, one that opens the port of a node and one that closes it. The port belongs to
//! the node: every VM on it shares the one endpoint, and who opens it owes the closing. That debt is a lease.

mod disable;
mod enable;
mod job;
mod status;

use relight_engine::Registered;

pub(crate) use enable::{NOT_OFFERED, check_node, check_vm, node_of};

use crate::azure::ResourceId;
use crate::local::Cluster;
use crate::prelude::*;

/// The port of a host on which Hyper-V serves consoles.
pub(crate) const PORT: u16 = 2179;
/// How long the service leaves the port open, and so the longest lease. The wire has no field for it.
const OPEN_FOR: Duration = Duration::from_secs(8 * 3600);
/// The first release with VM Connect.
const FIRST_RELEASE: u32 = 2601;
/// The role that holds all the actions.
pub(crate) const ROLE: &str = "Azure Stack HCI Administrator";

/// What it takes to open a console.
pub(crate) const OPEN: &str = "Microsoft.AzureStackHCI/clusters/jobs/write";

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![
        Registered::new(enable::Enable(azure.clone())),
        Registered::new(disable::Disable(azure.clone())),
        Registered::new(status::Status(azure.clone())),
    ]
}

/// Returns the name of the endpoint that all leases on one node share.
fn endpoint(cluster: &ResourceId, node: &str) -> String {
    format!("{}/nodes/{}:{PORT}", cluster.key(), node.to_ascii_lowercase())
}

/// Returns the cluster and the node of an endpoint.
fn parse_endpoint(endpoint: &str) -> Option<(ResourceId, &str)> {
    let (cluster, node) = endpoint.strip_suffix(&format!(":{PORT}"))?.rsplit_once("/nodes/")?;
    Some((ResourceId::parse(cluster).ok()?, node))
}

/// Says why an instance cannot open consoles, if it cannot.
pub(crate) fn check_cluster(cluster: &Cluster) -> Result<()> {
    if let Some(release) = cluster.release().filter(|release| *release < FIRST_RELEASE) {
        return Err(Error::rejected(format!(
            "`{}` runs release {release} of Azure Local ({}); VM Connect came with {FIRST_RELEASE}",
            cluster.name,
            cluster.version.as_deref().unwrap_or_default(),
        ))
        .hint("install a solution update, or open the console on the host with Hyper-V Manager"));
    }
    if cluster.is_out_of_touch() {
        let since = cluster.last_sync.as_deref().map_or_else(String::new, |at| format!(", last seen {at}"));
        return Err(Error::rejected(format!(
            "`{}` is out of touch with Azure ({}{since}), so no port can be opened through it",
            cluster.name, cluster.connectivity
        ))
        .code(ErrorCode::OUT_OF_TOUCH)
        .hint(
            "check the instance's outbound connection, or open the console on the host with Hyper-V Manager",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_can_be_read_back() {
        let cluster = ResourceId::parse(
            "/subscriptions/S/resourceGroups/G/providers/Microsoft.AzureStackHCI/clusters/HQ",
        )
        .unwrap();
        let name = endpoint(&cluster, "HQ-Node2");
        assert_eq!(name, name.to_ascii_lowercase());
        assert_eq!(parse_endpoint(&name), Some((cluster, "hq-node2")));
        assert_eq!(parse_endpoint("22/somewhere"), None);
    }
}
