//! `machine::diagnose`: says which road into a machine works, and what blocks the others.

use relight_engine::Registered;

use super::{Diagnosis, Patient};
use crate::prelude::*;

/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(15);

/// Returns the operation of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![Registered::new(Diagnose(azure.clone()))]
}

/// Looks at every road into a machine, and changes nothing: SSH, run commands, RDP over SSH; for a VM of Azure Local VM Connect, too, and for a VM in
/// Azure its serial log. What cannot be looked at within 15 seconds is unknown. Whatever is in the way is part of the
/// value, and no error.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// Port of its SSH server; the one that is let in when left out.
    #[serde(default)]
    port: Option<u16>,
    /// Resource group of the machine. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// `machine::diagnose`.
struct Diagnose(Azure);

impl Operation for Diagnose {
    type Args = Args;
    type Output = Diagnosis;

    const NAME: &'static str = "machine::diagnose";
    const SUMMARY: &'static str = "Says which roads into a machine work, and what blocks the others.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::NetProbe];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "See what keeps SSH from a machine.",
                r#"
                    let ssh = machine::diagnose("db-01").roads.filter(|it| it.name == "ssh")[0];
                    [ssh.verdict, ssh.next.step.runbook]
                "#,
            )
            .on("edge")
            .gives(json!(["blocked", "enable-arc-ssh"])),
        ]
    }

    async fn begin(&self, _cx: &Cx, args: &Args) -> Result<Outcome<Diagnosis>> {
        let patient = Patient { machine: &args.machine, group: args.group.as_deref(), port: args.port };
        Ok(Outcome::done(self.0.diagnose(&patient, WITHIN).await?))
    }
}
