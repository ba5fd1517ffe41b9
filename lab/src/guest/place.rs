//! A machine, and the lab that it is saved with.

use std::sync::Arc;

use russh::keys::ssh_key::public::KeyData;

use super::Computer;
use crate::state::Site;

/// What serves whoever signed in.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) site: Arc<Site>,
    pub(super) computer: Arc<Computer>,
    /// Whose certificates are good here.
    pub(super) authority: Option<KeyData>,
}

impl Place {
    /// Saves the lab if something was changed on the machine.
    pub(super) fn save(&self, before: u64) {
        if self.computer.disk.files().changes() == before {
            return;
        }
        if let Err(e) = self.site.state().save() {
            tracing::error!("{e}");
        }
    }

    pub(super) fn changes(&self) -> u64 {
        self.computer.disk.files().changes()
    }
}
