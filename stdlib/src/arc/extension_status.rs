//! `arc::extension_status`: says how an extension of an Arc machine stands.

use super::extension::Extension;
use crate::prelude::*;

/// Reads one extension of an Arc machine: its version, its state, and what it last said about itself.
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

/// `arc::extension_status`.
pub(crate) struct ExtensionStatus(pub(crate) Azure);

impl Operation for ExtensionStatus {
    type Args = Args;
    type Output = Extension;

    const NAME: &'static str = "arc::extension_status";
    const SUMMARY: &'static str = "Reads one extension of an Arc machine.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "See which version is installed.",
                r#"arc::extension_status("db-01", "AzureMonitorWindowsAgent").version"#,
            )
            .on("edge")
            .gives(json!("1.31.0.0")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Extension>> {
        let machine = self.0.find_machine(cx, &args.machine, args.group.as_deref()).await?;
        let none = format!("`{}` has no extension `{}`", machine.name, args.name);
        let found = self.0.find_extension(cx, &machine.extension(&args.name)?.id).await?;
        Ok(Outcome::done(found.ok_or_else(|| Error::rejected(none).code(ErrorCode::NOT_FOUND))?))
    }
}
