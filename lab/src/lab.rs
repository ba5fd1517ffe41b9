//! A running lab: starting, looking inside, stopping.

use std::{
    fmt,
    net::{Ipv4Addr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::{
    ConsoleVisit, Fault, Guest, LabConfig, LabError, LedgerEntry, RequestEntry, WorldName,
    certs::Certificates,
    console,
    dispatch::Dispatch,
    faults::Faults,
    guest,
    machine::User,
    server,
    state::State,
    store::{Identity, Store},
    throttle::Buckets,
    token::{self, TokenKey},
    vault,
    world::World,
};

/// How often the console ports are brought in line with the world when no request does it.
const RECONCILE: Duration = Duration::from_millis(200);

/// What a client needs to know to use a lab.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    /// The base address of ARM and the authority host of Entra ID alike.
    pub url: String,
    /// The authority to trust.
    pub ca_pem: String,
    /// The tenant's id.
    pub tenant: String,
    /// The only subscription's id.
    pub subscription: String,
    /// The service principal's application id.
    pub client_id: String,
    /// The service principal's secret, good for nothing but this lab.
    pub client_secret: String,
    /// The resource group in which most of the world lies.
    pub resource_group: String,
    /// By how much the ports below 1024 of the lab's VMs in Azure are moved, where this user may not open them.
    #[serde(default)]
    pub low_ports: u16,
}

/// Where in Azure a lab's world lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The only subscription's id.
    pub subscription: String,
    /// The resource group in which most of the world lies.
    pub resource_group: String,
}

impl Scope {
    /// Returns where a new lab's world would lie. No lab is started for that.
    pub fn of(world: &WorldName, seed: u64) -> Self {
        World::build(world, seed).scope()
    }
}

impl Descriptor {
    /// Returns what follows the name of a key vault in its address.
    pub fn vault_dns(&self) -> String {
        vault::dns(&self.url)
    }

    /// Returns where the lab's world lies.
    pub fn scope(&self) -> Scope {
        Scope { subscription: self.subscription.clone(), resource_group: self.resource_group.clone() }
    }
}

/// A running local Azure. Dropping it stops it.
pub struct Lab {
    shared: Arc<Dispatch>,
    tasks: Vec<JoinHandle<()>>,
    /// Keeps other labs off this lab's network.
    _claim: Option<StdListener>,
}

