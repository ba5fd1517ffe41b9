//! A virtual machine in Azure: what is asked about it, and what the answers say.

use std::io::ErrorKind as Io;

use futures::future::join_all;
use relight_engine::ErrorKind;
use russh::keys::PublicKey;
use tokio::time::timeout_at;

use super::check::{Judged, Next, Verdict, said};
use super::fact::{Asking, DIAL, Fact};
use super::rights::Rights;
use super::subject::{Subject, other_port};
use super::{Plan, WAY_IN, run};
use crate::Azure;
use crate::agent::Extension;
use crate::azure::ResourceId;
use crate::compute::{AddressKind, AzureHost, Vm, VmAddress};
use crate::network::{Checked, Layer, Source};
use crate::road::Connection;
use crate::ssh::{HostName, Session};

/// What it takes to run a command, and to take its record away again.
const RUN: [&str; 3] = [
    "Microsoft.Compute/virtualMachines/runCommands/write",
    "Microsoft.Compute/virtualMachines/runCommands/read",
    "Microsoft.Compute/virtualMachines/runCommands/delete",
];
/// What it takes to see what its serial port wrote.
const LOG: &str = "Microsoft.Compute/virtualMachines/retrieveBootDiagnosticsData/action";
/// The extension that gives Windows an SSH server.
const OPENSSH: &str = "WindowsOpenSSH";
/// What stands for the address of whoever asks, where a sign-in does not tell it.
const ADDRESS: &str = "ADDRESS";
/// The role that holds all of that.
const ROLE: &str = "Virtual Machine Contributor";

/// The roads to a virtual machine in Azure.
pub(super) const ROADS: [Plan; 4] = [
    Plan {
        name: "ssh",
        title: "SSH",
        checks: &[
            "sign-in",
            "azure",
            "machine",
            "power",
            "address",
            "rules",
            "port",
            "SSH server",
            "host key",
        ],
        proof: Some("host key"),
    },
    Plan {
        name: "run_command",
        title: "run command",
        checks: &["sign-in", "azure", "machine", "power", "agent", "right to run commands"],
        proof: None,
    },
    Plan {
        name: "rdp",
        title: "RDP over SSH",
        checks: &[
            "sign-in",
            "azure",
            "machine",
            "power",
            "address",
            "rules",
            "port",
            "SSH server",
            "host key",
            "desktop",
        ],
        proof: None,
    },
    Plan {
        name: "serial_log",
        title: "serial log",
        checks: &["sign-in", "azure", "machine", "diagnostics", "right to the log"],
        proof: None,
    },
];

/// What is known about a virtual machine in Azure.
pub(super) struct CloudFacts {
    pub(super) on: Subject,
    vm: Fact<Vm>,
    rights: Fact<Rights>,
    addresses: Fact<Vec<VmAddress>>,
    /// The rules before its first network interface.
    layers: Fact<Vec<Layer>>,
    port: u16,
    sight: Fact<Sight>,
    key: Fact<PublicKey>,
    /// Those of a VM with Windows.
    extensions: Fact<Vec<Extension>>,
}

/// What is seen of its port from here.
enum Sight {
    Open(String),
    /// It refuses: it is there, and nothing listens.
    Refused(String),
    Silent,
}

impl CloudFacts {
    pub(super) fn unknown(on: Subject, port: Option<u16>) -> Self {
        CloudFacts {
            on,
            vm: Fact::NotAsked,
            rights: Fact::NotAsked,
            addresses: Fact::NotAsked,
            layers: Fact::NotAsked,
            port: port.unwrap_or(22),
            sight: Fact::NotAsked,
            key: Fact::NotAsked,
            extensions: Fact::NotAsked,
        }
    }

