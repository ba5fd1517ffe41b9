//! What the rows of the database say, written and read back without trusting them.
//!
//! Owns: every SQL statement over the tables. Does not own: transactions (the
//! [`writer`](super::writer) and the readers make them) and the rules
//! ([`derive`]).

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::duties;
use super::values::{
    Fault, Rows, column, damaged, json, parse, parse_status, parse_time, seal, signed, text, unsigned,
};
use crate::error::Error;
use crate::event::{self, Effected, Event, GENESIS, Prepared, Record, RunId, Signal, Source, fingerprint};
use crate::journal::{OwnerId, RunFilter, Status, Summary, derive, fenced, unknown};

// Runs.

const RUN: &str =
    "SELECT id, runbook, status, created, updated, wake, park, step, seq, hash, epoch, owner, sum FROM runs";

/// Returns one run, if there is one.
pub(super) fn run(db: &Connection, id: &RunId) -> Rows<Option<Summary>> {
    let mut statement = db.prepare_cached(&format!("{RUN} WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(read_run).transpose()
}

/// Returns one run.
pub(super) fn known_run(db: &Connection, id: &RunId) -> Rows<Summary> {
    run(db, id)?.ok_or_else(|| Fault::Said(unknown(id)))
}

/// Returns runs, newest first.
pub(super) fn runs(db: &Connection, filter: &RunFilter) -> Rows<Vec<Summary>> {
    // The condition is word for word that of the index `runs_open`.
    let open = if filter.open { "WHERE status IN ('prepared', 'running', 'parked')" } else { "" };
    let mut statement =
        db.prepare_cached(&format!("{RUN} {open} ORDER BY created DESC, id DESC LIMIT ?1"))?;
    let limit = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(-1) };
    statement.query_and_then([limit], read_run)?.collect()
}

/// Returns runs that should be driven, the longest due first.
pub(super) fn due(db: &Connection, now: Timestamp, limit: usize) -> Rows<Vec<RunId>> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let id = |row: &Row<'_>, n: usize| column::<String>(row, n, &"the name of a run").map(RunId::from);

    // Two short walks along two indexes: first those that wake by the time,
    let mut due = db
        .prepare_cached(
            "SELECT wake, id FROM runs WHERE wake IS NOT NULL AND wake <= ?1 ORDER BY wake, id LIMIT ?2",
        )?
        .query_and_then(params![text(now), most], |row| -> Rows<(Timestamp, RunId)> {
            let what = "the wake time of a run";
            Ok((parse_time(&column::<String>(row, 0, &what)?, &what)?, id(row, 1)?))
        })?
        .collect::<Rows<Vec<_>>>()?;

    // then those that somebody drives, a few owners with all their runs.
    let owners = db
        .prepare_cached("SELECT DISTINCT owner FROM runs WHERE owner IS NOT NULL")?
        .query_and_then([], |row| column::<String>(row, 0, &"the owner of a run").map(OwnerId::from))?
        .collect::<Rows<Vec<_>>>()?;
    let mut driven = db.prepare_cached("SELECT id FROM runs WHERE owner = ?1 ORDER BY id LIMIT ?2")?;
    for by in owners {
        let until =
            owner(db, &by)?.ok_or_else(|| damaged(&format!("the heartbeat of process {}", by.as_str())))?;
        if until <= now {
            for row in driven.query_and_then(params![by.as_str(), most], |row| id(row, 0))? {
                due.push((until, row?));
            }
        }
    }
    due.sort();
    due.truncate(limit);
    Ok(due.into_iter().map(|(_, id)| id).collect())
}

