//! Who waits for whom.

use async_trait::async_trait;
use hyper::Method;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::call::Call;
use super::super::endpoint::{Endpoint, Needs, NoBody, NoQuery};
use super::super::refusal::Outcome;
use super::super::reply::Json;
use super::super::tokens::Role;
use super::super::views::RunView;

/// The runs that begin once enough of those before them are over, in the order in which they came.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Queue")]
pub(super) struct Queue {
    queue: Vec<QueuedView>,
}

/// A run in the queue, and why it waits.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Queued")]
struct QueuedView {
    run: RunView,
    /// Its groups that have no room.
    full: Vec<FullView>,
}

/// A group that has no room.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Full")]
struct FullView {
    /// `all`, `runbook:NAME`, or `target:VALUE`.
    group: String,
    /// How many of its runs may be under way at once.
    most: u32,
    /// The runs that are, as far as the token reaches them; the first ten.
    by: Vec<String>,
}

/// Who waits for whom.
pub(super) struct ReadQueue;

#[async_trait]
impl Endpoint for ReadQueue {
    const NAME: &'static str = "read_queue";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/queue";
    const SUMMARY: &'static str = "Lists the runs that begin once enough of those before them are over, in the order in which they came.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The queue.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<Queue>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<Queue>> {
        let engine = &call.shared.engine;
        let mut queue = Vec::new();
        for queued in engine.queue().await? {
            if !call.reaches(&queued.run.runbook) {
                continue;
            }
            let mut full = Vec::with_capacity(queued.full.len());
            for group in queued.full {
                let mut by = Vec::with_capacity(group.by.len());
                for run in group.by {
                    if engine.journal().run(&run).await?.is_some_and(|run| call.reaches(&run.runbook)) {
                        by.push(run.to_string());
                    }
                }
                full.push(FullView { group: group.limit.group, most: group.limit.most, by });
            }
            queue.push(QueuedView { run: RunView::of(engine, queued.run), full });
        }
        Ok(Json::new(Queue { queue }))
    }
}
