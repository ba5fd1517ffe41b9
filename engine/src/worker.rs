//! What an engine does when nobody asks: due schedules, parked runs, leases at their deadline.
//!
//! ```text
//!  written in this process (News) ─────────────┐
//!  the next time at which something is due ────┼─► a tick: what is due is begun
//!  written by another process, asked for ──────┘
//! ```
//!
//! Owns no state: everything it does is read from the journal, so that after any crash the next
//! worker picks up where the last one was. While nothing is due it does not look.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::clock::{Clock, Interval};
use crate::closing::Asks;
use crate::core::Core;
use crate::drive::Halt;
use crate::drive::{Driven, Way};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{RunId, Schedule};
use crate::journal::{LeaseFilter, Listener, Notification, ScheduledEnd};
use crate::log::Closing;

/// How many runs are at work at once. One that only waits is not counted.
const AT_ONCE: usize = 256;
/// How many due runs are fetched at a time.
const BATCH: usize = 1024;
/// How long a run may wait before it is put away as a row.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for a run whose script keeps its thread. A replay costs what the run has done so far, at
/// every wait; seen against an hour, that is nothing.
const KEPT_PATIENCE: Duration = Duration::from_secs(3600);
/// How often a waiting run looks for signals by itself; the worker does that for all of them.
const NAP: Duration = Duration::from_secs(60);
/// How long it is until what was due and could not be settled at once is looked at again.
const TICK: Duration = Duration::from_millis(500);
/// How long, in real time, news is gathered before it is looked at: what happens together is found together.
const GATHER: Duration = Duration::from_millis(10);
/// How often, in real time, it is asked whether another process is gone or has written something, which nothing
/// tells: the name of each file beside the journal, and one number of the journal's.
const ASK: Duration = Duration::from_secs(1);
/// How many schedules are settled at the same time.
const SETTLED_AT_ONCE: usize = 32;
/// How long it is until a schedule is looked at again whose run cannot be started.
const MENDED: Duration = Duration::from_secs(10);
/// The longest pause while the journal cannot be read.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What one tick found to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Runs that are driven now.
    pub runs: Vec<RunId>,
    /// Schedules that fired.
    pub fired: Vec<String>,
    /// Leases whose closing began.
    pub closing: Vec<String>,
}

/// Called with what went wrong, and with what.
type OnError = Arc<dyn Fn(&str, &Error) + Send + Sync>;
/// Called with what became of ticks that somebody should hear of.
type OnNotification = Arc<dyn Fn(&Notification) + Send + Sync>;
/// Called again and again while the worker is at work.
type OnPulse = Box<dyn Fn() + Send + Sync>;

/// Keeps runs, schedules and leases of one journal going.
pub struct Worker {
    core: Arc<Core>,
    places: Arc<Semaphore>,
    driving: JoinSet<(RunId, Result<Driven>)>,
    under_way: HashSet<RunId>,
    complaints: HashSet<String>,
    /// The schedules whose runs cannot be started, and when, by the monotonic clock, they are looked at again.
    broken: BTreeMap<String, Duration>,
    on_error: OnError,
    on_notification: OnNotification,
    on_pulse: OnPulse,
    /// When the last tick was.
    looked_at: Timestamp,
    /// Whether it found something that was due: it may still be so, such as a lease until it is closed.
    is_unsettled: bool,
}

