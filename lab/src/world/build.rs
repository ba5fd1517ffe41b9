//! The worlds a lab can start with, as data.

use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::{
    AzurePower, AzureVm, Cluster, Extension, Group, Networks, Nic, Node, Power, Properties, PublicAddress,
    Registration, Rule, RuleProperties, SecurityGroup, Subnet, Tags, Vm, World,
};
use crate::{Scope, WorldName, machine::Os, seed::Seed};

/// What is said about a VM when building a world; the ids follow from the seed.
struct VmSpec<'a> {
    name: &'a str,
    group: &'a str,
    cluster: &'a str,
    node: &'a str,
    power: Power,
    boots: bool,
    os: &'a str,
}

/// Both addresses of a node can be reached.
const BOTH: [bool; 2] = [true, true];
/// The address that VMs name cannot be reached, the other one can: the multi-NIC host of the VM Connect documentation.
const SECOND_ONLY: [bool; 2] = [false, true];

impl World {
    /// Builds a world.
    pub(crate) fn build(name: &WorldName, seed: u64) -> Self {
        match name {
            WorldName::Edge => edge(seed),
            WorldName::Fleet(count) => fleet(seed, *count),
        }
    }

    /// Returns the subscription and the resource group of what the world holds.
    pub(crate) fn scope(&self) -> Scope {
        let resource_group = self.clusters.first().map(|cluster| cluster.group.clone()).unwrap_or_default();
        Scope { subscription: self.subscription.clone(), resource_group }
    }

    fn empty(seed: u64) -> Self {
        let id = |label: &str| Seed(seed).uuid(label);
        Self {
            seed,
            tenant: id("tenant"),
            subscription: id("subscription"),
            client_id: id("client"),
            client_secret: format!("lab~{}", id("secret")),
            object_id: id("principal"),
            location: "eastus".to_owned(),
            network: None,
            groups: Vec::new(),
            clusters: Vec::new(),
            vms: Vec::new(),
            azure_vms: Vec::new(),
            networks: Networks::default(),
            extensions: Vec::new(),
            endpoints: Vec::new(),
            registrations: Vec::new(),
            run_commands: Vec::new(),
            disks: Vec::new(),
            operations: Vec::new(),
            started: 0,
        }
    }

    fn add_group(&mut self, name: &str) {
        let location = self.location.clone();
        self.groups.push(Group { name: name.to_owned(), location, tags: Tags::new(), gone: None });
    }

    fn add_cluster(
        &mut self,
        name: &str,
        group: &str,
        version: &str,
        state: [&str; 2],
        nodes: &[(&str, [bool; 2])],
    ) {
        let first = self.clusters.iter().map(|c| c.nodes.len()).sum::<usize>() as u8;
        let nodes = (first..).zip(nodes).map(|(index, (name, answers))| Node {
            name: (*name).to_owned(),
            index,
            answers: *answers,
            port: None,
            tags: Tags::new(),
        });
        self.clusters.push(Cluster {
            name: name.to_owned(),
            group: group.to_owned(),
            version: version.to_owned(),
            status: state[0].to_owned(),
            connectivity: state[1].to_owned(),
            nodes: nodes.collect(),
            jobs: Vec::new(),
            tags: Tags::new(),
        });
    }

    fn add_vm(&mut self, spec: &VmSpec<'_>) {
        let id = |what: &str| self.seed().uuid(&format!("vm {} {} {what}", spec.group, spec.name));
        self.vms.push(Vm {
            name: spec.name.to_owned(),
            group: spec.group.to_owned(),
            cluster: spec.cluster.to_owned(),
            node: spec.node.to_owned(),
            power: spec.power,
            change: None,
            boots: spec.boots,
            os: spec.os.to_owned(),
            starts: 0,
            hyperv_id: id("hyper-v"),
            platform_id: id("platform"),
            guest_id: id("guest"),
            smbios_id: id("smbios"),
            tags: Tags::new(),
        });
    }
}

