//! Looking at runs: lists, one with its steps, its events, its texts, what it said.

use async_trait::async_trait;
use hyper::Method;
use jiff::Timestamp;
use relight_engine::event::{Event, Stream};
use relight_engine::journal::{RunFilter, Sort, Summary};
use relight_engine::{Notice, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::call::Call;
use super::super::endpoint::{Endpoint, Header, Needs, NoBody, NoQuery};
use super::super::refusal::{Outcome, Refusal};
use super::super::reply::{Events, Json};
use super::super::sse;
use super::super::tokens::Role;
use super::super::views::{RunDetail, RunView, State};
use crate::report::json_line;

/// How many runs a page has unless said otherwise.
const USUAL: usize = 50;
/// How many runs are looked at a time for those that a token reaches.
const SWEEP: usize = 500;

/// Which runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only those that are not over.
    #[serde(default)]
    open: Option<bool>,
    /// Only those in this state.
    state: Option<State>,
    /// Only those of this runbook.
    runbook: Option<String>,
    /// Only those that were begun at this time or later.
    since: Option<Timestamp>,
    /// Only those that this person, or the token of this name, started.
    who: Option<String>,
    /// Only those with this label, as `name=value`; given several times, with all of them.
    #[serde(default)]
    #[schemars(inner(regex(pattern = "^[^=]+=.*$")))]
    label: Vec<String>,
    /// In which order; `created` when left out.
    sort: Option<Order>,
    /// Only those that come behind this one: the `next` of the page before, or the id of a run.
    after: Option<String>,
    /// Only those whose id begins so, whatever else is said.
    id: Option<String>,
    /// At most so many; 50 when left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u16>,
}

/// In which order runs are listed.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// Begun last first.
    Created,
    /// Changed last first.
    Updated,
    /// By the names of the runbooks, and then begun last first.
    Runbook,
}

impl From<Order> for Sort {
    fn from(order: Order) -> Self {
        match order {
            Order::Created => Sort::Created,
            Order::Updated => Sort::Updated,
            Order::Runbook => Sort::Runbook,
        }
    }
}

/// A page of runs.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Runs")]
pub(super) struct Page {
    runs: Vec<RunView>,
    /// What to give as `after` for the next page; null when this is the last.
    next: Option<String>,
}

/// What ran and runs.
pub(super) struct ListRuns;

#[async_trait]
impl Endpoint for ListRuns {
    const NAME: &'static str = "list_runs";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/runs";
    const SUMMARY: &'static str =
        "Lists the runs of the runbooks that the token reaches, the newest first unless said otherwise.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "A page of them.")];
    const REFUSED: &'static [u16] = &[404];
    type Query = ListQuery;
    type Body = NoBody;
    type Answer = Json<Page>;

    async fn answer(call: &Call, query: ListQuery, _: NoBody) -> Outcome<Json<Page>> {
        let engine = &call.shared.engine;
        let limit = query.limit.map_or(USUAL, usize::from);
        if let Some(beginning) = &query.id {
            let mut runs = engine.journal().find(beginning, SWEEP).await?;
            runs.retain(|run| call.reaches(&run.runbook));
            runs.truncate(limit);
            return Ok(Json::new(page(call, runs, None)));
        }
        let all = if query.open == Some(true) { RunFilter::open() } else { RunFilter::all() };
        let mut filter = all.at_most(if call.is_limited() { SWEEP } else { limit + 1 });
        filter.status = query.state.map(Into::into);
        filter.runbook = query.runbook;
        filter.since = query.since;
        filter.who = query.who;
        filter.sort = query.sort.map_or_else(Sort::default, Into::into);
        for label in &query.label {
            let Some((name, value)) = label.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                return Err(Refusal::bad("a label is asked for as `name=value`"));
            };
            filter = filter.labelled(name, value);
        }
        if let Some(after) = &query.after {
            filter = filter.after(&place(call, after).await?);
        }
        let mut runs: Vec<Summary> = Vec::new();
        loop {
            let found = engine.journal().runs(&filter).await?;
            let is_last = found.len() < filter.limit;
            let last = found.last().cloned();
            runs.extend(found.into_iter().filter(|run| call.reaches(&run.runbook)));
            match last {
                Some(last) if !is_last && runs.len() <= limit => filter = filter.after(&last),
                _ => break,
            }
        }
        let next = (runs.len() > limit).then(|| cursor(&runs[limit - 1], filter.sort));
        runs.truncate(limit);
        Ok(Json::new(page(call, runs, next)))
    }
}

