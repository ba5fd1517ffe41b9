//! Runs whose logs are kept in this process and read one entry at a time.
//!
//! Nothing here claims a run, puts it away or looks for what is due: a run waits where it stands, for as long
//! as it takes, and whoever opens its log next starts at its first record. That is how an engine for
//! durable execution keeps runs, and the journals of this crate do not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::Runs;
use crate::builder::EngineBuilder;
use crate::drive::{Driven, Halt};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Effected, Event, GENESIS, Lease, Record, RunId, Signal, fingerprint};
use crate::journal::{LeaseFilter, NewRun};
use crate::log::{
    Closing, Duties, Entry, Hold, Label, Logged, Make, Next, OtherRuns, Patience, RunLog, Standing, Until,
    Woken,
};

/// Runs that are gone with the process.
#[derive(Clone, Default)]
pub struct MemoryRuns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was said to a run.
    said: Notify,
}

#[derive(Default)]
struct State {
    runs: HashMap<RunId, Kept>,
    texts: HashMap<String, String>,
    leases: Vec<Lease>,
}

struct Kept {
    new: NewRun,
    /// What was recorded together, and under which label.
    entries: Vec<(Label, Vec<Record>)>,
    signals: Vec<Signal>,
    /// The number of its driver: one with a smaller number writes nothing more.
    driver: u64,
    /// Held by whoever drives it.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Kept {
    fn new(new: NewRun) -> Self {
        Kept { new, entries: Vec::new(), signals: Vec::new(), driver: 0, turn: Arc::default() }
    }

    fn records(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.entries.iter().flat_map(|(_, records)| records)
    }

    fn length(&self) -> u64 {
        self.records().next_back().map_or(0, |last| last.seq)
    }

    fn last(&self) -> Result<Option<Event>> {
        self.records().next_back().map(Record::event).transpose()
    }

    fn is_over(&self) -> bool {
        matches!(self.last(), Ok(Some(Event::Finished { .. })))
    }
}

impl MemoryRuns {
    /// Keeps no runs yet.
    pub fn new() -> Self {
        MemoryRuns::default()
    }

    /// Opens the log of a run for one more driver, which begins the run if there is none of its id. Whoever had
    /// opened it before writes nothing more.
    pub fn open(&self, engine: &Engine, run: &NewRun) -> Arc<dyn RunLog> {
        let driver = self.begun(run, |kept| {
            kept.driver += 1;
            kept.driver
        });
        let log = MemoryLog {
            runs: self.clone(),
            engine: engine.clone(),
            run: run.id.clone(),
            driver,
            at: Mutex::default(),
        };
        Arc::new(log)
    }

    /// Carries a run to its end, over its log.
    ///
    /// # Errors
    /// As [`Engine::carry`].
    pub async fn carry(&self, engine: &Engine, run: &NewRun) -> Result<Driven> {
        let turn = self.begun(run, |kept| kept.turn.clone());
        let _turn = turn.lock().await;
        engine.carry(self.open(engine, run), run).await
    }

    /// Leaves a signal for a run. Returns whether it is there: none is for a run that is over.
    pub fn signal(&self, run: &RunId, signal: &Signal) -> bool {
        let is_there = {
            let mut state = self.state();
            let kept = state.runs.get_mut(run).filter(|kept| !kept.is_over());
            kept.map(|kept| {
                if !kept.signals.contains(signal) {
                    kept.signals.push(signal.clone());
                }
            })
            .is_some()
        };
        self.0.said.notify_waiters();
        is_there
    }

    /// Returns the records of a run.
    pub fn records(&self, run: &RunId) -> Vec<Record> {
        let state = self.state();
        state.runs.get(run).map(|kept| kept.records().cloned().collect()).unwrap_or_default()
    }

    /// Carries out what has come due by itself: closes the leases whose deadline has come. Returns their ids.
    ///
    /// # Errors
    /// Whatever keeps a lease from being closed.
    pub async fn come_due(&self, engine: &Engine) -> Result<Vec<String>> {
        let due = LeaseFilter::Due(engine.clock().now());
        let due: Vec<Lease> = self.state().leases.iter().filter(|lease| due.fits(lease)).cloned().collect();
        let mut closed = Vec::new();
        for lease in due {
            if let Closing::Begun(run) | Closing::UnderWay(run) = self.close(engine, &lease)? {
                let run = self.kept(&run, |kept| kept.new.clone())?;
                self.carry(engine, &run).await?;
                closed.push(lease.id);
            }
        }
        Ok(closed)
    }

    fn close(&self, engine: &Engine, lease: &Lease) -> Result<Closing> {
        let mut state = self.state();
        if !state.leases.iter().any(|open| open.id == lease.id) {
            return Ok(Closing::Over);
        }
        for n in 0u32.. {
            let id = closing_of(lease, n);
            match state.runs.get(&id) {
                Some(kept) if kept.is_over() => {}
                Some(_) => return Ok(Closing::UnderWay(id)),
                None => {
                    let closing = engine.0.parts.closing(lease, id.clone())?;
                    state.runs.insert(id.clone(), Kept::new(closing));
                    return Ok(Closing::Begun(id));
                }
            }
        }
        Ok(Closing::Over)
    }

