//! `relight schedule apply`: what a file of the library declares becomes what is scheduled.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use relight_engine::event;
use relight_engine::{Engine, Error, Result as Checked, RunRequest};
use serde_json::{Map, Value, json};

use super::add::schedule_name;
use super::asked::Asked;
use crate::args::Assignment;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::terminal;

/// The file of a library that declares its schedules.
const FILE: &str = "schedules.toml";

/// Bring the schedules in line with what a file declares
///
/// Each table of the file is one schedule by its name, with `runbook`, `params` and the options of `relight schedule add` as keys. Those that the
/// file has are added or changed; those that it had are removed; all others are left alone.
#[derive(Args, Debug)]
pub(super) struct Apply {
    /// The file [default: schedules.toml in the folder of the runbooks]
    file: Option<PathBuf>,

    /// Say what would change, and change nothing
    #[arg(long)]
    plan: bool,

    /// Print one JSON object per change
    #[arg(long)]
    json: bool,
}

/// What is to be done about one schedule.
enum Change {
    Add(Box<event::Schedule>),
    Replace(Box<event::Schedule>, Vec<&'static str>),
    Remove(String),
}

impl Apply {
    pub(super) async fn run(self, home: &Home) -> Result {
        home.refuse_remote("a file cannot be applied")?;
        let file = self.file()?.map_or_else(|| in_library(home), Ok)?;
        let engine = home.offline_engine()?;
        let declared = read(&file, home, engine.clock().now())?;
        let changes = compare(&engine, &file, declared).await?;
        let mut out = terminal::out();
        for change in &changes {
            let (sign, id, what) = match change {
                Change::Add(schedule) => ("+", &schedule.id, "add"),
                Change::Replace(schedule, _) => ("~", &schedule.id, "change"),
                Change::Remove(id) => ("-", id, "remove"),
            };
            let (detail, fields) = match change {
                Change::Add(schedule) => (line(schedule), Vec::new()),
                Change::Replace(schedule, fields) => {
                    (format!("{}: {}", fields.join(", "), line(schedule)), fields.clone())
                }
                Change::Remove(_) => ("no longer declared".to_owned(), Vec::new()),
            };
            match self.json {
                true => writeln!(out, "{}", json!({ "schedule": id, "change": what, "fields": fields }))?,
                false => writeln!(out, "{sign} {id}  {detail}")?,
            }
        }
        drop(out);
        if changes.is_empty() {
            terminal::say(format!("Everything is as {} says.", file.display()));
            return Ok(Exit::Done);
        }
        if self.plan {
            terminal::say("Nothing was changed.");
            return Ok(Exit::Done);
        }
        for change in changes {
            match change {
                Change::Add(schedule) => engine.add_schedule(&schedule).await?,
                Change::Replace(schedule, _) => engine.replace_schedule(&schedule).await?,
                Change::Remove(id) => engine.remove_schedule(&id).await?,
            }
        }
        Ok(Exit::Done)
    }

