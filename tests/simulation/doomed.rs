//! A process to which something happens at its n-th write.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::Event;
use relight_engine::journal::{
    Appended, Around, Claim, ClaimRequest, Journal, MemoryJournal, NewRun, Settlement, Sync, Tenure,
};
use relight_engine::{Engine, Error, Result};

/// What happens to a process at its n-th write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accident {
    Nothing,
    /// The write fails, and the next one does not.
    Fails,
    /// The disk is full for four seconds.
    Fills,
    /// The process dies before it wrote.
    DiesBefore,
    /// The process dies after it wrote, before it knows.
    DiesAfter,
    /// Somebody tells a service to end.
    HandsBack,
    /// A person presses Ctrl-C.
    IsInterrupted,
}

impl Accident {
    /// Returns what it is called in a count.
    pub(super) fn name(self) -> &'static str {
        match self {
            Accident::Nothing => "nothing",
            Accident::Fails => "a write failed",
            Accident::Fills => "the disk was full",
            Accident::DiesBefore | Accident::DiesAfter => "a process died",
            Accident::HandsBack => "a service was told to end",
            Accident::IsInterrupted => "a person interrupted",
        }
    }
}

/// The journal as a doomed process sees it.
pub(super) struct Doomed {
    pub(super) accident: Accident,
    pub(super) at: u64,
    journal: Arc<MemoryJournal>,
    clock: SteppedClock,
    writes: AtomicU64,
    dead: AtomicBool,
    full_until: Mutex<Option<Timestamp>>,
    engine: OnceLock<Engine>,
}

impl Doomed {
    pub(super) fn new(journal: Arc<MemoryJournal>, clock: SteppedClock, accident: Accident, at: u64) -> Self {
        Doomed {
            accident,
            at,
            journal,
            clock,
            writes: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            full_until: Mutex::new(None),
            engine: OnceLock::new(),
        }
    }

    /// Says which engine is told to end.
    pub(super) fn befalls(&self, engine: &Engine) {
        let _ = self.engine.set(engine.clone());
    }

    /// Returns whether it has happened.
    pub(super) fn has_happened(&self) -> bool {
        self.accident != Accident::Nothing && self.writes.load(Ordering::SeqCst) >= self.at
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn alive(&self) -> Result<()> {
        if self.is_dead() { Err(Error::storage("the process is dead")) } else { Ok(()) }
    }

    fn die(&self) -> Result<()> {
        self.dead.store(true, Ordering::SeqCst);
        self.alive()
    }

    /// Comes before each write. Returns whether the process dies after it.
    fn before(&self) -> Result<bool> {
        self.alive()?;
        let now = self.clock.now();
        let mut full_until = self.full_until.lock().expect("no panic while the disk is full");
        if self.writes.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            let engine = self.engine.get().expect("the process has an engine");
            match self.accident {
                Accident::Nothing => {}
                Accident::Fails => return Err(Error::storage("input/output error")),
                Accident::Fills => *full_until = now.checked_add(Duration::from_secs(4)).ok(),
                Accident::DiesBefore => self.die()?,
                Accident::DiesAfter => return Ok(true),
                Accident::HandsBack => engine.hand_back(),
                Accident::IsInterrupted => engine.interrupt(),
            }
        }
        match *full_until {
            Some(until) if now < until => Err(Error::storage("no space left on the disk")),
            _ => Ok(false),
        }
    }

    fn after<T>(&self, dies: bool, result: Result<T>) -> Result<T> {
        if dies {
            self.die()?;
        }
        result
    }
}

#[async_trait]
impl Around for Doomed {
    fn behind(&self) -> &dyn Journal {
        &*self.journal
    }

    fn allow(&self) -> Result<()> {
        self.alive()
    }

    async fn prepare(&self, run: NewRun, at: Timestamp) -> Result<bool> {
        let dies = self.before()?;
        self.after(dies, self.journal.prepare(run, at).await)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let dies = self.before()?;
        self.after(dies, self.journal.claim(request).await)
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        let dies = self.before()?;
        self.after(dies, self.journal.append(tenure, events, at, sync).await)
    }

    async fn settle(&self, settlement: &Settlement, at: Timestamp) -> Result<bool> {
        let dies = self.before()?;
        self.after(dies, self.journal.settle(settlement, at).await)
    }
}
