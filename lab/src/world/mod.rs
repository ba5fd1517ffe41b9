//! The simulated site: what exists, and how it changes as time passes.
//!
//! Owns resources and their transitions. Does not own HTTP, faults or tokens. Nothing here reads a clock: callers first
//! `advance` the world to *now*, then look at it or start something.

mod azure_vm;
mod build;
mod endpoint;
mod extension;
mod job;
mod network;
mod operation;
mod registration;
mod run_command;
mod snapshot;
mod vm;

use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub(crate) use azure_vm::{AzureChange, AzurePower, AzureVm};
pub(crate) use endpoint::{Endpoint, Service};
pub(crate) use extension::{Extension, Properties, Work};
pub(crate) use job::{Failure, Job, JobKind, Mode, Target};
pub(crate) use network::{Networks, Nic, PublicAddress, Rule, RuleProperties, SecurityGroup, Subnet};
pub(crate) use operation::{Operation, Shape};
pub(crate) use registration::Registration;
pub(crate) use run_command::{Outcome, RunCommand};
pub(crate) use vm::{Change, Power, Vm};

use crate::{
    machine::{Kept, Os},
    seed::Seed,
};

/// Where Hyper-V's console service listens.
pub(crate) const CONSOLE_PORT: u16 = 2179;

/// How long a console port stays open once opened. The service decides; the wire has no field for it.
const PORT_LIFETIME: SignedDuration = SignedDuration::from_hours(8);

/// Everything that exists.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) tenant: String,
    pub(crate) subscription: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// The object id of the service principal.
    pub(crate) object_id: String,
    pub(crate) location: String,
    /// The middle of `127.x.y.z` for node addresses; `None` where only 127.0.0.1 can be bound.
    pub(crate) network: Option<[u8; 2]>,
    pub(crate) groups: Vec<Group>,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) vms: Vec<Vm>,
    #[serde(default)]
    pub(crate) azure_vms: Vec<AzureVm>,
    #[serde(default)]
    pub(crate) networks: Networks,
    #[serde(default)]
    pub(crate) extensions: Vec<Extension>,
    #[serde(default)]
    pub(crate) endpoints: Vec<Endpoint>,
    #[serde(default)]
    pub(crate) registrations: Vec<Registration>,
    #[serde(default)]
    pub(crate) run_commands: Vec<RunCommand>,
    /// The disks of the machines that somebody has been on.
    #[serde(default)]
    pub(crate) disks: Vec<Kept>,
    pub(crate) operations: Vec<Operation>,
    /// How many things were started so far; makes each one's label, and so its id and duration, its own.
    started: u64,
}

/// What people write on a resource.
pub(crate) type Tags = serde_json::Map<String, serde_json::Value>;

/// A resource group.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) tags: Tags,
    /// When the group will be gone, once its deletion was accepted.
    pub(crate) gone: Option<Timestamp>,
}

/// An Azure Local instance.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) status: String,
    pub(crate) connectivity: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) jobs: Vec<Job>,
    #[serde(default)]
    pub(crate) tags: Tags,
}

/// A physical machine of a cluster.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Counts nodes over all clusters; decides the addresses.
    pub(crate) index: u8,
    /// Which of the two addresses can be reached from where the operator sits.
    pub(crate) answers: [bool; 2],
    pub(crate) port: Option<OpenPort>,
    #[serde(default)]
    pub(crate) tags: Tags,
}

/// An open console port 2179.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct OpenPort {
    pub(crate) opened: Timestamp,
    pub(crate) closes: Timestamp,
}

/// The next thing that time will bring about.
#[derive(Clone, Copy, Debug)]
enum Due {
    HostMove { cluster: usize, job: usize },
    JobEnd { cluster: usize, job: usize },
    JobGone { cluster: usize, job: usize },
    PortCloses { cluster: usize, node: usize },
    VmSettles { vm: usize },
    AzureVmSettles { vm: usize },
    RuleGone { group: usize, rule: usize },
    ExtensionSettles { extension: usize },
    RunCommandGone { command: usize },
    GroupGone { group: usize },
}

impl World {
    pub(crate) fn seed(&self) -> Seed {
        Seed(self.seed)
    }

    /// Returns a label that no other call gets, for ids and durations of things that are started.
    pub(crate) fn next_label(&mut self, what: &str) -> String {
        self.started += 1;
        format!("{what} {}", self.started)
    }

