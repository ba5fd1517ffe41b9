//! `arc`: machines that are known to Azure Arc, the extensions that their agents install, and whom they let in.

mod endpoint;
mod endpoint_create;
mod extension;
mod extension_install;
mod extension_remove;
mod extension_status;
mod find;
mod machine;
mod removed;
mod run_command;
mod service_configure;
mod service_remove;

use relight_engine::Registered;

use crate::Azure;
use crate::reconcile::register;

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![
        Registered::new(machine::ReadMachine(azure.clone())),
        Registered::new(extension_status::ExtensionStatus(azure.clone())),
        register(extension_install::ExtensionInstall(azure.clone())),
        register(extension_remove::ExtensionRemove(azure.clone())),
        Registered::new(run_command::RunCommand(azure.clone())),
        register(endpoint_create::EndpointCreate(azure.clone())),
        register(service_configure::ServiceConfigure(azure.clone())),
        register(service_remove::ServiceRemove(azure.clone())),
    ]
}
