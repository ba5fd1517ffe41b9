//! Taking runs away that are over: their rows, and the texts that nobody names any more.
//!
//! Owns: what is needed of them, and what else goes with them. Does not own: how long runs are kept.
//!
//! Which texts a run names stands in `uses`, written with the record that names them. A text goes with the last of those
//! who name it, in one transaction with it; an append that names a text which is gone is refused.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::runs::{self, IS_OVER, IS_WHOLE, RUN, Stored};
use super::values::{Rows, column, text};
use super::{duties, log, rows, schedules};
use crate::event::RunId;
use crate::journal::derive::Needs;
use crate::journal::{PruneFilter, Summary};

/// How many pages are given back to the file system after some runs were taken away; the others are used again.
const GIVEN_BACK: u32 = 4096;

/// Returns runs that are over and that nobody needs, the oldest first.
pub(super) fn prunable(db: &Connection, filter: &PruneFilter) -> Rows<Vec<Summary>> {
    let mut conditions = vec![IS_WHOLE, IS_OVER];
    let mut values: Vec<Value> = Vec::new();
    if let Some(runbook) = &filter.runbook {
        conditions.push("runbook = ?");
        values.push(runbook.clone().into());
    }
    if filter.keep > 0 {
        let Some((created, id)) = oldest_kept(db, &conditions, &values, filter.keep)? else {
            return Ok(Vec::new());
        };
        conditions.push("(created, id) < (?, ?)");
        values.extend([created.into(), id.into()]);
    }
    if let Some(before) = filter.before {
        // What ended before began before: an index leads to those.
        conditions.push("created < ?");
        conditions.push("(second, nanosecond) < (?, ?)");
        let (second, nanosecond) = (before.as_second(), before.subsec_nanosecond());
        values.extend([text(before).into(), second.into(), nanosecond.into()]);
    }
    if let Some((created, id)) = &filter.after {
        conditions.push("(created, id) > (?, ?)");
        values.extend([text(*created).into(), id.to_string().into()]);
    }
    let needs = needs(db)?;
    let mut statement =
        db.prepare_cached(&format!("{RUN} WHERE {} ORDER BY created, id", conditions.join(" AND ")))?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let Stored { summary, .. } = runs::read(row)?;
        if !is_needed(db, &needs, &summary)? {
            found.push(summary);
        }
        if filter.limit > 0 && found.len() == filter.limit {
            break;
        }
    }
    Ok(found)
}

/// Returns the oldest of the newest runs that are kept; nothing when there are no more than those.
fn oldest_kept(
    db: &Connection,
    conditions: &[&str],
    values: &[Value],
    keep: usize,
) -> Rows<Option<(String, String)>> {
    let skipped = i64::try_from(keep).unwrap_or(i64::MAX).saturating_sub(1);
    let mut statement = db.prepare_cached(&format!(
        "SELECT created, id FROM runs WHERE {} ORDER BY created DESC, id DESC LIMIT 1 OFFSET {skipped}",
        conditions.join(" AND ")
    ))?;
    let mut rows = statement.query(params_from_iter(values))?;
    let what = "the newest runs";
    rows.next()?.map(|row| Ok((column(row, 0, &what)?, column(row, 1, &what)?))).transpose()
}

/// Takes runs away. Returns which.
pub(super) fn prune(db: &Connection, ids: &[RunId], at: Timestamp) -> Rows<Vec<RunId>> {
    let needs = needs(db)?;
    let mut gone = Vec::new();
    for id in ids {
        let Some(Stored { summary, .. }) = runs::find(db, id)? else { continue };
        if id.is_branch() || !summary.status.is_over() || is_needed(db, &needs, &summary)? {
            continue;
        }
        // Behind a dot come its branches; the next letter is a slash.
        let branches = db
            .prepare_cached("SELECT id FROM runs WHERE id > ?1 || '.' AND id < ?1 || '/'")?
            .query_and_then([id.as_str()], |row| column::<String>(row, 0, &"a branch").map(RunId::from))?
            .collect::<Rows<Vec<RunId>>>()?;
        for run in branches.iter().chain([id]) {
            remove(db, &needs, run)?;
        }
        db.prepare_cached("INSERT OR REPLACE INTO pruned (id, at) VALUES (?1, ?2)")?
            .execute([id.as_str(), &text(at)])?;
        gone.push(id.clone());
    }
    Ok(gone)
}

