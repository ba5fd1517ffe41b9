//! What to do next about an error.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::run_id::RunId;

/// What to do next about an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Hint {
    /// Words that stand for themselves: a role, a file to edit, a name that may have been meant.
    Words(String),
    /// A step that the embedding program can offer.
    Step(NextStep),
}

/// A next step that the embedding program can offer.
///
/// The engine knows no command, button or address by which a person takes it, and says which one is meant. A program
/// says how ("list the runs with `relight runs`"); for one that does not, the step reads as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NextStep {
    /// List the runs.
    ListRuns,
    /// Look how a run stands, or how it ended.
    ShowRun {
        /// The run.
        run: RunId,
    },
    /// Begin a new run.
    Run {
        /// The runbook.
        runbook: String,
    },
    /// Begin a new run with parameters.
    RunWith {
        /// The runbook.
        runbook: String,
        /// Its parameters, each with its value.
        params: Vec<(String, String)>,
    },
    /// Begin a new run that does from the top what another did.
    Rerun {
        /// The other.
        run: RunId,
    },
    /// Give the run up, whatever its state.
    Abandon,
    /// List the open leases.
    ListLeases,
    /// List the operations.
    ListOperations,
    /// Read about an operation.
    ReadAbout {
        /// The operation.
        operation: String,
    },
    /// Commit the runbooks, or do not require it ([`RunRequest::require_clean`](crate::RunRequest::require_clean)).
    Commit,
    /// Choose another library.
    ChooseLibrary,
    /// Sign in, as whoever shall do this.
    SignIn,
    /// Trust the authority that made out the certificate of a host.
    Trust {
        /// The host.
        host: String,
    },
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::Words(words) => f.write_str(words),
            Hint::Step(step) => step.fmt(f),
        }
    }
}

impl fmt::Display for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextStep::ListRuns => f.write_str("list the runs"),
            NextStep::ShowRun { run } => write!(f, "look at run {run}"),
            NextStep::Run { runbook } => write!(f, "begin a new run of `{runbook}`"),
            NextStep::RunWith { runbook, params } => {
                write!(f, "begin a new run of `{runbook}`")?;
                params.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
            }
            NextStep::Rerun { run } => write!(f, "begin anew what run {run} did"),
            NextStep::Abandon => f.write_str("or give the run up"),
            NextStep::ListLeases => f.write_str("list the open leases"),
            NextStep::ListOperations => f.write_str("list the operations"),
            NextStep::ReadAbout { operation } => write!(f, "read about `{operation}`"),
            NextStep::SignIn => f.write_str("sign in"),
            NextStep::Commit => f.write_str("commit the runbooks, or do not require it"),
            NextStep::ChooseLibrary => f.write_str("choose another library"),
            NextStep::Trust { host } => write!(
                f,
                "a private cloud, or a proxy that reads along, has an authority of its own: trust its certificate; \
                 until then nothing is sent to {host}"
            ),
        }
    }
}

/// A hint is equal to the words that it says.
impl PartialEq<&str> for Hint {
    fn eq(&self, words: &&str) -> bool {
        matches!(self, Hint::Words(said) if said == words)
    }
}

impl From<NextStep> for Hint {
    fn from(step: NextStep) -> Self {
        Hint::Step(step)
    }
}

impl From<String> for Hint {
    fn from(words: String) -> Self {
        Hint::Words(words)
    }
}

impl From<&str> for Hint {
    fn from(words: &str) -> Self {
        Hint::Words(words.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_recorded_as_text_and_steps_by_name() {
        let hints: [Hint; 3] = [
            "free some space".into(),
            NextStep::ListRuns.into(),
            NextStep::ShowRun { run: RunId::from("4711") }.into(),
        ];
        let recorded =
            json!(["free some space", { "step": "list_runs" }, { "step": "show_run", "run": "4711" }]);
        assert_eq!(serde_json::to_value(&hints).unwrap(), recorded);
        assert_eq!(serde_json::from_value::<[Hint; 3]>(recorded).unwrap(), hints);
    }
}
