//! The life of a run: prepared, running, parked and running again, over.
//!
//! ```text
//!  prepared ──► running ◄──► parked
//!                  │
//!                  └──► succeeded | failed | stopped | abandoned
//! ```
//!
//! A run is driven by one process at a time, and there by one task ([`drive`](crate::drive)): it reads
//! the run, claims it, and has it carried on over its log from the first step that has no result.
//!
//! Owns: who drives a run, and that somebody does. Does not own: what is done for it, which is the step machine's
//! ([`machine`](crate::machine)).
//!
//! Every way out of a drive ends the run, parks it with a reason, or leaves it to be tried again: by a
//! worker of this process after a growing pause, and by any other once this process is gone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::core::Core;
use crate::drive::{Drive, Driven, Ending, Way, pauses};
use crate::error::{Error, ErrorKind, Result, panic_message};
use crate::event::{Event, Record, RunEnd, RunId, Source};
use crate::journal::{Claim, ClaimRequest, OwnerId, Presence, Summary, Tenure};
use crate::journal_log::JournalLog;
use crate::machine::Work;
use crate::replay::History;
use crate::runbook::Runbook;
use crate::step::Steps;

/// How many processes may die driving a run before it is parked rather than tried once more.
const DEATHS: u32 = 3;

/// How often, in real time, it is asked whether a run is out of the queue.
const ASK: Duration = Duration::from_secs(1);

/// Whether a run may stand in the journal as driven by this process.
#[derive(Clone, Copy, PartialEq)]
enum Touched {
    No,
    Maybe,
}

/// A run as it was read, ready to be driven.
struct Loaded {
    /// The number of the last record that was read.
    seq: u64,
    history: History,
    sources: Arc<[Source]>,
    /// What it may do and does, or why it cannot be run any more.
    work: Result<(Runbook, Work)>,
}

impl Core {
    /// Drives a run until it is over, parked, or waits for longer than the patience. When it is driven
    /// in this process already, waits for what comes of that.
    pub(crate) async fn drive(self: &Arc<Self>, run: &RunId, way: Way) -> Result<Driven> {
        loop {
            let waiter = self.drives.join(run, way.on_drop, |drive| {
                tokio::spawn(self.clone().drive_here(run.clone(), drive, way.clone()));
            });
            if let Some(result) = waiter.ended().await {
                return result;
            }
        }
    }

