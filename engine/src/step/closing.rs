//! A step that hands the closing of a lease over, and the run to which it is handed.
//!
//! The run that closes a lease is the same for everybody who asks ([`lease`](crate::lease)). A step that
//! asks waits for it as for a child run, with two differences: a stop of the asker does not stop the
//! closing, and what the closing is parked for, the asker is parked for too.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attempt::{Attempt, Made};
use super::{SEND_MARGIN, Steps, Unwind};
use crate::clock::Interval;
use crate::cx::Cx;
use crate::drive::Driven;
use crate::error::{Error, Result};
use crate::event::{Cause, Park, RunEnd, RunId};
use crate::journal::LeaseFilter;
use crate::lease;
use crate::log::{Closing, Hold, Patience};
use crate::operation::{HandedBack, Pending};
use crate::replay::StepState;

/// A closing is not given up; a year is for ever.
const FOR_EVER: Duration = Duration::from_secs(366 * 24 * 3600);
/// How often a closing that another process drives is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The state of a step that handed a closing over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Closer {
    /// The run that closes the lease. Nothing while there is none.
    #[serde(rename = "$closing")]
    run: Option<RunId>,
    then: Value,
}

impl Closer {
    /// Reads the state of a step, if it is such a one.
    pub(super) fn of(continuation: &Value) -> Option<Closer> {
        continuation.get("$closing")?;
        serde_json::from_value(continuation.clone()).ok()
    }
}

/// Returns what an operation that handed a closing over goes on with, if that is what a step waits for.
pub(crate) fn handed_over(continuation: &Value) -> Option<&Value> {
    continuation.get("$closing")?;
    continuation.get("then")
}

impl Steps {
    /// Returns the lease that this run closes, if it does.
    pub(super) fn closes(&self) -> Option<String> {
        match &self.line().history.prepared.cause {
            Cause::Lease { id } => Some(id.clone()),
            _ => None,
        }
    }

    /// Returns whether this run closes a lease and was put away before: then it makes one attempt
    /// whenever it comes back.
    pub(super) fn has_come_back(&self) -> bool {
        let line = self.line();
        matches!(line.history.prepared.cause, Cause::Lease { .. }) && line.history.parks > 0
    }

    /// Returns how long a closing that is about to be put away stays so.
    pub(super) fn next_pause(&self) -> Duration {
        lease::pause(self.line().history.parks + 1)
    }

    /// Has a step send only while the lease that it holds now is there, and nobody closes it.
    pub(super) async fn holding(&self, cx: Cx) -> Result<Cx, Unwind> {
        let lease = match cx.permit {
            Some(_) => self.log.leases(&LeaseFilter::Id(cx.lease_id())).await?.pop(),
            None => None,
        };
        Ok(Cx { lease, ..cx })
    }

    /// Waits, before a closing does anything, until what opens the door has arrived: it would find the
    /// door closed, end the lease, and leave behind what is opened a moment later. Since the closing was
    /// written down nobody sends such a request any more: see [`check_wanted`](lease::check_wanted).
    pub(crate) async fn outwait_openers(&self) -> Result<(), Unwind> {
        let Some(id) = self.closes().filter(|_| self.is_untouched()) else { return Ok(()) };
        let clock = &*self.parts.clock;
        let created = self.line().history.created;
        let sent = created.saturating_add(SEND_MARGIN).unwrap_or(Timestamp::MAX);
        let on_its_way = Interval::until(clock, sent.min(self.parts.after(SEND_MARGIN)));
        while !on_its_way.is_over(clock) && self.log.is_being_opened(&id).await? {
            self.wait_until(on_its_way.end().min(self.parts.after(LOOK)), Hold::Open).await?;
        }
        Ok(())
    }

    /// Hands the closing of a lease over to the one run that does it.
    pub(super) async fn hand_over(
        &self,
        at: &Attempt<'_>,
        lease: String,
        then: Value,
    ) -> Result<Made, Unwind> {
        let found = self.log.leases(&LeaseFilter::Id(lease)).await?.pop();
        // Whoever asks for the first time need not wait because an earlier closing ended badly.
        let asks_again = match &at.past.state {
            StepState::Accepted { continuation, .. } => Closer::of(continuation).is_some(),
            _ => false,
        };
        let closing = match &found {
            Some(lease) => self.log.close(lease, !asks_again).await,
            None => Ok(Closing::Over),
        };
        let (run, check_after) = match closing {
            Ok(Closing::Begun(run) | Closing::UnderWay(run)) => (Some(run), Duration::ZERO),
            Ok(Closing::Paused) => (None, lease::pause(1)),
            Ok(Closing::Over) => (None, Duration::ZERO),
            Err(error) => return self.refused(at, error).await,
        };
        let continuation = serde_json::to_value(Closer { run, then })
            .map_err(|e| Error::storage("failed to write the state of a step").because(e))?;
        let effected = Vec::new();
        let pending = Pending { continuation, check_after, within: FOR_EVER, progress: None, effected };
        Ok(self.accepted(at, pending))
    }

    /// Drives the run that closes a lease, or waits for whoever does. Returns what the operation is
    /// resumed with.
    pub(super) async fn await_closing(&self, closer: &Closer, hold: Hold) -> Result<Value, Unwind> {
        let closed = match &closer.run {
            Some(run) => self.end_of_closing(run, hold).await?,
            None => None,
        };
        let then = closer.then.get("at").cloned().unwrap_or_default();
        let back = serde_json::to_value(HandedBack { then, closed })
            .map_err(|e| Error::storage("failed to write the state of a step").because(e))?;
        Ok(json!({ "v": closer.then.get("v"), "at": back }))
    }

    async fn end_of_closing(&self, run: &RunId, hold: Hold) -> Result<Option<Value>, Unwind> {
        let patience = self.log.patience(hold);
        if patience == Patience::None {
            return Err(Unwind::Wait(self.parts.clock.now()));
        }
        loop {
            // A stop of this run is heard meanwhile, and does not stop the closing.
            let driven = self.meanwhile(&[], self.log.drive_closing(run, hold)).await?;
            let Some(driven) = driven else {
                return Err(self.put_down_with(std::slice::from_ref(run)).await);
            };
            match driven? {
                Driven::Ended(RunEnd::Succeeded { value }) => return Ok(Some(value)),
                Driven::Ended(_) | Driven::Parked(Park::Halted { .. } | Park::Mistake { .. }, _) => {
                    return Ok(None);
                }
                Driven::Parked(park, until) => {
                    let until = until.unwrap_or_else(|| self.parts.after(lease::pause(1)));
                    let park = match park.is_waiting() {
                        true => Park::Child { run: run.clone() },
                        false => park,
                    };
                    if patience == Patience::Some || !park.is_waiting() {
                        return Err(self.park(park, Some(until)).await);
                    }
                    self.wait_until(until, hold).await?;
                }
                Driven::Held { .. } | Driven::Queued => self.wait_until(self.parts.after(LOOK), hold).await?,
            }
        }
    }
}
