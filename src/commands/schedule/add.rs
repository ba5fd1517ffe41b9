//! `relight schedule add`.

use std::io::Write;

use clap::Args;
use jiff::Timestamp;
use relight_engine::event::{self, digest};
use relight_engine::{Engine, Error, RunId};
use serde_json::{Map, Value, json};

use super::asked::Asked;
use crate::args::{Assignment, is_schedule_name};
use crate::commands::request::{params, request};
use crate::exit::{Exit, Result};
use crate::format::when;
use crate::remote::Client;
use crate::setup::Home;
use crate::terminal;

/// Add a schedule; print its name
///
/// What was missed because nothing served is made up for by one run, as soon as something does. Of a time of day that a clock change
/// skips, the moment of the change counts; of one that comes twice, the first.
#[derive(Args, Debug)]
pub(super) struct Add {
    /// Name of the runbook
    runbook: String,

    /// Parameters of the runbook; see `relight show RUNBOOK`
    #[arg(value_name = "NAME=VALUE")]
    params: Vec<Assignment>,

    /// Name of the schedule, in lower case, digits and `-`; one is made up when it is left out
    #[arg(long, value_name = "NAME", value_parser = schedule_name)]
    name: Option<String>,

    #[command(flatten)]
    asked: Asked,
}

impl Add {
    pub(super) async fn run(self, home: &Home) -> Result {
        if self.runbook.ends_with(".rhai") {
            return Err(Error::invalid(format!(
                "`{}` is a file, and a schedule runs what the library has then",
                self.runbook
            ))
            .hint("put it into the library (`relight list` says where), and give its name")
            .into());
        }
        let engine = home.offline_engine()?;
        let now = engine.clock().now();
        let schedule = match home.remote() {
            Some(client) => self.afar(client, &engine, now).await?,
            None => self.here(home, &engine, now).await?,
        };
        writeln!(terminal::out(), "{}", schedule.id)?;
        let next = when(now, schedule.wakes().unwrap_or(schedule.due));
        let runbook = &schedule.runbook;
        terminal::say(match home.remote() {
            Some(_) => format!("The service runs {runbook} {next}."),
            None => format!("{runbook} runs {next} if {} runs then.", home.keeper()),
        });
        Ok(Exit::Done)
    }

    /// Has a service schedule it: what is wrong with it is found there.
    async fn afar(self, client: &Client, engine: &Engine, now: Timestamp) -> Result<event::Schedule> {
        let (rule, due) = self.asked.rule(now)?;
        let made = || format!("s{}", &digest(&[&self.runbook, RunId::fresh().as_str()])[..11]);
        let asked = json!({
            "id": self.name.unwrap_or_else(made),
            "runbook": self.runbook,
            "params": params(&self.params)?,
            "repeats": rule.map(|rule| rule.to_string()),
            "due": due,
            "terms": self.asked.terms(),
            "pin": self.asked.pin,
        });
        // Once: who does not hear the answer asks again, and means the same schedule.
        let added = match client.post(&["v1", "schedules"], &asked).await {
            Err(error) if error.kind().is_retryable() => client.post(&["v1", "schedules"], &asked).await?,
            added => added?,
        };
        let id = added["id"].as_str().unwrap_or_default();
        let schedule = engine.journal().schedule(id).await?;
        Ok(schedule.ok_or_else(|| Error::invalid(format!("the schedule `{id}` was removed at once")))?)
    }

    async fn here(self, home: &Home, engine: &Engine, now: Timestamp) -> Result<event::Schedule> {
        let request = request(&self.runbook, &self.params)?;
        // What is wrong with it is found now rather than at night.
        home.planner()?.plan(&request)?;
        let (rule, due) = self.asked.rule(now)?;
        let made = format!("s{}", &digest(&[&request.runbook, &now.to_string(), request.id.as_str()])[..11]);
        let id = self.name.unwrap_or(made);
        if engine.journal().schedule(&id).await?.is_some() {
            return Err(Error::invalid(format!("there is a schedule `{id}` already"))
                .hint(format!("see it with `relight schedule show {id}`, remove it with `relight schedule remove {id}`, or choose another name"))
                .into());
        }
        let params: Map<String, Value> =
            self.params.into_iter().map(|given| (given.name, Value::String(given.value))).collect();
        let mut schedule = event::Schedule::new(&id, &request.runbook, due).params(Value::Object(params));
        schedule.repeats = rule.map(|rule| rule.to_string());
        schedule.workdir = request.workdir.to_string_lossy().into_owned();
        schedule.terms = self.asked.terms();
        if self.asked.pin {
            schedule = engine.pin_schedule(schedule, &request).await?;
        }
        engine.add_schedule(&schedule).await?;
        Ok(schedule)
    }
}

/// Reads the name of a schedule.
pub(super) fn schedule_name(text: &str) -> std::result::Result<String, String> {
    match is_schedule_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a name has up to 63 of a-z, 0-9 and -, and begins with none of the last".to_owned()),
    }
}