    fn begun<T>(&self, run: &NewRun, read: impl FnOnce(&mut Kept) -> T) -> T {
        read(self.state().runs.entry(run.id.clone()).or_insert_with(|| Kept::new(run.clone())))
    }

    fn kept<T>(&self, run: &RunId, read: impl FnOnce(&mut Kept) -> T) -> Result<T> {
        let mut state = self.state();
        let kept = state.runs.get_mut(run).ok_or_else(|| crate::journal::unknown(run))?;
        Ok(read(kept))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while the runs are held")
    }
}

#[async_trait]
impl Runs for MemoryRuns {
    fn engine(&self, builder: EngineBuilder) -> Result<Engine> {
        builder.build()
    }

    async fn open(&self, engine: &Engine, run: &NewRun) -> Result<Arc<dyn RunLog>> {
        Ok(MemoryRuns::open(self, engine, run))
    }

    async fn signal(&self, run: &RunId, signal: &Signal) -> Result<()> {
        match MemoryRuns::signal(self, run, signal) {
            true => Ok(()),
            false => Err(Error::invalid(format!("run {run} is over"))),
        }
    }
}

fn closing_of(lease: &Lease, n: u32) -> RunId {
    RunId::derived(&["close", &lease.id, &n.to_string()])
}

/// The log of one run, while somebody drives it.
struct MemoryLog {
    runs: MemoryRuns,
    engine: Engine,
    run: RunId,
    driver: u64,
    at: Mutex<At>,
}

/// How far its driver has read.
#[derive(Default)]
struct At {
    label: Label,
    read: u64,
    handed_out: Vec<Signal>,
}

impl MemoryLog {
    fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().expect("no panic while the position is held")
    }

    /// Returns what stands at a position.
    fn stored(&self, position: u64, label: Label) -> Result<Option<Vec<Logged>>> {
        let found = self.runs.kept(&self.run, |kept| {
            if position == kept.length() {
                return Ok(None);
            }
            let begins =
                |entry: &&(Label, Vec<Record>)| entry.1.first().is_some_and(|r| r.seq == position + 1);
            kept.entries.iter().find(begins).cloned().map(Some).ok_or_else(|| {
                Error::storage(format!("no entry of run {} begins behind record {position}", self.run))
            })
        })??;
        let Some((known, records)) = found else { return Ok(None) };
        if known != label {
            let what =
                format!("position {position} of run {} is that of {known}, and not of {label}", self.run);
            return Err(Error::new(ErrorKind::Diverged, what));
        }
        let logged = records.iter().map(|record| Ok(Logged::new(record.seq, record.at, record.event()?)));
        logged.collect::<Result<Vec<_>>>().map(Some)
    }

    fn write(&self, entry: Entry) -> Result<Vec<Logged>> {
        let label = self.at().label;
        let logged: Vec<Logged> = {
            let mut state = self.runs.state();
            state.texts.extend(entry.texts.into_iter().map(|text| (fingerprint(&text), text)));
            let kept = state.runs.get_mut(&self.run).ok_or_else(|| crate::journal::unknown(&self.run))?;
            if kept.driver != self.driver {
                return Err(Error::new(ErrorKind::Stopped, format!("somebody else drives run {}", self.run)));
            }
            let mut records: Vec<Record> = Vec::new();
            for event in &entry.events {
                let last = records.last().or_else(|| kept.records().next_back());
                let (hash, seq) = last.map_or((GENESIS, 0), |last| (last.hash.as_str(), last.seq));
                let record = Record::follow(hash, seq + 1, entry.at, event)?;
                records.push(record);
                if let Event::Signalled { signal } = event {
                    kept.signals.retain(|waiting| waiting != signal);
                }
            }
            let numbers: Vec<u64> = records.iter().map(|record| record.seq).collect();
            if !records.is_empty() {
                kept.entries.push((label, records));
            }
            numbers
                .into_iter()
                .zip(entry.events)
                .map(|(seq, event)| Logged::new(seq, entry.at, event))
                .collect()
        };
        self.has_read(&logged);
        Ok(logged)
    }

    fn has_read(&self, logged: &[Logged]) {
        let mut at = self.at();
        for one in logged {
            at.read = at.read.max(one.seq);
            if let Event::Signalled { signal } = &one.event {
                at.handed_out.retain(|known| known != signal);
            }
        }
    }

    /// Returns what was said and not handed out; nothing while there is more to read.
    fn heard(&self) -> Result<Option<Vec<Signal>>> {
        let (length, waiting) = self.runs.kept(&self.run, |kept| (kept.length(), kept.signals.clone()))?;
        let mut at = self.at();
        if at.read < length {
            return Ok(None);
        }
        let new: Vec<Signal> = waiting.into_iter().filter(|signal| !at.handed_out.contains(signal)).collect();
        at.handed_out.extend(new.iter().cloned());
        Ok(Some(new))
    }
}

#[async_trait]
impl RunLog for MemoryLog {
    fn run(&self) -> &RunId {
        &self.run
    }

