//! What follows from a command, the same in every journal.
//!
//! Owns: the rules of claims, tenures, births and words. Does not own: where the results are kept.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{ClaimRequest, ExtendRequest, NewRun, OwnerId, Status, Summary, Tenure, fenced};
use crate::error::{Error, Result};
use crate::event::{
    Event, ExtendedLease, GENESIS, Lease, Record, RunId, Schedule, Signal, Tick, fingerprint,
};
use crate::hint::NextStep;

/// Returns the first record and the summary of a new run.
///
/// # Errors
/// `Storage` when its source texts are not those that it pins.
pub(super) fn prepare(run: &NewRun, at: Timestamp) -> Result<(Summary, Record)> {
    let prepared = &run.prepared;
    let pinned = prepared.sources.len() == run.sources.len()
        && prepared
            .sources
            .iter()
            .zip(&run.sources)
            .all(|(pin, source)| pin.name == source.name && pin.fingerprint == fingerprint(&source.text));
    if !pinned {
        return Err(Error::storage(format!(
            "the source texts of run {} are not the ones that it pins",
            run.id
        )));
    }
    let record = Record::follow(GENESIS, 1, at, &Event::Prepared(Box::new(prepared.clone())))?;
    let mut summary = Summary::begin(&run.id, prepared, &record);
    summary.wake = Some(run.wake.unwrap_or(at));
    Ok((summary, record))
}

/// What a claim comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// The run goes to the caller, whose claim makes this record.
    Grant(Record, Tenure),
    /// Another process drives it.
    Held {
        /// Who.
        by: OwnerId,
        /// Until when.
        until: Timestamp,
    },
    /// It has more records than the caller has read.
    Moved,
    /// It waits for others to end.
    Queued,
    /// The run is over.
    Over,
}

/// Decides a claim and, when it is granted, folds it into the summary.
///
/// `heartbeat` is until when the process that drives the run now is known to be alive.
///
/// # Errors
/// `Storage` when the record cannot be made.
pub(super) fn decide_claim(
    summary: &mut Summary,
    heartbeat: Option<Timestamp>,
    request: &ClaimRequest,
) -> Result<Verdict> {
    let ClaimRequest { owner, at, dead, seen, queued, .. } = request;
    if summary.status.is_over() {
        return Ok(Verdict::Over);
    }
    if let (Some(by), Some(until)) = (&summary.owner, heartbeat)
        && by != owner
        && Some(by) != dead.as_ref()
        && *at < until
    {
        return Ok(Verdict::Held { by: by.clone(), until });
    }
    if summary.is_queued() && !queued {
        return Ok(Verdict::Queued);
    }
    if seen.is_some_and(|seen| seen != summary.seq) {
        return Ok(Verdict::Moved);
    }
    let epoch = summary.epoch + 1;
    let claimed = Event::Claimed { owner: owner.as_str().to_owned(), epoch };
    let record = chain(summary, &[claimed], *at)?.remove(0);
    Ok(Verdict::Grant(record, Tenure { run: summary.id.clone(), owner: owner.clone(), epoch }))
}

/// Returns the error of a claim by a process that nobody could tell to be alive.
pub(super) fn no_heartbeat(owner: &OwnerId) -> Error {
    Error::storage(format!("process {} claims a run without ever having had a heartbeat", owner.as_str()))
}

/// Folds events that the holder of a tenure appends into the summary and returns their records.
///
/// # Errors
/// `Stopped` when the tenure is void, `Storage` when an event may not follow. The summary is
/// unchanged then.
pub(super) fn proceed(
    summary: &mut Summary,
    tenure: &Tenure,
    events: &[Event],
    at: Timestamp,
) -> Result<Vec<Record>> {
    if summary.epoch != tenure.epoch || summary.owner.as_ref().is_some_and(|owner| *owner != tenure.owner) {
        return Err(fenced(&tenure.run));
    }
    if events.iter().any(|event| matches!(event, Event::Claimed { .. })) {
        return Err(Error::storage(format!("run {} is claimed by a claim, not by an append", tenure.run)));
    }
    chain(summary, events, at)
}

