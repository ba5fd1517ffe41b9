//! What can be asked of the service: one type each, all of them in [`table`].

mod about;
mod add_schedule;
mod files;
mod leases;
mod notifications;
mod queue;
mod runbooks;
mod runs;
mod schedules;
mod signals;
mod start;
mod ticks;

use super::endpoint::Route;

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
        Route::of::<queue::ReadQueue>(),
        Route::of::<runs::ShowRun>(),
        Route::of::<runs::FollowRun>(),
        Route::of::<runs::ReadRecords>(),
        Route::of::<runs::ReadTexts>(),
        Route::of::<runs::ReadOutput>(),
        Route::of::<files::ReadFile>(),
        Route::of::<signals::StopRun>(),
        Route::of::<signals::ResumeRun>(),
        Route::of::<signals::AnswerRun>(),
        Route::of::<leases::ListLeases>(),
        Route::of::<leases::CloseLease>(),
        Route::of::<leases::ExtendLease>(),
        Route::of::<schedules::ListSchedules>(),
        Route::of::<add_schedule::AddSchedule>(),
        Route::of::<schedules::ShowSchedule>(),
        Route::of::<schedules::RemoveSchedule>(),
        Route::of::<schedules::PauseSchedule>(),
        Route::of::<schedules::ResumeSchedule>(),
        Route::of::<schedules::TriggerSchedule>(),
        Route::of::<schedules::BackfillSchedule>(),
        Route::of::<ticks::ReadHistory>(),
        Route::of::<ticks::ReadTicks>(),
        Route::of::<notifications::ListNotifications>(),
    ]
}
