//! The journal in memory, for tests and rehearsals: stricter than the one on disk, on purpose.
//!
//! Owns: the whole state, the list of commands that led to it, and two ways to lose some of it
//! ([`crash`](MemoryJournal::crash), [`truncated`](MemoryJournal::truncated)).
//!
//! Beyond the promises of [`Journal`] it refuses an event that does not read back as it was
//! written, and steps out of order: a result without its intent, an intent while another is open.

mod outbox;
mod state;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use jiff::Timestamp;

use self::state::State;
use super::{
    Appended, Bounds, CameTo, Claim, ClaimRequest, Delivery, DeliveryFilter, DeliveryState, ExtendRequest,
    Journal, NewRun, News, Notification, Outbox, OwnerId, PruneFilter, Queued, RunFilter, ScheduledEnd,
    Settlement, Subscription, Summary, Sync, Taking, Tenure, TickFilter,
};
use crate::error::{Error, Result};
use crate::event::{
    self, Event, ExtendedLease, ForgottenLease, GENESIS, Lease, Record, RunId, Schedule, Signal, Source, Tick,
};

/// A journal that is gone with the process.
#[derive(Default)]
pub struct MemoryJournal(Mutex<Inner>, News);

#[derive(Default)]
struct Inner {
    state: State,
    /// Every command that was not refused, in order, with the number of records it wrote.
    log: Vec<(Command, u64)>,
    /// How many of them a disk would hold.
    durable: usize,
}

impl MemoryJournal {
    /// Makes an empty journal.
    pub fn new() -> Self {
        MemoryJournal::default()
    }

    /// Returns what a disk would hold if the process died now: all up to the last command that
    /// waited for it. What was appended with [`Sync::Soon`] since then is lost.
    pub fn crash(&self) -> MemoryJournal {
        let inner = self.lock();
        MemoryJournal::replay(inner.log[..inner.durable].iter().map(|(command, _)| command.clone()))
    }

    /// Loses what a disk would not hold if the machine lost its power now: as [`crash`](Self::crash), in place.
    pub fn lose_unsynced(&self) {
        let kept = std::mem::take(&mut *self.crash().lock());
        *self.lock() = kept;
    }

    /// Returns the journal as if nothing had happened to a run after its record number `seq`.
    ///
    /// What its later events did to leases and schedules is undone, the words that they consumed
    /// wait again, and words that came later are gone. Other runs keep their lines.
    pub fn truncated(&self, run: &RunId, seq: u64) -> MemoryJournal {
        let inner = self.lock();
        let mut written = 0;
        MemoryJournal::replay(inner.log.iter().filter_map(|(command, wrote)| {
            if command.run() != Some(run) {
                return Some(command.clone());
            }
            let left = seq.saturating_sub(written);
            written += wrote;
            if left == 0 { None } else { Some(command.clone().cut(left)) }
        }))
    }

    fn replay(commands: impl Iterator<Item = Command>) -> MemoryJournal {
        let mut inner = Inner::default();
        for command in commands {
            // A command may have hung on one that was cut off, such as a firing on its schedule.
            let _ = inner.perform(command);
        }
        inner.durable = inner.log.len();
        MemoryJournal(Mutex::new(inner), News::default())
    }

    fn perform(&self, command: Command) -> Result<Answer> {
        let waits = !matches!(command, Command::Append { sync: Sync::Soon, .. });
        let events = match &command {
            Command::Append { events, .. } => Some(events.clone()),
            Command::Claim(_)
            | Command::Heartbeat { .. }
            | Command::Subscribe(_)
            | Command::Take(_)
            | Command::SettleDelivery { .. }
            | Command::Bound { .. } => Some(Vec::new()),
            _ => None,
        };
        let answer = {
            let mut inner = self.lock();
            let answer = inner.perform(command)?;
            if waits {
                inner.durable = inner.log.len();
            }
            answer
        };
        match events {
            Some(events) => self.1.tell_of(&events),
            None => self.1.tell(),
        }
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic while the journal is held")
    }
}

