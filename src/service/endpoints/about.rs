//! The service itself: whether it is there, what can be asked of it, how it does, who asked.

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::audit::{self, Entry};
use super::super::call::Call;
use super::super::endpoint::{Audited, Endpoint, Needs, NoBody, NoQuery};
use super::super::openapi;
use super::super::refusal::Outcome;
use super::super::reply::{Json, Text};
use super::super::tokens::Role;
use super::table;

/// Whether the process answers.
pub(super) struct Live;

#[async_trait]
impl Endpoint for Live {
    const NAME: &'static str = "live";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/live";
    const SUMMARY: &'static str = "Says that the process is there.";
    const NEEDS: Needs = Needs::Nothing;
    const AUDITED: Audited = Audited::Refused;
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "It is.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Text;

    async fn answer(_: &Call, _: NoQuery, _: NoBody) -> Outcome<Text> {
        Ok(Text("live\n".to_owned(), None))
    }
}

/// Whether the service does its work.
pub(super) struct Ready;

#[async_trait]
impl Endpoint for Ready {
    const NAME: &'static str = "ready";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/ready";
    const SUMMARY: &'static str =
        "Says whether the service does its work: the journal is read, the worker is alive, nothing ends.";
    const NEEDS: Needs = Needs::Nothing;
    const AUDITED: Audited = Audited::Refused;
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "It does."), (503, "It does not, and why.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Text;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Text> {
        let engine = &call.shared.engine;
        let why = if engine.is_halted() {
            Some("it ends")
        } else if engine.journal().next_due(engine.clock().now()).await.is_err() {
            Some("the journal cannot be read")
        } else if !call.shared.health.is_good() {
            Some("the worker has not been heard of for a while")
        } else {
            None
        };
        Ok(match why {
            None => Text("ready\n".to_owned(), None),
            Some(why) => Text(format!("not ready: {why}\n"), Some(StatusCode::SERVICE_UNAVAILABLE)),
        })
    }
}

/// Figures for Prometheus.
pub(super) struct Metrics;

#[async_trait]
impl Endpoint for Metrics {
    const NAME: &'static str = "metrics";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/metrics";
    const SUMMARY: &'static str = "Returns figures in the text format of Prometheus.";
    const NEEDS: Needs = Needs::WholeRole(Role::View);
    const AUDITED: Audited = Audited::Refused;
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The figures.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Text;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Text> {
        Ok(Text(call.shared.metrics.text(&call.shared.engine).await?, None))
    }
}

/// The description of the API.
pub(super) struct Description;

#[async_trait]
impl Endpoint for Description {
    const NAME: &'static str = "describe";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/openapi.json";
    const SUMMARY: &'static str = "Describes the API: this document.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The description.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<Value>;

    async fn answer(_: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<Value>> {
        Ok(Json::new(openapi::describe(&table())))
    }
}

/// The service and the token that is used.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "About")]
pub(super) struct AboutView {
    /// The version of the program.
    version: &'static str,
    /// The time by which it goes; that of the lab, where it serves one.
    now: Timestamp,
    token: TokenView,
}

/// The token that is used.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Token")]
struct TokenView {
    name: String,
    role: Role,
    /// The runbooks to which it is limited.
    runbooks: Option<Vec<String>>,
    expires: Option<Timestamp>,
}

/// Who is asked, and who asks.
pub(super) struct About;

#[async_trait]
impl Endpoint for About {
    const NAME: &'static str = "about";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/about";
    const SUMMARY: &'static str = "Says which service this is, and what the token that is used may do.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "Who is asked, and who asks.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<AboutView>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<AboutView>> {
        let token = match &call.grant {
            Some(grant) => TokenView {
                name: grant.name.clone(),
                role: grant.role,
                runbooks: grant.runbooks.clone(),
                expires: grant.expires,
            },
            None => TokenView { name: String::new(), role: Role::View, runbooks: None, expires: None },
        };
        let now = call.shared.engine.clock().now();
        Ok(Json::new(AboutView { version: env!("CARGO_PKG_VERSION"), now, token }))
    }
}

/// Which requests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Only those that came at this time or later.
    since: Option<Timestamp>,
    /// At most so many; 100 when left out.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u16>,
}

/// Requests, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Requests")]
pub(super) struct Requests {
    requests: Vec<Entry>,
}

/// Who asked.
pub(super) struct ReadAudit;

#[async_trait]
impl Endpoint for ReadAudit {
    const NAME: &'static str = "read_audit";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/audit";
    const SUMMARY: &'static str = "Lists requests, the newest first, also those that were refused.";
    const NEEDS: Needs = Needs::WholeRole(Role::Admin);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The requests.")];
    type Query = AuditQuery;
    type Body = NoBody;
    type Answer = Json<Requests>;

    async fn answer(call: &Call, query: AuditQuery, _: NoBody) -> Outcome<Json<Requests>> {
        let which = audit::Which { since: query.since, limit: query.limit.map_or(100, usize::from) };
        let state = call.shared.state.clone();
        let read = tokio::task::spawn_blocking(move || audit::read(&state, &which));
        let requests =
            read.await.map_err(|e| relight_engine::Error::storage("reading failed").because(e))??;
        Ok(Json::new(Requests { requests }))
    }
}
