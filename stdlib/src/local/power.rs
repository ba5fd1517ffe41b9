//! What start, stop, restart and power off have in common.
//!
//! ```text
//! begin ──► already so: Done without a request
//!   └─────► POST ──► Following ──► Settling ──► Done
//! ```
//!
//! The operation's own status is not trusted alone: each look also reads the VM, so that a status that never ends, or
//! one that ends before the VM is there, does not decide.

use super::Vm;
use super::find::instance_path;
use crate::prelude::*;

/// How often a VM is read while it settles.
const LOOK: Duration = Duration::from_secs(15);
/// How long a power change may take before a person is asked.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// One of the four power changes.
pub(super) struct Change {
    /// The last part of the path.
    pub(super) action: &'static str,
    pub(super) api: Api<'static>,
    pub(super) body: Option<Value>,
    /// The power state that is wished for; a restart has none of its own.
    pub(super) goal: Option<&'static str>,
    /// The power state on the way to it.
    pub(super) way: &'static str,
}

/// A VM after a power change.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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

impl Powered {
    fn of(vm: Vm, changed: bool) -> Self {
        Powered { id: vm.id, name: vm.name, power_state: vm.power_state, host: vm.host, changed }
    }
}

/// Changes the power state of a VM and waits until it is there. A VM that is as wished already is left alone. Azure's
/// status is not trusted alone: the VM itself is read as well.
///
/// Inferred: that `stop` asks the guest to shut down, as it does in the versions that also offer a hard `powerOff`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    pub(super) vm: Ref,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    pub(super) group: Option<String>,
}

/// What is stored while a power change is under way.
#[derive(Serialize, Deserialize)]
struct State {
    machine: ResourceId,
    at: At,
    /// Whether the VM was seen on its way: a restart is over when it runs again after that.
    #[serde(default)]
    was_moving: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum At {
    Following(Box<Lro>),
    Settling,
}

impl Change {
    fn is_reached(&self, vm: &Vm) -> bool {
        !vm.is_changing() && self.goal.is_some_and(|goal| vm.is(goal))
    }

    /// Returns whether the change is over, as far as the VM itself shows.
    fn is_over(&self, vm: &Vm, state: &State) -> bool {
        self.is_reached(vm) || state.was_moving && is_running(vm)
    }

    /// Sends the request, unless the VM is already as wished.
    pub(super) async fn begin(&self, azure: &Azure, cx: &Cx, args: &Args) -> Result<Outcome<Powered>> {
        let vm = azure.find_vm(cx, &args.vm, args.group.as_deref()).await?;
        if self.is_reached(&vm) {
            cx.progress(format!("{} is {} already", vm.name, vm.power_state), Some(100.0));
            return Ok(Outcome::done(Powered::of(vm, false)));
        }
        self.check(&vm)?;
        let path = format!("{}/{}", instance_path(&vm.id), self.action);
        let write = Write {
            method: Method::Post,
            path: &path,
            api: self.api,
            body: self.body.as_ref(),
            // The VM is read afterwards anyway, which is all the result there is.
            finish: FinalState::AzureAsyncOperation,
        };
        let mut state = State { machine: vm.id, at: At::Settling, was_moving: false };
        match azure.arm.write(cx, write).await? {
            Started::Pending(lro, wait) => {
                state.at = At::Following(lro);
                state.pending(wait, self.way, None)
            }
            Started::Done(_) => self.settle(azure, cx, state).await,
        }
    }

