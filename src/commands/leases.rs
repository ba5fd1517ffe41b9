//! `relight leases`: what is open, for whom, until when, and who closes it.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use relight_engine::event::{ForgottenLease, Lease};
use relight_engine::{Engine, Error, OpenLease, RunId};
use serde_json::{Value, json};

use super::afar;
use super::foreground::{self, Answers};
use super::which::short;
use crate::args::{Global, Place};
use crate::exit::{Exit, Result};
use crate::format::{Table, when};
use crate::report::Audience;
use crate::serving::attempts;
use crate::setup::Home;
use crate::{platform, terminal};

/// See what is open, and close it
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Leases {
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
    Close(Close),
    Forget(Forget),
}

/// List what is open, the first deadline first
///
/// Says who closes it, when that was last tried, and why it failed. Ends with 3 when something is open that should have
/// been closed.
#[derive(Args, Debug)]
struct List {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    /// List what was forgotten, too: by whom, when and why
    #[arg(long)]
    all: bool,
}

/// Close something now rather than at its deadline
#[derive(Args, Debug)]
struct Close {
    /// Id of the lease, or enough of its beginning; `@last` is the newest
    lease: String,
}

/// Take something off the list that was closed by other means, or is gone
///
/// Nothing is sent, and a closing that is under way stops. Who did so, when and why are kept, and shown by
/// `relight leases --all`.
#[derive(Args, Debug)]
struct Forget {
    /// Id of the lease, or enough of its beginning; `@last` is the newest
    lease: String,

    /// Why it may be forgotten, such as "the node was taken apart"
    #[arg(long, value_name = "WHY")]
    because: String,
}

impl Leases {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::at(global, &self.at).await?;
        match self.command.unwrap_or(Command::List(self.list)) {
            Command::List(list) => list.run(&home).await,
            Command::Close(close) => close.run(home).await,
            Command::Forget(forget) => forget.run(&home).await,
        }
    }
}

impl List {
    async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let open = engine.leases().await?;
        let forgotten = if self.all { engine.forgotten_leases().await? } else { Vec::new() };
        let is_served = home.is_served()?;
        let late = open.iter().filter(|open| open.is_late).count();
        let exit = if late > 0 { Exit::Parked } else { Exit::Done };
        let mut out = terminal::out();
        if self.json {
            let open = open.iter().map(|open| as_json(open, is_served));
            let forgotten = forgotten.iter().map(|forgotten| json!({ "forgotten": forgotten }));
            for line in open.chain(forgotten) {
                writeln!(out, "{line}")?;
            }
            return Ok(exit);
        }
        let mut ids = Vec::with_capacity(open.len());
        for open in &open {
            ids.push(short(&engine, &open.lease).await?);
        }
        for line in table(&engine, &open, &ids).lines(0) {
            writeln!(out, "{line}")?;
        }
        for (open, id) in open.iter().zip(&ids) {
            let said = attempts(&engine, open);
            if !said.is_empty() {
                writeln!(out, "{id}: {}", said.trim_start_matches("; "))?;
            }
        }
        tell_forgotten(&mut out, &engine, &forgotten)?;
        drop(out);
        if open.is_empty() {
            terminal::say("Nothing is open.");
            return Ok(exit);
        }
        let place = home.same_place();
        match is_served {
            true if home.remote().is_some() => terminal::say("The service closes it."),
            true => terminal::say(format!("A running `relight serve{place}` closes it.")),
            false => {
                terminal::say(format!(
                    "Nobody closes it: no `relight serve{place}` runs here. Start one, or close it now:"
                ));
                for id in &ids {
                    terminal::say(format!("  relight leases close {id}{place}"));
                }
            }
        }
        if late > 0 {
            terminal::say(format!("LATE: {late} of {} should have been closed by now.", open.len()));
        }
        for closing in open.iter().filter(|open| open.is_late).filter_map(|open| open.closing.as_ref()) {
            let id = engine.shortest(&closing.run).await?;
            terminal::say(format!("  relight runs show {id}{place}    # what went wrong"));
        }
        Ok(exit)
    }
}

