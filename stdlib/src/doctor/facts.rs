//! What is asked about an Arc machine: everything at once.

use std::io::ErrorKind as Io;

use futures::future::join_all;
use russh::keys::PublicKey;
use tokio::time::{Instant, sleep, timeout_at};

use super::fact::{Asking, DIAL, Fact, PAUSE, TRIES};
use super::rights::Rights;
use super::subject::Subject;
use crate::agent::Extension;
use crate::arc::{ArcHost, Machine, endpoint_of, service_of};
use crate::azure::{Api, ResourceId};
use crate::local::{Cluster, Node, Vm, addresses, api};
use crate::prelude::text;
use crate::relay::{Access, Refusal, SSH};
use crate::road::Connection;
use crate::ssh::{HostName, Session};
use crate::vmconnect::{self, node_of};

pub(super) const PROVIDERS: Api<'static> =
    Api { kind: "Microsoft.Resources/providers", versions: &["2025-04-01", "2021-04-01"] };

/// What is known about a machine and the roads to it.
pub(super) struct Facts {
    pub(super) on: Subject,
    pub(super) machine: Fact<Machine>,
    pub(super) rights: Fact<Rights>,
    pub(super) arc: Arc,
    pub(super) local: Local,
}

/// What is known about the way through Azure Arc.
pub(super) struct Arc {
    /// The port of the SSH server that is meant.
    pub(super) port: u16,
    pub(super) provider: Fact<String>,
    pub(super) has_endpoint: Fact<bool>,
    /// The port that is let in, if one is.
    pub(super) service: Fact<Option<u16>>,
    pub(super) extensions: Fact<Vec<Extension>>,
    pub(super) access: Fact<Access>,
    pub(super) refusal: Option<Refusal>,
    pub(super) key: Fact<PublicKey>,
}

/// What is known about a VM of Azure Local and its host.
pub(super) struct Local {
    pub(super) vm: Fact<Option<Vm>>,
    pub(super) cluster: Fact<Cluster>,
    /// The node that runs it.
    pub(super) node: Fact<Node>,
    pub(super) jobs: Fact<()>,
    /// What may be done at the instance.
    pub(super) rights: Fact<Rights>,
    pub(super) sight: Fact<Sight>,
}

/// What is seen of a host's console port from here.
pub(super) enum Sight {
    /// Somebody answers there.
    Open(String),
    /// The host says that nobody listens yet.
    Closed(String),
    /// No answer from any of these.
    Silent(Vec<String>),
}

impl Facts {
    pub(super) fn without_identity(on: Subject, port: Option<u16>) -> Self {
        let (machine, rights) = (Fact::NotAsked, Fact::NotAsked);
        let arc = Arc {
            port: port.unwrap_or(22),
            provider: Fact::NotAsked,
            has_endpoint: Fact::NotAsked,
            service: Fact::NotAsked,
            extensions: Fact::NotAsked,
            access: Fact::NotAsked,
            refusal: None,
            key: Fact::NotAsked,
        };
        Facts { on, machine, rights, arc, local: Local::unknown(Fact::NotAsked) }
    }

    /// Returns whether Azure Resource Manager gave any answer.
    pub(super) fn is_azure_there(&self) -> bool {
        self.machine.is_answered()
            || self.rights.is_answered()
            || self.arc.provider.is_answered()
            || self.arc.access.is_answered()
    }

    /// Returns whether the machine is a VM of Azure Local, as far as that is known.
    pub(super) fn is_local_vm(&self) -> bool {
        let is_hci = self.machine.known().and_then(|it| it.kind.as_deref());
        is_hci.is_some_and(|kind| kind.eq_ignore_ascii_case("HCI")) || self.vm().is_some()
    }

    pub(super) fn vm(&self) -> Option<&Vm> {
        self.local.vm.known()?.as_ref()
    }

    pub(super) fn is_windows(&self) -> bool {
        self.machine.known().is_some_and(|it| it.os.as_deref() == Some("windows"))
    }

    /// Says what the machine is.
    pub(super) fn about(&self) -> String {
        let place = self.on.id.group().map(|group| format!(" in {group}")).unwrap_or_default();
        let kind = if self.is_local_vm() { "a VM of Azure Local" } else { "an Arc machine" };
        match self.machine.known() {
            Some(machine) => {
                let os = match machine.os.as_deref() {
                    Some("windows") => " with Windows",
                    Some("linux") => " with Linux",
                    _ => "",
                };
                format!("{}{place}: {kind}{os}", machine.name)
            }
            None => format!("{}{place}", self.on.id.name()),
        }
    }
}

impl Local {
    fn unknown(vm: Fact<Option<Vm>>) -> Self {
        Local {
            vm,
            cluster: Fact::NotAsked,
            node: Fact::NotAsked,
            jobs: Fact::NotAsked,
            rights: Fact::NotAsked,
            sight: Fact::NotAsked,
        }
    }
}

