//! The rows beside the runs: processes, signals and what is gone, read back without trusting them.
//!
//! Does not own: transactions (the [`writer`](super::writer) and the readers make them), the rules
//! ([`derive`]), runs ([`runs`]), their records ([`log`](super::log)), leases and schedules
//! ([`duties`](super::duties)).

use jiff::Timestamp;
use rusqlite::Connection;

use super::values::{Rows, column, damaged, json, parse, parse_time, seal, text};
use crate::event::{Event, RunId, Signal};
use crate::journal::{OwnerId, derive};

// Processes.

/// Notes until when a process is known to be alive.
pub(super) fn put_owner(db: &Connection, owner: &OwnerId, until: Timestamp) -> Rows<()> {
    db.prepare_cached(
        "INSERT INTO owners (id, until, sum) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET until = excluded.until, sum = excluded.sum",
    )?
    .execute([owner.as_str(), &text(until), &seal(&[owner.as_str(), &text(until)])])?;
    Ok(())
}

/// Ends the heartbeats of processes that are gone, and forgets those that left no run behind.
pub(super) fn bury(db: &Connection, gone: &[OwnerId]) -> Rows<()> {
    for owner in gone {
        let known = db
            .prepare_cached(
                "DELETE FROM owners WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE owner = ?1)",
            )?
            .execute([owner.as_str()])?;
        if known == 0 && self::owner(db, owner)?.is_some() {
            put_owner(db, owner, Timestamp::UNIX_EPOCH)?;
        }
    }
    Ok(())
}

/// Returns until when a process is known to be alive, if it ever was.
pub(super) fn owner(db: &Connection, owner: &OwnerId) -> Rows<Option<Timestamp>> {
    let what = format!("the heartbeat of process {}", owner.as_str());
    let mut statement = db.prepare_cached("SELECT until, sum FROM owners WHERE id = ?1")?;
    let mut rows = statement.query([owner.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let until = parse_time(&column::<String>(row, 0, &what)?, &what)?;
    if column::<String>(row, 1, &what)? != seal(&[owner.as_str(), &text(until)]) {
        return Err(damaged(&what));
    }
    Ok(Some(until))
}

// Runs that are there, and those that are gone.

/// Returns whether there is a run of an id.
pub(super) fn has_run(db: &Connection, id: &RunId) -> Rows<bool> {
    let mut statement = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)")?;
    Ok(statement.query_row([id.as_str()], |row| row.get(0))?)
}

/// Returns when a run was pruned, if it was.
pub(super) fn pruned(db: &Connection, id: &RunId) -> Rows<Option<Timestamp>> {
    let mut statement = db.prepare_cached("SELECT at FROM pruned WHERE id = ?1")?;
    let mut rows = statement.query([id.as_str()])?;
    let what = format!("when run {id} was pruned");
    rows.next()?.map(|row| parse_time(&column::<String>(row, 0, &what)?, &what)).transpose()
}

// Signals.

/// Adds a signal behind those that wait for a run.
pub(super) fn put_signal(db: &Connection, id: &RunId, signal: &Signal) -> Rows<()> {
    let body = json(signal)?;
    db.prepare_cached("INSERT INTO signals (run, body, sum) VALUES (?1, ?2, ?3)")?.execute([
        id.as_str(),
        &body,
        &seal(&[id.as_str(), &body]),
    ])?;
    Ok(())
}

/// Returns the words that wait for a run, oldest first.
pub(super) fn signals(db: &Connection, id: &RunId) -> Rows<Vec<Signal>> {
    Ok(numbered_signals(db, id)?.into_iter().map(|(_, signal)| signal).collect())
}

/// Returns whether a signal waits for a run.
pub(super) fn has_signal(db: &Connection, id: &RunId) -> Rows<bool> {
    let mut statement = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM signals WHERE run = ?1)")?;
    Ok(statement.query_row([id.as_str()], |row| row.get(0))?)
}

/// Removes the signal that an event consumes.
pub(super) fn consume(db: &Connection, id: &RunId, event: &Event) -> Rows<()> {
    if !matches!(event, Event::Signalled { .. }) {
        return Ok(());
    }
    let waiting = numbered_signals(db, id)?;
    if let Some(found) = derive::consumed(event, waiting.iter().map(|(_, signal)| signal)) {
        db.prepare_cached("DELETE FROM signals WHERE n = ?1")?.execute([waiting[found].0])?;
    }
    Ok(())
}

/// Returns the runs of a process for which a signal waits.
pub(super) fn signalled(db: &Connection, owner: &OwnerId) -> Rows<Vec<RunId>> {
    db.prepare_cached("SELECT DISTINCT run FROM signals JOIN runs ON id = run WHERE owner = ?1 ORDER BY run")?
        .query_and_then([owner.as_str()], |row| column::<String>(row, 0, &"a signal").map(RunId::from))?
        .collect()
}

fn numbered_signals(db: &Connection, id: &RunId) -> Rows<Vec<(i64, Signal)>> {
    let what = format!("a word for run {id}");
    let mut statement = db.prepare_cached("SELECT n, body, sum FROM signals WHERE run = ?1 ORDER BY n")?;
    let rows = statement.query_and_then([id.as_str()], |row| -> Rows<(i64, Signal)> {
        let body: String = column(row, 1, &what)?;
        if column::<String>(row, 2, &what)? != seal(&[id.as_str(), &body]) {
            return Err(damaged(&what));
        }
        Ok((column(row, 0, &what)?, parse(&body, &what)?))
    })?;
    rows.collect()
}
