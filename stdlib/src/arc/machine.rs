//! `arc::machine`: reads one Arc machine.

use super::find::Machine;
use crate::prelude::*;

/// Reads one machine that is known to Azure Arc: whether its agent is in touch, and what runs on it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`. A VM of Azure Local is one, too.
    machine: Ref,
    /// Resource group. The configured group when left out; the whole subscription when there is none.
    #[serde(default)]
    group: Option<String>,
}

/// `arc::machine`.
pub(crate) struct ReadMachine(pub(crate) Azure);

impl Operation for ReadMachine {
    type Args = Args;
    type Output = Machine;

    const NAME: &'static str = "arc::machine";
    const SUMMARY: &'static str = "Reads one machine of Azure Arc.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new("See whether an agent is in touch.", r#"arc::machine("db-01").status"#)
                .on("edge")
                .gives(json!("Connected")),
            Example::new("A node of Azure Local is an Arc machine.", r#"arc::machine("hq-node1").os"#)
                .on("edge")
                .gives(json!("windows")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Machine>> {
        Ok(Outcome::done(self.0.find_machine(cx, &args.machine, args.group.as_deref()).await?))
    }
}
