//! The only place where blocking scripts and async work meet.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};

/// The stack of a script's thread. A debug build of Rhai needs ten times what a release build does;
/// pages that are not touched cost nothing.
const STACK: usize = 32 << 20;

thread_local! {
    /// On a script's own thread: whether anybody waits for the script.
    static AWAITED: RefCell<Option<Arc<Gate>>> = const { RefCell::new(None) };
}

/// Whether anybody waits for a script. Its thread holds this while it is at work that belongs to the runtime.
#[derive(Default)]
struct Gate(Mutex<Awaited>);

#[derive(Default)]
struct Awaited {
    is_gone: bool,
    /// Wakes the thread, while it waits for something.
    thread: Option<Waker>,
}

impl Gate {
    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever waits for a script, as the async side holds it. It goes only while the script's thread is not in the midst of something: a
/// runtime drops its tasks first and takes its timers away then, and a timer that is touched after that panics.
struct Waits(Arc<Gate>);

impl Drop for Waits {
    fn drop(&mut self) {
        let mut awaited = self.0.awaited();
        awaited.is_gone = true;
        if let Some(thread) = awaited.thread.take() {
            thread.wake();
        }
    }
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
        let Some(gate) = AWAITED.with_borrow(Clone::clone) else {
            return Ok(self.0.block_on(work));
        };
        let mut work = pin!(work);
        self.0.block_on(poll_fn(|cx| {
            let mut awaited = gate.awaited();
            if awaited.is_gone {
                return Poll::Ready(Err(Error::new(ErrorKind::Stopped, "the program is ending")));
            }
            let polled = work.as_mut().poll(cx).map(Ok);
            if polled.is_pending() {
                awaited.thread.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
            }
            polled
        }))
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
    let gate = Arc::<Gate>::default();
    let _waits = Waits(gate.clone());
    std::thread::Builder::new()
        .name("runbook".into())
        .stack_size(STACK)
        .spawn(move || {
            AWAITED.set(Some(gate));
            // Nobody listens any more only when the whole engine is going away.
            let _ = done.send(script());
        })
        .map_err(|e| Error::storage("failed to start a thread for the runbook").because(e))?;
    result.await.map_err(|_| {
        Error::invalid("the script interpreter gave up on this runbook")
            .hint("nothing more was sent; please report the runbook that does this")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn whoever_waits_goes_while_the_script_is_not_in_the_midst_of_something() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let bridge = Bridge(runtime.handle().clone());
        let gate = Arc::<Gate>::default();
        let waits = Waits(gate.clone());
        let (enter, entered) = mpsc::channel();
        let (leave, may_leave) = mpsc::channel::<()>();
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = polls.clone();
        let script = thread::spawn(move || {
            AWAITED.set(Some(gate));
            bridge.wait(poll_fn(move |cx| {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = enter.send(());
                let _ = may_leave.recv();
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            }))
        });
        entered.recv().unwrap();
        let going = thread::spawn(move || drop(waits));
        for _ in 0..1000 {
            thread::yield_now();
        }
        assert!(!going.is_finished(), "the script is in the midst of something");
        drop(leave);
        going.join().unwrap();
        let before = polls.load(Ordering::SeqCst);
        assert_eq!(script.join().unwrap().unwrap_err().kind(), ErrorKind::Stopped);
        assert_eq!(polls.load(Ordering::SeqCst), before, "nothing is touched after that");
    }

    #[test]
    fn a_script_that_waits_for_something_that_never_comes_ends_when_nobody_waits_for_it() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let bridge = Bridge(runtime.handle().clone());
        let gate = Arc::<Gate>::default();
        let waits = Waits(gate.clone());
        let (enter, entered) = mpsc::channel();
        let script = thread::spawn(move || {
            AWAITED.set(Some(gate));
            bridge.wait(poll_fn(move |_| {
                let _ = enter.send(());
                Poll::<()>::Pending
            }))
        });
        entered.recv().unwrap();
        drop(waits);
        // Nothing but whoever went away wakes the thread.
        assert_eq!(script.join().unwrap().unwrap_err().kind(), ErrorKind::Stopped);
    }
}
