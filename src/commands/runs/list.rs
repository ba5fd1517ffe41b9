//! `relight runs list`.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use relight_engine::Engine;
use relight_engine::journal::{RunFilter, Sort, Status, Summary};

use crate::args::Assignment;
use crate::commands::advice::{next, queued_because, state, why};
use crate::commands::request::by_name;
use crate::commands::since::since;
use crate::commands::which::find;
use crate::exit::{Exit, Result};
use crate::format::{Table, relative};
use crate::setup::Home;
use crate::terminal;

/// List runs, the newest first unless said otherwise
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only those that are not over
    #[arg(long)]
    open: bool,

    /// Only those in this state
    #[arg(long, value_name = "STATE", value_parser = state_of)]
    state: Option<Status>,

    /// Only those of this runbook
    #[arg(long, value_name = "RUNBOOK")]
    runbook: Option<String>,

    /// Only those that were begun since then: a time, or how long ago, such as 2d
    #[arg(long, value_name = "TIME|DURATION")]
    since: Option<String>,

    /// Only those that this user, such as ann@desk-7, or this token started
    #[arg(long, value_name = "WHO")]
    who: Option<String>,

    /// Only those with this label; given several times, with all of them
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<Assignment>,

    /// In which order
    #[arg(long, value_enum, default_value_t)]
    sort: By,

    /// Go on behind this one, the last of the list before
    #[arg(long, value_name = "RUN")]
    after: Option<String>,

    /// At most this many; all when 0
    #[arg(long, default_value_t = 20)]
    limit: usize,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// The orders of the list.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum By {
    /// Begun last first
    #[default]
    Created,
    /// Changed last first
    Updated,
    /// By the names of the runbooks
    Runbook,
}

impl List {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let filter = self.filter(&engine).await?;
        let runs = engine.journal().runs(&filter).await?;
        let mut out = terminal::out();
        if self.json {
            for run in &runs {
                writeln!(out, "{}", serde_json::to_string(run).map_err(io::Error::from)?)?;
            }
            return Ok(Exit::Done);
        }
        if runs.is_empty() {
            let is_narrow = self.state.is_some()
                || self.runbook.is_some()
                || self.since.is_some()
                || self.who.is_some()
                || !self.labels.is_empty()
                || self.after.is_some();
            terminal::say(match (is_narrow, self.open) {
                (true, _) => "No run is like that.",
                (false, true) => "No run is under way.",
                (false, false) => "Nothing has run yet.",
            });
            return Ok(Exit::Done);
        }
        let now = engine.clock().now();
        let mut table = Table::headed(&["RUN", "RUNBOOK", "STATE", "STEPS", "CHANGED"]);
        let mut ids = Vec::with_capacity(runs.len());
        for run in &runs {
            ids.push(engine.shortest(&run.id).await?);
        }
        for (run, id) in runs.iter().zip(&ids) {
            table.row([
                id.clone(),
                run.runbook.clone(),
                state(&engine, run).to_owned(),
                run.step.to_string(),
                relative(now, run.updated),
            ]);
        }
        let mut lines = table.lines(0).into_iter();
        for heading in lines.by_ref().take(1) {
            writeln!(out, "{heading}")?;
        }
        let queue = match runs.iter().any(Summary::is_queued) {
            true => engine.queue().await?,
            false => Vec::new(),
        };
        // What is to be done about a run stands below it: a terminal may be narrow.
        for ((line, run), id) in lines.zip(&runs).zip(&ids) {
            writeln!(out, "{line}")?;
            if let Some(queued) = queue.iter().find(|queued| queued.run.id == run.id) {
                writeln!(out, "  {}", queued_because(&engine, queued).await?)?;
            }
            for below in why(&engine, run).into_iter().chain(next(&engine, run, id, home).await?) {
                writeln!(out, "  {below}")?;
            }
        }
        if self.limit > 0 && runs.len() == self.limit {
            let last = ids.last().map_or("", String::as_str);
            let which = match self.sort {
                By::Created => "newest",
                By::Updated => "last changed",
                By::Runbook => "first",
            };
            terminal::say(format!("The {which} {}; more with --limit, or --after {last}.", self.limit));
        }
        Ok(Exit::Done)
    }
}

impl List {
    async fn filter(&self, engine: &Engine) -> relight_engine::Result<RunFilter> {
        let all = if self.open { RunFilter::open() } else { RunFilter::all() };
        let mut filter = all.at_most(self.limit);
        filter.status = self.state;
        filter.runbook.clone_from(&self.runbook);
        filter.who.clone_from(&self.who);
        filter.labels = by_name(&self.labels);
        filter.sort = match self.sort {
            By::Created => Sort::Created,
            By::Updated => Sort::Updated,
            By::Runbook => Sort::Runbook,
        };
        filter.since = self.since.as_deref().map(|text| since(text, engine.clock().now())).transpose()?;
        if let Some(run) = &self.after {
            filter = filter.after(&find(engine, run).await?);
        }
        Ok(filter)
    }
}

/// Reads a state by the word that lists use.
fn state_of(word: &str) -> std::result::Result<Status, String> {
    Status::ALL.into_iter().find(|status| status.as_str() == word).ok_or_else(|| {
        let words: Vec<&str> = Status::ALL.into_iter().map(Status::as_str).collect();
        format!("the states are {}", words.join(", "))
    })
}
