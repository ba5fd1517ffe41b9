//! `compute`: virtual machines in Azure, their power, their agents, and what their screens show.

mod addresses;
mod diagnostics;
mod extensions;
mod find;
mod host;
mod identity_assign;
mod power;
mod power_actions;
mod run_script;
mod vm;
mod vms;

use relight_engine::Registered;

use crate::reconcile::register;
use crate::{Azure, agent};

pub(crate) use addresses::{AddressKind, INTERFACES, VmAddress};
pub(crate) use find::{AZURE_VM, VM_TYPE, VMS};
pub(crate) use host::AzureHost;
pub(crate) use vm::Vm;

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    use power_actions::{Deallocate, PowerOff, Redeploy, Restart, Start};
    let mut all = vec![
        Registered::new(vm::ReadVm(azure.clone())),
        Registered::new(vms::ListVms(azure.clone())),
        Registered::new(addresses::Addresses(azure.clone())),
        register(power::Power(azure.clone(), Start)),
        register(power::Power(azure.clone(), Restart)),
        register(power::Power(azure.clone(), Redeploy)),
        register(power::Power(azure.clone(), PowerOff)),
        register(power::Power(azure.clone(), Deallocate)),
        run_script::operation(azure),
        register(identity_assign::IdentityAssign(azure.clone())),
        Registered::new(diagnostics::BootDiagnostics(azure.clone())),
    ];
    all.extend(agent::all::<AzureHost>(azure));
    all
}
