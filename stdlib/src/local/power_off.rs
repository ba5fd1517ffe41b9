//! `local::power_off`: turns an Azure Local VM off at once.

use super::api;
use super::power::{Args, Change, Powered};
use crate::prelude::*;

fn change() -> Change {
    // `skipShutdown` is what makes it hard; without it the service asks the guest first.
    let body = json!({ "skipShutdown": true });
    Change {
        action: "powerOff",
        api: api::POWER_OFF,
        body: Some(body),
        goal: Some("Stopped"),
        way: "Stopping",
    }
}

/// `local::power_off`.
pub(crate) struct PowerOff(pub(crate) Azure);

impl Operation for PowerOff {
    type Args = Args;
    type Output = Powered;

    const NAME: &'static str = "local::power_off";
    const SUMMARY: &'static str = "Turns a VM off without asking its guest, like pulling the plug.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::AzureWrite];
    const REDO: Redo = Redo::Probe;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OUT_OF_TOUCH];

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Turn a VM off whose guest hangs.", r#"local::power_off("web-01").power_state"#)
                .on("edge")
                .gives(json!("Stopped")),
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
