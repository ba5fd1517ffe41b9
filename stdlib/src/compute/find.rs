//! From what a script names to the virtual machine in Azure.

use super::vm::Vm;
use crate::azure::Origin;
use crate::named::Kind;
use crate::prelude::*;

/// The type of a virtual machine in Azure.
pub(crate) const VM_TYPE: &str = "Microsoft.Compute/virtualMachines";

/// Known versions; what is used here has one shape in all of them.
pub(crate) const VMS: Api<'static> =
    Api { kind: VM_TYPE, versions: &["2026-04-01", "2024-07-01", "2023-09-01", "2022-03-01"] };

/// A virtual machine in Azure, by its name.
pub(crate) const AZURE_VM: Kind = Kind { word: "Azure VM", api: VMS, matches: |_| true, id: vm_id };

/// Returns the VM that an id means.
fn vm_id(id: &ResourceId) -> Result<ResourceId> {
    match id.is(VM_TYPE) {
        true => Ok(id.clone()),
        false => Err(Error::invalid(format!("`{id}` is not the id of a virtual machine in Azure"))
            .hint(format!("it ends in /providers/{VM_TYPE}/<name>"))),
    }
}

impl Azure {
    /// Finds and reads a virtual machine in Azure.
    pub(crate) async fn find_azure_vm(&self, cx: &Cx, vm: &Ref, group: Option<&str>) -> Result<Vm> {
        self.read_named_azure_vm(&cx.into(), vm, group).await
    }

    /// The same, for whoever belongs to no run.
    pub(crate) async fn read_named_azure_vm(
        &self,
        origin: &Origin,
        vm: &Ref,
        group: Option<&str>,
    ) -> Result<Vm> {
        let id = self.named(origin, AZURE_VM, vm, group).await?;
        match self.read_azure_vm(origin, &id).await? {
            Some(vm) => Ok(vm),
            None => Err(self.no_such(origin, AZURE_VM, &id).await),
        }
    }

    /// Reads a virtual machine in Azure that may not be there.
    pub(crate) async fn read_azure_vm(&self, origin: &Origin, id: &ResourceId) -> Result<Option<Vm>> {
        let body = self.arm.find_as(origin, &format!("{id}?$expand=instanceView"), VMS).await?;
        Ok(body.map(|body| Vm::read(id, &body)))
    }
}