    pub(super) async fn gather(asking: Asking<'_>, on: Subject, port: Option<u16>) -> Self {
        let (azure, origin, id) = (asking.azure, asking.origin, on.id.clone());
        let named = crate::Ref::Id(id.clone());
        let (vm, rights) =
            tokio::join!(asking.ask(|| azure.read_named_azure_vm(origin, &named, None)), asking.rights(&id),);
        let mut facts = CloudFacts { vm, rights, ..CloudFacts::unknown(on, port) };
        // One that is off has no dynamic address, and nobody answers there.
        let Some(vm) = facts.vm.known().filter(|vm| !vm.is_off()) else { return facts };
        let (nics, is_windows) = (vm.network_interfaces.clone(), vm.os.as_deref() == Some("windows"));
        let layers = async {
            match nics.first() {
                Some(nic) => asking.ask(|| azure.layers_before(origin, nic)).await,
                None => Fact::NotAsked,
            }
        };
        let port = facts.port;
        let seen = async {
            let addresses = asking.ask(|| azure.addresses_of(origin, &nics, false)).await;
            let (sight, key) = match addresses.known() {
                Some(all) => asking.knock(&id, all, port).await,
                None => (Fact::NotAsked, Fact::NotAsked),
            };
            (addresses, sight, key)
        };
        let extensions = async {
            match is_windows {
                true => asking.ask(|| azure.extensions::<AzureHost>(origin, &id)).await,
                false => Fact::NotAsked,
            }
        };
        (facts.layers, (facts.addresses, facts.sight, facts.key), facts.extensions) =
            tokio::join!(layers, seen, extensions);
        facts
    }

    /// Says what the machine is.
    pub(super) fn about(&self) -> String {
        let place = self.on.id.group().map(|group| format!(" in {group}")).unwrap_or_default();
        let os = match self.vm.known().and_then(|vm| vm.os.as_deref()) {
            Some("windows") => " with Windows",
            Some("linux") => " with Linux",
            _ => "",
        };
        format!("{}{place}: a VM in Azure{os}", self.on.id.name())
    }

    pub(super) fn judge(&self, azure: &Azure) -> Judged {
        let mut judged = Judged::default();
        let is_there = self.vm.is_answered() || self.rights.is_answered();
        judged.add("sign-in", &[], self.on.sign_in(azure));
        judged.add("azure", &["sign-in"], self.on.azure(azure, is_there, &self.vm));
        judged.add("machine", &["azure"], self.machine());
        judged.add("power", &["machine"], self.power(azure));
        judged.add("address", &["power"], self.address());
        judged.add("rules", &["address"], self.rules(azure));
        judged.add("port", &["address", "rules"], self.open());
        judged.add("SSH server", &["port"], self.server(azure));
        judged.add("host key", &["SSH server"], self.on.host_key(azure, self.key.known(), self.port));
        judged.add("desktop", &["host key"], self.desktop());
        judged.add("agent", &["machine", "power"], self.agent());
        judged.add(
            "right to run commands",
            &WAY_IN,
            self.right(&RUN, "nothing stands against it; only a run shows it"),
        );
        judged.add("diagnostics", &["machine"], self.diagnostics());
        judged.add("right to the log", &WAY_IN, self.right(&[LOG], "what the serial port wrote can be read"));
        judged
    }

    fn machine(&self) -> Verdict {
        match &self.vm {
            Fact::Known(_) => Verdict::ok(self.about()),
            Fact::Refused(error) if error.kind() == ErrorKind::Rejected => {
                Verdict::blocked(said(error), Next::of(error))
            }
            fact => self.on.unseen(fact, "the VM", "Reader", &self.on.id),
        }
    }

    fn power(&self, azure: &Azure) -> Verdict {
        match self.vm.known() {
            Some(vm) if vm.is_off() => Verdict::blocked(
                vm.is_not_running().message(),
                Next::you(run(azure, "start-and-wait", ("vm", &self.on.id), &[])),
            ),
            Some(vm) => Verdict::ok(vm.power_state.clone()),
            None => self.on.unseen(&self.vm, "whether it is on", "Reader", &self.on.id),
        }
    }

