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
use super::find::{instance_path, machine_id};
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
        Powered {
            id: vm.id,
            name: vm.name,
            power_state: vm.power_state,
            host: vm.host,
            changed,
        }
    }
}

/// Which VM to start, stop or restart.
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

    /// Sends the request, unless the VM is already as wished.
    pub(super) async fn begin(
        &self,
        azure: &Azure,
        cx: &Cx,
        args: &Args,
    ) -> Result<Outcome<Powered>> {
        let vm = azure.find_vm(cx, &args.vm, args.group.as_deref()).await?;
        if self.is_reached(&vm) {
            cx.progress(
                format!("{} is {} already", vm.name, vm.power_state),
                Some(100.0),
            );
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
        match azure.arm.write(cx, write).await? {
            Started::Pending(lro, wait) => {
                self.pending(vm.id, At::Following(lro), wait, self.way, None)
            }
            Started::Done(_) => self.settle(azure, cx, vm.id).await,
        }
    }

    pub(super) async fn resume(
        &self,
        azure: &Azure,
        cx: &Cx,
        at: &Value,
    ) -> Result<Outcome<Powered>> {
        let State { machine, at } = restored(self.action, at)?;
        match at {
            At::Settling => self.settle(azure, cx, machine).await,
            At::Following(lro) => match azure.arm.follow(cx, *lro).await? {
                Advance::Done(_) => self.settle(azure, cx, machine).await,
                Advance::Wait(lro, wait, note) => {
                    let vm = self.read(azure, cx, &machine).await?;
                    if self.is_reached(&vm) {
                        return Ok(Outcome::done(Powered::of(vm, true)));
                    }
                    let said = format!("{}: {} ({})", vm.name, vm.power_state, note.status);
                    self.pending(machine, At::Following(lro), wait, &said, note.percent)
                }
            },
        }
    }

    /// Looks for the trace of a request whose answer was lost: the power state tells.
    pub(super) async fn probe(
        &self,
        azure: &Azure,
        cx: &Cx,
        args: &Args,
    ) -> Result<Probe<Powered>> {
        let vm = azure.find_vm(cx, &args.vm, args.group.as_deref()).await?;
        if self.is_reached(&vm) {
            return Ok(Probe::Found(Outcome::done(Powered::of(vm, true))));
        }
        if vm.is(self.way) || self.goal.is_some_and(|goal| vm.is(goal)) || vm.is_changing() {
            let said = vm.status.clone();
            return Ok(Probe::Found(self.pending(
                vm.id,
                At::Settling,
                LOOK,
                &said,
                None,
            )?));
        }
        Ok(Probe::Absent)
    }

    /// Reads the VM until it is as wished.
    async fn settle(
        &self,
        azure: &Azure,
        cx: &Cx,
        machine: ResourceId,
    ) -> Result<Outcome<Powered>> {
        let vm = self.read(azure, cx, &machine).await?;
        let is_there =
            self.is_reached(&vm) || self.goal.is_none() && vm.is("Running") && !vm.is_changing();
        if is_there {
            return Ok(Outcome::done(Powered::of(vm, true)));
        }
        let said = format!("{}: {}", vm.name, vm.status);
        self.pending(machine, At::Settling, LOOK, &said, None)
    }

    async fn read(&self, azure: &Azure, cx: &Cx, machine: &ResourceId) -> Result<Vm> {
        azure
            .read_vm(cx, machine)
            .await?
            .ok_or_else(|| Error::rejected(format!("`{}` is gone", machine.name())))
    }

    fn check(&self, vm: &Vm) -> Result<()> {
        if self.goal.is_none() && vm.is("Stopped") {
            return Err(
                Error::rejected(format!("`{}` is off and cannot be restarted", vm.name))
                    .hint("start it: local::start(vm)"),
            );
        }
        machine_id(&vm.id).map(drop)
    }

    fn pending(
        &self,
        machine: ResourceId,
        at: At,
        wait: Duration,
        said: &str,
        percent: Option<f64>,
    ) -> Result<Outcome<Powered>> {
        Ok(Outcome::pending(&State { machine, at }, wait)?
            .within(LIMIT)
            .saying(said, percent))
    }
}