/// Returns what is given as `after` to go on behind a run. One that changes meanwhile is somewhere else among those that changed last:
/// then it is said where it stood.
fn cursor(run: &Summary, sort: Sort) -> String {
    match sort {
        Sort::Updated => format!("{}@{}", run.id, run.updated),
        _ => run.id.to_string(),
    }
}

/// Returns the run of a cursor, as it stood.
async fn place(call: &Call, cursor: &str) -> Outcome<Summary> {
    let (id, stood) = match cursor.split_once('@') {
        Some((id, stood)) => (id, Some(stood)),
        None => (cursor, None),
    };
    let nothing =
        || Refusal::not_found(format!("there is no run `{}` to go on behind", cursor.escape_debug()));
    let stood = stood.map(str::parse::<Timestamp>).transpose().map_err(|_| nothing())?;
    let run = call.shared.engine.journal().run(&RunId::from(id)).await?;
    let mut run = run.filter(|run| call.reaches(&run.runbook)).ok_or_else(nothing)?;
    run.updated = stood.unwrap_or(run.updated);
    Ok(run)
}

fn page(call: &Call, runs: Vec<Summary>, next: Option<String>) -> Page {
    Page { runs: runs.into_iter().map(|run| RunView::of(&call.shared.engine, run)).collect(), next }
}

/// One run.
pub(super) struct ShowRun;

#[async_trait]
impl Endpoint for ShowRun {
    const NAME: &'static str = "show_run";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/runs/{run}";
    const SUMMARY: &'static str = "Shows a run with its steps, its files and its end.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The run.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<RunDetail>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<RunDetail>> {
        let run = call.run().await?;
        let history = call.shared.engine.history(&run.id).await?;
        Ok(Json::new(RunDetail::of(&call.shared.engine, run, &history)))
    }
}

/// From where on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FromQuery {
    /// Only what comes behind the event of this number.
    #[schemars(range(max = 9_007_199_254_740_991u64))]
    after: Option<u64>,
}

/// The events of a run as they are written.
pub(super) struct FollowRun;

#[async_trait]
impl Endpoint for FollowRun {
    const NAME: &'static str = "follow_run";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/runs/{run}/events";
    const SUMMARY: &'static str = "Follows a run: its events as server-sent events, from the first on, until it is over. The data of each is what \
                                   `relight run --json` prints; the last is `end`.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The events.")];
    const REFUSED: &'static [u16] = &[429];
    const HEADERS: &'static [Header] = &[Header {
        name: "Last-Event-ID",
        says: "The number of the last event that was seen; goes before `after`.",
        pattern: "^[0-9]{1,15}$",
        fits: |id| (1..=15).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit()),
    }];
    type Query = FromQuery;
    type Body = NoBody;
    type Answer = Events;

    async fn answer(call: &Call, query: FromQuery, _: NoBody) -> Outcome<Events> {
        let run = call.run().await?;
        let seen = call.header("last-event-id").and_then(|id| id.parse().ok());
        let after = seen.or(query.after).unwrap_or(0);
        let place = call.shared.streams.clone().try_acquire_owned().map_err(|_| {
            Refusal::new(
                hyper::StatusCode::TOO_MANY_REQUESTS,
                "too_many",
                "too many runs are followed at once",
            )
            .hint("end one of the streams, or ask again later")
        })?;
        let token = call.token().unwrap_or_default().to_owned();
        Ok(Events::new(sse::follow(call.shared.clone(), run.id, after, token, place)))
    }
}

