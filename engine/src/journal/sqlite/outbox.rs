//! The rows of the outbox: who is told, and what is on its way.
//!
//! Owns: every SQL statement over these tables. What a row says lies in its body; the columns beside it are there to be found by,
//! and are under the same sum.

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params};

use super::values::{Rows, column, damaged, json, read_body, seal, signed, text, unsigned};
use crate::journal::OwnerId;
use crate::journal::outbox::{
    Bounds, CameTo, Delivery, DeliveryFilter, DeliveryState, Notification, Subscription, Taking,
};

// Who is told.

/// Says who is told from now on. Returns who is not any more, and how much waited for each.
pub(super) fn subscribe(db: &Connection, subscriptions: &[Subscription]) -> Rows<Vec<(String, u64)>> {
    let mut gone = Vec::new();
    for before in self::subscriptions(db)? {
        if !subscriptions.iter().any(|one| one.receiver == before.receiver) {
            let waiting = count(db, &before.receiver, DeliveryState::Waiting)?;
            db.prepare_cached("DELETE FROM deliveries WHERE receiver = ?1")?.execute([&before.receiver])?;
            db.prepare_cached("DELETE FROM subscriptions WHERE receiver = ?1")?
                .execute([&before.receiver])?;
            gone.push((before.receiver, waiting));
        }
    }
    for one in subscriptions {
        let body = json(one)?;
        db.prepare_cached("INSERT OR REPLACE INTO subscriptions (receiver, body, sum) VALUES (?1, ?2, ?3)")?
            .execute([&one.receiver, &body, &seal(&[&one.receiver, &body])])?;
    }
    Ok(gone)
}

/// Returns who is told, in the order of names.
pub(super) fn subscriptions(db: &Connection) -> Rows<Vec<Subscription>> {
    db.prepare_cached("SELECT receiver, body, sum FROM subscriptions ORDER BY receiver")?
        .query_and_then([], |row| read_body(row, "subscription", 3))?
        .collect()
}

// What is on its way.

const DELIVERY: &str = "SELECT id, body, sum, receiver, state, due, taken, settled, n FROM deliveries";

/// Adds a delivery for each receiver that is told. Returns how many were not there yet.
pub(super) fn notify(db: &Connection, notifications: &[Notification]) -> Rows<usize> {
    let mut told = 0;
    if notifications.is_empty() {
        return Ok(told);
    }
    for subscription in subscriptions(db)? {
        for notification in notifications.iter().filter(|one| subscription.fits(one)) {
            let delivery = Delivery::new(&subscription.receiver, notification);
            let Columns { body, state, due, taken, settled, sum } = Columns::of(&delivery)?;
            told += db
                .prepare_cached(
                    "INSERT INTO deliveries (id, receiver, state, due, taken, settled, body, sum)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (receiver, id) DO NOTHING",
                )?
                .execute(params![
                    notification.id,
                    delivery.receiver,
                    state,
                    due,
                    taken,
                    settled,
                    body,
                    sum
                ])?;
        }
    }
    Ok(told)
}

/// Takes the delivery to a receiver that is due for the longest.
pub(super) fn take(db: &Connection, taking: &Taking) -> Rows<Option<Delivery>> {
    let Some((n, due)) = due(db, taking)? else { return Ok(None) };
    let taken = due.take(taking);
    put(db, n, &taken)?;
    Ok(Some(taken))
}

/// Returns the delivery to a receiver that is due for the longest.
pub(super) fn due(db: &Connection, taking: &Taking) -> Rows<Option<(i64, Delivery)>> {
    let sql =
        format!("{DELIVERY} WHERE receiver = ?1 AND due IS NOT NULL AND due <= ?2 ORDER BY due, n LIMIT 1");
    Ok(read(db, &sql, params![taking.receiver, text(taking.at)])?.pop())
}