    fn file(&self) -> Checked<Option<PathBuf>> {
        let Some(file) = &self.file else { return Ok(None) };
        let found = fs::canonicalize(file)
            .map_err(|e| Error::invalid(format!("failed to read {}", file.display())).because(e))?;
        Ok(Some(found))
    }
}

fn in_library(home: &Home) -> Checked<PathBuf> {
    let folder = home.library_folder().map(|folder| folder.join(FILE));
    match folder.map(|file| (fs::canonicalize(&file), file)) {
        Some((Ok(file), _)) => Ok(file),
        Some((Err(e), file)) => Err(Error::invalid(format!("failed to read {}", file.display()))
            .because(e)
            .hint("write it there, or name another file")),
        None => Err(Error::invalid("there is no folder of runbooks with schedules in it")
            .hint("give one with --library, or name the file")),
    }
}

/// Reads and checks what a file declares: all that is wrong with it, before anything is changed.
fn read(file: &Path, home: &Home, now: Timestamp) -> Checked<Vec<event::Schedule>> {
    let text = fs::read_to_string(file)
        .map_err(|e| Error::invalid(format!("failed to read {}", file.display())).because(e))?;
    let tables: BTreeMap<String, toml::Table> = toml::from_str(&text)
        .map_err(|e| Error::invalid(format!("{} is not what was expected", file.display())).because(e))?;
    let planner = home.planner()?;
    let mut schedules = Vec::new();
    let mut wrong = Vec::new();
    for (name, table) in tables {
        match one(&name, table, &planner, now) {
            Ok(mut schedule) => {
                schedule.declared = Some(file.display().to_string());
                schedules.push(schedule);
            }
            Err(error) => wrong.push((name, error)),
        }
    }
    if wrong.is_empty() {
        return Ok(schedules);
    }
    let mut error = Error::invalid(match wrong.len() {
        1 => format!("1 schedule in {} is wrong", file.display()),
        many => format!("{many} schedules in {} are wrong", file.display()),
    });
    for (name, why) in wrong {
        let hints: Vec<String> = why.hints().iter().map(ToString::to_string).collect();
        let hints = if hints.is_empty() { String::new() } else { format!("\n{}", hints.join("\n")) };
        error = error.hint(format!("[{name}] {}{hints}", why.message()));
    }
    Err(error.hint("nothing was changed"))
}

fn one(name: &str, mut table: toml::Table, planner: &Engine, now: Timestamp) -> Checked<event::Schedule> {
    let name = schedule_name(name).map_err(Error::invalid)?;
    let Some(toml::Value::String(runbook)) = table.remove("runbook") else {
        return Err(Error::invalid("it does not say which `runbook`"));
    };
    let params: BTreeMap<String, toml::Value> = match table.remove("params") {
        None => BTreeMap::new(),
        Some(params) => params.try_into().map_err(|e| Error::invalid("`params` is no table").because(e))?,
    };
    // As on the command line: the type is the parameter's, not the file's.
    let params: Vec<Assignment> = params
        .into_iter()
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Assignment { name, value }
        })
        .collect();
    let asked: Asked =
        table.try_into().map_err(|e: toml::de::Error| Error::invalid(e.message().trim().to_owned()))?;
    asked.check_declared().map_err(Error::invalid)?;
    let workdir = std::env::current_dir()
        .map_err(|e| Error::invalid("the current folder cannot be used").because(e))?;
    let request = params
        .iter()
        .fold(RunRequest::new(&runbook), |request, given| request.param(&given.name, &given.value));
    planner.plan(&request)?;
    let (rule, due) = asked.rule(now)?;
    let params: Map<String, Value> =
        params.into_iter().map(|given| (given.name, Value::String(given.value))).collect();
    let mut schedule = event::Schedule::new(name, runbook, due).params(Value::Object(params));
    schedule.repeats = rule.map(|rule| rule.to_string());
    schedule.workdir = workdir.to_string_lossy().into_owned();
    schedule.terms = asked.terms();
    Ok(schedule)
}

/// Finds what differs between what a file declares and what is scheduled.
async fn compare(engine: &Engine, file: &Path, declared: Vec<event::Schedule>) -> Checked<Vec<Change>> {
    let file = file.display().to_string();
    let mut known: BTreeMap<String, event::Schedule> =
        engine.journal().schedules().await?.into_iter().map(|known| (known.id.clone(), known)).collect();
    let mut changes = Vec::new();
    for wanted in declared {
        let Some(known) = known.remove(&wanted.id) else {
            // One that is over has its account, and is not wanted again.
            if wanted.repeats.is_some() || wanted.due > engine.clock().now() {
                changes.push(Change::Add(Box::new(wanted)));
            }
            continue;
        };
        if known.declared.as_ref() != Some(&file) {
            let by = known.declared.unwrap_or_else(|| "a person or a run".to_owned());
            return Err(Error::invalid(format!(
                "the schedule `{}` is there already, made by {by}",
                wanted.id
            ))
            .hint("remove it first, or choose another name in the file"));
        }
        let same_rule = same_rule(&known, &wanted);
        let differs = [
            ("runbook", known.runbook != wanted.runbook),
            ("params", known.params != wanted.params),
            ("when", !same_rule),
            ("terms", known.terms != wanted.terms),
        ];
        let fields: Vec<&str> =
            differs.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        if fields.is_empty() {
            continue;
        }
        // The same rule goes on from where it stands.
        let (due, repeats) = match same_rule {
            true => (known.due, known.repeats.clone()),
            false => (wanted.due, wanted.repeats.clone()),
        };
        let mut next = wanted;
        (next.due, next.repeats) = (due, repeats);
        changes.push(Change::Replace(Box::new(next), fields));
    }
    let gone = known.into_values().filter(|known| known.declared.as_ref() == Some(&file));
    changes.extend(gone.map(|known| Change::Remove(known.id)));
    Ok(changes)
}

/// Returns whether two schedules fire at the same times. An interval begins when it is declared first.
fn same_rule(known: &event::Schedule, wanted: &event::Schedule) -> bool {
    let without_start = |rule: &str| rule.split(" from ").next().unwrap_or(rule).to_owned();
    match (&known.repeats, &wanted.repeats) {
        (Some(known), Some(wanted)) if known.starts_with("every ") => {
            without_start(known) == without_start(wanted)
        }
        (None, None) => known.due == wanted.due,
        (known, wanted) => known == wanted,
    }
}

fn line(schedule: &event::Schedule) -> String {
    let repeats = schedule.repeats.clone().unwrap_or_else(|| format!("once at {}", schedule.due));
    format!("{} {repeats}", schedule.runbook)
}
