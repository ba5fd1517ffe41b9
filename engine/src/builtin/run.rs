//! `run`: another runbook as a step of this one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::code::ErrorCode;
use crate::cx::Cx;
use crate::error::Result;
use crate::operation::{Effect, Operation, Outcome, Redo};

/// Runs another runbook of the library. It has its own journal, and its effects must be among those of the
/// runbook that runs it. A runbook whose name stands in the text is pinned with the run; a computed name is
/// looked up in the library at that time.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Child {
    /// The runbook's name.
    #[schemars(extend("format" = "runbook"))]
    runbook: String,
    /// Its parameters.
    #[serde(default)]
    params: Option<Value>,
}

/// The name of the operation that starts a child run.
pub(crate) const RUN: &str = "run";

/// `run(runbook, #{ params })`.
pub(super) struct Run;

impl Operation for Run {
    type Args = Child;
    type Output = Value;
    const NAME: &'static str = RUN;
    const SUMMARY: &'static str = "Runs another runbook to its end and gives its last value.";
    const EFFECTS: &'static [Effect] = &[];
    // The child's id is derived from this step: a second attempt finds the first one's child.
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::FAILED];

    async fn begin(&self, _: &Cx, args: &Child) -> Result<Outcome<Value>> {
        Ok(Outcome::Child { runbook: args.runbook.clone(), params: args.params.clone().unwrap_or_default() })
    }
}
