//! What a status or result address answers.

use serde_json::{Map, Value, json};

use super::{
    Cx, extensions,
    host::Host,
    operations::{address, sign},
    run_commands,
};
use crate::{
    arm_error::ArmError,
    http::{Body, Reply},
    world::{Failure, Operation, Shape},
};

/// Answers a poll.
pub(super) fn poll(cx: &mut Cx<'_>, id: &str, result: bool) -> Result<Reply, ArmError> {
    cx.read_only()?;
    let known = |operation: &Operation| operation.id == id && !cx.faults.forgets_operations();
    let Some(place) = cx.world.operations.iter().position(known) else {
        let message = format!("The operation '{id}' could not be found.");
        return Err(ArmError::service(404, "NotFound", message));
    };
    let ticks = cx.call.query("t").unwrap_or_default();
    if cx.call.query("s") != Some(sign(cx, id, ticks).as_str()) {
        cx.violations.push(format!("status address of {id} was rebuilt: its signature does not match"));
        let message = "The status address must be used exactly as it was given out.";
        return Err(ArmError::gateway(400, "InvalidOperationAddress", message));
    }
    let operation = cx.world.operations[place].clone();
    if let Some(seconds) = operation.too_early(cx.now) {
        cx.violations
            .push(format!("poll of {id} came {seconds} s before the Retry-After it was given had passed"));
        let message =
            format!("The status was asked for too early. Please try again after '{seconds}' seconds.");
        return Ok(ArmError::gateway(429, "TooManyRequests", message)
            .into_reply()
            .with("Retry-After", seconds.to_string()));
    }

    if operation.is_over(cx.now) {
        let operation = &mut cx.world.operations[place];
        operation.ends_told += 1;
        // One repeat is forgiven: the client may have died before it wrote down what it was told.
        // What is handed out beside the status is asked for in its turn.
        let most = if operation.result.is_some() { 4 } else { 2 };
        if operation.ends_told > most {
            cx.violations.push(format!("poll of {id} after its end had been told twice"));
        }
        let operation = operation.clone();
        return Ok(match operation.shape {
            Shape::Extension => extension_ended(cx, Host::Arc, &operation, result),
            Shape::Compute => extension_ended(cx, Host::Azure, &operation, result),
            _ => ended(&operation, result),
        });
    }
    cx.world.operations[place].asked_to_wait(cx.now);
    Ok(running(cx, &operation, result))
}

fn running(cx: &Cx<'_>, operation: &Operation, result: bool) -> Reply {
    let again = address(cx, operation, result);
    let mut reply = match operation.shape {
        Shape::ClusterStatus => {
            let body = Reply::json(202, status_body(operation, &operation.running, false));
            body.with("Azure-AsyncOperation", again.clone()).with("Location", again)
        }
        Shape::VmAction if !result => Reply::json(200, status_body(operation, &operation.running, false)),
        Shape::Network if !result => Reply::json(200, json!({"status": operation.running})),
        Shape::Compute if !result => Reply::json(200, brief(operation, &operation.running)),
        Shape::Extension if !result => {
            let body = Reply::json(200, brief(operation, &operation.running));
            body.with("Azure-AsyncOperation", again.clone())
        }
        _ => Reply::empty(202).with("Location", again),
    };
    if let Some(seconds) = operation.retry_after {
        reply = reply.with("Retry-After", seconds.to_string());
    }
    reply
}

fn ended(operation: &Operation, result: bool) -> Reply {
    let word = if operation.failure.is_some() { "Failed" } else { "Succeeded" };
    match operation.shape {
        Shape::Group => Reply::empty(200),
        Shape::ClusterResult | Shape::Extension | Shape::Compute => Reply::empty(204),
        Shape::Network if !result => match &operation.failure {
            None => Reply::json(200, json!({"status": "Succeeded"})),
            Some(failure) => {
                let error = json!({"code": failure.code, "message": failure.message, "details": []});
                Reply::json(200, json!({"status": "Failed", "error": error}))
            }
        },
        Shape::Network => {
            operation.result.clone().map_or_else(|| Reply::empty(204), |it| Reply::json(200, it))
        }
        Shape::ClusterStatus => Reply::json(200, status_body(operation, word, true)),
        Shape::VmAction if !result => Reply::json(200, status_body(operation, word, true)),
        Shape::VmAction => match &operation.failure {
            Some(failure) => failed_result(failure),
            None => Reply::empty(200),
        },
    }
}

