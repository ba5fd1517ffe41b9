//! The other end of a session: whose host key it shows, and whether that is taken.

use std::sync::{Arc, Mutex, PoisonError};

use relight_engine::Result;
use russh::client::Handler;
use russh::keys::{PublicKey, PublicKeyOrCertificate};

use super::known_hosts::{HostName, KnownHosts, Standing};

/// By what a machine is trusted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// By what is known about it.
    Known(KnownHosts, HostName),
    /// By one of these keys, which came another way.
    Only(Vec<PublicKey>),
    /// Not at all: only its key is looked at.
    LookOnly,
}

impl Trust {
    /// Returns the keys that the machine may show. Their algorithms are asked for first.
    pub(super) fn keys(&self) -> Result<Vec<PublicKey>> {
        match self {
            Trust::Known(known, host) => known.keys(host),
            Trust::Only(keys) => Ok(keys.clone()),
            Trust::LookOnly => Ok(Vec::new()),
        }
    }

    fn judge(&self, key: &PublicKey) -> Result<Standing> {
        match self {
            Trust::Known(known, host) => known.check(host, key),
            Trust::Only(keys) if keys.iter().any(|known| known.key_data() == key.key_data()) => {
                Ok(Standing::Known)
            }
            Trust::Only(keys) => {
                Ok(Standing::Changed { known: keys.iter().map(super::known_hosts::fingerprint).collect() })
            }
            Trust::LookOnly => Ok(Standing::Unknown),
        }
    }
}

/// A key that was shown, and what is known about it, or why that cannot be told.
type Shown = (PublicKey, Result<Standing, String>);

/// What a machine showed.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Option<Shown>>>);

impl Seen {
    pub(super) fn get(&self) -> Option<Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The other end, as russh asks about it.
pub(super) struct Peer {
    pub(super) trust: Trust,
    pub(super) seen: Seen,
}

impl Handler for Peer {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        // No certificate of a host is asked for.
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let standing = self.trust.judge(key).map_err(|error| format!("{error}"));
        let is_known = standing == Ok(Standing::Known);
        *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.clone(), standing));
        Ok(is_known)
    }
}
