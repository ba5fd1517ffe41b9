//! The rows of runs: what a run is about, how it stands, and where its records end.
//!
//! A run has two rows. The one in `runs` changes when its state does; the one in `heads` moves with
//! every record and is small and of fixed size, so that those of many runs lie on one page.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Row, params, params_from_iter};
use sha2::{Digest, Sha256};

use super::values::{
    Fault, Rows, column, damaged, json, parse, parse_status, parse_time, seal, signed, text, unsigned,
};
use super::{duties, log, outbox, places, rows, schedules};
use crate::error::Error;
use crate::event::{Effected, Event, Record, RunId, Signal, Source, fingerprint, hex, unhex};
use crate::journal::{
    NewRun, Notification, OwnerId, RunFilter, Sort, Status, Summary, derive, fenced, gone, unknown,
};

/// A run, and where its rows are.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) summary: Summary,
    pub(super) place: Place,
}

/// Where the rows of a run are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The number of the run in this database.
    pub(super) run: i64,
    /// The row of its first record in the log.
    pub(super) first: i64,
    /// The row of its last.
    pub(super) last: i64,
}

pub(super) const RUN: &str = "
    SELECT id, runbook, status, created, wake, park, owner, runs.sum,
           n, first, last, seq, epoch, step, second, nanosecond, hash, heads.sum, came_from, who, labels, ended
    FROM runs LEFT JOIN heads ON run = n";

