//! The road to a port of a machine: through Azure Relay to one of Azure Arc, straight to an address of one in Azure.

mod connection;
mod direct;
mod find;
mod locate;

pub use connection::Connection;
pub use locate::Reached;

use crate::Azure;
use crate::compute::VM_TYPE;
use crate::relay::Target;
use relight_engine::{Error, Registered, Result};

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![Registered::new(find::FindMachine(azure.clone()))]
}

impl Azure {
    /// Connects to a port of a machine by the road that leads there. `waiting` hears why it is waited.
    ///
    /// # Errors
    /// What keeps the connection from being made, each with what to do about it.
    pub async fn connect_to(&self, to: &Target<'_>, waiting: impl Fn(&Error)) -> Result<Connection> {
        match to.machine.is(VM_TYPE) {
            true => self.connect_directly(to, waiting).await.map(Connection::direct),
            false if to.private => {
                let message =
                    format!("`{}` is reached through Azure Arc, and not by an address", to.machine.name());
                Err(Error::invalid(message).hint("leave out the private address"))
            }
            false => self.connect_through_arc(to, waiting).await.map(Connection::through),
        }
    }
}
