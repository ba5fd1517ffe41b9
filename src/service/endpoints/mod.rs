//! What can be asked of the service: one type each, all of them in [`table`].

mod about;
mod leases;
mod runbooks;
mod runs;
mod schedules;
mod signals;
mod start;

use super::endpoint::Route;
use super::refusal::{Outcome, Refusal};

/// Returns every endpoint. The router goes by this, and the description is made of it.
pub(super) fn table() -> Vec<Route> {
    vec![
        Route::of::<about::Live>(),
        Route::of::<about::Ready>(),
        Route::of::<about::Metrics>(),
        Route::of::<about::Description>(),
        Route::of::<about::About>(),
        Route::of::<about::ReadAudit>(),
        Route::of::<runbooks::ListRunbooks>(),
        Route::of::<runbooks::ShowRunbook>(),
        Route::of::<start::StartRun>(),
        Route::of::<runs::ListRuns>(),
        Route::of::<runs::ShowRun>(),
        Route::of::<runs::FollowRun>(),
        Route::of::<runs::ReadRecords>(),
        Route::of::<runs::ReadTexts>(),
        Route::of::<runs::ReadOutput>(),
        Route::of::<signals::StopRun>(),
        Route::of::<signals::ResumeRun>(),
        Route::of::<signals::AnswerRun>(),
        Route::of::<leases::ListLeases>(),
        Route::of::<leases::CloseLease>(),
        Route::of::<schedules::ListSchedules>(),
        Route::of::<schedules::RemoveSchedule>(),
    ]
}

/// Returns how many are wanted at most, when that is said and no more than is allowed.
fn limit(given: Option<u16>, most: u16) -> Outcome<Option<usize>> {
    match given {
        Some(limit) if limit == 0 || limit > most => {
            Err(Refusal::bad(format!("`limit` is a number from 1 to {most}")))
        }
        limit => Ok(limit.map(usize::from)),
    }
}
