//! Long-running operations, and the addresses at which they can be asked about.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Cx;
use crate::{
    http::Call,
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
        Shape::Group | Shape::Extension | Shape::Compute | Shape::Network => seed.uuid(&label),
        // The part behind the star is the same for all operations of a tenant.
        _ => format!("{}*{}", seed.uuid(&label), seed.hex("operations")),
    };
    let retry_after = match shape {
        // Status answers of VM actions were recorded without a header.
        Shape::VmAction => None,
        Shape::Compute => Some(10),
        // Recorded without a header.
        Shape::Network => None,
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
        result: None,
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
        // Both addresses are the same but for one parameter.
        Shape::Compute => {
            let subscription = &cx.world.subscription;
            format!(
                "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/eastus/operations/{id}"
            )
        }
        Shape::Network => {
            let subscription = &cx.world.subscription;
            let word = if result { "operationResults" } else { "operations" };
            format!("/subscriptions/{subscription}/providers/Microsoft.Network/locations/eastus/{word}/{id}")
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
    let monitor = if operation.shape == Shape::Compute && result { "&monitor=true" } else { "" };
    format!(
        "{}{path}?api-version={api_version}{monitor}&t={ticks}&c={certificate}&s={signature}&h={}",
        cx.base,
        &signature[..16]
    )
}

/// Returns the signature of a status address, so that only addresses the lab gave out are good.
pub(super) fn sign(cx: &Cx<'_>, id: &str, ticks: &str) -> String {
    sign_text(&cx.world.client_secret, &[id, ticks])
}

/// Returns a signature that only who knows the secret can make.
pub(super) fn sign_text(secret: &str, parts: &[&str]) -> String {
    let digest = parts.iter().fold(Sha256::new().chain_update(secret), |hash, part| hash.chain_update(part));
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_poll_of(call: &Call, id: &str) -> bool {
    call.segments().iter().any(|segment| segment == id)
}
