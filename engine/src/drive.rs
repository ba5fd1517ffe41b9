//! The runs that this process drives: each by one task, however many ask for it.
//!
//! ```text
//!  engine.run(&id) ─┐
//!  worker ──────────┼─► the one task that drives the run ─► everybody hears how far it came
//!  a parent's step ─┘
//! ```
//!
//! Owns: that a run is driven once, how patiently, and how driving is cancelled. Whoever asks only waits: when the
//! last of them goes away the run is put away before its next step, and what is under way at that
//! moment is interrupted, and brought to its record when it ends in time. Does not own: what driving is ([`run`](crate::run)).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, watch};

use crate::error::{Error, Result};
use crate::event::{Park, RunEnd, RunId};
use crate::journal::OwnerId;

/// Why driving ends before the run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// A person wants it: the run stays parked until a person resumes it.
    Interrupt,
    /// The process ends in good order: the run is due at once, for whoever comes next.
    HandBack,
}

impl Halt {
    /// Returns why a run is put away.
    pub(crate) fn park(self) -> Park {
        match self {
            Halt::Interrupt => Park::Interrupted,
            Halt::HandBack => Park::HandedBack,
        }
    }
}

/// How often a waiting run looks for signals where no worker does that for all runs together.
const NAP: Duration = Duration::from_secs(5);

/// How far driving a run came.
#[derive(Clone, Debug, PartialEq)]
pub enum Driven {
    /// The run is over.
    Ended(RunEnd),
    /// The run is put away, until a time if it goes on by itself.
    Parked(Park, Option<Timestamp>),
    /// It is in the queue: as many runs are under way as may be ([`Engine::queue`](crate::Engine::queue)).
    Queued,
    /// Another process drives it.
    Held {
        /// Who.
        by: OwnerId,
    },
}

/// How a run is to be driven.
#[derive(Clone)]
pub(crate) struct Way {
    /// The longest wait after which the run is put away as a row.
    pub(crate) patience: Duration,
    /// The same while its script keeps its thread: it is replayed after its next rest then.
    pub(crate) kept_patience: Duration,
    /// How often a run that waits looks for signals by itself.
    pub(crate) nap: Duration,
    /// What becomes of the run when nobody waits for it any more.
    pub(crate) on_drop: Halt,
    /// The places for runs that are at work. One that only waits takes none.
    pub(crate) places: Option<Arc<Semaphore>>,
    /// Leaves a run alone that is put away by now and not due: another process was faster.
    pub(crate) only_due: bool,
}

impl Way {
    /// Drives a run for somebody who waits for it.
    pub(crate) fn patient(patience: Duration) -> Self {
        Way {
            patience,
            kept_patience: patience,
            nap: NAP,
            on_drop: Halt::Interrupt,
            places: None,
            only_due: false,
        }
    }
}

/// A switch that ends driving. It can be set once, and to a stronger reason later: what a person
/// interrupted is not handed back.
pub(crate) struct Cancel {
    /// What is read after every operation of a script: 0, or a reason.
    why: AtomicU8,
    told: watch::Sender<()>,
}

impl Default for Cancel {
    fn default() -> Self {
        Cancel { why: AtomicU8::new(0), told: watch::Sender::new(()) }
    }
}

impl Cancel {
    pub(crate) fn set(&self, why: Halt) {
        let rank = match why {
            Halt::HandBack => 1,
            Halt::Interrupt => 2,
        };
        self.why.fetch_max(rank, Ordering::Relaxed);
        self.told.send_replace(());
    }

    pub(crate) fn get(&self) -> Option<Halt> {
        match self.why.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Halt::HandBack),
            _ => Some(Halt::Interrupt),
        }
    }

    /// Returns once the switch is set.
    pub(crate) async fn wait(&self) {
        let mut told = self.told.subscribe();
        while self.get().is_none() {
            // The sender lives as long as this borrow.
            let _ = told.changed().await;
        }
    }
}

/// The runs that are driven now, and those that have to be tried again.
#[derive(Default)]
pub(crate) struct Drives(Mutex<Table>);

#[derive(Default)]
struct Table {
    driven: HashMap<RunId, Arc<Drive>>,
    failed: HashMap<RunId, Failed>,
}

/// A run that could not be driven on, for a reason that may pass.
#[derive(Clone, Copy)]
struct Failed {
    times: u32,
    /// On the clock's second hand.
    again: Duration,
}

/// The pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause before driving a run is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Returns the pauses between attempts at what failed and may go well later.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> {
    (0..u32::MAX).map(pause_after)
}

/// Returns the pause after one failure more than so many.
fn pause_after(times: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << times.min(16)).min(LONGEST_PAUSE)
}

/// One run under way.
#[derive(Default)]
pub(crate) struct Drive {
    /// Ends this drive alone.
    pub(crate) cancel: Cancel,
    /// Wakes the run from a wait: a signal is there.
    pub(crate) signalled: Notify,
    waiting: AtomicUsize,
    ended: watch::Sender<Option<Result<Driven>>>,
}

