//! `ask` and `confirm`: questions to a person, answered in any process.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cx::Cx;
use crate::error::Result;
use crate::operation::{Effect, Operation, Outcome, Redo, Shown};

/// A question.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// What is asked.
    question: String,
    /// The answers to choose from; any text when left out.
    #[serde(default)]
    choices: Option<Vec<String>>,
}

/// `ask(question, #{ choices })`.
pub(super) struct Ask;

impl Operation for Ask {
    type Args = Question;
    type Output = String;
    const NAME: &'static str = "ask";
    const SUMMARY: &'static str = "Asks a person and gives the answer; the run is parked until then.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;
    const SHOWN: Shown = Shown::Question;

    async fn begin(&self, _: &Cx, args: &Question) -> Result<Outcome<String>> {
        Ok(Outcome::Ask {
            question: args.question.clone(),
            choices: args.choices.clone().unwrap_or_default(),
        })
    }
}

/// What to confirm.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    /// What happens on yes.
    question: String,
}

/// `confirm(question)`.
pub(super) struct Confirm;

impl Operation for Confirm {
    type Args = Claim;
    type Output = bool;
    const NAME: &'static str = "confirm";
    const SUMMARY: &'static str =
        "Asks a person yes or no and gives `true` for yes; the run is parked until then.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;
    const SHOWN: Shown = Shown::Question;

    async fn begin(&self, _: &Cx, args: &Claim) -> Result<Outcome<bool>> {
        Ok(Outcome::Ask { question: args.question.clone(), choices: vec!["yes".into(), "no".into()] })
    }
}
