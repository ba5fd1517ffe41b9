//! The rows of schedules, of the accounts of their ticks, and of the runs whose end a schedule waits for.
//!
//! Owns: every SQL statement over these tables. The column `due` says when a schedule wants to be looked at; that and all others
//! beside a body are under the sum.

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params};

use super::values::{Rows, column, damaged, json, parse_status, parse_time, read_body, seal, text};
use crate::event::{RunId, Schedule, Tick};
use crate::journal::{ScheduledEnd, Status, TickFilter};

/// What the column `due` has when a schedule wants nothing by itself: behind every time.
const NEVER: &str = "never";

const SCHEDULE: &str = "SELECT id, body, sum, due FROM schedules";

/// Returns the schedules, the next due first.
pub(super) fn all(db: &Connection) -> Rows<Vec<Schedule>> {
    read(db, &format!("{SCHEDULE} ORDER BY due, id"), [])
}

/// Returns the schedules that are due, the longest due first.
pub(super) fn due(db: &Connection, now: Timestamp) -> Rows<Vec<Schedule>> {
    read(db, &format!("{SCHEDULE} WHERE due <= ?1 ORDER BY due, id"), [text(now)])
}

/// Returns one schedule, if there is one.
pub(super) fn find(db: &Connection, id: &str) -> Rows<Option<Schedule>> {
    Ok(read(db, &format!("{SCHEDULE} WHERE id = ?1"), [id])?.pop())
}

fn read(db: &Connection, sql: &str, params: impl Params) -> Rows<Vec<Schedule>> {
    let read = |row: &Row<'_>| -> Rows<Schedule> {
        let schedule: Schedule = read_body(row, "schedule", 4)?;
        let what = format!("the schedule `{}`", schedule.id);
        match column::<String>(row, 3, &what)? == wakes(&schedule) {
            true => Ok(schedule),
            false => Err(damaged(&what)),
        }
    };
    db.prepare_cached(sql)?.query_and_then(params, read)?.collect()
}

fn wakes(schedule: &Schedule) -> String {
    schedule.wakes().map_or_else(|| NEVER.to_owned(), text)
}

/// Adds a schedule or replaces the one of the same id.
pub(super) fn put(db: &Connection, schedule: &Schedule) -> Rows<()> {
    let (due, body) = (wakes(schedule), json(schedule)?);
    let sum = seal(&[&schedule.id, &body, &due]);
    db.prepare_cached("INSERT OR REPLACE INTO schedules (id, due, body, sum) VALUES (?1, ?2, ?3, ?4)")?
        .execute([&schedule.id, &due, &body, &sum])?;
    Ok(())
}

/// Removes a schedule. Nobody waits for the ends of its runs any more.
pub(super) fn remove(db: &Connection, id: &str) -> Rows<()> {
    db.prepare_cached("DELETE FROM schedules WHERE id = ?1")?.execute([id])?;
    db.prepare_cached("DELETE FROM scheduled_runs WHERE ended IS NOT NULL AND schedule = ?1")?
        .execute([id])?;
    Ok(())
}

// What became of ticks.

const TICK: &str = "SELECT schedule, body, sum, n FROM ticks";

/// Adds accounts, in order. One that came to the same as the last of its schedule is one with it.
pub(super) fn account(db: &Connection, ticks: &[Tick]) -> Rows<()> {
    for tick in ticks {
        let sql = format!("{TICK} WHERE schedule = ?1 ORDER BY n DESC LIMIT 1");
        let last =
            db.prepare_cached(&sql)?.query_and_then([&tick.schedule], read_tick)?.next().transpose()?;
        let absorbed = last.and_then(|(n, mut last)| last.absorb(tick).then_some((n, last)));
        let body = json(absorbed.as_ref().map_or(tick, |(_, last)| last))?;
        let sum = seal(&[&tick.schedule, &body]);
        match absorbed {
            Some((n, _)) => db
                .prepare_cached("UPDATE ticks SET body = ?2, sum = ?3 WHERE n = ?1")?
                .execute(params![n, body, sum])?,
            None => db
                .prepare_cached("INSERT INTO ticks (schedule, body, sum) VALUES (?1, ?2, ?3)")?
                .execute([&tick.schedule, &body, &sum])?,
        };
    }
    Ok(())
}

/// Returns accounts, the newest first.
pub(super) fn ticks(db: &Connection, filter: &TickFilter) -> Rows<Vec<Tick>> {
    let most = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(-1) };
    let mut found = Vec::new();
    let mut take = |row: Rows<(i64, Tick)>| row.map(|(_, tick)| found.push(tick));
    match &filter.schedule {
        Some(id) => db
            .prepare_cached(&format!("{TICK} WHERE schedule = ?1 ORDER BY n DESC LIMIT ?2"))?
            .query_and_then(params![id, most], read_tick)?
            .try_for_each(&mut take)?,
        None => db
            .prepare_cached(&format!("{TICK} ORDER BY n DESC LIMIT ?1"))?
            .query_and_then([most], read_tick)?
            .try_for_each(&mut take)?,
    }
    Ok(found)
}

