//! `relight schedule`: runs that are due at a time.

use std::io::{self, Write};

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use relight_engine::event::{self, digest};
use relight_engine::schedule::Rule;
use relight_engine::{Engine, Error, Span};
use serde_json::{Map, Value, json};

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
    Next(Next),
    Remove(Remove),
}

/// List schedules, the next due first
#[derive(Args, Debug)]
struct List {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Add a schedule; print its name
///
/// A firing that was missed because nothing served is made up for once, as soon as something does. Of a time of day that a clock change
/// skips, the moment of the change counts; of one that comes twice, the first.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("time").required(true).args(["at", "after", "cron", "every", "on"]))]
struct Add {
    /// Name of the runbook
    runbook: String,

    /// Parameters of the runbook; see `relight show RUNBOOK`
    #[arg(value_name = "NAME=VALUE")]
    params: Vec<Assignment>,

    /// Name of the schedule, in lower case, digits and `-`; one is made up when it is left out
    #[arg(long, value_name = "NAME", value_parser = schedule_name)]
    name: Option<String>,

    /// Run once at this time, such as 2026-11-20T22:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// Run once after this long, such as 90m or 2h
    #[arg(long, value_name = "DURATION")]
    after: Option<Span>,

    /// Run at the times of a cron expression: minute hour day month weekday, such as '30 6 * * MON-FRI'
    #[arg(long, value_name = "CRON")]
    cron: Option<String>,

    /// Run now and whenever this much time has passed again, such as 6h
    #[arg(long, value_name = "DURATION")]
    every: Option<Span>,

    /// Run on a day of every month, such as 'last weekday' or 'first monday', or of one, such as 'day 15 of march'
    #[arg(long, value_name = "DAY", requires = "time_of_day")]
    on: Option<String>,

    /// Time of that day
    #[arg(long = "time", id = "time_of_day", value_name = "HH:MM", requires = "on")]
    time_of_day: Option<String>,

    /// Time zone of the cron expression or of the time of day, such as Europe/Oslo [default: UTC]
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["at", "after", "every"])]
    zone: Option<String>,
}

/// Say when a schedule runs next
#[derive(Args, Debug)]
struct Next {
    /// Name of the schedule, or enough of its beginning
    id: String,

    /// How many times
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Remove a schedule
#[derive(Args, Debug)]
struct Remove {
    /// Name of the schedule, or enough of its beginning
    id: String,
}

impl Schedule {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        match self.command.unwrap_or(Command::List(self.list)) {
            Command::List(list) => list.run(&home).await,
            Command::Add(add) => add.run(&home).await,
            Command::Next(next) => next.run(&home).await,
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
        let planner = home.planner()?;
        let troubles: Vec<String> =
            schedules.iter().filter_map(|schedule| trouble(&planner, schedule)).collect();
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

impl Add {
    async fn run(self, home: &Home) -> Result {
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
        let rule = self.rule(now)?;
        let due = match (&rule, self.every, self.at) {
            // The first time is now.
            (Some(_), Some(_), _) => now,
            (Some(rule), None, _) => rule.next_after(now).ok_or_else(|| {
                Error::invalid(format!("`{rule}` never comes"))
                    .hint("write for example --cron '30 6 * * MON-FRI' --zone Europe/Berlin")
            })?,
            (None, _, Some(at)) => at,
            (None, ..) => {
                now.saturating_add(self.after.map(Span::get).unwrap_or_default()).unwrap_or(Timestamp::MAX)
            }
        };
        let made = format!("s{}", &digest(&[&request.runbook, &now.to_string(), request.id.as_str()])[..11]);
        let id = self.name.unwrap_or(made);
        if engine.journal().schedules().await?.iter().any(|known| known.id == id) {
            return Err(Error::invalid(format!("there is a schedule `{id}` already"))
                .hint(format!("see it with `relight schedule next {id}`, remove it with `relight schedule remove {id}`, or choose another name"))
                .into());
        }
        let params: Map<String, Value> =
            self.params.into_iter().map(|given| (given.name, Value::String(given.value))).collect();
        let mut schedule = event::Schedule::new(&id, request.runbook, due).params(Value::Object(params));
        schedule.repeats = rule.map(|rule| rule.to_string());
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

impl Add {
    /// Returns how it repeats; nothing when it runs once.
    fn rule(&self, now: Timestamp) -> relight_engine::Result<Option<Rule>> {
        let zoned = |rule: String| match &self.zone {
            Some(_) if rule.contains(" in ") => {
                Err(Error::invalid(format!("`{rule}` names a time zone, and so does --zone"))
                    .hint("name it once"))
            }
            Some(zone) => Rule::parse(&format!("{rule} in {zone}")),
            None => Rule::parse(&rule),
        };
        match (&self.cron, self.every, &self.on) {
            (Some(cron), ..) => zoned(cron.trim().to_owned()).map(Some),
            (None, Some(every), _) => Rule::every(every, now).map(Some),
            (None, None, Some(day)) => {
                let month = if day.contains(" of ") { "" } else { " of the month" };
                let time = self.time_of_day.as_deref().unwrap_or_default();
                zoned(format!("{day}{month} at {time}")).map(Some)
            }
            (None, None, None) => Ok(None),
        }
    }
}

/// Reads the name of a schedule: it is typed, and stands in addresses and file names.
fn schedule_name(text: &str) -> std::result::Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = text.len() <= 63 && text.starts_with(|c| c != '-' && fits(c)) && text.chars().all(fits);
    match is_name {
        true => Ok(text.to_owned()),
        false => Err("a name has up to 63 of a-z, 0-9 and -, and begins with none of the last".to_owned()),
    }
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

impl Next {
    async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let schedule = find(&engine, &self.id).await?;
        let rule = schedule.repeats.as_deref().map(Rule::parse).transpose()?;
        let now = engine.clock().now();
        let after = |time: &Timestamp| rule.as_ref().and_then(|rule| rule.next_after((*time).max(now)));
        let zone = rule.as_ref().map_or(TimeZone::UTC, Rule::zone);
        let mut out = terminal::out();
        let mut table = Table::headed(&["WHEN", "IN ITS ZONE"]);
        for due in std::iter::successors(Some(schedule.due), after).take(self.count.into()) {
            let local = due.to_zoned(zone.clone());
            if self.json {
                writeln!(out, "{}", json!({ "due": due, "local": local.to_string() }))?;
            } else {
                table.row([when(now, due), local.strftime("%a %Y-%m-%d %H:%M %Z").to_string()]);
            }
        }
        let lines = if self.json { Vec::new() } else { table.lines(0) };
        for line in lines {
            writeln!(out, "{line}")?;
        }
        Ok(Exit::Done)
    }
}

impl Remove {
    async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let schedule = find(&engine, &self.id).await?;
        // Somebody else may have removed it meanwhile; it is gone all the same.
        engine.journal().unschedule(&schedule.id).await?;
        terminal::say(format!("Removed schedule {}", schedule.id));
        Ok(Exit::Done)
    }
}
