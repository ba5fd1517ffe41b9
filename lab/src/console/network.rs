//! A loopback network for each lab, so that many labs can have a port 2179 at once.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::seed::Seed;
use crate::world::CONSOLE_PORT;

/// By how much ports below 1024 are moved where not everybody may open them.
const LOW_PORTS_MOVED: u16 = 10_000;

/// Counts the labs of this process.
static LABS: AtomicU64 = AtomicU64::new(0);

/// Finds a free `127.x.y.0/24`, the saved one first, and returns it with the socket that claims it. Returns no network
/// where only 127.0.0.1 can be bound, as on macOS; all nodes then share that address.
pub(crate) fn claim_network(seed: u64, saved: Option<[u8; 2]>) -> (Option<[u8; 2]>, Option<TcpListener>) {
    let lab = LABS.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let candidates = (0..200).map(|attempt| {
        let pick = Seed(seed).below(&format!("network {process} {lab} {attempt}"), 150 * 256);
        // Low and high second octets are left alone: system resolvers and the like live there.
        [100 + (pick / 256) as u8, (pick % 256) as u8]
    });
    for [x, y] in saved.into_iter().chain(candidates) {
        // No node has the address .1; holding its port marks the network as taken.
        if let Ok(claim) = TcpListener::bind((Ipv4Addr::new(127, x, y, 1), CONSOLE_PORT)) {
            return (Some([x, y]), Some(claim));
        }
    }
    (None, None)
}

/// Returns by how much the ports below 1024 are moved on a lab's network: by nothing, unless this user may not open them.
pub(crate) fn moves_low_ports(network: Option<[u8; 2]>, port: u16) -> u16 {
    let Some([x, y]) = network else { return 0 };
    let tried = TcpListener::bind((Ipv4Addr::new(127, x, y, 1), port));
    let is_denied = tried.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    if is_denied { LOW_PORTS_MOVED } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_labs_never_share_a_network() {
        let (first, held) = claim_network(1, None);
        let (second, _other) = claim_network(1, first);
        if held.is_some() {
            assert_ne!(first, second);
        }
    }
}