/// Adds a run with its first record and its texts. Returns whether it is new.
pub(super) fn add_run(db: &Connection, summary: &Summary, first: &Record, sources: &[Source]) -> Rows<bool> {
    let park = summary.park.as_ref().map(json).transpose()?;
    let added = db
        .prepare_cached(
            "INSERT INTO runs (id, runbook, status, created, updated, wake, park, step, seq, hash, epoch, owner, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            summary.id.as_str(),
            summary.runbook,
            summary.status.as_str(),
            text(summary.created),
            text(summary.updated),
            summary.wake.map(text),
            park,
            summary.step,
            signed(summary.seq)?,
            summary.hash,
            signed(summary.epoch)?,
            summary.owner.as_ref().map(OwnerId::as_str),
            seal_run(summary, park.as_deref()),
        ])?;
    if added == 0 {
        return Ok(false);
    }
    add_records(db, &summary.id, std::slice::from_ref(first))?;
    let mut keep =
        db.prepare_cached("INSERT INTO sources (fingerprint, text) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for source in sources {
        keep.execute([fingerprint(&source.text).as_str(), source.text.as_str()])?;
    }
    Ok(true)
}

/// Returns whether [`move_run`] has to know an event: more follows from it than the run's next state.
pub(super) fn has_consequences(event: &Event) -> bool {
    matches!(event, Event::Signalled { .. } | Event::Finished { parent: Some(_), .. })
        || !event.effected().is_empty()
}

