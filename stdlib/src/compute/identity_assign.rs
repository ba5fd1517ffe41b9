//! `compute::identity_assign`: lets a virtual machine in Azure sign in to Azure by itself.

use super::find::VMS;
use super::vm::Vm;
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};

/// Gives a virtual machine in Azure an identity of its own (system-assigned), and waits until it has one. Nothing is sent when it has one
/// already. With it the VM may do nothing yet: that takes roles. A VM to which other identities were assigned is left alone, since a
/// request that does not name them could take them away.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    vm: Ref,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// A VM with an identity of its own.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Assigned {
    /// Resource id of the VM.
    id: ResourceId,
    /// Name of the VM.
    name: String,
    /// Whether a request was sent. False when it had one already.
    changed: bool,
}

/// `compute::identity_assign`.
pub(super) struct IdentityAssign(pub(super) Azure);

impl DesiredState for IdentityAssign {
    type Args = Args;
    type Target = ResourceId;
    type Value = Assigned;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, _: &Args, id: &ResourceId, known: Known) -> Result<Look<Assigned>> {
        let gone = || Error::rejected(format!("`{}` is gone", id.name())).code(ErrorCode::NOT_FOUND);
        let vm = self.0.read_azure_vm(&cx.into(), id).await?.ok_or_else(gone)?;
        Ok(match () {
            () if vm.is_changing() => Look::Moving(format!("{}: {}", vm.name, vm.provisioning_state), None),
            () if vm.has_identity => {
                Look::Reached(Assigned { id: vm.id, name: vm.name, changed: known.sent })
            }
            () if vm.identity.is_some() => return Err(has_others(&vm)),
            () => Look::Away,
        })
    }

    fn doing(&self, id: &ResourceId) -> String {
        format!("an identity for {}", id.name())
    }

    fn request<'a>(&self, _: &'a Args, id: &'a ResourceId) -> Request<'a> {
        let body = json!({ "identity": { "type": "SystemAssigned" } });
        Request::new(Method::Patch, id.to_string(), VMS).body(body)
    }
}

impl ResourceOperation for IdentityAssign {
    const NAME: &'static str = "compute::identity_assign";
    const SUMMARY: &'static str = "Gives a virtual machine in Azure an identity of its own.";
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];
    const WITHIN: Duration = Duration::from_secs(20 * 60);

    fn examples() -> Vec<Example> {
        let script = r#"
            let vm = compute::vm("api-01", #{ group: "rg-cloud" });
            [vm.has_identity, compute::identity_assign(vm).changed, compute::vm(vm).has_identity]
        "#;
        vec![Example::new("Ready a VM for Entra ID.", script).on("edge").gives(json!([false, true, true]))]
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<ResourceId> {
        Ok(self.0.find_azure_vm(cx, &args.vm, args.group.as_deref()).await?.id)
    }
}

fn has_others(vm: &Vm) -> Error {
    Error::rejected(format!("`{}` has other identities, and none of its own", vm.name))
        .hint(format!("this leaves them as they are: az vm identity assign --ids {}", vm.id))
}
