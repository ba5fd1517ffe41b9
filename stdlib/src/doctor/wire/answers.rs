//! What is read: of a few machines and instances, everything that a fact looks at, all at once.

use futures::future::{join_all, join3};
use relight_engine::{Error, ErrorCode, Result};
use serde_json::{Value, json};

use crate::agent::Host;
use crate::arc::{ArcHost, endpoint_of, service_of};
use crate::azure::{Api, ResourceId};
use crate::compute::{AzureHost, INTERFACES, VMS};
use crate::doctor::check::said;
use crate::doctor::fact::{Asking, Fact};
use crate::doctor::facts::PROVIDERS;
use crate::doctor::rights::PERMISSIONS;
use crate::local::api;
use crate::local::find::{ARC_MACHINE, instance_path};
use crate::named::id_of;
use crate::network::SECURITY_GROUPS;
use crate::prelude::{items, text};
use crate::relay::{self, ENDPOINTS, SSH};
use crate::{Ref, network};

/// How many of each kind are looked at: more show more words, and take more requests.
const SOME: usize = 8;

const DENIALS: Api<'static> =
    Api { kind: "Microsoft.Authorization/denyAssignments", versions: &["2022-04-01"] };

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The provider of a namespace.
    Provider(&'static str),
    /// An Arc machine.
    Machine,
    /// One extension of an Arc machine.
    Extension,
    /// One run command of an Arc machine.
    RunCommand,
    /// A service configuration.
    Service,
    /// How credentials are refused to a machine that lets nobody in, as `status` and `code`.
    NoCredentials,
    /// One role of the caller.
    Permission,
    /// One deny assignment.
    Denial,
    /// A VM of Azure Local.
    Instance,
    /// What a node says about itself.
    Device,
    /// One cluster job.
    Job,
    /// A virtual machine in Azure, with its view.
    Vm,
    SecurityGroup,
    /// How the effective rules of a VM that is off are refused.
    NoRules,
    /// How boot diagnostics are refused where they are off.
    NoDiagnostics,
}

struct Answer {
    asked: Asked,
    fact: Fact<Value>,
}

/// Everything that was answered.
pub(super) struct Answers {
    all: Vec<Answer>,
    /// The names of all Arc machines of the subscription, where they could be listed.
    pub(super) machines: Option<Vec<String>>,
    /// Where something of a namespace is.
    regions: Vec<(&'static str, String)>,
}

impl Answers {
    /// Asks everything.
    ///
    /// # Errors
    /// What keeps a name from being looked up, or anything from being listed.
    pub(super) async fn gather(
        asking: Asking<'_>,
        machine: Option<&Ref>,
        group: Option<&str>,
    ) -> Result<Answers> {
        let list = |api| asking.ask(move || asking.azure.list_of(asking.origin, api, group));
        let (arc, cloud, clusters) = join3(list(api::MACHINES), list(VMS), list(api::CLUSTERS)).await;
        if let (Fact::Refused(error), Fact::Refused(_), Fact::Refused(_)) = (&arc, &cloud, &clusters) {
            return Err(error.clone());
        }
        let machines = arc
            .known()
            .filter(|_| group.is_none())
            .map(|all| all.iter().filter_map(|it| text(it, "/name")).map(str::to_owned).collect());
        let listed = |fact: &Fact<Vec<Value>>| fact.known().cloned().unwrap_or_default();
        let (mut arc, cloud, clusters) = (listed(&arc), listed(&cloud), listed(&clusters));
        // VMs of Azure Local have more to tell than the nodes that carry them.
        arc.sort_by_key(|it| !text(it, "/kind").is_some_and(|kind| kind.eq_ignore_ascii_case("HCI")));
        let regions = [
            ("Microsoft.AzureStackHCI", &clusters),
            ("Microsoft.HybridCompute", &arc),
            ("Microsoft.HybridConnectivity", &arc),
            ("Microsoft.Compute", &cloud),
            ("Microsoft.Network", &cloud),
        ];
        let namespaces = regions.map(|(namespace, _)| namespace);
        let regions = regions.into_iter().flat_map(|(namespace, all)| {
            all.iter().filter_map(|it| text(it, "/location")).map(move |it| (namespace, region(it)))
        });
        let regions = regions.collect();
        let ids = |all: &[Value]| -> Vec<ResourceId> { all.iter().filter_map(id_of).take(SOME).collect() };
        let (arc, cloud) = match machine {
            Some(named) => asking.kind_of(named, group).await?,
            None => (ids(&arc), ids(&cloud)),
        };
        let clusters = ids(&clusters);
        let subscription = asking.azure.subscription()?.to_owned();
        let (one, two, three, four) = tokio::join!(
            join_all(namespaces.map(|namespace| asking.whole_provider(&subscription, namespace))),
            join_all(arc.iter().map(|id| asking.arc_answers(id))),
            join_all(cloud.iter().map(|id| asking.cloud_answers(id))),
            join_all(clusters.iter().map(|id| asking.cluster_answers(id))),
        );
        let rest = two.into_iter().chain(three).chain(four).flatten();
        Ok(Answers { all: one.into_iter().chain(rest).collect(), machines, regions })
    }

