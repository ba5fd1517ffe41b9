//! One file per command: its arguments, whose doc comments are the help page, and what it does.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod docs;
pub(crate) mod doctor;
mod foreground;
pub(crate) mod lab;
pub(crate) mod leases;
pub(crate) mod list;
pub(crate) mod new;
mod plan;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod schedule;
pub(crate) mod serve;
pub(crate) mod show;

use std::time::Duration;

use relight_engine::{Error, RunRequest};

use crate::cli::{Assignment, Cli, Command};
use crate::exit::Result;

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
        Command::Lab(lab) => wait(lab.run(&global)),
        Command::Doctor(doctor) => wait(doctor.run(&global)),
        Command::Completions(completions) => completions.run(),
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

/// Makes a request of what stands on the command line: a name in the library, or a file.
fn request(runbook: &str, params: &[Assignment]) -> Result<RunRequest> {
    let workdir = std::env::current_dir()
        .map_err(|e| Error::invalid("the current folder cannot be used").because(e))?;
    let path = std::path::Path::new(runbook);
    let mut request = match path.extension().is_some_and(|ending| ending == "rhai") && path.is_file() {
        true => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Error::invalid(format!("failed to read {}", path.display())).because(e))?;
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            RunRequest::new(name).text(text)
        }
        false => RunRequest::new(runbook.strip_suffix(".rhai").unwrap_or(runbook)),
    };
    request.workdir = workdir;
    for Assignment { name, value } in params {
        request = request.param(name, value);
    }
    Ok(request)
}
