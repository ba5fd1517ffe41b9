//! What is scheduled.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hyper::Method;
use relight_engine::ErrorKind;
use relight_engine::event::Schedule;
use relight_engine::journal::TickFilter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::call::Call;
use super::super::endpoint::{Endpoint, Needs, NoBody, NoQuery};
use super::super::refusal::{Outcome, Refusal};
use super::super::reply::{Json, Nothing};
use super::super::tokens::Role;
use super::super::views::{ScheduleView, TickView, map};

/// How many accounts of a history are shown unless more are asked for.
const USUAL: usize = 50;

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
        let schedule = named(call).await?;
        match call.shared.engine.remove_schedule(&schedule.id).await {
            // Somebody else was faster.
            Err(error) if error.kind() == ErrorKind::Invalid => Err(nothing(call)),
            removed => Ok(removed.map(|()| Nothing)?),
        }
    }
}

/// Why it is paused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Reason")]
pub(super) struct Reason {
    /// For whoever finds it paused.
    #[schemars(regex(pattern = "\\S"))]
    because: String,
}

/// Pauses one.
pub(super) struct PauseSchedule;

#[async_trait]
impl Endpoint for PauseSchedule {
    const NAME: &'static str = "pause_schedule";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/schedules/{schedule}/pause";
    const SUMMARY: &'static str =
        "Pauses a schedule: what comes due is skipped, and one that runs once waits.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const CHANGES: bool = true;
    const TAKES_BODY: bool = true;
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The schedule as it stands now.")];
    const REFUSED: &'static [u16] = &[409];
    type Query = NoQuery;
    type Body = Reason;
    type Answer = Json<ScheduleView>;

    async fn answer(call: &Call, _: NoQuery, body: Reason) -> Outcome<Json<ScheduleView>> {
        let schedule = named(call).await?;
        if body.because.trim().is_empty() {
            return Err(Refusal::invalid("the reason for which the schedule is paused is missing"));
        }
        let paused = call.shared.engine.pause_schedule(&schedule.id, call.by(), &body.because).await;
        paused.map_err(|e| Refusal::as_conflict(&e))?;
        now(call).await
    }
}

/// Lets one go on.
pub(super) struct ResumeSchedule;

#[async_trait]
impl Endpoint for ResumeSchedule {
    const NAME: &'static str = "resume_schedule";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/schedules/{schedule}/resume";
    const SUMMARY: &'static str = "Lets a paused schedule go on.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const CHANGES: bool = true;
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The schedule as it stands now.")];
    const REFUSED: &'static [u16] = &[409];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<ScheduleView>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<ScheduleView>> {
        let schedule = named(call).await?;
        call.shared.engine.resume_schedule(&schedule.id).await.map_err(|e| Refusal::as_conflict(&e))?;
        now(call).await
    }
}

/// What came of a wish for a run.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Triggered")]
pub(super) struct Triggered {
    /// `came_to`, and what belongs to that, such as the `run`; null while it waits for another run to end.
    fate: Option<BTreeMap<String, Value>>,
}

/// Runs one now.
pub(super) struct TriggerSchedule;

#[async_trait]
impl Endpoint for TriggerSchedule {
    const NAME: &'static str = "trigger_schedule";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/schedules/{schedule}/trigger";
    const SUMMARY: &'static str =
        "Wants a run of a schedule now, whatever its rule says. Its overlap policy holds; a pause does not.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const CHANGES: bool = true;
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "What came of it.")];
    const REFUSED: &'static [u16] = &[409];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<Triggered>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<Triggered>> {
        let schedule = named(call).await?;
        let fate = call.shared.engine.trigger_schedule(&schedule.id, call.by()).await;
        let fate = fate.map_err(|e| Refusal::as_conflict(&e))?;
        Ok(Json::new(Triggered { fate: fate.map(|fate| map(&fate)) }))
    }
}

/// How much of a history is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    /// At most so many; 50 when left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u16>,
}

/// What became of firings, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "History")]
pub(super) struct History {
    ticks: Vec<TickView>,
}

/// What became of the firings of one.
pub(super) struct ReadHistory;

#[async_trait]
impl Endpoint for ReadHistory {
    const NAME: &'static str = "read_history";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/schedules/{schedule}/history";
    const SUMMARY: &'static str = "Says what became of the firings of a schedule, the newest first.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The accounts.")];
    const REFUSED: &'static [u16] = &[404];
    type Query = HistoryQuery;
    type Body = NoBody;
    type Answer = Json<History>;

    async fn answer(call: &Call, query: HistoryQuery, _: NoBody) -> Outcome<Json<History>> {
        let schedule = named(call).await?;
        let filter = TickFilter::of(schedule.id).at_most(query.limit.map_or(USUAL, usize::from));
        let ticks = call.shared.engine.journal().ticks(&filter).await?;
        Ok(Json::new(History { ticks: ticks.iter().map(TickView::of).collect() }))
    }
}

/// Returns the schedule that is meant, if it is for whoever asks.
async fn named(call: &Call) -> Outcome<Schedule> {
    let found = call.shared.engine.journal().schedule(call.place("schedule")).await?;
    found.filter(|schedule| call.reaches(&schedule.runbook)).ok_or_else(|| nothing(call))
}

fn nothing(call: &Call) -> Refusal {
    Refusal::not_found(format!("there is no schedule `{}`", call.place("schedule").escape_debug()))
        .hint("list them: GET /v1/schedules")
}

/// Shows how the schedule stands now.
async fn now(call: &Call) -> Outcome<Json<ScheduleView>> {
    Ok(Json::new(ScheduleView::of(&named(call).await?)))
}

/// Returns the schedules that are for whoever asks.
async fn reached(call: &Call) -> Outcome<Vec<Schedule>> {
    let mut schedules = call.shared.engine.journal().schedules().await?;
    schedules.retain(|schedule| call.reaches(&schedule.runbook));
    Ok(schedules)
}