    /// Moves the world forward: everything due until `now` happens, in order.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= now) {
            self.bring_about(due, at);
        }
    }

    fn next_due(&self) -> Option<(Timestamp, Due)> {
        let mut next: Option<(Timestamp, Due)> = None;
        let mut offer = |at: Option<Timestamp>, due: Due| {
            if let Some(at) = at
                && next.is_none_or(|(earliest, _)| at < earliest)
            {
                next = Some((at, due));
            }
        };
        for (c, cluster) in self.clusters.iter().enumerate() {
            for (j, job) in cluster.jobs.iter().enumerate() {
                offer(job.moves_host, Due::HostMove { cluster: c, job: j });
                offer(job.pending_end(), Due::JobEnd { cluster: c, job: j });
                offer(job.gone, Due::JobGone { cluster: c, job: j });
            }
            for (n, node) in cluster.nodes.iter().enumerate() {
                offer(node.port.as_ref().map(|p| p.closes), Due::PortCloses { cluster: c, node: n });
            }
        }
        for (v, vm) in self.vms.iter().enumerate() {
            offer(vm.change.as_ref().and_then(|change| change.at), Due::VmSettles { vm: v });
        }
        for (v, vm) in self.azure_vms.iter().enumerate() {
            offer(vm.change.as_ref().and_then(|change| change.at), Due::AzureVmSettles { vm: v });
        }
        for (g, group) in self.networks.groups.iter().enumerate() {
            for (r, rule) in group.rules.iter().enumerate() {
                offer(rule.gone, Due::RuleGone { group: g, rule: r });
            }
        }
        for (e, it) in self.extensions.iter().enumerate() {
            offer(it.work.as_ref().and_then(|work| work.ends), Due::ExtensionSettles { extension: e });
        }
        for (c, it) in self.run_commands.iter().enumerate() {
            offer(it.gone, Due::RunCommandGone { command: c });
        }
        for (g, group) in self.groups.iter().enumerate() {
            offer(group.gone, Due::GroupGone { group: g });
        }
        next
    }

    fn bring_about(&mut self, due: Due, at: Timestamp) {
        match due {
            Due::HostMove { cluster, job } => self.move_host(cluster, job),
            Due::JobEnd { cluster, job } => self.end_job(cluster, job, at),
            Due::JobGone { cluster, job } => drop(self.clusters[cluster].jobs.remove(job)),
            Due::PortCloses { cluster, node } => self.clusters[cluster].nodes[node].port = None,
            Due::VmSettles { vm } => self.vms[vm].settle(),
            Due::AzureVmSettles { vm } => self.azure_vms[vm].settle(),
            Due::RuleGone { group, rule } => drop(self.networks.groups[group].rules.remove(rule)),
            Due::ExtensionSettles { extension } => {
                if !self.extensions[extension].settle(at) {
                    self.extensions.remove(extension);
                }
            }
            Due::RunCommandGone { command } => drop(self.run_commands.remove(command)),
            Due::GroupGone { group } => drop(self.groups.remove(group)),
        }
    }

    /// Live-migrates the job's first VM to the next node of its cluster.
    fn move_host(&mut self, cluster: usize, job: usize) {
        let cluster = &mut self.clusters[cluster];
        cluster.jobs[job].moves_host = None;
        let Some(target) = cluster.jobs[job].targets.first() else {
            return;
        };
        let here = cluster.nodes.iter().position(|node| node.name == target.node).unwrap_or(0);
        let there = cluster.nodes[(here + 1) % cluster.nodes.len()].name.clone();
        let (name, group) = (target.vm.clone(), target.group.clone());
        if let Some(vm) = self.vms.iter_mut().find(|vm| vm.is(&name, &group)) {
            vm.node = there;
        }
    }

    fn end_job(&mut self, cluster: usize, job: usize, at: Timestamp) {
        let cluster = &mut self.clusters[cluster];
        let job = &mut cluster.jobs[job];
        job.ended = Some(at);
        if job.failure.is_some() || job.mode == Mode::Validate {
            return;
        }
        for target in &job.targets {
            for node in cluster.nodes.iter_mut().filter(|node| node.name == target.node) {
                match job.kind {
                    // Whether a second opening extends the time is not known; the strict reading is that it does not.
                    JobKind::VmConnectProvision => {
                        node.port.get_or_insert(OpenPort { opened: at, closes: at + PORT_LIFETIME });
                    }
                    // The port belongs to the host, so removing it for one VM closes it for all.
                    JobKind::VmConnectRemove => node.port = None,
                }
            }
        }
    }

    /// Returns whether the subscription may use a provider, in ARM's word for it.
    pub(crate) fn registration(&self, namespace: &str, now: Timestamp) -> &'static str {
        let found = self.registrations.iter().find(|it| it.namespace.eq_ignore_ascii_case(namespace));
        found.map_or("Registered", |it| it.state(now))
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn group_mut(&mut self, name: &str) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn cluster(&self, group: &str, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.is(name, group))
    }

    pub(crate) fn cluster_mut(&mut self, group: &str, name: &str) -> Option<&mut Cluster> {
        self.clusters.iter_mut().find(|cluster| cluster.is(name, group))
    }

    pub(crate) fn vm(&self, group: &str, name: &str) -> Option<&Vm> {
        self.vms.iter().find(|vm| vm.is(name, group))
    }

    pub(crate) fn vm_mut(&mut self, group: &str, name: &str) -> Option<&mut Vm> {
        self.vms.iter_mut().find(|vm| vm.is(name, group))
    }

    /// Returns the cluster and the node that is the Arc machine of this name.
    pub(crate) fn node(&self, group: &str, name: &str) -> Option<(&Cluster, &Node)> {
        self.clusters
            .iter()
            .filter(|cluster| cluster.group.eq_ignore_ascii_case(group))
            .find_map(|cluster| Some((cluster, cluster.node(name)?)))
    }

    /// Returns the virtual machine in Azure of this name.
    pub(crate) fn azure_vm(&self, group: &str, name: &str) -> Option<&AzureVm> {
        self.azure_vms.iter().find(|vm| vm.is(group, name))
    }

    pub(crate) fn azure_vm_mut(&mut self, group: &str, name: &str) -> Option<&mut AzureVm> {
        self.azure_vms.iter_mut().find(|vm| vm.is(group, name))
    }

    /// Returns the operating system of the machine of this name: a node's, or a VM's here or in Azure. In one resource group
    /// no two have the same.
    pub(crate) fn os(&self, group: &str, name: &str) -> Option<Os> {
        let of = |vm: &Vm| if vm.os.eq_ignore_ascii_case("linux") { Os::Linux } else { Os::Windows };
        let local = self.node(group, name).map(|_| Os::Windows).or_else(|| self.vm(group, name).map(of));
        local.or_else(|| self.azure_vm(group, name).map(|vm| vm.os))
    }

    /// Returns whether the machine has an SSH server: Linux has, Windows gets one with an extension.
    pub(crate) fn serves_ssh(&self, group: &str, name: &str) -> bool {
        self.os(group, name) == Some(Os::Linux) || self.has_extension(group, name, "WindowsOpenSSH")
    }

    /// Returns whether an extension of this type is there and in order.
    pub(crate) fn has_extension(&self, group: &str, machine: &str, kind: &str) -> bool {
        let mut all = self.extensions.iter().filter(|it| it.is_on(group, machine));
        all.any(|it| it.sent.kind.eq_ignore_ascii_case(kind) && it.installs > 0 && it.is_there())
    }

    /// Returns the tags of the Arc machine of this name: a node's or a VM's.
    pub(crate) fn machine_tags_mut(&mut self, group: &str, name: &str) -> Option<&mut Tags> {
        let in_group = |cluster: &&mut Cluster| cluster.group.eq_ignore_ascii_case(group);
        let mut nodes = self.clusters.iter_mut().filter(in_group).flat_map(|cluster| &mut cluster.nodes);
        match nodes.find(|node| node.name.eq_ignore_ascii_case(name)) {
            Some(node) => Some(&mut node.tags),
            None => self.vms.iter_mut().find(|vm| vm.is(name, group)).map(|vm| &mut vm.tags),
        }
    }

    /// Returns the cluster that a VM belongs to.
    pub(crate) fn cluster_of(&self, vm: &Vm) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == vm.cluster)
    }

    /// Returns the node that runs a VM.
    pub(crate) fn host(&self, vm: &Vm) -> Option<&Node> {
        self.cluster_of(vm)?.node(&vm.node)
    }

    /// Moves a VM to another node of its cluster and returns whether both exist.
    pub(crate) fn move_vm(&mut self, group: &str, name: &str, node: &str) -> bool {
        let place =
            self.vm(group, name).and_then(|vm| self.cluster_of(vm)?.node(node)).map(|node| node.name.clone());
        match (place, self.vm_mut(group, name)) {
            (Some(node), Some(vm)) => {
                vm.node = node;
                true
            }
            _ => false,
        }
    }

    /// Returns the two addresses of a node: the one that VMs name first, and the other.
    pub(crate) fn addresses(&self, node: &Node) -> [Ipv4Addr; 2] {
        match self.network {
            Some([x, y]) => {
                [Ipv4Addr::new(127, x, y, 11 + node.index), Ipv4Addr::new(127, x, y, 111 + node.index)]
            }
            None => [Ipv4Addr::LOCALHOST; 2],
        }
    }

    /// Returns the names of everything that lives in a group.
    pub(crate) fn members(&self, group: &str) -> Vec<String> {
        let clusters =
            self.clusters.iter().filter(|c| c.group.eq_ignore_ascii_case(group)).map(|c| c.name.clone());
        let vms = self.vms.iter().filter(|vm| vm.group.eq_ignore_ascii_case(group)).map(|vm| vm.name.clone());
        let azure = self.azure_vms.iter().filter(|vm| vm.group.eq_ignore_ascii_case(group));
        clusters.chain(vms).chain(azure.map(|vm| vm.name.clone())).collect()
    }
}

impl Cluster {
    fn is(&self, name: &str, group: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) && self.group.eq_ignore_ascii_case(group)
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn job(&self, name: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.name.eq_ignore_ascii_case(name))
    }

    /// Returns whether the cluster is new enough for VM Connect, which came with release 2601.
    pub(crate) fn knows_vm_connect(&self) -> bool {
        let release = self.version.split('.').nth(1).and_then(|part| part.parse::<u32>().ok());
        release.is_some_and(|release| release >= 2601)
    }
}
