//! `local::cluster`: reads one Azure Local instance. Also: which instance a host belongs to.

use super::api::{self, CLUSTER};
use super::vm::Vm;
use crate::azure::Origin;
use crate::prelude::*;
use crate::reference::near;

/// What is known about an Azure Local instance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Cluster {
    /// Resource id.
    pub(crate) id: ResourceId,
    /// Name.
    pub(crate) name: String,
    /// Resource group.
    pub(crate) group: String,
    /// Azure's word for its state, such as ConnectedRecently.
    pub(crate) status: String,
    /// Whether it is in touch with Azure: Connected, PartiallyConnected, NotConnectedRecently, Disconnected.
    pub(crate) connectivity: String,
    /// Version of the solution it runs, such as 12.2601.1002.38.
    pub(crate) version: Option<String>,
    /// When it last spoke to Azure.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) last_sync: Option<String>,
    /// Names of its nodes.
    pub(crate) nodes: Vec<String>,
}

impl Cluster {
    /// Reads the answer of Azure.
    pub(crate) fn read(id: &ResourceId, body: &Value) -> Self {
        let spelled = text(body, "/id").and_then(|text| ResourceId::parse(text).ok());
        let id = spelled.filter(|spelled| spelled == id).unwrap_or_else(|| id.clone());
        let owned = |pointer| text(body, pointer).map(str::to_owned);
        let nodes = items(body, "/properties/reportedProperties/nodes");
        Cluster {
            name: id.name().to_owned(),
            group: id.group().unwrap_or_default().to_owned(),
            status: owned("/properties/status").unwrap_or_else(|| "Unknown".into()),
            connectivity: owned("/properties/connectivityStatus").unwrap_or_else(|| "NotSpecified".into()),
            version: owned("/properties/reportedProperties/clusterVersion"),
            last_sync: owned("/properties/lastSyncTimestamp"),
            nodes: nodes.filter_map(|node| text(node, "/name")).map(str::to_owned).collect(),
            id,
        }
    }

    /// Returns a node's name in the cluster's own spelling. A host may be named with its domain.
    pub(crate) fn node(&self, host: &str) -> Option<&str> {
        self.nodes.iter().map(String::as_str).find(|node| same_host(node, host))
    }

    /// Returns the release of the solution, such as 2601, when the version says it.
    pub(crate) fn release(&self) -> Option<u32> {
        self.version.as_deref()?.split('.').nth(1)?.parse().ok()
    }

    /// Returns whether Azure has lost touch with the cluster.
    pub(crate) fn is_out_of_touch(&self) -> bool {
        ["Disconnected", "NotConnectedRecently", "NotYetRegistered"]
            .iter()
            .any(|s| self.connectivity.eq_ignore_ascii_case(s))
    }
}

/// Returns whether two names mean the same host, whatever the letter case and the domain.
pub(crate) fn same_host(one: &str, other: &str) -> bool {
    let short = |name: &str| name.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    !short(one).is_empty() && short(one) == short(other)
}

