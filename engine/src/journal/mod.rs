//! The ordered, durable record of runs, and what is derived from it.
//!
//! Owns: the order of a run's events, who may write them, and the tables that follow from them
//! (status, wake times, open leases, schedules). Does not own: what the events mean for a script
//! ([`replay`](crate::replay)) or when to act on them ([`worker`](crate::worker)).
//!
//! Everything derived is written in the same transaction as the event that caused it, by the one
//! function [`Summary::apply`] and the [`Effected`](crate::event::Effected) that the event carries.

#[cfg(all(test, feature = "sqlite"))]
mod agreement;
mod around;
mod claim;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod contract;
mod derive;
mod filter;
mod memory;
mod news;
mod outbox;
mod queue;
mod settlement;
#[cfg(feature = "sqlite")]
mod sqlite;
mod summary;

use async_trait::async_trait;
use jiff::Timestamp;

pub use around::Around;
pub use claim::{Claim, ClaimRequest, OwnerId, Presence, Tenure};
pub use filter::{LeaseFilter, PruneFilter, RunFilter, Sort};
pub use memory::MemoryJournal;
pub use news::{Listener, News};
pub use outbox::{
    Bounds, CameTo, Delivery, DeliveryFilter, DeliveryState, NoOutbox, Notification, Occasion, Outbox,
    Subscription, Taking, Trouble,
};
pub use queue::{ConcurrencyLimit, Full, Queued};
pub use settlement::{ScheduledEnd, Settlement, Start, TickFilter};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteJournal;
#[cfg(all(feature = "sqlite", any(test, feature = "fuzzing")))]
pub(crate) use sqlite::records_of;
pub use summary::{Status, Summary};

use crate::error::{Error, ErrorKind, Result};
use crate::event::{
    Event, ExtendedLease, ForgottenLease, Lease, Prepared, Record, RunId, Schedule, Signal, Source, Tick,
};
use crate::hint::NextStep;

/// Whether an append waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Returns when the events are on the disk. For every intent, and for every end.
    Now,
    /// Returns when the events are in line. They reach the disk in order, before anything appended
    /// later, within milliseconds; a crash in between loses them together with whatever follows.
    /// For what no effect outside depends on yet.
    Soon,
}

/// A run that does not exist yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewRun {
    /// Its id. A run that exists already under it is left as it is.
    pub id: RunId,
    /// What is fixed about it.
    pub prepared: Prepared,
    /// The texts behind [`Prepared::sources`], in the same order.
    pub sources: Vec<Source>,
    /// When it wakes by itself; at once unless set. A run that the caller drives itself is woken
    /// by a worker only after this time.
    pub wake: Option<Timestamp>,
    /// The lease that it closes because its deadline has come, and that deadline: the run is created only while
    /// the lease is open and has it.
    pub due_lease: Option<(String, Timestamp)>,
    /// The groups in which it takes a place until it is over.
    pub limits: Vec<ConcurrencyLimit>,
    /// Takes its places although there is no room.
    pub at_once: bool,
}

impl NewRun {
    /// Makes a run of its parts, due at once.
    pub fn new(id: RunId, prepared: Prepared, sources: Vec<Source>) -> Self {
        let (limits, at_once) = (Vec::new(), false);
        NewRun { id, prepared, sources, wake: None, due_lease: None, limits, at_once }
    }
}

/// What a person says who wants a lease to stay open for longer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtendRequest {
    /// The lease.
    pub lease: String,
    /// The deadline that it has, as it was read.
    pub from: Timestamp,
    /// The deadline that it is to have.
    pub to: Timestamp,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The id that its closing would have: once there is such a run it is too late.
    pub unless: RunId,
}

impl ExtendRequest {
    /// Makes a request to move the deadline of a lease, unless a run of the id `unless` closes it by then.
    pub fn new(lease: &Lease, to: Timestamp, by: impl Into<String>, at: Timestamp, unless: RunId) -> Self {
        ExtendRequest { lease: lease.id.clone(), from: lease.deadline, to, by: by.into(), at, unless }
    }
}

