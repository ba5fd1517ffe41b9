//! The service's own database, beside the journal: who may come in, and who was there.
//!
//! It is apart from the journal because it is about people and programs, not about runs: whoever is given a copy of the journal learns
//! nothing about tokens, and a flood of requests never stands in the way of a record of a run.

use std::path::Path;
use std::time::Duration;

use relight_engine::{Error, Result};
use rusqlite::Connection;

use crate::platform;

/// "Rlsv": marks a database as that of a service.
const APPLICATION: i32 = 0x526c_7376;

/// Another process writes for milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The steps from an empty file to the current format: entry `n` leads to version `n + 1`.
///
/// Times are RFC 3339 texts in UTC with nine decimals, so that their order is their order as text.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE tokens (
        name TEXT PRIMARY KEY NOT NULL,
        hash BLOB UNIQUE NOT NULL,
        role TEXT NOT NULL,
        runbooks TEXT,
        created TEXT NOT NULL,
        expires TEXT,
        revoked TEXT
    ) STRICT;
    CREATE TABLE starts (
        run TEXT PRIMARY KEY NOT NULL,
        asked BLOB NOT NULL,
        at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX starts_at ON starts (at);
    CREATE TABLE audit (
        n INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
        at TEXT NOT NULL,
        request TEXT NOT NULL,
        token TEXT,
        role TEXT,
        method TEXT NOT NULL,
        path TEXT NOT NULL,
        runbook TEXT,
        run TEXT,
        status INTEGER
    ) STRICT;
    CREATE INDEX audit_at ON audit (at);
"];

/// The format that this version writes.
const FORMAT: u32 = MIGRATIONS.len() as u32;

/// Opens the database of a state folder, and creates it if need be: readable for its owner alone.
///
/// # Errors
/// `Storage` when it cannot be opened, or a newer version of the program made it.
pub(super) fn open(state: &Path) -> Result<Connection> {
    let path = state.join("service.db");
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        Error::storage(format!("failed to open the service's database {}", path.display())).because(e)
    };
    platform::make_private_folder(state).map_err(|e| failed(e.into()))?;
    platform::make_private_file(&path).map_err(|e| failed(e.into()))?;
    let mut db = Connection::open(&path).map_err(|e| failed(e.into()))?;
    let version = prepare(&mut db).map_err(|e| failed(e.into()))?;
    if version > FORMAT {
        return Err(Error::storage(format!("{} was made by a newer version of relight", path.display()))
            .hint("use that version"));
    }
    Ok(db)
}

/// Brings a database to the current format. Returns its version, which may be a later one.
fn prepare(db: &mut Connection) -> rusqlite::Result<u32> {
    db.busy_timeout(PATIENCE)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    let version = |db: &Connection| db.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0));
    let known = version(db)?;
    if known >= FORMAT {
        return Ok(known);
    }
    // Two processes may come to an empty file at once: the second finds what the first has made.
    let change = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for migration in MIGRATIONS.iter().skip(version(&change)? as usize) {
        change.execute_batch(migration)?;
    }
    change.pragma_update(None, "application_id", APPLICATION)?;
    change.pragma_update(None, "user_version", FORMAT)?;
    change.commit()?;
    Ok(FORMAT)
}

/// Says what could not be read or written.
pub(super) fn broken(what: &str, error: rusqlite::Error) -> Error {
    Error::storage(format!("the service's database: {what}")).because(error)
}

/// Returns a time as the database keeps it.
pub(super) fn text(time: jiff::Timestamp) -> String {
    format!("{time:.9}")
}