impl Azure {
    /// Finds and reads an Azure Local instance. A name is looked up in `groups`, then in the subscription.
    pub(crate) async fn find_cluster(&self, cx: &Cx, cluster: &Ref, groups: &[&str]) -> Result<Cluster> {
        let name = match cluster {
            Ref::Id(id) if id.is(CLUSTER) => return self.read_cluster(cx, id).await,
            Ref::Id(id) => {
                return Err(Error::invalid(format!("`{id}` is not the id of an Azure Local instance"))
                    .hint(format!("it ends in /providers/{CLUSTER}/<name>")));
            }
            Ref::Name(name) => name,
        };
        let mut tried: Vec<&str> = Vec::new();
        for group in groups.iter().copied().chain(self.group(None)) {
            if tried.iter().any(|t| t.eq_ignore_ascii_case(group)) {
                continue;
            }
            tried.push(group);
            let id = ResourceId::of_group(self.subscription()?, group)?.resource(CLUSTER, name)?;
            if let Some(body) = self.arm.find(cx, id.as_str(), api::CLUSTERS).await? {
                return Ok(Cluster::read(&id, &body));
            }
        }
        let all = self.list_clusters(cx).await?;
        let same: Vec<&Cluster> = all.iter().filter(|c| c.name.eq_ignore_ascii_case(name)).collect();
        match same.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let error =
                    Error::rejected(format!("there is no Azure Local instance `{name}` in the subscription"))
                        .code(ErrorCode::NOT_FOUND);
                let close = near(name, all.iter().map(|c| c.name.as_str()));
                Err(if close.is_empty() {
                    error
                } else {
                    error.hint(format!("did you mean {}?", close.join(" or ")))
                })
            }
            several => {
                let ids: Vec<&str> = several.iter().map(|c| c.id.as_str()).collect();
                Err(Error::rejected(format!("{} Azure Local instances are called `{name}`", ids.len()))
                    .hint(format!("give the whole id: {}", ids.join(", "))))
            }
        }
    }

    /// Finds the Azure Local instance whose node runs a VM.
    ///
    /// Inferred: the node lists of the instances name the host; where that does not decide, the Arc machine of the
    /// host's name says which instance it belongs to.
    pub(crate) async fn cluster_of(&self, on: impl Into<Origin>, vm: &Vm) -> Result<Cluster> {
        let on = &on.into();
        let host = vm.host.as_deref().ok_or_else(|| {
            Error::rejected(format!("Azure does not say on which host `{}` runs", vm.name))
                .hint("name the Azure Local instance: #{ cluster: \"..\" }")
        })?;
        let mut clusters = self.list_clusters(on).await?;
        clusters.retain(|cluster| cluster.node(host).is_some());
        if clusters.len() == 1 {
            return Ok(clusters.remove(0));
        }
        let machines = self.list_of(on, api::MACHINES, None).await?;
        let mut parents: Vec<ResourceId> = machines
            .iter()
            .filter(|machine| text(machine, "/name").is_some_and(|name| same_host(name, host)))
            .filter_map(|machine| {
                ResourceId::parse(text(machine, "/properties/parentClusterResourceId")?).ok()
            })
            .collect();
        parents.dedup();
        if let [one] = parents.as_slice() {
            return self.read_cluster(on, one).await;
        }
        let found = clusters.len().max(parents.len());
        let how = if found == 0 {
            "no Azure Local instance has".to_owned()
        } else {
            format!("{found} instances have")
        };
        Err(Error::rejected(format!("{how} a node `{host}`, which runs `{}`", vm.name))
            .code(ErrorCode::NOT_FOUND)
            .hint("name the instance: #{ cluster: \"..\" }")
            .hint("to find it, the identity needs the role \"Reader\" on the subscription of the instance"))
    }

    /// Reads an Azure Local instance that exists.
    pub(crate) async fn read_cluster(&self, on: impl Into<Origin>, id: &ResourceId) -> Result<Cluster> {
        Ok(Cluster::read(id, &self.arm.get_as(&on.into(), id.as_str(), api::CLUSTERS).await?))
    }

    pub(crate) async fn list_clusters(&self, on: impl Into<Origin>) -> Result<Vec<Cluster>> {
        let path = format!("/subscriptions/{}/providers/{CLUSTER}", self.subscription()?);
        let all = self.arm.list_as(&on.into(), &path, api::CLUSTERS).await?;
        Ok(all
            .iter()
            .filter_map(|body| Some(Cluster::read(&ResourceId::parse(text(body, "/id")?).ok()?, body)))
            .collect())
    }
}

/// Reads one Azure Local instance: its version, its nodes, and whether it is in touch with Azure.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Azure Local instance: its name, its resource id, or a value with an `id`.
    cluster: Ref,
    /// Resource group. The configured group, then the whole subscription, when left out.
    #[serde(default)]
    group: Option<String>,
}

/// `local::cluster`.
pub(crate) struct ReadCluster(pub(crate) Azure);

impl Operation for ReadCluster {
    type Args = Args;
    type Output = Cluster;

    const NAME: &'static str = "local::cluster";
    const SUMMARY: &'static str = "Reads one Azure Local instance.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Name the nodes of an instance.", r#"local::cluster("hq").nodes"#)
                .on("edge")
                .gives(json!(["hq-node1", "hq-node2", "hq-node3"])),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Cluster>> {
        let group = args.group.as_deref().filter(|group| !group.is_empty());
        Ok(Outcome::done(self.0.find_cluster(cx, &args.cluster, group.as_slice()).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(version: &str, connectivity: &str) -> Cluster {
        let id = ResourceId::of_group("s", "g").unwrap().resource(CLUSTER, "hq").unwrap();
        Cluster::read(
            &id,
            &json!({"properties": {"connectivityStatus": connectivity, "reportedProperties": {
            "clusterVersion": version, "nodes": [{"name": "HQ-Node1"}, {"name": "hq-node2"}, {}]}}}),
        )
    }

    #[test]
    fn a_host_is_found_whatever_its_spelling() {
        let cluster = cluster("12.2601.1002.38", "Connected");
        assert_eq!(cluster.node("hq-node1.corp.example"), Some("HQ-Node1"));
        assert_eq!((cluster.node("hq-node10"), cluster.node("")), (None, None));
        assert!(!cluster.is_out_of_touch());
    }

    #[test]
    fn the_release_is_in_the_version() {
        for (version, release) in [
            ("12.2601.1002.38", Some(2601)),
            ("10.2411.3.2", Some(2411)),
            ("10.0.20349.1", Some(0)),
            ("new", None),
            ("", None),
        ] {
            assert_eq!(cluster(version, "Disconnected").release(), release, "{version}");
        }
    }
}
