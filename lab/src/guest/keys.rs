//! The host keys of a machine, which follow from the lab's seed and the machine's name.

use russh::keys::{Algorithm, EcdsaCurve, PrivateKey};

use crate::{chance::Chance, faults::Faults, world::World};

/// Returns the host keys of a machine, the best one first.
pub(super) fn host_keys(world: &World, faults: &Faults, group: &str, machine: &str) -> Vec<PrivateKey> {
    let again = if faults.changes_host_key(machine) { " again" } else { "" };
    [Algorithm::Ed25519, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }]
        .into_iter()
        .filter_map(|algorithm| {
            let label = format!("host key {algorithm} {group} {machine}{again}").to_ascii_lowercase();
            PrivateKey::random(&mut Chance::new(world.seed(), label), algorithm).ok()
        })
        .collect()
}

/// Returns the public halves, each with the name of its kind in file names, as they stand in files.
pub(super) fn public_lines(keys: &[PrivateKey], machine: &str) -> Vec<(&'static str, String)> {
    let line = |key: &PrivateKey| {
        let kind = if key.algorithm().is_ed25519() { "ed25519" } else { "ecdsa" };
        Some((kind, format!("{} root@{machine}\n", key.public_key().to_openssh().ok()?)))
    };
    keys.iter().filter_map(line).collect()
}
