//! What became of the firings of schedules.

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use relight_engine::journal::TickFilter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::call::Call;
use super::super::endpoint::{Endpoint, Needs, NoBody};
use super::super::refusal::Outcome;
use super::super::reply::Json;
use super::super::tokens::Role;
use super::super::views::TickView;
use super::schedules;

/// How many accounts are shown unless more are asked for.
const USUAL: usize = 50;

/// How many accounts are asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TickQuery {
    /// At most so many; 50 when left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u16>,
}

/// What became of firings, the newest first. Those in a row that came to the same are one account.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Ticks")]
pub(super) struct Ticks {
    ticks: Vec<TickView>,
}

/// What became of the firings of one schedule.
pub(super) struct ReadHistory;

#[async_trait]
impl Endpoint for ReadHistory {
    const NAME: &'static str = "read_history";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/schedules/{schedule}/history";
    const SUMMARY: &'static str = "Says what became of the firings of a schedule, the newest first. To a token that is not limited to runbooks also of \
                                   one that is gone.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The accounts.")];
    type Query = TickQuery;
    type Body = NoBody;
    type Answer = Json<Ticks>;

    async fn answer(call: &Call, query: TickQuery, _: NoBody) -> Outcome<Json<Ticks>> {
        let schedule = schedules::named(call).await;
        let found = read(call, TickFilter::of(call.place("schedule")), &query).await?;
        match schedule {
            // Its history outlives a schedule; whose runbook that was is not known any more.
            Err(refusal) if refusal.status != StatusCode::NOT_FOUND => Err(refusal),
            Err(refusal) if call.is_limited() || found.ticks.is_empty() => Err(refusal),
            _ => Ok(Json::new(found)),
        }
    }
}

/// What became of the firings of all schedules.
pub(super) struct ReadTicks;

#[async_trait]
impl Endpoint for ReadTicks {
    const NAME: &'static str = "read_ticks";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/ticks";
    const SUMMARY: &'static str =
        "Says what became of the firings of all schedules, also of those that are gone, the newest first.";
    const NEEDS: Needs = Needs::WholeRole(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The accounts.")];
    type Query = TickQuery;
    type Body = NoBody;
    type Answer = Json<Ticks>;

    async fn answer(call: &Call, query: TickQuery, _: NoBody) -> Outcome<Json<Ticks>> {
        Ok(Json::new(read(call, TickFilter::default(), &query).await?))
    }
}

async fn read(call: &Call, filter: TickFilter, query: &TickQuery) -> Outcome<Ticks> {
    let filter = filter.at_most(query.limit.map_or(USUAL, usize::from));
    let ticks = call.shared.engine.journal().ticks(&filter).await?;
    Ok(Ticks { ticks: ticks.iter().map(TickView::of).collect() })
}