    pub(super) async fn resume(&self, azure: &Azure, cx: &Cx, at: &Value) -> Result<Outcome<Powered>> {
        let mut state: State = restored(self.action, at)?;
        let At::Following(lro) = state.at else {
            return self.settle(azure, cx, state).await;
        };
        state.at = At::Settling;
        match azure.arm.follow(cx, *lro).await {
            Ok(Advance::Done(_)) => self.settle(azure, cx, state).await,
            // Nor does a status that nobody gives hide that the VM is there.
            Err(error) if error.kind().is_retryable() => match azure.read_vm(cx, &state.machine).await {
                Ok(Some(vm)) if self.is_over(&vm, &state) => Ok(Outcome::done(Powered::of(vm, true))),
                _ => Err(error),
            },
            Err(error) => Err(explain(error)),
            Ok(Advance::Wait(lro, wait, note)) => {
                state.at = At::Following(lro);
                // A read that fails costs nothing, and must not make us ask for the status sooner than wanted.
                let vm = match azure.read_vm(cx, &state.machine).await {
                    Err(error) if error.kind().is_retryable() => None,
                    other => other?,
                };
                let Some(vm) = vm else {
                    return state.pending(wait, &note.status, note.percent);
                };
                if self.is_over(&vm, &state) {
                    return Ok(Outcome::done(Powered::of(vm, true)));
                }
                state.was_moving |= !is_running(&vm);
                state.pending(
                    wait,
                    &format!("{}: {} ({})", vm.name, vm.power_state, note.status),
                    note.percent,
                )
            }
        }
    }

    /// Looks for the trace of a request whose answer was lost: the power state tells.
    pub(super) async fn probe(&self, azure: &Azure, cx: &Cx, args: &Args) -> Result<Probe<Powered>> {
        let vm = azure.find_vm(cx, &args.vm, args.group.as_deref()).await?;
        if self.is_reached(&vm) {
            return Ok(Probe::Found(Outcome::done(Powered::of(vm, true))));
        }
        if vm.is(self.way) || self.goal.is_some_and(|goal| vm.is(goal)) || vm.is_changing() {
            let state = State { machine: vm.id, at: At::Settling, was_moving: true };
            return Ok(Probe::Found(state.pending(LOOK, &vm.status, None)?));
        }
        Ok(Probe::Absent)
    }

    /// Waits for the end of a change that a person says was made.
    pub(super) async fn settled(&self, azure: &Azure, cx: &Cx, args: &Args) -> Result<Probe<Powered>> {
        let vm = azure.find_vm(cx, &args.vm, args.group.as_deref()).await?;
        let state = State { machine: vm.id, at: At::Settling, was_moving: true };
        Ok(Probe::Found(self.settle(azure, cx, state).await?))
    }

    /// Reads the VM until it is as wished.
    async fn settle(&self, azure: &Azure, cx: &Cx, state: State) -> Result<Outcome<Powered>> {
        let gone =
            || Error::rejected(format!("`{}` is gone", state.machine.name())).code(ErrorCode::NOT_FOUND);
        let vm = azure.read_vm(cx, &state.machine).await?.ok_or_else(gone)?;
        if self.is_reached(&vm) || self.goal.is_none() && is_running(&vm) {
            return Ok(Outcome::done(Powered::of(vm, true)));
        }
        state.pending(LOOK, &format!("{}: {}", vm.name, vm.status), None)
    }

    fn check(&self, vm: &Vm) -> Result<()> {
        if self.goal.is_none() && vm.is("Stopped") {
            return Err(Error::rejected(format!("`{}` is off and cannot be restarted", vm.name))
                .code(ErrorCode::OFF)
                .hint("start it: local::start(vm)"));
        }
        Ok(())
    }
}

impl State {
    fn pending(&self, wait: Duration, said: &str, percent: Option<f64>) -> Result<Outcome<Powered>> {
        Ok(Outcome::pending(self, wait)?.within(LIMIT).saying(said, percent))
    }
}

/// Says of a failed change what a script can decide on. The words are those of the resource bridge, through which all
/// changes of VMs go.
fn explain(error: Error) -> Error {
    match error.service_code() {
        Some("Timeout") if error.message().contains("MocHealthChecker") => error
            .code(ErrorCode::OUT_OF_TOUCH)
            .hint("the instance's Arc resource bridge does not answer: check that it runs and reaches Azure"),
        Some("VirtualMachineNotRunning") => error.code(ErrorCode::OFF),
        _ => error,
    }
}

/// Returns whether a VM runs and nothing is being done to it.
fn is_running(vm: &Vm) -> bool {
    vm.is("Running") && !vm.is_changing()
}
