//! `schedule`: runs that are due later.

mod after;
mod at;
mod cancel;
mod cron;

use relight_engine::Registered;
use relight_engine::event::Schedule;

use crate::prelude::*;

/// Returns the operations of this area.
pub(crate) fn all() -> Vec<Registered> {
    vec![
        Registered::new(at::At),
        Registered::new(after::After),
        Registered::new(cron::Cron),
        Registered::new(cancel::Cancel),
    ]
}

/// A run that is due.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Scheduled {
    /// Id of the schedule, for `schedule::cancel` and for an operator.
    id: String,
    /// Runbook that will run.
    runbook: String,
    /// When it is due, the first time if it repeats.
    #[schemars(extend("format" = "date-time"))]
    due: String,
}

/// Makes a schedule. Its id follows from the step, so that making it twice makes one.
fn appoint(
    cx: &Cx,
    due: Timestamp,
    runbook: &str,
    params: &serde_json::Map<String, Value>,
    set: impl FnOnce(&mut Schedule),
) -> Result<Outcome<Scheduled>> {
    if runbook.trim().is_empty() {
        return Err(Error::invalid("the name of the runbook is missing"));
    }
    let mut schedule = cx.schedule(runbook, due).params(Value::Object(params.clone()));
    set(&mut schedule);
    let (id, runbook) = (schedule.id.clone(), schedule.runbook.clone());
    let value = Scheduled { id, runbook, due: format!("{due:.0}") };
    Ok(Outcome::done(value).with(Effected::Scheduled(Box::new(schedule))))
}
