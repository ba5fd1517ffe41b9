//! From what a script names to the resource in Azure, with an answer that helps when there is none.

use futures::{StreamExt, TryStreamExt};

use super::api::{self, INSTANCE, MACHINE};
use super::vm::Vm;
use crate::azure::Origin;
use crate::prelude::*;
use crate::reference::near;

/// How many VMs of a list are read at the same time.
const AT_ONCE: usize = 8;

/// Returns the path of a VM's instance below its Arc machine.
pub(crate) fn instance_path(machine: &ResourceId) -> String {
    format!("{machine}/providers/{INSTANCE}/default")
}

/// Which Arc machines a name may mean.
#[derive(Clone, Copy)]
pub(crate) struct MachineKind {
    /// What people call one.
    word: &'static str,
    /// Whether a machine of a list is one.
    matches: fn(&Value) -> bool,
}

/// A VM of Azure Local.
const VM: MachineKind = MachineKind { word: "VM", matches: is_azure_local_vm };
/// Any Arc machine.
pub(crate) const ARC_MACHINE: MachineKind = MachineKind { word: "Arc machine", matches: |_| true };

impl Azure {
    /// Finds and reads an Azure Local VM.
    pub(crate) async fn find_vm(&self, cx: &Cx, vm: &Ref, group: Option<&str>) -> Result<Vm> {
        let machine = self.named_machine(&cx.into(), VM, vm, group).await?;
        match self.read_vm(cx, &machine).await? {
            Some(vm) => Ok(vm),
            None => Err(self.no_such_vm(cx, &machine).await),
        }
    }

    /// Returns the id of the machine that is named. Whether it is there shows when it is read.
    pub(crate) async fn named_machine(
        &self,
        origin: &Origin,
        kind: MachineKind,
        machine: &Ref,
        group: Option<&str>,
    ) -> Result<ResourceId> {
        match machine {
            Ref::Id(id) => machine_id(id),
            Ref::Name(name) => match self.group(group) {
                Some(group) => ResourceId::of_group(self.subscription()?, group)?.resource(MACHINE, name),
                None => self.search(origin, kind, name).await,
            },
        }
    }

    /// Reads the VM of an Arc machine, when it is one.
    pub(crate) async fn read_vm(&self, cx: &Cx, machine: &ResourceId) -> Result<Option<Vm>> {
        let body = self.arm.find(cx, &instance_path(machine), api::INSTANCES).await?;
        Ok(body.map(|body| Vm::read(machine, &body)))
    }

    /// Reads every VM of a group, or of the subscription.
    pub(crate) async fn list_vms(&self, cx: &Cx, group: Option<&str>) -> Result<Vec<Vm>> {
        let machines = self.list_machines(&cx.into(), group).await?;
        let ids: Vec<ResourceId> =
            machines.iter().filter(|m| is_azure_local_vm(m)).filter_map(id_of).collect();
        let reads = ids.into_iter().map(|id| async move { self.read_vm(cx, &id).await });
        let vms: Vec<Option<Vm>> = futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let mut vms: Vec<Vm> = vms.into_iter().flatten().collect();
        vms.sort_by_key(|vm| (vm.group.to_lowercase(), vm.name.to_lowercase()));
        Ok(vms)
    }

    /// Lists the Arc machines of a group, or of the subscription.
    pub(crate) async fn list_machines(&self, origin: &Origin, group: Option<&str>) -> Result<Vec<Value>> {
        let subscription = self.subscription()?;
        let scope = match group {
            Some(group) => ResourceId::of_group(subscription, group)?.to_string(),
            None => format!("/subscriptions/{subscription}"),
        };
        self.arm.list_as(origin, &format!("{scope}/providers/{MACHINE}"), api::MACHINES).await
    }

