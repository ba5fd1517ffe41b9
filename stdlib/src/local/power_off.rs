//! `local::power_off`: turns an Azure Local VM off at once.

use super::api;
use super::power::PowerAction;
use crate::prelude::*;

/// `local::power_off`.
pub(crate) struct PowerOff;

impl PowerAction for PowerOff {
    const NAME: &'static str = "local::power_off";
    const SUMMARY: &'static str = "Turns a VM off without asking its guest, like pulling the plug.";
    const ACTION: &'static str = "powerOff";
    const GOAL: Option<&'static str> = Some("Stopped");
    const API: Api<'static> = api::POWER_OFF;

    fn body() -> Option<Value> {
        // `skipShutdown` is what makes it hard; without it the service asks the guest first.
        Some(json!({ "skipShutdown": true }))
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Turn a VM off whose guest hangs.", r#"local::power_off("web-01").power_state"#)
                .on("edge")
                .gives(json!("Stopped")),
        ]
    }
}
