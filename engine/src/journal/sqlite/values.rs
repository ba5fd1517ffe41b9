//! Single values: how they are written into columns and read back without trusting them.

use std::fmt::Display;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::FromSql;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::event::digest;
use crate::journal::Status;

/// Why something could not be read or written.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite says so.
    Sql(rusqlite::Error),
    /// What is in the file is not what was written to it.
    Damaged(String),
    /// The rules say so.
    Said(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Said(error)
    }
}

/// The result of whatever touches the database.
pub(super) type Rows<T> = Result<T, Fault>;

/// Returns the fault of something in the file that is not what was written.
pub(super) fn damaged(what: &dyn Display) -> Fault {
    Fault::Damaged(format!("{what} is not what was written"))
}

/// Reads a column; whatever is not of its type is damage, since the tables are strict.
pub(super) fn column<T: FromSql>(row: &Row<'_>, n: usize, what: &dyn Display) -> Rows<T> {
    row.get(n).map_err(|_| damaged(what))
}

/// Writes a time so that the order of texts is the order of times.
pub(super) fn text(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// Reads a time.
pub(super) fn parse_time(text: &str, what: &dyn Display) -> Rows<Timestamp> {
    text.parse().map_err(|_| damaged(what))
}

/// Reads the state of a run.
pub(super) fn parse_status(text: &str) -> Option<Status> {
    use Status::{Abandoned, Failed, Parked, Prepared, Running, Stopped, Succeeded};
    let all = [Prepared, Running, Parked, Succeeded, Failed, Stopped, Abandoned];
    all.into_iter().find(|status| status.as_str() == text)
}

/// Writes a value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Rows<String> {
    serde_json::to_string(value)
        .map_err(|e| Fault::Said(Error::storage("failed to write a row of the journal as JSON").because(e)))
}

/// Reads a value from JSON.
pub(super) fn parse<T: DeserializeOwned>(text: &str, what: &dyn Display) -> Rows<T> {
    serde_json::from_str(text).map_err(|_| damaged(what))
}

/// Numbers in the database are signed.
pub(super) fn signed(number: u64) -> Rows<i64> {
    i64::try_from(number)
        .map_err(|_| Fault::Said(Error::storage(format!("{number} is too large for the journal"))))
}

/// Reads a number back.
pub(super) fn unsigned(number: i64, what: &dyn Display) -> Rows<u64> {
    u64::try_from(number).map_err(|_| damaged(what))
}

/// Returns enough of a digest to notice damage; against forgery there is the chain of the records.
pub(super) fn seal(parts: &[&str]) -> String {
    let mut sum = digest(parts);
    sum.truncate(16);
    sum
}

/// Reads the body in the second column of a row. The first is its name, the third the sum over both
/// and over the columns that follow, up to `columns`.
pub(super) fn read_body<T: DeserializeOwned>(row: &Row<'_>, kind: &str, columns: usize) -> Rows<T> {
    let id: String = column(row, 0, &format!("the name of a {kind}"))?;
    let what = format!("the {kind} `{id}`");
    let body: String = column(row, 1, &what)?;
    let mut parts = vec![id.clone(), body.clone()];
    for n in 3..columns {
        parts.push(column(row, n, &what)?);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if column::<String>(row, 2, &what)? != seal(&parts) {
        return Err(damaged(&what));
    }
    parse(&body, &what)
}
