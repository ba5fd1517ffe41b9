//! A run that has no script and makes one call, such as the closing of a lease.

use std::sync::Arc;

use super::{Steps, Unwind};
use crate::event::{Call, Place, StepEnd};
use crate::log::Hold;
use crate::script::Ending;

impl Steps {
    /// Makes the only call of a run that has no script, or goes on with it.
    pub(crate) async fn only_call(&self, call: &Call) -> Ending {
        match self.only_step(call).await {
            Ok(StepEnd::Err(failure)) => Ending::Error(failure.to_error(), None),
            Ok(StepEnd::Ok(value)) => Ending::Value(Arc::unwrap_or_clone(value)),
            Ok(StepEnd::Large { sha256, .. }) => match self.large(&sha256).await {
                Ok(value) => Ending::Value(value),
                Err(error) => self.unwound(error.into()),
            },
            Err(Unwind::Mistake(error)) => {
                // What is no step takes no number.
                self.line().reached -= 1;
                Ending::Mistake(error, None, false)
            }
            Err(unwind) => self.unwound(unwind),
        }
    }

    async fn only_step(&self, call: &Call) -> Result<StepEnd, Unwind> {
        let operation = self.operation(&call.operation)?;
        match self.reach(&operation, &call.args)? {
            (_, Some(end)) => Ok(end),
            (step, None) => {
                let (args, at) = (call.args.clone(), Place::default());
                self.live(step, &operation, args, at, Hold::Step).await
            }
        }
    }

    fn unwound(&self, unwind: Unwind) -> Ending {
        self.line().unwind = Some(unwind);
        Ending::Unwound
    }
}
