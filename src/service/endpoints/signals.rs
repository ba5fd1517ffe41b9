//! What is said to a run: stop, go on, an answer.

use async_trait::async_trait;
use hyper::Method;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::call::Call;
use super::super::endpoint::{Endpoint, Needs, NoBody, NoQuery};
use super::super::refusal::{Outcome, Refusal};
use super::super::reply::Json;
use super::super::tokens::Role;
use super::super::views::RunView;

/// Ends a run for good.
pub(super) struct StopRun;

#[async_trait]
impl Endpoint for StopRun {
    const NAME: &'static str = "stop_run";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/runs/{run}/stop";
    const SUMMARY: &'static str = "Ends a run for good. What its script deferred still runs; an operation that is under way is not undone.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const CHANGES: bool = true;
    const GRANTED: &'static [(u16, &'static str)] = &[(202, "Whoever drives the run hears it.")];
    const REFUSED: &'static [u16] = &[409];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<RunView>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<RunView>> {
        let run = call.run().await?;
        call.shared.engine.stop(&run.id, call.by()).await.map_err(|e| Refusal::as_conflict(&e))?;
        now(call).await
    }
}

/// Goes on with a run.
pub(super) struct ResumeRun;

#[async_trait]
impl Endpoint for ResumeRun {
    const NAME: &'static str = "resume_run";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/runs/{run}/resume";
    const SUMMARY: &'static str = "Goes on with a run where it stands, once what it was parked for is mended. Recorded steps are not done again.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const CHANGES: bool = true;
    const GRANTED: &'static [(u16, &'static str)] = &[(202, "The run is taken up.")];
    const REFUSED: &'static [u16] = &[409];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<RunView>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<RunView>> {
        let run = call.run().await?;
        // A branch goes on with the whole of its run.
        let run =
            call.shared.engine.resumable(&run.id.whole()).await.map_err(|e| Refusal::as_conflict(&e))?;
        call.shared.drive(&run.id);
        now(call).await
    }
}

/// An answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// One of the choices, where there are any.
    answer: String,
}

/// Answers what a run asks.
pub(super) struct AnswerRun;

#[async_trait]
impl Endpoint for AnswerRun {
    const NAME: &'static str = "answer_run";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/runs/{run}/answer";
    const SUMMARY: &'static str = "Answers what a run asks. It goes on by itself.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const CHANGES: bool = true;
    const TAKES_BODY: bool = true;
    const GRANTED: &'static [(u16, &'static str)] = &[(202, "The answer is on record.")];
    const REFUSED: &'static [u16] = &[409];
    type Query = NoQuery;
    type Body = Answer;
    type Answer = Json<RunView>;

    async fn answer(call: &Call, _: NoQuery, body: Answer) -> Outcome<Json<RunView>> {
        let run = call.run().await?;
        let answered = call.shared.engine.answer(&run.id, &body.answer, call.by()).await;
        answered.map_err(|e| Refusal::as_conflict(&e))?;
        now(call).await
    }
}

/// Shows how the run stands now.
async fn now(call: &Call) -> Outcome<Json<RunView>> {
    let run = call.run().await?;
    Ok(Json::new(RunView::of(&call.shared.engine, run)))
}
