//! The arguments. Doc comments are the help pages: imperative, no full stop.

use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use relight_engine::Error;

use crate::args::Global;
use crate::commands::{
    audit, certificate, check, completions, connect, docs, doctor, lab, leases, list, login, logout, new,
    notifications, proxy, run, runs, schedule, serve, show, token, whoami,
};
use crate::exit::Result;
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
    Notifications(notifications::Notifications),
    Token(token::Token),
    Audit(audit::Audit),
    Connect(connect::Connect),
    Proxy(proxy::Proxy),
    Certificate(certificate::Certificate),
    Login(login::Login),
    Logout(logout::Logout),
    Whoami(whoami::Whoami),
    Lab(lab::LabServer),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

impl Cli {
    /// Returns how much is said on standard error.
    pub(crate) fn verbose(&self) -> u8 {
        self.global.verbose
    }

    /// Has the environment and the log be where the command wants them, before anything is said.
    ///
    /// # Errors
    /// `Invalid` when one of their files cannot be used.
    pub(crate) fn prepare(&self) -> relight_engine::Result<()> {
        match &self.command {
            Command::Serve(serve) => serve.prepare(),
            _ => Ok(()),
        }
    }

    /// Returns whether the Service Control Manager is to be spoken to.
    #[cfg(windows)]
    pub(crate) fn is_for_service_manager(&self) -> bool {
        matches!(&self.command, Command::Serve(serve) if serve.is_for_service_manager())
    }

    /// Returns whether the command goes on until somebody ends it.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self.command, Command::Serve(_) | Command::Lab(_))
    }
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

/// How long what is left of a command may take to end.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Carries a command out.
pub(crate) fn run(cli: Cli) -> Result {
    let Cli { global, command } = cli;
    match command {
        Command::Run(run) => wait(run.run(&global)),
        Command::List(list) => list.run(&global),
        Command::Show(show) => show.run(&global),
        Command::Check(check) => check.run(&global),
        Command::Docs(docs) => docs.run(&global),
        Command::New(new) => new.run(&global),
        Command::Runs(runs) => wait(runs.run(&global)),
        Command::Leases(leases) => wait(leases.run(&global)),
        Command::Schedule(schedule) => wait(schedule.run(&global)),
        Command::Serve(serve) => wait(serve.run(&global)),
        Command::Notifications(notifications) => wait(notifications.run(&global)),
        Command::Token(token) => token.run(&global),
        Command::Audit(audit) => audit.run(&global),
        Command::Connect(connect) => wait(connect.run(&global)),
        Command::Proxy(proxy) => wait(proxy.run(&global)),
        Command::Certificate(certificate) => wait(certificate.run(&global)),
        Command::Login(login) => wait(login.run(&global)),
        Command::Logout(logout) => wait(logout.run(&global)),
        Command::Whoami(whoami) => wait(whoami.run(&global)),
        Command::Lab(lab) => wait(lab.run(&global)),
        Command::Doctor(doctor) => wait(doctor.run(&global)),
        Command::Completions(completions) => completions.run(self::command()),
    }
}

/// Runs a command that waits for something. The others start faster without all this.
fn wait(command: impl Future<Output = Result>) -> Result {
    // What speaks TLS without being told how must find a provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::storage("failed to start the program's threads").because(e))?;
    let ended = runtime.block_on(command);
    // Tasks let go of the journal, which closes its file; a thread that waits for a person's answer
    // must not keep the program.
    runtime.shutdown_timeout(LAST_WORDS);
    ended
}

/// Returns the whole command, for parsing and for completions.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    /// What lists or shows something does so for programs, too.
    #[test]
    fn whatever_lists_or_shows_has_json() {
        const WORDS: [&str; 5] = ["List", "Show", "See", "Say", "Check"];
        fn look(command: &clap::Command, path: &str, found: &mut Vec<(String, bool)>) {
            let path = format!("{path} {}", command.get_name());
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let word = about.split([' ', ',']).next().unwrap_or_default();
            if WORDS.contains(&word) || ["list", "show"].contains(&command.get_name()) {
                found.push((path.clone(), command.get_arguments().any(|it| it.get_long() == Some("json"))));
            }
            for sub in command.get_subcommands() {
                look(sub, &path, found);
            }
        }
        let mut found = Vec::new();
        let mut whole = command();
        whole.build();
        look(&whole, "", &mut found);
        let lacking: Vec<&String> = found.iter().filter(|(_, has)| !has).map(|(path, _)| path).collect();
        assert!(lacking.is_empty(), "no --json: {lacking:#?}");
        // The words are those that such commands begin with.
        for known in
            ["relight list", "relight runs list", "relight leases", "relight doctor", "relight whoami"]
        {
            assert!(
                found.iter().any(|(path, _)| path.trim() == known),
                "{known} is not looked at: {found:#?}"
            );
        }
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
