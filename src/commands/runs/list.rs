//! `relight runs list`.

use std::io::{self, Write};

use clap::Args;
use relight_engine::journal::RunFilter;

use crate::args::Global;
use crate::commands::advice::{next, state, why};
use crate::exit::{Exit, Result};
use crate::format::{Table, relative};
use crate::setup::Home;
use crate::terminal;

/// List runs, newest first
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only those that are not over
    #[arg(long)]
    open: bool,

    /// At most this many; all when 0
    #[arg(long, default_value_t = 20)]
    limit: usize,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let engine = home.offline_engine()?;
        let runs = engine
            .journal()
            .runs(&if self.open { RunFilter::open() } else { RunFilter::all() }.at_most(self.limit))
            .await?;
        let mut out = terminal::out();
        if self.json {
            for run in &runs {
                writeln!(out, "{}", serde_json::to_string(run).map_err(io::Error::from)?)?;
            }
            return Ok(Exit::Done);
        }
        if runs.is_empty() {
            terminal::say(if self.open { "No run is under way." } else { "Nothing has run yet." });
            return Ok(Exit::Done);
        }
        let (now, place) = (engine.clock().now(), home.same_place());
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
        // What is to be done about a run stands below it: a terminal may be narrow.
        for ((line, run), id) in lines.zip(&runs).zip(&ids) {
            writeln!(out, "{line}")?;
            for below in why(&engine, run).into_iter().chain(next(&engine, run, id, &place).await?) {
                writeln!(out, "  {below}")?;
            }
        }
        if self.limit > 0 && runs.len() == self.limit {
            terminal::say(format!("The newest {}; more with --limit.", self.limit));
        }
        Ok(Exit::Done)
    }
}