    /// Finds the one machine of a name in the subscription.
    async fn search(&self, origin: &Origin, kind: MachineKind, name: &str) -> Result<ResourceId> {
        let all = self.ids_of(origin, kind).await?;
        let mut same: Vec<&ResourceId> =
            all.iter().filter(|id| id.name().eq_ignore_ascii_case(name)).collect();
        match (same.pop(), same.is_empty()) {
            (Some(one), true) => Ok(one.clone()),
            (Some(one), false) => {
                same.push(one);
                let groups: Vec<&str> = same.iter().filter_map(|id| id.group()).collect();
                Err(Error::rejected(format!("{} {}s are called `{name}`", same.len(), kind.word))
                    .hint(format!("say which resource group is meant: {}", groups.join(", "))))
            }
            (None, _) => Err(not_found(kind, name, "in the subscription", all.iter())),
        }
    }

    async fn ids_of(&self, origin: &Origin, kind: MachineKind) -> Result<Vec<ResourceId>> {
        let machines = self.list_machines(origin, None).await?;
        Ok(machines.iter().filter(|machine| (kind.matches)(machine)).filter_map(id_of).collect())
    }

    async fn no_such_vm(&self, cx: &Cx, machine: &ResourceId) -> Error {
        let (name, group) = (machine.name(), machine.group().unwrap_or_default());
        if self.arm.find(cx, machine.as_str(), api::MACHINES).await.is_ok_and(|found| found.is_some()) {
            return Error::rejected(format!(
                "`{name}` in `{group}` is an Arc machine, and not a VM of Azure Local"
            ))
            .code(ErrorCode::NOT_FOUND);
        }
        self.no_such_machine(&cx.into(), VM, machine).await
    }

    /// Says that a machine is not there, with what was perhaps meant.
    pub(crate) async fn no_such_machine(
        &self,
        origin: &Origin,
        kind: MachineKind,
        machine: &ResourceId,
    ) -> Error {
        let (name, group) = (machine.name(), machine.group().unwrap_or_default());
        // Only to help: whoever may not list gets the plain answer.
        let all = self.ids_of(origin, kind).await.unwrap_or_default();
        let elsewhere: Vec<&str> = all
            .iter()
            .filter(|id| id.name().eq_ignore_ascii_case(name))
            .filter_map(|id| id.group())
            .collect();
        if !elsewhere.is_empty() {
            return Error::rejected(format!(
                "there is no {} `{name}` in resource group `{group}`",
                kind.word
            ))
            .code(ErrorCode::NOT_FOUND)
            .hint(format!("there is one in {}: name that group", elsewhere.join(", ")));
        }
        not_found(kind, name, &format!("in resource group `{group}`"), all.iter())
    }
}

fn not_found<'a>(
    kind: MachineKind,
    name: &str,
    place: &str,
    all: impl Iterator<Item = &'a ResourceId> + Clone,
) -> Error {
    let word = kind.word;
    let error = Error::rejected(format!("there is no {word} `{name}` {place}")).code(ErrorCode::NOT_FOUND);
    let close = near(name, all.clone().map(ResourceId::name));
    if !close.is_empty() {
        return error.hint(format!("did you mean {}?", close.join(" or ")));
    }
    let some: Vec<&str> = all.map(ResourceId::name).take(5).collect();
    if some.is_empty() {
        return error
            .hint(format!("no {word} is visible there: check the subscription and the role (Reader)"));
    }
    error.hint(format!("there are for example {}", some.join(", ")))
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

fn id_of(resource: &Value) -> Option<ResourceId> {
    ResourceId::parse(text(resource, "/id")?).ok()
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

    #[test]
    fn a_missing_vm_comes_with_a_proposal() {
        let ids: Vec<ResourceId> = ["web-01", "db-01"]
            .iter()
            .map(|name| ResourceId::of_group("s", "g").unwrap().resource(MACHINE, name).unwrap())
            .collect();
        assert_eq!(not_found(VM, "web-1", "here", ids.iter()).hints(), ["did you mean web-01?"]);
        assert_eq!(
            not_found(VM, "zzzzzzzz", "here", ids.iter()).hints(),
            ["there are for example web-01, db-01"]
        );
    }
}
