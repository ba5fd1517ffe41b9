//! The audit journal: every request as one row, also those that were refused.
//!
//! A request that changes something has its row on the disk before anything is changed, without a status until it is answered: one that
//! has none was cut short. Rows hold names and paths, never a query, a body or a value of a parameter.
//!
//! One thread writes, all that waits in one transaction, so that many requests share the disk.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use relight_engine::{Error, Result};
use rusqlite::{Connection, params};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::store::{self, broken, text};
use super::tokens::BEGINNING;

/// How many rows wait at most; whoever comes then waits as well.
const QUEUE: usize = 1024;
/// How many rows go into one transaction.
const BATCH: usize = 256;
/// How many rows are kept, and for how long.
const ROWS: i64 = 1_000_000;
const AGE: SignedDuration = SignedDuration::from_hours(400 * 24);
/// After how many rows it is looked what is too old.
const TIDY: i64 = 10_000;
/// The longest path that is kept.
const LONGEST_PATH: usize = 300;

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Request")]
pub(crate) struct Entry {
    /// When it came.
    pub(crate) at: Timestamp,
    /// Its id, which its answer names.
    pub(crate) request: String,
    /// The name of its token; null when it had none that is good.
    pub(crate) token: Option<String>,
    /// That token's role.
    pub(crate) role: Option<String>,
    /// Its method.
    pub(crate) method: String,
    /// Its path, without the query.
    pub(crate) path: String,
    /// The runbook that it is about.
    pub(crate) runbook: Option<String>,
    /// The run that it is about.
    pub(crate) run: Option<String>,
    /// The status of the answer; null when it was cut short.
    pub(crate) status: Option<u16>,
}

impl Entry {
    /// Returns a path as it is kept: not too long, and nothing in it that could be a token.
    pub(super) fn path_of(path: &str) -> String {
        match path.contains(BEGINNING) {
            true => "(withheld: it holds what looks like a token)".to_owned(),
            false => path.chars().take(LONGEST_PATH).collect(),
        }
    }
}

enum Job {
    /// A new row; the answer is its number.
    Add(Box<Entry>, bool, oneshot::Sender<Result<i64>>),
    /// What became of an older one.
    End(i64, Box<Entry>, oneshot::Sender<Result<i64>>),
}

/// Writes the audit journal.
#[derive(Clone, Debug)]
pub(crate) struct Audit(mpsc::Sender<Job>);

impl Audit {
    /// Opens the audit journal of a state folder and begins to write. The thread ends with the last clone.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) fn open(state: &Path) -> Result<Self> {
        let mut db = store::open(state)?;
        let (jobs, mut waiting) = mpsc::channel(QUEUE);
        let write = move || {
            let mut batch = Vec::with_capacity(BATCH);
            while let Some(first) = waiting.blocking_recv() {
                batch.push(first);
                while batch.len() < BATCH
                    && let Ok(next) = waiting.try_recv()
                {
                    batch.push(next);
                }
                write_all(&mut db, std::mem::take(&mut batch));
            }
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(write)
            .map_err(|e| Error::storage("failed to start a thread").because(e))?;
        Ok(Audit(jobs))
    }

    /// Writes down that a request is about to change something. Afterwards that is on the disk.
    ///
    /// # Errors
    /// `Storage`: nothing may be changed then.
    pub(super) async fn begin(&self, entry: &Entry) -> Result<i64> {
        self.put(|answer| Job::Add(Box::new(entry.clone()), true, answer)).await
    }

