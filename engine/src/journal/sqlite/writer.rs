//! One writer at a time: whoever has the connection commits whatever has queued up at once.
//!
//! Owns: the queue, the transactions, and what a failure of either means. Does not own: what is
//! written (each [`Job`] brings that along).
//!
//! ```text
//! queue: soon soon now | now now now ...      one transaction per group
//!        `--held back--^
//! BEGIN IMMEDIATE, then per job SAVEPOINT .. RELEASE (or ROLLBACK TO), COMMIT, then every answer
//!
//! connection:  in the queue ---> a script's thread that waits anyway: it takes the group and commits it
//!              ^      `--> the writer's thread: for those who must not block, and what was held back
//!              `---------- brought back; who brings it calls the thread if somebody waits by then
//! ```
//!
//! The connection lies in the queue, so that taking it and taking the group are one act: a job is either
//! in the hands of whoever has the connection, or seen by them when they bring it back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::mark::Mark;
use super::schema::Site;
use super::values::{Fault, Rows};
use super::{gone, lock};
use crate::bridge;
use crate::error::{Error, Result};

/// How long a job that can wait is held back for one that cannot. Tests run on busy machines and
/// want to see the rule, not the moment.
pub(super) const HELD: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 2 });

/// The way to the connection. Dropping it writes what is left and ends the thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Something to write, and what to do when it is on the disk or has failed.
pub(super) struct Job(Box<dyn Work>);

impl Job {
    /// Makes a job of a function that writes inside a transaction, and one that is told the end.
    pub(super) fn new<T: Send + 'static>(
        write: impl FnOnce(&Connection) -> Rows<T> + Send + 'static,
        end: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Self {
        Job::of(Steps { write: Some(write), written: None, end })
    }

    /// Makes a job of whatever knows how to be one.
    pub(super) fn of(work: impl Work + 'static) -> Self {
        Job(Box::new(work))
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// `Storage` when the system has no thread left.
    pub(super) fn start(site: Arc<Site>, db: Connection) -> Result<Self> {
        let queue = Queue {
            jobs: Vec::new(),
            since: Instant::now(),
            urgent: false,
            connection: Some(WriteConnection { mark: site.mark(), site, db, broken: false }),
            idle: false,
            stirred: false,
            closed: false,
        };
        let shared =
            Arc::new(Shared { queue: Mutex::new(queue), call: Condvar::new(), commits: AtomicU64::new(0) });
        let thread = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("relight-journal".into())
                .spawn(move || shared.keep())
                .map_err(|e| Error::storage("failed to start the journal's thread").because(e))?
        };
        Ok(Writer { shared, thread: Some(thread) })
    }

    /// Puts a job in line. It is committed some time after [`Writer::press`] was called as well.
    pub(super) fn put(&self, job: Job) {
        let mut queue = lock(&self.shared.queue);
        if queue.jobs.is_empty() {
            queue.since = Instant::now();
        }
        queue.jobs.push(job);
    }

    /// Sees to it that what is in line is committed: within [`HELD`], or at once when it is urgent,
    /// and then by the caller if its thread may block.
    pub(super) fn press(&self, urgent: bool) {
        let mut queue = lock(&self.shared.queue);
        if queue.jobs.is_empty() {
            return;
        }
        queue.urgent |= urgent;
        if urgent && bridge::may_block() {
            queue = self.shared.commit(queue);
        }
        self.shared.call(&queue);
    }

    /// Returns how many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.call.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has told its callers already if it panicked.
            let _ = thread.join();
        }
    }
}

/// Where jobs wait, and where the thread sleeps.
struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the thread.
    call: Condvar,
    commits: AtomicU64,
}

struct Queue {
    jobs: Vec<Job>,
    /// Since when the first of them waits.
    since: Instant,
    /// Whether somebody waits for one of them.
    urgent: bool,
    /// Is here unless somebody writes.
    connection: Option<WriteConnection>,
    /// Whether the thread sleeps until it is called; else it looks again within `HELD`.
    idle: bool,
    /// Whether the connection was in use since the thread last looked.
    stirred: bool,
    /// Whether nothing more will come.
    closed: bool,
}

impl Shared {
    /// What the thread does: commits what is due, until the queue is closed and empty.
    fn keep(&self) {
        let mut queue = lock(&self.queue);
        loop {
            let waited = queue.since.elapsed();
            let here = queue.connection.is_some();
            if here && queue.closed && queue.jobs.is_empty() {
                // Takes the connection along.
                queue.connection = None;
                return;
            }
            let due = queue.urgent || queue.closed || waited >= HELD;
            if here && due && !queue.jobs.is_empty() {
                queue = self.commit(queue);
                continue;
            }
            let nap = match (here, queue.jobs.is_empty()) {
                (true, false) => HELD.saturating_sub(waited),
                // Whoever is busy would have to call for every job that can wait.
                _ if std::mem::take(&mut queue.stirred) || !here => HELD,
                _ => Duration::MAX,
            };
            queue.idle = nap == Duration::MAX;
            queue = if queue.idle {
                self.call.wait(queue).expect("no panic while the queue is held")
            } else {
                self.call.wait_timeout(queue, nap).expect("no panic while the queue is held").0
            };
            queue.idle = false;
        }
    }

    /// Takes the connection if it is there, commits what is in line, and brings it back.
    fn commit<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let Some(mut connection) = queue.connection.take() else {
            return queue;
        };
        let group = std::mem::take(&mut queue.jobs);
        queue.urgent = false;
        queue.stirred = true;
        drop(queue);
        connection.serve(group, &self.commits);
        let mut queue = lock(&self.queue);
        queue.connection = Some(connection);
        queue
    }

    /// Wakes the thread if there is something for it to do that it would not see by itself.
    fn call(&self, queue: &Queue) {
        let waits = !queue.jobs.is_empty() && queue.connection.is_some();
        if waits && (queue.urgent || queue.idle) {
            self.call.notify_one();
        }
    }
}

