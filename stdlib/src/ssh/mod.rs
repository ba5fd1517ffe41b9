//! `ssh`: sessions on machines, through Azure Arc, without a program of anybody else's.
//!
//! ```text
//! relay/ ──► a stream of bytes ──► handshake ──► is it the machine? ──► is it the user? ──► commands, files, ports
//! ```
//!
//! Nothing about the user is sent before the machine has proven its host key. Private keys stay in memory.

mod config;
mod connect;
mod connect_entra;
mod download;
mod exec;
mod files;
mod forward;
mod host_key;
mod key_pair;
mod known_hosts;
mod line;
mod login;
mod peer;
mod public_key;
mod session;
mod target;
#[cfg(test)]
mod testing;
mod trust;
mod upload;
mod way;

use relight_engine::Registered;

pub use crate::agent::COMMAND_FAILED;
pub use config::{ConfigEntry, config_value};
pub use forward::Behind;
pub use known_hosts::{HostName, KnownHosts, Standing, fingerprint};
pub use line::Line;
pub use login::{By, Login, Proof};
pub use peer::Trust;
pub use session::{Ended, HOST_KEY_CHANGED, HOST_KEY_UNKNOWN, Input, Running, Said, Session};

use crate::Azure;

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![
        Registered::attached(connect::Connect(azure.clone())),
        Registered::attached(connect_entra::ConnectEntra(azure.clone())),
        Registered::new(exec::Exec),
        Registered::new(upload::Upload),
        Registered::new(download::Download),
        Registered::attached(forward::Forward),
        Registered::new(host_key::ReadHostKey(azure.clone())),
        Registered::new(trust::TrustHostKey(azure.clone())),
        Registered::new(key_pair::MakeKeyPair),
        Registered::new(public_key::ReadPublicKey),
        Registered::new(config::WriteConfig(azure.clone())),
    ]
}
