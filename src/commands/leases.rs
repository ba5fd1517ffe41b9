//! `relight leases`: what is open, for whom, until when, and who closes it.

use std::io::{self, Write};

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;
use relight_engine::event::{ExtendedLease, ForgottenLease, Lease};
use relight_engine::{Engine, Error, OpenLease, RunId, Span};
use serde_json::{Value, json};

use super::afar;
use super::foreground::{self, Answers};
use super::left_open::tell_who_closes;
use super::which::short;
use crate::args::{Global, Place};
use crate::exit::{Exit, Result};
use crate::format::{Table, moment, when};
use crate::report::Audience;
use crate::serving::attempts;
use crate::setup::Home;
use crate::{platform, terminal};

/// See what is open, close it, and keep it open for longer
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
    Extend(Extend),
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

    /// List what was forgotten and what was extended, too: by whom, when and why
    #[arg(long)]
    all: bool,
}

/// Close something now rather than at its deadline
#[derive(Args, Debug)]
struct Close {
    /// Id of the lease, or enough of its beginning; `@last` is the newest
    lease: String,
}

/// Keep something open for longer than was promised
///
/// It closes at the new time then, and so does what a run scheduled to close it before. There is no way past the time that what opened
/// it allows; the console of a VM stays open for eight hours at most. Nothing is sent. Who did so and when is kept, and shown by
/// `relight leases --all`.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("time").required(true).args(["length", "until"]),
    override_usage = "relight leases extend <LEASE> <FOR>\n       relight leases extend <LEASE> --until <TIME>"
)]
struct Extend {
    /// Id of the lease, or enough of its beginning; `@last` is the newest
    lease: String,

    /// How long from now it stays open, such as 2h
    #[arg(value_name = "FOR")]
    length: Option<Span>,

    /// Until when it stays open, such as 2026-11-20T22:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
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
            Command::Extend(extend) => extend.run(&home).await,
            Command::Forget(forget) => forget.run(&home).await,
        }
    }
}

impl List {
    async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let open = engine.leases().await?;
        let forgotten = if self.all { engine.forgotten_leases().await? } else { Vec::new() };
        let extended = engine.extended_leases().await?;
        let is_served = home.is_served()?;
        let late = open.iter().filter(|open| open.is_late).count();
        let exit = if late > 0 { Exit::Parked } else { Exit::Done };
        let mut out = terminal::out();
        if self.json {
            let open = open.iter().map(|open| as_json(open, &extended, is_served));
            let forgotten = forgotten.iter().map(|forgotten| json!({ "forgotten": forgotten }));
            let extended = extended.iter().filter(|_| self.all);
            let extended = extended.map(|extended| json!({ "extended": extended }));
            for line in open.chain(forgotten).chain(extended) {
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
        let told = |extended: &&ExtendedLease| {
            self.all || open.iter().any(|open| open.lease.id == extended.lease.id)
        };
        for extended in extended.iter().filter(told) {
            let id = open.iter().position(|open| open.lease.id == extended.lease.id).map(|at| &ids[at]);
            writeln!(out, "{}", moved(&engine, extended, id.unwrap_or(&extended.lease.id)))?;
        }
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

fn as_json(open: &OpenLease, extended: &[ExtendedLease], is_served: bool) -> Value {
    let mut line = json!(open.lease);
    let own = extended.iter().filter(|extended| extended.lease.id == open.lease.id);
    let moved = |one: &ExtendedLease| json!({ "from": one.from, "to": one.lease.deadline, "by": one.by, "at": one.at });
    line["extended"] = own.map(moved).collect();
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

/// Says who moved a deadline, when, and from which to which.
fn moved(engine: &Engine, extended: &ExtendedLease, id: &str) -> String {
    let now = engine.clock().now();
    let ExtendedLease { lease, from, by, at, .. } = extended;
    let (from, to, at) = (moment(*from), moment(lease.deadline), when(now, *at));
    format!("{id}: {}, extended by {by} {at}: from {from} to {to}", lease.title)
}

impl Extend {
    async fn run(self, home: &Home) -> Result {
        home.refuse_remote("nothing can be extended")?;
        let engine = home.offline_engine()?;
        let lease = find(&engine, &self.lease).await?;
        let now = engine.clock().now();
        let length = self.length.map(Span::get).unwrap_or_default();
        let until = self.until.unwrap_or_else(|| now.saturating_add(length).unwrap_or(Timestamp::MAX));
        let ExtendedLease { lease, schedules, .. } =
            engine.extend_lease(&lease, until, &platform::user()).await?;
        terminal::say(format!("{} stays open until {}", lease.title, when(now, lease.deadline)));
        for schedule in schedules {
            terminal::say(format!("Schedule {schedule}, which closes it, runs then"));
        }
        if !home.is_served()? && !home.is_lab() {
            terminal::say("A timer of the system that was to close it still does so at the time before");
        }
        tell_who_closes(&engine, home, &[lease]).await?;
        Ok(Exit::Done)
    }
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