/// Takes the words into account that wait for a run: one that is parked and hears one is due at once, and so is one in the queue.
pub(super) fn wake_for<'a>(
    summary: &mut Summary,
    mut waiting: impl Iterator<Item = &'a Signal>,
    at: Timestamp,
) {
    let park = summary.park.as_ref();
    let rests = summary.status == Status::Parked || summary.is_queued();
    if rests && waiting.any(|word| park.is_none_or(|park| park.hears(word))) {
        summary.wake = Some(summary.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// Returns which of the waiting words an event consumes, if it does.
pub(super) fn consumed<'a>(event: &Event, mut waiting: impl Iterator<Item = &'a Signal>) -> Option<usize> {
    match event {
        Event::Signalled { signal } => waiting.position(|word| word == signal),
        _ => None,
    }
}

/// Returns which other run an event of a run is news for, and the news.
pub(super) fn told<'a>(run: &RunId, event: &'a Event) -> Option<(&'a RunId, Signal)> {
    match event {
        Event::Finished { parent: Some(parent), .. } => {
            Some((parent, Signal::ChildEnded { run: run.clone() }))
        }
        _ => None,
    }
}

/// Returns what a schedule is once a step makes it that may be there already: what the engine noted about it stays.
pub(super) fn scheduled(before: Option<Schedule>, made: &Schedule) -> Schedule {
    let standing = before.map_or_else(|| made.standing.clone(), |before| before.standing);
    Schedule { standing, ..made.clone() }
}

/// Returns the accounts of what still waits when a step removes its schedule.
pub(super) fn unscheduled(before: &Schedule, at: Timestamp) -> Vec<Tick> {
    before.leave("the schedule was removed", at)
}

/// Returns the word that asks a run to stop which takes longer than its schedule allows.
pub(super) fn overdue(schedule: &str) -> Signal {
    Signal::Stop { by: format!("the schedule {schedule}, as it took too long") }
}

/// Moves the deadline of a lease and what is there to close it, if the lease is as whoever asks has read it.
///
/// `schedules` are those that say that they close it; those that move are changed.
pub(super) fn extend<'a>(
    lease: &Lease,
    schedules: impl Iterator<Item = &'a mut Schedule>,
    request: &ExtendRequest,
) -> Option<ExtendedLease> {
    if lease.deadline != request.from || request.to <= request.from {
        return None;
    }
    let later = Lease { deadline: request.to, ..lease.clone() };
    let mut extended = ExtendedLease::new(later, request.from, &request.by, request.at);
    // One that repeats has times of its own.
    for schedule in schedules.filter(|one| one.repeats.is_none() && one.due < request.to) {
        schedule.due = request.to;
        extended.schedules.push(schedule.id.clone());
    }
    Some(extended)
}

/// Returns whether a run is created as far as the lease counts for which it is. `deadline` is the one that this
/// lease has, when it is open.
pub(super) fn is_wanted(run: &NewRun, deadline: impl FnOnce(&str) -> Option<Timestamp>) -> bool {
    run.due_lease.as_ref().is_none_or(|(lease, due)| deadline(lease) == Some(*due))
}

/// What is needed of runs that are over, besides by the runs that they have to do with.
pub(super) struct Needs {
    runs: HashSet<RunId>,
    /// The texts by which schedules go.
    texts: HashSet<String>,
}

impl Needs {
    /// `is_there` says whether there is a run of an id.
    pub(super) fn of<E>(
        leases: &[Lease],
        schedules: &[Schedule],
        mut is_there: impl FnMut(&RunId) -> Result<bool, E>,
    ) -> Result<Needs, E> {
        // What made it, and what it has started and not heard the end of.
        let makers =
            schedules.iter().flat_map(|schedule| schedule.run.iter().chain(&schedule.standing.open).cloned());
        let mut runs: HashSet<RunId> = leases.iter().map(|lease| lease.run.clone()).chain(makers).collect();
        // The number of the next closing follows from those before it.
        for first in leases {
            for closing in first.closings() {
                if !is_there(&closing)? {
                    break;
                }
                runs.insert(closing);
            }
        }
        let pins = schedules.iter().flat_map(|schedule| &schedule.pins);
        Ok(Needs { runs, texts: pins.map(|pin| pin.fingerprint.clone()).collect() })
    }

    pub(super) fn has(&self, run: &RunId) -> bool {
        self.runs.contains(run)
    }

    pub(super) fn has_text(&self, fingerprint: &str) -> bool {
        self.texts.contains(fingerprint)
    }
}

/// Returns the error of an event whose text is not kept.
pub(super) fn not_kept(run: &RunId, fingerprint: &str) -> Error {
    Error::storage(format!("run {run} names the text {fingerprint}, which is not kept"))
}

/// Returns the error of a word to a run that is over.
pub(super) fn already_over(run: &RunId, status: Status) -> Error {
    Error::invalid(format!("run `{run}` is over: it has {}", status.as_str()))
        .hint(NextStep::ShowRun { run: run.clone() })
}

fn chain(summary: &mut Summary, events: &[Event], at: Timestamp) -> Result<Vec<Record>> {
    // What does not follow leaves the summary as it is, so that one event needs no copy to go back to.
    if let [event] = events {
        let record = Record::follow(&summary.hash, summary.seq + 1, at, event)?;
        summary.apply(event, &record)?;
        return Ok(vec![record]);
    }
    let mut next = summary.clone();
    let mut records = Vec::with_capacity(events.len());
    for event in events {
        let record = Record::follow(&next.hash, next.seq + 1, at, event)?;
        next.apply(event, &record)?;
        records.push(record);
    }
    *summary = next;
    Ok(records)
}