impl Inner {
    fn perform(&mut self, command: Command) -> Result<Answer> {
        let length =
            |state: &State| command.run().and_then(|run| state.lines.get(run)).map_or(0, |l| l.summary.seq);
        let before = length(&self.state);
        let answer = self.state.apply(&command)?;
        let wrote = length(&self.state) - before;
        self.log.push((command, wrote));
        Ok(answer)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn prepare(&self, run: NewRun, at: Timestamp) -> Result<bool> {
        self.perform(Command::Prepare { run: Box::new(run), at }).map(Answer::did)
    }

    async fn heartbeat(&self, owner: &OwnerId, until: Timestamp) -> Result<()> {
        self.perform(Command::Heartbeat { owner: owner.clone(), until }).map(drop)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        match self.perform(Command::Claim(request.clone()))? {
            Answer::Claim(claim) => Ok(claim),
            _ => unreachable!("a claim is answered as a claim"),
        }
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        let (tenure, events) = (tenure.clone(), events.to_vec());
        match self.perform(Command::Append { tenure, events, at, sync })? {
            Answer::Appended(appended) => Ok(appended),
            _ => unreachable!("an append is answered as an append"),
        }
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        let inner = self.lock();
        let line = inner.state.line(run)?;
        event::verify(GENESIS, 1, &line.records)?;
        Ok(line.records.iter().filter(|record| record.seq > after).cloned().collect())
    }

    async fn sources(&self, run: &RunId) -> Result<Vec<Source>> {
        Ok(self.lock().state.line(run)?.sources.clone())
    }

    async fn keep(&self, text: &str) -> Result<()> {
        self.perform(Command::Keep(text.to_owned())).map(drop)
    }

    async fn kept(&self, fingerprint: &str) -> Result<String> {
        let found = self.lock().state.texts.get(fingerprint).cloned();
        found.ok_or_else(|| Error::storage(format!("the journal has no text {fingerprint}")))
    }

    async fn run(&self, run: &RunId) -> Result<Option<Summary>> {
        Ok(self.lock().state.lines.get(run).map(|line| line.summary.clone()))
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Summary>> {
        let inner = self.lock();
        let all = inner.state.lines.values().map(|line| &line.summary);
        let mut found: Vec<Summary> = all.filter(|run| filter.fits(run)).cloned().collect();
        found.sort_by(|a, b| filter.sort.compare(a, b));
        if filter.limit > 0 {
            found.truncate(filter.limit);
        }
        Ok(found)
    }

    async fn find(&self, beginning: &str, limit: usize) -> Result<Vec<Summary>> {
        let inner = self.lock();
        let runs =
            inner.state.lines.iter().filter(|(id, _)| id.as_str().starts_with(beginning) && !id.is_branch());
        Ok(runs.take(limit).map(|(_, line)| line.summary.clone()).collect())
    }

    async fn prunable(&self, filter: &PruneFilter) -> Result<Vec<Summary>> {
        Ok(self.lock().state.prunable(filter))
    }

    async fn prune(&self, runs: &[RunId], at: Timestamp) -> Result<Vec<RunId>> {
        match self.perform(Command::Prune { runs: runs.to_vec(), at })? {
            Answer::Runs(gone) => Ok(gone),
            _ => unreachable!("pruning is answered by what was pruned"),
        }
    }

    async fn pruned(&self, run: &RunId) -> Result<Option<Timestamp>> {
        Ok(self.lock().state.pruned.get(run).copied())
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>> {
        let inner = self.lock();
        let runs = inner.state.lines.values().map(|line| &line.summary);
        let mut due: Vec<(Timestamp, RunId)> = runs
            .filter_map(|run| Some((inner.state.due(run)?, run.id.clone())))
            .filter(|(since, _)| *since <= now)
            .collect();
        due.sort_unstable();
        Ok(due.into_iter().take(limit).map(|(_, id)| id).collect())
    }

    async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        let inner = self.lock();
        let state = &inner.state;
        let runs = state.lines.values().filter_map(|line| state.due(&line.summary));
        let leases = state.leases.values().map(|lease| lease.deadline);
        let schedules = state.schedules.values().filter_map(Schedule::wakes);
        let ends = state.followed.values().filter_map(|followed| followed.until);
        Ok(runs.chain(leases).chain(schedules).chain(ends).filter(|at| *at > after).min())
    }

    fn news(&self) -> News {
        self.1.clone()
    }

    async fn was_written_past(&self) -> Result<bool> {
        Ok(false)
    }

    async fn signal(&self, run: &RunId, signal: &Signal, at: Timestamp) -> Result<()> {
        self.perform(Command::Signal { run: run.clone(), signal: signal.clone(), at }).map(drop)
    }

    async fn signalled(&self, owner: &OwnerId) -> Result<Vec<RunId>> {
        let inner = self.lock();
        let heard = inner
            .state
            .lines
            .iter()
            .filter(|(_, line)| line.summary.owner.as_ref() == Some(owner) && !line.signals.is_empty());
        Ok(heard.map(|(run, _)| run.clone()).collect())
    }

    async fn signals(&self, run: &RunId) -> Result<Vec<Signal>> {
        Ok(self.lock().state.lines.get(run).map(|line| line.signals.clone()).unwrap_or_default())
    }

    async fn queue(&self) -> Result<Vec<Queued>> {
        Ok(self.lock().state.queue())
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        let mut leases: Vec<Lease> = self.lock().state.leases.values().cloned().collect();
        leases.sort_unstable_by(|a, b| (a.deadline, &a.id).cmp(&(b.deadline, &b.id)));
        Ok(leases)
    }

    async fn forget_lease(&self, id: &str, by: &str, because: &str, at: Timestamp) -> Result<bool> {
        let (id, by, because) = (id.to_owned(), by.to_owned(), because.to_owned());
        self.perform(Command::Forget { id, by, because, at }).map(Answer::did)
    }

    async fn forgotten_leases(&self) -> Result<Vec<ForgottenLease>> {
        Ok(self.lock().state.forgotten.iter().rev().cloned().collect())
    }

    async fn extend_lease(&self, request: &ExtendRequest) -> Result<Option<ExtendedLease>> {
        match self.perform(Command::Extend(request.clone()))? {
            Answer::Extended(extended) => Ok(extended.map(|extended| *extended)),
            _ => unreachable!("an extension is answered as an extension"),
        }
    }

    async fn extended_leases(&self) -> Result<Vec<ExtendedLease>> {
        Ok(self.lock().state.extended.iter().rev().cloned().collect())
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        let mut schedules: Vec<Schedule> = self.lock().state.schedules.values().cloned().collect();
        let order = |it: &Schedule| (it.wakes().is_none(), it.wakes());
        schedules.sort_unstable_by(|a, b| (order(a), &a.id).cmp(&(order(b), &b.id)));
        Ok(schedules)
    }

    async fn settle(&self, settlement: &Settlement, at: Timestamp) -> Result<bool> {
        self.perform(Command::Settle { settlement: Box::new(settlement.clone()), at }).map(Answer::did)
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<Tick>> {
        let inner = self.lock();
        let fits = |tick: &&Tick| filter.schedule.as_ref().is_none_or(|id| tick.schedule == *id);
        let most = if filter.limit == 0 { usize::MAX } else { filter.limit };
        Ok(inner.state.ticks.iter().rev().filter(fits).take(most).cloned().collect())
    }

    async fn prune_ticks(&self, before: Timestamp, limit: usize) -> Result<usize> {
        match self.perform(Command::PruneTicks { before, limit })? {
            Answer::Count(count) => Ok(count),
            _ => unreachable!("it is answered with a number"),
        }
    }

    async fn scheduled_ends(&self, limit: usize) -> Result<Vec<ScheduledEnd>> {
        let inner = self.lock();
        let ends = inner.state.followed.iter().filter_map(|(run, followed)| {
            let (run, schedule) = (run.clone(), followed.schedule.clone());
            Some(ScheduledEnd { run, schedule, status: followed.ended? })
        });
        Ok(ends.take(limit).collect())
    }

    async fn stop_overdue(&self, now: Timestamp) -> Result<Vec<RunId>> {
        // Whoever finds nothing to do does not write.
        let is_overdue = |followed: &state::Followed| followed.until.is_some_and(|until| until <= now);
        if !self.lock().state.followed.values().any(is_overdue) {
            return Ok(Vec::new());
        }
        match self.perform(Command::StopOverdue { now })? {
            Answer::Runs(runs) => Ok(runs),
            _ => unreachable!("what is overdue is answered as runs"),
        }
    }

    fn outbox(&self) -> &dyn Outbox {
        self
    }
}

#[async_trait]
impl Outbox for MemoryJournal {
    async fn subscribe(&self, subscriptions: &[Subscription]) -> Result<Vec<(String, u64)>> {
        match self.perform(Command::Subscribe(subscriptions.to_vec()))? {
            Answer::Unsubscribed(gone) => Ok(gone),
            _ => unreachable!("who is told is answered by who is not any more"),
        }
    }

    async fn subscriptions(&self) -> Result<Vec<Subscription>> {
        Ok(self.lock().state.outbox.subscriptions())
    }

    async fn notify(&self, notification: &Notification) -> Result<usize> {
        match self.perform(Command::Notify(Box::new(notification.clone())))? {
            Answer::Count(count) => Ok(count),
            _ => unreachable!("a notification is answered by how many hear it"),
        }
    }

    async fn take(&self, taking: &Taking) -> Result<Option<Delivery>> {
        match self.perform(Command::Take(taking.clone()))? {
            Answer::Taken(delivery) => Ok(delivery.map(|delivery| *delivery)),
            _ => unreachable!("taking is answered by what was taken"),
        }
    }

    async fn settle_delivery(&self, taken: &Delivery, came_to: &CameTo, at: Timestamp) -> Result<bool> {
        let (taken, came_to) = (Box::new(taken.clone()), came_to.clone());
        self.perform(Command::SettleDelivery { taken, came_to, at }).map(Answer::did)
    }

    async fn next_delivery(&self, receiver: &str) -> Result<Option<Timestamp>> {
        Ok(self.lock().state.outbox.next(receiver))
    }

    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>> {
        Ok(self.lock().state.outbox.list(filter))
    }

    async fn delivery_tally(&self) -> Result<Vec<(String, DeliveryState, u64)>> {
        Ok(self.lock().state.outbox.tally())
    }

    async fn bound_deliveries(&self, receiver: &str, bounds: &Bounds, at: Timestamp) -> Result<u64> {
        let (receiver, bounds) = (receiver.to_owned(), *bounds);
        match self.perform(Command::Bound { receiver, bounds, at })? {
            Answer::Count(count) => Ok(count as u64),
            _ => unreachable!("bounds are answered by how many were given up"),
        }
    }
}

/// A call that changes something, as data.
#[derive(Clone)]
enum Command {
    Prepare { run: Box<NewRun>, at: Timestamp },
    Heartbeat { owner: OwnerId, until: Timestamp },
    Claim(ClaimRequest),
    Append { tenure: Tenure, events: Vec<Event>, at: Timestamp, sync: Sync },
    Signal { run: RunId, signal: Signal, at: Timestamp },
    Forget { id: String, by: String, because: String, at: Timestamp },
    Extend(ExtendRequest),
    Prune { runs: Vec<RunId>, at: Timestamp },
    Keep(String),
    Settle { settlement: Box<Settlement>, at: Timestamp },
    PruneTicks { before: Timestamp, limit: usize },
    StopOverdue { now: Timestamp },
    Subscribe(Vec<Subscription>),
    Notify(Box<Notification>),
    Take(Taking),
    SettleDelivery { taken: Box<Delivery>, came_to: CameTo, at: Timestamp },
    Bound { receiver: String, bounds: Bounds, at: Timestamp },
}

impl Command {
    /// Returns the run that it is about.
    fn run(&self) -> Option<&RunId> {
        match self {
            Command::Prepare { run, .. } => Some(&run.id),
            // What begins one run is a part of that run's history.
            Command::Settle { settlement, .. } => match &settlement.starts[..] {
                [start] => Some(&start.run.id),
                _ => None,
            },
            Command::Claim(ClaimRequest { run, .. }) | Command::Signal { run, .. } => Some(run),
            Command::Append { tenure, .. } => Some(&tenure.run),
            Command::Heartbeat { .. }
            | Command::Forget { .. }
            | Command::Extend(_)
            | Command::Prune { .. }
            | Command::Keep(_)
            | Command::PruneTicks { .. }
            | Command::StopOverdue { .. }
            | Command::Subscribe(_)
            | Command::Notify(_)
            | Command::Take(_)
            | Command::SettleDelivery { .. }
            | Command::Bound { .. } => None,
        }
    }

    /// Returns the command as far as it writes at most `left` records.
    fn cut(mut self, left: u64) -> Command {
        if let Command::Append { events, .. } = &mut self {
            events.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self
    }
}

/// What a command came to.
enum Answer {
    Done,
    Did(bool),
    Claim(Claim),
    Appended(Appended),
    Runs(Vec<RunId>),
    Count(usize),
    Extended(Option<Box<ExtendedLease>>),
    Unsubscribed(Vec<(String, u64)>),
    Taken(Option<Box<Delivery>>),
}

impl Answer {
    fn did(self) -> bool {
        matches!(self, Answer::Did(true))
    }
}
