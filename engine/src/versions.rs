//! Whether this program understands what another version of it recorded. Asked before anything is
//! written to a run, so that the version that does understand can go on with it.

use crate::core::Parts;
use crate::error::{Error, Result};
use crate::event::FORMAT;
use crate::replay::{History, StepState};
use crate::step::{handed_over, is_elsewhere, without_retry};

impl Parts {
    /// Checks that a run can be driven on from where it stands.
    ///
    /// # Errors
    /// `Storage` when only another version can.
    pub(crate) fn understands(&self, history: &History) -> Result<()> {
        let format = history.prepared.format;
        if format > FORMAT {
            return Err(Error::unreadable(format!(
                "the run has format {format}, and this program knows formats up to {FORMAT}"
            )));
        }
        let Some(past) = history.unfinished().and_then(|step| history.step(step)) else {
            return Ok(());
        };
        let name = &past.operation;
        let operation = self.language.operation(name).ok_or_else(|| {
            Error::unreadable(format!("the run waits for `{name}`, an operation that this program has not"))
        })?;
        let state = match &past.state {
            StepState::Accepted { continuation, .. } => {
                Some(handed_over(continuation).unwrap_or(continuation))
            }
            _ => None,
        };
        // That of other runs is the engine's own.
        let state = state.filter(|state| !is_elsewhere(state));
        operation.understands(&without_retry(&past.args), state)
    }
}