/// Returns one run, if there is one.
pub(super) fn find(db: &Connection, id: &RunId) -> Rows<Option<Stored>> {
    let mut statement = db.prepare_cached(&format!("{RUN} WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(read).transpose()
}

/// Returns the run of a number in this database.
pub(super) fn numbered(db: &Connection, n: i64) -> Rows<Stored> {
    let mut statement = db.prepare_cached(&format!("{RUN} WHERE n = ?1"))?;
    let mut rows = statement.query([n])?;
    rows.next()?.map(read).transpose()?.ok_or_else(|| damaged(&format!("run number {n}")))
}

/// Returns one run.
pub(super) fn known(db: &Connection, id: &RunId) -> Rows<Stored> {
    match find(db, id)? {
        Some(found) => Ok(found),
        None => Err(Fault::Said(match rows::pruned(db, id)? {
            Some(at) => gone(id, at),
            None => unknown(id),
        })),
    }
}

/// Leaves a signal for a run, and wakes it.
pub(super) fn add_signal(db: &Connection, id: &RunId, signal: &Signal, at: Timestamp) -> Rows<()> {
    let Stored { summary: before, place } = known(db, id)?;
    if before.status.is_over() {
        return Err(Fault::Said(derive::already_over(id, before.status)));
    }
    rows::put_signal(db, id, signal)?;
    let mut after = before.clone();
    derive::wake_for(&mut after, std::iter::once(signal), at);
    change(db, place, &before, &after)
}

/// Word for word that of the index `runs_open`.
const IS_OPEN: &str = "ended IS NULL";
/// Word for word that of the indexes `runs_over` and `runs_ended`.
pub(super) const IS_OVER: &str = "ended IS NOT NULL";
/// Branches are listed with their runs.
pub(super) const IS_WHOLE: &str = "instr(id, '.') = 0";

/// Which runs a list looks through.
#[derive(Clone, Copy, PartialEq)]
enum Among {
    All,
    Open,
    /// An index has these in the order in which they ended.
    Over,
}

/// Returns runs in the order of a filter.
pub(super) fn list(db: &Connection, filter: &RunFilter) -> Rows<Vec<Summary>> {
    let is_over = filter.status.map(Status::is_over);
    let among = match (filter.open, is_over) {
        (true, _) => Among::Open,
        (false, Some(true)) => Among::Over,
        (false, _) => Among::All,
    };
    if filter.sort != Sort::Updated || is_over.is_some() || filter.open {
        return list_among(db, filter, among);
    }
    // What is open is a few, and nothing keeps it in the order in which it changes: that would cost every record.
    let mut found = list_among(db, filter, Among::Open)?;
    found.extend(list_among(db, filter, Among::Over)?);
    found.sort_by(|one, other| filter.sort.compare(one, other));
    if filter.limit > 0 {
        found.truncate(filter.limit);
    }
    Ok(found)
}

fn list_among(db: &Connection, filter: &RunFilter, among: Among) -> Rows<Vec<Summary>> {
    let mut conditions = vec![IS_WHOLE];
    conditions.extend(match among {
        Among::All => None,
        Among::Open => Some(IS_OPEN),
        Among::Over => Some(IS_OVER),
    });
    // The index that has the states of those that are over does not have them in the order in which they ended.
    let has_status = match (among, filter.sort) {
        (Among::Over, Sort::Updated) => "+status = ?",
        _ => "status = ?",
    };
    let mut values: Vec<String> = Vec::new();
    let mut wanted = |condition: &'static str, given: &mut dyn Iterator<Item = String>| {
        let before = values.len();
        values.extend(given);
        if values.len() > before {
            conditions.push(condition);
        }
    };
    wanted(has_status, &mut filter.status.iter().map(|status| status.as_str().to_owned()));
    wanted("runbook = ?", &mut filter.runbook.iter().cloned());
    wanted("created >= ?", &mut filter.since.iter().map(|since| text(*since)));
    wanted("who = ?", &mut filter.who.iter().cloned());
    for (name, value) in &filter.labels {
        let label = [name.clone(), value.clone()];
        wanted("n IN (SELECT labels.run FROM labels WHERE name = ? AND value = ?)", &mut label.into_iter());
    }
    let (order, behind): (_, &[&str]) = match filter.sort {
        Sort::Created => ("created DESC, id DESC", &["(created, id) < (?, ?)"]),
        Sort::Updated if among == Among::Over => ("ended DESC, id DESC", &["(ended, id) < (?, ?)"]),
        Sort::Updated => (
            "second DESC, nanosecond DESC, id DESC",
            &["(second, nanosecond, id) < (CAST(? AS INTEGER), CAST(? AS INTEGER), ?)"],
        ),
        // The second says no more than the third; an index leads to it.
        Sort::Runbook => {
            ("runbook, created DESC, id DESC", &["runbook >= ?", "(runbook > ? OR (created, id) < (?, ?))"])
        }
    };
    if let Some(after) = &filter.after {
        let (created, id) = (text(after.created), after.id.to_string());
        let values: Vec<Vec<String>> = match filter.sort {
            Sort::Created => vec![vec![created, id]],
            Sort::Updated if among == Among::Over => vec![vec![text(after.updated), id]],
            Sort::Updated => {
                let Summary { updated, .. } = **after;
                vec![vec![updated.as_second().to_string(), updated.subsec_nanosecond().to_string(), id]]
            }
            Sort::Runbook => {
                vec![vec![after.runbook.clone()], vec![after.runbook.clone(), created, id]]
            }
        };
        for (condition, values) in behind.iter().zip(values) {
            wanted(condition, &mut values.into_iter());
        }
    }
    let limit = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(-1) };
    let mut statement = db.prepare_cached(&format!(
        "{RUN} WHERE {} ORDER BY {order} LIMIT {limit}",
        conditions.join(" AND ")
    ))?;
    statement.query_and_then(params_from_iter(values), |row| Ok(read(row)?.summary))?.collect()
}

/// Returns how many runs are in each state. Nothing is read of a run but that.
pub(super) fn tally(db: &Connection) -> Rows<Vec<(Status, u64)>> {
    let mut count =
        db.prepare_cached("SELECT count(*) FROM runs WHERE status = ?1 AND instr(id, '.') = 0")?;
    let mut tally = Vec::with_capacity(Status::ALL.len());
    for status in Status::ALL {
        let counted: i64 = count.query_row([status.as_str()], |row| row.get(0))?;
        tally.push((status, counted.cast_unsigned()));
    }
    Ok(tally)
}

