//! Names turned into ids and numbers: the only source of chance in the lab.

use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Turns labels into stable values. The same seed and label always give the same value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    /// Returns a UUID that looks random (version 4).
    pub(crate) fn uuid(self, label: &str) -> String {
        let digest = self.digest(label);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// Returns a number below `bound`, which must not be 0.
    pub(crate) fn below(self, label: &str, bound: u64) -> u64 {
        let digest = self.digest(label);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[..8]);
        u64::from_be_bytes(bytes) % bound
    }

    /// Returns a duration between `from` and `to` seconds.
    pub(crate) fn seconds(self, label: &str, from: u64, to: u64) -> SignedDuration {
        let seconds = from + self.below(label, to - from + 1);
        SignedDuration::from_secs(seconds.cast_signed())
    }

    /// Returns the 64 upper-case hex digits that Azure Local puts behind an operation's GUID.
    pub(crate) fn hex(self, label: &str) -> String {
        self.digest(label).iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// Returns 32 bytes.
    pub(crate) fn bytes(self, label: &str) -> [u8; 32] {
        self.digest(label)
    }

    fn digest(self, label: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.0.to_be_bytes()).chain_update(label).finalize().into()
    }
}

/// Returns a UUID that no seed decides, for request ids.
pub(crate) fn random_uuid() -> String {
    Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_decide_values() {
        assert_eq!(Seed(1).uuid("vm"), Seed(1).uuid("vm"));
        assert_ne!(Seed(1).uuid("vm"), Seed(2).uuid("vm"));
        assert!((5..=7).contains(&Seed(3).seconds("job", 5, 7).as_secs()));
        assert_eq!(Seed(1).hex("op").len(), 64);
    }
}
