//! The only place where blocking scripts and async work meet.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::script::STACK;

/// A way from a script's thread to the async side.
#[derive(Clone)]
pub(crate) struct Bridge(Handle);

impl Bridge {
    /// Makes a bridge to the runtime that this is called on.
    pub(crate) fn here() -> Self {
        Bridge(Handle::current())
    }

    /// Blocks the calling thread, which must be a script's own, until the work is done.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.block_on(work)
    }
}

/// Runs a script on a thread of its own and waits for it without blocking.
///
/// # Errors
/// `Storage` when the machine has no thread to give; `Invalid` when the interpreter panicked.
pub(crate) async fn on_own_thread<T: Send + 'static>(
    script: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("runbook".into())
        .stack_size(STACK)
        .spawn(move || {
            // Nobody listens any more only when the whole engine is going away.
            let _ = done.send(script());
        })
        .map_err(|e| Error::storage("failed to start a thread for the runbook").because(e))?;
    result.await.map_err(|_| {
        Error::invalid("the script interpreter gave up on this runbook")
            .hint("nothing more was sent; please report the runbook that does this")
    })
}
