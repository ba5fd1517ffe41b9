//! `extension_status`: says how an extension of a machine stands.

use std::marker::PhantomData;

use super::{Extension, Host};
use crate::prelude::*;

/// Reads one extension of a machine: its version, its state, and what it last said about itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// Name of the extension.
    name: String,
    /// Resource group of the machine. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// `extension_status`.
pub(super) struct ExtensionStatus<H>(Azure, PhantomData<H>);

impl<H> ExtensionStatus<H> {
    pub(super) fn new(azure: &Azure) -> Self {
        ExtensionStatus(azure.clone(), PhantomData)
    }
}

impl<H: Host> Operation for ExtensionStatus<H> {
    type Args = Args;
    type Output = Extension;

    const NAME: &'static str = H::STATUS.name;
    const SUMMARY: &'static str = H::STATUS.summary;
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        H::STATUS.examples()
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Extension>> {
        let machine = H::find(&self.0, cx, &args.machine, args.group.as_deref()).await?;
        let none = format!("`{}` has no extension `{}`", machine.id.name(), args.name);
        let found = self.0.find_extension::<H>(cx, &machine.extension(&args.name)?.id).await?;
        Ok(Outcome::done(found.ok_or_else(|| Error::rejected(none).code(ErrorCode::NOT_FOUND))?))
    }
}
