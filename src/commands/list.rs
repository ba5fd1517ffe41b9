//! `relight list`: the runbooks and what each is for.

use std::io::{self, Write};

use clap::Args;

use crate::cli::Global;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::terminal;
use crate::words::Table;

/// List the runbooks
///
/// Your own come from the library folder (`--library`, RELIGHT_LIBRARY, `relight.toml`, or `runbooks` in the
/// configuration folder) and hide those of the same name that ship with the program.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Print the names alone
    #[arg(long)]
    names: bool,
}

impl List {
    pub(crate) fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let library = home.library();
        let mut out = io::stdout().lock();
        let mut table = Table::default();
        for name in library.names()? {
            match library.runbook(&name) {
                _ if self.names => writeln!(out, "{name}")?,
                Ok(runbook) => table.row([name, runbook.title]),
                Err(_) => table.row([name.clone(), format!("(cannot be read: see `relight check {name}`)")]),
            }
        }
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        if !self.names {
            terminal::say(
                "\nRead more with `relight show RUNBOOK`, try one with `relight run RUNBOOK --lab`.",
            );
        }
        Ok(Exit::Done)
    }
}