    fn address(&self) -> Verdict {
        match &self.addresses {
            Fact::Known(all) if all.is_empty() => {
                Verdict::blocked(format!("`{}` has no address", self.on.id.name()), None)
            }
            Fact::Known(all) => {
                Verdict::ok(all.iter().map(|it| it.address.as_str()).collect::<Vec<_>>().join(", "))
            }
            fact => self.on.unseen(fact, "its addresses", "Reader", &self.on.id),
        }
    }

    /// Whether the security groups let whoever asks through.
    fn rules(&self, azure: &Azure) -> Verdict {
        if self.addresses.known().is_some_and(|all| !has_public(all)) {
            return Verdict::ok("it has no public address");
        }
        if let Fact::Known(Sight::Open(_) | Sight::Refused(_)) = &self.sight {
            return Verdict::ok("they let you through");
        }
        let layers = match &self.layers {
            Fact::Known(layers) => layers,
            fact => return self.on.unseen(fact, "the rules before it", "Reader", &self.on.id),
        };
        let address = self.on.identity.known().and_then(|identity| identity.address);
        let source = address.map_or(Source::Anywhere, Source::Address);
        let checked = Checked::of(layers, self.on.id.name(), &source, self.port);
        if checked.open {
            return Verdict::ok(checked.said);
        }
        let mut params = other_port(self.port);
        if address.is_none() {
            // Nobody is let through who was not named.
            params.push(("source", ADDRESS.to_owned()));
        }
        Verdict::blocked(checked.said, Next::you(run(azure, "open-ssh-port", ("vm", &self.on.id), &params)))
    }

    fn open(&self) -> Verdict {
        let port = self.port;
        match (&self.sight, &self.addresses) {
            (Fact::Known(Sight::Open(address)), _) => {
                Verdict::ok(format!("{address} answers on port {port}"))
            }
            (Fact::Known(Sight::Refused(address)), _) => Verdict::ok(format!("{address} can be reached")),
            (Fact::Known(Sight::Silent), Fact::Known(all)) if !has_public(all) => Verdict::blocked(
                format!(
                    "`{}` has no public address, and its own cannot be reached from here",
                    self.on.id.name()
                ),
                Next::you("connect from its network, such as over a VPN or from another VM there"),
            ),
            // Reading the rules in effect takes Azure longer than a doctor has.
            (Fact::Known(Sight::Silent), _) => Verdict::blocked(
                format!(
                    "no answer on port {port}, though the rules of the security groups let it through: something else stands in the way, such as a rule \
                     of a network manager, or a firewall on the VM or between"
                ),
                self.vm
                    .known()
                    .and_then(|vm| vm.network_interfaces.first())
                    .and_then(|nic| Next::you(format!("az network nic list-effective-nsg --ids {nic}"))),
            ),
            (fact, _) => self.on.unseen(fact, "its port", "Reader", &self.on.id),
        }
    }

    fn server(&self, azure: &Azure) -> Verdict {
        match (&self.sight, &self.key) {
            (_, Fact::Known(_)) => Verdict::ok(format!("it answers on port {}", self.port)),
            (Fact::Known(Sight::Refused(address)), _) if self.lacks_server() => Verdict::blocked(
                format!("`{}` has no SSH server ({address}): {OPENSSH} is not installed", self.on.id.name()),
                Next::you(run(azure, "enable-openssh", ("machine", &self.on.id), &[])),
            ),
            (Fact::Known(Sight::Refused(address)), _) => {
                let script = match self.is_windows() {
                    true => "Start-Service sshd",
                    false => "systemctl start ssh || systemctl start sshd",
                };
                Verdict::blocked(
                    format!("nothing listens on port {} of `{}` ({address})", self.port, self.on.id.name()),
                    Next::you(run(
                        azure,
                        "run-on-machine",
                        ("machine", &self.on.id),
                        &[("script", script.to_owned())],
                    )),
                )
            }
            (_, Fact::Refused(error)) => Verdict::blocked(said(error), Next::of(error)),
            (_, fact) => self.on.unseen(fact, "the SSH server", "Reader", &self.on.id),
        }
    }