/// The right to write.
struct WriteConnection {
    site: Arc<Site>,
    db: Connection,
    mark: Mark,
    /// Set by a failure after which nobody knows what is on the disk: an `fsync` that failed once
    /// may well succeed the next time without the data having arrived.
    broken: bool,
}

impl WriteConnection {
    /// Commits a group and answers each of its jobs. Never panics, whatever they do: a script's
    /// thread is not the place for the panics of others, and the connection has to be brought back.
    fn serve(&mut self, mut group: Vec<Job>, commits: &AtomicU64) {
        let committed = catch_unwind(AssertUnwindSafe(|| {
            self.mend()?;
            self.commit(&mut group, commits)
        }));
        let end = committed.unwrap_or_else(|_| {
            self.roll_back();
            Err(self.give_up(gone()))
        });
        for job in group {
            // Who was to be answered by one that panics finds its answer dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| job.0.end(end.as_ref().err())));
        }
    }

    /// Writes a group of jobs in one transaction. An error is that of all of them.
    fn commit(&mut self, group: &mut [Job], commits: &AtomicU64) -> Result<()> {
        let end = self.transact(group);
        if end.is_err() {
            self.roll_back();
        }
        end.and_then(|()| {
            commits.fetch_add(1, Ordering::Relaxed);
            self.mark.note(&self.db);
            self.site.check_present().map_err(|error| self.give_up(error))
        })
    }

    fn transact(&mut self, group: &mut [Job]) -> Result<()> {
        let site = self.site.clone();
        let failed = |fault: rusqlite::Error| site.explain("write", Fault::Sql(fault));
        let say = |sql: &str| self.db.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        // A job that is alone needs no savepoint: it takes nobody along.
        let alone = group.len() == 1;
        say("BEGIN IMMEDIATE").map_err(failed)?;
        // A savepoint copies every page that is touched after it. Jobs that can be done again do
        // without, until one of them fails.
        if !alone && group.iter().all(|job| job.0.can_repeat()) {
            if group.iter_mut().all(|job| job.0.write(&self.db, &site).is_ok()) {
                return self.finish();
            }
            self.roll_back();
            say("BEGIN IMMEDIATE").map_err(failed)?;
        }
        for job in group {
            if !alone {
                say("SAVEPOINT job").map_err(failed)?;
            }
            match job.0.write(&self.db, &site) {
                Ok(()) => {}
                // Some failures, a full disk among them, end the whole transaction.
                Err(error) if alone || self.db.is_autocommit() => return Err(error),
                Err(_) => {
                    say("ROLLBACK TO job").map_err(failed)?;
                }
            }
            if !alone {
                say("RELEASE job").map_err(failed)?;
            }
        }
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        let done = self.db.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        done.map(drop).map_err(|fault| {
            let sure =
                matches!(fault.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy));
            let error = self.site.explain("write", Fault::Sql(fault));
            if sure { error } else { self.give_up(error) }
        })
    }

    fn roll_back(&self) {
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }

    /// Notes that nothing may follow on this connection.
    fn give_up(&mut self, error: Error) -> Error {
        self.broken = true;
        error
    }

    /// Opens the database again if that is needed. Whose write had an unknown end reads what came of it.
    fn mend(&mut self) -> Result<()> {
        if self.broken {
            self.db = self.site.open_again()?;
            self.broken = false;
        }
        Ok(())
    }
}

impl Drop for WriteConnection {
    fn drop(&mut self) {
        self.mark.note_now(&self.db);
    }
}

/// What a job does, without the type of its result.
pub(super) trait Work: Send {
    /// Writes inside a transaction; an error undoes what was written.
    fn write(&mut self, db: &Connection, site: &Site) -> Result<()>;
    /// Returns whether `write` may be called again after the transaction was rolled back.
    fn can_repeat(&self) -> bool {
        false
    }
    /// Hears that the transaction is on the disk, or why it is not. It may have failed before
    /// `write` was called.
    fn end(self: Box<Self>, failed: Option<&Error>);
}

struct Steps<T, W, E> {
    write: Option<W>,
    written: Option<Result<T>>,
    end: E,
}

impl<T, W, E> Work for Steps<T, W, E>
where
    T: Send,
    W: FnOnce(&Connection) -> Rows<T> + Send,
    E: FnOnce(Result<T>) + Send,
{
    fn write(&mut self, db: &Connection, site: &Site) -> Result<()> {
        let Some(write) = self.write.take() else {
            return Ok(());
        };
        let written = write(db).map_err(|fault| site.explain("write", fault));
        let outcome = written.as_ref().map(|_| ()).map_err(again);
        self.written = Some(written);
        outcome
    }

    fn end(self: Box<Self>, failed: Option<&Error>) {
        (self.end)(outcome(self.written, failed));
    }
}

/// Returns what came of a job: of what it wrote, and of the transaction that this was part of.
pub(super) fn outcome<T>(written: Option<Result<T>>, failed: Option<&Error>) -> Result<T> {
    match (written, failed) {
        // A job's own refusal says more than the failure of the transaction.
        (Some(Err(own)), _) => Err(own),
        (_, Some(error)) => Err(again(error)),
        (Some(done), None) => done,
        (None, None) => Err(Error::storage("the journal lost a write before it was made")),
    }
}

/// Returns the error once more, for the next of those who share it.
pub(super) fn again(error: &Error) -> Error {
    error.to_failure().to_error()
}
