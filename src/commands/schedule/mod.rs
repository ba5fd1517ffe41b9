//! `relight schedule`: runs that are due at a time.

mod add;
mod apply;
mod asked;
mod change;
mod show;

use std::collections::BTreeMap;
use std::io::Write;

use clap::{Args, Subcommand};
use relight_engine::event;
use relight_engine::{Engine, Error};
use serde_json::json;

use self::add::Add;
use self::apply::Apply;
use self::change::{Backfill, Pause, Remove, Resume, Trigger};
use self::show::{History, Next, Show};
use crate::args::{Global, Place};
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
    #[command(flatten)]
    at: Place,
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
        let home = Home::at(global, &self.at).await?;
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
        let engine = home.offline_engine_for_new_runs()?;
        let schedules = engine.journal().schedules().await?;
        let troubles = troubles(home, &engine, &schedules).await?;
        let mut out = terminal::out();
        if self.json {
            for schedule in &schedules {
                let mut shown = json!(schedule);
                shown["trouble"] = json!(troubles.get(&schedule.id));
                writeln!(out, "{shown}")?;
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
        for (id, trouble) in troubles {
            terminal::say(format!("{id} cannot run as it is: {trouble}"));
        }
        Ok(Exit::Done)
    }
}

/// Says what would keep schedules from running now, by their names: where they are kept, since that is where their runbooks are.
async fn troubles(
    home: &Home,
    engine: &Engine,
    schedules: &[event::Schedule],
) -> relight_engine::Result<BTreeMap<String, String>> {
    let mut troubles = BTreeMap::new();
    if let Some(client) = home.remote() {
        let answer = client.get(&["v1", "schedules"], &[]).await?;
        for schedule in answer["schedules"].as_array().into_iter().flatten() {
            if let (Some(id), Some(trouble)) = (schedule["id"].as_str(), schedule["trouble"].as_str()) {
                troubles.insert(id.to_owned(), trouble.to_owned());
            }
        }
        return Ok(troubles);
    }
    for schedule in schedules {
        if let Err(error) = engine.check_schedule(schedule).await {
            troubles.insert(schedule.id.clone(), error.message().to_owned());
        }
    }
    Ok(troubles)
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
