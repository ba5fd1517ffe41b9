//! A virtual machine and its power states.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tags;

/// An Azure Local VM: at once an Arc machine of kind HCI and a VM instance on top of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Vm {
    pub(crate) name: String,
    pub(crate) group: String,
    /// The cluster's name; names of clusters are unique in a world.
    pub(crate) cluster: String,
    pub(crate) node: String,
    pub(crate) power: Power,
    pub(crate) change: Option<Change>,
    /// Whether the guest gets as far as starting its agents.
    pub(crate) boots: bool,
    pub(crate) os: String,
    /// How often the VM was started or restarted, so that a repeated action shows in a snapshot.
    pub(crate) starts: u32,
    /// The id by which the host's console service knows the VM.
    pub(crate) hyperv_id: String,
    pub(crate) platform_id: String,
    pub(crate) guest_id: String,
    pub(crate) smbios_id: String,
    #[serde(default)]
    pub(crate) tags: Tags,
}

/// Where a VM can rest.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Power {
    Running,
    Stopped,
}

/// A power change under way.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Change {
    pub(crate) to: Power,
    /// The power state shown meanwhile.
    pub(crate) shown: String,
    /// When it is done; never, when `None`.
    pub(crate) at: Option<Timestamp>,
}

impl Vm {
    pub(super) fn is(&self, name: &str, group: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) && self.group.eq_ignore_ascii_case(group)
    }

    /// Ends the change under way.
    pub(super) fn settle(&mut self) {
        if let Some(change) = self.change.take() {
            self.power = change.to;
            self.starts += u32::from(change.to == Power::Running);
        }
    }

    /// Returns the word for `powerState`.
    pub(crate) fn power_word(&self) -> &str {
        match (&self.change, self.power) {
            (Some(change), _) => &change.shown,
            (None, Power::Running) => "Running",
            (None, Power::Stopped) => "Stopped",
        }
    }

    /// Returns whether the agents inside the guest talk to Azure.
    pub(crate) fn is_connected(&self) -> bool {
        self.boots && self.power == Power::Running && self.change.is_none()
    }
}