fn remove(db: &Connection, needs: &Needs, id: &RunId) -> Rows<()> {
    let Stored { place, .. } = runs::known(db, id)?;
    let named = db
        .prepare_cached("SELECT fingerprint FROM uses WHERE run = ?1")?
        .query_and_then([place.run], |row| column(row, 0, &"the texts of a run"))?
        .collect::<Rows<Vec<String>>>()?;
    db.prepare_cached("DELETE FROM uses WHERE run = ?1")?.execute([place.run])?;
    for print in named.into_iter().filter(|print| !needs.has_text(print)) {
        db.prepare_cached(
            "DELETE FROM texts WHERE fingerprint = ?1 AND NOT EXISTS (SELECT 1 FROM uses WHERE fingerprint = ?1)",
        )?
        .execute([print])?;
    }
    log::remove(db, place.last)?;
    db.prepare_cached("DELETE FROM signals WHERE run = ?1")?.execute([id.as_str()])?;
    db.prepare_cached("DELETE FROM labels WHERE run = ?1")?.execute([place.run])?;
    db.prepare_cached("DELETE FROM heads WHERE run = ?1")?.execute([place.run])?;
    db.prepare_cached("DELETE FROM runs WHERE n = ?1")?.execute([place.run])?;
    Ok(())
}

/// Gives pages that nothing uses any more back to the file system.
pub(super) fn give_back(db: &Connection) -> Rows<()> {
    let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({GIVEN_BACK})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn needs(db: &Connection) -> Rows<Needs> {
    let (leases, schedules) = (duties::leases(db)?, schedules::all(db)?);
    Needs::of(&leases, &schedules, |run| rows::has_run(db, run))
}

/// Returns whether something needs a run that is over: what is open or due needs it or one that came from it, one that came
/// from it is not over, or one from which it came, however far.
fn is_needed(db: &Connection, needs: &Needs, run: &Summary) -> Rows<bool> {
    let mut below = db.prepare_cached(
        "WITH RECURSIVE below (id) AS (VALUES (?1) UNION
            SELECT runs.id FROM below JOIN runs ON runs.came_from = below.id)
         SELECT runs.id, ended IS NULL FROM below JOIN runs ON runs.id = below.id",
    )?;
    let mut rows = below.query([run.id.as_str()])?;
    while let Some(row) = rows.next()? {
        let id = RunId::from(column::<String>(row, 0, &"the name of a run")?);
        if column(row, 1, &"the state of a run")? || needs.has(&id) {
            return Ok(true);
        }
    }
    let Some(from) = &run.came_from else { return Ok(false) };
    let is_open_above = db
        .prepare_cached(
            "WITH RECURSIVE above (id) AS (VALUES (?1) UNION
                SELECT came_from FROM above JOIN runs ON runs.id = above.id WHERE came_from IS NOT NULL)
             SELECT EXISTS (SELECT 1 FROM above JOIN runs ON runs.id = above.id WHERE ended IS NULL)",
        )?
        .query_row([from.as_str()], |row| row.get(0))?;
    Ok(is_open_above)
}

/// Notes of every run where it came from and which texts it names, as its records say. For a database of a version that
/// did not. What cannot be read is left as it is.
pub(super) fn trace_all(db: &Connection) -> Rows<()> {
    let mut statement = db.prepare(&format!("{RUN} ORDER BY n"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Ok(Stored { mut summary, place }) = runs::read(row) else { continue };
        if let Ok(prepared) = log::preparation(db, &summary.id, place.first) {
            for pin in &prepared.sources {
                log::note_use(db, place.run, &pin.fingerprint)?;
            }
            summary.came_from = prepared.came_from();
            if summary.came_from.is_some() {
                runs::set_origin(db, place, &summary)?;
            }
        }
        for record in log::tail(db, &summary.id, place.run, place.last, 1).unwrap_or_default() {
            if let Some(print) = record.event().ok().as_ref().and_then(|event| event.text()) {
                log::note_use(db, place.run, print)?;
            }
        }
    }
    Ok(())
}
