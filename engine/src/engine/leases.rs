//! The leases, as an embedding program sees and closes them.

use std::time::Duration;

use jiff::Timestamp;

use super::Engine;
use crate::closing::Asks;
use crate::error::{Error, Failure, Result};
use crate::event::{Cause, Event, ForgottenLease, Lease, RunEnd, RunId};
use crate::hint::NextStep;
use crate::journal::{LeaseFilter, Presence};
use crate::lease::last_closing;
use crate::log::Closing;

/// How late a closing may be before it is called late: it takes a few minutes itself.
const GRACE: Duration = Duration::from_secs(5 * 60);

/// An open lease, and how its closing stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OpenLease {
    /// The lease.
    pub lease: Lease,
    /// Its closing, once somebody has asked for it.
    pub closing: Option<ClosingState>,
    /// Whether it should have been closed by now.
    pub is_late: bool,
}

/// How far the closing of a lease came.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClosingState {
    /// The run that closes it.
    pub run: RunId,
    /// Whether a process drives that run. One that died does not.
    pub is_driven: bool,
    /// When it tries again.
    pub again: Option<Timestamp>,
    /// How many attempts came to nothing.
    pub failed: u32,
    /// When the last of them came to nothing, and why.
    pub trouble: Option<(Timestamp, Failure)>,
}

impl Engine {
    /// Returns the open leases, the first deadline first, and how their closings stand.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn leases(&self) -> Result<Vec<OpenLease>> {
        let now = self.clock().now();
        let mut open = Vec::new();
        for lease in self.journal().leases().await? {
            let closing = self.closing_of(&lease).await?;
            let is_late = lease.deadline.saturating_add(GRACE).is_ok_and(|late| late < now);
            open.push(OpenLease { lease, closing, is_late });
        }
        Ok(open)
    }

    async fn closing_of(&self, lease: &Lease) -> Result<Option<ClosingState>> {
        let Some(first) = self.0.first_on(&lease.door).await? else { return Ok(None) };
        let Some(run) = last_closing(&**self.journal(), &first).await?.run else { return Ok(None) };
        let mut state = ClosingState {
            is_driven: self.driver(&run).is_some_and(|driver| driver != Presence::Gone),
            again: run.wake,
            failed: 0,
            trouble: None,
            run: run.id,
        };
        for record in self.journal().records(&state.run, 0).await? {
            let failure = match record.event() {
                // One that another version closes is open all the same.
                Err(error) => Some(error.to_failure()),
                Ok(Event::Prepared(prepared)) if prepared.cause != Cause::Lease { id: lease.id.clone() } => {
                    return Ok(None);
                }
                Ok(
                    Event::StepRetrying { failure, .. }
                    | Event::Finished { end: RunEnd::Failed { failure, .. }, .. },
                ) => Some(failure),
                Ok(Event::Parked { park, .. }) => park.failure().cloned(),
                Ok(_) => None,
            };
            let Some(failure) = failure else { continue };
            // An attempt that fails and then parks the run is one attempt.
            if state.trouble.as_ref().is_none_or(|(at, last)| *at != record.at || *last != failure) {
                state.failed += 1;
            }
            state.trouble = Some((record.at, failure));
        }
        Ok(Some(state))
    }

    /// Returns the run that closes a lease, and writes it down when there is none yet: from then on it
    /// is closed even if the caller does no more. On a door that several leases share it may be the run
    /// for another one of them; the caller asks again when that is over.
    ///
    /// # Errors
    /// `Invalid` when there is no such lease; `Storage`.
    pub async fn close_lease(&self, id: &str) -> Result<RunId> {
        let found = self.journal().leases_where(&LeaseFilter::Id(id.to_owned())).await?.pop();
        if let Some(lease) = found
            && let Closing::Begun(run) | Closing::UnderWay(run) = self.0.close(&lease, Asks::Now).await?
        {
            return Ok(run);
        }
        Err(no_lease(id))
    }

    /// Takes a lease off the list although nobody saw it closed. Who, when and why are kept. The run that
    /// closes it is stopped: what it has sent it has sent, and it sends nothing more.
    ///
    /// # Errors
    /// `Invalid` when there is no such lease, or no reason is given; `Storage`.
    pub async fn forget_lease(&self, id: &str, by: &str, because: &str) -> Result<()> {
        if because.trim().is_empty() {
            return Err(Error::invalid("the reason for which the lease is forgotten is missing"));
        }
        let found = self.journal().leases_where(&LeaseFilter::Id(id.to_owned())).await?.pop();
        let closing = match &found {
            Some(lease) => self.closing_of(lease).await?,
            None => None,
        };
        if !self.journal().forget_lease(id, by, because.trim(), self.clock().now()).await? {
            return Err(no_lease(id));
        }
        // After that, or the next one would begin.
        match closing {
            Some(closing) => self.stop(&closing.run, by).await,
            None => Ok(()),
        }
    }

    /// Returns the leases that were forgotten, the last one first.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn forgotten_leases(&self) -> Result<Vec<ForgottenLease>> {
        self.journal().forgotten_leases().await
    }
}

pub(super) fn no_lease(id: &str) -> Error {
    Error::invalid(format!("there is no open lease `{id}`")).hint(NextStep::ListLeases)
}
