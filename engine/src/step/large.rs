//! Large results: out of line while they are recorded, back in line when a script wants them.

use std::sync::Arc;

use serde_json::Value;

use super::{Steps, Unwind};
use crate::error::{Failure, Result};
use crate::event::{Event, StepEnd, fingerprint};
use crate::limits::{self, Fit};

/// Puts large results out of line, among the texts that go with their events. One that cannot be kept becomes
/// the error of its step.
pub(super) fn stow(mut events: Vec<Event>, texts: &mut Vec<String>) -> Vec<Event> {
    for event in &mut events {
        let Event::StepFinished { end, .. } = event else { continue };
        let StepEnd::Ok(value) = end else { continue };
        match limits::fit(value) {
            Ok(Fit::Inline) => {}
            Ok(Fit::OutOfLine(text)) => {
                *end = StepEnd::Large { sha256: fingerprint(&text), bytes: text.len() as u64 };
                texts.push(text);
            }
            Err(error) => *end = StepEnd::Err(error.to_failure()),
        }
    }
    events
}

impl Steps {
    /// Returns a result that lies out of line.
    pub(super) async fn large(&self, sha256: &str) -> Result<Value> {
        limits::read_large(sha256, &self.log.text(sha256).await?)
    }

    /// Returns what a step came to, with its value at hand.
    pub(super) fn value_of(&self, end: StepEnd) -> Result<Result<Arc<Value>, Failure>, Unwind> {
        match end {
            StepEnd::Ok(value) => Ok(Ok(value)),
            StepEnd::Err(failure) => Ok(Err(failure)),
            StepEnd::Large { sha256, .. } => Ok(Ok(self.bridge.wait(self.large(&sha256))??.into())),
        }
    }
}
