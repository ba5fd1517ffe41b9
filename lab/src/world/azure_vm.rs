//! A virtual machine in Azure, and its power states.
//!
//! ```text
//! running ◄─start── stopped, deallocated
//!    └──powerOff──► stopped     └──deallocate──► deallocated
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Tags, World};
use crate::machine::Os;

/// A virtual machine in Azure.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct AzureVm {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) size: String,
    pub(crate) os: Os,
    pub(crate) power: AzurePower,
    pub(crate) change: Option<AzureChange>,
    /// How often it was started or restarted, so that a repeated action shows in a snapshot.
    pub(crate) starts: u32,
    /// How often it was moved to another host.
    pub(crate) redeploys: u32,
    /// Whether Azure keeps what its screen and its serial port show.
    pub(crate) has_diagnostics: bool,
    /// Whether it can sign in to Azure by itself.
    pub(crate) has_identity: bool,
    pub(crate) id: String,
    pub(crate) tags: Tags,
}

/// Where a VM can rest.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum AzurePower {
    Running,
    /// Off, and still paid for.
    Stopped,
    /// Off, without a host.
    Deallocated,
}

/// A power change under way.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct AzureChange {
    pub(crate) to: AzurePower,
    /// The power state shown meanwhile.
    pub(crate) shown: String,
    /// Whether it comes up on another host.
    pub(crate) moves: bool,
    /// When it is done; never, when `None`.
    pub(crate) at: Option<Timestamp>,
}

impl World {
    /// Deallocates the VM of this name, or every one in Azure.
    pub(crate) fn turn_off(&mut self, name: &str) {
        for vm in self.azure_vms.iter_mut().filter(|vm| name.is_empty() || vm.name.eq_ignore_ascii_case(name))
        {
            vm.power = AzurePower::Deallocated;
            vm.change = None;
        }
    }

    /// From now on the VM of this name, or every one in Azure, has its public address only while it has a host.
    pub(crate) fn lend_addresses(&mut self, name: &str) {
        let is_it = |it: &String| name.is_empty() || it.eq_ignore_ascii_case(&format!("{name}-ip"));
        for address in self.networks.addresses.iter_mut().filter(|address| is_it(&address.name)) {
            address.is_dynamic = true;
        }
    }
}

impl AzureVm {
    pub(crate) fn is(&self, group: &str, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) && self.group.eq_ignore_ascii_case(group)
    }

    /// Ends the change under way.
    pub(super) fn settle(&mut self) {
        if let Some(change) = self.change.take() {
            self.power = change.to;
            self.starts += u32::from(change.to == AzurePower::Running);
            self.redeploys += u32::from(change.moves);
        }
    }

    /// Returns the word behind `PowerState/`, and what people are shown.
    pub(crate) fn power_word(&self) -> &str {
        match (&self.change, self.power) {
            (Some(change), _) => &change.shown,
            (None, AzurePower::Running) => "running",
            (None, AzurePower::Stopped) => "stopped",
            (None, AzurePower::Deallocated) => "deallocated",
        }
    }

    /// Returns whether the system in it is up.
    pub(crate) fn is_up(&self) -> bool {
        self.power == AzurePower::Running && self.change.is_none()
    }
}
