//! Closing what was opened: a lease's duty as a run of its own.
//!
//! ```text
//!  deadline (worker) ─────┐
//!  leases close (person) ─┼─► the one closing run of the door ─► tries, waits, tries again ─► closed
//!  Outcome::Close (step) ─┘
//! ```
//!
//! Whoever asks comes to the same run, because its id follows from the door and its leases: two
//! processes that find a lease due, or a schedule and a deadline in the same second, send one request.
//! The run never gives up. Whatever it is parked for, it comes back after a pause that grows up to a
//! quarter of an hour, and then makes one attempt.
//!
//! Owns: which run closes a lease, when it tries again, and what is told about it. Does not own: how the
//! run is driven ([`run`](crate::run)) and how something is closed (the lease's own operation).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::core::{Core, Parts};
use crate::error::{Error, Result};
use crate::event::{Call, Cause, Entry, FORMAT, Lease, Prepared, Provenance, RunId};
use crate::journal::{LeaseFilter, NewRun, Status};
use crate::lease::{closing_of, first_of, is_over, last_closing, pause};
use crate::log::Closing;
use crate::recorded;

/// Why somebody wants a lease closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Its deadline has come. One that was moved since it was read is left alone.
    AtDeadline,
    /// It is to be closed whatever its deadline is. The next closing after one that ended badly waits for a pause.
    Again,
    /// The same, without that pause.
    Now,
}

impl Core {
    /// Returns the run that closes a lease, and writes it down when there is none.
    pub(crate) async fn close(&self, lease: &Lease, asks: Asks) -> Result<Closing> {
        loop {
            // The door's first lease names its closings, so that all who ask agree on the name.
            let Some(first) = self.first_on(&lease.door).await? else { return Ok(Closing::Over) };
            let last = last_closing(&*self.journal, &first).await?;
            if let Some(run) = &last.run
                && !is_over(run)
            {
                return Ok(Closing::UnderWay(run.id.clone()));
            }
            // The first lease may have ended between the two looks, and its closings with it.
            if self.first_on(&lease.door).await?.is_none_or(|still| still.id != first.id) {
                continue;
            }
            if self.journal.leases_where(&LeaseFilter::Id(lease.id.clone())).await?.is_empty() {
                return Ok(Closing::Over);
            }
            let is_patient = last.run.as_ref().is_some_and(|run| {
                let again = run.updated.saturating_add(pause(last.failed)).unwrap_or(Timestamp::MAX);
                last.failed > 0 && run.status != Status::Succeeded && again > self.clock.now()
            });
            if is_patient && asks != Asks::Now {
                return Ok(Closing::Paused);
            }
            let mut closing = self.closing(lease, last.next.clone())?;
            if asks == Asks::AtDeadline {
                closing.due_lease = Some((lease.id.clone(), lease.deadline));
            }
            if !self.write_down(closing).await? && self.was_extended(lease, asks).await? {
                return Ok(Closing::Paused);
            }
            return Ok(Closing::Begun(last.next));
        }
    }

    /// Returns whether a lease whose deadline had come has a later one now.
    async fn was_extended(&self, lease: &Lease, asks: Asks) -> Result<bool> {
        let now = self.journal.leases_where(&LeaseFilter::Id(lease.id.clone())).await?.pop();
        Ok(asks == Asks::AtDeadline && now.is_some_and(|now| now.deadline > lease.deadline))
    }

    /// Returns the first lease on a door.
    pub(crate) async fn first_on(&self, door: &str) -> Result<Option<Lease>> {
        let leases = self.journal.leases_where(&LeaseFilter::Door(door.to_owned())).await?;
        Ok(first_of(&leases).cloned())
    }
}

impl Parts {
    /// Makes the run that closes a lease: one call of the operation that the lease names.
    pub(crate) fn closing(&self, lease: &Lease, id: RunId) -> Result<NewRun> {
        let Call { operation, args } = &lease.close;
        if self.language.operation(operation).is_none() {
            return Err(Error::invalid(format!(
                "this program has no operation `{operation}`, which closes {}",
                lease.title
            )));
        }
        let prepared = Prepared {
            format: FORMAT,
            engine: self.version.clone(),
            runbook: closing_of(&lease.id),
            sources: Vec::new(),
            provenance: Provenance::default(),
            params: Value::Object(Map::new()),
            cause: Cause::Lease { id: lease.id.clone() },
            workdir: ".".to_owned(),
            paths: Vec::new(),
            depth: 0,
            granted: None,
            entry: Some(Entry::Call(Call::new(operation, recorded::data(args.clone())))),
            who: None,
            labels: BTreeMap::new(),
        };
        Ok(NewRun::new(id, prepared, Vec::new()))
    }
}
