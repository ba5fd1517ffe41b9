//! Azure Local and Azure Arc as operations for Relight runbooks.
//!
//! Each area is a folder, each operation a file: its name, its sentence, its arguments, its examples (which run as
//! tests against the lab), and its code. [`azure`] is how all of them talk to Azure.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod agent;
mod arc;
mod arm;
pub mod azure;
mod compute;
pub mod doctor;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod here;
mod local;
mod named;
pub mod net;
mod network;
mod prelude;
pub mod rdp;
mod reconcile;
mod reference;
pub mod relay;
pub mod road;
mod schedule;
pub mod ssh;
mod vmconnect;

use relight_engine::{Error, ErrorCode, Registered, Result};

pub use here::Here;
pub use net::Dialer;
pub use reference::Ref;

/// Every error code of this crate's own, with what it says to the author of a runbook.
pub const CODES: [(ErrorCode, &str); 3] = [
    (ssh::HOST_KEY_UNKNOWN, "nobody has said yet by which host key the machine is known"),
    (ssh::HOST_KEY_CHANGED, "the machine shows another host key than it has"),
    (ssh::COMMAND_FAILED, "the command came to its end, and failed"),
];

/// What the operations work with: a connection, and the defaults for what a script leaves out.
#[derive(Clone, Debug)]
pub struct Azure {
    /// The connection to Azure Resource Manager.
    pub arm: azure::Arm,
    /// The subscription in which names are looked up.
    pub subscription: Option<String>,
    /// The resource group in which names are looked up first.
    pub group: Option<String>,
    /// How ports of hosts are reached.
    pub dial: Dialer,
    /// Which machines are known by which host keys.
    pub known_hosts: ssh::KnownHosts,
    /// What the machine that drives runs has for whoever sits there.
    pub here: Here,
}

impl Azure {
    /// Returns the subscription in which names are looked up.
    fn subscription(&self) -> Result<&str> {
        self.subscription.as_deref().filter(|s| !s.is_empty()).ok_or_else(|| {
            Error::invalid("no subscription is chosen, so a name cannot be looked up")
                .hint("set AZURE_SUBSCRIPTION_ID, or give the whole resource id")
        })
    }

    /// Returns the resource group that a call names, else the default one. An empty name counts as none.
    fn group<'a>(&'a self, named: Option<&'a str>) -> Option<&'a str> {
        named.or(self.group.as_deref()).filter(|group| !group.is_empty())
    }
}

/// Reads the parameter kind `resource_id`, for [`EngineBuilder::parameter_kind`](relight_engine::EngineBuilder).
///
/// # Errors
/// What is wrong with the text.
pub fn read_resource_id(text: &str) -> Result<serde_json::Value, String> {
    let id = azure::ResourceId::parse(text).map_err(|error| error.message().to_owned())?;
    Ok(serde_json::Value::String(id.to_string()))
}

/// Returns every operation.
pub fn all(azure: &Azure) -> Vec<Registered> {
    let areas = [
        local::all(azure),
        vmconnect::all(azure),
        rdp::all(azure),
        file::all(),
        net::all(azure),
        schedule::all(),
        arc::all(azure),
        compute::all(azure),
        network::all(azure),
        road::all(azure),
        arm::all(azure),
        ssh::all(azure),
        doctor::diagnose::all(azure),
    ];
    areas.into_iter().flatten().collect()
}
