//! Status and result addresses of long-running operations.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Cx, errors::ArmError, extensions, machines};
use crate::{
    http::{Body, Call, Reply},
    world::{Failure, Operation, Shape},
};

/// The length of a status address under `long-poll-url`, as recorded from Azure.
const LONGEST: usize = 3200;

/// Notes a new operation and returns it.
pub(super) fn start(
    cx: &mut Cx<'_>,
    shape: Shape,
    resource: &str,
    running: &str,
    told: Option<Timestamp>,
    failure: Option<Failure>,
) -> Operation {
    let label = cx.world.next_label("operation");
    let seed = cx.world.seed();
    let id = match shape {
        Shape::Group | Shape::Extension => seed.uuid(&label),
        // The part behind the star is the same for all operations of a tenant.
        _ => format!("{}*{}", seed.uuid(&label), seed.hex("operations")),
    };
    let retry_after = match shape {
        // Status answers of VM actions were recorded without a header.
        Shape::VmAction => None,
        _ => Some(15),
    };
    let mut operation = Operation {
        id,
        shape,
        resource: resource.to_owned(),
        api_version: cx.version.clone(),
        started: cx.now,
        told,
        running: running.to_owned(),
        failure,
        retry_after,
        next_poll: None,
        ends_told: 0,
    };
    operation.asked_to_wait(cx.now);
    cx.world.operations.push(operation.clone());
    operation
}

/// Returns the absolute address where an operation can be asked for its status or its result.
pub(super) fn address(cx: &Cx<'_>, operation: &Operation, result: bool) -> String {
    let Operation { id, api_version, .. } = operation;
    let word = if result { "operationResults" } else { "operationStatuses" };
    let path = match operation.shape {
        Shape::Group => format!("/subscriptions/{}/operationresults/{id}", cx.world.subscription),
        Shape::VmAction => {
            let subscription = &cx.world.subscription;
            format!(
                "/subscriptions/{subscription}/providers/Microsoft.AzureStackHCI/locations/eastus/{word}/{id}"
            )
        }
        Shape::Extension => {
            let subscription = &cx.world.subscription;
            let word = if result { "operationresults" } else { "operationstatus" };
            format!(
                "/subscriptions/{subscription}/providers/Microsoft.HybridCompute/locations/eastus/{word}/{id}"
            )
        }
        Shape::ClusterStatus | Shape::ClusterResult => {
            // The region comes in capitals first and in small letters from the first poll on.
            let region = if is_poll_of(cx.call, id) { "eastus" } else { "EASTUS" };
            format!("/providers/Microsoft.AzureStackHCI/locations/{region}/{word}/{id}")
        }
    };
    // .NET ticks since the year 1, as Azure signs them; re-signed each time, and the older addresses stay good.
    let ticks = 621_355_968_000_000_000_i64 + cx.now.as_millisecond() * 10_000;
    let certificate =
        if cx.faults.has_long_addresses() { "A".repeat(LONGEST - 500) } else { "lab".to_owned() };
    let signature = sign(cx, id, &ticks.to_string());
    format!(
        "{}{path}?api-version={api_version}&t={ticks}&c={certificate}&s={signature}&h={}",
        cx.base,
        &signature[..16]
    )
}

/// Returns the signature of a status address, so that only addresses the lab gave out are good.
fn sign(cx: &Cx<'_>, id: &str, ticks: &str) -> String {
    let digest =
        Sha256::new().chain_update(&cx.world.client_secret).chain_update(id).chain_update(ticks).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_poll_of(call: &Call, id: &str) -> bool {
    call.segments().iter().any(|segment| segment == id)
}

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
        if operation.ends_told > 2 {
            cx.violations.push(format!("poll of {id} after its end had been told twice"));
        }
        let operation = operation.clone();
        return Ok(match operation.shape {
            Shape::Extension => extension_ended(cx, &operation, result),
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
        Shape::ClusterResult | Shape::Extension => Reply::empty(204),
        Shape::ClusterStatus => Reply::json(200, status_body(operation, word, true)),
        Shape::VmAction if !result => Reply::json(200, status_body(operation, word, true)),
        Shape::VmAction => match &operation.failure {
            Some(failure) => failed_result(failure),
            None => Reply::empty(200),
        },
    }
}

/// The end of work on an extension: its status has the whole resource, or nothing once that is gone.
fn extension_ended(cx: &Cx<'_>, operation: &Operation, result: bool) -> Reply {
    let mut parts = operation.resource.rsplitn(3, '/');
    let (name, _, machine) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    let all = || cx.world.extensions.iter().filter(|it| Some(it.name.as_str()) == name);
    let shown = all().map(|it| {
        let id = machines::id_of(cx, &it.group, &it.machine).unwrap_or_default();
        (id.eq_ignore_ascii_case(machine)).then(|| extensions::show(cx, &id, it))
    });
    let shown = shown.flatten().next();
    match (&operation.failure, shown, result) {
        (Some(failure), _, true) => failed_result(failure),
        (None, Some(shown), true) => Reply::json(200, shown),
        (None, None, true) => Reply::empty(204),
        (Some(failure), _, false) => {
            let mut body = brief(operation, "Failed");
            body["error"] = json!({"code": failure.code, "message": failure.message});
            Reply::json(200, body)
        }
        (None, shown, false) => {
            let mut body = brief(operation, "Succeeded");
            if let Some(shown) = shown {
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
