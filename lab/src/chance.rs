//! Keys that a seed decides.

use std::convert::Infallible;

use russh::keys::ssh_key::rand_core::{TryCryptoRng, TryRng};

use crate::seed::Seed;

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

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
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
