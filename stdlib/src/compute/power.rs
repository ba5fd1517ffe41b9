//! What the power changes of virtual machines in Azure have in common.

use super::find::VMS;
use super::vm::Vm;
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};

/// One of the power changes.
pub(super) trait PowerAction: Send + Sync + 'static {
    const NAME: &'static str;
    const SUMMARY: &'static str;
    /// The last part of the path.
    const ACTION: &'static str;
    /// The power state that is wished for; a restart and a move to another host have none of their own.
    const GOAL: Option<&'static str>;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example>;
}

/// The operation of a power change.
pub(super) struct Power<A>(pub(super) Azure, pub(super) A);

/// A VM after a power change.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Powered {
    /// Resource id of the VM.
    id: ResourceId,
    /// Name of the VM.
    name: String,
    /// Power state now.
    power_state: String,
    /// Whether a request was sent. False when the VM was already as wished.
    changed: bool,
}

/// Changes the power state of a virtual machine in Azure and waits until it is there. A VM that is as wished already is left
/// alone, and one on which something else is being done is waited for first. Azure's status is not trusted alone: the VM itself is
/// read too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    vm: Ref,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

impl<A: PowerAction> DesiredState for Power<A> {
    type Args = Args;
    type Target = ResourceId;
    type Value = Powered;

    // Nothing about a VM tells that it was restarted, so a lost answer is for a person to judge.
    const REDO: Redo = if A::GOAL.is_some() { Redo::Probe } else { Redo::Ask };

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, _args: &Args, vm: &ResourceId, known: Known) -> Result<Look<Powered>> {
        let gone = || Error::rejected(format!("`{}` is gone", vm.name())).code(ErrorCode::NOT_FOUND);
        let vm = self.0.read_azure_vm(&cx.into(), vm).await?.ok_or_else(gone)?;
        let is_restarted = || vm.is("running") && (known.moved || known.over);
        if A::GOAL.map_or_else(is_restarted, |goal| vm.is(goal)) && !vm.is_changing() {
            let Vm { id, name, power_state, .. } = vm;
            return Ok(Look::Reached(Powered { id, name, power_state, changed: known.sent }));
        }
        if A::GOAL.is_none() && vm.is_off() && !vm.is_changing() && !known.sent {
            return Err(vm.is_not_running());
        }
        Ok(match is_moving(&vm) {
            true => Look::Moving(format!("{}: {}", vm.name, vm.power_state), None),
            false => Look::Away,
        })
    }

    fn doing(&self, vm: &ResourceId) -> String {
        format!("{}: {}", vm.name(), A::ACTION)
    }

    fn request<'a>(&self, _args: &'a Args, vm: &'a ResourceId) -> Request<'a> {
        Request::new(Method::Post, format!("{vm}/{}", A::ACTION), VMS)
    }

    async fn explain(&self, _cx: &Cx, _vm: &ResourceId, error: Error) -> Error {
        match error.service_code() {
            Some("AllocationFailed" | "ZonalAllocationFailed" | "OverconstrainedAllocationRequest" | "SkuNotAvailable") => {
                error.hint("the region has no room for this size now: try again later, or resize the VM (az vm list-vm-resize-options)")
            }
            _ => error,
        }
    }
}

impl<A: PowerAction> ResourceOperation for Power<A> {
    const NAME: &'static str = A::NAME;
    const SUMMARY: &'static str = A::SUMMARY;
    const CODES: &'static [ErrorCode] = A::CODES;
    const WITHIN: Duration = Duration::from_secs(30 * 60);

    fn examples() -> Vec<Example> {
        A::examples()
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<ResourceId> {
        Ok(self.0.find_azure_vm(cx, &args.vm, args.group.as_deref()).await?.id)
    }
}

/// Returns whether a VM is on its way to another state.
fn is_moving(vm: &Vm) -> bool {
    vm.is_changing() || ["starting", "stopping", "deallocating"].iter().any(|state| vm.is(state))
}