/// Returns the lease of an id, of the beginning of one, of a short one, or the newest.
async fn find(engine: &Engine, named: &str) -> relight_engine::Result<String> {
    let open = engine.journal().leases().await?;
    if named == "@last" {
        let newest = open.into_iter().max_by_key(|lease| lease.opened);
        return newest.map(|lease| lease.id).ok_or_else(|| Error::invalid("nothing is open"));
    }
    // The run may be shortened as well as the whole.
    let (run, step) = named.rsplit_once('-').map_or((named, None), |(run, step)| (run, Some(step)));
    let fits = |lease: &&Lease| {
        let parts =
            lease.id.rsplit_once('-').map_or((lease.id.as_str(), None), |(run, step)| (run, Some(step)));
        parts.0.starts_with(run) && (step.is_none() || step == parts.1)
    };
    let mut fitting: Vec<String> = open.iter().filter(fits).map(|lease| lease.id.clone()).collect();
    if fitting.iter().any(|id| id == named) {
        return Ok(named.to_owned());
    }
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        // Whoever looks it up says that there is none.
        0 => Ok(named.to_owned()),
        _ => Err(Error::invalid(format!("`{named}` fits {} leases: {}", fitting.len(), fitting.join(", ")))),
    }
}

fn table(engine: &Engine, open: &[OpenLease], ids: &[String]) -> Table {
    let now = engine.clock().now();
    if open.is_empty() {
        return Table::default();
    }
    let mut table = Table::headed(&["LEASE", "OPEN", "CLOSES"]);
    for (OpenLease { lease, is_late, .. }, id) in open.iter().zip(ids) {
        let late = if *is_late { "LATE: " } else { "" };
        table.row([id.clone(), lease.title.clone(), format!("{late}{}", when(now, lease.deadline))]);
    }
    table
}

fn as_json(open: &OpenLease, is_served: bool) -> Value {
    let mut line = json!(open.lease);
    line["late"] = json!(open.is_late);
    line["served"] = json!(is_served);
    line["closing"] = open.closing.as_ref().map_or(Value::Null, |closing| {
        json!({
            "run": closing.run,
            "driven": closing.is_driven,
            "again": closing.again,
            "failed": closing.failed,
            "tried": closing.trouble.as_ref().map(|(at, _)| at),
            "failure": closing.trouble.as_ref().map(|(_, failure)| failure),
        })
    });
    line
}

fn tell_forgotten(out: &mut impl Write, engine: &Engine, forgotten: &[ForgottenLease]) -> io::Result<()> {
    let now = engine.clock().now();
    for ForgottenLease { lease, by, because, at, .. } in forgotten {
        writeln!(out, "{}: {}, forgotten by {by} {}: {because}", lease.id, lease.title, when(now, *at))?;
    }
    Ok(())
}

impl Forget {
    async fn run(self, home: &Home) -> Result {
        home.refuse_remote("nothing can be forgotten")?;
        let engine = home.offline_engine()?;
        let lease = find(&engine, &self.lease).await?;
        engine.forget_lease(&lease, &platform::user(), &self.because).await?;
        terminal::say(format!("{lease} is off the list. Nothing was closed."));
        Ok(Exit::Done)
    }
}

impl Close {
    async fn run(self, home: Home) -> Result {
        if let Some(client) = home.remote() {
            let lease = find(&home.offline_engine()?, &self.lease).await?;
            let run = client.post(&["v1", "leases", &lease, "close"], &json!({})).await?;
            let run = RunId::from(run["id"].as_str().unwrap_or_default());
            return afar::carry(&home, client, &run, afar::From::Beginning, Answers::default()).await;
        }
        // Written down before anything is reached: the closing is due even when Azure is not there now.
        let (lease, mut run) = {
            let engine = home.offline_engine()?;
            let lease = find(&engine, &self.lease).await?;
            let run = engine.close_lease(&lease).await?;
            (lease, run)
        };
        let session = home.connect(Audience::Person).await?;
        let ended = loop {
            let ended = foreground::carry(&session, &run, Answers::default()).await;
            // Another lease on the same endpoint may have been at it first.
            match session.engine.close_lease(&lease).await {
                Ok(next) if next != run && matches!(ended, Ok(Exit::Done)) => run = next,
                _ => break ended,
            }
        };
        session.close().await;
        ended
    }
}
