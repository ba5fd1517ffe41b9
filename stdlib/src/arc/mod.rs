//! `arc`: machines that are known to Azure Arc, the extensions that their agents install, and whom they let in.

mod endpoint;
mod endpoint_create;
mod find;
mod host;
mod machine;
mod service_configure;
mod service_remove;

use relight_engine::Registered;

pub(crate) use endpoint::{SERVICES, endpoint_of, service_of};
pub(crate) use find::Machine;
pub(crate) use host::ArcHost;

use crate::reconcile::register;
use crate::{Azure, agent};

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    let mut all = vec![
        Registered::new(machine::ReadMachine(azure.clone())),
        register(endpoint_create::EndpointCreate(azure.clone())),
        register(service_configure::ServiceConfigure(azure.clone())),
        register(service_remove::ServiceRemove(azure.clone())),
    ];
    all.extend(agent::all::<ArcHost>(azure));
    all
}
