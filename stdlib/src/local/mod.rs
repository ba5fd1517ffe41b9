//! `local`: the virtual machines, clusters and nodes of Azure Local.

pub(crate) mod api;
mod cluster;
mod clusters;
pub(crate) mod find;
mod nodes;
mod power;
mod power_off;
mod restart;
mod start;
mod stop;
mod vm;
mod vms;

use relight_engine::Registered;

pub(crate) use cluster::Cluster;
pub(crate) use nodes::Node;
use power::Power;
pub(crate) use vm::Vm;

use crate::Azure;
use crate::reconcile::register;

/// Returns every address at which a VM's host may be reached: the one that the VM names, then those of its adapters.
pub(crate) fn addresses(named: Option<&str>, adapters: Vec<String>) -> Vec<String> {
    nodes::distinct(named.map(str::to_owned).into_iter().chain(adapters))
}

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![
        Registered::new(vm::ReadVm(azure.clone())),
        Registered::new(vms::ListVms(azure.clone())),
        Registered::new(cluster::ReadCluster(azure.clone())),
        Registered::new(clusters::ListClusters(azure.clone())),
        Registered::new(nodes::ListNodes(azure.clone())),
        register(Power(azure.clone(), start::Start)),
        register(Power(azure.clone(), stop::Stop)),
        register(Power(azure.clone(), restart::Restart)),
        register(Power(azure.clone(), power_off::PowerOff)),
    ]
}
