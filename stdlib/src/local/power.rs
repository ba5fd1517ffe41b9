//! What start, stop, restart and power off have in common.

use super::Vm;
use super::api;
use super::find::instance_path;
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};

/// One of the four power changes.
pub(super) trait PowerAction: Send + Sync + 'static {
    const NAME: &'static str;
    const SUMMARY: &'static str;
    /// The last part of the path.
    const ACTION: &'static str;
    /// The power state that is wished for; a restart has none of its own.
    const GOAL: Option<&'static str>;
    const API: Api<'static> = api::POWER;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OUT_OF_TOUCH];

    fn body() -> Option<Value> {
        None
    }

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
    /// Node that runs it.
    host: Option<String>,
    /// Whether a request was sent. False when the VM was already as wished.
    changed: bool,
}

/// Changes the power state of a VM and waits until it is there. A VM that is as wished already is left alone, and one on
/// which something else is being done is waited for first. Azure's status is not trusted alone: the VM itself is read too.
///
/// Inferred: that `stop` asks the guest to shut down, as it does in the versions that also offer a hard `powerOff`.
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
        let vm = self.0.read_vm(cx, vm).await?.ok_or_else(gone)?;
        let is_restarted = || vm.is("Running") && (known.moved || known.over);
        let is_there = A::GOAL.map_or_else(is_restarted, |goal| vm.is(goal));
        if is_there && !vm.is_changing() {
            return Ok(Look::Reached(Powered {
                id: vm.id,
                name: vm.name,
                power_state: vm.power_state,
                host: vm.host,
                changed: known.sent,
            }));
        }
        if A::GOAL.is_none() && vm.is("Stopped") && !known.sent {
            return Err(Error::rejected(format!("`{}` is off and cannot be restarted", vm.name))
                .code(ErrorCode::OFF)
                .hint("start it: local::start(vm)"));
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
        let path = format!("{}/{}", instance_path(vm), A::ACTION);
        Request::new(Method::Post, path, A::API).body(A::body())
    }

    /// Says of a failed change what a script can decide on. The words are those of the resource bridge, through which all
    /// changes of VMs go.
    async fn explain(&self, _cx: &Cx, _vm: &ResourceId, error: Error) -> Error {
        match error.service_code() {
            Some("Timeout") if error.message().contains("MocHealthChecker") => error
                .code(ErrorCode::OUT_OF_TOUCH)
                .hint("the instance's Arc resource bridge does not answer: check that it runs and reaches Azure"),
            Some("VirtualMachineNotRunning") => error.code(ErrorCode::OFF),
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
        Ok(self.0.find_vm(cx, &args.vm, args.group.as_deref()).await?.id)
    }
}

/// Returns whether a VM is on its way to another state.
fn is_moving(vm: &Vm) -> bool {
    vm.is_changing() || vm.is("Starting") || vm.is("Stopping")
}
