//! `network`: what lies between a virtual machine in Azure and whoever wants to reach it.

mod api;
mod check;
mod close_port;
mod open_port;
mod rules;

use relight_engine::Registered;

pub(crate) use api::{RULES, SECURITY_GROUPS};
pub(crate) use check::{Checked, EFFECTIVE_RULES};
pub(crate) use rules::{Layer, Source};

use crate::Azure;
use crate::azure::ResourceId;
use crate::reconcile::register;

/// How the description of a rule that we made begins.
const MARK: &str = "Relight lets this through";

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![
        register(check::PortCheck(azure.clone())),
        Registered::new(open_port::OpenPort(azure.clone())),
        Registered::new(close_port::ClosePort(azure.clone())),
    ]
}

/// Returns what a lease on a port holds open: each has rules of its own, so that none shares it with another.
fn door(vm: &ResourceId, port: u16, lease: &str) -> String {
    format!("{}:{port}:{lease}", vm.key())
}
