//! `relight completions`: for the shell.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use crate::exit::{Exit, Result};
use crate::terminal;

/// Print a completion script for a shell
///
/// For bash: relight completions bash > ~/.local/share/bash-completion/completions/relight
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// Name of the shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, mut command: clap::Command) -> Result {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "relight", &mut script);
        terminal::out().write_all(&script)?;
        Ok(Exit::Done)
    }
}
