//! `relight schedule add`.

use std::io::Write;

use clap::Args;
use relight_engine::Error;
use relight_engine::event::{self, digest};
use serde_json::{Map, Value};

use super::asked::Asked;
use crate::args::Assignment;
use crate::commands::request::request;
use crate::exit::{Exit, Result};
use crate::format::when;
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
        let request = request(&self.runbook, &self.params)?;
        if self.runbook.ends_with(".rhai") {
            return Err(Error::invalid(format!(
                "`{}` is a file, and a schedule runs what the library has then",
                self.runbook
            ))
            .hint("put it into the library (`relight list` says where), and give its name")
            .into());
        }
        // What is wrong with it is found now rather than at night.
        home.planner()?.plan(&request)?;
        let engine = home.offline_engine()?;
        let now = engine.clock().now();
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
        writeln!(terminal::out(), "{id}")?;
        terminal::say(format!(
            "{} runs {} if `relight serve{}` runs then.",
            schedule.runbook,
            when(now, schedule.wakes().unwrap_or(due)),
            home.same_place()
        ));
        Ok(Exit::Done)
    }
}

/// Reads the name of a schedule: it is typed, and stands in addresses and file names.
pub(super) fn schedule_name(text: &str) -> std::result::Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = text.len() <= 63 && text.starts_with(|c| c != '-' && fits(c)) && text.chars().all(fits);
    match is_name {
        true => Ok(text.to_owned()),
        false => Err("a name has up to 63 of a-z, 0-9 and -, and begins with none of the last".to_owned()),
    }
}
