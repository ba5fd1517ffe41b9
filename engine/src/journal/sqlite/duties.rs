//! The rows of leases: what is to be closed.
//!
//! Owns: every SQL statement over their tables. The columns beside the body are there to be searched;
//! they are under the sum, and follow from the body.

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params};

use super::values::{Rows, column, damaged, json, read_body, seal, text};
use super::{rows, schedules};
use crate::event::{ExtendedLease, ForgottenLease, Lease};
use crate::journal::{ExtendRequest, LeaseFilter, derive};

const LEASE: &str = "SELECT id, body, sum, deadline, subject, door FROM leases";

/// Returns the open leases, the first deadline first.
pub(super) fn leases(db: &Connection) -> Rows<Vec<Lease>> {
    read_leases(db, &format!("{LEASE} ORDER BY deadline, id"), [])
}

/// Returns the open leases that a filter means, the first deadline first.
pub(super) fn leases_where(db: &Connection, filter: &LeaseFilter) -> Rows<Vec<Lease>> {
    let (column, value) = match filter {
        LeaseFilter::Due(now) => ("deadline <=", text(*now)),
        LeaseFilter::Id(id) => ("id =", id.clone()),
        LeaseFilter::Subject(subject) => ("subject =", subject.to_ascii_lowercase()),
        LeaseFilter::Door(door) => ("door =", door.to_ascii_lowercase()),
    };
    read_leases(db, &format!("{LEASE} WHERE {column} ?1 ORDER BY deadline, id"), [value])
}

fn read_leases(db: &Connection, sql: &str, params: impl Params) -> Rows<Vec<Lease>> {
    let read = |row: &Row<'_>| -> Rows<Lease> {
        let lease: Lease = read_body(row, "lease", 6)?;
        let [deadline, subject, door] = lease_columns(&lease);
        let what = format!("the lease `{}`", lease.id);
        for (n, expected) in [(3, deadline), (4, subject), (5, door)] {
            if column::<String>(row, n, &what)? != expected {
                return Err(damaged(&what));
            }
        }
        Ok(lease)
    };
    db.prepare_cached(sql)?.query_and_then(params, read)?.collect()
}

/// Returns the deadline of a lease, if it is open.
pub(super) fn deadline(db: &Connection, id: &str) -> Rows<Option<Timestamp>> {
    Ok(leases_where(db, &LeaseFilter::Id(id.to_owned()))?.pop().map(|lease| lease.deadline))
}

/// Opens a lease, or replaces the terms of the one of the same id.
pub(super) fn put_lease(db: &Connection, lease: &Lease) -> Rows<()> {
    let body = json(lease)?;
    let [deadline, subject, door] = lease_columns(lease);
    let sum = seal(&[&lease.id, &body, &deadline, &subject, &door]);
    db.prepare_cached(
        "INSERT OR REPLACE INTO leases (id, deadline, subject, door, body, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![lease.id, deadline, subject, door, body, sum])?;
    Ok(())
}

fn lease_columns(lease: &Lease) -> [String; 3] {
    [text(lease.deadline), lease.subject.to_ascii_lowercase(), lease.door.to_ascii_lowercase()]
}

/// Ends a lease. Returns whether there was one.
pub(super) fn remove_lease(db: &Connection, id: &str) -> Rows<bool> {
    Ok(db.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute([id])? > 0)
}

/// Takes a lease off the list and keeps who did so and why. Returns whether there was one.
pub(super) fn forget_lease(db: &Connection, id: &str, by: &str, because: &str, at: Timestamp) -> Rows<bool> {
    let Some(lease) = leases_where(db, &LeaseFilter::Id(id.to_owned()))?.pop() else {
        return Ok(false);
    };
    let forgotten = ForgottenLease { lease, by: by.to_owned(), because: because.to_owned(), at };
    let body = json(&forgotten)?;
    db.prepare_cached("INSERT INTO forgotten_leases (id, body, sum) VALUES (?1, ?2, ?3)")?.execute([
        id,
        &body,
        &seal(&[id, &body]),
    ])?;
    remove_lease(db, id)
}

/// Returns the leases that were forgotten, the last one first.
pub(super) fn forgotten_leases(db: &Connection) -> Rows<Vec<ForgottenLease>> {
    db.prepare_cached("SELECT id, body, sum FROM forgotten_leases ORDER BY n DESC")?
        .query_and_then([], |row| read_body(row, "forgotten lease", 3))?
        .collect()
}

/// Moves the deadline of a lease, and what is there to close it. Does nothing when the lease is not as it was read.
pub(super) fn extend_lease(db: &Connection, request: &ExtendRequest) -> Rows<Option<ExtendedLease>> {
    let Some(lease) = leases_where(db, &LeaseFilter::Id(request.lease.clone()))?.pop() else {
        return Ok(None);
    };
    if rows::has_run(db, &request.unless)? {
        return Ok(None);
    }
    let mut schedules = schedules::all(db)?;
    let closing = schedules.iter_mut().filter(|one| one.closes.as_ref() == Some(&request.lease));
    let Some(extended) = derive::extend(&lease, closing, request) else { return Ok(None) };
    put_lease(db, &extended.lease)?;
    for moved in schedules.iter().filter(|one| extended.schedules.contains(&one.id)) {
        schedules::put(db, moved)?;
    }
    let body = json(&extended)?;
    db.prepare_cached("INSERT INTO extended_leases (id, body, sum) VALUES (?1, ?2, ?3)")?.execute([
        &request.lease,
        &body,
        &seal(&[&request.lease, &body]),
    ])?;
    Ok(Some(extended))
}

/// Returns the deadlines that were moved, the last one first.
pub(super) fn extended_leases(db: &Connection) -> Rows<Vec<ExtendedLease>> {
    db.prepare_cached("SELECT id, body, sum FROM extended_leases ORDER BY n DESC")?
        .query_and_then([], |row| read_body(row, "extended lease", 3))?
        .collect()
}
