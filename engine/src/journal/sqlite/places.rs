//! The rows of the places that runs have or want.
//!
//! Owns: every SQL statement over their table. Does not own: what is said of the queue ([`queue`](super::queue)). A run has as many rows as groups, all with the same `held` and `delay`. The number of a
//! run grows with every new one, so that its order is the order in which they came.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use rusqlite::{Connection, Row, params};

use super::values::{Rows, column, damaged, json, seal};
use crate::journal::queue::{NAMED, Places};
use crate::journal::{ConcurrencyLimit, NewRun};

/// A row.
struct Place {
    limit: ConcurrencyLimit,
    held: bool,
    /// How long after the run has its places it wakes by itself, in seconds.
    delay: i64,
}

/// Returns whether a new run has its places at once.
pub(super) fn has_room(db: &Connection, run: &NewRun) -> Rows<bool> {
    Ok(run.at_once || run.limits.is_empty() || places(db).full(&run.limits)?.is_empty())
}

/// Notes the places of a new run, or that it waits for them.
pub(super) fn enter(db: &Connection, n: i64, run: &NewRun, held: bool, delay: SignedDuration) -> Rows<()> {
    for limit in &run.limits {
        put(db, n, &Place { limit: limit.clone(), held, delay: delay.as_secs() })?;
    }
    Ok(())
}

/// Notes that a run is under way, whether or not it was its turn.
pub(super) fn hold(db: &Connection, n: i64) -> Rows<()> {
    for place in of(db, n)?.into_iter().filter(|place| !place.held) {
        put(db, n, &Place { held: true, ..place })?;
    }
    Ok(())
}

/// Gives back the places of a run that is over, to those who are next. Returns their numbers, and after which time each wakes by itself.
pub(super) fn leave(db: &Connection, n: i64) -> Rows<Vec<(i64, SignedDuration)>> {
    let given_back = of(db, n)?;
    if given_back.is_empty() {
        return Ok(Vec::new());
    }
    db.prepare_cached("DELETE FROM places WHERE run = ?1")?.execute([n])?;
    if !given_back.iter().any(|place| place.held) {
        return Ok(Vec::new());
    }
    let groups: BTreeSet<String> = given_back.into_iter().map(|place| place.limit.group).collect();
    let mut statement = db.prepare_cached(
        "SELECT DISTINCT run FROM places WHERE held = 0 AND name IN (SELECT value FROM json_each(?1)) ORDER BY run",
    )?;
    let queue = statement.query_and_then([json(&groups)?], |row| {
        let n: i64 = column(row, 0, &"the queue")?;
        Ok((n, of(db, n)?.into_iter().map(|place| place.limit).collect()))
    })?;
    let mut next = Vec::new();
    for n in places(db).next(groups.clone(), queue)? {
        let delay = of(db, n)?.first().map_or(0, |place| place.delay);
        hold(db, n)?;
        next.push((n, SignedDuration::from_secs(delay)));
    }
    Ok(next)
}

/// Returns the numbers of the runs in the queue, in the order in which they came, each with its groups.
pub(super) fn waiting(db: &Connection) -> Rows<Vec<(i64, Vec<ConcurrencyLimit>)>> {
    let mut statement = db.prepare_cached("SELECT DISTINCT run FROM places WHERE held = 0 ORDER BY run")?;
    let waiting = statement.query_and_then([], |row| column::<i64>(row, 0, &"the queue"))?;
    let groups = waiting.map(|n| {
        let n = n?;
        Ok((n, of(db, n)?.into_iter().map(|place| place.limit).collect()))
    });
    groups.collect()
}

/// Returns the numbers of the runs that have places of a group, in the order in which they came; the first few.
pub(super) fn holders(db: &Connection, group: &str) -> Rows<Vec<i64>> {
    let mut statement =
        db.prepare_cached("SELECT run FROM places WHERE name = ?1 AND held = 1 ORDER BY run LIMIT ?2")?;
    let most = i64::try_from(NAMED).unwrap_or(i64::MAX);
    statement.query_and_then(params![group, most], |row| column(row, 0, &"a place"))?.collect()
}

/// Counts the places that are taken.
pub(super) fn places(db: &Connection) -> Places<impl FnMut(&str) -> Rows<u32>> {
    Places::new(|group: &str| {
        let mut count = db.prepare_cached("SELECT count(*) FROM places WHERE name = ?1 AND held = 1")?;
        Ok(count.query_row([group], |row| row.get(0))?)
    })
}

fn of(db: &Connection, n: i64) -> Rows<Vec<Place>> {
    let mut statement =
        db.prepare_cached("SELECT name, most, held, delay, sum FROM places WHERE run = ?1 ORDER BY name")?;
    statement.query_and_then([n], |row| read(row, n))?.collect()
}

fn read(row: &Row<'_>, n: i64) -> Rows<Place> {
    let what = "a place of a run";
    let (group, most): (String, u32) = (column(row, 0, &what)?, column(row, 1, &what)?);
    let place = Place {
        limit: ConcurrencyLimit::new(group, most),
        held: column(row, 2, &what)?,
        delay: column(row, 3, &what)?,
    };
    if column::<String>(row, 4, &what)? == seal_place(n, &place) { Ok(place) } else { Err(damaged(&what)) }
}

fn put(db: &Connection, n: i64, place: &Place) -> Rows<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO places (run, name, most, held, delay, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        n,
        place.limit.group,
        place.limit.most,
        place.held,
        place.delay,
        seal_place(n, place)
    ])?;
    Ok(())
}

fn seal_place(n: i64, Place { limit, held, delay }: &Place) -> String {
    seal(&[
        &n.to_string(),
        &limit.group,
        &limit.most.to_string(),
        if *held { "1" } else { "0" },
        &delay.to_string(),
    ])
}
