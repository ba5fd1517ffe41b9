//! `compute::start`, `restart`, `redeploy`, `power_off`, `deallocate`.

use super::power::PowerAction;
use crate::prelude::*;

fn example(title: &'static str, script: &'static str, value: Value) -> Vec<Example> {
    vec![Example::new(title, script).on("edge").gives(value)]
}

/// `compute::start`.
pub(super) struct Start;

impl PowerAction for Start {
    const NAME: &'static str = "compute::start";
    const SUMMARY: &'static str = "Starts a virtual machine in Azure and waits until it runs.";
    const ACTION: &'static str = "start";
    const GOAL: Option<&'static str> = Some("running");

    fn examples() -> Vec<Example> {
        let script = r#"compute::start("batch-01", #{ group: "rg-cloud" }).power_state"#;
        example("Start a VM that is off.", script, json!("running"))
    }
}

/// `compute::restart`.
pub(super) struct Restart;

impl PowerAction for Restart {
    const NAME: &'static str = "compute::restart";
    const SUMMARY: &'static str = "Restarts a virtual machine in Azure that runs.";
    const ACTION: &'static str = "restart";
    const GOAL: Option<&'static str> = None;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OFF];

    fn examples() -> Vec<Example> {
        let script = r#"compute::restart("jump-01", #{ group: "rg-cloud" }).changed"#;
        example("Restart a VM.", script, json!(true))
    }
}

/// `compute::redeploy`.
pub(super) struct Redeploy;

impl PowerAction for Redeploy {
    const NAME: &'static str = "compute::redeploy";
    const SUMMARY: &'static str =
        "Moves a virtual machine in Azure to another host and starts it there; its temporary disk is lost.";
    const ACTION: &'static str = "redeploy";
    const GOAL: Option<&'static str> = None;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OFF];

    fn examples() -> Vec<Example> {
        let script = r#"compute::redeploy("jump-01", #{ group: "rg-cloud" }).power_state"#;
        example("Get a VM away from its host.", script, json!("running"))
    }
}

/// `compute::power_off`.
pub(super) struct PowerOff;

impl PowerAction for PowerOff {
    const NAME: &'static str = "compute::power_off";
    const SUMMARY: &'static str =
        "Shuts a virtual machine in Azure down; it keeps its host and is still paid for.";
    const ACTION: &'static str = "powerOff";
    const GOAL: Option<&'static str> = Some("stopped");

    fn examples() -> Vec<Example> {
        let script = r#"compute::power_off("jump-01", #{ group: "rg-cloud" }).power_state"#;
        example("Shut a VM down.", script, json!("stopped"))
    }
}

/// `compute::deallocate`.
pub(super) struct Deallocate;

impl PowerAction for Deallocate {
    const NAME: &'static str = "compute::deallocate";
    const SUMMARY: &'static str = "Shuts a virtual machine in Azure down and gives its host back; a dynamic public address goes with it.";
    const ACTION: &'static str = "deallocate";
    const GOAL: Option<&'static str> = Some("deallocated");

    fn examples() -> Vec<Example> {
        let script = r#"compute::deallocate("jump-01", #{ group: "rg-cloud" }).power_state"#;
        example("Pay for a VM no longer.", script, json!("deallocated"))
    }
}