/// The events of a run so far.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Records")]
pub(super) struct Records {
    /// As `relight runs show --json` prints them, one each: `seq`, `time`, `event` and what belongs to that.
    events: Vec<Value>,
}

/// The events of a run so far.
pub(super) struct ReadRecords;

#[async_trait]
impl Endpoint for ReadRecords {
    const NAME: &'static str = "read_records";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/runs/{run}/records";
    const SUMMARY: &'static str = "Returns the events of a run that are written so far.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The events.")];
    type Query = FromQuery;
    type Body = NoBody;
    type Answer = Json<Records>;

    async fn answer(call: &Call, query: FromQuery, _: NoBody) -> Outcome<Json<Records>> {
        let run = call.run().await?;
        let mut events = Vec::new();
        for record in call.shared.engine.journal().records(&run.id, query.after.unwrap_or(0)).await? {
            let notice = Notice::new(run.id.clone(), Some(record.seq), record.at, record.event()?);
            events.push(serde_json::from_str(&json_line(&notice)).unwrap_or_default());
        }
        Ok(Json::new(Records { events }))
    }
}

/// A text.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Text")]
struct TextView {
    name: String,
    text: String,
}

/// Texts.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Texts")]
pub(super) struct Texts {
    texts: Vec<TextView>,
}

/// The texts that a run was prepared with.
pub(super) struct ReadTexts;

#[async_trait]
impl Endpoint for ReadTexts {
    const NAME: &'static str = "read_texts";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/runs/{run}/texts";
    const SUMMARY: &'static str = "Returns the texts that a run was prepared with, its runbook first.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The texts.")];
    type Query = NoQuery;
    type Body = NoBody;
    type Answer = Json<Texts>;

    async fn answer(call: &Call, _: NoQuery, _: NoBody) -> Outcome<Json<Texts>> {
        let run = call.run().await?;
        let sources = call.shared.engine.journal().sources(&run.id).await?;
        let texts = sources.into_iter().map(|source| TextView { name: source.name, text: source.text });
        Ok(Json::new(Texts { texts: texts.collect() }))
    }
}

/// Of which step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputQuery {
    /// Only that of this step.
    #[schemars(range(min = 1, max = 4_294_967_295u32))]
    step: Option<u32>,
}

/// On which stream something was said.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Side {
    Stdout,
    Stderr,
    Terminal,
}

/// A piece of what a step said.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Piece")]
struct Piece {
    step: u32,
    stream: Side,
    /// Secrets are taken out.
    text: String,
    /// The SHA-256 of the text.
    sha256: String,
    /// How many bytes were said before this piece and are not kept.
    left_out: u64,
}

/// What the steps of a run said, in order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Output")]
pub(super) struct Output {
    output: Vec<Piece>,
}

/// What a run said.
pub(super) struct ReadOutput;

#[async_trait]
impl Endpoint for ReadOutput {
    const NAME: &'static str = "read_output";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/runs/{run}/output";
    const SUMMARY: &'static str = "Returns what the steps of a run said, in order.";
    const NEEDS: Needs = Needs::Role(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "What they said.")];
    type Query = OutputQuery;
    type Body = NoBody;
    type Answer = Json<Output>;

    async fn answer(call: &Call, query: OutputQuery, _: NoBody) -> Outcome<Json<Output>> {
        let run = call.run().await?;
        let journal = call.shared.engine.journal();
        let mut pieces = Vec::new();
        for record in journal.records(&run.id, 0).await? {
            let Event::OutputKept { step, output } = record.event()? else { continue };
            if query.step.is_some_and(|wanted| wanted != step) {
                continue;
            }
            let stream = match output.stream {
                Stream::Stdout => Side::Stdout,
                Stream::Stderr => Side::Stderr,
                Stream::Terminal => Side::Terminal,
            };
            let text = journal.kept(&output.sha256).await?;
            pieces.push(Piece { step, stream, text, sha256: output.sha256, left_out: output.left_out });
        }
        Ok(Json::new(Output { output: pieces }))
    }
}
