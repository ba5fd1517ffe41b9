//! The `relight` command: durable runbooks for Azure Local and Azure Arc.
//!
//! Talks to people and decides nothing: what a run is and does is the engine's, what Azure is told
//! is the standard library's. This package owns the arguments, the terminal, the folders on disk
//! and the exit codes.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accounts;
mod args;
mod azure;
mod certificate;
mod cli;
mod commands;
mod config;
#[cfg(debug_assertions)]
mod drill;
mod environment;
mod exit;
mod exported;
mod format;
mod interrupt;
mod keyring;
mod lab;
mod log_file;
mod logging;
mod memory;
mod next_step;
mod notify;
mod outgoing;
mod platform;
mod record;
mod remote;
mod report;
mod retention;
mod runbooks;
mod secrets;
mod service;
mod serving;
mod setup;
mod supervisor;
mod terminal;
mod traces;
mod trust;
mod visible;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::parse();
    #[cfg(windows)]
    if cli.is_for_service_manager() {
        return exit::Exit::of(run_as_service(cli)).into();
    }
    carry_out(cli).into()
}

fn carry_out(cli: cli::Cli) -> exit::Exit {
    if let Err(error) = cli.prepare() {
        return exit::Exit::of(Err(error.into()));
    }
    logging::begin(cli.verbose(), cli.is_service());
    exit::Exit::of(cli::run(cli))
}

#[cfg(windows)]
fn run_as_service(cli: cli::Cli) -> exit::Result {
    supervisor::run(|| carry_out(cli).code())?;
    Ok(exit::Exit::Done)
}