/// What is said about a VM in Azure when building a world.
struct AzureSpec<'a> {
    name: &'a str,
    os: Os,
    power: AzurePower,
    /// Whether it has a public address, and whether another one after each start.
    public: Option<bool>,
    /// The name of the network interface's own security group.
    rules: Option<&'a str>,
    has_diagnostics: bool,
    /// Whether it can sign in to Azure by itself.
    has_identity: bool,
}

impl World {
    fn add_azure_vm(&mut self, group: &str, spec: &AzureSpec<'_>) {
        let AzureSpec { name, os, power, public, rules, has_diagnostics, has_identity } = spec;
        let index = self.azure_vms.len() as u8;
        self.azure_vms.push(AzureVm {
            name: (*name).to_owned(),
            group: group.to_owned(),
            size: "Standard_B2s".to_owned(),
            os: *os,
            power: *power,
            change: None,
            starts: 0,
            redeploys: 0,
            has_diagnostics: *has_diagnostics,
            has_identity: *has_identity,
            id: self.seed().uuid(&format!("azure vm {group} {name}")),
            tags: Tags::new(),
        });
        self.networks.addresses.extend(public.map(|is_dynamic| PublicAddress {
            name: format!("{name}-ip"),
            group: group.to_owned(),
            index,
            is_dynamic,
        }));
        self.networks.nics.push(Nic {
            name: format!("{name}-nic"),
            group: group.to_owned(),
            vm: (*name).to_owned(),
            private: Ipv4Addr::new(10, 1, 0, 4 + index),
            public: public.map(|_| format!("{name}-ip")),
            subnet: "default".to_owned(),
            rules: rules.map(str::to_owned),
        });
    }

    fn add_security_group(&mut self, group: &str, name: &str, rules: &[(&str, u32, bool, &str, &str)]) {
        let rule = |(name, priority, allows, source, port): &(&str, u32, bool, &str, &str)| Rule {
            name: (*name).to_owned(),
            is: RuleProperties {
                description: None,
                protocol: "Tcp".to_owned(),
                allows: *allows,
                inbound: true,
                priority: *priority,
                sources: vec![(*source).to_owned()],
                source_ports: vec!["*".to_owned()],
                destinations: vec!["*".to_owned()],
                ports: vec![(*port).to_owned()],
                is_list: [false; 4],
            },
            holds: Some(Timestamp::UNIX_EPOCH),
            gone: None,
            writes: 1,
        };
        self.networks.groups.push(SecurityGroup {
            name: name.to_owned(),
            group: group.to_owned(),
            rules: rules.iter().map(rule).collect(),
            busy: None,
            edits: 0,
            tags: Tags::new(),
        });
    }
}

/// Virtual machines in Azure: one with SSH open, one whose port is shut, one that is off, one without a public address.
fn add_cloud(world: &mut World) {
    const GROUP: &str = "rg-cloud";
    world.add_group(GROUP);
    world.networks.subnets.push(Subnet {
        network: "cloud-vnet".to_owned(),
        name: "default".to_owned(),
        group: GROUP.to_owned(),
        prefix: "10.1.0.0/24".to_owned(),
        rules: Some("subnet-nsg".to_owned()),
    });
    world.add_security_group(
        GROUP,
        "subnet-nsg",
        &[("allow-admin", 200, true, "Internet", "22"), ("allow-desktop", 210, true, "Internet", "3389")],
    );
    world.add_security_group(GROUP, "open-nsg", &[("allow-ssh", 300, true, "*", "22")]);
    world.add_security_group(
        GROUP,
        "shut-nsg",
        &[("allow-web", 100, true, "Internet", "443"), ("deny-admin", 1000, false, "*", "0-1023")],
    );
    world.add_security_group(GROUP, "desktop-nsg", &[("allow-rdp", 300, true, "*", "3389")]);
    use AzurePower::{Deallocated, Running};
    for spec in [
        AzureSpec {
            name: "jump-01",
            os: Os::Linux,
            power: Running,
            public: Some(false),
            rules: Some("open-nsg"),
            has_diagnostics: true,
            has_identity: true,
        },
        AzureSpec {
            name: "api-01",
            os: Os::Linux,
            power: Running,
            public: Some(false),
            rules: Some("shut-nsg"),
            has_diagnostics: true,
            has_identity: false,
        },
        AzureSpec {
            name: "batch-01",
            os: Os::Linux,
            power: Deallocated,
            public: Some(true),
            rules: Some("open-nsg"),
            has_diagnostics: false,
            has_identity: false,
        },
        AzureSpec {
            name: "sql-01",
            os: Os::Windows,
            power: Running,
            public: Some(false),
            rules: Some("desktop-nsg"),
            has_diagnostics: true,
            has_identity: true,
        },
        AzureSpec {
            name: "inner-01",
            os: Os::Linux,
            power: Running,
            public: None,
            rules: None,
            has_diagnostics: true,
            has_identity: false,
        },
    ] {
        world.add_azure_vm(GROUP, &spec);
    }
}

