//! `machine::find`: finds a machine, of whichever kind it is.

use super::locate::{Kind, Reached};
use crate::prelude::*;

/// Finds a machine that people sign in to: one of Azure Arc, such as a VM of Azure Local, or a virtual machine in Azure. A name that
/// both have means the Arc machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// Resource group. The configured group when left out; the whole subscription when there is none.
    #[serde(default)]
    group: Option<String>,
}

/// A machine.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Found {
    /// Resource id: what other operations take.
    id: ResourceId,
    /// Name.
    name: String,
    /// Whose agent it has: arc, or azure.
    kind: Kind,
    /// The kind of operating system, windows or linux, where Azure knows it.
    os: Option<String>,
}

/// `machine::find`.
pub(super) struct FindMachine(pub(super) Azure);

impl Operation for FindMachine {
    type Args = Args;
    type Output = Found;

    const NAME: &'static str = "machine::find";
    const SUMMARY: &'static str = "Finds a machine of Azure Arc, or a virtual machine in Azure.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        let script =
            r#"[machine::find("db-01").kind, machine::find("jump-01", #{ group: "rg-cloud" }).kind]"#;
        vec![Example::new("Tell the two kinds apart.", script).on("edge").gives(json!(["arc", "azure"]))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Found>> {
        let found = self.0.locate(&cx.into(), &args.machine, args.group.as_deref()).await?;
        let kind = found.kind();
        let Reached { id, os } = found;
        Ok(Outcome::done(Found { name: id.name().to_owned(), kind, os, id }))
    }
}