/// Writes down what came of a delivery. Returns whether that still said something.
pub(super) fn settle(db: &Connection, taken: &Delivery, came_to: &CameTo, at: Timestamp) -> Rows<bool> {
    let sql = format!("{DELIVERY} WHERE receiver = ?1 AND id = ?2");
    let found = read(db, &sql, params![taken.receiver, taken.notification.id])?.pop();
    let settled = found.and_then(|(n, row)| Some((n, row.settle(taken.attempts, came_to, at)?)));
    match &settled {
        Some((n, row)) => put(db, *n, row).map(|()| true),
        None => Ok(false),
    }
}

/// Makes due at once what processes had under way that are gone.
pub(super) fn put_back(db: &Connection, gone: &[OwnerId]) -> Rows<()> {
    for owner in gone {
        let sql = format!("{DELIVERY} WHERE taken = ?1");
        for (n, row) in read(db, &sql, params![owner.as_str()])? {
            let attempts = row.attempts;
            if let Some(row) = row.settle(attempts, &CameTo::PutBack, Timestamp::UNIX_EPOCH) {
                put(db, n, &row)?;
            }
        }
    }
    Ok(())
}

/// Returns when the next delivery to a receiver is due.
pub(super) fn next(db: &Connection, receiver: &str) -> Rows<Option<Timestamp>> {
    let sql = format!("{DELIVERY} WHERE receiver = ?1 AND due IS NOT NULL ORDER BY due, n LIMIT 1");
    Ok(read(db, &sql, params![receiver])?.pop().and_then(|(_, row)| row.due))
}

/// Returns deliveries, the newest first.
pub(super) fn list(db: &Connection, filter: &DeliveryFilter) -> Rows<Vec<Delivery>> {
    let most = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(-1) };
    let state = filter.state.map(DeliveryState::as_str);
    let (by, params): (&str, [Option<&str>; 2]) = match (&filter.receiver, state) {
        (None, None) => ("?1 IS NULL AND ?2 IS NULL", [None, None]),
        (Some(receiver), None) => ("receiver = ?1 AND ?2 IS NULL", [Some(receiver), None]),
        (None, Some(state)) => ("?1 IS NULL AND state = ?2", [None, Some(state)]),
        (Some(receiver), Some(state)) => ("receiver = ?1 AND state = ?2", [Some(receiver), Some(state)]),
    };
    let sql = format!("{DELIVERY} WHERE {by} ORDER BY n DESC LIMIT ?3");
    Ok(read(db, &sql, params![params[0], params[1], most])?.into_iter().map(|(_, row)| row).collect())
}

/// Returns how many deliveries to each receiver are in each state.
pub(super) fn tally(db: &Connection) -> Rows<Vec<(String, DeliveryState, u64)>> {
    let what = "the count of deliveries";
    db.prepare_cached(
        "SELECT receiver, state, count(*) FROM deliveries GROUP BY receiver, state ORDER BY receiver, state",
    )?
    .query_and_then([], |row| {
        let state = parse_state(&column::<String>(row, 1, &what)?).ok_or_else(|| damaged(&what))?;
        Ok((column(row, 0, &what)?, state, unsigned(column(row, 2, &what)?, &what)?))
    })?
    .collect()
}

/// Keeps what is kept for a receiver within bounds. Returns how many were given up for it.
pub(super) fn bound(db: &Connection, receiver: &str, bounds: &Bounds, at: Timestamp) -> Rows<u64> {
    let offset = signed(bounds.waiting as u64)?;
    let sql =
        format!("{DELIVERY} WHERE receiver = ?1 AND state = 'waiting' ORDER BY n DESC LIMIT -1 OFFSET ?2");
    let crowd = read(db, &sql, params![receiver, offset])?;
    let given_up = crowd.len() as u64;
    for (n, row) in crowd {
        put(db, n, &row.crowded_out(at))?;
    }
    db.prepare_cached(
        "DELETE FROM deliveries WHERE receiver = ?1 AND settled IS NOT NULL AND (settled < ?2 OR n NOT IN
            (SELECT n FROM deliveries WHERE receiver = ?1 AND settled IS NOT NULL ORDER BY n DESC LIMIT ?3))",
    )?
    .execute(params![receiver, text(bounds.before), signed(bounds.settled as u64)?])?;
    Ok(given_up)
}

