//! `relight schedule`: runs that are due at a time.

use std::io::{self, Write};

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;
use relight_engine::event::{self, digest};
use relight_engine::schedule::Repeat;
use relight_engine::{Error, Span};
use serde_json::{Map, Value};

use super::request::request;
use crate::args::{Assignment, Global};
use crate::exit::{Exit, Result};
use crate::format::{Table, assignments, when};
use crate::setup::Home;
use crate::terminal;

/// Run runbooks later, or again and again, while `relight serve` runs
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Schedule {
    #[command(flatten)]
    list: List,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Add(Add),
    Remove(Remove),
}

/// List schedules, the next due first
#[derive(Args, Debug)]
struct List {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Add a schedule; print its id
///
/// A firing that was missed because nothing served is made up for once, as soon as something does.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("time").required(true).args(["at", "after", "cron"]))]
struct Add {
    /// Name of the runbook
    runbook: String,

    /// Parameters of the runbook; see `relight show RUNBOOK`
    #[arg(value_name = "NAME=VALUE")]
    params: Vec<Assignment>,

    /// Run once at this time, such as 2026-11-20T22:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// Run once after this long, such as 90m or 2h
    #[arg(long, value_name = "DURATION")]
    after: Option<Span>,

    /// Run again and again: minute hour day month weekday, and a time zone such as `in Europe/Berlin`
    #[arg(long, value_name = "CRON")]
    cron: Option<String>,
}

/// Remove a schedule
#[derive(Args, Debug)]
struct Remove {
    /// Id of the schedule, or enough of its beginning
    id: String,
}

impl Schedule {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        match self.command.unwrap_or(Command::List(self.list)) {
            Command::List(list) => list.run(&home).await,
            Command::Add(add) => add.run(&home).await,
            Command::Remove(remove) => remove.run(&home).await,
        }
    }
}

impl List {
    async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let schedules = engine.journal().schedules().await?;
        let mut out = terminal::out();
        if self.json {
            for schedule in &schedules {
                writeln!(out, "{}", serde_json::to_string(schedule).map_err(io::Error::from)?)?;
            }
            return Ok(Exit::Done);
        }
        if schedules.is_empty() {
            terminal::say("Nothing is scheduled.");
            return Ok(Exit::Done);
        }
        let now = engine.clock().now();
        let mut table = Table::headed(&["SCHEDULE", "RUNBOOK", "NEXT", "REPEATS", "WITH"]);
        for schedule in schedules {
            table.row([
                schedule.id,
                schedule.runbook,
                when(now, schedule.due),
                schedule.repeats.unwrap_or_else(|| "once".to_owned()),
                assignments(&schedule.params),
            ]);
        }
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        Ok(Exit::Done)
    }
}

impl Add {
    async fn run(self, home: &Home) -> Result {
        let request = request(&self.runbook, &self.params)?;
        // What is wrong with it is found now rather than at night.
        home.planner()?.plan(&request)?;
        let engine = home.offline_engine()?;
        let now = engine.clock().now();
        let repeat = self.cron.as_deref().map(Repeat::parse).transpose()?;
        let due = match (&repeat, self.at, self.after) {
            (Some(repeat), ..) => repeat.next_after(now).ok_or_else(|| {
                Error::invalid(format!("`{repeat}` never comes"))
                    .hint("write for example `30 6 * * MON-FRI in Europe/Berlin`")
            })?,
            (None, Some(at), _) => at,
            (None, None, after) => {
                now.saturating_add(after.map(Span::get).unwrap_or_default()).unwrap_or(Timestamp::MAX)
            }
        };
        let params: Map<String, Value> =
            self.params.into_iter().map(|given| (given.name, Value::String(given.value))).collect();
        let id = format!("s{}", &digest(&[&request.runbook, &now.to_string(), request.id.as_str()])[..11]);
        let mut schedule = event::Schedule::new(&id, request.runbook, due).params(Value::Object(params));
        schedule.repeats = repeat.map(|repeat| repeat.to_string());
        schedule.workdir = request.workdir.to_string_lossy().into_owned();
        engine.journal().schedule(&schedule).await?;
        writeln!(terminal::out(), "{id}")?;
        terminal::say(format!(
            "{} runs {} if `relight serve{}` runs then.",
            schedule.runbook,
            when(now, due),
            home.same_place()
        ));
        Ok(Exit::Done)
    }
}

impl Remove {
    async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let schedules = engine.journal().schedules().await?;
        let mut fitting: Vec<&str> = schedules.iter().map(|one| one.id.as_str()).collect();
        if !fitting.contains(&self.id.as_str()) {
            fitting.retain(|id| id.starts_with(&self.id));
        }
        let id = match fitting.as_slice() {
            [one] => (*one).to_owned(),
            [_, _, ..] if !fitting.contains(&self.id.as_str()) => {
                return Err(Error::invalid(format!("`{}` fits {}", self.id, fitting.join(", "))).into());
            }
            _ => self.id.clone(),
        };
        if engine.journal().unschedule(&id).await? {
            terminal::say(format!("Removed schedule {id}"));
            return Ok(Exit::Done);
        }
        Err(Error::invalid(format!("there is no schedule `{}`", self.id))
            .hint("list them with `relight schedule`")
            .into())
    }
}
