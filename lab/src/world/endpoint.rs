//! How the agent of an Arc machine lets others in: its endpoint, and what may be reached through it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The default endpoint of an Arc machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Endpoint {
    pub(crate) machine: String,
    pub(crate) group: String,
    pub(crate) services: Vec<Service>,
    /// From when the agent listens at the relay. Whatever is written makes it register anew.
    pub(crate) listens: Timestamp,
}

/// A service that may be reached.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Service {
    /// SSH or WAC.
    pub(crate) name: String,
    /// The port on the machine.
    pub(crate) port: u16,
}

impl Endpoint {
    pub(crate) fn is_on(&self, group: &str, machine: &str) -> bool {
        self.machine.eq_ignore_ascii_case(machine) && self.group.eq_ignore_ascii_case(group)
    }

    pub(crate) fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name.eq_ignore_ascii_case(name))
    }
}