    /// Writes down what became of a request that was about to change something.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) async fn end(&self, row: i64, entry: &Entry) -> Result<()> {
        self.put(|answer| Job::End(row, Box::new(entry.clone()), answer)).await.map(drop)
    }

    /// Writes down a request that changes nothing.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) async fn note(&self, entry: &Entry) -> Result<()> {
        self.put(|answer| Job::Add(Box::new(entry.clone()), false, answer)).await.map(drop)
    }

    async fn put(&self, job: impl FnOnce(oneshot::Sender<Result<i64>>) -> Job) -> Result<i64> {
        let gone = || Error::storage("the audit journal is not written any more");
        let (answer, answered) = oneshot::channel();
        self.0.send(job(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn write_all(db: &mut Connection, jobs: Vec<Job>) {
    let is_awaited = jobs.iter().any(|job| matches!(job, Job::Add(_, true, _)));
    let (mut rows, mut failed) = (Vec::with_capacity(jobs.len()), None);
    let mut write = || -> rusqlite::Result<()> {
        // Only what comes before a change has to survive a power cut.
        db.pragma_update(None, "synchronous", if is_awaited { "FULL" } else { "NORMAL" })?;
        let change = db.transaction()?;
        for job in &jobs {
            rows.push(write_one(&change, job)?);
        }
        if let Some(last) = rows.iter().find(|row| **row % TIDY == 0) {
            tidy(&change, *last)?;
        }
        change.commit()
    };
    if let Err(error) = write() {
        tracing::error!("the audit journal cannot be written: {error}");
        failed = Some(error.to_string());
    }
    for (index, job) in jobs.into_iter().enumerate() {
        let (Job::Add(_, _, answer) | Job::End(_, _, answer)) = job;
        // Whoever asked may be gone.
        let _ = answer.send(match &failed {
            Some(why) => {
                Err(Error::storage("the audit journal cannot be written").because(why.as_str().to_owned()))
            }
            None => Ok(rows[index]),
        });
    }
}

fn write_one(db: &Connection, job: &Job) -> rusqlite::Result<i64> {
    match job {
        Job::Add(entry, ..) => {
            db.prepare_cached(
                "INSERT INTO audit (at, request, token, role, method, path, runbook, run, status)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                text(entry.at),
                entry.request,
                entry.token,
                entry.role,
                entry.method,
                entry.path,
                entry.runbook,
                entry.run,
                entry.status
            ])?;
            Ok(db.last_insert_rowid())
        }
        Job::End(row, entry, _) => {
            db.prepare_cached("UPDATE audit SET runbook = ?2, run = ?3, status = ?4 WHERE n = ?1")?
                .execute(params![row, entry.runbook, entry.run, entry.status])?;
            // That of a row is looked at when it is added.
            Ok(1)
        }
    }
}

/// Lets go of what is too old or too much, here and of what makes starting twice impossible.
fn tidy(db: &Connection, last: i64) -> rusqlite::Result<()> {
    let oldest = Timestamp::now().saturating_sub(AGE).unwrap_or(Timestamp::MIN);
    db.execute("DELETE FROM audit WHERE n <= ?1 OR at < ?2", params![last - ROWS, text(oldest)])?;
    // Nobody asks again for what was started so long ago.
    db.execute("DELETE FROM starts WHERE at < ?1", [text(oldest)])?;
    Ok(())
}

/// Which requests to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    /// Only those that came at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// At most so many, the newest first; all when zero.
    pub(crate) limit: usize,
}

/// Reads the audit journal of a state folder, the newest request first.
///
/// # Errors
/// `Storage`.
pub(crate) fn read(state: &Path, which: &Which) -> Result<Vec<Entry>> {
    let db = store::open(state)?;
    let limit = if which.limit == 0 { -1 } else { i64::try_from(which.limit).unwrap_or(-1) };
    let read = || {
        let mut statement = db.prepare(
            "SELECT at, request, token, role, method, path, runbook, run, status FROM audit
             WHERE at >= ?1 ORDER BY n DESC LIMIT ?2",
        )?;
        let since = text(which.since.unwrap_or(Timestamp::MIN));
        let entries = statement.query_map(params![since, limit], |row| {
            let at: String = row.get(0)?;
            let wrong = || rusqlite::Error::InvalidColumnType(0, "at".into(), rusqlite::types::Type::Text);
            Ok(Entry {
                at: at.parse().map_err(|_| wrong())?,
                request: row.get(1)?,
                token: row.get(2)?,
                role: row.get(3)?,
                method: row.get(4)?,
                path: row.get(5)?,
                runbook: row.get(6)?,
                run: row.get(7)?,
                status: row.get(8)?,
            })
        })?;
        entries.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(|e| broken("the audit journal cannot be read", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: i64) -> Entry {
        Entry {
            at: Timestamp::from_second(n).unwrap(),
            request: format!("q{n}"),
            token: Some("ops".to_owned()),
            role: Some("run".to_owned()),
            method: "POST".to_owned(),
            path: "/v1/runs".to_owned(),
            runbook: None,
            run: None,
            status: None,
        }
    }

    #[tokio::test]
    async fn what_changes_something_stands_there_before_it_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path()).unwrap();
        let row = audit.begin(&entry(1)).await.unwrap();
        assert_eq!(read(folder.path(), &Which::default()).unwrap(), [entry(1)]);
        let ended = Entry { run: Some("r1".to_owned()), status: Some(201), ..entry(1) };
        audit.end(row, &ended).await.unwrap();
        audit.note(&entry(5)).await.unwrap();
        assert_eq!(read(folder.path(), &Which::default()).unwrap(), [entry(5), ended.clone()]);
        assert_eq!(read(folder.path(), &Which { limit: 1, since: None }).unwrap(), [entry(5)]);
        let since = Some(Timestamp::from_second(2).unwrap());
        assert_eq!(read(folder.path(), &Which { limit: 0, since }).unwrap(), [entry(5)]);
    }

    #[test]
    fn too_much_and_too_old_goes() {
        let folder = tempfile::tempdir().unwrap();
        let db = store::open(folder.path()).unwrap();
        let add = |n: i64, at: Timestamp| {
            let values = params![n, text(at)];
            db.execute("INSERT INTO audit (n, at, request, method, path) VALUES (?1, ?2, '', '', '')", values)
        };
        let now = Timestamp::now();
        for (n, at) in [(1, now), (2, now), (3, Timestamp::UNIX_EPOCH), (4, now)] {
            add(n, at).unwrap();
        }
        tidy(&db, ROWS + 1).unwrap();
        let left: Vec<i64> = {
            let mut statement = db.prepare("SELECT n FROM audit ORDER BY n").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(left, [2, 4]);
    }

    #[test]
    fn a_path_is_kept_short_and_without_tokens() {
        assert_eq!(Entry::path_of("/v1/runs"), "/v1/runs");
        assert_eq!(Entry::path_of(&"/".repeat(1000)).len(), LONGEST_PATH);
        assert!(!Entry::path_of("/v1/rlt_0123").contains("0123"));
    }
}
