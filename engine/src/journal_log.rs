//! The log of a run that a [`Journal`] keeps: claimed by this process, and written by the holder of the claim.
//!
//! Owns what the step machine need not know: that a run has one driver, and who it is; what it is put away
//! for and woken by; the places of runs that are at work; how other runs and closings are driven.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;

use crate::closing::Asks;
use crate::core::Core;
use crate::drive::{Drive, Driven, Halt, Way};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Effected, Event, Lease, Record, RunEnd, RunId, Signal};
use crate::journal::{LeaseFilter, NewRun, OwnerId, Presence, Tenure};
use crate::lease;
use crate::log::{
    Closing, Duties, Entry, Hold, Label, Logged, Make, Next, OtherRuns, Patience, RunLog, Standing, Until,
    Woken,
};
use crate::replay::{History, PastStep};

/// The longest wait for which a script keeps its thread when many do.
const KEEP_THREAD: Duration = Duration::from_secs(1);
/// How often, in real time, a run that waits for something else than a time looks for signals.
const LOOK: Duration = Duration::from_secs(1);

/// The log of one run, while this process drives it.
pub(crate) struct JournalLog {
    core: Arc<Core>,
    drive: Arc<Drive>,
    way: Way,
    tenure: Tenure,
    /// The place that this run takes among those at work. A run that only waits has none.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    /// What was on the log when the run was claimed, until somebody has read it.
    past: Mutex<Vec<Record>>,
    /// Whether a signal may be waiting that was not handed out.
    signalled: AtomicBool,
    /// The signals that were handed out and are not on the log.
    handed_out: Mutex<Vec<Signal>>,
}

impl JournalLog {
    /// Makes the log of a run that this process has claimed. `past` is what the caller has not read of it.
    pub(crate) fn new(
        core: Arc<Core>,
        drive: Arc<Drive>,
        way: Way,
        place: Option<OwnedSemaphorePermit>,
        tenure: Tenure,
        past: Vec<Record>,
    ) -> Arc<Self> {
        Arc::new(JournalLog {
            core,
            drive,
            way,
            tenure,
            place: Mutex::new(place),
            past: Mutex::new(past),
            signalled: AtomicBool::new(true),
            handed_out: Mutex::default(),
        })
    }

    /// Returns how long the run may wait before it lets go of what it holds.
    fn longest(&self, hold: Hold) -> Duration {
        match hold {
            Hold::Script => KEEP_THREAD,
            Hold::Thread => self.way.kept_patience,
            Hold::Step => self.way.patience,
            // A run that holds a port open and is put away to wait would close it.
            Hold::Open => Duration::MAX,
            Hold::Nothing => Duration::ZERO,
        }
    }

    /// Appends what is recorded together. The texts that the records name are on the disk then.
    async fn append(&self, entry: Entry) -> Result<Vec<Logged>> {
        let Entry { at, events, texts, sync } = entry;
        for text in &texts {
            self.core.journal.keep(text).await?;
        }
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let appended = self.core.journal.append(&self.tenure, &events, at, sync).await?;
        if appended.signalled {
            self.signalled.store(true, Ordering::Relaxed);
        }
        for event in &events {
            if let Event::Signalled { signal } = event {
                let mut handed_out = self.handed_out();
                if let Some(known) = handed_out.iter().position(|known| known == signal) {
                    handed_out.remove(known);
                }
            }
        }
        let first = appended.last.saturating_add(1).saturating_sub(events.len() as u64);
        Ok((first..).zip(events).map(|(seq, event)| Logged::new(seq, at, event)).collect())
    }

    /// Returns the signals that wait and were not handed out before, if any may.
    async fn heard(&self) -> Result<Vec<Signal>> {
        if !self.signalled.swap(false, Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let looked = async {
            self.core.stay_alive().await?;
            self.core.journal.signals(&self.tenure.run).await
        };
        let waiting = looked.await.inspect_err(|_| self.signalled.store(true, Ordering::Relaxed))?;
        let mut handed_out = self.handed_out();
        let mut known = std::mem::replace(&mut *handed_out, waiting.clone());
        let mut heard = waiting;
        heard.retain(|signal| match known.iter().position(|known| known == signal) {
            Some(index) => {
                known.remove(index);
                false
            }
            None => true,
        });
        Ok(heard)
    }

    async fn until_halted(&self) {
        tokio::select! {
            () = self.drive.cancel.wait() => {}
            () = self.core.cancel.wait() => {}
        }
    }

    /// Returns once something may have been said or time may be over, or the run is to be put down.
    async fn doze(&self, until: Until) {
        let clock = &*self.core.clock;
        *self.place() = None;
        let nap = async {
            match until {
                Until::Now => {}
                Until::Time(interval) => clock.sleep(interval.left(clock).min(self.way.nap)).await,
                Until::Said => tokio::time::sleep(LOOK).await,
            }
        };
        tokio::select! {
            () = nap => {}
            () = self.drive.signalled.notified() => {}
            () = self.until_halted() => {}
        }
        self.signalled.store(true, Ordering::Relaxed);
    }

    /// Takes a place among those at work, when there is one. A run gives its own up whenever it waits.
    async fn take_place(&self) {
        let Some(places) = self.way.places.as_ref().filter(|_| self.place().is_none()) else { return };
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.ok(),
            () = self.until_halted() => None,
        };
        *self.place() = place;
    }