fn edge(seed: u64) -> World {
    let mut world = World::empty(seed);
    world.add_group("rg-edge");
    world.add_group("rg-apps");
    let hq = [("hq-node1", BOTH), ("hq-node2", SECOND_ONLY), ("hq-node3", BOTH)];
    world.add_cluster("hq", "rg-edge", "12.2601.1002.38", ["ConnectedRecently", "Connected"], &hq);
    let gone = ["NotConnectedRecently", "NotConnectedRecently"];
    world.add_cluster("branch", "rg-edge", "10.2411.3.2", gone, &[("br-node1", BOTH)]);

    use Power::{Running, Stopped};
    for (name, group, cluster, node, power, boots, os) in [
        ("web-01", "rg-edge", "hq", "hq-node2", Running, false, "Windows"),
        ("db-01", "rg-edge", "hq", "hq-node1", Running, true, "Windows"),
        ("file-01", "rg-edge", "hq", "hq-node1", Stopped, true, "Windows"),
        ("lin-02", "rg-edge", "hq", "hq-node1", Running, false, "Linux"),
        ("app-01", "rg-apps", "hq", "hq-node3", Running, true, "Linux"),
        ("pos-01", "rg-edge", "branch", "br-node1", Running, true, "Windows"),
    ] {
        world.add_vm(&VmSpec { name, group, cluster, node, power, boots, os });
    }
    add_cloud(&mut world);
    // Nobody has come in through Arc yet.
    world
        .registrations
        .push(Registration { namespace: "Microsoft.HybridConnectivity".to_owned(), done: None });
    world.extensions.push(Extension {
        name: "AzureMonitorWindowsAgent".to_owned(),
        machine: "db-01".to_owned(),
        group: "rg-edge".to_owned(),
        sent: Properties {
            publisher: "Microsoft.Azure.Monitor".to_owned(),
            kind: "AzureMonitorWindowsAgent".to_owned(),
            version: Some("1.31.0.0".to_owned()),
            minor_upgrades: true,
            upgrades: Some(true),
            force_tag: None,
            settings: None,
        },
        tags: Tags::new(),
        work: None,
        failure: None,
        installs: 1,
        reported: jiff::Timestamp::constant(1_793_000_000, 0),
    });
    world
}

fn fleet(seed: u64, count: u32) -> World {
    let mut world = World::empty(seed);
    world.add_group("rg-fleet");
    let nodes = ["fleet-node1", "fleet-node2", "fleet-node3", "fleet-node4"];
    let state = ["ConnectedRecently", "Connected"];
    world.add_cluster("fleet", "rg-fleet", "12.2603.1002.12", state, &nodes.map(|name| (name, BOTH)));
    for (number, node) in (1..=count).zip(nodes.iter().cycle()) {
        world.add_vm(&VmSpec {
            name: &format!("vm-{number:04}"),
            group: "rg-fleet",
            cluster: "fleet",
            node,
            power: Power::Running,
            boots: number % 5 != 0,
            os: "Windows",
        });
    }
    world
}
