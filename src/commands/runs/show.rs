//! `relight runs show`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;

use clap::Args;
use jiff::Timestamp;
use relight_engine::event::{Cause, Event, RunEnd, Signal, StepEnd, fingerprint};
use relight_engine::journal::{Status, Summary};
use relight_engine::replay::History;
use relight_engine::{Engine, ErrorKind, Notice, RunId, Shown};

use crate::commands::which::Which;
use crate::commands::{advice, files};
use crate::exit::{Exit, Result};
use crate::format::{Table, assignments, between, brief, in_local_time, length, plain, quoted, when};
use crate::report::{self, json_line};
use crate::setup::Home;
use crate::terminal;
use crate::traces::trace_of;

/// Show a run and its steps
#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    which: Which,

    /// Print every event as one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let summary = self.which.find(&engine).await?;
        let records = engine.journal().records(&summary.id, 0).await?;
        let mut events = Vec::with_capacity(records.len());
        for record in &records {
            events.push(Notice::new(summary.id.clone(), Some(record.seq), record.at, record.event()?));
        }
        let mut out = terminal::out();
        if self.json {
            for event in &events {
                writeln!(out, "{}", json_line(event))?;
            }
            return Ok(Exit::Done);
        }
        let history = History::read(&records)?;
        let now = engine.clock().now();
        let prepared = &history.prepared;
        let mut table = Table::default();
        table.row(["run".into(), summary.id.to_string()]);
        table.row(["runbook".into(), format!("{}{}", prepared.runbook, origin(&history))]);
        let state = advice::state(&engine, &summary);
        let state = match (&history.end, &summary.park) {
            (Some(end), _) => report::outcome(end),
            (None, Some(park)) => format!("{state}: {}", report::why(park)),
            (None, None) => match advice::why(&engine, &summary) {
                Some(why) => format!("{state}: {why}"),
                None => state.to_owned(),
            },
        };
        table.row(["state".into(), state]);
        if let Some(wake) = summary.wake.filter(|_| !summary.status.is_over()) {
            table.row(["goes on".into(), when(now, wake)]);
        }
        table.row(["began".into(), format!("{}{}", when(now, history.created), cause(&prepared.cause))]);
        if let Some(who) = &prepared.who {
            table.row(["by".into(), who.clone()]);
        }
        table.row(["changed".into(), when(now, summary.updated)]);
        if !prepared.labels.is_empty() {
            let labels = prepared.labels.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
            table.row(["labels".into(), labels.collect::<Vec<_>>().join(" ")]);
        }
        let given = assignments(&prepared.params);
        if !given.is_empty() {
            table.row(["with".into(), given]);
        }
        if let Some(call) = prepared.call() {
            table.row(["calls".into(), format!("{} {}", call.operation, assignments(&call.args))]);
        }
        table.row(["in".into(), prepared.workdir.clone()]);
        // A variable that is wrong is told by what it matters to.
        if home.remote().is_none() && home.traces().is_ok_and(|traces| traces.is_some()) {
            table.row(["trace".into(), trace_of(&**engine.journal(), &summary.id).await?]);
        }
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        for lines in [
            steps(&events, now),
            branches(&engine, &summary, &history).await?,
            files::lines(&history, home.remote().is_none()),
        ] {
            if !lines.is_empty() {
                writeln!(out)?;
            }
            for line in lines {
                writeln!(out, "{line}")?;
            }
        }
        drop(out);
        complain(&engine, &summary.id).await?;
        let id = engine.shortest(&summary.id).await?;
        if let Some(command) = advice::next(&engine, &summary, &id, home).await? {
            terminal::say(format!("\nGo on with: {command}"));
        }
        Ok(Exit::Done)
    }
}

/// Shows the branches of the run's steps: one by one those that are not done, the others by their number.
async fn branches(engine: &Engine, run: &Summary, history: &History) -> Result<Vec<String>> {
    let mut table = Table::headed(&["BRANCH", "STATE", "STEPS"]);
    let (mut any, mut done) = (false, 0_usize);
    let operations = engine.operations();
    let has_branches =
        |name: &str| operations.iter().any(|it| it.name == name && it.shown == Shown::Branches);
    for (step, _) in (1..).zip(&history.steps).filter(|(_, past)| has_branches(&past.operation)) {
        for branch in engine.branches(&run.id, step).await? {
            if branch.status == Status::Succeeded {
                done += 1;
                continue;
            }
            any = true;
            let state = advice::state(engine, &branch).to_owned();
            let state =
                branch.park.as_ref().map_or(state.clone(), |park| format!("{state}: {}", report::why(park)));
            table.row([engine.shortest(&branch.id).await?, state, branch.step.to_string()]);
        }
    }
    let mut lines = if any { table.lines(0) } else { Vec::new() };
    if done > 0 {
        lines.push(format!("branches that are done: {done}"));
    }
    Ok(lines)
}

