//! `local::vms`: lists Azure Local VMs.

use super::Vm;
use crate::prelude::*;

/// Lists the VMs of a resource group, or of the subscription, in the order of their names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Resource group. The configured group when left out; `*` means the whole subscription.
    #[serde(default)]
    group: Option<String>,
}

/// `local::vms`.
pub(crate) struct ListVms(pub(crate) Azure);

impl Operation for ListVms {
    type Args = Args;
    type Output = Vec<Vm>;

    const NAME: &'static str = "local::vms";
    const SUMMARY: &'static str = "Lists the VMs of Azure Local.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Name the VMs that are off.",
                r#"local::vms().filter(|vm| vm.power_state == "Stopped").map(|vm| vm.name)"#,
            )
            .on("edge")
            .gives(json!(["file-01"])),
            Example::new("Count the VMs of the subscription.", r#"local::vms(#{ group: "*" }).len()"#)
                .on("edge")
                .gives(json!(6)),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Vec<Vm>>> {
        let group = self.0.group(args.group.as_deref()).filter(|group| *group != "*");
        Ok(Outcome::done(self.0.list_vms(cx, group).await?))
    }
}