/// Returns runs whose id begins with a text, in the order of ids.
pub(super) fn beginning(db: &Connection, with: &str, limit: usize) -> Rows<Vec<Summary>> {
    let mut statement = db.prepare_cached(&format!(
        "{RUN} WHERE id >= ?1 AND id < ?3 AND instr(id, '.') = 0 ORDER BY id LIMIT ?2"
    ))?;
    // Behind everything that begins so: no id has a letter as high as that.
    let behind = format!("{with}~");
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = statement
        .query_and_then(params![with, most, behind], |row| Ok(read(row)?.summary))?
        .collect::<Rows<Vec<Summary>>>()?;
    found.retain(|run| run.id.as_str().starts_with(with));
    Ok(found)
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
        let until = rows::owner(db, &by)?
            .ok_or_else(|| damaged(&format!("the heartbeat of process {}", by.as_str())))?;
        if until <= now {
            for row in driven.query_and_then(params![by.as_str(), most], |row| id(row, 0))? {
                due.push((until, row?));
            }
        }
    }
    due.sort_unstable();
    due.truncate(limit);
    Ok(due.into_iter().map(|(_, id)| id).collect())
}

/// Returns the first time behind `after` at which something becomes due: each is the next entry of an index.
pub(super) fn next_due(db: &Connection, after: Timestamp) -> Rows<Option<Timestamp>> {
    let what = "the time at which something is due next";
    let first: Option<String> = db
        .prepare_cached(
            "SELECT min(at) FROM (
                SELECT min(wake) AS at FROM runs WHERE wake IS NOT NULL AND wake > ?1
                UNION ALL SELECT min(until) FROM owners
                    WHERE until > ?1 AND EXISTS (SELECT 1 FROM runs WHERE owner = owners.id)
                UNION ALL SELECT min(deadline) FROM leases WHERE deadline > ?1
                UNION ALL SELECT min(due) FROM schedules WHERE due > ?1 AND due < 'a'
                UNION ALL SELECT min(until) FROM scheduled_runs WHERE until IS NOT NULL AND until > ?1)",
        )?
        .query_row([text(after)], |row| row.get(0))?;
    first.map(|first| parse_time(&first, &what)).transpose()
}

/// Returns the records of a run after number `after`, checked up to the last one.
///
/// Wants a transaction around it, so that the run and its records are of one moment.
pub(super) fn records(db: &Connection, id: &RunId, after: u64) -> Rows<Vec<Record>> {
    let Stored { summary, place } = known(db, id)?;
    log::records(db, id, (place.run, place.last), (summary.seq, &summary.hash), after)
}

/// Returns the texts of a run in the order in which its first record names them.
pub(super) fn sources(db: &Connection, id: &RunId) -> Rows<Vec<Source>> {
    log::sources(db, id, known(db, id)?.place.first)
}

