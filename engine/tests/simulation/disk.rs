//! The disk of a history: one journal, as each process sees it, with what goes wrong on the way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use relight_engine::event::{Event, Park, Record, RunId, Signal};
use relight_engine::journal::{
    Appended, Around, Claim, ClaimRequest, Journal, NewRun, News, OwnerId, Settlement, Sync, Tenure,
};
use relight_engine::{Error, Result};
use serde_json::Value;

use super::clock::{Nap, Time, seconds};
use super::gates::{Gates, Kind, Pass};

/// How long a process waits for a lock.
const PATIENCE: SignedDuration = seconds(30);

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// So many writes fail.
    Fails(u32),
    /// Nothing can be written until then.
    FullUntil(Timestamp),
    /// Somebody else holds the lock until then; whoever writes waits for it, and gives up after half a minute.
    LockedUntil(Timestamp),
}

/// What all processes share: the trouble, and who wrote what is not on the disk yet.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) trouble: Option<Trouble>,
    /// The processes whose last records the disk may not hold yet.
    pub(crate) unsynced: Vec<usize>,
    /// The names under which processes are known, when the journal itself can tell who is gone.
    pub(crate) entered: BTreeMap<usize, OwnerId>,
    /// How many writes were let through.
    pub(crate) writes: u64,
    /// How many writes went wrong.
    pub(crate) failures: u64,
    /// Whether the new version went on with a state of the old one.
    pub(crate) was_taken_over: bool,
    /// Whether the old version came to a state of the new one.
    pub(crate) was_left: bool,
    /// What the old version wrote and must not.
    pub(crate) violations: Vec<String>,
}

/// Which versions of the program write to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// There is one only.
    Only,
    Old,
    New,
}

/// The journal as one process sees it.
pub(crate) struct Disk {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) shared: Arc<Mutex<Shared>>,
    pub(crate) gates: Gates,
    pub(crate) time: Time,
    pub(crate) process: usize,
    pub(crate) version: Version,
    /// How many records the process has read of each run.
    pub(crate) read: Mutex<BTreeMap<RunId, u64>>,
    pub(crate) dead: Arc<AtomicBool>,
    /// What this process wrote: those of others it has to ask for.
    pub(crate) news: News,
    /// How many writes of all processes it has asked for so far.
    pub(crate) seen: AtomicU64,
}

impl Disk {
    fn alive(&self) -> Result<()> {
        match self.dead.load(Ordering::SeqCst) {
            true => Err(Error::storage("the process is dead")),
            false => Ok(()),
        }
    }

    /// Waits for its turn to write.
    async fn turn(&self, what: String) -> Result<Pass> {
        self.alive()?;
        let pass = self.gates.pass(self.process, Kind::Write, what).await;
        self.alive()?;
        let locked = match self.shared().trouble {
            Some(Trouble::LockedUntil(until)) if until > self.time.now() => Some(until),
            _ => None,
        };
        if let Some(until) = locked {
            let left = until.duration_since(self.time.now());
            let length = left.min(PATIENCE);
            let nap = Nap { length, until: self.time.now() + length, elapsed: None };
            self.gates.sleep(self.process, nap).await;
            self.alive()?;
            if left > PATIENCE {
                self.shared().failures += 1;
                return Err(Error::storage("the database is locked"));
            }
        }
        let mut shared = self.shared();
        match shared.trouble {
            Some(Trouble::Fails(left)) => {
                shared.trouble = (left > 1).then_some(Trouble::Fails(left - 1));
                shared.failures += 1;
                Err(Error::storage("input/output error"))
            }
            Some(Trouble::FullUntil(until)) if until > self.time.now() => {
                shared.failures += 1;
                Err(Error::storage("no space left on the disk"))
            }
            _ => {
                shared.trouble = shared.trouble.filter(|t| matches!(t, Trouble::LockedUntil(_)));
                shared.writes += 1;
                Ok(pass)
            }
        }
    }

    /// Hands back what was written, unless the process does not live to see it.
    async fn back<T>(&self, pass: Pass, result: Result<T>) -> Result<T> {
        match pass {
            Pass::Go => {}
            Pass::DieAfter => self.dead.store(true, Ordering::SeqCst),
            Pass::HoldAfter => {
                self.gates.pass(self.process, Kind::Held, "held").await;
            }
        }
        self.alive()?;
        self.news.tell();
        result
    }

    /// Returns the state with which a run waits, and the number of its record.
    async fn state(&self, run: &RunId) -> Option<(Value, u64)> {
        if self.version == Version::Only {
            return None;
        }
        let mut state = None;
        for record in self.journal.records(run, 0).await.ok()? {
            match record.event().ok()? {
                Event::StepAccepted { continuation, .. } => state = Some((continuation, record.seq)),
                Event::StepStarted { .. } | Event::StepFinished { .. } => state = None,
                // Nobody goes on with what was stopped: to end it, its state need not be understood.
                Event::Signalled { signal: Signal::Stop { .. }, .. } => state = None,
                _ => {}
            }
        }
        state
    }

