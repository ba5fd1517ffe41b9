//! `local::stop`: shuts an Azure Local VM down.

use super::api;
use super::power::{Args, Change, Powered};
use crate::prelude::*;

fn change() -> Change {
    Change { action: "stop", api: api::POWER, body: None, goal: Some("Stopped"), way: "Stopping" }
}

/// `local::stop`.
pub(crate) struct Stop(pub(crate) Azure);

impl Operation for Stop {
    type Args = Args;
    type Output = Powered;

    const NAME: &'static str = "local::stop";
    const SUMMARY: &'static str = "Shuts a VM down and waits until it is off.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::AzureWrite];
    const REDO: Redo = Redo::Probe;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OUT_OF_TOUCH];

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Shut a VM down.", r#"local::stop("db-01").power_state"#)
                .on("edge")
                .gives(json!("Stopped")),
            Example::new("A VM that is off is left alone.", r#"local::stop("file-01").changed"#)
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
