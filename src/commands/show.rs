//! `relight show`: what a runbook does, needs and takes.

use std::io::Write;

use clap::Args;
use relight_engine::{Param, PlannedCall, Runbook};
use serde_json::{Value, json};

use super::plan;
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::format::{Table, plain, wrapped};
use crate::setup::Home;
use crate::terminal;
use crate::visible::one_line;

/// Show what a runbook does, what it may touch and which parameters it takes
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Name of the runbook
    runbook: String,

    /// Print its text instead
    #[arg(long, conflicts_with = "json")]
    source: bool,

    /// Print it as one JSON object
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(crate) fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let library = home.library();
        let mut out = terminal::out();
        if self.source {
            out.write_all(library.source(&self.runbook)?.text.as_bytes())?;
            return Ok(Exit::Done);
        }
        let runbook = library.runbook(&self.runbook)?;
        if self.json {
            let calls = home.engine()?.calls(&self.runbook);
            writeln!(out, "{}", as_json(&runbook, library.is_shipped(&runbook.name), calls))?;
            return Ok(Exit::Done);
        }
        writeln!(out, "{}: {}", runbook.name, one_line(&runbook.title))?;
        if !runbook.summary.is_empty() {
            writeln!(out)?;
            for line in wrapped(&runbook.summary, terminal::width()) {
                writeln!(out, "{line}")?;
            }
        }
        writeln!(out, "\nUsage: {}", usage(&runbook))?;
        if !runbook.params.is_empty() {
            writeln!(out, "\nParameters:")?;
            let mut table = Table::default();
            for param in &runbook.params {
                table.row([param.name.clone(), param.kind.to_string(), explained(param)]);
            }
            for line in table.lines(2) {
                writeln!(out, "{line}")?;
            }
        }
        match home.engine()?.calls(&self.runbook) {
            Ok(calls) if calls.is_empty() => {}
            Ok(calls) => {
                writeln!(out, "\nCalls:")?;
                for line in plan::lines(&runbook.name, &calls, false) {
                    writeln!(out, "{line}")?;
                }
                writeln!(out, "{}.", plan::changes(&calls))?;
            }
            Err(_) => writeln!(out, "\nCalls cannot be read: see `relight check {}`", self.runbook)?,
        }
        let reach = runbook.reach();
        let effects: Vec<&str> = reach.words().collect();
        let shipped = if library.is_shipped(&runbook.name) { "ships with relight" } else { "own" };
        let mut table = Table::default();
        table.row([
            "May:".to_owned(),
            if effects.is_empty() { "only compute".to_owned() } else { effects.join(", ") },
        ]);
        if let Some(at_once) = at_once(&runbook) {
            table.row(["At once:".to_owned(), at_once]);
        }
        if !runbook.roles.is_empty() {
            table.row(["Roles:".to_owned(), runbook.roles.join(", ")]);
        }
        table.row(["Source:".to_owned(), format!("{shipped}, sha256 {}", &runbook.fingerprint[..16])]);
        writeln!(out)?;
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        Ok(Exit::Done)
    }
}

/// Says how many of its runs may be under way at once, if that is bounded.
fn at_once(runbook: &Runbook) -> Option<String> {
    let all = runbook.concurrency.map(|most| format!("{most} of its runs"));
    let target =
        (!runbook.target.is_empty()).then(|| format!("one run on the same {}", runbook.target.join("/")));
    let said: Vec<String> = all.into_iter().chain(target).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn as_json(runbook: &Runbook, ships: bool, calls: relight_engine::Result<Vec<PlannedCall>>) -> Value {
    let param = |param: &Param| {
        json!({
            "name": param.name,
            "help": param.help,
            "type": param.kind.to_string(),
            "required": param.required,
            "default": param.default,
            "min": param.min,
            "max": param.max,
            "one_of": param.one_of,
            "pattern": param.pattern,
        })
    };
    json!({
        "name": runbook.name,
        "title": runbook.title,
        "summary": runbook.summary,
        "params": runbook.params.iter().map(param).collect::<Vec<_>>(),
        // Those of a text that cannot be read are not known.
        "calls": calls.ok(),
        "effects": runbook.reach().words().collect::<Vec<_>>(),
        "roles": runbook.roles,
        "concurrency": runbook.concurrency,
        "target": runbook.target,
        "shipped": ships,
        "sha256": runbook.fingerprint,
    })
}

/// Returns the command line that runs it.
fn usage(runbook: &Runbook) -> String {
    let param = |param: &Param| match param.required && param.default.is_none() {
        true => format!(" {}=..", param.name),
        false => format!(" [{}=..]", param.name),
    };
    format!("relight run {}{}", runbook.name, runbook.params.iter().map(param).collect::<String>())
}

/// Returns a parameter's help, with its default and its limits.
fn explained(param: &Param) -> String {
    let mut limits = Vec::new();
    if !param.one_of.is_empty() {
        limits.push(format!("one of {}", param.one_of.iter().map(plain).collect::<Vec<_>>().join(", ")));
    }
    limits.extend(param.pattern.as_ref().map(|pattern| format!("like {pattern}")));
    limits.extend(param.min.as_ref().map(|min| format!("at least {}", plain(min))));
    limits.extend(param.max.as_ref().map(|max| format!("at most {}", plain(max))));
    match &param.default {
        Some(default) => limits.push(format!("default {}", plain(default))),
        None if !param.required => limits.push("may be left out".to_owned()),
        None => {}
    }
    match limits.is_empty() {
        true => param.help.clone(),
        false => format!("{} [{}]", param.help, limits.join("; ")).trim_start().to_owned(),
    }
}
