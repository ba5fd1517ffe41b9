//! `compute::vms`: lists virtual machines in Azure.

use futures::{StreamExt, TryStreamExt};

use super::find::VMS;
use super::vm::Vm;
use crate::named::id_of;
use crate::prelude::*;

/// How many VMs of a list are read at the same time.
const AT_ONCE: usize = 8;

/// Lists the virtual machines in Azure of a resource group, or of the subscription, with their power states.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Resource group. The whole subscription when left out.
    #[serde(default)]
    group: Option<String>,
}

/// `compute::vms`.
pub(crate) struct ListVms(pub(crate) Azure);

impl Operation for ListVms {
    type Args = Args;
    type Output = Vec<Vm>;

    const NAME: &'static str = "compute::vms";
    const SUMMARY: &'static str = "Lists virtual machines in Azure with their power states.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Find what is off.",
                r#"compute::vms(#{ group: "rg-cloud" }).filter(|vm| vm.power_state == "deallocated").map(|vm| vm.name)"#,
            )
            .on("edge")
            .gives(json!(["batch-01"])),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Vec<Vm>>> {
        let origin = &cx.into();
        let ids = self.0.list_of(origin, VMS, args.group.as_deref()).await?;
        let ids: Vec<ResourceId> = ids.iter().filter_map(id_of).collect();
        // A list tells no power states: each VM is asked for its own.
        let reads = ids.into_iter().map(|id| async move { self.0.read_azure_vm(origin, &id).await });
        let vms: Vec<Option<Vm>> = futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let mut vms: Vec<Vm> = vms.into_iter().flatten().collect();
        vms.sort_by_key(|vm| (vm.group.to_lowercase(), vm.name.to_lowercase()));
        Ok(Outcome::done(vms))
    }
}