impl Lab {
    /// Starts a lab, or brings back the one saved in the config's folder.
    ///
    /// Afterwards it answers on `https://127.0.0.1:<port>`. Fails when the port is taken (a saved lab insists on its
    /// old one, or status addresses given out before would be dead) or the folder cannot be used.
    pub async fn start(config: LabConfig) -> Result<Lab, LabError> {
        let store = config.dir.as_deref().map(Store::open).transpose()?;
        let loaded = store.as_ref().map(Store::load).transpose()?.flatten();
        let port = config.port.or(loaded.as_ref().map(|saved| saved.identity.port)).unwrap_or(0);
        let listen = |source| LabError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(listen)?;
        let port = listener.local_addr().map_err(listen)?.port();

        let (mut identity, mut world, ledger) = match loaded {
            Some(saved) => (saved.identity, saved.world, saved.ledger),
            None => {
                let identity = Identity {
                    certificates: Certificates::generate()?,
                    token_key: TokenKey::generate(),
                    port,
                };
                (identity, World::build(&config.world, config.seed), Vec::new())
            }
        };
        identity.port = port;
        let (network, claim) = console::claim_network(world.seed, world.network);
        world.network = network;

        let tls = TlsAcceptor::from(identity.certificates.server_config()?);
        let mut state = State {
            world,
            faults: Faults::default(),
            buckets: Buckets::full(),
            base: format!("https://127.0.0.1:{port}"),
            identity,
            ledger,
            requests: Vec::new(),
            violations: Vec::new(),
            visits: Vec::new(),
            guests: config.guests,
            low_ports: console::moves_low_ports(network, guest::SSH),
            store,
            now: config.now,
            dead_tokens: Default::default(),
            spent_tokens: Default::default(),
            devices: Default::default(),
            confirms_devices: config.confirms_devices,
            authority: Default::default(),
            wants_claims: false,
            token_requests: Vec::new(),
            token_limit: config.token_requests,
            token_life: token::LIFETIME.saturating_mul(i64::from(config.speed.max(1))),
        };
        config.faults.into_iter().for_each(|fault| state.inject(fault));
        if let Some(store) = &state.store {
            store.write_ca(&state.identity.certificates.ca_pem)?;
        }
        state.save()?;

        let shared = Arc::new(Dispatch::new(state));
        shared.reconcile().await;
        let serving = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                server::serve(listener, tls, shared).await;
            }
        });
        let reconciling = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                loop {
                    tokio::time::sleep(RECONCILE).await;
                    shared.reconcile().await;
                }
            }
        });
        Ok(Lab { shared, tasks: vec![serving, reconciling], _claim: claim })
    }

    /// Returns what a client needs to know.
    pub fn descriptor(&self) -> Descriptor {
        let state = self.shared.state();
        let world = &state.world;
        let Scope { subscription, resource_group } = world.scope();
        Descriptor {
            url: state.base.clone(),
            ca_pem: state.identity.certificates.ca_pem.clone(),
            tenant: world.tenant.clone(),
            subscription,
            client_id: world.client_id.clone(),
            client_secret: world.client_secret.clone(),
            resource_group,
            low_ports: state.low_ports,
        }
    }

    /// Returns every mutating ARM request that arrived and was accepted or refused, in order. A request that met
    /// `reset-before` did not arrive.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.shared.state().ledger.clone()
    }

    /// Returns every request since the lab was started, reads included.
    pub fn requests(&self) -> Vec<RequestEntry> {
        self.shared.state().requests.clone()
    }

    /// Returns what clients did that Azure might forgive but the lab does not, each as a sentence.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// Switches a fault on. It counts from now.
    pub fn inject(&self, fault: Fault) {
        self.shared.state().inject(fault);
    }

    /// Switches all faults off. What they already did stays done.
    pub fn clear_faults(&self) {
        let mut state = self.shared.state();
        state.faults.clear();
        state.wants_claims = false;
    }

    /// Calls `hook` after each write that changed the world, once it is saved and in the ledger, and before its answer
    /// leaves. Hooks may block.
    pub fn on_write(&self, hook: impl Fn(&LedgerEntry) + Send + Sync + 'static) {
        self.shared.hooks().push(Arc::new(hook));
    }

    /// Returns the world as it is now, without ids and times, for comparing two worlds.
    pub fn snapshot(&self) -> Value {
        let mut state = self.shared.state();
        let now = (state.now)();
        state.world.advance(now);
        state.world.snapshot()
    }

    /// Moves a VM to another node of its cluster, as a failover would, and returns whether both exist.
    ///
    /// A saved lab saves the move with the next write.
    pub fn move_vm(&self, group: &str, vm: &str, node: &str) -> bool {
        self.shared.state().world.move_vm(group, vm, node)
    }

    /// Removes a security group together with its rules, as somebody does who has taken it away from its subnets and network
    /// interfaces first, and returns whether it was there.
    ///
    /// A saved lab saves that with the next write.
    pub fn remove_security_group(&self, group: &str, name: &str) -> bool {
        self.shared.state().world.remove_security_group(group, name)
    }

    /// Returns who connected to a console port. A bare TCP probe is a visit that said nothing.
    pub fn consoles(&self) -> Vec<ConsoleVisit> {
        self.shared.state().visits.clone()
    }

    /// Says what listens on a port of an Arc machine, for those who come through the relay.
    pub fn serve_guest(&self, guest: Guest) {
        let guests = &mut self.shared.state().guests;
        guests.retain(|known| (&known.machine, known.port) != (&guest.machine, guest.port));
        guests.push(guest);
    }

    /// Returns what a file on a machine of the lab's own holds, if it is there.
    pub fn guest_file(&self, machine: &str, path: &str) -> Option<Vec<u8>> {
        let state = self.shared.state();
        let kept = state.world.disks.iter().find(|it| it.machine.eq_ignore_ascii_case(machine))?;
        let files = kept.disk.files();
        files.read(&User::root(), path).ok().map(<[u8]>::to_vec)
    }

    /// Confirms every device code that waits for a person, and returns how many there were.
    pub fn confirm_devices(&self) -> usize {
        self.shared.state().devices.confirm_all()
    }

    /// Returns the public key of the authority that signs SSH certificates, as `TrustedUserCAKeys` of a server wants it.
    ///
    /// The first call makes the key, which takes a while.
    pub fn ssh_authority(&self) -> Option<String> {
        let state = self.shared.state();
        let key = state.authority.public(state.world.seed())?;
        russh::keys::PublicKey::new(key, "relight-lab").to_openssh().ok()
    }

    /// Drops every connection through the relay, as a network does.
    pub fn drop_connections(&self) {
        self.shared.relay().drop_all();
    }

    /// Stops the lab and waits until its sockets are closed.
    pub async fn stop(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            let _ = task.await;
        }
        self.shared.relay().drop_all();
        self.shared.close().await;
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab").field("url", &self.shared.state().base).finish_non_exhaustive()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.shared.relay().drop_all();
        self.shared.abandon();
    }
}
