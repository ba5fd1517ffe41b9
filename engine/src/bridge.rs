//! The only place where blocking scripts and async work meet.

use std::cell::Cell;
use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::script::STACK;

thread_local! {
    /// Whether the thread is a script's own.
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether the calling thread is a script's own, which may block: nothing else waits for it.
pub(crate) fn may_block() -> bool {
    OWN.get()
}

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
            OWN.set(true);
            // Nobody listens any more only when the whole engine is going away.
            let _ = done.send(script());
        })
        .map_err(|e| Error::storage("failed to start a thread for the runbook").because(e))?;
    result.await.map_err(|_| {
        Error::invalid("the script interpreter gave up on this runbook")
            .hint("nothing more was sent; please report the runbook that does this")
    })
}
