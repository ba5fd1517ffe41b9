//! The `relight` command: durable runbooks for Azure Local and Azure Arc.
//!
//! Talks to people and decides nothing: what a run is and does is the engine's, what Azure is told
//! is the standard library's. This package owns the arguments, the terminal, the folders on disk
//! and the exit codes.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod azure;
mod cli;
mod commands;
mod config;
#[cfg(debug_assertions)]
mod drill;
mod exit;
mod interrupt;
mod lab;
mod memory;
mod platform;
mod report;
mod runbooks;
mod secrets;
mod serving;
mod setup;
mod terminal;
mod visible;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::parse();
    terminal::log(&cli);
    let ended = commands::run(cli);
    exit::Exit::of(ended).into()
}
