//! What is scheduled.

use async_trait::async_trait;
use hyper::Method;
use relight_engine::ErrorKind;
use relight_engine::event::Schedule;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::call::Call;
use super::super::endpoint::{Endpoint, Needs, NoBody, NoQuery};
use super::super::refusal::{Outcome, Refusal};
use super::super::reply::{Json, Nothing};
use super::super::tokens::Role;
use super::super::views::ScheduleView;

/// What is scheduled, the next due first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Schedules")]
pub(super) struct Schedules {
    schedules: Vec<ScheduleView>,
}

/// What is scheduled.
pub(super) struct ListSchedules;

#[async_trait]
impl Endpoint for ListSchedules {
    const NAME: &'static str = "list_schedules";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/schedules";
    const SUMMARY: &'static str =
        "Lists the schedules of the runbooks that the token reaches, the next due first.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The schedules.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<Schedules>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<Schedules>> {
        let schedules = reached(call).await?;
        Ok(Json::new(Schedules { schedules: schedules.iter().map(ScheduleView::of).collect() }))
    }
}

/// Removes one.
pub(super) struct RemoveSchedule;

#[async_trait]
impl Endpoint for RemoveSchedule {
    const NAME: &'static str = "remove_schedule";
    const METHOD: Method = Method::DELETE;
    const PATH: &'static str = "/v1/schedules/{schedule}";
    const SUMMARY: &'static str = "Removes a schedule. Runs that it started go on.";
    const NEEDS: Needs = Needs::Role(Role::Admin);
    const CHANGES: bool = true;
    const GRANTED: &'static [(u16, &'static str)] = &[(204, "It is gone.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Nothing;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Nothing> {
        let id = call.place("schedule");
        let nothing = || {
            Refusal::not_found(format!("there is no schedule `{}`", id.escape_debug()))
                .hint("list them: GET /v1/schedules")
        };
        if !reached(call).await?.iter().any(|schedule| schedule.id == id) {
            return Err(nothing());
        }
        match call.shared.engine.remove_schedule(id).await {
            // Somebody else was faster.
            Err(error) if error.kind() == ErrorKind::Invalid => Err(nothing()),
            removed => Ok(removed.map(|()| Nothing)?),
        }
    }
}

/// Returns the schedules that are for whoever asks.
async fn reached(call: &Call) -> Outcome<Vec<Schedule>> {
    let mut schedules = call.shared.engine.journal().schedules().await?;
    schedules.retain(|schedule| call.reaches(&schedule.runbook));
    Ok(schedules)
}