/// Shows the error on which the run ended or is parked.
async fn complain(engine: &Engine, run: &RunId) -> Result<()> {
    for error in [engine.failure(run).await?, engine.trouble(run).await?].into_iter().flatten() {
        terminal::complain(&error);
    }
    Ok(())
}

/// Returns which text exactly the run pins.
fn origin(history: &History) -> String {
    let prepared = &history.prepared;
    let mended = history.mended.as_ref().and_then(|texts| texts.first()).map(|main| fingerprint(&main.text));
    let pinned = prepared.sources.first().map(|pin| pin.fingerprint.clone());
    let also = if mended.is_some() { ", mended" } else { "" };
    let text = mended.or(pinned).map(|hash| format!(", sha256 {}{also}", brief_hash(&hash)));
    let commit = prepared.provenance.commit.as_ref().map(|commit| {
        let dirty = if prepared.provenance.dirty { " with changes" } else { "" };
        format!(", commit {}{dirty}", brief_hash(commit))
    });
    format!("{}{}", text.unwrap_or_default(), commit.unwrap_or_default())
}

fn brief_hash(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Schedule { id, .. } => format!(", by schedule {id}"),
        Cause::Lease { id } => format!(", to close lease {id}"),
        Cause::Run { id, step, branch: None } => format!(", by step {step} of run {id}"),
        Cause::Run { id, step, branch: Some(n) } => format!(", branch {} of step {step} of run {id}", n + 1),
        Cause::Rerun { of } => format!(", after run {of}"),
        // A person's run needs no explanation.
        _ => String::new(),
    }
}

/// One step as a line of the table.
struct Step {
    operation: String,
    line: usize,
    began: Timestamp,
    state: &'static str,
    took: String,
    said: String,
}

impl Step {
    fn is_over(&self) -> bool {
        matches!(self.state, "done" | "failed" | "wrong" | "stopped")
    }
}

fn steps(events: &[Notice], now: Timestamp) -> Vec<String> {
    let mut steps: BTreeMap<u32, Step> = BTreeMap::new();
    for Notice { at, event, .. } in events {
        match event {
            Event::StepStarted { step, operation, args, at: place, .. } => {
                let said = args.get("text").filter(|_| operation == "note").map(plain).unwrap_or_default();
                let said = in_local_time(&said);
                let begun = Step {
                    operation: operation.clone(),
                    line: place.line,
                    began: *at,
                    state: "sent",
                    took: length(between(*at, now)),
                    said: brief(&said, 70),
                };
                match steps.entry(*step) {
                    // A wrong call was no step: the call of the mended text has its number.
                    Entry::Occupied(mut known) if known.get().state == "wrong" => {
                        known.insert(begun);
                    }
                    known => drop(known.or_insert(begun)),
                }
            }
            Event::StepRetrying { step, failure, .. } => {
                if let Some(known) = steps.get_mut(step) {
                    known.state = "again";
                    known.said = brief(&failure.message, 70);
                }
            }
            Event::StepAccepted { step, .. } => {
                if let Some(known) = steps.get_mut(step) {
                    known.state = "under way";
                    known.said.clear();
                }
            }
            // What was under way then is waited for no more. What was deferred comes behind it.
            Event::Signalled { signal: Signal::Stop { .. } }
            | Event::Finished { end: RunEnd::Stopped { .. } | RunEnd::Abandoned { .. }, .. } => {
                for known in steps.values_mut().filter(|known| !known.is_over()) {
                    known.state = "stopped";
                    known.took = length(between(known.began, *at));
                }
            }
            Event::StepFinished { step, end, .. } => {
                if let Some(known) = steps.get_mut(step) {
                    known.took = length(between(known.began, *at));
                    match end {
                        StepEnd::Ok(_) | StepEnd::Large { .. } => known.state = "done",
                        StepEnd::Err(failure) => {
                            let wrong = failure.kind == ErrorKind::Script;
                            known.state = if wrong { "wrong" } else { "failed" };
                            known.said = brief(&failure.message, 70);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    if steps.is_empty() {
        return Vec::new();
    }
    let mut table = Table::headed(&["STEP", "LINE", "CALL", "STATE", "TOOK", ""]);
    for (number, step) in steps {
        let Step { operation, line, state, took, said, .. } = step;
        let line = if line == 0 { String::new() } else { format!("{line:>4}") };
        table.row([format!("{number:>4}"), line, operation, state.to_owned(), took, said]);
    }
    table.lines(0)
}
