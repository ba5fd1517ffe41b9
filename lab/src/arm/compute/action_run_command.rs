//! The action `runCommand`: a script that the agent of a VM runs, and whose output is the result of the operation.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{AzureVm, Cx, with_addresses};
use crate::{
    arm::{body::Fields, host::Host, names, operations, run_commands},
    arm_error::ArmError,
    faults::Work,
    http::Reply,
    machine::Os,
    world::{Outcome, Shape},
};

pub(super) fn run(cx: &mut Cx<'_>, vm: &AzureVm) -> Result<Reply, ArmError> {
    cx.only_query(&[])?;
    let body = cx.json_body()?;
    let fields = Fields::of(&body, "", &["commandId", "script", "parameters"])?;
    let wanted = match vm.os {
        Os::Linux => "RunShellScript",
        Os::Windows => "RunPowerShellScript",
    };
    let command = fields.required_text("commandId")?;
    if !command.eq_ignore_ascii_case(wanted) {
        let message = format!(
            "The entity name 'commandId' is not valid according to its validation rule: '{command}'."
        );
        return Err(ArmError::service(404, "NotFound", message));
    }
    let lines = fields.required_list("script")?.iter().map(|line| line.as_str().unwrap_or_default());
    let script = lines.collect::<Vec<_>>().join("\n");
    let mut parameters = run_commands::parameters(&fields, "parameters")?;
    // Recorded: on Linux they are told by their places.
    if vm.os == Os::Linux {
        parameters.iter_mut().zip(1..).for_each(|((name, _), place)| *name = format!("{place}"));
    }
    Host::Azure.check_takes_work(cx, &vm.group, &vm.name, "runCommand")?;
    let id = names::vm(cx, vm);
    if cx.world.operations.iter().any(|it| it.result.is_some() && it.resource == id && !it.is_over(cx.now)) {
        let message = "Run command extension execution is in progress. Please wait for completion before invoking a run command.";
        return Err(ArmError::service(409, "Conflict", message));
    }
    let (outcome, took) = run_commands::run(cx, [&vm.group, &vm.name], None, &script, &parameters, 90 * 60);
    let label = cx.world.next_label("run command action");
    let takes = cx.world.seed().seconds(&label, 20, 45) + SignedDuration::from_secs(took.cast_signed());
    let timing = cx.faults.timing(Work::Other, cx.now, takes);
    cx.effect = true;
    let mut operation = operations::start(cx, Shape::Compute, &id, "InProgress", timing.told, None);
    operation.result = Some(result(vm.os, &outcome));
    if let Some(last) = cx.world.operations.last_mut() {
        last.result.clone_from(&operation.result);
    }
    Ok(with_addresses(cx, Reply::empty(202), &operation))
}

/// Returns what is told of a script. Whether it failed is not among it.
fn result(os: Os, outcome: &Outcome) -> Value {
    let status = |code: &str, message: String| json!({"code": code, "level": "Info", "displayStatus": "Provisioning succeeded", "message": message});
    let Outcome { output, error, .. } = outcome;
    match os {
        Os::Linux => json!({"value": [status(
            "ProvisioningState/succeeded",
            format!("Enable succeeded: \n[stdout]\n{output}\n[stderr]\n{error}"),
        )]}),
        Os::Windows => json!({"value": [
            status("ComponentStatus/StdOut/succeeded", output.clone()),
            status("ComponentStatus/StdErr/succeeded", error.clone()),
        ]}),
    }
}
