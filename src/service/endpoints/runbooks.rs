//! The runbooks of the library that the service starts.

use async_trait::async_trait;
use hyper::Method;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::call::Call;
use super::super::endpoint::{Endpoint, Needs, NoBody, NoQuery};
use super::super::refusal::{Outcome, Refusal};
use super::super::reply::Json;
use super::super::tokens::Role;
use super::super::views::{RunbookDetail, RunbookView};

/// Runbooks.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Runbooks")]
pub(super) struct Runbooks {
    runbooks: Vec<RunbookView>,
}

/// What there is.
pub(super) struct ListRunbooks;

#[async_trait]
impl Endpoint for ListRunbooks {
    const NAME: &'static str = "list_runbooks";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/runbooks";
    const SUMMARY: &'static str = "Lists the runbooks that the token reaches.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The runbooks.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<Runbooks>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<Runbooks>> {
        let library = call.shared.engine.library();
        let names =
            library.names()?.into_iter().filter(|name| call.reaches(name) && !library.is_module(name));
        let runbooks = names.map(|name| {
            let runbook = library.runbook(&name);
            RunbookView::of(name, runbook)
        });
        Ok(Json::new(Runbooks { runbooks: runbooks.collect() }))
    }
}

/// What one does and takes.
pub(super) struct ShowRunbook;

#[async_trait]
impl Endpoint for ShowRunbook {
    const NAME: &'static str = "show_runbook";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/runbooks/{runbook}";
    const SUMMARY: &'static str =
        "Shows what a runbook does, may do and takes. A `/` in its name is sent as `%2F`.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The runbook.")];
    const REFUSED: &'static [u16] = &[422];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<RunbookDetail>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<RunbookDetail>> {
        let library = call.shared.engine.library();
        let name = call.place("runbook");
        exists(call, name)?;
        Ok(Json::new(RunbookDetail::of(library.runbook(name)?, library.is_shipped(name))))
    }
}

/// Makes sure that there is a runbook of a name, and for whoever asks.
///
/// # Errors
/// 404.
pub(super) fn exists(call: &Call, name: &str) -> Outcome<()> {
    let library = call.shared.engine.library();
    match call.reaches(name) && library.names()?.iter().any(|known| known == name) && !library.is_module(name)
    {
        true => Ok(()),
        false => Err(Refusal::not_found(format!("there is no runbook `{}`", name.escape_debug()))
            .hint("list them: GET /v1/runbooks")),
    }
}