    /// Returns what was answered to a question: each item of a list.
    pub(super) fn of<'a>(&'a self, asked: &'a Asked) -> impl Iterator<Item = &'a Value> {
        self.all.iter().filter(move |it| it.asked == *asked).filter_map(|it| it.fact.known()).flat_map(
            |value| match value {
                Value::Array(items) => items.as_slice(),
                one => std::slice::from_ref(one),
            },
        )
    }

    /// Returns where something of a namespace is.
    pub(super) fn regions(&self, namespace: &str) -> impl Iterator<Item = &str> {
        self.regions.iter().filter(move |(of, _)| *of == namespace).map(|(_, region)| region.as_str())
    }

    /// Returns why a question has no answer, if it was asked.
    pub(super) fn unread(&self, asked: &Asked) -> Option<String> {
        self.all.iter().filter(|it| it.asked == *asked).find_map(|it| match &it.fact {
            Fact::Refused(error) => Some(match (error.status(), error.service_code()) {
                (Some(status), Some(code)) => format!("it may not be read: {status} {code}"),
                _ => format!("it could not be read: {}", said(error)),
            }),
            Fact::Late => Some("no answer came in time".to_owned()),
            Fact::Known(_) | Fact::NotAsked => None,
        })
    }
}

/// Returns a region as Azure writes it in resources.
pub(super) fn region(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase()
}

impl Asking<'_> {
    /// Returns the machine that is named, as the only one of its kind.
    async fn kind_of(&self, named: &Ref, group: Option<&str>) -> Result<(Vec<ResourceId>, Vec<ResourceId>)> {
        let arc = async || {
            let id = self.azure.named(self.origin, ARC_MACHINE, named, group).await?;
            let found = self.azure.arm.find_as(self.origin, id.as_str(), api::MACHINES).await?;
            found.map(|_| id).ok_or_else(|| {
                Error::rejected(format!("there is no machine `{}`", named)).code(ErrorCode::NOT_FOUND)
            })
        };
        match self.ask(arc).await {
            Fact::Known(id) => Ok((vec![id], Vec::new())),
            Fact::Refused(missing) => {
                match self.ask(|| self.azure.read_named_azure_vm(self.origin, named, group)).await {
                    Fact::Known(vm) => Ok((Vec::new(), vec![vm.id])),
                    _ => Err(missing),
                }
            }
            Fact::Late | Fact::NotAsked => Err(Error::rejected("no answer came in time")),
        }
    }

    async fn get(&self, asked: Asked, path: &str, api: Api<'_>) -> Answer {
        let read = || self.azure.arm.get_as(self.origin, path, api);
        Answer { asked, fact: self.ask(read).await }
    }

    async fn list(&self, asked: Asked, path: &str, api: Api<'_>) -> Answer {
        let read = || async { Ok(Value::Array(self.azure.arm.list_as(self.origin, path, api).await?)) };
        Answer { asked, fact: self.ask(read).await }
    }

    /// Asks with a POST that is refused, and says how. What is granted in spite of that is let go unread.
    async fn refusal(&self, asked: Asked, path: &str, api: Api<'_>, body: Option<&Value>) -> Answer {
        let ask = || async {
            match self.azure.arm.refusal(self.origin, path, api, body).await? {
                None => Ok(json!({"status": 200})),
                // For want of a role: that says nothing about what was asked.
                Some(error) if error.status() == Some(403) => Err(error),
                Some(error) => Ok(json!({"status": error.status(), "code": error.service_code()})),
            }
        };
        Answer { asked, fact: self.ask(ask).await }
    }

    async fn whole_provider(&self, subscription: &str, namespace: &'static str) -> Answer {
        let path = format!("/subscriptions/{subscription}/providers/{namespace}");
        self.get(Asked::Provider(namespace), &path, PROVIDERS).await
    }

    async fn arc_answers(&self, id: &ResourceId) -> Vec<Answer> {
        let authorization = format!("{id}/providers/Microsoft.Authorization");
        let path = |end: &str| format!("{id}/{end}");
        let (instance, extensions, commands) = (instance_path(id), path("extensions"), path("runCommands"));
        let (permissions, denials) =
            (format!("{authorization}/permissions"), format!("{authorization}/denyAssignments"));
        let (machine, instance, extensions, commands, permissions, denials, mut way_in) = tokio::join!(
            self.get(Asked::Machine, id.as_str(), api::MACHINES),
            self.get(Asked::Instance, &instance, api::INSTANCES),
            self.list(Asked::Extension, &extensions, ArcHost::EXTENSIONS),
            self.list(Asked::RunCommand, &commands, ArcHost::RUN_COMMANDS),
            self.list(Asked::Permission, &permissions, PERMISSIONS),
            self.list(Asked::Denial, &denials, DENIALS),
            self.way_in(id),
        );
        way_in.extend([machine, extensions, commands, permissions, denials]);
        // Not every Arc machine is a VM of Azure Local.
        if instance.fact.known().is_some() {
            way_in.push(instance);
        }
        way_in
    }