/// The end of work on an extension: its status has the whole resource, or nothing once that is gone. So it is with all work on
/// a VM in Azure.
fn extension_ended(cx: &Cx<'_>, host: Host, operation: &Operation, result: bool) -> Reply {
    let mut parts = operation.resource.rsplitn(3, '/');
    let (name, _, machine) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    let all = || cx.world.extensions.iter().filter(|it| Some(it.name.as_str()) == name);
    let shown = all().map(|it| {
        let id = host.id(cx, &it.group, &it.machine).unwrap_or_default();
        (id.eq_ignore_ascii_case(machine)).then(|| extensions::show(cx, host, &id, it))
    });
    let commands = cx.world.run_commands.iter().filter(|it| Some(it.name.as_str()) == name);
    let mut ran = commands.filter(|_| operation.resource.contains("/runCommands/")).filter_map(|it| {
        let id = host.id(cx, &it.group, &it.machine).unwrap_or_default();
        id.eq_ignore_ascii_case(machine).then(|| run_commands::show(cx, host, &id, it))
    });
    let shown = match operation.resource.contains("/runCommands/") {
        true => ran.next(),
        false => shown.flatten().next(),
    };
    if let Some(handed_out) = &operation.result {
        return match result {
            true => Reply::json(200, handed_out.clone()),
            false => {
                let mut body = brief(operation, "Succeeded");
                body["properties"] = json!({"output": handed_out});
                Reply::json(200, body)
            }
        };
    }
    match (&operation.failure, shown, result) {
        (Some(failure), _, true) => failed_result(failure),
        (None, Some(shown), true) => Reply::json(200, shown),
        (None, None, true) if host == Host::Azure => Reply::empty(200),
        (None, None, true) => Reply::empty(204),
        (Some(failure), _, false) => {
            let mut body = brief(operation, "Failed");
            body["error"] = json!({"code": failure.code, "message": failure.message});
            Reply::json(200, body)
        }
        (None, shown, false) => {
            let mut body = brief(operation, "Succeeded");
            if let Some(shown) = shown.filter(|_| host == Host::Arc) {
                body["properties"] = shown;
            }
            Reply::json(200, body)
        }
    }
}

/// The status of work on an extension, which has no id.
fn brief(operation: &Operation, word: &str) -> Value {
    json!({"name": operation.id, "status": word, "startTime": operation.started.to_string()})
}

fn failed_result(failure: &Failure) -> Reply {
    let error = json!({"code": failure.code, "message": failure.message});
    Reply { body: Body::Json(json!({"error": error})), ..Reply::empty(409) }
        .with("x-ms-failure-cause", "service")
}

fn status_body(operation: &Operation, word: &str, over: bool) -> Value {
    let Operation { id, resource, started, .. } = operation;
    let mut body = Map::new();
    body.insert(
        "id".into(),
        json!(format!("/providers/Microsoft.AzureStackHCI/locations/EASTUS/operationStatuses/{id}")),
    );
    body.insert("name".into(), json!(id));
    body.insert("resourceId".into(), json!(resource));
    body.insert("status".into(), json!(word));
    body.insert("startTime".into(), json!(started.to_string()));
    if over {
        body.insert("endTime".into(), json!(operation.told.map(|told| told.to_string())));
        match &operation.failure {
            Some(failure) => {
                body.insert("error".into(), json!({"code": failure.code, "message": failure.message}));
            }
            None => {
                body.insert("properties".into(), Value::Null);
            }
        }
    }
    Value::Object(body)
}
