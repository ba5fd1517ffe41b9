//! What is read off the leases and the runs that close them. Changes nothing.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Lease, Park, RunId};
use crate::journal::{Journal, LeaseFilter, Status, Summary};

/// The pause after the first attempt that came to nothing; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// Returns how long a closing waits after it came to nothing for the `times`-th time, from 1.
pub(crate) fn pause(times: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << times.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}

/// Returns the id of the lease that a step opens.
pub(crate) fn id_of(run: &RunId, step: u32) -> String {
    format!("{run}-{step}")
}

/// Makes sure that a step which holds a lease may still open what the lease is about: the lease is there,
/// and nobody closes it.
///
/// To be asked right before the request leaves: a closing, once it is written down, waits only for what is
/// on its way by then.
///
/// # Errors
/// `Unsent` when it may not: the operation is asked again, and sees what became of its lease. `Storage`.
pub(crate) async fn check_wanted(journal: &dyn Journal, lease: &Lease) -> Result<()> {
    let refused = |why: &str| Err(Error::new(ErrorKind::Unsent, format!("{} {why}", lease.title)));
    let on_the_door = journal.leases_where(&LeaseFilter::Door(lease.door.clone())).await?;
    if !on_the_door.iter().any(|open| open.id == lease.id) {
        return refused("was closed meanwhile");
    }
    let Some(first) = first_of(&on_the_door) else { return Ok(()) };
    let closing = last_closing(journal, first).await?;
    if closing.ends(lease, &on_the_door).is_some() { refused("is being closed") } else { Ok(()) }
}

/// Returns whether whoever closes one of two leases on one door ends the other as well.
pub(crate) fn end_together(one: &Lease, other: &Lease) -> bool {
    one.subject.eq_ignore_ascii_case(&other.subject)
}

/// Returns what the runs that close a lease are called, where others are called after their runbook.
pub(crate) fn closing_of(lease: &str) -> String {
    format!("close/{lease}")
}

pub(crate) fn first_of(leases: &[Lease]) -> Option<&Lease> {
    leases.iter().min_by(|a, b| (a.opened, &a.id).cmp(&(b.opened, &b.id)))
}

/// Returns the last run that closed the door of `first`, the first lease on it.
pub(crate) async fn last_closing(journal: &dyn Journal, first: &Lease) -> Result<LastClosing> {
    let mut last = LastClosing { run: None, failed: 0, next: RunId::from("") };
    for id in first.closings() {
        last.next = id;
        let Some(run) = journal.run(&last.next).await? else { break };
        last.failed += u32::from(run.status != Status::Succeeded);
        let is_the_last = !is_over(&run);
        last.run = Some(run);
        if is_the_last {
            break;
        }
    }
    Ok(last)
}

/// The last of the runs that closed one door.
pub(crate) struct LastClosing {
    pub(crate) run: Option<Summary>,
    /// How many of them closed nothing.
    pub(crate) failed: u32,
    /// The id of the next.
    pub(crate) next: RunId,
}

impl LastClosing {
    /// Returns the run, if it is under way and ends this lease, which is one of those on the door.
    pub(crate) fn ends(&self, lease: &Lease, on_the_door: &[Lease]) -> Option<&RunId> {
        let run = self.run.as_ref().filter(|run| !is_over(run))?;
        let own = |open: &&Lease| run.runbook == closing_of(&open.id);
        let closed = on_the_door.iter().find(own)?;
        end_together(closed, lease).then_some(&run.id)
    }
}

/// Returns whether a closing run does nothing more. One that met a record which it does not understand
/// never will: the next takes its place.
pub(crate) fn is_over(run: &Summary) -> bool {
    run.status.is_over() || matches!(run.park, Some(Park::Halted { .. } | Park::Mistake { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_quarter_of_an_hour() {
        let pauses: Vec<u64> = (0..8).chain([1000]).map(|times| pause(times).as_secs()).collect();
        assert_eq!(pauses, [30, 30, 60, 120, 240, 480, 900, 900, 900]);
    }
}
