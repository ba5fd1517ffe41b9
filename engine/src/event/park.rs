//! Why a run is put away, and what brings it back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Place, RunId};
use crate::error::Failure;

/// Why a run is put away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Park {
    /// It waits for a time or for an operation that is under way.
    Waiting,
    /// A question waits for a person's answer.
    Question {
        /// The question.
        text: String,
        /// The answers that are understood; any text when empty.
        #[serde(default)]
        choices: Vec<String>,
    },
    /// A request was sent, and nobody can tell from here whether it took effect.
    Undecided {
        /// What is known about it.
        failure: Failure,
    },
    /// Retries ran out, or a wait passed its deadline.
    Exhausted {
        /// The last error.
        failure: Failure,
    },
    /// An identity or a role is missing.
    Denied {
        /// The refusal.
        failure: Failure,
    },
    /// Going on would not be safe: a replay did not meet what was recorded, the text cannot be read
    /// any more, or driving the run ended its process again and again.
    Halted {
        /// Why.
        failure: Failure,
    },
    /// The runbook has a mistake that showed only now. Its text can be mended; what was done and
    /// answered is kept.
    Mistake {
        /// The mistake.
        failure: Failure,
        /// Where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
        /// When the run is stopped unless somebody mended it, so that what it deferred runs. Not set
        /// when it deferred nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mend_by: Option<Timestamp>,
    },
    /// A person interrupted it, and goes on with it when it suits.
    Interrupted,
    /// The process that drove it ended in good order; the next one goes on with it at once.
    HandedBack,
    /// It is at an operation that needs a person's terminal, and there was none.
    Terminal {
        /// The operation.
        operation: String,
    },
    /// It waits for a child run.
    Child {
        /// The child.
        run: RunId,
    },
}

impl Park {
    /// Returns whether the run goes on by itself, without a person.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Park::Waiting | Park::Child { .. } | Park::HandedBack)
    }

    /// Returns the error for which it is put away, if it is for one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Park::Undecided { failure }
            | Park::Exhausted { failure }
            | Park::Denied { failure }
            | Park::Halted { failure }
            | Park::Mistake { failure, .. } => Some(failure),
            Park::Waiting
            | Park::Question { .. }
            | Park::Interrupted
            | Park::HandedBack
            | Park::Terminal { .. }
            | Park::Child { .. } => None,
        }
    }

    /// Returns whether a signal makes the run go on. Any does while it waits or asks. What
    /// a person has to look at first hears only that it shall stop, or every answer and every child
    /// that comes late would wake it for nothing.
    pub fn hears(&self, word: &Signal) -> bool {
        match self {
            Park::Question { .. } | Park::Undecided { .. } => true,
            park => park.is_waiting() || matches!(word, Signal::Stop { .. }),
        }
    }
}

/// What is said to a run from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Signal {
    /// The answer to the question or the undecided step on which the run is parked.
    Answer {
        /// The step it answers.
        step: u32,
        /// The answer.
        value: Value,
        /// Who gave it.
        by: String,
    },
    /// A child run on which the run is parked is over.
    ChildEnded {
        /// The child.
        run: RunId,
    },
    /// A wish to end the run. What it deferred still runs.
    Stop {
        /// Who wants it.
        by: String,
    },
}
