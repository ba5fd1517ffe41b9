//! What is open, and closing it.

use async_trait::async_trait;
use hyper::Method;
use jiff::Timestamp;
use relight_engine::event::Lease;
use relight_engine::journal::LeaseFilter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::call::{self, Call};
use super::super::endpoint::{Endpoint, Needs, NoBody, NoQuery};
use super::super::refusal::{Outcome, Refusal};
use super::super::reply::Json;
use super::super::tokens::Role;
use super::super::views::{LeaseView, RunView};

/// What is open, the first deadline first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Leases")]
pub(super) struct Leases {
    leases: Vec<LeaseView>,
}

/// What is open.
pub(super) struct ListLeases;

#[async_trait]
impl Endpoint for ListLeases {
    const NAME: &'static str = "list_leases";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/leases";
    const SUMMARY: &'static str = "Lists what is open, the first deadline first.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "What is open.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<Leases>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<Leases>> {
        let mut leases = Vec::new();
        for open in call.shared.engine.leases().await? {
            if call.reaches_lease(&open.lease).await? {
                leases.push(LeaseView::of(open));
            }
        }
        Ok(Json::new(Leases { leases }))
    }
}

/// A later deadline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Extension")]
pub(super) struct Extension {
    /// When it is closed instead, at the latest.
    until: Timestamp,
}

/// Keeps something open for longer.
pub(super) struct ExtendLease;

#[async_trait]
impl Endpoint for ExtendLease {
    const NAME: &'static str = "extend_lease";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/leases/{lease}/extend";
    const SUMMARY: &'static str = "Keeps something open for longer, as far as what opened it allows. What the same run scheduled to close it comes later, too.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const CHANGES: bool = true;
    const TAKES_BODY: bool = true;
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "What is open, with its new deadline.")];
    const REFUSED: &'static [u16] = &[409];
    type Query = NoQuery;
    type Body = Extension;
    type Answer = Json<LeaseView>;

    async fn answer(call: &Call, _: NoQuery, body: Extension) -> Outcome<Json<LeaseView>> {
        let lease = named(call).await?;
        let engine = &call.shared.engine;
        let extended = engine.extend_lease(&lease.id, body.until, call.by()).await;
        extended.map_err(|e| Refusal::as_conflict(&e))?;
        let open = engine.leases().await?.into_iter().find(|open| open.lease.id == lease.id);
        Ok(Json::new(LeaseView::of(open.ok_or_else(|| nothing(call))?)))
    }

    fn about(_: &Call, _: &Extension) -> call::About {
        call::About::default()
    }
}

/// Closes something now.
pub(super) struct CloseLease;

#[async_trait]
impl Endpoint for CloseLease {
    const NAME: &'static str = "close_lease";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/leases/{lease}/close";
    const SUMMARY: &'static str =
        "Closes something now rather than at its deadline. The run that closes it is returned.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const CHANGES: bool = true;
    const GRANTED: &'static [(u16, &'static str)] = &[(202, "The run that closes it.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<RunView>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<RunView>> {
        let engine = &call.shared.engine;
        let lease = named(call).await?;
        // It may have been closed in between.
        let run = engine.close_lease(&lease.id).await.map_err(|_| nothing(call))?;
        call.shared.drive(&run);
        let run = engine.journal().run(&run).await?.ok_or_else(|| nothing(call))?;
        call.concerns(&run);
        Ok(Json::new(RunView::of(engine, run)))
    }

    fn about(_: &Call, _: &NoBody) -> call::About {
        // Its run is known once there is one.
        call::About::default()
    }
}

/// Returns the lease that is meant, if it is for whoever asks.
async fn named(call: &Call) -> Outcome<Lease> {
    let filter = LeaseFilter::Id(call.place("lease").to_owned());
    let lease = call.shared.engine.journal().leases_where(&filter).await?.pop();
    let lease = lease.ok_or_else(|| nothing(call))?;
    match call.reaches_lease(&lease).await? {
        true => Ok(lease),
        false => Err(nothing(call)),
    }
}

fn nothing(call: &Call) -> Refusal {
    Refusal::not_found(format!("there is no open lease `{}`", call.place("lease").escape_debug()))
        .hint("list them: GET /v1/leases")
}