    /// Takes note of what was written behind a state: an old process writes nothing behind one of the new version.
    fn wrote(&self, state: Option<(Value, u64)>, tenure: &Tenure, events: &[Event]) {
        let Some((state, seq)) = state else { return };
        let is_progress = |e: &Event| matches!(e, Event::StepAccepted { .. } | Event::StepFinished { .. });
        if self.version == Version::New {
            self.shared().was_taken_over |= is_old(&state) && events.iter().any(is_progress);
        } else if state["v"] == 2 {
            // It may find out only when it has claimed the run that somebody went on with it.
            let was_read = self.read.lock().expect("no panic while reading").get(&tenure.run) >= Some(&seq);
            let may = match events {
                [Event::Claimed { .. }] => !was_read,
                [Event::Parked { park: Park::HandedBack, .. }] => true,
                _ => false,
            };
            if !may {
                let (run, events) = (&tenure.run, named(events));
                self.shared().violations.push(format!(
                    "an old process writes `{events}` to {run}, which waits with the state {state}"
                ));
            }
        }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("no panic while the disk is held")
    }

    fn synced(&self) {
        self.shared().unsynced.clear();
    }
}

#[async_trait]
impl Around for Disk {
    fn behind(&self) -> &dyn Journal {
        &*self.journal
    }

    fn allow(&self) -> Result<()> {
        self.alive()
    }

    fn news(&self) -> News {
        self.news.clone()
    }

    async fn was_written_past(&self) -> Result<bool> {
        self.alive()?;
        let writes = self.shared().writes;
        Ok(self.seen.swap(writes, Ordering::SeqCst) != writes)
    }

    fn enter(&self, owner: &OwnerId) -> Result<()> {
        self.shared().entered.insert(self.process, owner.clone());
        self.journal.enter(owner)
    }

    async fn prepare(&self, run: NewRun, at: Timestamp) -> Result<bool> {
        let pass = self.turn(format!("prepare {}", run.id)).await?;
        let result = self.journal.prepare(run, at).await;
        self.synced();
        self.back(pass, result).await
    }

    async fn heartbeat(&self, owner: &OwnerId, until: Timestamp) -> Result<()> {
        let pass = self.turn("heartbeat".to_owned()).await?;
        let result = self.journal.heartbeat(owner, until).await;
        self.synced();
        self.back(pass, result).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let ClaimRequest { run, owner, .. } = request;
        let pass = self.turn(format!("claim {run}")).await?;
        let state = self.state(run).await;
        let result = self.journal.claim(request).await;
        if let Ok(Claim::Granted(tenure)) = &result {
            let claimed = Event::Claimed { owner: owner.as_str().to_owned(), epoch: tenure.epoch };
            self.wrote(state, tenure, &[claimed]);
        }
        self.synced();
        self.back(pass, result).await
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        let pass = self.turn(format!("append {} {}", tenure.run, named(events))).await?;
        let state = self.state(&tenure.run).await;
        let result = self.journal.append(tenure, events, at, sync).await;
        if result.is_ok() {
            self.wrote(state, tenure, events);
        }
        match sync {
            Sync::Now => self.synced(),
            Sync::Soon => self.shared().unsynced.push(self.process),
        }
        self.back(pass, result).await
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        self.alive()?;
        let records = self.journal.records(run, after).await?;
        if let (Version::Old, Some(last)) = (self.version, records.last()) {
            self.read.lock().expect("no panic while reading").insert(run.clone(), last.seq);
            let meets_newer = self.state(run).await.is_some_and(|(state, _)| state["v"] == 2);
            self.shared().was_left |= meets_newer;
        }
        Ok(records)
    }

    async fn signal(&self, run: &RunId, signal: &Signal, at: Timestamp) -> Result<()> {
        let pass = self.turn(format!("signal {run}")).await?;
        let result = self.journal.signal(run, signal, at).await;
        self.synced();
        self.back(pass, result).await
    }

    async fn settle(&self, settlement: &Settlement, at: Timestamp) -> Result<bool> {
        let pass = self.turn(format!("settle {}", settlement.schedule()?)).await?;
        let result = self.journal.settle(settlement, at).await;
        self.synced();
        self.back(pass, result).await
    }

    async fn stop_overdue(&self, now: Timestamp) -> Result<Vec<RunId>> {
        let pass = self.turn("stop overdue".to_owned()).await?;
        let result = self.journal.stop_overdue(now).await;
        self.synced();
        self.back(pass, result).await
    }
}

/// Returns whether a state is one of the old version that the new one has to take over.
fn is_old(state: &Value) -> bool {
    state["at"].get("looks").is_some()
}

/// Returns what events are, in a few words.
fn named(events: &[Event]) -> String {
    let words: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::StepStarted { step, operation, attempt, .. } => {
                format!("started {step} {operation} #{attempt}")
            }
            Event::StepRetrying { step, clean, .. } => format!("retrying {step} clean={clean}"),
            Event::StepAccepted { step, .. } => format!("accepted {step}"),
            Event::StepFinished { step, end, .. } => match end {
                relight_engine::event::StepEnd::Ok(_) => format!("finished {step}"),
                relight_engine::event::StepEnd::Large { bytes, .. } => format!("finished {step} ({bytes} B)"),
                relight_engine::event::StepEnd::Err(failure) => {
                    format!("failed {step} ({})", failure.message)
                }
            },
            Event::Parked { park, until } => {
                let why = serde_json::to_value(park).map(|p| p["why"].to_string()).unwrap_or_default();
                format!("parked {why} until {until:?}")
            }
            Event::Finished { end, .. } => {
                let how = serde_json::to_value(end).map(|p| p["end"].to_string()).unwrap_or_default();
                format!("over {how}")
            }
            Event::Signalled { signal } => format!("took {signal:?}"),
            other => format!("{other:?}"),
        })
        .collect();
    words.join(", ")
}
