//! What the steps of a run hold open while it is at work.

use serde_json::Value;

use super::{Steps, Unwind, without_retry};
use crate::error::ErrorKind;
use crate::event::{Park, StepEnd};
use crate::handles::Handle;
use crate::operation::Registered;
use crate::replay::StepState;

impl Steps {
    /// Takes note of what recorded steps opened, behind the first `known` of them, so that it can be opened again.
    pub(super) fn know_handles(&self, known: usize) {
        let mut found = Vec::new();
        for (past, step) in self.line().history.steps.iter().zip(1..).skip(known) {
            let StepState::Finished(StepEnd::Ok(value)) = &past.state else { continue };
            let opens = self.parts.language.operation(&past.operation).and_then(|known| known.opens.clone());
            if let Some(opens) = opens {
                found.push((step, opens, past.attempt, past.args.clone(), value.clone()));
            }
        }
        for (step, opens, attempt, args, value) in found {
            let recipe = opens.recipe(
                self.surroundings(step, attempt),
                without_retry(&args).into_owned(),
                Value::clone(&value),
            );
            self.parts.handles.know(self.log.run(), step, recipe);
        }
    }

    /// Opens again what is open whenever the run is at work, before anything is done that is not on record. A run that
    /// is being stopped needs none of it.
    pub(crate) async fn reopen(&self) -> Result<(), Unwind> {
        for step in self.parts.handles.with_run(self.log.run()) {
            if self.stopped_by().is_some() {
                return Ok(());
            }
            self.attend().await?;
            self.remember_secrets(&self.operation(&self.past(step)?.operation)?).await?;
            let handle = Handle::new(self.log.run(), step);
            if let Err(error) = self.parts.handles.live(&handle).await {
                let failure = self.cleaned(error.clone()).to_failure();
                return Err(self
                    .put_away(match error.kind() {
                        ErrorKind::Denied => Park::Denied { failure },
                        _ => Park::Exhausted { failure },
                    })
                    .await);
            }
        }
        Ok(())
    }

    /// Puts the run away when an operation needs a person's terminal, and there is none.
    pub(super) async fn check_terminal(&self, operation: &Registered) -> Result<(), Unwind> {
        if !operation.declaration.terminal || self.parts.is_attended() {
            return Ok(());
        }
        let park = Park::Terminal { operation: operation.declaration.name.to_owned() };
        Err(Box::pin(self.put_away(park)).await)
    }
}
