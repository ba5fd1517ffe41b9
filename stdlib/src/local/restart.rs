//! `local::restart`: restarts an Azure Local VM.

use super::api;
use super::power::{Args, Change, Powered};
use crate::prelude::*;

fn change() -> Change {
    // Nothing about a VM tells that it was restarted, so a lost answer is for a person to judge.
    Change { action: "restart", api: api::POWER, body: None, goal: None, way: "Stopping" }
}

/// `local::restart`.
pub(crate) struct Restart(pub(crate) Azure);

impl Operation for Restart {
    type Args = Args;
    type Output = Powered;

    const NAME: &'static str = "local::restart";
    const SUMMARY: &'static str = "Restarts a VM that runs.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::AzureWrite];
    const REDO: Redo = Redo::Ask;
    const CODES: &'static [ErrorCode] =
        &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OFF, ErrorCode::OUT_OF_TOUCH];

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Restart a VM.", r#"local::restart("db-01").power_state"#)
                .on("edge")
                .gives(json!("Running")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Powered>> {
        change().begin(&self.0, cx, args).await
    }

    async fn resume(&self, cx: &Cx, _args: &Args, at: &Value) -> Result<Outcome<Powered>> {
        change().resume(&self.0, cx, at).await
    }

    async fn probe(&self, cx: &Cx, args: &Args) -> Result<Probe<Powered>> {
        change().settled(&self.0, cx, args).await
    }
}