    /// Reads what a machine lets in. Credentials are asked for only where there can be none.
    async fn way_in(&self, id: &ResourceId) -> Vec<Answer> {
        let (Ok(endpoint), Ok(service)) = (endpoint_of(id), service_of(id, SSH)) else { return Vec::new() };
        let find = |path: ResourceId, api| async move {
            let read = || self.azure.arm.find_as(self.origin, path.as_str(), api);
            self.ask(read).await
        };
        let (endpoint, service) =
            tokio::join!(find(endpoint, ENDPOINTS), find(service, crate::arc::SERVICES));
        match (endpoint, service) {
            (_, Fact::Known(Some(service))) => {
                vec![Answer { asked: Asked::Service, fact: Fact::Known(service) }]
            }
            (_, Fact::Refused(error)) => [Asked::Service, Asked::NoCredentials]
                .map(|asked| Answer { asked, fact: Fact::Refused(error.clone()) })
                .into(),
            (Fact::Known(Some(_)), Fact::Known(None)) => {
                let path = format!("{id}/{}?expiresin={}", relay::CREDENTIALS, 3600);
                let body = json!({"serviceName": SSH});
                vec![self.refusal(Asked::NoCredentials, &path, ENDPOINTS, Some(&body)).await]
            }
            _ => Vec::new(),
        }
    }

    async fn cloud_answers(&self, id: &ResourceId) -> Vec<Answer> {
        let path = format!("{id}?$expand=instanceView");
        let extensions = format!("{id}/extensions?$expand=instanceView");
        let commands = format!("{id}/runCommands?$expand=instanceView");
        let (vm, extensions, commands) = tokio::join!(
            self.get(Asked::Vm, &path, VMS),
            self.list(Asked::Extension, &extensions, AzureHost::EXTENSIONS),
            self.list(Asked::RunCommand, &commands, AzureHost::RUN_COMMANDS),
        );
        let mut all = vec![extensions, commands];
        if let Some(body) = vm.fact.known() {
            let nic = items(body, "/properties/networkProfile/networkInterfaces").find_map(id_of);
            let (group, rules, diagnostics) = tokio::join!(
                self.group_before(nic.as_ref()),
                self.rules_of(nic.as_ref().filter(|_| is_off(body))),
                self.without_diagnostics(id, body),
            );
            all.extend([group, rules, diagnostics].into_iter().flatten());
        }
        all.push(vm);
        all
    }

    async fn group_before(&self, nic: Option<&ResourceId>) -> Option<Answer> {
        let nic = self.get(Asked::SecurityGroup, nic?.as_str(), INTERFACES).await;
        let group = text(nic.fact.known()?, "/properties/networkSecurityGroup/id")?.to_owned();
        Some(self.get(Asked::SecurityGroup, &group, SECURITY_GROUPS).await)
    }

    async fn rules_of(&self, nic: Option<&ResourceId>) -> Option<Answer> {
        let path = format!("{}/{}", nic?, network::EFFECTIVE_RULES);
        Some(self.refusal(Asked::NoRules, &path, INTERFACES, None).await)
    }

    /// Asks for boot diagnostics where they are off: where they are on that makes addresses with signatures.
    async fn without_diagnostics(&self, vm: &ResourceId, body: &Value) -> Option<Answer> {
        let enabled = body.pointer("/properties/diagnosticsProfile/bootDiagnostics/enabled");
        if enabled.and_then(Value::as_bool).unwrap_or_default() {
            return None;
        }
        let path = format!("{vm}/retrieveBootDiagnosticsData");
        Some(self.refusal(Asked::NoDiagnostics, &path, VMS, None).await)
    }

    async fn cluster_answers(&self, id: &ResourceId) -> Vec<Answer> {
        let (settings, jobs) = (format!("{id}/arcSettings/default"), format!("{id}/jobs"));
        let (settings, jobs) = tokio::join!(
            self.ask(|| self.azure.arm.find_as(self.origin, &settings, api::ARC_SETTINGS)),
            self.list(Asked::Job, &jobs, api::VM_CONNECT_JOBS),
        );
        let settings = settings.known().cloned().flatten().unwrap_or_default();
        let nodes = items(&settings, "/properties/perNodeDetails").filter_map(|it| text(it, "/arcInstance"));
        let paths: Vec<String> =
            nodes.map(|node| format!("{node}/providers/{}/default", api::EDGE_DEVICE)).collect();
        let mut all =
            join_all(paths.iter().map(|path| self.get(Asked::Device, path, api::EDGE_DEVICES))).await;
        all.push(jobs);
        all
    }
}

/// Returns whether a virtual machine in Azure does not run.
fn is_off(vm: &Value) -> bool {
    items(vm, "/properties/instanceView/statuses").filter_map(|it| text(it, "/code")).any(|code| {
        matches!(code.to_ascii_lowercase().as_str(), "powerstate/deallocated" | "powerstate/stopped")
    })
}
