//! `relight list`: the runbooks and what each is for.

use std::io::Write;

use clap::Args;
use relight_engine::{Error, Runbook};
use serde_json::{Value, json};

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::format::{Table, brief};
use crate::setup::Home;
use crate::terminal;

/// List the runbooks
///
/// Your own come from the library folder (`--library`, RELIGHT_LIBRARY, `relight.toml`, or `runbooks` in the
/// configuration folder) and hide those of the same name that ship with the program.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Print the names alone
    #[arg(long, conflicts_with = "json")]
    names: bool,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl List {
    pub(crate) fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let library = home.library();
        let mut out = terminal::out();
        let mut table = Table::default();
        let (modules, runbooks): (Vec<String>, Vec<String>) =
            library.names()?.into_iter().partition(|name| library.is_module(name));
        for name in runbooks {
            match library.runbook(&name) {
                read if self.json => writeln!(out, "{}", as_json(&name, library.is_shipped(&name), read))?,
                _ if self.names => writeln!(out, "{name}")?,
                Ok(runbook) => table.row([name, runbook.title]),
                Err(error) => table.row([name, format!("(broken: {})", brief(&reason(&error), 100))]),
            }
        }
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        if !self.names && !self.json {
            if !modules.is_empty() {
                terminal::say(format!(
                    "\nWithout front matter, and so only to be imported: {}",
                    modules.join(", ")
                ));
            }
            terminal::say(
                "\nRead more with `relight show RUNBOOK`, try one with `relight run RUNBOOK --lab`.",
            );
        }
        Ok(Exit::Done)
    }
}

fn as_json(name: &str, ships: bool, read: relight_engine::Result<Runbook>) -> Value {
    match read {
        Ok(runbook) => json!({
            "name": name,
            "title": runbook.title,
            "summary": runbook.summary,
            "shipped": ships,
            "sha256": runbook.fingerprint,
        }),
        Err(error) => json!({ "name": name, "broken": error.to_failure() }),
    }
}

/// Returns an error with its innermost cause, on one line.
fn reason(error: &Error) -> String {
    let failure = error.to_failure();
    let cause = failure.causes.last().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{}{cause}", failure.message)
}
