//! The ports of VMs in Azure on their public addresses, which the rules of the networks open and close.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use tokio::{io::copy_bidirectional, net::TcpStream};

use crate::{
    guest::{self, RDP, SSH},
    listeners::Door,
    machine::Os,
    state::{Site, State},
};

/// What stands behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Nobody is let through.
    Shut,
    /// The machine's own SSH server.
    Ssh { group: String, machine: String },
    /// The machine's own desktop.
    Rdp,
    /// What was said to listen there.
    At(SocketAddr),
}

impl Door for Port {
    fn is_silent(&self) -> bool {
        *self == Port::Shut
    }

    async fn receive(self, mut visitor: TcpStream, _: SocketAddr, site: Arc<Site>) {
        let _ = visitor.set_nodelay(true);
        match self {
            Port::Shut => {}
            Port::Ssh { group, machine } => guest::serve(visitor, site, &group, &machine).await,
            Port::Rdp => drop(guest::desktop(visitor).await),
            Port::At(at) => {
                if let Ok(mut there) = TcpStream::connect(at).await {
                    let _ = copy_bidirectional(&mut visitor, &mut there).await;
                }
            }
        }
    }
}

impl State {
    /// Moves the world to now and returns what is behind every port that the networks know of. The rules see everybody come
    /// from this machine's own address.
    pub(crate) fn open_ports(&mut self) -> BTreeMap<SocketAddr, Port> {
        let now = (self.now)();
        self.world.advance(now);
        let mut open = BTreeMap::new();
        for vm in &self.world.azure_vms {
            let Some(nic) = self.world.nic_of(&vm.group, &vm.name) else { continue };
            let Some(address) = self.world.public_address(nic).filter(|address| address.is_loopback()) else {
                continue;
            };
            let named = self.guests.iter().filter(|it| it.machine.eq_ignore_ascii_case(&vm.name));
            let named: BTreeMap<u16, SocketAddr> = named.map(|it| (it.port, it.at)).collect();
            for port in named.keys().copied().chain([SSH, RDP]) {
                let is_let_in = self.world.lets_in(nic, std::net::Ipv4Addr::LOCALHOST, port, now);
                let behind = match named.get(&port) {
                    _ if !vm.is_up() || !is_let_in || self.faults.blocks_port(&vm.name) => Some(Port::Shut),
                    _ if port == SSH && self.faults.stops_sshd(&vm.name) => None,
                    Some(at) => Some(Port::At(*at)),
                    None if port == SSH && self.world.serves_ssh(&vm.group, &vm.name) => {
                        Some(Port::Ssh { group: vm.group.clone(), machine: vm.name.clone() })
                    }
                    None if port == RDP && vm.os == Os::Windows => Some(Port::Rdp),
                    None => None,
                };
                let port = if port < 1024 { port + self.low_ports } else { port };
                open.extend(behind.map(|behind| (SocketAddr::from((address, port)), behind)));
            }
        }
        open
    }
}