/// Takes accounts away that were made before a time, the oldest first. The newest of a schedule stays as long as the schedule.
pub(super) fn prune(db: &Connection, before: Timestamp, limit: usize) -> Rows<usize> {
    let mut statement = db.prepare_cached(&format!(
        "{TICK} WHERE EXISTS (SELECT 1 FROM ticks AS newer WHERE newer.schedule = ticks.schedule AND newer.n > ticks.n)
             OR NOT EXISTS (SELECT 1 FROM schedules WHERE id = ticks.schedule)
         ORDER BY n"
    ))?;
    let mut old = Vec::new();
    for row in statement.query_and_then([], read_tick)? {
        let (n, tick) = row?;
        // They are in the order in which they were made, but for a clock that was set back.
        if old.len() == limit || tick.at >= before {
            break;
        }
        old.push(n);
    }
    let mut remove = db.prepare_cached("DELETE FROM ticks WHERE n = ?1")?;
    for n in &old {
        remove.execute([n])?;
    }
    Ok(old.len())
}

fn read_tick(row: &Row<'_>) -> Rows<(i64, Tick)> {
    Ok((column(row, 3, &"the number of a tick")?, read_body(row, "account of", 3)?))
}

// The runs of schedules.

/// Notes that a schedule has a run, which is asked to stop at a time if there is one.
pub(super) fn follow(db: &Connection, run: &RunId, schedule: &str, until: Option<Timestamp>) -> Rows<()> {
    let until = until.map(text);
    db.prepare_cached(
        "INSERT OR IGNORE INTO scheduled_runs (run, schedule, until, ended, sum) VALUES (?1, ?2, ?3, NULL, ?4)",
    )?
    .execute(params![run.as_str(), schedule, until, seal_run(run.as_str(), schedule, until.as_deref(), None)])?;
    Ok(())
}

/// Notes that a run is over, for the schedule that waits for that. Does nothing when none does.
pub(super) fn ended(db: &Connection, run: &RunId, status: Status) -> Rows<()> {
    let Some((schedule, _)) = followed(db, run)? else { return Ok(()) };
    if find(db, &schedule)?.is_none() {
        return heard(db, run);
    }
    let sum = seal_run(run.as_str(), &schedule, None, Some(status.as_str()));
    db.prepare_cached("UPDATE scheduled_runs SET until = NULL, ended = ?2, sum = ?3 WHERE run = ?1")?
        .execute([run.as_str(), status.as_str(), &sum])?;
    Ok(())
}

/// Forgets a run whose end its schedule has heard of.
pub(super) fn heard(db: &Connection, run: &RunId) -> Rows<()> {
    db.prepare_cached("DELETE FROM scheduled_runs WHERE run = ?1")?.execute([run.as_str()])?;
    Ok(())
}

/// Returns the runs that are over and whose schedule has not heard of it.
pub(super) fn ends(db: &Connection, limit: usize) -> Rows<Vec<ScheduledEnd>> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    db.prepare_cached(&format!("{FOLLOWED} WHERE ended IS NOT NULL ORDER BY run LIMIT ?1"))?
        .query_and_then([most], |row| {
            let (run, schedule, _, ended) = read_followed(row)?;
            let what = format!("the end of run {run}");
            let status = ended.as_deref().and_then(parse_status).ok_or_else(|| damaged(&what))?;
            Ok(ScheduledEnd { run: RunId::from(run), schedule, status })
        })?
        .collect()
}

/// Returns the runs that take longer than their schedules allow, with those.
pub(super) fn overdue(db: &Connection, now: Timestamp) -> Rows<Vec<(RunId, String)>> {
    db.prepare_cached(&format!("{FOLLOWED} WHERE until IS NOT NULL AND until <= ?1 ORDER BY run"))?
        .query_and_then([text(now)], |row| {
            read_followed(row).map(|(run, schedule, ..)| (RunId::from(run), schedule))
        })?
        .collect()
}

/// Notes that a run was asked to stop.
pub(super) fn release(db: &Connection, run: &RunId, schedule: &str) -> Rows<()> {
    db.prepare_cached("UPDATE scheduled_runs SET until = NULL, sum = ?2 WHERE run = ?1")?
        .execute([run.as_str(), &seal_run(run.as_str(), schedule, None, None)])?;
    Ok(())
}

const FOLLOWED: &str = "SELECT run, schedule, until, ended, sum FROM scheduled_runs";

fn followed(db: &Connection, run: &RunId) -> Rows<Option<(String, Option<Timestamp>)>> {
    let mut statement = db.prepare_cached(&format!("{FOLLOWED} WHERE run = ?1"))?;
    let mut rows = statement.query([run.as_str()])?;
    let found = rows.next()?.map(read_followed).transpose()?;
    Ok(found.map(|(_, schedule, until, _)| (schedule, until)))
}

type Followed = (String, String, Option<Timestamp>, Option<String>);

fn read_followed(row: &Row<'_>) -> Rows<Followed> {
    let run: String = column(row, 0, &"a run of a schedule")?;
    let what = format!("the schedule of run {run}");
    let schedule: String = column(row, 1, &what)?;
    let until: Option<String> = column(row, 2, &what)?;
    let ended: Option<String> = column(row, 3, &what)?;
    if column::<String>(row, 4, &what)? != seal_run(&run, &schedule, until.as_deref(), ended.as_deref()) {
        return Err(damaged(&what));
    }
    let until = until.map(|until| parse_time(&until, &what)).transpose()?;
    Ok((run, schedule, until, ended))
}

fn seal_run(run: &str, schedule: &str, until: Option<&str>, ended: Option<&str>) -> String {
    seal(&[run, schedule, until.unwrap_or_default(), ended.unwrap_or_default()])
}