/// Adds a run with its first record and its texts. Returns whether it is new.
pub(super) fn add(db: &Connection, new: &NewRun, summary: &Summary, first: &Record) -> Rows<bool> {
    if rows::pruned(db, &summary.id)?.is_some() {
        return Ok(false);
    }
    let held = places::has_room(db, new)?;
    let delay = summary.wake.map_or(SignedDuration::ZERO, |wake| wake.duration_since(first.at));
    let summary = &Summary { wake: summary.wake.filter(|_| held), ..summary.clone() };
    let park = summary.park.as_ref().map(json).transpose()?;
    let labels = labels(summary)?;
    let run: i64 =
        db.prepare_cached("SELECT coalesce(max(n), 0) + 1 FROM runs")?.query_row([], |row| row.get(0))?;
    let added = db
        .prepare_cached(
            "INSERT INTO runs (n, id, runbook, status, created, wake, park, owner, sum, came_from, who, labels)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            run,
            summary.id.as_str(),
            summary.runbook,
            summary.status.as_str(),
            text(summary.created),
            summary.wake.map(text),
            park,
            summary.owner.as_ref().map(OwnerId::as_str),
            seal_state(run, summary, park.as_deref(), labels.as_deref()),
            summary.came_from.as_ref().map(RunId::as_str),
            summary.who,
            labels,
        ])?;
    if added == 0 {
        return Ok(false);
    }
    places::enter(db, run, new, held, delay)?;
    for (name, value) in &summary.labels {
        db.prepare_cached("INSERT INTO labels (name, value, run) VALUES (?1, ?2, ?3)")?
            .execute(params![name, value, run])?;
    }
    let row = log::add(db, run, 0, std::slice::from_ref(first))?;
    let place = Place { run, first: row, last: row };
    let head = Head::of(summary, place)?;
    db.prepare_cached(
        "INSERT INTO heads (run, first, last, seq, epoch, step, second, nanosecond, hash, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        run,
        row,
        row,
        head.seq,
        head.epoch,
        head.step,
        head.second,
        head.nanosecond,
        head.hash,
        head.sum
    ])?;
    for source in &new.sources {
        log::add_text(db, &source.text)?;
        log::note_use(db, run, &fingerprint(&source.text))?;
    }
    Ok(true)
}

/// Returns whether [`advance`] has to know an event: more follows from it than the run's next state.
pub(super) fn has_consequences(event: &Event) -> bool {
    matches!(event, Event::Signalled { .. } | Event::Finished { parent: Some(_), .. })
        || Notification::may_be_of(event)
        || !event.effected().is_empty()
        || event.text().is_some()
}

/// Moves a run on from `before` to `after`, and writes the records and what follows from them.
///
/// Returns whether a signal still waits. This is where a void tenure is found out: the
/// row is changed only if it is still the one that the caller knows.
pub(super) fn advance(
    db: &Connection,
    place: &mut Place,
    before: &Summary,
    after: &mut Arc<Summary>,
    events: &[Event],
    records: &[Record],
) -> Rows<bool> {
    for event in events {
        rows::consume(db, &after.id, event)?;
        if let Some(print) = event.text() {
            if !log::has_text(db, print)? {
                return Err(Fault::Said(derive::not_kept(&after.id, print)));
            }
            log::note_use(db, place.run, print)?;
        }
    }
    let waiting = rows::has_signal(db, &after.id)?;
    if let (true, Some(last)) = (waiting && after.status == Status::Parked, records.last()) {
        let signals = rows::signals(db, &after.id)?;
        derive::wake_for(Arc::make_mut(after), signals.iter(), last.at);
    }
    if !records.is_empty() {
        place.last = log::add(db, place.run, place.last, records)?;
    }
    if !move_head(db, *place, before, after)? {
        let now = known(db, &after.id)?.summary;
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
    change(db, *place, before, after)?;
    if after.status.is_over() {
        schedules::ended(db, &after.id, after.status)?;
        for (next, delay) in places::leave(db, place.run)? {
            let Stored { summary: before, place } = numbered(db, next)?;
            if before.is_queued() {
                let wake = after.updated.saturating_add(delay).unwrap_or(after.updated);
                change(db, place, &before, &Summary { wake: Some(wake), ..before.clone() })?;
            }
        }
    } else if before.status == Status::Prepared {
        places::hold(db, place.run)?;
    }
    let worth: Vec<_> = events.iter().filter_map(|event| Notification::of_event(after, event)).collect();
    outbox::notify(db, &worth)?;
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
            Effected::Scheduled(schedule) => {
                let before = schedules::find(db, &schedule.id)?;
                schedules::put(db, &derive::scheduled(before, schedule))?;
            }
            Effected::Unscheduled { id } => {
                if let Some(before) = schedules::find(db, id)? {
                    schedules::account(db, &derive::unscheduled(&before, after.updated))?;
                    schedules::remove(db, id)?;
                }
            }
        }
    }
    Ok(waiting)
}

