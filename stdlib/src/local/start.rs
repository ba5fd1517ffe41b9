//! `local::start`: starts an Azure Local VM.

use super::api;
use super::power::{Args, Change, Powered};
use crate::prelude::*;

fn change() -> Change {
    Change { action: "start", api: api::POWER, body: None, goal: Some("Running"), way: "Starting" }
}

/// `local::start`.
pub(crate) struct Start(pub(crate) Azure);

impl Operation for Start {
    type Args = Args;
    type Output = Powered;

    const NAME: &'static str = "local::start";
    const SUMMARY: &'static str = "Starts a VM, or resumes a paused one, and waits until it runs.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::AzureWrite];
    const REDO: Redo = Redo::Probe;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OUT_OF_TOUCH];

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Start a VM that is off.", r#"local::start("file-01").power_state"#)
                .on("edge")
                .gives(json!("Running")),
            Example::new("A VM that runs is left alone.", r#"local::start("db-01").changed"#)
                .on("edge")
                .gives(json!(false)),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Powered>> {
        change().begin(&self.0, cx, args).await
    }

    async fn resume(&self, cx: &Cx, _args: &Args, at: &Value) -> Result<Outcome<Powered>> {
        change().resume(&self.0, cx, at).await
    }

    async fn probe(&self, cx: &Cx, args: &Args) -> Result<Probe<Powered>> {
        change().probe(&self.0, cx, args).await
    }
}