impl Worker {
    /// Makes a worker. `on_error` is told what went wrong with what; the worker goes on.
    pub fn new(engine: &Engine, on_error: impl Fn(&str, &Error) + Send + Sync + 'static) -> Self {
        Worker {
            core: engine.0.clone(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            driving: JoinSet::new(),
            under_way: HashSet::new(),
            complaints: HashSet::new(),
            broken: BTreeMap::new(),
            on_error: Arc::new(on_error),
            on_notification: Arc::new(|_| ()),
            on_pulse: Box::new(|| ()),
            looked_at: Timestamp::MIN,
            is_unsettled: false,
        }
    }

    /// Calls `on_pulse` at least every 30 seconds while the worker is at work, for whoever restarts one that hangs. A journal
    /// that cannot be read is no hanging.
    #[must_use]
    pub fn on_pulse(mut self, on_pulse: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_pulse = Box::new(on_pulse);
        self
    }

    /// Calls `on_notification` for each stretch of ticks that this worker found missed and each schedule that it paused, whether or
    /// not anybody is subscribed.
    #[must_use]
    pub fn on_notification(
        mut self,
        on_notification: impl Fn(&Notification) + Send + Sync + 'static,
    ) -> Self {
        self.on_notification = Arc::new(on_notification);
        self
    }

    /// Goes on until the engine is interrupted or hands its runs back, then waits for them to park.
    ///
    /// A journal that cannot be read or written for a while is tried again after a growing pause.
    pub async fn run(&mut self) {
        let core = self.core.clone();
        let mut news = core.journal.news().listen();
        let mut pause = TICK;
        while core.cancel.get().is_none() {
            (self.on_pulse)();
            let looked = match self.tick().await {
                Ok(_) => self.wait(&mut news).await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(()) => pause = TICK,
                Err(error) => {
                    (self.on_error)("the journal", &error);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    tokio::select! {
                        () = core.clock.sleep(pause) => {}
                        () = core.cancel.wait() => {}
                    }
                }
            }
        }
        self.settle().await;
    }

    /// Waits until another tick may find something.
    async fn wait(&mut self, news: &mut Listener) -> Result<()> {
        let core = self.core.clone();
        let clock = &*core.clock;
        let next = core.journal.next_due(self.looked_at).await?;
        let unsettled = Interval::of(clock, TICK);
        let mut asks = tokio::time::interval(ASK);
        asks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        asks.reset();
        loop {
            let unsettled = self.is_unsettled.then(|| unsettled.left(clock));
            let again = core.drives.next_again(&self.under_way);
            let mended = self.broken.values().min().copied();
            let again = again.into_iter().chain(mended).min().map(|at| at.saturating_sub(clock.elapsed()));
            let soonest = unsettled.into_iter().chain(again).min();
            tokio::select! {
                biased;
                () = core.cancel.wait() => return Ok(()),
                () = news.hear() => {
                    tokio::time::sleep(GATHER).await;
                    return Ok(());
                }
                () = at(clock, next) => return Ok(()),
                () = after(clock, soonest) => return Ok(()),
                Some(done) = self.driving.join_next() => self.done(done),
                _ = asks.tick() => {
                    (self.on_pulse)();
                    core.journal.sweep().await?;
                    if core.journal.was_written_past().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Looks at the journal once and begins whatever is due.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn tick(&mut self) -> Result<Found> {
        while let Some(done) = self.driving.try_join_next() {
            self.done(done);
        }
        self.core.enter().await?;
        self.core.journal.sweep().await?;
        let now = self.core.clock.now();
        self.looked_at = now;
        self.is_unsettled = false;
        let mut found = Found::default();
        self.close_due(now, &mut found).await?;
        self.settle_schedules(now, &mut found).await?;
        for run in self.core.journal.signalled(&self.core.owner).await? {
            self.core.drives.signal(&run);
        }
        let elapsed = self.core.clock.elapsed();
        let mut due = self.core.journal.due(now, BATCH).await?;
        self.is_unsettled |= !due.is_empty();
        due.extend(self.core.drives.due_again(elapsed));
        for run in due {
            if !self.core.drives.is_pausing(&run, elapsed) && self.begin(&run, Some(self.places.clone())) {
                found.runs.push(run);
            }
        }
        Ok(found)
    }

    /// Begins to drive a run, unless that is under way. Returns whether it did.
    fn begin(&mut self, run: &RunId, places: Option<Arc<Semaphore>>) -> bool {
        if !self.under_way.insert(run.clone()) {
            return false;
        }
        let (core, run) = (self.core.clone(), run.clone());
        let way = Way {
            patience: PATIENCE,
            kept_patience: KEPT_PATIENCE,
            nap: NAP,
            on_drop: Halt::HandBack,
            // A door is closed whatever its closing is put away for.
            only_due: places.is_some(),
            places,
        };
        self.driving.spawn(async move {
            let driven = core.drive(&run, way).await;
            (run, driven)
        });
        true
    }

    /// Waits until every run that was begun is over or parked.
    pub async fn settle(&mut self) {
        while let Some(done) = self.driving.join_next().await {
            self.done(done);
        }
    }

    /// Says once what cannot be done: it is found again at every tick until somebody mends it.
    fn complain(&mut self, what: &str, error: &Error) {
        if self.complaints.insert(format!("{what}: {error}")) {
            (self.on_error)(what, error);
        }
    }

    fn done(&mut self, done: Result<(RunId, Result<Driven>), tokio::task::JoinError>) {
        match done {
            Ok((run, driven)) => {
                self.under_way.remove(&run);
                if let Err(error) = driven {
                    (self.on_error)(&format!("run {run}"), &error);
                }
            }
            Err(panic) => (self.on_error)("a run", &Error::storage("driving it failed").because(panic)),
        }
    }

    /// Begins to close the leases whose deadline has come.
    async fn close_due(&mut self, now: Timestamp, found: &mut Found) -> Result<()> {
        for lease in self.core.journal.leases_where(&LeaseFilter::Due(now)).await? {
            self.is_unsettled = true;
            match self.core.close(&lease, Asks::AtDeadline).await {
                Ok(Closing::Begun(run)) => {
                    // A door does not wait for a place.
                    self.begin(&run, None);
                    found.closing.push(lease.id);
                }
                Ok(Closing::UnderWay(_) | Closing::Paused | Closing::Over) => {}
                Err(error) => self.complain(&lease.title, &error),
            }
        }
        Ok(())
    }

    /// Accounts for the ticks that are due, starts their runs, and hears which runs of schedules ended.
    async fn settle_schedules(&mut self, now: Timestamp, found: &mut Found) -> Result<()> {
        let core = self.core.clone();
        for run in core.journal.stop_overdue(now).await? {
            core.drives.signal(&run);
        }
        let mut looks: BTreeMap<String, (Schedule, Vec<ScheduledEnd>)> = BTreeMap::new();
        for schedule in core.journal.schedules_due(now).await? {
            looks.insert(schedule.id.clone(), (schedule, Vec::new()));
        }
        let ends = core.journal.scheduled_ends(BATCH).await?;
        self.is_unsettled |= ends.len() == BATCH;
        for end in ends {
            if let Some((_, ends)) = looks.get_mut(&end.schedule) {
                ends.push(end);
            } else if let Some(schedule) = core.journal.schedule(&end.schedule).await? {
                looks.insert(end.schedule.clone(), (schedule, vec![end]));
            }
        }
        let elapsed = core.clock.elapsed();
        self.broken.retain(|_, again| *again > elapsed);
        looks.retain(|id, _| !self.broken.contains_key(id));
        let core = &core;
        let looks = looks.into_values().map(|(schedule, ends)| async move {
            let settled = core.settle_schedule(&schedule, &ends, &[]).await;
            (schedule.id, settled)
        });
        // Together, so that they share the disk's time.
        let mut settled = futures::stream::iter(looks).buffer_unordered(SETTLED_AT_ONCE);
        while let Some((id, settled)) = settled.next().await {
            match settled {
                Ok(Some(settled)) => {
                    self.is_unsettled |= settled.is_unsettled;
                    for notification in Notification::of_settlement(&settled.settlement, now) {
                        (self.on_notification)(&notification);
                    }
                    if !settled.starts.is_empty() {
                        found.fired.push(id);
                    }
                }
                // Another process was faster.
                Ok(None) => self.is_unsettled = true,
                // What cannot be started stays due: a person may mend it, and nothing is lost.
                Err(error) => {
                    self.broken.insert(id.clone(), elapsed + MENDED);
                    self.complain(&format!("schedule {id}"), &error);
                }
            }
        }
        found.fired.sort_unstable();
        Ok(())
    }
}

/// Returns when a time has come; never when there is none.
async fn at(clock: &dyn Clock, time: Option<Timestamp>) {
    match time {
        Some(time) => clock.sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Returns when a length of time is over; never when there is none.
async fn after(clock: &dyn Clock, length: Option<Duration>) {
    match length {
        Some(length) => clock.sleep(length).await,
        None => std::future::pending().await,
    }
}
