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

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::core::Core;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::event::{
    Call, Cause, Entry, Event, FORMAT, ForgottenLease, Lease, Park, Prepared, Provenance, RunEnd, RunId,
};
use crate::hint::NextStep;
use crate::journal::{Journal, LeaseFilter, NewRun, Presence, Status, Summary};
use crate::recorded;

/// The pause after the first attempt that came to nothing; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How late a closing may be before it is called late: it takes a few minutes itself.
const GRACE: Duration = Duration::from_secs(5 * 60);

/// Returns how long a closing waits after it came to nothing for the `times`-th time, from 1.
pub(crate) fn pause(times: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << times.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}

/// How the closing of a lease stands.
#[derive(Debug)]
pub(crate) enum Closing {
    /// A run has just been written down for it.
    Begun(RunId),
    /// A run is at its door, for this lease or for another one on the same door.
    UnderWay(RunId),
    /// The last run for it ended, and the lease is still there: the next begins after a pause.
    Paused,
    /// It is not open any more.
    Over,
}

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

/// Returns the id of the lease that a step opens.
pub(crate) fn id_of(run: &RunId, step: u32) -> String {
    format!("{run}-{step}")
}

/// Makes sure that a step which holds a lease may still open what the lease is about: the lease is there,
/// and nobody closes it.
///
/// To be asked right before the request leaves: a closing, once it is written down, waits only for what is
/// on its way by then.
///
/// # Errors
/// `Unsent` when it may not: the operation is asked again, and sees what became of its lease. `Storage`.
pub(crate) async fn check_wanted(journal: &dyn Journal, lease: &Lease) -> Result<()> {
    let refused = |why: &str| Err(Error::new(ErrorKind::Unsent, format!("{} {why}", lease.title)));
    let on_the_door = journal.leases_where(&LeaseFilter::Door(lease.door.clone())).await?;
    if !on_the_door.iter().any(|open| open.id == lease.id) {
        return refused("was closed meanwhile");
    }
    let Some(first) = first_of(&on_the_door) else { return Ok(()) };
    let closing = last_closing(journal, first).await?.run.filter(|run| !is_over(run));
    let is_closed = closing.is_some_and(|run| {
        let own = |open: &&Lease| run.runbook == closing_of(&open.id);
        on_the_door.iter().find(own).is_some_and(|closed| end_together(closed, lease))
    });
    if is_closed { refused("is being closed") } else { Ok(()) }
}

impl Core {
    /// Returns the run that closes a lease, and writes it down when there is none. `now` asks for the
    /// next one without the pause after one that ended badly.
    pub(crate) async fn close(&self, lease: &Lease, now: bool) -> Result<Closing> {
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
            if is_patient && !now {
                return Ok(Closing::Paused);
            }
            let closing = self.closing(lease, last.next.clone())?;
            self.write_down(closing).await?;
            return Ok(Closing::Begun(last.next));
        }
    }

    async fn first_on(&self, door: &str) -> Result<Option<Lease>> {
        let leases = self.journal.leases_where(&LeaseFilter::Door(door.to_owned())).await?;
        Ok(first_of(&leases).cloned())
    }

    /// Makes the run that closes a lease: one call of the operation that the lease names.
    fn closing(&self, lease: &Lease, id: RunId) -> Result<NewRun> {
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
        };
        Ok(NewRun::new(id, prepared, Vec::new()))
    }
}

/// Returns whether whoever closes one of two leases on one door ends the other as well.
pub(crate) fn end_together(one: &Lease, other: &Lease) -> bool {
    one.subject.eq_ignore_ascii_case(&other.subject)
}

/// Returns what the runs that close a lease are called, where others are called after their runbook.
fn closing_of(lease: &str) -> String {
    format!("close/{lease}")
}

fn first_of(leases: &[Lease]) -> Option<&Lease> {
    leases.iter().min_by(|a, b| (a.opened, &a.id).cmp(&(b.opened, &b.id)))
}

/// Returns the last run that closed the door of `first`, the first lease on it.
async fn last_closing(journal: &dyn Journal, first: &Lease) -> Result<LastClosing> {
    let opened = first.opened.to_string();
    let mut last = LastClosing { run: None, failed: 0, next: RunId::from("") };
    for n in 0u32.. {
        last.next = RunId::derived(&["close", &first.id, &opened, &first.door, &n.to_string()]);
        let Some(run) = journal.run(&last.next).await? else { break };
        last.failed += u32::from(run.status != Status::Succeeded);
        let is_the_last = !is_over(&run);
        last.run = Some(run);
        if is_the_last {
            break;
        }
    }
    Ok(last)
}

/// The last of the runs that closed one door.
struct LastClosing {
    run: Option<Summary>,
    /// How many of them closed nothing.
    failed: u32,
    /// The id of the next.
    next: RunId,
}

/// Returns whether a closing run does nothing more. One that met a record which it does not understand
/// never will: the next takes its place.
fn is_over(run: &Summary) -> bool {
    run.status.is_over() || matches!(run.park, Some(Park::Halted { .. } | Park::Mistake { .. }))
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
            && let Closing::Begun(run) | Closing::UnderWay(run) = self.0.close(&lease, true).await?
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

fn no_lease(id: &str) -> Error {
    Error::invalid(format!("there is no open lease `{id}`")).hint(NextStep::ListLeases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_quarter_of_an_hour() {
        let pauses: Vec<u64> = (0..8).chain([1000]).map(|times| pause(times).as_secs()).collect();
        assert_eq!(pauses, [30, 30, 60, 120, 240, 480, 900, 900, 900]);
    }
}
