//! What is scheduled.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hyper::Method;
use jiff::Timestamp;
use relight_engine::event::Schedule;
use relight_engine::{ErrorKind, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::call::Call;
use super::super::endpoint::{Endpoint, Header, IDEMPOTENCY_KEY, Needs, NoBody, NoQuery};
use super::super::refusal::{Outcome, Refusal};
use super::super::reply::{Json, Nothing};
use super::super::tokens::Role;
use super::super::views::{ScheduleView, map};

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
        let engine = &call.shared.engine;
        let mut schedules = Vec::new();
        for schedule in engine.journal().schedules().await? {
            if call.reaches(&schedule.runbook) {
                schedules.push(ScheduleView::of(engine, &schedule).await);
            }
        }
        Ok(Json::new(Schedules { schedules }))
    }
}

/// One of them.
pub(super) struct ShowSchedule;

#[async_trait]
impl Endpoint for ShowSchedule {
    const NAME: &'static str = "show_schedule";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/schedules/{schedule}";
    const SUMMARY: &'static str = "Shows a schedule: its rule, its terms, and how it stands.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The schedule.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<ScheduleView>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<ScheduleView>> {
        now(call).await
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
    const HEADERS: &'static [Header] = &[Header {
        says: "Tells this wish from others, for this token: said again with the same key it is the same, and answered with what came of it.",
        ..IDEMPOTENCY_KEY
    }];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<Triggered>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<Triggered>> {
        let schedule = named(call).await?;
        let once = call.header(IDEMPOTENCY_KEY.name).map(|key| RunId::derived(&["api", call.by(), key]));
        let once = once.as_ref().map(RunId::as_str);
        let fate = call.shared.engine.trigger_schedule(&schedule.id, call.by(), once).await;
        let fate = fate.map_err(|e| Refusal::as_conflict(&e))?;
        Ok(Json::new(Triggered { fate: fate.map(|fate| map(&fate)) }))
    }
}

/// A range of firings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Range")]
pub(super) struct Range {
    /// The first time that counts.
    from: Timestamp,
    /// The last time that counts.
    to: Timestamp,
}

/// What a range came to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Backfilled")]
pub(super) struct Backfilled {
    /// The firings that are made up for. Their runs start one after another, with the policy `allow-all` all at once.
    wanted: Vec<Timestamp>,
    /// How many have had their run already.
    ran: usize,
}

/// Makes up for what had no run.
pub(super) struct BackfillSchedule;

#[async_trait]
impl Endpoint for BackfillSchedule {
    const NAME: &'static str = "backfill_schedule";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/schedules/{schedule}/backfill";
    const SUMMARY: &'static str =
        "Makes up for the firings of a range that had no run, whatever became of them: 500 at most.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const CHANGES: bool = true;
    const TAKES_BODY: bool = true;
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "What is made up for.")];
    const REFUSED: &'static [u16] = &[409];
    type Query = NoQuery;
    type Body = Range;
    type Answer = Json<Backfilled>;

    async fn answer(call: &Call, _: NoQuery, range: Range) -> Outcome<Json<Backfilled>> {
        let schedule = named(call).await?;
        let engine = &call.shared.engine;
        let backfill = engine.backfill_schedule(&schedule.id, (range.from, range.to), call.by()).await;
        let backfill = backfill.map_err(|e| Refusal::as_conflict(&e))?;
        Ok(Json::new(Backfilled { wanted: backfill.wanted, ran: backfill.ran }))
    }
}

/// Returns the schedule that is meant, if it is for whoever asks.
pub(super) async fn named(call: &Call) -> Outcome<Schedule> {
    let found = call.shared.engine.journal().schedule(call.place("schedule")).await?;
    found.filter(|schedule| call.reaches(&schedule.runbook)).ok_or_else(|| nothing(call))
}

fn nothing(call: &Call) -> Refusal {
    Refusal::not_found(format!("there is no schedule `{}`", call.place("schedule").escape_debug()))
        .hint("list them: GET /v1/schedules")
}

/// Shows how the schedule stands now.
async fn now(call: &Call) -> Outcome<Json<ScheduleView>> {
    Ok(Json::new(ScheduleView::of(&call.shared.engine, &named(call).await?).await))
}
