//! The journal in an SQLite database: one file, many processes.
//!
//! Owns: what each call comes to, and the readers. Does not own: the file (`schema`), its rows
//! (`runs`, `log`, `rows`, `duties`, `schedules`, `outbox`), the lines that let an append go ahead before it is on the disk (`lines`), the queue
//! and the transactions (`writer`).
//!
//! Every write is checked again inside its transaction. What is kept in memory only makes it
//! possible to number records ahead; it never decides who may write.

mod duties;
mod lines;
mod log;
mod mark;
mod outbox;
mod past;
mod places;
mod platform;
mod presence;
mod prune;
mod queue;
mod rows;
mod runs;
mod schedules;
mod schema;
#[cfg(test)]
mod tests;
mod values;
mod writer;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use log::records_of;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use self::lines::Lines;
use self::past::Past;
use self::presence::Processes;
use self::runs::Stored;
use self::schema::Site;
use self::values::{Fault, Rows};
use self::writer::{Job, Writer};
use super::derive::{self, Verdict};
use super::{
    Appended, Bounds, CameTo, Claim, ClaimRequest, Delivery, DeliveryFilter, DeliveryState, ExtendRequest,
    Journal, LeaseFilter, NewRun, News, Notification, Outbox, OwnerId, Presence, PruneFilter, Queued,
    RunFilter, ScheduledEnd, Settlement, Status, Subscription, Summary, Sync, Taking, Tenure, TickFilter,
};
use crate::error::{Error, Result};
use crate::event::{
    Event, ExtendedLease, ForgottenLease, Lease, Record, RunId, Schedule, Signal, Source, Tick,
};

/// A journal in an SQLite database.
///
/// Dropping it writes what is still in line and closes the file.
pub struct SqliteJournal {
    // Before the writer: the last connection to close takes the log into the file.
    readers: Arc<Readers>,
    writer: Option<Writer>,
    lines: Arc<Lines>,
    processes: Processes,
    news: News,
    past: Past,
}

impl SqliteJournal {
    /// Opens a journal, and creates it together with its folder if need be.
    ///
    /// # Errors
    /// `Storage` when it cannot be opened, is damaged, or is of a newer format.
    pub fn open(path: &Path) -> Result<SqliteJournal> {
        let (site, db) = Site::create(path)?;
        let site = Arc::new(site);
        let writer = Writer::start(site.clone(), db)?;
        Ok(SqliteJournal::new(Readers::new(site, Vec::new()), Some(writer)))
    }

    /// Opens a journal that exists for reading only: every write is refused.
    ///
    /// # Errors
    /// `Storage` when it cannot be opened or is of a newer format.
    pub fn open_read_only(path: &Path) -> Result<SqliteJournal> {
        let (site, db) = Site::find(path)?;
        Ok(SqliteJournal::new(Readers::new(Arc::new(site), vec![db]), None))
    }

    fn new(readers: Readers, writer: Option<Writer>) -> Self {
        let processes = Processes::beside(readers.site.path());
        SqliteJournal {
            readers: Arc::new(readers),
            writer,
            lines: Arc::default(),
            processes,
            news: News::default(),
            past: Past::default(),
        }
    }

