//! `relight runs prune`: takes runs away that are over and were kept for long enough.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use relight_engine::Span;
use relight_engine::journal::Summary;

use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::format::{Table, relative};
use crate::retention::{self, Rules};
use crate::setup::Home;
use crate::terminal;

/// Take runs away that are over and were kept for long enough
///
/// A run goes when it is older than --older-than says and not one of the newest that --keep keeps; one of both is enough. With it go its
/// branches, its records, the texts that no other run names, and the files that it wrote if it was started over the API; with --older-than also
/// what became of the firings of schedules before that. What is still needed stays: what opened, closes or scheduled something,
/// and what a run has to do with that is not over. None that went starts again, also not when its schedule or its caller asks anew.
/// `relight serve` does the same once a day when `[retention]` in `relight.toml` says so.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("rule").required(true).multiple(true).args(["older_than", "keep"]))]
pub(super) struct Prune {
    /// Only those that ended longer ago, such as 90d
    #[arg(long, value_name = "DURATION")]
    older_than: Option<Span>,

    /// Not the newest ones, so many, of those that are over
    #[arg(long, value_name = "N")]
    keep: Option<usize>,

    /// Only those of this runbook; the newest are counted among those then
    #[arg(long, value_name = "RUNBOOK")]
    runbook: Option<String>,

    /// Write each into a file of this folder before it goes, as `relight runs export` does
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,

    /// Say which would go, and take none away
    #[arg(long)]
    dry_run: bool,

    /// With --dry-run, print one JSON object per line
    #[arg(long, requires = "dry_run")]
    json: bool,
}

impl Prune {
    pub(super) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let engine = home.offline_engine()?;
        let Prune { older_than, keep, runbook, export, dry_run, json } = self;
        let rules = Rules { older_than, keep, runbook, export };
        if !dry_run {
            let count = retention::apply(&engine, &rules, &home.state()?).await?;
            terminal::say(match (count, &rules.export) {
                (0, _) => "No run has been kept for long enough.".to_owned(),
                (_, None) => format!("Pruned {}.", runs(count)),
                (_, Some(folder)) => format!("Pruned {}; they are in {}.", runs(count), folder.display()),
            });
            return Ok(Exit::Done);
        }
        let now = engine.clock().now();
        let mut out = terminal::out();
        let mut table = Table::headed(&["RUN", "RUNBOOK", "STATE", "ENDED"]);
        let count = retention::rehearse(&engine, &rules, |run: &Summary| {
            if json {
                writeln!(out, "{}", serde_json::to_string(run).map_err(io::Error::from)?)?;
            } else {
                let state = run.status.as_str().to_owned();
                table.row([run.id.to_string(), run.runbook.clone(), state, relative(now, run.updated)]);
            }
            Ok::<(), Failure>(())
        })
        .await?;
        if !json && count > 0 {
            for line in table.lines(0) {
                writeln!(out, "{line}")?;
            }
        }
        drop(out);
        terminal::say(match count {
            0 => "No run has been kept for long enough.".to_owned(),
            _ => format!("{} would go. Nothing was pruned.", runs(count)),
        });
        Ok(Exit::Done)
    }
}

fn runs(count: u64) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}
