//! `relight schedule`: runs that are due at a time.

mod add;
mod apply;
mod asked;
mod change;
mod show;

use std::io::{self, Write};

use clap::{Args, Subcommand};
use relight_engine::event;
use relight_engine::{Engine, Error};

use self::add::Add;
use self::apply::Apply;
use self::change::{Backfill, Pause, Remove, Resume, Trigger};
use self::show::{History, Next, Show};
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
    Add(Box<Add>),
    Show(Show),
    Next(Next),
    History(History),
    Pause(Pause),
    Resume(Resume),
    Trigger(Trigger),
    Backfill(Backfill),
    Remove(Remove),
    Apply(Apply),
}

/// List schedules, the next due first
#[derive(Args, Debug)]
struct List {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Schedule {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        match self.command.unwrap_or(Command::List(self.list)) {
            Command::List(list) => list.run(&home).await,
            Command::Add(add) => add.run(&home).await,
            Command::Show(show) => show.run(&home).await,
            Command::Next(next) => next.run(&home).await,
            Command::History(history) => history.run(&home).await,
            Command::Pause(pause) => pause.run(&home).await,
            Command::Resume(resume) => resume.run(&home).await,
            Command::Trigger(trigger) => trigger.run(&home).await,
            Command::Backfill(backfill) => backfill.run(&home).await,
            Command::Remove(remove) => remove.run(&home).await,
            Command::Apply(apply) => apply.run(&home).await,
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
        let planner = home.planner()?;
        let troubles: Vec<String> =
            schedules.iter().filter_map(|schedule| trouble(&planner, schedule)).collect();
        let now = engine.clock().now();
        let mut table = Table::headed(&["SCHEDULE", "RUNBOOK", "NEXT", "REPEATS", "WITH"]);
        for schedule in schedules {
            let next = match &schedule.standing.paused {
                Some(pause) => format!("paused: {}", pause.because),
                None => schedule.wakes().map_or_else(|| "-".to_owned(), |next| when(now, next)),
            };
            table.row([
                schedule.id,
                schedule.runbook,
                next,
                schedule.repeats.unwrap_or_else(|| "once".to_owned()),
                assignments(&schedule.params),
            ]);
        }
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        drop(out);
        for trouble in troubles {
            terminal::say(trouble);
        }
        Ok(Exit::Done)
    }
}

/// Says what would keep a schedule that a person made from running now, if anything would.
fn trouble(planner: &Engine, schedule: &event::Schedule) -> Option<String> {
    // What a run scheduled has its parameters as that run recorded them.
    if schedule.run.is_some() {
        return None;
    }
    let params = schedule.params.as_object().into_iter().flatten();
    let given: Vec<Assignment> = params
        .filter_map(|(name, value)| {
            Some(Assignment { name: name.clone(), value: value.as_str()?.to_owned() })
        })
        .collect();
    let request = request(&schedule.runbook, &given).ok()?;
    let error = planner.plan(&request).err()?;
    Some(format!("{} cannot run as it is: {}", schedule.id, error.message()))
}

/// Finds a schedule by its name or the beginning of it.
async fn find(engine: &Engine, named: &str) -> relight_engine::Result<event::Schedule> {
    let mut fitting = engine.journal().schedules().await?;
    fitting.retain(|one| one.id.starts_with(named));
    if let Some(exact) = fitting.iter().position(|one| one.id == named) {
        return Ok(fitting.swap_remove(exact));
    }
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => Err(Error::invalid(format!("there is no schedule `{named}`"))
            .hint("list them with `relight schedule`")),
        _ => {
            let names: Vec<&str> = fitting.iter().map(|one| one.id.as_str()).collect();
            Err(Error::invalid(format!("`{named}` fits {}", names.join(", "))))
        }
    }
}