    /// Returns how many transactions this journal has committed.
    pub fn commits(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::commits)
    }

    /// Checks the whole file, every page and every index. Opening does so only for small files.
    ///
    /// # Errors
    /// `Storage`, saying what is damaged.
    pub async fn check(&self) -> Result<()> {
        let site = self.readers.site.clone();
        self.read(move |db| site.check_pages(db)).await
    }

    /// Writes and waits until it is on the disk.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> Rows<T> + Send + 'static,
    ) -> Result<T> {
        self.write_then(write, |_| {}).await
    }

    /// Writes what may make something due.
    async fn write_news<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> Rows<T> + Send + 'static,
    ) -> Result<T> {
        let written = self.write(write).await?;
        self.news.tell();
        Ok(written)
    }

    /// Writes, lets `end` see the outcome, and waits until it is on the disk.
    async fn write_then<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> Rows<T> + Send + 'static,
        end: impl FnOnce(&Result<T>) + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let writer = self.writer()?;
        writer.put(Job::new(write, move |result| {
            end(&result);
            // Nobody listens when the caller has given up.
            let _ = answer.send(result);
        }));
        writer.press(true);
        answered.await.map_err(|_| gone())?
    }

    /// Reads on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Rows<T> + Send + 'static,
    ) -> Result<T> {
        self.catch_up().await?;
        let readers = self.readers.clone();
        // Opening a connection reads the whole schema: whoever comes when all are in use waits for one.
        let _turn = readers.turns.acquire().await.map_err(|_| gone())?;
        let readers = readers.clone();
        tokio::task::spawn_blocking(move || readers.read(read))
            .await
            .map_err(|e| Error::storage("a read of the journal was cut short").because(e))?
    }

    /// Reads here and now, for what takes microseconds.
    async fn glance<T>(&self, read: impl FnOnce(&Connection) -> Rows<T> + Send) -> Result<T> {
        self.catch_up().await?;
        self.readers.read(read)
    }

    /// Waits until whatever was answered ahead of the disk is there, so that a read sees it.
    async fn catch_up(&self) -> Result<()> {
        if self.lines.are_ahead() { self.write(|_| Ok(())).await } else { Ok(()) }
    }

    fn writer(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(|| Error::storage("the journal is open for reading only"))
    }

    /// Appends to a run whose line is not known: it was claimed through another journal, or the
    /// last append failed. The records are made in the transaction.
    async fn append_unknown(&self, tenure: &Tenure, events: &[Event], at: Timestamp) -> Result<Appended> {
        let (tenure, events, lines) = (tenure.clone(), events.to_vec(), self.lines.clone());
        let write = move |db: &Connection| {
            let Stored { summary: before, mut place } = runs::known(db, &tenure.run)?;
            let mut after = Arc::new(before.clone());
            let records = derive::proceed(Arc::make_mut(&mut after), &tenure, &events, at)?;
            let signalled = runs::advance(db, &mut place, &before, &mut after, &events, &records)?;
            Ok((
                Appended { last: after.seq, signalled },
                Stored { summary: Arc::unwrap_or_clone(after), place },
            ))
        };
        let end = move |result: &Result<(Appended, Stored)>| {
            if let Ok((appended, after)) = result {
                lines.follow(after, appended.signalled);
            }
        };
        Ok(self.write_then(write, end).await?.0)
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        lock(&self.readers.idle).clear();
        self.writer = None;
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn prepare(&self, run: NewRun, at: Timestamp) -> Result<bool> {
        let (summary, first) = derive::prepare(&run, at)?;
        self.write_news(move |db| {
            let deadline = match &run.due_lease {
                Some((lease, _)) => duties::deadline(db, lease)?,
                None => None,
            };
            Ok(derive::is_wanted(&run, |_| deadline) && runs::add(db, &run, &summary, &first)?)
        })
        .await
    }

    fn enter(&self, owner: &OwnerId) -> Result<()> {
        self.processes.enter(owner)
    }

    fn leave(&self, owner: &OwnerId) {
        self.processes.leave(owner);
    }

    fn presence(&self, owner: &OwnerId) -> Presence {
        self.processes.presence(owner)
    }

    async fn sweep(&self) -> Result<()> {
        let bury = async |gone: Vec<OwnerId>| {
            self.write_news(move |db| {
                rows::bury(db, &gone)?;
                outbox::put_back(db, &gone)
            })
            .await
        };
        self.processes.sweep(bury).await
    }

    async fn heartbeat(&self, owner: &OwnerId, until: Timestamp) -> Result<()> {
        let owner = owner.clone();
        self.write(move |db| rows::put_owner(db, &owner, until)).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let (request, lines) = (request.clone(), self.lines.clone());
        let write = move |db: &Connection| {
            if rows::owner(db, &request.owner)?.is_none() {
                return Err(Fault::Said(derive::no_heartbeat(&request.owner)));
            }
            let Stored { summary: before, mut place } = runs::known(db, &request.run)?;
            let heartbeat = before.owner.as_ref().map(|by| rows::owner(db, by)).transpose()?.flatten();
            let mut after = Arc::new(before.clone());
            Ok(match derive::decide_claim(Arc::make_mut(&mut after), heartbeat, &request)? {
                Verdict::Over => (Claim::Over, None),
                Verdict::Moved => (Claim::Moved, None),
                Verdict::Queued => (Claim::Queued, None),
                Verdict::Held { by, until } => (Claim::Held { by, until }, None),
                Verdict::Grant(record, tenure) => {
                    let signalled = runs::advance(db, &mut place, &before, &mut after, &[], &[record])?;
                    let after = Stored { summary: Arc::unwrap_or_clone(after), place };
                    (Claim::Granted(tenure), Some((after, signalled)))
                }
            })
        };
        let end = move |result: &Result<(Claim, Option<(Stored, bool)>)>| {
            if let Ok((_, Some((after, signalled)))) = result {
                lines.follow(after, *signalled);
            }
        };
        Ok(self.write_then(write, end).await?.0)
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        let Some(line) = self.lines.of(tenure) else {
            let appended = self.append_unknown(tenure, events, at).await?;
            self.news.tell_of(events);
            return Ok(appended);
        };
        let (mut appended, written) = self.lines.append(self.writer()?, line, tenure, events, at, sync)?;
        if let Some(written) = written {
            appended.signalled = written.await.map_err(|_| gone())??;
        }
        self.news.tell_of(events);
        Ok(appended)
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        let run = run.clone();
        self.read(move |db| runs::records(db, &run, after)).await
    }

    async fn sources(&self, run: &RunId) -> Result<Vec<Source>> {
        let run = run.clone();
        self.read(move |db| runs::sources(db, &run)).await
    }

    async fn keep(&self, text: &str) -> Result<()> {
        let text = text.to_owned();
        self.write(move |db| log::add_text(db, &text)).await
    }

    async fn kept(&self, fingerprint: &str) -> Result<String> {
        let fingerprint = fingerprint.to_owned();
        self.read(move |db| log::text(db, &fingerprint, &format!("the text {fingerprint}"))).await
    }

    async fn run(&self, run: &RunId) -> Result<Option<Summary>> {
        self.glance(|db| Ok(runs::find(db, run)?.map(|found| found.summary))).await
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Summary>> {
        let filter = filter.clone();
        self.read(move |db| runs::list(db, &filter)).await
    }

    async fn tally(&self) -> Result<Vec<(Status, u64)>> {
        self.read(runs::tally).await
    }

    async fn find(&self, beginning: &str, limit: usize) -> Result<Vec<Summary>> {
        self.glance(|db| runs::beginning(db, beginning, limit)).await
    }

    async fn prunable(&self, filter: &PruneFilter) -> Result<Vec<Summary>> {
        let filter = filter.clone();
        self.read(move |db| prune::prunable(db, &filter)).await
    }

    async fn prune(&self, runs: &[RunId], at: Timestamp) -> Result<Vec<RunId>> {
        let runs = runs.to_vec();
        let gone = self.write(move |db| prune::prune(db, &runs, at)).await?;
        if !gone.is_empty() {
            // By itself: others take their turn in between.
            self.write(prune::give_back).await?;
        }
        Ok(gone)
    }

    async fn pruned(&self, run: &RunId) -> Result<Option<Timestamp>> {
        self.glance(|db| rows::pruned(db, run)).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>> {
        self.read(move |db| runs::due(db, now, limit)).await
    }

    async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        self.glance(|db| runs::next_due(db, after)).await
    }

    fn news(&self) -> News {
        self.news.clone()
    }

    async fn was_written_past(&self) -> Result<bool> {
        self.past.look(&self.readers.site)
    }

    async fn signal(&self, run: &RunId, signal: &Signal, at: Timestamp) -> Result<()> {
        let (run, signal) = (run.clone(), signal.clone());
        self.write_news(move |db| runs::add_signal(db, &run, &signal, at)).await
    }

    async fn signalled(&self, owner: &OwnerId) -> Result<Vec<RunId>> {
        self.glance(|db| rows::signalled(db, owner)).await
    }

    async fn signals(&self, run: &RunId) -> Result<Vec<Signal>> {
        self.glance(|db| rows::signals(db, run)).await
    }

    async fn queue(&self) -> Result<Vec<Queued>> {
        self.read(queue::queue).await
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        self.read(duties::leases).await
    }

    async fn leases_where(&self, filter: &LeaseFilter) -> Result<Vec<Lease>> {
        self.glance(|db| duties::leases_where(db, filter)).await
    }

    async fn forget_lease(&self, id: &str, by: &str, because: &str, at: Timestamp) -> Result<bool> {
        let (id, by, because) = (id.to_owned(), by.to_owned(), because.to_owned());
        self.write(move |db| duties::forget_lease(db, &id, &by, &because, at)).await
    }

    async fn forgotten_leases(&self) -> Result<Vec<ForgottenLease>> {
        self.read(duties::forgotten_leases).await
    }

    async fn extend_lease(&self, request: &ExtendRequest) -> Result<Option<ExtendedLease>> {
        let request = request.clone();
        self.write_news(move |db| duties::extend_lease(db, &request)).await
    }

    async fn extended_leases(&self) -> Result<Vec<ExtendedLease>> {
        self.read(duties::extended_leases).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        self.read(schedules::all).await
    }

    async fn schedules_due(&self, now: Timestamp) -> Result<Vec<Schedule>> {
        self.glance(|db| schedules::due(db, now)).await
    }

    async fn schedule(&self, id: &str) -> Result<Option<Schedule>> {
        self.glance(|db| schedules::find(db, id)).await
    }

    async fn settle(&self, settlement: &Settlement, at: Timestamp) -> Result<bool> {
        let id = settlement.schedule()?.to_owned();
        let mut births = Vec::with_capacity(settlement.starts.len());
        for start in &settlement.starts {
            births.push(derive::prepare(&start.run, at)?);
        }
        let settlement = settlement.clone();
        self.write_news(move |db| {
            if schedules::find(db, &id)? != settlement.from {
                return Ok(false);
            }
            match &settlement.to {
                Some(schedule) => schedules::put(db, schedule)?,
                None => schedules::remove(db, &id)?,
            }
            schedules::account(db, &settlement.ticks)?;
            for (start, (summary, first)) in settlement.starts.iter().zip(&births) {
                runs::add(db, &start.run, summary, first)?;
                schedules::follow(db, &start.run.id, &id, start.until)?;
                // Whoever asks for a run a second time is told how the first one ended.
                let status = match runs::find(db, &start.run.id)? {
                    Some(found) => found.summary.status,
                    // It is over and gone.
                    None => Status::Succeeded,
                };
                if status.is_over() {
                    schedules::ended(db, &start.run.id, status)?;
                }
            }
            for (run, by) in &settlement.stops {
                stop(db, run, Signal::Stop { by: by.clone() }, at)?;
            }
            settlement.heard.iter().try_for_each(|run| schedules::heard(db, run))?;
            outbox::notify(db, &Notification::of_settlement(&settlement, at))?;
            Ok(true)
        })
        .await
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<Tick>> {
        let filter = filter.clone();
        self.read(move |db| schedules::ticks(db, &filter)).await
    }

    async fn prune_ticks(&self, before: Timestamp, limit: usize) -> Result<usize> {
        self.write(move |db| schedules::prune(db, before, limit)).await
    }

    async fn scheduled_ends(&self, limit: usize) -> Result<Vec<ScheduledEnd>> {
        self.glance(|db| schedules::ends(db, limit)).await
    }

    async fn stop_overdue(&self, now: Timestamp) -> Result<Vec<RunId>> {
        // Whoever finds nothing to do does not write.
        if self.glance(|db| schedules::overdue(db, now)).await?.is_empty() {
            return Ok(Vec::new());
        }
        self.write_news(move |db| {
            let overdue = schedules::overdue(db, now)?;
            for (run, schedule) in &overdue {
                schedules::release(db, run, schedule)?;
                stop(db, run, derive::overdue(schedule), now)?;
            }
            Ok(overdue.into_iter().map(|(run, _)| run).collect())
        })
        .await
    }

    fn outbox(&self) -> &dyn Outbox {
        self
    }
}

#[async_trait]
impl Outbox for SqliteJournal {
    async fn subscribe(&self, subscriptions: &[Subscription]) -> Result<Vec<(String, u64)>> {
        let mut wanted = subscriptions.to_vec();
        wanted.sort_unstable_by(|a, b| a.receiver.cmp(&b.receiver));
        // Whoever changes nothing does not write.
        if self.glance(outbox::subscriptions).await? == wanted {
            return Ok(Vec::new());
        }
        self.write(move |db| outbox::subscribe(db, &wanted)).await
    }

    async fn subscriptions(&self) -> Result<Vec<Subscription>> {
        self.glance(outbox::subscriptions).await
    }

    async fn notify(&self, notification: &Notification) -> Result<usize> {
        let notification = notification.clone();
        self.write_news(move |db| outbox::notify(db, &[notification])).await
    }

    async fn take(&self, taking: &Taking) -> Result<Option<Delivery>> {
        // Whoever finds nothing to do does not write.
        if self.glance(|db| outbox::due(db, taking)).await?.is_none() {
            return Ok(None);
        }
        let taking = taking.clone();
        self.write(move |db| outbox::take(db, &taking)).await
    }

    async fn settle_delivery(&self, taken: &Delivery, came_to: &CameTo, at: Timestamp) -> Result<bool> {
        let (taken, came_to) = (taken.clone(), came_to.clone());
        self.write(move |db| outbox::settle(db, &taken, &came_to, at)).await
    }

    async fn next_delivery(&self, receiver: &str) -> Result<Option<Timestamp>> {
        self.glance(|db| outbox::next(db, receiver)).await
    }

    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>> {
        let filter = filter.clone();
        self.read(move |db| outbox::list(db, &filter)).await
    }

    async fn delivery_tally(&self) -> Result<Vec<(String, DeliveryState, u64)>> {
        self.read(outbox::tally).await
    }

    async fn bound_deliveries(&self, receiver: &str, bounds: &Bounds, at: Timestamp) -> Result<u64> {
        let (receiver, bounds) = (receiver.to_owned(), *bounds);
        if self.glance(|db| outbox::is_within(db, &receiver, &bounds)).await? {
            return Ok(0);
        }
        self.write(move |db| outbox::bound(db, &receiver, &bounds, at)).await
    }
}

/// Asks a run to stop, unless it is over.
fn stop(db: &Connection, run: &RunId, word: Signal, at: Timestamp) -> Rows<()> {
    match runs::add_signal(db, run, &word, at) {
        Ok(()) | Err(Fault::Said(_)) => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// A few connections for reading, opened as they are needed.
struct Readers {
    site: Arc<Site>,
    idle: Mutex<Vec<Connection>>,
    /// How many may read on threads of their own at the same time.
    turns: Semaphore,
}

/// How many read at the same time.
const READERS: usize = 4;
/// How many connections are kept: a glance takes one without waiting for its turn.
const IDLE_READERS: usize = 2 * READERS;

impl Readers {
    fn new(site: Arc<Site>, idle: Vec<Connection>) -> Self {
        Readers { site, idle: Mutex::new(idle), turns: Semaphore::new(READERS) }
    }
}

impl Readers {
    /// Reads one moment of the database.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Rows<T>) -> Result<T> {
        self.site.check_present()?;
        let idle = lock(&self.idle).pop();
        let outcome = idle.map_or_else(|| self.site.reader(), Ok).and_then(|db| {
            let moment = db.unchecked_transaction()?;
            let found = read(&moment)?;
            moment.commit()?;
            let mut idle = lock(&self.idle);
            if idle.len() < IDLE_READERS {
                idle.push(db);
            }
            Ok(found)
        });
        outcome.map_err(|fault| self.site.explain("read", fault))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while a queue, a line or a list of readers is held")
}

fn gone() -> Error {
    Error::storage("the journal's writer has stopped")
        .hint("start again: what is on the disk is intact, and runs go on from there")
}