impl Drives {
    /// Waits with others for a run that is driven already, or has `start` drive it.
    ///
    /// `start` must see to it that [`end`](Self::end) is called.
    pub(crate) fn join(&self, run: &RunId, on_drop: Halt, start: impl FnOnce(Arc<Drive>)) -> Waiter {
        let mut table = self.table();
        if let Some(drive) = table.driven.get(run) {
            // A drive that is being cancelled is waited for, and then it is our turn.
            let joins = drive.cancel.get().is_none();
            return Waiter::new(drive.clone(), on_drop, joins);
        }
        let drive = Arc::<Drive>::default();
        table.driven.insert(run.clone(), drive.clone());
        drop(table);
        let waiter = Waiter::new(drive.clone(), on_drop, true);
        start(drive);
        waiter
    }

    /// Notes how far a run came, and tells everybody who waits.
    ///
    /// What failed is tried again by a worker after a pause that grows with each failure.
    pub(crate) fn end(&self, run: &RunId, drive: &Drive, result: Result<Driven>, now: Duration, again: bool) {
        let mut table = self.table();
        table.driven.remove(run);
        if again {
            let times = table.failed.get(run).map_or(0, |failed| failed.times);
            table.failed.insert(run.clone(), Failed { times: times + 1, again: now + pause_after(times) });
        } else {
            table.failed.remove(run);
        }
        drop(table);
        drive.ended.send_replace(Some(result));
    }

    /// Returns once a run is not driven any more, if driving it is being cancelled.
    pub(crate) async fn until_put_down(&self, run: &RunId, all: &Cancel) {
        let drive = self.table().driven.get(run).cloned();
        if let Some(drive) = drive.filter(|drive| drive.cancel.get().or(all.get()).is_some()) {
            let _ = drive.ended.subscribe().wait_for(Option::is_some).await;
        }
    }

    /// Returns once no run is driven.
    pub(crate) async fn settled(&self) {
        loop {
            let Some(drive) = self.table().driven.values().next().cloned() else { return };
            let _ = drive.ended.subscribe().wait_for(Option::is_some).await;
        }
    }

    /// Tells a run that is driven here that a signal waits for it.
    pub(crate) fn signal(&self, run: &RunId) {
        if let Some(drive) = self.table().driven.get(run) {
            drive.signalled.notify_one();
        }
    }

    /// Returns whether a run is driven here.
    pub(crate) fn is_driven(&self, run: &RunId) -> bool {
        self.table().driven.contains_key(run)
    }

    /// Returns the runs that failed and are due again.
    pub(crate) fn due_again(&self, now: Duration) -> Vec<RunId> {
        let table = self.table();
        let due = table
            .failed
            .iter()
            .filter(|(run, failed)| failed.again <= now && !table.driven.contains_key(*run));
        due.map(|(run, _)| run.clone()).collect()
    }

    /// Returns when the first of the runs that failed is due again, without those with which somebody begins.
    pub(crate) fn next_again(&self, begun: &HashSet<RunId>) -> Option<Duration> {
        let table = self.table();
        let is_begun = |run: &RunId| table.driven.contains_key(run) || begun.contains(run);
        let failed = table.failed.iter().filter(|(run, _)| !is_begun(run));
        failed.map(|(_, failed)| failed.again).min()
    }

    /// Returns whether a run is left alone for now, because it failed a moment ago.
    pub(crate) fn is_pausing(&self, run: &RunId, now: Duration) -> bool {
        self.table().failed.get(run).is_some_and(|failed| failed.again > now)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("no panic while the table of drives is held")
    }
}

/// Somebody who waits for a drive. When the last one goes away, the drive is cancelled.
pub(crate) struct Waiter {
    drive: Arc<Drive>,
    on_drop: Halt,
    joins: bool,
}

impl Waiter {
    fn new(drive: Arc<Drive>, on_drop: Halt, joins: bool) -> Self {
        drive.waiting.fetch_add(1, Ordering::AcqRel);
        Waiter { drive, on_drop, joins }
    }

    /// Returns how far the run came; nothing when the drive was being cancelled before the caller
    /// joined it, so that the caller's own turn has come.
    pub(crate) async fn ended(self) -> Option<Result<Driven>> {
        let mut ended = self.drive.ended.subscribe();
        let result = match ended.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            Err(_) => None,
        };
        result.filter(|_| self.joins)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.drive.waiting.fetch_sub(1, Ordering::AcqRel) == 1 && self.drive.ended.borrow().is_none() {
            self.drive.cancel.set(self.on_drop);
        }
    }
}

/// Ends a drive when it is dropped: also when its task is torn down with the runtime.
pub(crate) struct Ending<F: FnOnce(Result<Driven>)>(Option<F>);

impl<F: FnOnce(Result<Driven>)> Ending<F> {
    pub(crate) fn new(end: F) -> Self {
        Ending(Some(end))
    }

    pub(crate) fn with(mut self, result: Result<Driven>) {
        if let Some(end) = self.0.take() {
            end(result);
        }
    }
}

impl<F: FnOnce(Result<Driven>)> Drop for Ending<F> {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end(Err(Error::storage("driving the run was cut short: the program is ending")));
        }
    }
}
