//! Large results: out of line while they are recorded, back in line when a script wants them.

use serde_json::Value;

use super::{Steps, Unwind};
use crate::core::Core;
use crate::error::{Error, Failure, Result};
use crate::event::{Event, StepEnd, fingerprint};
use crate::limits::{self, Fit};

impl Core {
    /// Returns a result that lies out of line.
    pub(crate) async fn large(&self, sha256: &str) -> Result<Value> {
        let text = self.journal.kept(sha256).await?;
        serde_json::from_str(&text)
            .map_err(|e| Error::storage(format!("the text {sha256} is no JSON")).because(e))
    }
}

impl Steps {
    /// Puts large results out of line. One that cannot be kept becomes the error of its step.
    pub(super) async fn stow(&self, events: Vec<Event>) -> Result<Vec<Event>> {
        let mut stowed = Vec::with_capacity(events.len());
        for event in events {
            stowed.push(match event {
                Event::StepFinished { step, end: StepEnd::Ok(value), effected } => {
                    let end = match limits::fit(&value) {
                        Ok(Fit::Inline) => StepEnd::Ok(value),
                        Ok(Fit::OutOfLine(text)) => {
                            // On the disk before the record that names it.
                            self.core.journal.keep(&text).await?;
                            StepEnd::Large { sha256: fingerprint(&text), bytes: text.len() as u64 }
                        }
                        Err(error) => StepEnd::Err(error.to_failure()),
                    };
                    Event::StepFinished { step, end, effected }
                }
                other => other,
            });
        }
        Ok(stowed)
    }

    /// Returns what a step came to, with its value at hand.
    pub(super) fn value_of(&self, end: StepEnd) -> Result<Result<Value, Failure>, Unwind> {
        match end {
            StepEnd::Ok(value) => Ok(Ok(value)),
            StepEnd::Err(failure) => Ok(Err(failure)),
            StepEnd::Large { sha256, .. } => Ok(Ok(self.bridge.wait(self.core.large(&sha256))??)),
        }
    }
}
