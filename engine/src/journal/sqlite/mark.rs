//! How far the log had come, noted beside the database: `relight.db-mark`.
//!
//! SQLite takes an empty file for a new database, and one whose write-ahead log was lost for a whole
//! one. Both would say "nothing is open". The mark is written after commits, without waiting for the
//! disk, so that it may lag behind the database but is never ahead of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::platform::write_over;
use super::values::{Fault, Rows};
use crate::error::Error;

/// The mark lags behind by so much at most while a process writes.
const LAG: Duration = Duration::from_millis(100);

/// The mark of one database.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    /// The last row that is noted, and since when.
    noted: Option<(i64, Instant)>,
}

impl Mark {
    /// Returns the mark of a database.
    pub(super) fn of(database: &Path) -> Mark {
        let mut path = database.to_owned().into_os_string();
        path.push("-mark");
        Mark { path: path.into(), noted: None }
    }

    /// Checks that a database holds what was noted; a file without tables is passed as nothing.
    ///
    /// # Errors
    /// `Storage` when it does not.
    pub(super) fn check(&self, db: Option<&Connection>) -> Rows<()> {
        let noted =
            fs::read_to_string(&self.path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let found = db.map(last).transpose()?.unwrap_or(0);
        if found >= noted {
            return Ok(());
        }
        let mark = self.path.display();
        let what = match found {
            0 => "it is empty".to_owned(),
            _ => format!("it ends at row {found}"),
        };
        Err(Fault::Said(
            Error::storage(format!("the journal has lost records: {what}, and `{mark}` says that row {noted} was written"))
                .hint("restore the newest copy of the database together with its `-wal` file")
                .hint(format!("if this is the newest there is, look at what was under way in Azure first, then remove `{mark}` to go on with it")),
        ))
    }

    /// Notes how far the log has come, unless that was done a moment ago. What goes wrong here
    /// concerns the next process only, which knows less then.
    pub(super) fn note(&mut self, db: &Connection) {
        if self.noted.is_some_and(|(_, since)| since.elapsed() < LAG) {
            return;
        }
        self.note_now(db);
    }

    /// Notes how far the log has come.
    pub(super) fn note_now(&mut self, db: &Connection) {
        let Ok(row) = last(db) else { return };
        if self.noted.is_none_or(|(noted, _)| noted < row) && write_over(&self.path, &shown(row)).is_err() {
            return;
        }
        self.noted = Some((row, Instant::now()));
    }
}

/// Always as long, so that two processes that write at the same time leave one of both.
fn shown(row: i64) -> String {
    format!("{row:020}\n")
}

/// Returns the last row of the log.
fn last(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT coalesce(max(n), 0) FROM log")?.query_row([], |row| row.get(0))
}
