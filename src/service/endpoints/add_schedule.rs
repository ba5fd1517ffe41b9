//! Scheduling a runbook of the service's library.

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use relight_engine::event::{Overlap, Schedule, Terms, digest};
use relight_engine::schedule::Rule;
use relight_engine::{Error, Given, RunRequest, Span};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::call::{self, Call};
use super::super::endpoint::{Endpoint, Needs, NoQuery};
use super::super::refusal::{Outcome, Refusal};
use super::super::reply::Json;
use super::super::tokens::Role;
use super::super::views::ScheduleView;
use super::{runbooks, start};
use crate::args::is_schedule_name;
use crate::platform;

/// The folder, below that of the state, with one for the files of each schedule that came this way.
const SCHEDULED: &str = "scheduled";

/// What to run, when, and on what terms: in the words in which schedules are shown.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewSchedule", extend("anyOf" = [{ "required": ["repeats"] }, { "required": ["due"] }]))]
pub(super) struct New {
    /// Its name; made up when left out.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9-]{0,62}$"))]
    id: Option<String>,
    /// The name of a runbook of the service's library.
    runbook: String,
    /// Its parameters. A secret is given by where it is kept, such as `keyvault:VAULT/NAME`.
    #[serde(default)]
    params: Map<String, Value>,
    /// How it repeats, such as `30 6 * * MON-FRI in Europe/Oslo`, `last weekday of the month at 03:00` or `every 6h from 2026-11-22T06:00:00Z`. Once, when
    /// left out.
    repeats: Option<String>,
    /// When it fires first; the first time of `repeats` from now on when left out.
    due: Option<Timestamp>,
    /// On what terms.
    #[serde(default)]
    terms: Conditions,
    /// Goes by the runbook as it is now, whatever the library has later.
    #[serde(default)]
    pin: bool,
}

/// What is asked of the runs beside the rule.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Terms")]
struct Conditions {
    /// What becomes of a firing while an earlier run is under way.
    #[schemars(with = "String", extend("enum" = Overlap::ALL.map(Overlap::as_str)))]
    overlap: Overlap,
    /// How late a run may start; a firing that is later is missed.
    catch_up: Option<Span>,
    /// Its runs start later by a part of this, always the same.
    jitter: Option<Span>,
    /// How long a run may take, with its waits; then it is asked to stop.
    longest: Option<Span>,
    /// After how many failures in a row it is paused.
    #[schemars(range(min = 1))]
    pause_after: Option<u32>,
}

impl From<Conditions> for Terms {
    fn from(asked: Conditions) -> Self {
        let mut terms = Terms::default();
        terms.overlap = asked.overlap;
        (terms.catch_up, terms.jitter, terms.longest) = (asked.catch_up, asked.jitter, asked.longest);
        terms.pause_after = asked.pause_after;
        terms
    }
}

/// Adds one.
pub(super) struct AddSchedule;

#[async_trait]
impl Endpoint for AddSchedule {
    const NAME: &'static str = "add_schedule";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/schedules";
    const SUMMARY: &'static str = "Schedules a runbook of the library: once, or again and again. It is checked now, with its parameters.";
    const NEEDS: Needs = Needs::Role(Role::Admin);
    const CHANGES: bool = true;
    const TAKES_BODY: bool = true;
    const GRANTED: &'static [(u16, &'static str)] =
        &[(201, "The schedule."), (200, "It was there before, the same.")];
    const REFUSED: &'static [u16] = &[404, 409];
    type Query = NoQuery;
    type Body = New;
    type Answer = Json<ScheduleView>;

    fn about(_: &Call, new: &New) -> call::About {
        call::About { runbook: Some(new.runbook.clone()), run: None }
    }

    async fn answer(call: &Call, _: NoQuery, new: New) -> Outcome<Json<ScheduleView>> {
        let engine = &call.shared.engine;
        runbooks::exists(call, &new.runbook)?;
        start::check(call, &engine.library().runbook(&new.runbook)?, &new.params)?;
        let now = engine.clock().now();
        let (repeats, due) = rule(&new, now)?;
        if new.terms.pause_after == Some(0) {
            return Err(Refusal::invalid("`pause-after` is 1 at least"));
        }
        let id = new.id.unwrap_or_else(|| {
            format!("s{}", &digest(&["api", call.by(), &new.runbook, &now.to_string()])[..11])
        });
        if !is_schedule_name(&id) {
            let rule = "a name has up to 63 of a-z, 0-9 and -, and begins with none of the last";
            return Err(Refusal::invalid(rule));
        }
        let known = engine.journal().schedule(&id).await?;
        let folder = call.shared.state.join(SCHEDULED).join(&id);
        let mut schedule = Schedule::new(&id, &new.runbook, due).params(Value::Object(new.params.clone()));
        schedule.repeats = repeats;
        schedule.workdir = folder.to_string_lossy().into_owned();
        schedule.terms = new.terms.into();
        if let Some(known) = known {
            // Whoever did not hear the answer asks again.
            return match is_same(&known, &schedule, new.pin) {
                true => Ok(Json::new(ScheduleView::of(engine, &known).await).with(StatusCode::OK)),
                false => Err(Refusal::conflict(format!("there is a schedule `{id}` already"))
                    .hint("remove it first, or choose another name")),
            };
        }
        engine.check_schedule(&schedule).await?;
        if new.pin {
            let mut request = RunRequest::new(&new.runbook);
            request.params =
                new.params.into_iter().map(|(name, value)| (name, Given::Value(value))).collect();
            schedule = engine.pin_schedule(schedule, &request).await?;
        }
        platform::make_private_folder(&folder)
            .map_err(|e| Error::storage("the folder of the schedule cannot be made").because(e))?;
        // Somebody else may have been faster.
        engine.add_schedule(&schedule).await.map_err(|e| Refusal::as_conflict(&e))?;
        let view = ScheduleView::of(engine, &schedule).await;
        Ok(Json::new(view).with(StatusCode::CREATED).at(format!("/v1/schedules/{id}")))
    }
}

/// Returns whether a schedule is what is asked for, however far it has come since.
fn is_same(known: &Schedule, asked: &Schedule, pin: bool) -> bool {
    known.runbook == asked.runbook
        && known.params == asked.params
        && known.repeats == asked.repeats
        && (known.repeats.is_some() || known.due == asked.due)
        && known.terms == asked.terms
        && known.pins.is_empty() != pin
        && known.workdir == asked.workdir
}

/// Returns how it repeats, and when it fires first.
fn rule(new: &New, now: Timestamp) -> Outcome<(Option<String>, Timestamp)> {
    let missing = "it says neither how it repeats nor when it is due";
    let Some(repeats) = &new.repeats else {
        let due = new.due.ok_or_else(|| Refusal::invalid(missing).hint("give `repeats` or `due`"))?;
        return Ok((None, due));
    };
    let rule = Rule::parse(repeats)?;
    let first = new.due.or_else(|| rule.next_after(now));
    let due = first.ok_or_else(|| Refusal::invalid(format!("`{rule}` never comes")))?;
    Ok((Some(rule.to_string()), due))
}
