//! `arc`: machines that are known to Azure Arc, and the extensions that their agents install.

mod extension;
mod extension_install;
mod extension_remove;
mod extension_status;
mod find;
mod machine;

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
    ]
}
