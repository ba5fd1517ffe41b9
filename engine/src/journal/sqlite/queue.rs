//! The queue as it is shown: who waits, for what, and for whom.

use rusqlite::Connection;

use super::values::Rows;
use super::{places, runs};
use crate::event::RunId;
use crate::journal::{Full, Queued};

/// Returns the queue, in the order in which the runs came.
pub(super) fn queue(db: &Connection) -> Rows<Vec<Queued>> {
    let id = |n| -> Rows<RunId> { Ok(runs::numbered(db, n)?.summary.id) };
    let mut places = places::places(db);
    let mut queue = Vec::new();
    for (n, limits) in places::waiting(db)? {
        let mut full = Vec::new();
        for limit in places.full(&limits)? {
            let by = places::holders(db, &limit.group)?.into_iter().map(id).collect::<Rows<_>>()?;
            full.push(Full::new(limit.clone(), by));
        }
        queue.push(Queued::new(runs::numbered(db, n)?.summary, full));
    }
    Ok(queue)
}