/// Returns whether bounds leave everything as it is.
pub(super) fn is_within(db: &Connection, receiver: &str, bounds: &Bounds) -> Rows<bool> {
    let oldest: Option<String> = db
        .prepare_cached("SELECT min(settled) FROM deliveries WHERE receiver = ?1 AND settled IS NOT NULL")?
        .query_row([receiver], |row| row.get(0))?;
    let waiting = count(db, receiver, DeliveryState::Waiting)?;
    let settled =
        count(db, receiver, DeliveryState::Delivered)? + count(db, receiver, DeliveryState::GivenUp)?;
    Ok(waiting <= bounds.waiting as u64
        && settled <= bounds.settled as u64
        && oldest.is_none_or(|oldest| oldest >= text(bounds.before)))
}

fn count(db: &Connection, receiver: &str, state: DeliveryState) -> Rows<u64> {
    let count = db
        .prepare_cached("SELECT count(*) FROM deliveries WHERE receiver = ?1 AND state = ?2")?
        .query_row([receiver, state.as_str()], |row| row.get(0))?;
    unsigned(count, &"the count of deliveries")
}

fn put(db: &Connection, n: i64, delivery: &Delivery) -> Rows<()> {
    let Columns { body, state, due, taken, settled, sum } = Columns::of(delivery)?;
    db.prepare_cached(
        "UPDATE deliveries SET state = ?2, due = ?3, taken = ?4, settled = ?5, body = ?6, sum = ?7 WHERE n = ?1",
    )?
    .execute(params![n, state, due, taken, settled, body, sum])?;
    Ok(())
}

fn read(db: &Connection, sql: &str, params: impl Params) -> Rows<Vec<(i64, Delivery)>> {
    db.prepare_cached(sql)?.query_and_then(params, read_row)?.collect()
}

fn read_row(row: &Row<'_>) -> Rows<(i64, Delivery)> {
    let what = "a delivery";
    let body: String = column(row, 1, &what)?;
    let delivery: Delivery = super::values::parse(&body, &what)?;
    let (receiver, state): (String, String) = (column(row, 3, &what)?, column(row, 4, &what)?);
    let [due, taken, settled] = [column(row, 5, &what)?, column(row, 6, &what)?, column(row, 7, &what)?];
    // What is found by its columns is what its body says.
    let found = Columns { body, state: state_of(&state), due, taken, settled, sum: column(row, 2, &what)? };
    let is_sound = found == Columns::of_body(&delivery, found.body.clone())
        && receiver == delivery.receiver
        && column::<String>(row, 0, &what)? == delivery.notification.id;
    if is_sound { Ok((column(row, 8, &what)?, delivery)) } else { Err(damaged(&what)) }
}

/// What a row has beside its names.
#[derive(PartialEq)]
struct Columns {
    body: String,
    state: &'static str,
    due: Option<String>,
    taken: Option<String>,
    settled: Option<String>,
    sum: String,
}

impl Columns {
    fn of(delivery: &Delivery) -> Rows<Self> {
        Ok(Columns::of_body(delivery, json(delivery)?))
    }

    fn of_body(delivery: &Delivery, body: String) -> Self {
        Columns {
            state: delivery.state.as_str(),
            due: delivery.due.map(text),
            taken: delivery.taken.as_ref().map(|owner| owner.as_str().to_owned()),
            settled: delivery.settled.map(text),
            sum: seal(&[&delivery.notification.id, &body]),
            body,
        }
    }
}

fn parse_state(text: &str) -> Option<DeliveryState> {
    DeliveryState::ALL.into_iter().find(|state| state.as_str() == text)
}

fn state_of(text: &str) -> &'static str {
    parse_state(text).map_or("", DeliveryState::as_str)
}
