//! How a person takes the steps that an error names: as commands.

use relight_engine::{Hint, NextStep};

use crate::format::quoted;

/// Returns what to do next, in words and commands.
pub(crate) fn told(hint: &Hint) -> String {
    let step = match hint {
        Hint::Words(words) => return words.clone(),
        Hint::Step(step) => step,
    };
    match step {
        NextStep::ListRuns => "list the runs with `relight runs`".to_owned(),
        NextStep::ShowRun { run } => format!("look at it with `relight runs show {run}`"),
        NextStep::Run { runbook } => format!("begin anew: `relight run {runbook}`"),
        NextStep::RunWith { runbook, params } => format!("`{}`", run(runbook, params)),
        NextStep::Rerun { run } => format!("begin anew: `relight runs rerun {run}`"),
        NextStep::Abandon => "or give the run up: `relight runs abandon`".to_owned(),
        NextStep::ListLeases => "list them with `relight leases`".to_owned(),
        NextStep::ListOperations => "list the operations with `relight docs`".to_owned(),
        NextStep::ReadAbout { operation } => format!("see `relight docs {operation}`"),
        NextStep::SignIn => "sign in with `relight login`".to_owned(),
        NextStep::Commit => "commit the runbooks, or run without --require-clean".to_owned(),
        NextStep::ChooseLibrary => "or give another library with --library".to_owned(),
        NextStep::Trust { host } => format!(
            "a private cloud, or a proxy that reads along, has an authority of its own: name the file with its \
             certificate (PEM) in RELIGHT_CLOUD_CA_BUNDLE; until then nothing is sent to {host}"
        ),
        // One that the engine has learned and this command has not.
        step => step.to_string(),
    }
}

/// Returns the command that takes a step at `place`, if one command does.
pub(crate) fn command(hint: &Hint, place: &str) -> Option<String> {
    match hint {
        Hint::Words(words) => words.starts_with("az ").then(|| words.clone()),
        Hint::Step(NextStep::RunWith { runbook, params }) => Some(format!("{}{place}", run(runbook, params))),
        Hint::Step(NextStep::SignIn) => Some("relight login".to_owned()),
        Hint::Step(_) => None,
    }
}

/// Returns the command that runs a runbook.
fn run(runbook: &str, params: &[(String, String)]) -> String {
    let mut command = format!("relight run {runbook}");
    for (name, value) in params {
        command.push_str(&format!(" {name}={}", quoted(value)));
    }
    command
}