impl Asking<'_> {
    async fn provider(&self, machine: &ResourceId) -> Fact<String> {
        let subscription = machine.subscription().unwrap_or_default();
        let path = format!("/subscriptions/{subscription}/providers/Microsoft.HybridConnectivity");
        let read = || async {
            let body = self.azure.arm.get_as(self.origin, &path, PROVIDERS).await?;
            Ok(text(&body, "/registrationState").unwrap_or("Unknown").to_owned())
        };
        self.ask(read).await
    }

    pub(super) async fn arc(&self, machine: &ResourceId, asked: Option<u16>) -> Arc {
        let Asking { azure, origin, .. } = *self;
        let endpoint = || async { azure.has_endpoint(origin, &endpoint_of(machine)?).await };
        let service = || async { azure.port_of_service(origin, &service_of(machine, SSH)?).await };
        let (provider, has_endpoint, extensions, service, access) = tokio::join!(
            self.provider(machine),
            self.ask(endpoint),
            self.ask(|| azure.extensions::<ArcHost>(origin, machine)),
            self.ask(service),
            self.ask(|| azure.relay_access(origin, machine, SSH)),
        );
        let port = asked.or(service.known().copied().flatten()).unwrap_or(22);
        let (refusal, key) = match access.known() {
            Some(access) => self.server(machine, access, port).await,
            None => (None, Fact::NotAsked),
        };
        Arc { port, provider, has_endpoint, service, extensions, access, refusal, key }
    }

    /// Goes to the SSH server of a machine, and looks at its host key; again where a connection breaks, and with other
    /// credentials where these are over.
    async fn server(
        &self,
        machine: &ResourceId,
        access: &Access,
        port: u16,
    ) -> (Option<Refusal>, Fact<PublicKey>) {
        let mut renewed = None;
        for attempt in 1.. {
            let seen = self.host_key(machine, renewed.as_ref().unwrap_or(access), port).await;
            let (may_help, is_over) = match &seen {
                (Some(Refusal::Credentials(_)), _) => (renewed.is_none(), true),
                (Some(Refusal::Trouble(_)), _) => (true, false),
                (_, Fact::Refused(error)) => (error.kind().is_retryable(), false),
                _ => (false, false),
            };
            if !may_help || attempt == TRIES || Instant::now() + PAUSE > self.deadline {
                return seen;
            }
            if is_over {
                match self.ask(|| self.azure.relay_access(self.origin, machine, SSH)).await {
                    Fact::Known(access) => renewed = Some(access),
                    _ => return seen,
                }
            } else {
                sleep(PAUSE).await;
            }
        }
        (None, Fact::Late)
    }

    async fn host_key(
        &self,
        machine: &ResourceId,
        access: &Access,
        port: u16,
    ) -> (Option<Refusal>, Fact<PublicKey>) {
        let tunnel = match timeout_at(self.deadline, self.azure.try_relay(access, port)).await {
            Ok(Ok(tunnel)) => tunnel,
            Ok(Err(refusal)) => return (Some(refusal), Fact::NotAsked),
            Err(_) => {
                return (Some(Refusal::Unanswered("there was no answer in time".to_owned())), Fact::NotAsked);
            }
        };
        // A list that cannot be read shows when the key is compared.
        let known = self.azure.known_hosts.keys(&HostName::of(machine, port)).unwrap_or_default();
        match timeout_at(
            self.deadline,
            Session::look_at_host_key(Connection::through(tunnel), machine.name(), &known),
        )
        .await
        {
            Ok(Ok(key)) => (None, Fact::Known(key)),
            Ok(Err(error)) => (None, Fact::Refused(error)),
            Err(_) => (None, Fact::Late),
        }
    }

    pub(super) async fn local(&self, machine: &ResourceId) -> Local {
        let Asking { azure, origin, .. } = *self;
        let vm = self.ask(|| azure.read_vm(origin, machine)).await;
        let Some(Some(found)) = vm.known() else { return Local::unknown(vm) };
        let cluster = self.ask(|| azure.cluster_of(origin, found)).await;
        let Some(instance) = cluster.known() else { return Local { cluster, ..Local::unknown(vm) } };
        let jobs = || async {
            let path = format!("{}/jobs", instance.id);
            azure.arm.list_as(origin, &path, api::VM_CONNECT_JOBS).await.map(drop)
        };
        let node = async {
            let node = match node_of(found, instance) {
                Ok(name) => self.ask(|| azure.read_node(origin, instance, &name)).await,
                Err(error) => Fact::Refused(error),
            };
            let sight = match node.known() {
                Some(node) => {
                    self.sight(addresses(found.host_address.as_deref(), node.addresses.clone())).await
                }
                None => Fact::NotAsked,
            };
            (node, sight)
        };
        let (jobs, rights, (node, sight)) = tokio::join!(self.ask(jobs), self.rights(&instance.id), node);
        Local { vm, cluster, node, jobs, rights, sight }
    }

    /// Knocks at the console port of a host, at all of its addresses at once.
    async fn sight(&self, addresses: Vec<String>) -> Fact<Sight> {
        let dials = addresses.iter().map(|address| self.azure.dial.dial(address, vmconnect::PORT, DIAL));
        let Ok(answers) = timeout_at(self.deadline, join_all(dials)).await else { return Fact::Late };
        let with = |is: fn(&std::io::Result<_>) -> bool| {
            addresses.iter().zip(&answers).find(|(_, answer)| is(answer)).map(|(address, _)| address.clone())
        };
        if let Some(address) = with(Result::is_ok) {
            return Fact::Known(Sight::Open(address));
        }
        let closed = with(|answer| answer.as_ref().is_err_and(|e| e.kind() == Io::ConnectionRefused));
        Fact::Known(match closed {
            Some(address) => Sight::Closed(address),
            None => Sight::Silent(addresses),
        })
    }
}
