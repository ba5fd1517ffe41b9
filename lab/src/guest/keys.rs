//! The host keys of a machine, which follow from the lab's seed and the machine's name.

use std::convert::Infallible;

use russh::keys::{
    Algorithm, EcdsaCurve, PrivateKey,
    ssh_key::rand_core::{TryCryptoRng, TryRng},
};

use crate::{faults::Faults, seed::Seed, world::World};

/// Bytes that a seed and a label decide, for makers of keys. Good for nothing but a lab.
pub(crate) struct Chance {
    seed: Seed,
    label: String,
    blocks: u64,
    left: Vec<u8>,
}

impl Chance {
    pub(crate) fn new(seed: Seed, label: String) -> Self {
        Chance { seed, label, blocks: 0, left: Vec::new() }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            if self.left.is_empty() {
                self.blocks += 1;
                self.left = self.seed.bytes(&format!("{} {}", self.label, self.blocks)).to_vec();
            }
            *byte = self.left.pop().unwrap_or_default();
        }
        bytes
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.array()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.array()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.iter_mut().for_each(|byte| [*byte] = self.array());
        Ok(())
    }
}

impl TryCryptoRng for Chance {}

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
