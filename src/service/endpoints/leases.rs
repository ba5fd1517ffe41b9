//! What is open, and closing it.

use async_trait::async_trait;
use hyper::Method;
use relight_engine::journal::LeaseFilter;
use schemars::JsonSchema;
use serde::Serialize;

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
        let id = call.place("lease");
        let nothing = || {
            Refusal::not_found(format!("there is no open lease `{}`", id.escape_debug()))
                .hint("list them: GET /v1/leases")
        };
        let lease = engine.journal().leases_where(&LeaseFilter::Id(id.to_owned())).await?.pop();
        let lease = lease.ok_or_else(nothing)?;
        if !call.reaches_lease(&lease).await? {
            return Err(nothing());
        }
        // It may have been closed in between.
        let run = engine.close_lease(id).await.map_err(|_| nothing())?;
        call.shared.drive(&run);
        let run = engine.journal().run(&run).await?.ok_or_else(nothing)?;
        call.concerns(&run);
        Ok(Json::new(RunView::of(engine, run)))
    }

    fn about(_: &Call, _: &NoBody) -> call::About {
        // Its run is known once there is one.
        call::About::default()
    }
}
