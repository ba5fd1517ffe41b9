//! From what a person types to a machine: of Azure Arc, or in Azure.

use relight_engine::{Error, ErrorCode, Result};
use relight_stdlib::azure::{Origin, ResourceId};
use relight_stdlib::{Azure, Ref};

/// Returns the resource id of a machine. Whether an id leads anywhere shows when it is used; a name is looked up.
///
/// # Errors
/// `Invalid` when it is neither a name nor an id, `NotFound` when it is nowhere.
pub(super) async fn named(azure: &Azure, text: &str) -> Result<ResourceId> {
    match Ref::parse(text)? {
        Ref::Id(id) => Ok(id),
        name => match azure.locate(&Origin::outside_runs(), &name, None).await {
            Ok(reached) => Ok(reached.id),
            Err(error) => Err(elsewhere(error)),
        },
    }
}

fn elsewhere(missing: Error) -> Error {
    match missing.error_code() == Some(&ErrorCode::NOT_FOUND) {
        true => missing.hint("a machine elsewhere is named by its resource id, or by --group"),
        false => missing,
    }
}

/// Returns an error with what to do about it: the machine is elsewhere, or lets nobody in yet.
pub(super) async fn advised(azure: &Azure, error: Error, machine: &ResourceId, place: &str) -> Error {
    if error.error_code() != Some(&ErrorCode::NOT_FOUND) {
        return error;
    }
    match azure.locate(&Origin::outside_runs(), &Ref::Id(machine.clone()), None).await {
        Err(missing) if missing.error_code() == Some(&ErrorCode::NOT_FOUND) => elsewhere(missing),
        _ => {
            let here = azure.group.as_deref().zip(machine.group());
            let is_here = here.is_some_and(|(own, its)| own.eq_ignore_ascii_case(its));
            let machine = if is_here { machine.name() } else { machine.as_str() };
            error.hint(format!("relight run enable-arc-ssh machine={machine}{place}"))
        }
    }
}
