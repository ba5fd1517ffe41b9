//! The arguments that several commands share.

use std::path::PathBuf;

use clap::Args;

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

/// Whether a command is about the runs here, or about those of a service elsewhere.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Place {
    /// Ask the service at this address rather than here, with the token in RELIGHT_TOKEN
    #[arg(long = "server", global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
}

/// Whether what a command says to Azure is written down.
#[derive(Args, Clone, Debug)]
pub(crate) struct Recorded {
    /// Write what is said to Azure into a new FILE that can be handed on: no secrets, and other names
    ///
    /// The file is whole after each exchange, whatever ends the command. Only its owner can read it.
    #[arg(long = "record", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
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

/// Returns whether a text can be what a person calls a schedule: it is typed, and stands in addresses and file names.
pub(crate) fn is_schedule_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= 63 && text.starts_with(|c| c != '-' && fits(c)) && text.chars().all(fits)
}
