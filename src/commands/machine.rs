//! From what a person types to an Arc machine.

use relight_engine::{Error, ErrorCode, Result};
use relight_stdlib::azure::{Origin, ResourceId};
use relight_stdlib::{Azure, Ref};

/// Returns the resource id of a machine. Whether it is there shows when it is used, unless it must be looked for.
///
/// # Errors
/// `Invalid` when it is neither a name nor an id, `NotFound` when it is nowhere.
pub(super) async fn named(azure: &Azure, text: &str) -> Result<ResourceId> {
    match (Ref::parse(text)?, &azure.subscription, &azure.group) {
        (Ref::Id(id), ..) => Ok(id),
        (Ref::Name(name), Some(subscription), Some(group)) => ResourceId::parse(&format!(
            "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.HybridCompute/machines/{name}"
        )),
        (name, ..) => azure.locate_machine(&Origin::outside_runs(), &name).await,
    }
}

/// Returns an error with what to do about it: the machine is elsewhere, or lets nobody in yet.
pub(super) async fn advised(azure: &Azure, error: Error, machine: &ResourceId, place: &str) -> Error {
    if error.error_code() != Some(&ErrorCode::NOT_FOUND) {
        return error;
    }
    match azure.locate_machine(&Origin::outside_runs(), &Ref::Id(machine.clone())).await {
        Err(missing) if missing.error_code() == Some(&ErrorCode::NOT_FOUND) => {
            missing.hint("a machine elsewhere is named by its resource id, or by --group")
        }
        _ => {
            let here = azure.group.as_deref().zip(machine.group());
            let is_here = here.is_some_and(|(own, its)| own.eq_ignore_ascii_case(its));
            let machine = if is_here { machine.name() } else { machine.as_str() };
            error.hint(format!("relight run enable-arc-ssh machine={machine}{place}"))
        }
    }
}