    async fn next(&self, position: u64, label: Label, make: Make<'_>) -> Result<Next> {
        self.at().label = label;
        if let Some(logged) = self.stored(position, label)? {
            self.has_read(&logged);
            return Ok(Next::handed_back(logged));
        }
        let entry = make.await?;
        Ok(Next::made(self.write(entry)?))
    }

    async fn annotate(&self, entry: Entry) -> Result<Vec<Logged>> {
        self.write(entry)
    }

    async fn text(&self, sha256: &str) -> Result<String> {
        let text = self.runs.state().texts.get(sha256).cloned();
        text.ok_or_else(|| Error::storage(format!("there is no text {sha256}")))
    }

    /// A run waits in its place, whatever it holds.
    async fn wait(&self, until: Until, _: Hold) -> Result<Woken> {
        let clock = self.engine.clock();
        loop {
            let said = self.runs.0.said.notified();
            match self.heard()? {
                None => return Ok(Woken::Time),
                Some(heard) if !heard.is_empty() => return Ok(Woken::Said(heard)),
                Some(_) => {}
            }
            match until {
                Until::Now => return Ok(Woken::Time),
                Until::Time(interval) if interval.is_over(&**clock) => return Ok(Woken::Time),
                Until::Time(interval) => tokio::select! {
                    () = clock.sleep(interval.left(&**clock)) => {}
                    () = said => {}
                },
                Until::Said => said.await,
            }
        }
    }

    fn halted(&self) -> Option<Halt> {
        None
    }

    async fn interrupted(&self, by_stop: bool) -> Result<()> {
        loop {
            let said = self.runs.0.said.notified();
            let is_stop = |signal: &Signal| matches!(signal, Signal::Stop { .. });
            if by_stop && self.runs.kept(&self.run, |kept| kept.signals.iter().any(is_stop))? {
                return Ok(());
            }
            said.await;
        }
    }

    /// Nobody can tell.
    fn is_gone(&self, _: &str) -> bool {
        false
    }
}

#[async_trait]
impl OtherRuns for MemoryLog {
    async fn begin(&self, run: NewRun) -> Result<()> {
        self.runs.state().runs.entry(run.id.clone()).or_insert_with(|| Kept::new(run));
        Ok(())
    }

    fn drive(&self, run: &RunId, _: Hold) -> BoxFuture<'static, Result<Driven>> {
        let (runs, engine, run) = (self.runs.clone(), self.engine.clone(), run.clone());
        Box::pin(async move {
            let run = runs.kept(&run, |kept| kept.new.clone())?;
            runs.carry(&engine, &run).await
        })
    }

    /// Who drops the future does not drive it any more.
    async fn let_go(&self, _: &RunId) {}

    fn patience(&self, _: Hold) -> Patience {
        Patience::Endless
    }

    async fn standing(&self, run: &RunId) -> Result<Option<Standing>> {
        let state = self.runs.state();
        let Some(kept) = state.runs.get(run) else { return Ok(None) };
        Ok(Some(match kept.last()? {
            Some(Event::Finished { end, .. }) => Standing { end: Some(end), ..Standing::begun() },
            _ => Standing::begun(),
        }))
    }

    async fn tell(&self, run: &RunId, signal: &Signal) -> Result<bool> {
        Ok(self.runs.signal(run, signal))
    }

    async fn past(&self, run: &RunId) -> Result<Vec<Record>> {
        Ok(self.runs.records(run))
    }
}

#[async_trait]
impl Duties for MemoryLog {
    async fn take_on(&self, duty: &Effected) -> Result<()> {
        let mut state = self.runs.state();
        match duty {
            Effected::LeaseOpened(lease) => {
                state.leases.retain(|known| known.id != lease.id);
                state.leases.push(lease.clone());
            }
            Effected::LeaseClosed { id } => state.leases.retain(|known| known.id != *id),
            Effected::Scheduled(_) | Effected::Unscheduled { .. } => {
                return Err(Error::invalid("runs in memory keep no schedules"));
            }
        }
        Ok(())
    }

    async fn leases(&self, filter: &LeaseFilter) -> Result<Vec<Lease>> {
        let mut leases = self.runs.state().leases.clone();
        leases.retain(|lease| filter.fits(lease));
        leases.sort_by_key(|lease| lease.deadline);
        Ok(leases)
    }

    async fn close(&self, lease: &Lease, _: bool) -> Result<Closing> {
        self.runs.close(&self.engine, lease)
    }

    fn drive_closing(&self, run: &RunId, hold: Hold) -> BoxFuture<'static, Result<Driven>> {
        self.drive(run, hold)
    }

    async fn check_wanted(&self, lease: &Lease) -> Result<()> {
        let state = self.runs.state();
        let is_open = state.leases.iter().any(|open| open.id == lease.id);
        let is_closing = state.runs.get(&closing_of(lease, 0)).is_some_and(|closing| !closing.is_over());
        match is_open && !is_closing {
            true => Ok(()),
            false => {
                Err(Error::new(ErrorKind::Unsent, format!("{} is closed, or is being closed", lease.title)))
            }
        }
    }

    async fn is_being_opened(&self, _: &str) -> Result<bool> {
        Ok(false)
    }
}