    fn desktop(&self) -> Verdict {
        Verdict::unknown(
            match self.is_windows() {
                true => "whether Remote Desktop is on shows only who signs in",
                false => "whether a desktop such as xrdp is there shows only who signs in",
            },
            None,
        )
    }

    fn agent(&self) -> Verdict {
        match self.vm.known() {
            Some(vm) if vm.agent.eq_ignore_ascii_case("Not Ready") => Verdict::blocked(
                format!("the agent of `{}` is not ready", vm.name),
                Next::you("it may still be starting; its serial log shows how far it got"),
            ),
            Some(vm) => Verdict::ok(vm.agent.clone()),
            None => self.on.unseen(&self.vm, "its agent", "Reader", &self.on.id),
        }
    }

    fn diagnostics(&self) -> Verdict {
        match self.vm.known() {
            Some(vm) if !vm.has_boot_diagnostics => Verdict::blocked(
                format!("Azure keeps nothing of what `{}` shows: boot diagnostics are off", vm.name),
                Next::you(format!("az vm boot-diagnostics enable --ids {}", vm.id)),
            ),
            Some(_) => Verdict::ok("boot diagnostics are on"),
            None => self.on.unseen(&self.vm, "boot diagnostics", "Reader", &self.on.id),
        }
    }

    fn right(&self, actions: &[&str], means: &str) -> Verdict {
        match &self.rights {
            Fact::Known(rights) => match rights.lack(actions) {
                Some(action) => self.on.lacking(action, ROLE, &self.on.id),
                None => Verdict::ok(means),
            },
            fact => self.on.unseen(fact, "what you may do", "Reader", &self.on.id),
        }
    }

    /// Returns whether nobody gave a VM with Windows an SSH server, as far as that shows.
    fn lacks_server(&self) -> bool {
        let is_it = |it: &Extension| it.kind.eq_ignore_ascii_case(OPENSSH) && it.is("Succeeded");
        self.extensions.known().is_some_and(|all| !all.iter().any(is_it))
    }

    fn is_windows(&self) -> bool {
        self.vm.known().is_some_and(|vm| vm.os.as_deref() == Some("windows"))
    }
}

impl Asking<'_> {
    /// Knocks at a port of a VM, at all of its addresses at once, and looks at the host key of whoever answers.
    async fn knock(
        &self,
        vm: &ResourceId,
        addresses: &[VmAddress],
        port: u16,
    ) -> (Fact<Sight>, Fact<PublicKey>) {
        let dials = addresses.iter().map(|it| self.azure.dial.dial(&it.address, port, DIAL));
        let Ok(answers) = timeout_at(self.deadline, join_all(dials)).await else {
            return (Fact::Late, Fact::NotAsked);
        };
        let mut sight = Sight::Silent;
        for (at, answer) in addresses.iter().zip(answers) {
            match answer {
                Ok(stream) => {
                    let known = self.azure.known_hosts.keys(&HostName::of(vm, port)).unwrap_or_default();
                    let look = Session::look_at_host_key(Connection::direct(stream), vm.name(), &known);
                    let key = match timeout_at(self.deadline, look).await {
                        Ok(Ok(key)) => Fact::Known(key),
                        Ok(Err(error)) => Fact::Refused(error),
                        Err(_) => Fact::Late,
                    };
                    return (Fact::Known(Sight::Open(at.address.clone())), key);
                }
                Err(error) if error.kind() == Io::ConnectionRefused => {
                    sight = Sight::Refused(at.address.clone());
                }
                Err(_) => {}
            }
        }
        (Fact::Known(sight), Fact::NotAsked)
    }
}

fn has_public(addresses: &[VmAddress]) -> bool {
    addresses.iter().any(|it| it.kind == AddressKind::Public)
}
