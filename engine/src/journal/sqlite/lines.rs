//! The runs that are driven through this journal, each as it will be when everything in line is written.
//!
//! Owns: numbering records ahead of the disk, and folding the appends to one run that no one has
//! written yet into one write. Does not own: who commits it, and when (`writer`).
//!
//! ```text
//! append:  | end 1  start 2 |  end 2 ...      one batch, one UPDATE of the run's row
//!          |  Soon    Now   |
//! job:     put ---> pressed, taken by the writer: what is appended from now on is the next batch
//! ```
//!
//! What is folded falls together; a record never stood without those before it anyway.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::lock;
use super::runs::{self, Place, Stored};
use super::schema::Site;
use super::writer::{Job, Work, Writer, again, outcome};
use crate::error::{Error, Failure, Result};
use crate::event::{Event, Record, RunId};
use crate::journal::{Appended, Status, Summary, Sync, Tenure, derive};

/// What is known about the runs that are driven through this journal.
#[derive(Default)]
pub(super) struct Lines {
    known: Mutex<HashMap<RunId, Arc<Mutex<Line>>>>,
    /// Appends that were answered before they were written.
    ahead: AtomicUsize,
}

/// One run.
pub(super) struct Line {
    /// The run as it will be when everything that a writer has taken is written.
    before: Arc<Summary>,
    /// The run as it will be when everything in line is written.
    after: Arc<Summary>,
    /// Where its rows are, when everything that a writer has taken is written.
    place: Place,
    /// What leads from one to the other, if its job is still to be taken.
    next: Option<Batch>,
    /// Whether a word was waiting at the last write.
    signalled: bool,
    /// Why nothing more can follow, and after which record.
    failed: Option<(u64, Failure)>,
}

/// Appends that are written as one.
#[derive(Default)]
struct Batch {
    /// Those from which more follows than a record.
    events: Vec<Event>,
    records: Vec<Record>,
    /// Who waits.
    answers: Vec<oneshot::Sender<Result<bool>>>,
    /// How many do not.
    ahead: usize,
}

impl Line {
    /// Notes that what follows a record could not be written, and returns after which record that
    /// happened first.
    fn fail(&mut self, after: u64, error: &Error) -> u64 {
        self.failed.get_or_insert_with(|| (after, error.to_failure())).0
    }
}

impl Lines {
    /// Returns the line of a tenure that was claimed through this journal.
    pub(super) fn of(&self, tenure: &Tenure) -> Option<Arc<Mutex<Line>>> {
        let line = lock(&self.known).get(&tenure.run)?.clone();
        let ours = lock(&line).after.epoch == tenure.epoch;
        ours.then_some(line)
    }

    /// Starts the line of a run anew from what was just written.
    pub(super) fn follow(&self, run: &Stored, signalled: bool) {
        let Stored { summary, place } = run;
        let mut known = lock(&self.known);
        if summary.status == Status::Running {
            let summary = Arc::new(summary.clone());
            let (before, after) = (summary.clone(), summary);
            let line = Line { before, after, place: *place, next: None, signalled, failed: None };
            known.insert(line.after.id.clone(), Arc::new(Mutex::new(line)));
        } else {
            known.remove(&summary.id);
        }
    }

    /// Returns whether something was answered that is not written yet.
    pub(super) fn are_ahead(&self) -> bool {
        self.ahead.load(Ordering::Acquire) > 0
    }

    /// Drops a line, unless another one has taken its place.
    fn forget(&self, run: &RunId, line: &Arc<Mutex<Line>>) {
        let mut known = lock(&self.known);
        if known.get(run).is_some_and(|known| Arc::ptr_eq(known, line)) {
            known.remove(run);
        }
    }

