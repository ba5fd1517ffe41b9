//! The arguments. Doc comments are the help pages: imperative, no full stop.

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    check, completions, docs, doctor, lab, leases, list, new, run, runs, schedule, serve, show,
};
use crate::terminal;

/// Run durable runbooks for Azure Local and Azure Arc
///
/// Every step of a run is recorded before it touches the world. After a crash, a reboot or Ctrl-C,
/// `relight runs resume` goes on with the operation that is already under way.
#[derive(Debug, Parser)]
#[command(
    name = "relight",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong runbook or arguments, 3 parked, stopped or denied, \
                  4 diverged, 5 storage",
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Use the local lab instead of Azure: one of its own, or a running `relight lab` through its FILE
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub(crate) lab: Option<Option<PathBuf>>,

    /// Let the lab's time pass N times faster than real time [default: 60]
    #[arg(long, global = true, value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) lab_speed: Option<u32>,

    /// Switch a fault of the lab on, such as `reply-lost` or `throttled=3`
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub(crate) lab_fault: Vec<String>,

    /// Look for runbooks in this folder first
    #[arg(long, global = true, value_name = "DIR", env = "RELIGHT_LIBRARY", hide_env = true)]
    pub(crate) library: Option<PathBuf>,

    /// Read this configuration file
    #[arg(long, global = true, value_name = "FILE", env = "RELIGHT_CONFIG", hide_env = true)]
    pub(crate) config: Option<PathBuf>,

    /// Say on standard error what is done; twice to say more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// One command, one file in `commands/`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::Run),
    List(list::List),
    Show(show::Show),
    Check(check::Check),
    Docs(docs::Docs),
    New(new::New),
    Runs(runs::Runs),
    Leases(leases::Leases),
    Schedule(schedule::Schedule),
    Serve(serve::Serve),
    Lab(lab::LabServer),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// Parses the arguments, or prints help or what is wrong with them and exits with 0 or 2.
pub(crate) fn parse() -> Cli {
    let matches = command().try_get_matches().unwrap_or_else(|wrong| match wrong.use_stderr() {
        true => {
            // It repeats what was typed, or what a program passed on.
            terminal::say(wrong.render().to_string().trim_end());
            std::process::exit(wrong.exit_code())
        }
        false => wrong.exit(),
    });
    Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
}

/// Returns the whole command, for parsing and for completions.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// A `NAME=VALUE` on the command line.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    /// The parameter.
    pub(crate) name: String,
    /// Its value, as written.
    pub(crate) value: String,
}

impl std::str::FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Assignment { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err("a parameter is written NAME=VALUE, such as vm=web-01".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    /// Help lines are imperative sentences without a full stop, for every command and argument.
    #[test]
    fn help_lines_start_upper_case_and_end_without_a_full_stop() {
        fn look(command: &clap::Command, path: &str, wrong: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            let arguments = command
                .get_arguments()
                .map(|a| (a.get_id().to_string(), a.get_help().map(ToString::to_string)));
            let own = (String::new(), command.get_about().map(ToString::to_string));
            for (name, help) in arguments.chain([own]) {
                let good = help
                    .as_deref()
                    .is_some_and(|h| h.starts_with(|c: char| c.is_uppercase()) && !h.ends_with('.'));
                if !good {
                    wrong.push(format!("{path} {name}: {help:?}"));
                }
            }
            for sub in command.get_subcommands() {
                look(sub, &path, wrong);
            }
        }
        let mut wrong = Vec::new();
        let mut whole = command();
        whole.build();
        look(&whole, "", &mut wrong);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
