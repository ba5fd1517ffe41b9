//! The one adapter between a [`ResourceOperation`] and the engine.

use relight_engine::Registered;

use super::{Change, ResourceOperation};
use crate::prelude::*;

/// Makes an operation one of the engine's.
pub(crate) fn register<O: ResourceOperation>(operation: O) -> Registered {
    Registered::new(Reconciler(operation))
}

struct Reconciler<O>(O);

impl<O: ResourceOperation> Operation for Reconciler<O> {
    type Args = O::Args;
    type Output = O::Value;

    const NAME: &'static str = O::NAME;
    const SUMMARY: &'static str = O::SUMMARY;
    const EFFECTS: &'static [Effect] = O::EFFECTS;
    const REDO: Redo = O::REDO;
    const CODES: &'static [ErrorCode] = O::CODES;

    fn examples() -> Vec<Example> {
        O::examples()
    }

    async fn begin(&self, cx: &Cx, args: &O::Args) -> Result<Outcome<O::Value>> {
        let change = Change::of(self.0.target(cx, args).await?);
        change.advance(&self.0, cx, args).await?.outcome(self.0.within(args))
    }

    async fn resume(&self, cx: &Cx, args: &O::Args, at: &Value) -> Result<Outcome<O::Value>> {
        let change: Change<O::Target> = restored(O::NAME, at)?;
        change.advance(&self.0, cx, args).await?.outcome(self.0.within(args))
    }

    async fn probe(&self, cx: &Cx, args: &O::Args) -> Result<Probe<O::Value>> {
        let target = self.0.target(cx, args).await?;
        Change::probe(target, &self.0, cx, args, self.0.within(args)).await
    }
}