    fn place(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.place.lock().expect("no panic while a place is held")
    }

    fn drive_in(&self, run: &RunId, way: Way) -> BoxFuture<'static, Result<Driven>> {
        let (core, run) = (self.core.clone(), run.clone());
        Box::pin(async move {
            let had = core.clone();
            match core.drive_child(&run, way).await {
                // That a run was lost to another process, or parked because it cannot be driven on, is not the
                // end of the run that waits for it.
                Err(error) if error.kind() != ErrorKind::Storage => had.stand(&run, error).await,
                driven => driven,
            }
        })
    }

    fn handed_out(&self) -> MutexGuard<'_, Vec<Signal>> {
        self.handed_out.lock().expect("no panic while signals are held")
    }

    async fn has_opener(&self, lease: &Lease) -> Result<bool> {
        // A newer version may have written it.
        let Ok(history) = History::read(&self.core.journal.records(&lease.run, 0).await?) else {
            return Ok(true);
        };
        let opens = |(n, _): &(u32, &PastStep)| lease::id_of(&lease.run, *n) == lease.id;
        let step = (1..).zip(&history.steps).find(opens).filter(|(_, step)| step.end().is_none());
        let Some((maker, _)) = step.and_then(|(_, step)| step.send_before.as_ref()) else {
            return Ok(false);
        };
        let maker = OwnerId::from(maker.clone());
        Ok(match maker == self.core.owner {
            true => self.core.drives.is_driven(&lease.run),
            false => self.core.presence(&maker) != Presence::Gone,
        })
    }
}

impl Core {
    /// Returns how a run stands whose driving here ended with an error.
    async fn stand(&self, run: &RunId, error: Error) -> Result<Driven> {
        let Some(summary) = self.journal.run(run).await? else { return Err(error) };
        match (summary.park, summary.owner) {
            (Some(park), _) => Ok(Driven::Parked(park, summary.wake)),
            (None, Some(by)) if by != self.owner => Ok(Driven::Held { by }),
            _ if summary.status.is_over() => Ok(Driven::Ended(self.how_it_ended(run).await?)),
            _ => Err(error),
        }
    }
}

#[async_trait]
impl RunLog for JournalLog {
    fn run(&self) -> &RunId {
        &self.tenure.run
    }

    async fn next(&self, position: u64, _: Label, make: Make<'_>) -> Result<Next> {
        let past = std::mem::take(&mut *self.past.lock().expect("no panic while the past is held"));
        if !past.is_empty() {
            let behind = past.iter().filter(|record| record.seq > position);
            let logged = behind.map(|record| Ok(Logged::new(record.seq, record.at, record.event()?)));
            return Ok(Next::handed_back(logged.collect::<Result<_>>()?));
        }
        self.take_place().await;
        let entry = make.await?;
        Ok(Next::made(self.append(entry).await?))
    }

    async fn annotate(&self, entry: Entry) -> Result<Vec<Logged>> {
        self.append(entry).await
    }

    async fn text(&self, sha256: &str) -> Result<String> {
        self.core.journal.kept(sha256).await
    }

    async fn wait(&self, until: Until, hold: Hold) -> Result<Woken> {
        if hold == Hold::Nothing {
            // It stands in the journal as put away: a worker or a person takes it up.
            return Ok(Woken::TooLong);
        }
        let clock = &*self.core.clock;
        loop {
            if self.halted().is_some() {
                return Ok(Woken::Halted);
            }
            let heard = self.heard().await?;
            if !heard.is_empty() {
                return Ok(Woken::Said(heard));
            }
            // Listening may take the time of a heartbeat that has to be written first.
            if self.halted().is_some() {
                return Ok(Woken::Halted);
            }
            match until {
                Until::Now => return Ok(Woken::Time),
                Until::Time(interval) if interval.is_over(clock) => return Ok(Woken::Time),
                Until::Time(interval) if interval.left(clock) > self.longest(hold) => {
                    return Ok(Woken::TooLong);
                }
                Until::Time(_) | Until::Said => self.doze(until).await,
            }
        }
    }