    /// Drives a run for the run that is its parent. Boxed, since runs nest.
    pub(crate) fn drive_child(self: &Arc<Self>, run: &RunId, way: Way) -> BoxFuture<'static, Result<Driven>> {
        let (core, run) = (self.clone(), run.clone());
        Box::pin(async move { core.drive(&run, way).await })
    }

    /// The one task that drives a run. Its end is told whatever happens.
    async fn drive_here(self: Arc<Self>, run: RunId, drive: Arc<Drive>, way: Way) {
        let ending = Ending::new({
            let (core, run, drive) = (self.clone(), run.clone(), drive.clone());
            move |result: Result<Driven>| {
                // Who lost the run leaves it to who has it; a divergence or a mistake is parked.
                let again = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Storage);
                core.drives.end(&run, &drive, result, core.clock.elapsed(), again);
            }
        });
        let mut driven = self.drive_caught(&run, &drive, &way, Touched::No).await;
        // Nobody waits for a drive that was dropped, so nobody would hear that its run could not be put
        // away and counts as driven by a process that lives.
        for pause in pauses() {
            let is_storage = driven.as_ref().is_err_and(|error| error.kind() == ErrorKind::Storage);
            if !is_storage || drive.cancel.get().is_none() {
                break;
            }
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = self.cancel.wait() => break,
            }
            driven = self.drive_caught(&run, &drive, &way, Touched::Maybe).await;
        }
        ending.with(driven);
    }

    async fn drive_caught(
        self: &Arc<Self>,
        run: &RunId,
        drive: &Arc<Drive>,
        way: &Way,
        touched: Touched,
    ) -> Result<Driven> {
        let driven = AssertUnwindSafe(self.drive_alone(run, drive, way, touched)).catch_unwind().await;
        // Of a run that ended in another way than it should.
        self.handles.close(run).await;
        driven.unwrap_or_else(|panic| {
            let said = panic_message(panic.as_ref());
            Err(Error::storage(format!("driving run {run} failed: {said}")).hint("please report it"))
        })
    }

    async fn drive_alone(
        self: &Arc<Self>,
        run: &RunId,
        drive: &Arc<Drive>,
        way: &Way,
        touched: Touched,
    ) -> Result<Driven> {
        let mut place = match &way.places {
            Some(places) => places.clone().acquire_owned().await.ok(),
            None => None,
        };
        if let (Touched::No, Some(why)) = (touched, drive.cancel.get().or_else(|| self.cancel.get())) {
            // Nobody has touched it, so nothing needs to be written.
            return Ok(Driven::Parked(why.park(), None));
        }
        self.enter().await?;
        // Everything is read before anything is written: what this version cannot read is left to one
        // that can. Whoever went on with the run in between may be such a version: it is read again.
        let (Loaded { seq, history, sources, work }, tenure) = loop {
            let mut loaded = match self.load(run).await? {
                Ok(loaded) => loaded,
                Err(end) => return Ok(Driven::Ended(end)),
            };
            if loaded.is_suspect() {
                // One at a time, so that the one which ends processes takes no others' blame.
                place = self.suspects.clone().acquire_owned().await.ok();
            }
            if way.only_due
                && let Some(driven) = self.is_put_away(run).await?
            {
                return Ok(driven);
            }
            match self.claim(run, &loaded).await? {
                Claim::Granted(tenure) => {
                    loaded.history.apply(claimed(&tenure), self.clock.now())?;
                    break (loaded, tenure);
                }
                Claim::Moved => {}
                Claim::Queued => return Ok(Driven::Queued),
                Claim::Held { by, .. } => return Ok(Driven::Held { by }),
                Claim::Over => return Ok(Driven::Ended(self.how_it_ended(run).await?)),
            }
        };
        let work = match history.deaths {
            deaths if deaths >= DEATHS => Err(deadly(deaths)),
            _ => work,
        };
        // The claim is the record behind those that were read.
        let position = seq + 1;
        let log = JournalLog::new(self.clone(), drive.clone(), way.clone(), place, tenure, Vec::new());
        let steps = Steps::new(self.parts.clone(), log, sources, history, position);
        self.parts.carry(&steps, work).await
    }

    /// Returns how a run is put away that nothing wakes now: whoever found it due did so before somebody else drove it. Driving it all
    /// the same would have it ask its question once more.
    async fn is_put_away(&self, run: &RunId) -> Result<Option<Driven>> {
        let Some(Summary { park: Some(park), wake, .. }) = self.journal.run(run).await? else {
            return Ok(None);
        };
        let now = self.clock.now();
        Ok(wake.is_none_or(|wake| wake > now).then_some(Driven::Parked(park, wake)))
    }

    /// Reads a run, without writing anything. Returns its end when it is over.
    async fn load(&self, run: &RunId) -> Result<Result<Loaded, RunEnd>> {
        let records = self.journal.records(run, 0).await?;
        let history = History::read(&records)?;
        if let Some(end) = history.end {
            return Ok(Err(end));
        }
        self.understands(&history)?;
        let seq = records.last().map_or(0, |last| last.seq);
        let sources: Arc<[Source]> = self.sources(run, &history).await?.into();
        if history.prepared.call().is_none() && sources.is_empty() {
            return Err(Error::storage(format!("run {run} has no source text")));
        }
        let work = self.work(&history.prepared, &sources);
        Ok(Ok(Loaded { seq, history, sources, work }))
    }

    /// Claims a run as it was read, also from a driver that is known to be gone. Where that can be told,
    /// a living one keeps its run even when it was suspended past its heartbeat.
    async fn claim(&self, run: &RunId, loaded: &Loaded) -> Result<Claim> {
        let now = self.clock.now();
        let mut request = ClaimRequest::new(run, &self.owner, now).seen(loaded.seq);
        let driver = loaded.history.driver.clone().map(OwnerId::from).filter(|by| *by != self.owner);
        if let Some(by) = driver {
            match self.presence(&by) {
                Presence::Here => return Ok(Claim::Held { by, until: now }),
                Presence::Gone => request.dead = Some(by),
                Presence::Unknown => {}
            }
        }
        self.journal.claim(&request).await
    }

    /// Returns whether the turn of a run has come, once it has or everything that the engine drives is halted.
    pub(crate) async fn until_its_turn(&self, run: &RunId) -> Result<bool> {
        let mut news = self.journal.news().listen();
        while self.journal.run(run).await?.is_some_and(|summary| summary.is_queued()) {
            if self.cancel.get().is_some() {
                return Ok(false);
            }
            tokio::select! {
                () = news.hear() => {}
                // What another process writes is told by nobody.
                () = tokio::time::sleep(ASK) => {}
                () = self.cancel.wait() => {}
            }
        }
        Ok(true)
    }

    /// Returns the texts that a run goes by, the runbook itself first.
    pub(crate) async fn sources(&self, run: &RunId, history: &History) -> Result<Vec<Source>> {
        match &history.mended {
            Some(sources) => Ok(sources.clone()),
            None => self.journal.sources(run).await,
        }
    }

    /// Returns how a run that is over ended.
    pub(crate) async fn how_it_ended(&self, run: &RunId) -> Result<RunEnd> {
        // The last record says it, also of a run whose earlier ones cannot be read any more.
        let Some(summary) = self.journal.run(run).await? else { return Err(self.not_there(run).await?) };
        let last = self.journal.records(run, summary.seq.saturating_sub(1)).await?;
        match last.last().map(Record::event).transpose()? {
            Some(Event::Finished { end, .. }) => Ok(end),
            _ => Err(Error::storage(format!("run {run} is over without an end"))),
        }
    }
}

impl Loaded {
    /// Returns whether more than one process in a row has died driving the run.
    fn is_suspect(&self) -> bool {
        self.history.deaths + u32::from(self.history.driver.is_some()) > 1
    }
}

/// Returns the event that a granted claim has written.
fn claimed(tenure: &Tenure) -> Event {
    Event::Claimed { owner: tenure.owner.as_str().to_owned(), epoch: tenure.epoch }
}

/// Returns the error of a run that ends whoever drives it.
fn deadly(deaths: u32) -> Error {
    Error::new(ErrorKind::Script, format!("the process that drove the run died, {deaths} times in a row"))
        .hint("look for what ends it, such as the memory that the run takes; then resume the run, or stop it")
}
