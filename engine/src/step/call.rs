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
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::Steps;
use crate::cx::Cx;
use crate::error::{ErrorKind, Result};
use crate::journal::Sync;
use crate::operation::Registered;

/// How often, in real time, what a call says is recorded.
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
pub(super) struct Interrupt(Arc<SetOnce<()>>);

impl Interrupt {
    /// Returns the surroundings of a call, and what interrupts it.
    pub(super) fn of(cx: Cx) -> (Interrupt, Cx) {
        let told = Arc::<SetOnce<()>>::default();
        (Interrupt(told.clone()), Cx { told: Some(told), ..cx })
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
        let mut interrupted = std::pin::pin!(self.log.interrupted(self.may_be_stopped()));
        // Most calls are over before the first.
        let mut ticks = None;
        let mut given_up_at = None;
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut call => break ended,
                told = &mut interrupted, if given_up_at.is_none() => {
                    told?;
                    let grace = match operation.declaration.is_read_only() {
                        true => self.parts.grace.min(GRACE_OF_READS),
                        false => self.parts.grace,
                    };
                    given_up_at = Some(Instant::now() + grace);
                    // Once is enough.
                    let _ = interrupt.0.set(());
                }
                () = until(given_up_at) => return Ok(Called::GivenUp),
                () = tick(&mut ticks) => {
                    if self.around.unrecorded.is_waiting() {
                        unless_out_of_reach(Box::pin(self.annotate(Vec::new(), Sync::Soon)).await)?;
                    }
                }
            }
        };
        Ok(match ended {
            Err(error) if given_up_at.is_some() && error.kind() == ErrorKind::Unsent => Called::Unsent,
            Err(error) if given_up_at.is_some() && error.kind() == ErrorKind::Transient => Called::GivenUp,
            ended => Called::Ended(ended),
        })
    }

    /// Returns whether a stop ends the step under way. Once what is deferred runs, none does.
    fn may_be_stopped(&self) -> bool {
        !self.line().deferring && self.stopped_by().is_none()
    }
}

/// Lets a record fail while a call is under way: a request that is on its way is not cut off
/// because a disk does not answer for a while. Whoever may not drive the run any more hears so.
fn unless_out_of_reach(recorded: Result<()>) -> Result<()> {
    match recorded {
        Err(error) if error.kind() == ErrorKind::Storage => {
            tracing::warn!("while a call is under way: {error}");
            Ok(())
        }
        recorded => recorded,
    }
}

/// Returns at the next tick; the first call begins to count.
async fn tick(ticks: &mut Option<Interval>) {
    let ticks = ticks.get_or_insert_with(|| {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        ticks
    });
    ticks.tick().await;
}

/// Returns when a moment has come; never when there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