    /// Appends to a run: the records are made here.
    ///
    /// Returns up to where, and for `Sync::Now` where it will be said whether they are written and a word
    /// waits. A caller whose thread may block has written them by then.
    pub(super) fn append(
        self: &Arc<Self>,
        writer: &Writer,
        line: Arc<Mutex<Line>>,
        tenure: &Tenure,
        events: &[Event],
        at: Timestamp,
        sync: Sync,
    ) -> Result<(Appended, Option<oneshot::Receiver<Result<bool>>>)> {
        // Held until the job is in line: the jobs of a line are in the order of their records.
        let mut known = lock(&line);
        if let Some((_, failure)) = &known.failed {
            return Err(failure.to_error());
        }
        let records = derive::proceed(Arc::make_mut(&mut known.after), tenure, events, at)?;
        let appended = Appended { last: known.after.seq, signalled: known.signalled };
        let fresh = known.next.is_none();
        let batch = known.next.get_or_insert_default();
        batch.events.extend(events.iter().filter(|event| runs::has_consequences(event)).cloned());
        batch.records.extend(records);
        let written = match sync {
            Sync::Now => {
                let (answer, written) = oneshot::channel();
                batch.answers.push(answer);
                Some(written)
            }
            Sync::Soon => {
                batch.ahead += 1;
                self.ahead.fetch_add(1, Ordering::AcqRel);
                None
            }
        };
        if fresh {
            let (line, lines) = (line.clone(), self.clone());
            writer.put(Job::of(Turn { line, lines, taken: None, written: None }));
        }
        drop(known);
        writer.press(sync == Sync::Now);
        Ok((appended, written))
    }
}

/// The job of writing a line's next batch, whatever that is by then.
struct Turn {
    line: Arc<Mutex<Line>>,
    lines: Arc<Lines>,
    taken: Option<Taken>,
    written: Option<Result<bool>>,
}

struct Taken {
    before: Arc<Summary>,
    after: Arc<Summary>,
    place: Place,
    batch: Batch,
}

impl Turn {
    /// Takes the batch; what is appended from now on is another one.
    fn take(line: &mut Line) -> Taken {
        let after = line.after.clone();
        let before = std::mem::replace(&mut line.before, after.clone());
        Taken { before, after, place: line.place, batch: line.next.take().unwrap_or_default() }
    }
}

impl Work for Turn {
    fn write(&mut self, db: &Connection, site: &Site) -> Result<()> {
        let (taken, failed) = {
            let mut line = lock(&self.line);
            let failed = line.failed.as_ref().map(|(_, failure)| failure.to_error());
            (self.taken.get_or_insert_with(|| Turn::take(&mut line)), failed)
        };
        let Taken { before, after, place, batch } = taken;
        let mut place = *place;
        let written = match failed {
            Some(error) => Err(error),
            None => {
                let written = runs::advance(db, &mut place, before, after, &batch.events, &batch.records);
                let mut line = lock(&self.line);
                // Noted at once: the next batch of the line may be in the same transaction.
                line.place = place;
                written.map_err(|fault| {
                    let error = site.explain("write", fault);
                    line.fail(before.seq, &error);
                    error
                })
            }
        };
        let outcome = written.as_ref().map(|_| ()).map_err(again);
        self.written = Some(written);
        outcome
    }

    fn can_repeat(&self) -> bool {
        true
    }

    fn end(self: Box<Self>, failed: Option<&Error>) {
        let Turn { line, lines, taken, written } = *self;
        let result = outcome(written, failed);
        let (taken, first) = {
            let mut line = lock(&line);
            let taken = taken.unwrap_or_else(|| Turn::take(&mut line));
            let first = match &result {
                Ok(signalled) => {
                    line.signalled = *signalled;
                    false
                }
                Err(error) => line.fail(taken.before.seq, error) == taken.before.seq,
            };
            (taken, first)
        };
        let Taken { before, after, batch, .. } = taken;
        lines.ahead.fetch_sub(batch.ahead, Ordering::AcqRel);
        // The callers of `Now` know of a failure and may go on from what the disk holds. That of
        // `Soon` does not, so there the failure stays for whatever it appends next.
        let over = if result.is_ok() { after.status != Status::Running } else { first && batch.ahead == 0 };
        if over {
            lines.forget(&before.id, &line);
        }
        for answer in batch.answers {
            // Nobody listens when the caller has given up.
            let _ = answer.send(result.as_ref().map(|signalled| *signalled).map_err(again));
        }
    }
}
