//! One call of an operation: what it says is recorded meanwhile, and a halt or a stop interrupts it.
//!
//! ```text
//!  call ──► its outcome
//!    └─ halt or stop ──► cx.cancelled() ──► its outcome, or the call is given up after a bound
//! ```
//!
//! A call that is given up stands in the journal like one whose process died: what it came to is
//! unclear, and the operation's `Redo` decides about it.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Steps;
use crate::cx::Cx;
use crate::error::{ErrorKind, Result};
use crate::event::Signal;
use crate::journal::Sync;
use crate::operation::Registered;

/// How often, in real time, what a call says is recorded, and a stop is looked for.
const TICK: Duration = Duration::from_secs(1);

/// How long, in real time, a halt or a stop waits for a call that changes nothing.
const GRACE_OF_READS: Duration = Duration::from_secs(5);

/// How a call ended.
pub(super) enum Called<T> {
    /// By itself.
    Ended(Result<T>),
    /// It was interrupted, certainly before it had any effect.
    Unsent,
    /// It was interrupted, and what it came to is unclear.
    GivenUp,
}

/// Interrupts a call.
pub(super) struct Interrupt(watch::Sender<bool>);

impl Interrupt {
    /// Returns the surroundings of a call, and what interrupts it.
    pub(super) fn of(cx: Cx) -> (Interrupt, Cx) {
        let (tell, told) = watch::channel(false);
        (Interrupt(tell), Cx { told: Some(told), ..cx })
    }
}

impl Steps {
    /// Lets an operation work until it has an outcome, or is interrupted and does not end in time.
    pub(super) async fn call<T>(
        &self,
        operation: &Registered,
        interrupt: &Interrupt,
        call: impl Future<Output = Result<T>>,
    ) -> Result<Called<T>> {
        let mut call = std::pin::pin!(call);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut given_up_at = None;
        let ended = loop {
            let look = tokio::select! {
                biased;
                ended = &mut call => break ended,
                () = self.until_halted(), if given_up_at.is_none() => true,
                () = until(given_up_at) => return Ok(Called::GivenUp),
                _ = ticks.tick() => {
                    if self.unrecorded.is_waiting() {
                        unless_out_of_reach(self.record(Vec::new(), Sync::Soon).await)?;
                    }
                    false
                }
            };
            let is_stopped = async || unless_out_of_reach(self.is_stop_waiting().await);
            if given_up_at.is_none() && (look || is_stopped().await?) {
                let grace = match operation.declaration.is_read_only() {
                    true => self.core.grace.min(GRACE_OF_READS),
                    false => self.core.grace,
                };
                given_up_at = Some(Instant::now() + grace);
                // The operation may have asked nobody to listen.
                let _ = interrupt.0.send(true);
            }
        };
        Ok(match ended {
            Err(error) if given_up_at.is_some() && error.kind() == ErrorKind::Unsent => Called::Unsent,
            Err(error) if given_up_at.is_some() && error.kind() == ErrorKind::Transient => Called::GivenUp,
            ended => Called::Ended(ended),
        })
    }

    /// Returns whether a stop waits that ends the step under way. Once what is deferred runs, none does.
    async fn is_stop_waiting(&self) -> Result<bool> {
        if self.line().deferring || self.stopped_by().is_some() {
            return Ok(false);
        }
        let signals = self.core.journal.signals(&self.tenure.run).await?;
        let is_stop = signals.iter().any(|signal| matches!(signal, Signal::Stop { .. }));
        self.line().signalled |= is_stop;
        Ok(is_stop)
    }
}

/// Lets a look at the journal fail while a call is under way: a request that is on its way is not cut off
/// because a disk does not answer for a while. Whoever may not drive the run any more hears so.
fn unless_out_of_reach<T: Default>(looked: Result<T>) -> Result<T> {
    match looked {
        Err(error) if error.kind() == ErrorKind::Storage => {
            tracing::warn!("while a call is under way: {error}");
            Ok(T::default())
        }
        looked => looked,
    }
}

/// Returns when a moment has come; never when there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