/// Writes the state of a run over, if it differs. Whoever calls it has seen that the row is `before`.
pub(super) fn change(db: &Connection, place: Place, before: &Summary, after: &Summary) -> Rows<()> {
    let same = before.status == after.status
        && before.owner == after.owner
        && before.wake == after.wake
        && before.park == after.park;
    if same {
        return Ok(());
    }
    let park = after.park.as_ref().map(json).transpose()?;
    db.prepare_cached(
        "UPDATE runs SET status = ?2, wake = ?3, park = ?4, owner = ?5, sum = ?6, ended = ?7 WHERE n = ?1",
    )?
    .execute(params![
        place.run,
        after.status.as_str(),
        after.wake.map(text),
        park,
        after.owner.as_ref().map(OwnerId::as_str),
        seal_state(place.run, after, park.as_deref(), labels(after)?.as_deref()),
        ended(after),
    ])?;
    Ok(())
}

/// Writes over where a run came from. Whoever calls it has seen that nothing was said of it.
pub(super) fn set_origin(db: &Connection, place: Place, run: &Summary) -> Rows<()> {
    let park: Option<String> =
        db.prepare_cached("SELECT park FROM runs WHERE n = ?1")?.query_row([place.run], |row| row.get(0))?;
    let sum = seal_state(place.run, run, park.as_deref(), labels(run)?.as_deref());
    db.prepare_cached("UPDATE runs SET came_from = ?2, sum = ?3 WHERE n = ?1")?.execute(params![
        place.run,
        run.came_from.as_ref().map(RunId::as_str),
        sum
    ])?;
    Ok(())
}

/// Returns when a run ended, as it stands in its row: a run that is over changes no more.
fn ended(run: &Summary) -> Option<String> {
    run.status.is_over().then(|| text(run.updated))
}

/// Returns the labels of a run as they stand in its row.
fn labels(run: &Summary) -> Rows<Option<String>> {
    (!run.labels.is_empty()).then(|| json(&run.labels)).transpose()
}

/// Moves the head of a run, if it still is what it was before. Returns whether it was.
fn move_head(db: &Connection, place: Place, before: &Summary, after: &Summary) -> Rows<bool> {
    let head = Head::of(after, place)?;
    let changed = db
        .prepare_cached(
            "UPDATE heads SET last = ?5, seq = ?6, epoch = ?7, step = ?8, second = ?9, nanosecond = ?10,
                 hash = ?11, sum = ?12
             WHERE run = ?1 AND epoch = ?2 AND seq = ?3 AND hash = ?4",
        )?
        .execute(params![
            place.run,
            signed(before.epoch)?,
            signed(before.seq)?,
            raw(&before.hash),
            place.last,
            head.seq,
            head.epoch,
            head.step,
            head.second,
            head.nanosecond,
            head.hash,
            head.sum,
        ])?;
    Ok(changed == 1)
}

/// The columns of a head that come from the run.
struct Head {
    seq: i64,
    epoch: i64,
    step: u32,
    second: i64,
    nanosecond: i32,
    hash: [u8; 32],
    /// SQLite itself does not notice a flipped bit in a value.
    sum: i64,
}

impl Head {
    fn of(summary: &Summary, place: Place) -> Rows<Head> {
        let mut head = Head {
            seq: signed(summary.seq)?,
            epoch: signed(summary.epoch)?,
            step: summary.step,
            second: summary.updated.as_second(),
            nanosecond: summary.updated.subsec_nanosecond(),
            hash: raw(&summary.hash),
            sum: 0,
        };
        head.sum = head.seal(place);
        Ok(head)
    }

