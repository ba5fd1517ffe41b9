//! `relight audit`: who asked the service for what.

use std::io::{self, Write};

use clap::Args;
use jiff::Timestamp;

use super::since::since;
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::format::Table;
use crate::service::{self, Entry};
use crate::setup::Home;
use crate::terminal;

/// List the requests to `relight serve`, the newest first
///
/// Every one is there, also those that were refused, but for /live, /ready and /metrics when they were granted. One that changed
/// something was written down before it did; without a status it was cut short.
#[derive(Args, Debug)]
pub(crate) struct Audit {
    /// Only those that came since then: a time, or how long ago, such as 2d
    #[arg(long, value_name = "TIME|DURATION")]
    since: Option<String>,

    /// At most this many; all when 0
    #[arg(long, default_value_t = 50)]
    limit: usize,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Audit {
    pub(crate) fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let since = self.since.as_deref().map(|text| since(text, Timestamp::now())).transpose()?;
        let entries = service::read_audit(&home.state()?, &service::Which { since, limit: self.limit })?;
        let mut out = terminal::out();
        if self.json {
            for entry in &entries {
                writeln!(out, "{}", serde_json::to_string(entry).map_err(io::Error::from)?)?;
            }
            return Ok(Exit::Done);
        }
        if entries.is_empty() {
            terminal::say("Nobody has asked for anything.");
            return Ok(Exit::Done);
        }
        let mut table = Table::headed(&["WHEN", "WHO", "STATUS", "WHAT", "RUNBOOK", "RUN"]);
        for Entry { at, token, status, method, path, runbook, run, .. } in entries {
            table.row([
                at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
                token.unwrap_or_else(|| "nobody".to_owned()),
                status.map_or_else(|| "cut short".to_owned(), |status| status.to_string()),
                format!("{method} {path}"),
                runbook.unwrap_or_default(),
                run.unwrap_or_default(),
            ]);
        }
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        Ok(Exit::Done)
    }
}
