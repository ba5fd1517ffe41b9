//! `local::restart`: restarts an Azure Local VM.

use super::power::PowerAction;
use crate::prelude::*;

/// `local::restart`.
pub(crate) struct Restart;

impl PowerAction for Restart {
    const NAME: &'static str = "local::restart";
    const SUMMARY: &'static str = "Restarts a VM that runs.";
    const ACTION: &'static str = "restart";
    const GOAL: Option<&'static str> = None;
    const CODES: &'static [ErrorCode] =
        &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OFF, ErrorCode::OUT_OF_TOUCH];

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Restart a VM.", r#"local::restart("db-01").power_state"#)
                .on("edge")
                .gives(json!("Running")),
        ]
    }
}
