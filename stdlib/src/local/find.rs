//! From what a script names to the resource in Azure, with an answer that helps when there is none.

use futures::{StreamExt, TryStreamExt};

use super::api::{self, INSTANCE, MACHINE};
use super::vm::Vm;
use crate::azure::Origin;
use crate::named::{Kind, id_of};
use crate::prelude::*;

/// How many VMs of a list are read at the same time.
const AT_ONCE: usize = 8;

/// Returns the path of a VM's instance below its Arc machine.
pub(crate) fn instance_path(machine: &ResourceId) -> String {
    format!("{machine}/providers/{INSTANCE}/default")
}

/// A VM of Azure Local.
pub(crate) const VM: Kind =
    Kind { word: "VM", api: api::MACHINES, matches: is_azure_local_vm, id: machine_id };
/// Any Arc machine.
pub(crate) const ARC_MACHINE: Kind =
    Kind { word: "Arc machine", api: api::MACHINES, matches: |_| true, id: machine_id };

impl Azure {
    /// Finds and reads an Azure Local VM.
    pub(crate) async fn find_vm(&self, cx: &Cx, vm: &Ref, group: Option<&str>) -> Result<Vm> {
        let machine = self.named(&cx.into(), VM, vm, group).await?;
        match self.read_vm(cx, &machine).await? {
            Some(vm) => Ok(vm),
            None => Err(self.no_such_vm(cx, &machine).await),
        }
    }

    /// Reads the VM of an Arc machine, when it is one.
    pub(crate) async fn read_vm(&self, on: impl Into<Origin>, machine: &ResourceId) -> Result<Option<Vm>> {
        let body = self.arm.find_as(&on.into(), &instance_path(machine), api::INSTANCES).await?;
        Ok(body.map(|body| Vm::read(machine, &body)))
    }

    /// Reads every VM of a group, or of the subscription.
    pub(crate) async fn list_vms(&self, cx: &Cx, group: Option<&str>) -> Result<Vec<Vm>> {
        let machines = self.list_of(&cx.into(), api::MACHINES, group).await?;
        let ids: Vec<ResourceId> =
            machines.iter().filter(|m| is_azure_local_vm(m)).filter_map(id_of).collect();
        let reads = ids.into_iter().map(|id| async move { self.read_vm(cx, &id).await });
        let vms: Vec<Option<Vm>> = futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let mut vms: Vec<Vm> = vms.into_iter().flatten().collect();
        vms.sort_by_key(|vm| (vm.group.to_lowercase(), vm.name.to_lowercase()));
        Ok(vms)
    }

    async fn no_such_vm(&self, cx: &Cx, machine: &ResourceId) -> Error {
        let (name, group) = (machine.name(), machine.group().unwrap_or_default());
        if self.arm.find(cx, machine.as_str(), api::MACHINES).await.is_ok_and(|found| found.is_some()) {
            return Error::rejected(format!(
                "`{name}` in `{group}` is an Arc machine, and not a VM of Azure Local"
            ))
            .code(ErrorCode::NOT_FOUND);
        }
        self.no_such(&cx.into(), VM, machine).await
    }
}

/// Returns the Arc machine that an id means: the machine itself, or the machine below a VM instance.
pub(crate) fn machine_id(id: &ResourceId) -> Result<ResourceId> {
    if id.is(MACHINE) {
        return Ok(id.clone());
    }
    id.parent().filter(|parent| id.is(INSTANCE) && parent.is(MACHINE)).ok_or_else(|| {
        Error::invalid(format!("`{id}` is not the id of an Azure Local VM"))
            .hint(format!("it ends in /providers/{MACHINE}/<name>"))
    })
}

fn is_azure_local_vm(machine: &Value) -> bool {
    text(machine, "/kind").is_some_and(|kind| kind.eq_ignore_ascii_case("HCI"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ids_of_a_vm_mean_its_machine() {
        let machine: ResourceId =
            "/subscriptions/s/resourceGroups/g/providers/microsoft.hybridcompute/machines/web-01"
                .parse()
                .unwrap();
        assert_eq!(machine_id(&machine).unwrap(), machine);
        assert_eq!(machine_id(&instance_path(&machine).parse().unwrap()).unwrap(), machine);
        let cluster = ResourceId::of_group("s", "g").unwrap().resource(api::CLUSTER, "hq").unwrap();
        assert!(machine_id(&cluster).is_err());
        assert!(machine_id(&cluster.parent().unwrap()).is_err());
    }
}
