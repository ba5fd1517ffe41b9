//! `local::stop`: shuts an Azure Local VM down.

use super::power::PowerAction;
use crate::prelude::*;

/// `local::stop`.
pub(crate) struct Stop;

impl PowerAction for Stop {
    const NAME: &'static str = "local::stop";
    const SUMMARY: &'static str = "Shuts a VM down and waits until it is off.";
    const ACTION: &'static str = "stop";
    const GOAL: Option<&'static str> = Some("Stopped");

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
}
