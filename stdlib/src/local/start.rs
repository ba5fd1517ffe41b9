//! `local::start`: starts an Azure Local VM.

use super::power::PowerAction;
use crate::prelude::*;

/// `local::start`.
pub(crate) struct Start;

impl PowerAction for Start {
    const NAME: &'static str = "local::start";
    const SUMMARY: &'static str = "Starts a VM, or resumes a paused one, and waits until it runs.";
    const ACTION: &'static str = "start";
    const GOAL: Option<&'static str> = Some("Running");

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
}