/// Moves a run on from `before` to `after`, and writes the records and what follows from them.
///
/// Returns whether a word from outside still waits. This is where a void tenure is found out: the
/// row is changed only if it is still the one that the caller knows.
pub(super) fn move_run(
    db: &Connection,
    before: &Summary,
    after: &mut Summary,
    events: &[Event],
    records: &[Record],
) -> Rows<bool> {
    for event in events {
        consume(db, &after.id, event)?;
    }
    let waiting = has_signal(db, &after.id)?;
    if let (true, Some(last)) = (waiting && after.status == Status::Parked, records.last()) {
        derive::summon(after, signals(db, &after.id)?.iter(), last.at);
    }
    if !replace_run(db, before, after)? {
        let now = known_run(db, &after.id)?;
        return Err(Fault::Said(if now.epoch == before.epoch {
            let next = before.seq + 1;
            Error::storage(format!(
                "record {next} of run {} may not follow: the journal has {}",
                now.id, now.seq
            ))
        } else {
            fenced(&now.id)
        }));
    }
    add_records(db, &after.id, records)?;
    for event in events {
        if let Some((parent, signal)) = derive::told(&after.id, event) {
            match add_signal(db, parent, &signal, after.updated) {
                // A parent that is over waits for nothing.
                Ok(()) | Err(Fault::Said(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
    for effect in events.iter().flat_map(Event::effected) {
        match effect {
            Effected::LeaseOpened(lease) => duties::put_lease(db, lease)?,
            Effected::LeaseClosed { id } => {
                duties::remove_lease(db, id)?;
            }
            Effected::Scheduled(appointment) => duties::put_schedule(db, appointment)?,
            Effected::Unscheduled { id } => {
                duties::remove_schedule(db, id)?;
            }
        }
    }
    Ok(waiting)
}

/// Writes the row of a run over, if it still is what it was before. Returns whether it was.
fn replace_run(db: &Connection, before: &Summary, after: &Summary) -> Rows<bool> {
    let park = after.park.as_ref().map(json).transpose()?;
    let sum = seal_run(after, park.as_deref());
    let same = before.status == after.status
        && before.owner == after.owner
        && before.wake == after.wake
        && before.park == after.park
        && before.epoch == after.epoch;
    // A step leaves the indexed columns alone, and naming them would rewrite four indexes.
    let changed = if same {
        db.prepare_cached(
            "UPDATE runs SET updated = ?5, step = ?6, seq = ?7, hash = ?8, sum = ?9
             WHERE id = ?1 AND epoch = ?2 AND seq = ?3 AND hash = ?4",
        )?
        .execute(params![
            before.id.as_str(),
            signed(before.epoch)?,
            signed(before.seq)?,
            before.hash,
            text(after.updated),
            after.step,
            signed(after.seq)?,
            after.hash,
            sum,
        ])?
    } else {
        db.prepare_cached(
            "UPDATE runs SET updated = ?5, step = ?6, seq = ?7, hash = ?8, sum = ?9,
                 status = ?10, wake = ?11, park = ?12, epoch = ?13, owner = ?14
             WHERE id = ?1 AND epoch = ?2 AND seq = ?3 AND hash = ?4",
        )?
        .execute(params![
            before.id.as_str(),
            signed(before.epoch)?,
            signed(before.seq)?,
            before.hash,
            text(after.updated),
            after.step,
            signed(after.seq)?,
            after.hash,
            sum,
            after.status.as_str(),
            after.wake.map(text),
            park,
            signed(after.epoch)?,
            after.owner.as_ref().map(OwnerId::as_str),
        ])?
    };
    Ok(changed == 1)
}

fn read_run(row: &Row<'_>) -> Rows<Summary> {
    let id: String = column(row, 0, &"the name of a run")?;
    let what = format!("the row of run {id}");
    let time = |n: usize| -> Rows<Timestamp> { parse_time(&column::<String>(row, n, &what)?, &what) };
    let number = |n: usize| unsigned(column(row, n, &what)?, &what);
    let park: Option<String> = column(row, 6, &what)?;
    let summary = Summary {
        id: RunId::from(id),
        runbook: column(row, 1, &what)?,
        status: parse_status(&column::<String>(row, 2, &what)?).ok_or_else(|| damaged(&what))?,
        created: time(3)?,
        updated: time(4)?,
        wake: column::<Option<String>>(row, 5, &what)?.map(|text| parse_time(&text, &what)).transpose()?,
        park: park.as_deref().map(|text| parse(text, &what)).transpose()?,
        step: column(row, 7, &what)?,
        seq: number(8)?,
        hash: column(row, 9, &what)?,
        epoch: number(10)?,
        owner: column::<Option<String>>(row, 11, &what)?.map(OwnerId::from),
    };
    if column::<String>(row, 12, &what)? != seal_run(&summary, park.as_deref()) {
        return Err(damaged(&what));
    }
    Ok(summary)
}

/// Returns the sum over the row of a run. `park` is the text in its column: JSON that is read and
/// written again need not be the same text.
fn seal_run(summary: &Summary, park: Option<&str>) -> String {
    seal(&[
        summary.id.as_str(),
        &summary.runbook,
        summary.status.as_str(),
        &text(summary.created),
        &text(summary.updated),
        &summary.wake.map(text).unwrap_or_default(),
        park.unwrap_or_default(),
        &summary.step.to_string(),
        &summary.seq.to_string(),
        &summary.hash,
        &summary.epoch.to_string(),
        summary.owner.as_ref().map_or("", OwnerId::as_str),
    ])
}

// Records and the texts behind them.

fn add_records(db: &Connection, run: &RunId, records: &[Record]) -> Rows<()> {
    let mut add =
        db.prepare_cached("INSERT INTO records (run, seq, at, hash, body) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for record in records {
        add.execute(params![run.as_str(), signed(record.seq)?, text(record.at), record.hash, record.body])?;
    }
    Ok(())
}

/// Returns the records of a run after number `after`, checked up to the last one.
///
/// Wants a transaction around it, so that the run and its records are of one moment.
pub(super) fn records(db: &Connection, id: &RunId, after: u64) -> Rows<Vec<Record>> {
    let summary = known_run(db, id)?;
    if after >= summary.seq {
        return Ok(Vec::new());
    }
    // One more than asked for: the first that is returned must hang on its predecessor.
    let mut statement = db.prepare_cached(
        "SELECT seq, at, hash, body FROM records WHERE run = ?1 AND seq >= ?2 ORDER BY seq",
    )?;
    let from = after.max(1);
    let mut records = statement
        .query_and_then(params![id.as_str(), signed(from)?], |row| read_record(row, id))?
        .collect::<Rows<Vec<Record>>>()?;
    let complete = records.first().is_some_and(|first| first.seq == from)
        && records.last().is_some_and(|last| last.seq == summary.seq && last.hash == summary.hash);
    if !complete {
        return Err(Fault::Damaged(format!("run {id} should have records {from} to {}", summary.seq)));
    }
    let previous = if after == 0 { GENESIS.to_owned() } else { records.remove(0).hash };
    event::verify(&previous, after + 1, &records).map_err(|e| Fault::Damaged(format!("run {id}: {e}")))?;
    Ok(records)
}

/// Returns the texts of a run in the order in which its first record names them.
pub(super) fn sources(db: &Connection, id: &RunId) -> Rows<Vec<Source>> {
    known_run(db, id)?;
    let prepared = first_record(db, id)?;
    let mut statement = db.prepare_cached("SELECT text FROM sources WHERE fingerprint = ?1")?;
    let mut sources = Vec::with_capacity(prepared.sources.len());
    for pin in prepared.sources {
        let what = format!("the text of `{}` in run {id}", pin.name);
        let mut rows = statement.query([&pin.fingerprint])?;
        let Some(row) = rows.next()? else {
            return Err(damaged(&what));
        };
        let text: String = column(row, 0, &what)?;
        if fingerprint(&text) != pin.fingerprint {
            return Err(damaged(&what));
        }
        sources.push(Source { name: pin.name, text });
    }
    Ok(sources)
}

fn first_record(db: &Connection, id: &RunId) -> Rows<Prepared> {
    let what = format!("record 1 of run {id}");
    let mut statement =
        db.prepare_cached("SELECT seq, at, hash, body FROM records WHERE run = ?1 AND seq = 1")?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else {
        return Err(damaged(&what));
    };
    let record = read_record(row, id)?;
    event::verify(GENESIS, 1, std::slice::from_ref(&record)).map_err(|_| damaged(&what))?;
    match record.event()? {
        Event::Prepared(prepared) => Ok(*prepared),
        _ => Err(damaged(&what)),
    }
}

fn read_record(row: &Row<'_>, run: &RunId) -> Rows<Record> {
    let what = format!("a record of run {run}");
    let seq = unsigned(column(row, 0, &what)?, &what)?;
    let what = format!("record {seq} of run {run}");
    Ok(Record {
        seq,
        at: parse_time(&column::<String>(row, 1, &what)?, &what)?,
        hash: column(row, 2, &what)?,
        body: column(row, 3, &what)?,
    })
}

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

// Words from outside.

/// Leaves a word for a run, and wakes it.
pub(super) fn add_signal(db: &Connection, id: &RunId, signal: &Signal, at: Timestamp) -> Rows<()> {
    let before = known_run(db, id)?;
    if before.status.is_over() {
        return Err(Fault::Said(derive::deaf(id, before.status)));
    }
    let body = json(signal)?;
    db.prepare_cached("INSERT INTO signals (run, body, sum) VALUES (?1, ?2, ?3)")?.execute([
        id.as_str(),
        &body,
        &seal(&[id.as_str(), &body]),
    ])?;
    let mut after = before.clone();
    derive::summon(&mut after, std::iter::once(signal), at);
    if after != before {
        replace_run(db, &before, &after)?;
    }
    Ok(())
}

/// Returns the words that wait for a run, oldest first.
pub(super) fn signals(db: &Connection, id: &RunId) -> Rows<Vec<Signal>> {
    Ok(numbered_signals(db, id)?.into_iter().map(|(_, signal)| signal).collect())
}

/// Returns whether a word waits for a run.
pub(super) fn has_signal(db: &Connection, id: &RunId) -> Rows<bool> {
    let mut statement = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM signals WHERE run = ?1)")?;
    Ok(statement.query_row([id.as_str()], |row| row.get(0))?)
}

fn consume(db: &Connection, id: &RunId, event: &Event) -> Rows<()> {
    if !matches!(event, Event::Signalled { .. }) {
        return Ok(());
    }
    let waiting = numbered_signals(db, id)?;
    if let Some(found) = derive::consumed(event, waiting.iter().map(|(_, signal)| signal)) {
        db.prepare_cached("DELETE FROM signals WHERE n = ?1")?.execute([waiting[found].0])?;
    }
    Ok(())
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
