//! `relight schedule show`, `next` and `history`.

use std::io::{self, Write};

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use relight_engine::Engine;
use relight_engine::event::{self, Fate, Overlap, Tick, TickCause};
use relight_engine::journal::TickFilter;
use relight_engine::schedule::Rule;
use serde_json::json;

use super::{find, troubles};
use crate::exit::{Exit, Result};
use crate::format::{Table, assignments, when};
use crate::setup::Home;
use crate::terminal;

/// How many accounts `show` has.
const LAST: usize = 5;

/// Show a schedule: when it runs, on what terms, how it stands, and what became of its last firings
#[derive(Args, Debug)]
pub(super) struct Show {
    /// Name of the schedule, or enough of its beginning
    name: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine_for_new_runs()?;
        let schedule = find(&engine, &self.name).await?;
        let ticks = engine.journal().ticks(&TickFilter::of(&schedule.id).at_most(LAST)).await?;
        let trouble = troubles(home, &engine, std::slice::from_ref(&schedule)).await?.remove(&schedule.id);
        let mut out = terminal::out();
        if self.json {
            let mut shown = json!(schedule);
            shown["last"] = json!(ticks);
            shown["trouble"] = json!(trouble);
            writeln!(out, "{shown}")?;
            return Ok(Exit::Done);
        }
        for (title, text) in facts(&engine, &schedule) {
            writeln!(out, "{title:<13} {text}")?;
        }
        if let Some(trouble) = trouble {
            writeln!(out, "{:<13} cannot run as it is: {trouble}", "trouble")?;
        }
        if !ticks.is_empty() {
            writeln!(out)?;
            for line in accounts(&engine, &ticks, false).lines(0) {
                writeln!(out, "{line}")?;
            }
        }
        Ok(Exit::Done)
    }
}

/// Returns what there is to say about a schedule, by title.
fn facts(engine: &Engine, schedule: &event::Schedule) -> Vec<(&'static str, String)> {
    let now = engine.clock().now();
    let (terms, standing) = (&schedule.terms, &schedule.standing);
    let with = assignments(&schedule.params);
    let runbook =
        if with.is_empty() { schedule.runbook.clone() } else { format!("{} {with}", schedule.runbook) };
    let mut facts = vec![("schedule", schedule.id.clone()), ("runbook", runbook)];
    facts.push(("repeats", schedule.repeats.clone().unwrap_or_else(|| "once".to_owned())));
    facts.push(("next", schedule.wakes().map_or_else(|| "-".to_owned(), |next| when(now, next))));
    if let Some(pause) = &standing.paused {
        facts.push(("paused", format!("by {} {}: {}", pause.by, when(now, pause.at), pause.because)));
    }
    if schedule.repeats.is_some() {
        facts.push(("overlap", terms.overlap.as_str().to_owned()));
    }
    let late = terms.catch_up.map(|window| format!("runs that start up to {window} late; then it is missed"));
    let jitter = terms.jitter.map(|jitter| {
        let offset = relight_engine::Span::from(schedule.offset());
        format!("{offset} of {jitter} later than it is due")
    });
    let longest = terms.longest.map(|longest| format!("{longest}; then a run is asked to stop"));
    let failures =
        terms.pause_after.map(|most| format!("{most} failures in a row ({} now)", standing.failures));
    for (title, text) in
        [("catch-up", late), ("jitter", jitter), ("longest", longest), ("pauses after", failures)]
    {
        facts.extend(text.map(|text| (title, text)));
    }
    if let Some(pin) = schedule.pins.first() {
        facts.push(("pinned", format!("the text {}", &pin.fingerprint[..12])));
    }
    facts.extend(schedule.declared.clone().map(|file| ("declared in", file)));
    facts.extend(schedule.run.as_ref().map(|run| ("made by", format!("run {run}"))));
    for run in &standing.open {
        facts.push(("under way", format!("run {run}")));
    }
    if let Some(first) = standing.waiting.first() {
        let many = standing.waiting.len();
        facts.push(("waiting", format!("{many}, the first for {}", when(now, first.due))));
    }
    facts
}

/// List what became of firings, the newest first
///
/// Each is there once: it ran, was skipped, was missed, or is one with another, and why. Those in a row that came to the same are one line.
#[derive(Args, Debug)]
pub(super) struct History {
    /// Name of the schedule, or enough of its beginning; that of one that is gone in full; all when left out
    name: Option<String>,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl History {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let filter = match &self.name {
            None => TickFilter::default(),
            // Its history outlives a schedule.
            Some(name) => {
                let gone = TickFilter::of(name).at_most(1);
                match find(&engine, name).await {
                    Ok(schedule) => TickFilter::of(schedule.id),
                    Err(_) if !engine.journal().ticks(&gone).await?.is_empty() => TickFilter::of(name),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let ticks = engine.journal().ticks(&filter.at_most(limit)).await?;
        let mut out = terminal::out();
        if self.json {
            for tick in &ticks {
                writeln!(out, "{}", serde_json::to_string(tick).map_err(io::Error::from)?)?;
            }
            return Ok(Exit::Done);
        }
        if ticks.is_empty() {
            terminal::say("Nothing has come due.");
            return Ok(Exit::Done);
        }
        for line in accounts(&engine, &ticks, self.name.is_none()).lines(0) {
            writeln!(out, "{line}")?;
        }
        Ok(Exit::Done)
    }
}

/// Returns accounts as a table.
fn accounts(engine: &Engine, ticks: &[Tick], is_of_many: bool) -> Table {
    let now = engine.clock().now();
    let mut table = match is_of_many {
        true => Table::headed(&["SCHEDULE", "DUE", "CAME TO", ""]),
        false => Table::headed(&["DUE", "CAME TO", ""]),
    };
    for tick in ticks {
        let due = match tick.count {
            1 => when(now, tick.due),
            count => format!("{count} times, {} to {}", when(now, tick.due), when(now, tick.last)),
        };
        let why = match &tick.fate {
            Fate::Ran { run } => format!("run {run}"),
            Fate::Skipped { because } | Fate::Missed { because } => because.clone(),
            Fate::Coalesced { into } => format!("into that of {}", when(now, *into)),
            _ => String::new(),
        };
        let why = match &tick.cause {
            TickCause::Trigger { by, .. } => format!("{why}, triggered by {by}"),
            TickCause::Backfill { by } => format!("{why}, made up for by {by}"),
            _ => why,
        };
        let came_to = tick.fate.as_str().to_owned();
        match is_of_many {
            true => table.row([tick.schedule.clone(), due, came_to, why]),
            false => table.row([due, came_to, why]),
        }
    }
    table
}

/// Say when a schedule runs next
#[derive(Args, Debug)]
pub(super) struct Next {
    /// Name of the schedule, or enough of its beginning
    name: String,

    /// How many times
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Next {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let schedule = find(&engine, &self.name).await?;
        let rule = schedule.repeats.as_deref().map(Rule::parse).transpose()?;
        let now = engine.clock().now();
        // What is overdue is one with the newest, unless each has its own run.
        let one_each = matches!(schedule.terms.overlap, Overlap::AllowAll | Overlap::BufferAll);
        let after = |time: &Timestamp| {
            rule.as_ref().and_then(|rule| rule.next_after(if one_each { *time } else { (*time).max(now) }))
        };
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
        drop(out);
        if let Some(pause) = &schedule.standing.paused {
            terminal::say(format!("It is paused by {}: {}", pause.by, pause.because));
        }
        Ok(Exit::Done)
    }
}
