//! `relight runs queue`.

use std::io::{self, Write};

use clap::Args;
use relight_engine::journal::Queued;

use crate::commands::advice::queued_because;
use crate::exit::{Exit, Result};
use crate::format::{Table, relative};
use crate::setup::Home;
use crate::terminal;

/// Show which runs wait for others to end before they begin
///
/// Only so many runs of a runbook, on a target, and in all are under way at once. The one that came first of those for which there is room
/// is next. `relight run --at-once` waits for nobody.
#[derive(Args, Debug)]
pub(super) struct Queue {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Queue {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let queue = engine.queue().await?;
        let mut out = terminal::out();
        if self.json {
            for queued in &queue {
                writeln!(out, "{}", serde_json::to_string(queued).map_err(io::Error::from)?)?;
            }
            return Ok(Exit::Done);
        }
        if queue.is_empty() {
            terminal::say("No run waits for another to end.");
            return Ok(Exit::Done);
        }
        let now = engine.clock().now();
        let mut table = Table::headed(&["RUN", "RUNBOOK", "SINCE"]);
        for Queued { run, .. } in &queue {
            table.row([engine.shortest(&run.id).await?, run.runbook.clone(), relative(now, run.created)]);
        }
        let mut lines = table.lines(0).into_iter();
        for heading in lines.by_ref().take(1) {
            writeln!(out, "{heading}")?;
        }
        for (line, queued) in lines.zip(&queue) {
            writeln!(out, "{line}\n  {}", queued_because(&engine, queued).await?)?;
        }
        Ok(Exit::Done)
    }
}