    fn halted(&self) -> Option<Halt> {
        self.drive.cancel.get().or_else(|| self.core.cancel.get())
    }

    async fn interrupted(&self, by_stop: bool) -> Result<()> {
        loop {
            if self.halted().is_some() {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.until_halted() => return Ok(()),
            }
            if !by_stop {
                continue;
            }
            match self.core.journal.signals(&self.tenure.run).await {
                Ok(signals) if signals.iter().any(|signal| matches!(signal, Signal::Stop { .. })) => {
                    self.signalled.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                Ok(_) => {}
                // A request that is on its way is not cut off because a disk does not answer for a while.
                Err(error) if error.kind() == ErrorKind::Storage => {
                    tracing::warn!("while a call is under way: {error}");
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn is_gone(&self, driver: &str) -> bool {
        let driver = OwnerId::from(driver.to_owned());
        driver == self.core.owner || self.core.presence(&driver) == Presence::Gone
    }
}

#[async_trait]
impl OtherRuns for JournalLog {
    async fn begin(&self, run: NewRun) -> Result<()> {
        self.core.write_down(run).await.map(drop)
    }

    fn drive(&self, run: &RunId, hold: Hold) -> BoxFuture<'static, Result<Driven>> {
        self.drive_in(run, Way { patience: self.longest(hold), only_due: false, ..self.way.clone() })
    }

    async fn let_go(&self, run: &RunId) {
        self.core.drives.until_put_down(run, &self.core.cancel).await;
    }

    fn patience(&self, hold: Hold) -> Patience {
        match self.longest(hold) {
            Duration::MAX => Patience::Endless,
            short if short <= KEEP_THREAD => Patience::None,
            _ => Patience::Some,
        }
    }

    async fn standing(&self, run: &RunId) -> Result<Option<Standing>> {
        let Some(summary) = self.core.journal.run(run).await? else { return Ok(None) };
        let end: Option<RunEnd> = match summary.status.is_over() {
            true => Some(self.core.how_it_ended(run).await?),
            false => None,
        };
        let is_driven = summary.owner.is_some();
        Ok(Some(Standing { end, park: summary.park, wake: summary.wake, is_driven, step: summary.step }))
    }

    async fn tell(&self, run: &RunId, signal: &Signal) -> Result<bool> {
        let journal = &self.core.journal;
        if journal.run(run).await?.is_none_or(|run| run.status.is_over()) {
            return Ok(false);
        }
        let is_stop = |signal: &Signal| matches!(signal, Signal::Stop { .. });
        if is_stop(signal) && journal.signals(run).await?.iter().any(is_stop) {
            return Ok(true);
        }
        match journal.signal(run, signal, self.core.clock.now()).await {
            Err(error) if error.kind() != ErrorKind::Invalid => return Err(error),
            Ok(()) => self.core.drives.signal(run),
            // It has ended since: what waits for it sees that.
            Err(_) => {}
        }
        Ok(true)
    }

    async fn past(&self, run: &RunId) -> Result<Vec<Record>> {
        self.core.journal.records(run, 0).await
    }
}

#[async_trait]
impl Duties for JournalLog {
    /// The journal writes it in the transaction of its record.
    async fn take_on(&self, _: &Effected) -> Result<()> {
        Ok(())
    }

    async fn leases(&self, filter: &LeaseFilter) -> Result<Vec<Lease>> {
        self.core.journal.leases_where(filter).await
    }

    async fn close(&self, lease: &Lease, now: bool) -> Result<Closing> {
        self.core.close(lease, if now { Asks::Now } else { Asks::Again }).await
    }

    fn drive_closing(&self, run: &RunId, hold: Hold) -> BoxFuture<'static, Result<Driven>> {
        // A door does not wait for a place.
        self.drive_in(
            run,
            Way { patience: self.longest(hold), places: None, only_due: false, ..self.way.clone() },
        )
    }

    async fn check_wanted(&self, lease: &Lease) -> Result<()> {
        lease::check_wanted(&*self.core.journal, lease).await
    }

    async fn is_being_opened(&self, id: &str) -> Result<bool> {
        let journal = &self.core.journal;
        let Some(own) = journal.leases_where(&LeaseFilter::Id(id.to_owned())).await?.pop() else {
            return Ok(false);
        };
        for lease in journal.leases_where(&LeaseFilter::Door(own.door.clone())).await? {
            if lease::end_together(&own, &lease) && self.has_opener(&lease).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
