//! The records of all runs in the order in which they were written, and the texts behind them.
//!
//! Owns: how a group of records becomes one row, and the way back from the last row of a run to its
//! first. Does not own: where a run's last row is ([`runs`](super::runs)).
//!
//! ```text
//! n     1     2     3     4     5     6        a commit only adds rows at the end, so that a
//! run   1     2     1     1     2     1        hundred runs together fill one page after the other
//! prev  -  <--|--   1 <-- 3     2     4
//! ```

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::values::{Fault, Rows, column, damaged, signed, unsigned};
use crate::event::{self, Event, GENESIS, Prepared, Record, RunId, Source, fingerprint, hex, unhex};

/// Adds records that follow each other as one row. Returns its number.
///
/// `prev` is the row of the records before them; 0 when they are the first of their run.
pub(super) fn add(db: &Connection, run: i64, prev: i64, records: &[Record]) -> Rows<i64> {
    let first = records.first().map_or(0, |record| record.seq);
    db.prepare_cached("INSERT INTO log (run, prev, first, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![run, prev, signed(first)?, pack(records)])?;
    Ok(db.last_insert_rowid())
}

/// Returns the records of a run from number `from` to its last, which is in row `last`, unchecked:
/// they are numbered by their place, and nobody has looked at a hash.
///
/// Returns fewer when a row is missing or is not of this run.
pub(super) fn tail(db: &Connection, id: &RunId, run: i64, last: i64, from: u64) -> Rows<Vec<Record>> {
    let mut statement = db.prepare_cached("SELECT run, prev, first, body FROM log WHERE n = ?1")?;
    let what = format!("a record of run {id}");
    let (mut groups, mut next) = (Vec::new(), last);
    while next != 0 {
        let mut rows = statement.query([next])?;
        let Some(row) = rows.next()? else { break };
        let (of, prev): (i64, i64) = (column(row, 0, &what)?, column(row, 1, &what)?);
        let first = unsigned(column(row, 2, &what)?, &what)?;
        // A way that does not lead back would not end.
        if of != run || prev >= next {
            break;
        }
        let body: Vec<u8> = column(row, 3, &what)?;
        groups.push(unpack(&body, first).ok_or_else(|| damaged(&format!("record {first} of run {id}")))?);
        if first <= from {
            break;
        }
        next = prev;
    }
    Ok(groups.into_iter().rev().flatten().filter(|record| record.seq >= from).collect())
}

/// Removes the records of a run, whose last is in row `last`.
///
/// The last row of all stays as an empty one: who opens the database takes one that ends earlier for one that has
/// lost something.
pub(super) fn remove(db: &Connection, last: i64) -> Rows<()> {
    let end: i64 =
        db.prepare_cached("SELECT coalesce(max(n), 0) FROM log")?.query_row([], |row| row.get(0))?;
    let mut previous = db.prepare_cached("SELECT prev FROM log WHERE n = ?1")?;
    let mut delete = db.prepare_cached("DELETE FROM log WHERE n = ?1")?;
    let mut next = last;
    while next != 0 {
        let Some(prev) = previous.query([next])?.next()?.map(|row| row.get::<_, i64>(0)).transpose()? else {
            break;
        };
        delete.execute([next])?;
        // A way that does not lead back would not end.
        next = if prev < next { prev } else { 0 };
    }
    if last == end {
        db.prepare_cached("INSERT INTO log (n, run, prev, first, body) VALUES (?1, 0, 0, 0, x'')")?
            .execute([end])?;
    }
    Ok(())
}

/// Returns the preparation of a run, which is in row `row`.
pub(super) fn preparation(db: &Connection, id: &RunId, row: i64) -> Rows<Prepared> {
    let what = format!("record 1 of run {id}");
    let mut statement = db.prepare_cached("SELECT body FROM log WHERE n = ?1")?;
    let mut rows = statement.query([row])?;
    let Some(row) = rows.next()? else {
        return Err(damaged(&what));
    };
    let records = unpack(&column::<Vec<u8>>(row, 0, &what)?, 1).ok_or_else(|| damaged(&what))?;
    event::verify(GENESIS, 1, &records).map_err(|_| damaged(&what))?;
    match records.first().map(Record::event).transpose()? {
        Some(Event::Prepared(prepared)) => Ok(*prepared),
        _ => Err(damaged(&what)),
    }
}

/// Writes records one after the other: length, seconds, nanoseconds, hash, body.
fn pack(records: &[Record]) -> Vec<u8> {
    let size = records.iter().map(|record| HEAD + record.body.len()).sum();
    let mut out = Vec::with_capacity(size);
    for record in records {
        // No record is as large as that: the border refuses it before.
        out.extend(u32::try_from(record.body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(record.at.as_second().to_le_bytes());
        out.extend(record.at.subsec_nanosecond().to_le_bytes());
        out.extend(unhex(&record.hash).unwrap_or_default());
        out.extend(record.body.as_bytes());
    }
    out
}

const HEAD: usize = 4 + 8 + 4 + 32;

/// Reads the records of one row, unless it is not what [`pack`] writes.
fn unpack(mut bytes: &[u8], first: u64) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let (second, rest) = rest.split_first_chunk()?;
        let (nanosecond, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        records.push(Record {
            seq: first.checked_add(records.len() as u64)?,
            at: Timestamp::new(i64::from_le_bytes(*second), i32::from_le_bytes(*nanosecond)).ok()?,
            hash: hex(hash),
            // A damaged byte is named by the hash: the record has to be read for that.
            body: String::from_utf8_lossy(body).into_owned(),
        });
        bytes = rest;
    }
    Some(records)
}

/// Reads the records of one row, and writes them again.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn records_of(row: &[u8]) -> Option<(Vec<Record>, Vec<u8>)> {
    let records = unpack(row, 1)?;
    let again = pack(&records);
    Some((records, again))
}

// Texts, each once and under its fingerprint.

/// Keeps a text.
pub(super) fn add_text(db: &Connection, text: &str) -> Rows<()> {
    db.prepare_cached("INSERT INTO texts (fingerprint, text) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute([fingerprint(text).as_str(), text])?;
    Ok(())
}

/// Notes that a run names a text.
pub(super) fn note_use(db: &Connection, run: i64, print: &str) -> Rows<()> {
    db.prepare_cached("INSERT INTO uses (run, fingerprint) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![run, print])?;
    Ok(())
}

/// Returns whether a text is kept.
pub(super) fn has_text(db: &Connection, print: &str) -> Rows<bool> {
    let mut statement = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM texts WHERE fingerprint = ?1)")?;
    Ok(statement.query_row([print], |row| row.get(0))?)
}

/// Returns the text of a fingerprint. `what` names it in an error.
pub(super) fn text(db: &Connection, print: &str, what: &str) -> Rows<String> {
    let mut statement = db.prepare_cached("SELECT text FROM texts WHERE fingerprint = ?1")?;
    let mut rows = statement.query([print])?;
    let Some(row) = rows.next()? else {
        return Err(damaged(&what));
    };
    let text: String = column(row, 0, &what)?;
    if fingerprint(&text) == print { Ok(text) } else { Err(damaged(&what)) }
}

/// Returns the texts of a run in the order in which its first record names them.
pub(super) fn sources(db: &Connection, id: &RunId, first: i64) -> Rows<Vec<Source>> {
    let prepared = preparation(db, id, first)?;
    let read = |pin: event::Pin| -> Rows<Source> {
        let text = text(db, &pin.fingerprint, &format!("the text of `{}` in run {id}", pin.name))?;
        Ok(Source { name: pin.name, text })
    };
    prepared.sources.into_iter().map(read).collect()
}

/// Returns the records of a run after number `after`, checked up to the last one, number `seq`.
pub(super) fn records(
    db: &Connection,
    id: &RunId,
    (run, last): (i64, i64),
    (seq, hash): (u64, &str),
    after: u64,
) -> Rows<Vec<Record>> {
    if after >= seq {
        return Ok(Vec::new());
    }
    // One more than asked for: the first that is returned must hang on its predecessor.
    let from = after.max(1);
    let mut records = tail(db, id, run, last, from)?;
    let complete = records.first().is_some_and(|first| first.seq == from)
        && records.last().is_some_and(|last| last.seq == seq);
    if !complete {
        return Err(Fault::Damaged(format!("run {id} should have records {from} to {seq}")));
    }
    let previous = if after == 0 { GENESIS.to_owned() } else { records.remove(0).hash };
    event::verify(&previous, after + 1, &records).map_err(|e| Fault::Damaged(format!("run {id}: {e}")))?;
    if records.last().is_some_and(|last| last.hash != hash) {
        return Err(Fault::Damaged(format!("record {seq} of run {id} is not the one that its row names")));
    }
    Ok(records)
}
