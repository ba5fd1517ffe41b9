//! What one evaluation has with it, wherever the interpreter calls.

use std::sync::{Arc, Mutex};

use rhai::{Dynamic, Engine as Rhai, EvalAltResult, FnPtr, NativeCallContext};

use super::Host;
use super::ending::{Over, mistake, terminated};
use super::limits::Budget;

/// What travels with every native call of one evaluation.
pub(super) struct Context {
    pub(super) host: Arc<dyn Host>,
    pub(super) deferred: Mutex<Vec<FnPtr>>,
    pub(super) over: Over,
    pub(super) budget: Arc<Budget>,
}

impl Context {
    /// Has an interpreter ask after every operation and at every use of a variable.
    pub(super) fn watch(self: &Arc<Self>, engine: &mut Rhai) {
        let watched = self.clone();
        engine.on_progress(move |operations| {
            if watched.over.is_over() || watched.host.is_halted() {
                return Some(Dynamic::UNIT);
            }
            watched.budget.check(operations).err().map(|error| Dynamic::from(error.to_failure()))
        });
        let budget = self.budget.clone();
        // Rhai calls this deprecated because it may change; nothing else shows the variables.
        #[allow(deprecated)]
        engine.on_var(move |_, _, context| match budget.look(&context) {
            Ok(()) => Ok(None),
            Err(error) => Err(mistake(&error)),
        });
    }

    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.lock().expect("no panic while the list is held").is_empty()
    }
}

/// Returns what the evaluation has with it that makes a call.
pub(super) fn of_call(context: &NativeCallContext<'_>) -> Result<Arc<Context>, Box<EvalAltResult>> {
    let tag = context.tag().and_then(|tag| tag.read_lock::<Arc<Context>>()).map(|tag| tag.clone());
    // Compiling or inspecting a runbook evaluates nothing; without a tag this is a call from outside a
    // run. Behind the end of an evaluation nothing is called either.
    tag.filter(|tag| !tag.over.is_over()).ok_or_else(|| terminated(context.call_position()))
}
