//! Passwords as the system of a machine keeps them: one line a user, of which nobody reads the password.

use sha2::{Digest, Sha256};

use super::Os;

/// Returns where a system keeps its passwords.
pub(crate) fn passwords(os: Os) -> &'static str {
    match os {
        Os::Linux => "/etc/shadow",
        Os::Windows => "/C:/Windows/System32/config/SAM",
    }
}

/// Returns what is kept of a password.
pub(crate) fn hashed(user: &str, password: &str) -> String {
    let digest = Sha256::digest(format!("{user}:{password}"));
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("$lab${digits}")
}

/// Returns the line of a user.
pub(crate) fn kept_password(user: &str, hash: &str) -> String {
    format!("{user}:{hash}:20000:0:99999:7:::")
}