    fn seal(&self, place: Place) -> i64 {
        let mut sum = Sha256::new();
        for number in [place.run, place.first, place.last, self.seq, self.epoch, i64::from(self.step)] {
            sum.update(number.to_le_bytes());
        }
        sum.update(self.second.to_le_bytes());
        sum.update(self.nanosecond.to_le_bytes());
        sum.update(self.hash);
        let sum = sum.finalize();
        sum.iter().take(8).fold(0, |all, byte| all << 8 | i64::from(*byte))
    }
}

/// Returns the bytes of a hash. One that is not 64 digits fits nothing.
fn raw(hash: &str) -> [u8; 32] {
    unhex(hash).unwrap_or_default()
}

pub(super) fn read(row: &Row<'_>) -> Rows<Stored> {
    let id: String = column(row, 0, &"the name of a run")?;
    let what = format!("the row of run {id}");
    let time = |text: String| parse_time(&text, &what);
    let park: Option<String> = column(row, 5, &what)?;
    let labels: Option<String> = column(row, 20, &what)?;
    let place =
        Place { run: column(row, 8, &what)?, first: column(row, 9, &what)?, last: column(row, 10, &what)? };
    let head = Head {
        seq: column(row, 11, &what)?,
        epoch: column(row, 12, &what)?,
        step: column(row, 13, &what)?,
        second: column(row, 14, &what)?,
        nanosecond: column(row, 15, &what)?,
        hash: column(row, 16, &what)?,
        sum: column(row, 17, &what)?,
    };
    let summary = Summary {
        id: RunId::from(id),
        runbook: column(row, 1, &what)?,
        status: parse_status(&column::<String>(row, 2, &what)?).ok_or_else(|| damaged(&what))?,
        created: time(column(row, 3, &what)?)?,
        updated: Timestamp::new(head.second, head.nanosecond).map_err(|_| damaged(&what))?,
        wake: column::<Option<String>>(row, 4, &what)?.map(time).transpose()?,
        // Damage is noticed by the sum. What is whole and yet no reason is one of a newer version.
        park: park.as_deref().and_then(|text| parse(text, &what).ok()),
        step: head.step,
        seq: unsigned(head.seq, &what)?,
        hash: hex(&head.hash),
        epoch: unsigned(head.epoch, &what)?,
        owner: column::<Option<String>>(row, 6, &what)?.map(OwnerId::from),
        came_from: column::<Option<String>>(row, 18, &what)?.map(RunId::from),
        who: column(row, 19, &what)?,
        labels: labels.as_deref().map(|text| parse(text, &what)).transpose()?.unwrap_or_default(),
    };
    let expected = seal_state(place.run, &summary, park.as_deref(), labels.as_deref());
    let sound = column::<String>(row, 7, &what)? == expected
        && head.sum == head.seal(place)
        // It is there to be searched, and follows from the rest.
        && column::<Option<String>>(row, 21, &what)? == ended(&summary);
    if sound { Ok(Stored { summary, place }) } else { Err(damaged(&what)) }
}

/// Returns the sum over the state of a run. `park` and `labels` are the texts in their columns: JSON that is read and
/// written again need not be the same text.
fn seal_state(run: i64, summary: &Summary, park: Option<&str>, labels: Option<&str>) -> String {
    let (run, created) = (run.to_string(), text(summary.created));
    let wake = summary.wake.map(text).unwrap_or_default();
    let mut parts = vec![
        &*run,
        summary.id.as_str(),
        &summary.runbook,
        summary.status.as_str(),
        &created,
        &wake,
        park.unwrap_or_default(),
        summary.owner.as_ref().map_or("", OwnerId::as_str),
    ];
    // Those came later: without them the sum is what it was before.
    let origin = [summary.came_from.as_ref().map(RunId::as_str), summary.who.as_deref(), labels];
    if origin.iter().any(Option::is_some) {
        parts.extend(origin.map(Option::unwrap_or_default));
    }
    seal(&parts)
}
