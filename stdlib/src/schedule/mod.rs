//! `schedule`: runs that are due later.

mod after;
mod at;

use relight_engine::Registered;

use crate::prelude::*;

/// Returns the operations of this area.
pub(crate) fn all() -> Vec<Registered> {
    vec![Registered::new(at::At), Registered::new(after::After)]
}

/// A run that is due.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Scheduled {
    /// Id of the schedule, by which an operator removes it.
    id: String,
    /// Runbook that will run.
    runbook: String,
    /// When it is due.
    #[schemars(extend("format" = "date-time"))]
    due: String,
}

/// Makes a schedule. Its id follows from the step, so that making it twice makes one. `closes` is the lease that it is
/// there to close.
fn appoint(
    cx: &Cx,
    due: Timestamp,
    runbook: &str,
    params: &Value,
    closes: Option<&str>,
) -> Result<Outcome<Scheduled>> {
    if runbook.trim().is_empty() {
        return Err(Error::invalid("the name of the runbook is missing"));
    }
    let mut schedule = cx.schedule(runbook, due).params(params.clone());
    schedule.closes = closes.map(str::to_owned);
    let (id, runbook) = (schedule.id.clone(), schedule.runbook.clone());
    let value = Scheduled { id, runbook, due: format!("{due:.0}") };
    Ok(Outcome::done(value).with(Effected::Scheduled(schedule)))
}
