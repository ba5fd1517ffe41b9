//! The one thread that writes: it commits whatever has queued up at once.
//!
//! Owns: the queue, the transactions, and what a failure of either means. Does not own: what is
//! written (each [`Job`] brings that along).
//!
//! ```text
//! queue: soon soon now | now now now ...      one transaction per group
//!        `--held back--^
//! BEGIN IMMEDIATE, then per job SAVEPOINT .. RELEASE (or ROLLBACK TO), COMMIT, then every answer
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::schema::Site;
use super::values::{Fault, Rows};
use crate::error::{Error, Failure, Result};

/// How long a job that can wait is held back for one that cannot. Tests run on busy machines and
/// want to see the rule, not the moment.
const HELD: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 2 });

/// At most so many jobs share a transaction, so that the first of them is not kept waiting.
const GROUP: usize = 1024;

/// The sending side of the writer. Dropping it writes what is left and ends the thread.
pub(super) struct Writer {
    queue: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
}

/// Something to write, and what to do when it is on the disk or has failed.
pub(super) struct Job {
    urgent: bool,
    work: Box<dyn Work>,
}

impl Job {
    /// Makes a job of a function that writes inside a transaction, and one that is told the end.
    pub(super) fn new<T: Send + 'static>(
        urgent: bool,
        write: impl FnOnce(&Connection) -> Rows<T> + Send + 'static,
        end: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Self {
        Job { urgent, work: Box::new(Steps { write: Some(write), written: None, end }) }
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// `Storage` when the system has no thread left.
    pub(super) fn start(site: Arc<Site>, db: Connection) -> Result<Self> {
        let (queue, jobs) = channel();
        let commits = Arc::new(AtomicU64::new(0));
        let desk = Desk { site, db, commits: commits.clone(), broken: None };
        let thread = std::thread::Builder::new()
            .name("relight-journal".into())
            .spawn(move || desk.run(&jobs))
            .map_err(|e| Error::storage("failed to start the journal's thread").because(e))?;
        Ok(Writer { queue: Some(queue), thread: Some(thread), commits })
    }

    /// Puts a job in line. When the thread is gone, the job and whoever waits for it is dropped.
    pub(super) fn submit(&self, job: Job) {
        if let Some(queue) = &self.queue {
            // The thread is gone only after a panic; a dropped job tells its caller so.
            let _ = queue.send(job);
        }
    }

    /// Returns how many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It has told its callers already if it panicked.
            let _ = thread.join();
        }
    }
}

/// The receiving side.
struct Desk {
    site: Arc<Site>,
    db: Connection,
    commits: Arc<AtomicU64>,
    /// Set by a failure after which nobody knows what is on the disk: an `fsync` that failed once
    /// may well succeed the next time without the data having arrived.
    broken: Option<Failure>,
}

impl Desk {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Some(mut group) = next_group(jobs) {
            let end = match &self.broken {
                Some(failure) => Err(failure.to_error()),
                None => self.commit(&mut group),
            };
            for job in group {
                job.work.end(end.as_ref().err());
            }
        }
    }

    /// Writes a group of jobs in one transaction. An error is that of all of them.
    fn commit(&mut self, group: &mut [Job]) -> Result<()> {
        let end = self.transact(group);
        if end.is_err() && !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
        end.and_then(|()| {
            self.commits.fetch_add(1, Ordering::Relaxed);
            self.site.check_present().map_err(|error| self.give_up(error))
        })
    }

    fn transact(&mut self, group: &mut [Job]) -> Result<()> {
        let site = self.site.clone();
        let failed = |fault: rusqlite::Error| site.explain("write", Fault::Sql(fault));
        let say = |sql: &str| self.db.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        say("BEGIN IMMEDIATE").map_err(failed)?;
        for job in group {
            say("SAVEPOINT job").map_err(failed)?;
            match job.work.write(&self.db, &site) {
                Ok(()) => {}
                // Some failures, a full disk among them, end the whole transaction.
                Err(error) if self.db.is_autocommit() => return Err(error),
                Err(_) => {
                    say("ROLLBACK TO job").map_err(failed)?;
                }
            }
            say("RELEASE job").map_err(failed)?;
        }
        say("COMMIT").map(drop).map_err(|fault| {
            let sure =
                matches!(fault.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy));
            let error = site.explain("write", Fault::Sql(fault));
            if sure { error } else { self.give_up(error) }
        })
    }

    /// Refuses everything from now on.
    fn give_up(&mut self, error: Error) -> Error {
        self.broken = Some(error.to_failure());
        error
    }
}

/// Waits for jobs, and returns those that share a transaction; nothing when there will be none.
fn next_group(jobs: &Receiver<Job>) -> Option<Vec<Job>> {
    let mut group = vec![jobs.recv().ok()?];
    let give_up = Instant::now() + HELD;
    while group.len() < GROUP {
        let waits = !group.iter().any(|job| job.urgent);
        let next = if waits {
            jobs.recv_timeout(give_up.saturating_duration_since(Instant::now()))
        } else {
            jobs.try_recv().map_err(|_| RecvTimeoutError::Timeout)
        };
        match next {
            Ok(job) => group.push(job),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    Some(group)
}

/// What a job does, without the type of its result.
trait Work: Send {
    fn write(&mut self, db: &Connection, site: &Site) -> Result<()>;
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
        // A job's own refusal says more than the failure of the transaction that it was part of.
        let result = match (self.written, failed) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(error)) => Err(again(error)),
            (Some(done), None) => done,
            (None, None) => Err(Error::storage("the journal lost a write before it was made")),
        };
        (self.end)(result);
    }
}

/// Returns the error once more, for the next of those who share it.
fn again(error: &Error) -> Error {
    error.to_failure().to_error()
}
