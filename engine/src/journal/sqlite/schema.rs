//! The database file: how it is made, opened and recognised.
//!
//! Owns: pragmas, tables, format versions, and the checks that let nothing else through. Does not
//! own: what the rows say ([`rows`](super::rows)).
//!
//! The file's `application_id` says that it is a journal, its `user_version` which format it has.
//! A change of the format is one more entry in [`MIGRATIONS`], never an edit of an old one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::mark::Mark;
use super::platform::{Identity, identity, make_file};
use super::prune;
use super::values::Fault;
use crate::error::{Error, Result};

/// "Rlgt": marks a database as a journal of this program.
const APPLICATION: i32 = 0x526c_6774;

/// Another process holds the write lock for milliseconds; one that holds it for so long hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Up to this size a database is checked from end to end whenever it is opened for writing: that
/// takes a millisecond for each of its megabytes, at every command.
const CHECKED: u64 = 4 << 20;

/// The steps from an empty file to the current format: entry `n` leads to version `n + 1`.
///
/// Times are RFC 3339 texts in UTC with nine decimals, so that their order is their order as text.
/// `sum` is over all that the row says: SQLite itself does not notice a flipped bit in a value.
/// Records need none, they are chained; nor do texts, which lie under their fingerprint. What a step
/// writes has no index and no foreign key: a row at the end of `log`, and one of `heads` in place.
const MIGRATIONS: [&str; 7] = [
    "
    CREATE TABLE owners (
        id TEXT PRIMARY KEY NOT NULL,
        until TEXT NOT NULL,
        sum TEXT NOT NULL
    ) STRICT;
    CREATE TABLE runs (
        n INTEGER PRIMARY KEY NOT NULL,
        id TEXT UNIQUE NOT NULL,
        runbook TEXT NOT NULL,
        status TEXT NOT NULL,
        created TEXT NOT NULL,
        wake TEXT,
        park TEXT,
        owner TEXT REFERENCES owners (id),
        sum TEXT NOT NULL
    ) STRICT;
    CREATE INDEX runs_wake ON runs (wake, id) WHERE wake IS NOT NULL;
    CREATE INDEX runs_owner ON runs (owner, id) WHERE owner IS NOT NULL;
    CREATE INDEX runs_created ON runs (created, id);
    CREATE INDEX runs_open ON runs (created, id) WHERE status IN ('prepared', 'running', 'parked');
    CREATE TABLE heads (
        run INTEGER PRIMARY KEY NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        step INTEGER NOT NULL,
        second INTEGER NOT NULL,
        nanosecond INTEGER NOT NULL,
        hash BLOB NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE log (
        n INTEGER PRIMARY KEY NOT NULL,
        run INTEGER NOT NULL,
        prev INTEGER NOT NULL,
        first INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE texts (
        fingerprint TEXT PRIMARY KEY NOT NULL,
        text TEXT NOT NULL
    ) STRICT;
    CREATE TABLE signals (
        n INTEGER PRIMARY KEY NOT NULL,
        run TEXT NOT NULL REFERENCES runs (id),
        body TEXT NOT NULL,
        sum TEXT NOT NULL
    ) STRICT;
    CREATE INDEX signals_run ON signals (run, n);
    CREATE TABLE leases (
        id TEXT PRIMARY KEY NOT NULL,
        deadline TEXT NOT NULL,
        subject TEXT NOT NULL,
        door TEXT NOT NULL,
        body TEXT NOT NULL,
        sum TEXT NOT NULL
    ) STRICT;
    CREATE INDEX leases_deadline ON leases (deadline, id);
    CREATE INDEX leases_subject ON leases (subject);
    CREATE INDEX leases_door ON leases (door);
    CREATE TABLE forgotten_leases (
        n INTEGER PRIMARY KEY NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        sum TEXT NOT NULL
    ) STRICT;
    CREATE TABLE schedules (
        id TEXT PRIMARY KEY NOT NULL,
        due TEXT NOT NULL,
        body TEXT NOT NULL,
        sum TEXT NOT NULL
    ) STRICT;
    CREATE INDEX schedules_due ON schedules (due, id);
",
    "
    CREATE TABLE ticks (
        n INTEGER PRIMARY KEY NOT NULL,
        schedule TEXT NOT NULL,
        body TEXT NOT NULL,
        sum TEXT NOT NULL
    ) STRICT;
    CREATE INDEX ticks_schedule ON ticks (schedule, n);
    CREATE TABLE scheduled_runs (
        run TEXT PRIMARY KEY NOT NULL,
        schedule TEXT NOT NULL,
        until TEXT,
        ended TEXT,
        sum TEXT NOT NULL
    ) STRICT;
    CREATE INDEX scheduled_runs_until ON scheduled_runs (until, run) WHERE until IS NOT NULL;
    CREATE INDEX scheduled_runs_ended ON scheduled_runs (run) WHERE ended IS NOT NULL;
",
    "
    CREATE TABLE extended_leases (
        n INTEGER PRIMARY KEY NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        sum TEXT NOT NULL
    ) STRICT;
    ALTER TABLE runs ADD COLUMN came_from TEXT;
    ALTER TABLE runs ADD COLUMN who TEXT;
    ALTER TABLE runs ADD COLUMN labels TEXT;
    CREATE INDEX runs_came_from ON runs (came_from) WHERE came_from IS NOT NULL;
    CREATE INDEX runs_who ON runs (who, created, id) WHERE who IS NOT NULL;
    CREATE INDEX runs_runbook ON runs (runbook, created, id);
    CREATE INDEX runs_over ON runs (status, created, id)
        WHERE status IN ('succeeded', 'failed', 'stopped', 'abandoned');
    CREATE TABLE labels (
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        run INTEGER NOT NULL,
        PRIMARY KEY (name, value, run)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX labels_run ON labels (run);
    CREATE TABLE uses (
        run INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        PRIMARY KEY (run, fingerprint)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX uses_fingerprint ON uses (fingerprint);
    CREATE TABLE pruned (
        id TEXT PRIMARY KEY NOT NULL,
        at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE places (
        run INTEGER NOT NULL,
        name TEXT NOT NULL,
        most INTEGER NOT NULL,
        held INTEGER NOT NULL,
        delay INTEGER NOT NULL,
        sum TEXT NOT NULL,
        PRIMARY KEY (run, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX places_name ON places (name, held, run);
",
    "
    CREATE TABLE subscriptions (
        receiver TEXT PRIMARY KEY NOT NULL,
        body TEXT NOT NULL,
        sum TEXT NOT NULL
    ) STRICT;
    CREATE TABLE deliveries (
        n INTEGER PRIMARY KEY NOT NULL,
        id TEXT NOT NULL,
        receiver TEXT NOT NULL,
        state TEXT NOT NULL,
        due TEXT,
        taken TEXT,
        settled TEXT,
        body TEXT NOT NULL,
        sum TEXT NOT NULL,
        UNIQUE (receiver, id)
    ) STRICT;
    CREATE INDEX deliveries_due ON deliveries (receiver, due, n) WHERE due IS NOT NULL;
    CREATE INDEX deliveries_state ON deliveries (receiver, state, n);
    CREATE INDEX deliveries_settled ON deliveries (receiver, settled) WHERE settled IS NOT NULL;
    CREATE INDEX deliveries_taken ON deliveries (taken) WHERE taken IS NOT NULL;
",
    "
    ALTER TABLE runs ADD COLUMN ended TEXT;
    UPDATE runs SET ended = (
        SELECT strftime('%Y-%m-%dT%H:%M:%S', second, 'unixepoch') || printf('.%09dZ', nanosecond) FROM heads WHERE run = n)
        WHERE status IN ('succeeded', 'failed', 'stopped', 'abandoned');
    CREATE INDEX runs_ended ON runs (ended, id) WHERE ended IS NOT NULL;
",
    // A list of words in the condition of an index is a table that SQLite builds for each row it writes.
    "
    DROP INDEX runs_open;
    DROP INDEX runs_over;
    CREATE INDEX runs_open ON runs (created, id) WHERE ended IS NULL;
    CREATE INDEX runs_over ON runs (status, created, id) WHERE ended IS NOT NULL;
",
];

/// The format from which on the database says where runs came from and which texts they name. Before, only their
/// records do.
const TRACED: u32 = 3;

/// The current format.
pub(super) const FORMAT: u32 = MIGRATIONS.len() as u32;

/// A database file: its place, and which file it was when it was opened.
#[derive(Debug)]
pub(super) struct Site {
    path: PathBuf,
    file: Option<Identity>,
    /// The write-ahead log beside it, which stays the same file while a writer has it open.
    log: Option<Identity>,
}

impl Site {
    /// Opens a database for writing, and creates it together with its folder if need be.
    ///
    /// # Errors
    /// `Storage` when it cannot be opened, is damaged, or is no journal that this version knows.
    pub(super) fn create(path: &Path) -> Result<(Site, Connection)> {
        let mut site = Site::at(path)?;
        make_file(&site.path).map_err(|e| {
            Error::storage(format!("failed to create the journal `{}`", site.path.display()))
                .because(e)
                .hint("make the folder writable for this user, or choose another one")
        })?;
        let db = site.connect(OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|mut db| {
            site.prepare_patiently(&mut db)?;
            Ok(db)
        });
        let db = db.map_err(|fault| site.explain("open", fault))?;
        site.file = identity(&site.path);
        site.log = identity(&site.log_path());
        Ok((site, db))
    }

    /// Finds a database that is only read.
    ///
    /// # Errors
    /// `Storage` when it cannot be opened or is no journal that this version knows.
    pub(super) fn find(path: &Path) -> Result<(Site, Connection)> {
        let mut site = Site::at(path)?;
        let db = site.reader().map_err(|fault| site.explain("open", fault))?;
        let known = site.recognise(&db).and_then(|()| site.mark().check(Some(&db)));
        known.map_err(|fault| site.explain("open", fault))?;
        site.file = identity(&site.path);
        Ok((site, db))
    }

    /// Returns where the database is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens one more connection for reading.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn reader(&self) -> Result<Connection, Fault> {
        self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// Opens the connection for writing again, after a failure of which nobody knows what it left on
    /// the disk. Whatever can be read afterwards is there.
    ///
    /// # Errors
    /// `Storage` when the file is gone or the disk still fails.
    pub(super) fn open_again(&self) -> Result<Connection> {
        self.check_present()?;
        let open = || -> Result<Connection, Fault> {
            let db = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            db.execute_batch(WRITING)?;
            // After an fsync that failed, the next may succeed without the data having arrived. From
            // the log everything is written once more into the file, which is synced by itself.
            let busy: bool = db.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get(0))?;
            let left =
                Error::storage(format!("the journal `{}` cannot be brought in order", self.path.display()))
                    .hint("another process reads it: try again when that has ended");
            if busy { Err(Fault::Said(left)) } else { Ok(db) }
        };
        open().map_err(|fault| self.explain("open", fault))
    }

    /// Returns the note beside the file of how far the log had come.
    pub(super) fn mark(&self) -> Mark {
        Mark::of(&self.path)
    }

    /// Checks that the file under the path is still the one that was opened.
    ///
    /// SQLite goes on writing to a file that was deleted, and what it writes is lost.
    ///
    /// # Errors
    /// `Storage` when it is gone or another one.
    pub(super) fn check_present(&self) -> Result<()> {
        let same = |known: Option<Identity>, path: &Path| known.is_none() || identity(path) == known;
        if same(self.file, &self.path) && same(self.log, &self.log_path()) {
            return Ok(());
        }
        Err(Error::storage(format!(
            "the journal `{}` was deleted or replaced while it was open",
            self.path.display()
        ))
        .hint("restore the file, then start again; what was written since it went is not kept"))
    }

    /// Checks the whole file: every page, every index.
    ///
    /// # Errors
    /// What SQLite says, and damage.
    pub(super) fn check_pages(&self, db: &Connection) -> Result<(), Fault> {
        let found: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if found == "ok" { Ok(()) } else { Err(Fault::Damaged(format!("the database: {found}"))) }
    }

    /// Returns an error that names the file, says what happened and what to do next.
    pub(super) fn explain(&self, doing: &str, fault: Fault) -> Error {
        let path = self.path.display();
        let sql = match fault {
            Fault::Said(error) => return error,
            Fault::Damaged(what) => {
                return Error::storage(format!("the journal `{path}` is damaged: {what}")).hint(RESTORE);
            }
            Fault::Sql(sql) => sql,
        };
        let hint = match sql.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "free some space on its disk, then resume the run".to_owned(),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                "make the file and its folder writable for this user".to_owned()
            }
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed,
            ) => {
                format!(
                    "another process holds it: see which with `fuser {path}` and let it end, then try again"
                )
            }
            Some(ErrorCode::CannotOpen) => {
                "check that the file exists and may be read by this user".to_owned()
            }
            Some(ErrorCode::NotADatabase) => {
                "it is no SQLite database: move it away, or name another journal".to_owned()
            }
            Some(ErrorCode::SystemIoFailure) => {
                "check the disk (`dmesg` names it), then start again: nothing more is written until then"
                    .to_owned()
            }
            // Everything else comes from bytes that are not what was written.
            _ => RESTORE.to_owned(),
        };
        Error::storage(format!("failed to {doing} the journal `{path}`")).because(sql).hint(hint)
    }

    fn at(path: &Path) -> Result<Site> {
        let path = std::path::absolute(path).map_err(|e| {
            Error::storage(format!("`{}` is no path for a journal", path.display())).because(e)
        })?;
        Ok(Site { path, file: None, log: None })
    }

    fn log_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push("-wal");
        path.into()
    }

    fn connect(&self, flags: OpenFlags) -> Result<Connection, Fault> {
        let db = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(PATIENCE)?;
        db.set_prepared_statement_cache_capacity(64);
        // Otherwise some statements are planned anew for every value that is bound to them.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        db.execute_batch(
            "PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;",
        )?;
        Ok(db)
    }

    /// Prepares the database, again and again while another process is doing the same.
    ///
    /// SQLite's own patience does not cover the change to the log: it gives up at once when two
    /// that have read want to write.
    fn prepare_patiently(&self, db: &mut Connection) -> Result<(), Fault> {
        let began = Instant::now();
        loop {
            match self.prepare(db) {
                Err(Fault::Sql(sql))
                    if sql.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && began.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                done => return done,
            }
        }
    }

    fn prepare(&self, db: &mut Connection) -> Result<(), Fault> {
        let fresh = is_empty(db)?;
        if fresh {
            self.mark().check(None)?;
            // What is pruned makes the file smaller. Only a file without tables can be told so.
            db.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
        } else {
            self.recognise_version(db)?;
        }
        // Kept in the file; two processes may set it at the same time.
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        db.execute_batch(WRITING)?;
        self.migrate(db)?;
        if fresh {
            // From the log into the file: a log that is torn later must not take the tables along.
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        self.recognise(db)?;
        self.mark().check(Some(db))?;
        if fs::metadata(&self.path).is_ok_and(|file| file.len() <= CHECKED) {
            self.check_pages(db)?;
        }
        Ok(())
    }

    /// Brings the database to the current format in one transaction.
    fn migrate(&self, db: &mut Connection) -> Result<(), Fault> {
        if version(db)? as usize == MIGRATIONS.len() {
            return Ok(());
        }
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Again inside the transaction, because another process may have been first.
        if !is_empty(&tx)? {
            self.recognise_version(&tx)?;
        }
        let before = version(&tx)?;
        for (step, to) in MIGRATIONS.iter().zip(1_u32..) {
            if version(&tx)? < to {
                tx.execute_batch(step)?;
                tx.pragma_update(None, "user_version", to)?;
            }
        }
        if (1..TRACED).contains(&before) {
            prune::trace_all(&tx)?;
        }
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.commit()?;
        Ok(())
    }

    /// Refuses whatever is no journal of a version that this build knows.
    fn recognise_version(&self, db: &Connection) -> Result<(), Fault> {
        let path = self.path.display();
        let application: i32 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let version = version(db)?;
        if application != APPLICATION {
            return Err(Fault::Said(
                Error::storage(format!("`{path}` is the database of another program, not a journal"))
                    .hint("name another file for the journal"),
            ));
        }
        if version as usize > MIGRATIONS.len() {
            return Err(Fault::Said(
                Error::storage(format!(
                    "the journal `{path}` has format {version}, and this version knows formats up to {}",
                    MIGRATIONS.len()
                ))
                .hint("update relight: a newer version wrote this journal"),
            ));
        }
        if version == 0 {
            return Err(Fault::Damaged("it has no format version".into()));
        }
        Ok(())
    }

    /// Refuses a database whose tables are not exactly those of the current format.
    fn recognise(&self, db: &Connection) -> Result<(), Fault> {
        self.recognise_version(db)?;
        let version = version(db)?;
        if version < FORMAT {
            return Err(Fault::Said(
                Error::storage(format!(
                    "the journal `{}` has format {version}, and only format {FORMAT} is read",
                    self.path.display()
                ))
                .hint("open it for writing once: that brings it to the current format"),
            ));
        }
        let wanted = Connection::open_in_memory()?;
        for step in MIGRATIONS {
            wanted.execute_batch(step)?;
        }
        if tables(db)? == tables(&wanted)? {
            Ok(())
        } else {
            Err(Fault::Damaged("its tables are not those of its format".into()))
        }
    }
}

const WRITING: &str =
    "PRAGMA synchronous = FULL; PRAGMA cache_size = -16384; PRAGMA journal_size_limit = 67108864;";

const RESTORE: &str =
    "the file was changed or the disk is failing: restore it from a backup; nothing was sent";

fn version(db: &Connection) -> rusqlite::Result<u32> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Returns whether nothing was ever written to the database.
fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    let application: i32 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let objects: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(application == 0 && objects == 0 && version(db)? == 0)
}

/// Returns the SQL of all tables and indexes by name.
fn tables(db: &Connection) -> rusqlite::Result<BTreeMap<String, Option<String>>> {
    db.prepare(
        "SELECT type || ' ' || name || ' on ' || tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'",
    )?
    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}
