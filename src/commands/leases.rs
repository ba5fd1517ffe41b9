//! `relight leases`: what is open, for whom, until when.

use std::io::{self, Write};

use clap::{Args, Subcommand};

use super::foreground::{self, Answers};
use crate::cli::Global;
use crate::exit::{Exit, Result};
use crate::report::Audience;
use crate::setup::Home;
use crate::terminal;
use crate::words::{Table, when};

/// See what is open, and close it
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Leases {
    #[command(flatten)]
    list: List,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Close(Close),
}

/// List what is open, the first deadline first
#[derive(Args, Debug)]
struct List {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Close something now rather than at its deadline
#[derive(Args, Debug)]
struct Close {
    /// Id of the lease
    lease: String,
}

impl Leases {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        match self.command.unwrap_or(Command::List(self.list)) {
            Command::List(list) => list.run(&home).await,
            Command::Close(close) => close.run(home).await,
        }
    }
}

impl List {
    async fn run(self, home: &Home) -> Result {
        let engine = home.desk()?;
        let leases = engine.journal().leases().await?;
        let mut out = io::stdout().lock();
        if self.json {
            for lease in &leases {
                writeln!(out, "{}", serde_json::to_string(lease).map_err(io::Error::from)?)?;
            }
            return Ok(Exit::Done);
        }
        if leases.is_empty() {
            terminal::say("Nothing is open.");
            return Ok(Exit::Done);
        }
        let now = engine.clock().now();
        let mut table = Table::headed(&["LEASE", "OPEN", "CLOSES"]);
        for lease in leases {
            let late = if lease.deadline < now { ", late: `relight serve` closes it" } else { "" };
            table.row([lease.id, lease.title, format!("{}{late}", when(now, lease.deadline))]);
        }
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        Ok(Exit::Done)
    }
}

impl Close {
    async fn run(self, home: Home) -> Result {
        // Written down before anything is reached: the closing is due even when Azure is not there now.
        let run = home.desk()?.close_lease(&self.lease).await?;
        let session = home.connect(Audience::Person).await?;
        let ended = foreground::carry(&session, &run, Answers::default()).await;
        session.close().await;
        ended
    }
}
