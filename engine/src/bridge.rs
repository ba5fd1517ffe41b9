//! The only place where blocking scripts and async work meet.

use std::cell::RefCell;
use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::error::{Error, ErrorKind, Result};

/// The stack of a script's thread. A debug build of Rhai needs ten times what a release build does;
/// pages that are not touched cost nothing.
const STACK: usize = 32 << 20;

thread_local! {
    /// On a script's own thread: gone when whoever waits for the script is.
    static AWAITED: RefCell<Option<watch::Receiver<()>>> = const { RefCell::new(None) };
}

/// Returns whether the calling thread is a script's own, which may block: nothing else waits for it.
#[cfg(feature = "sqlite")]
pub(crate) fn may_block() -> bool {
    AWAITED.with_borrow(Option::is_some)
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
    ///
    /// # Errors
    /// `Stopped` when the runtime is torn down, which drops whoever waits for the script before it takes its
    /// timers away.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let awaited = AWAITED.with_borrow(Clone::clone);
        self.0.block_on(async move {
            let torn_down = async {
                match awaited {
                    // It says nothing, and is gone one day.
                    Some(mut awaited) => while awaited.changed().await.is_ok() {},
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = torn_down => Err(Error::new(ErrorKind::Stopped, "the program is ending")),
                done = work => Ok(done),
            }
        })
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
    let (_waits, awaited) = watch::channel(());
    std::thread::Builder::new()
        .name("runbook".into())
        .stack_size(STACK)
        .spawn(move || {
            AWAITED.set(Some(awaited));
            // Nobody listens any more only when the whole engine is going away.
            let _ = done.send(script());
        })
        .map_err(|e| Error::storage("failed to start a thread for the runbook").because(e))?;
    result.await.map_err(|_| {
        Error::invalid("the script interpreter gave up on this runbook")
            .hint("nothing more was sent; please report the runbook that does this")
    })
}
