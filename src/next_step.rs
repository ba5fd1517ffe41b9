//! How a person takes the steps that an error names: as commands.

use relight_engine::{Hint, NextStep};

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