/// The durable store behind an engine.
///
/// Every method either does all of what it says or returns an error and does nothing. Times come
/// from the caller: a journal has no clock.
#[async_trait]
pub trait Journal: Send + std::marker::Sync + 'static {
    /// Creates a run. Afterwards its first record and its source texts are on the disk.
    ///
    /// A run that has no room in a group of its own ([`NewRun::limits`]) stands in the queue: it has no wake time
    /// ([`Summary::is_queued`]), until enough of those before it are over. Then, in the transaction of that end, it takes its places and
    /// wakes; first the one that came first of those for which there is room.
    ///
    /// Returns whether it was created: `false` when a run of that id exists, which is left alone, or was pruned, and when the
    /// lease for which it is ([`NewRun::due_lease`]) is not open any more or has another deadline.
    ///
    /// # Errors
    /// `Storage`.
    async fn prepare(&self, run: NewRun, at: Timestamp) -> Result<bool>;

    /// Makes a process known, so that others can tell when it is gone, as far as this journal can.
    ///
    /// # Errors
    /// `Storage`.
    fn enter(&self, _owner: &OwnerId) -> Result<()> {
        Ok(())
    }

    /// Says that a process drives nothing any more.
    fn leave(&self, _owner: &OwnerId) {}

    /// Returns what is known about a process.
    fn presence(&self, _owner: &OwnerId) -> Presence {
        Presence::Unknown
    }

    /// Ends the heartbeats of processes that are certainly gone. Afterwards what they drove is due.
    ///
    /// # Errors
    /// `Storage`.
    async fn sweep(&self) -> Result<()> {
        Ok(())
    }

    /// Says that a process is alive until a time. Afterwards its claims hold until then.
    ///
    /// # Errors
    /// `Storage`.
    async fn heartbeat(&self, owner: &OwnerId, until: Timestamp) -> Result<()>;

    /// Claims a run for a process that has a heartbeat. Granted when nobody drives the run, when its
    /// owner's heartbeat is over, when its owner is known to be dead, or when the owner is the caller;
    /// and then only if it is not in the queue, unless that is asked for, and nothing follows the record that the caller has seen. Afterwards
    /// `Event::Claimed` with a higher epoch is on the disk and every older tenure is void. Whatever is
    /// not granted writes nothing.
    ///
    /// # Errors
    /// `Storage`, also when the process never had a heartbeat; `Invalid` when there is no such run.
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim>;

    /// Appends events to a run in one transaction, together with all that follows from them: the
    /// run's summary, its leases and schedules. A consumed `Signalled` event removes its signal.
    ///
    /// Returns up to which record the run came, and whether a signal is waiting (with [`Sync::Soon`]: was
    /// waiting at the last write). A run that parks while a signal waits is due at once, so a signal that
    /// nobody wants has to be consumed all the same.
    ///
    /// # Errors
    /// `Stopped` when the tenure is void: the caller must not touch the world any more. `Storage`
    /// when the event may not follow or the disk fails; with [`Sync::Soon`] such a failure is
    /// returned by the next append. `Storage` also when an event names a text that is not kept: it was pruned with the last
    /// run that named it, and is to be kept again.
    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended>;

    /// Returns the records of a run after number `after`, in order.
    ///
    /// # Errors
    /// `Storage`, also when they are not those that were written; `Invalid` when there is no such run.
    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>>;

    /// Returns the source texts of a run, the runbook itself first.
    ///
    /// # Errors
    /// `Storage`, also when a text does not match its fingerprint; `Invalid` when there is no such run.
    async fn sources(&self, run: &RunId) -> Result<Vec<Source>>;

    /// Keeps a text that a record is going to name by its fingerprint. Afterwards it is on the disk.
    ///
    /// # Errors
    /// `Storage`.
    async fn keep(&self, text: &str) -> Result<()>;

    /// Returns the text of a fingerprint.
    ///
    /// # Errors
    /// `Storage`, also when there is none or it is not the one that was kept.
    async fn kept(&self, fingerprint: &str) -> Result<String>;

    /// Returns one line about a run, or nothing when there is no such run.
    ///
    /// # Errors
    /// `Storage`.
    async fn run(&self, run: &RunId) -> Result<Option<Summary>>;

    /// Returns runs in the order of the filter, without the branches of others.
    ///
    /// # Errors
    /// `Storage`.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Summary>>;

    /// Returns how many runs are in each state, without the branches of others. Each state is there once.
    ///
    /// # Errors
    /// `Storage`.
    async fn tally(&self) -> Result<Vec<(Status, u64)>> {
        let runs = self.runs(&RunFilter::all()).await?;
        let count = |status: Status| runs.iter().filter(|run| run.status == status).count() as u64;
        Ok(Status::ALL.into_iter().map(|status| (status, count(status))).collect())
    }
    /// Returns runs that can be pruned, the oldest first: those that are over, and that nobody needs any more. Needed is what
    /// opened something that is open, closes it or did so without success, or made a schedule; what such a run, or one that is
    /// not over, came from, however far; and what came from one that is not over.
    ///
    /// # Errors
    /// `Storage`.
    async fn prunable(&self, filter: &PruneFilter) -> Result<Vec<Summary>>;

    /// Removes those of some runs that are over and that nobody needs, with their branches, their records and the texts that
    /// no other run names, in one transaction. Returns which those were. Their ids are kept: none of them starts again.
    ///
    /// Others wait meanwhile: prune many in pieces.
    ///
    /// # Errors
    /// `Storage`.
    async fn prune(&self, runs: &[RunId], at: Timestamp) -> Result<Vec<RunId>>;

    /// Returns when a run was pruned, if it was.
    ///
    /// # Errors
    /// `Storage`.
    async fn pruned(&self, run: &RunId) -> Result<Option<Timestamp>>;

    /// Returns runs whose id begins with a text, in the order of ids, at most `limit`, without the branches
    /// of others.
    ///
    /// # Errors
    /// `Storage`.
    async fn find(&self, beginning: &str, limit: usize) -> Result<Vec<Summary>>;

    /// Returns runs that should be driven now: parked or prepared ones whose time has come, and
    /// running ones whose owner's heartbeat is over. The longest due first, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>>;

    /// Returns the first time behind `after` at which something becomes due: a run that wakes by itself, one whose
    /// driver's heartbeat is over, a lease, a schedule.
    ///
    /// # Errors
    /// `Storage`.
    async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>>;

    /// Returns what tells of the writes that are made through this journal, as soon as they are on the disk.
    fn news(&self) -> News;

    /// Returns whether somebody may have written past this journal since this was asked last, such as another
    /// process, of which [`news`](Self::news) tells nothing. Cheap enough to be asked every second.
    ///
    /// # Errors
    /// `Storage`.
    async fn was_written_past(&self) -> Result<bool>;

    /// Leaves a word for a run. Afterwards a parked run is due at once.
    ///
    /// # Errors
    /// `Storage`; `Invalid` when there is no such run or it is over.
    async fn signal(&self, run: &RunId, signal: &Signal, at: Timestamp) -> Result<()>;

    /// Returns the words that wait for a run, oldest first.
    ///
    /// # Errors
    /// `Storage`.
    async fn signals(&self, run: &RunId) -> Result<Vec<Signal>>;

    /// Returns the runs that a process drives and for which a signal waits.
    ///
    /// # Errors
    /// `Storage`.
    async fn signalled(&self, owner: &OwnerId) -> Result<Vec<RunId>>;

    /// Returns the queue, in the order in which the runs came.
    ///
    /// # Errors
    /// `Storage`.
    async fn queue(&self) -> Result<Vec<Queued>>;

    /// Returns the open leases, the first deadline first.
    ///
    /// # Errors
    /// `Storage`.
    async fn leases(&self) -> Result<Vec<Lease>>;

    /// Returns the open leases that a filter means, the first deadline first. The cost follows from
    /// how many those are, not from how many leases are open.
    ///
    /// # Errors
    /// `Storage`.
    async fn leases_where(&self, filter: &LeaseFilter) -> Result<Vec<Lease>> {
        let mut leases = self.leases().await?;
        leases.retain(|lease| filter.fits(lease));
        Ok(leases)
    }

    /// Takes a lease off the list because a person says so, and keeps who, when and why.
    ///
    /// Returns whether there was such a lease.
    ///
    /// # Errors
    /// `Storage`.
    async fn forget_lease(&self, id: &str, by: &str, because: &str, at: Timestamp) -> Result<bool>;

    /// Returns the leases that were forgotten, the last one first.
    ///
    /// # Errors
    /// `Storage`.
    async fn forgotten_leases(&self) -> Result<Vec<ForgottenLease>>;

    /// Moves the deadline of a lease to a later time, and with it the schedules that are there to close it and are
    /// due before, in one transaction. Who did so, when, and from which deadline is kept.
    ///
    /// Does nothing, and returns nothing, when there is no such lease with the deadline that the caller has read,
    /// or its closing has begun.
    ///
    /// # Errors
    /// `Storage`.
    async fn extend_lease(&self, request: &ExtendRequest) -> Result<Option<ExtendedLease>>;

    /// Returns the deadlines that were moved, the last one first.
    ///
    /// # Errors
    /// `Storage`.
    async fn extended_leases(&self) -> Result<Vec<ExtendedLease>>;

    /// Returns the schedules, the next due first.
    ///
    /// # Errors
    /// `Storage`.
    async fn schedules(&self) -> Result<Vec<Schedule>>;

    /// Returns the schedules that want to be looked at by a time ([`Schedule::wakes`]), the longest due first. The cost follows from how
    /// many those are.
    ///
    /// # Errors
    /// `Storage`.
    async fn schedules_due(&self, now: Timestamp) -> Result<Vec<Schedule>> {
        let mut schedules = self.schedules().await?;
        schedules.retain(|schedule| schedule.wakes().is_some_and(|wakes| wakes <= now));
        Ok(schedules)
    }

    /// Returns one schedule, if there is one of that name.
    ///
    /// # Errors
    /// `Storage`.
    async fn schedule(&self, id: &str) -> Result<Option<Schedule>> {
        Ok(self.schedules().await?.into_iter().find(|schedule| schedule.id == id))
    }

    /// Does all that a settlement says in one transaction, and nothing when the schedule is not as it was read any more: another
    /// process was faster. Returns whether it did.
    ///
    /// An account that says the same as the last one of its schedule is one with it ([`Tick::count`]).
    ///
    /// # Errors
    /// `Storage`; `Invalid` when it is of no one schedule.
    async fn settle(&self, settlement: &Settlement, at: Timestamp) -> Result<bool>;

    /// Returns what became of ticks, the newest account first.
    ///
    /// # Errors
    /// `Storage`.
    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<Tick>>;

    /// Takes accounts of ticks away that were made before a time, the oldest first, at most `limit`; the newest of a schedule stays
    /// as long as the schedule. Returns how many went.
    ///
    /// # Errors
    /// `Storage`.
    async fn prune_ticks(&self, before: Timestamp, limit: usize) -> Result<usize>;

    /// Returns the runs that are over and whose schedule has not heard of it ([`Settlement::heard`]), in the order of ids, at most
    /// `limit`. The cost follows from how many those are. Nobody waits for the ends of the runs of a schedule that is gone.
    ///
    /// # Errors
    /// `Storage`.
    async fn scheduled_ends(&self, limit: usize) -> Result<Vec<ScheduledEnd>>;

    /// Asks the runs to stop that take longer than their schedules allow ([`Start::until`]). Returns those that were asked, each once.
    ///
    /// # Errors
    /// `Storage`.
    async fn stop_overdue(&self, now: Timestamp) -> Result<Vec<RunId>>;

    /// Returns what is to be told outside. A journal that has none tells nobody.
    fn outbox(&self) -> &dyn Outbox {
        &NoOutbox
    }
}

/// What an append did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Appended {
    /// The number of the run's last record: the events have those that lead to it.
    pub last: u64,
    /// Whether a signal waits for the run.
    pub signalled: bool,
}

impl Appended {
    /// Makes what a journal answers to an append.
    pub fn new(last: u64, signalled: bool) -> Self {
        Appended { last, signalled }
    }
}

/// Returns the error of a write under a void tenure.
fn fenced(run: &RunId) -> Error {
    Error::new(ErrorKind::Stopped, format!("another process has taken over run {run}"))
        .hint(NextStep::ShowRun { run: run.clone() })
}

/// Returns the error of a call for a run that does not exist.
pub(crate) fn unknown(run: &RunId) -> Error {
    Error::invalid(format!("there is no run `{run}`")).hint(NextStep::ListRuns)
}

/// Returns the error of a call for a run that was pruned.
pub(crate) fn gone(run: &RunId, at: Timestamp) -> Error {
    Error::invalid(format!("run `{run}` was over, and was pruned at {at:.0}")).hint(NextStep::ListRuns)
}
