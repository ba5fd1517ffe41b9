//! What all runs of one engine share: the parts, the observers, the interruption, the heartbeat.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::cx::SecretSource;
use crate::error::Result;
use crate::event::{Event, RunId};
use crate::journal::{Journal, OwnerId};
use crate::library::Library;
use crate::params::ParamReader;
use crate::redact::Revealed;
use crate::script::Language;

/// How long a process that says nothing counts as alive.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(180);

/// One event as observers see it: durable ones with their number, progress without.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The run.
    pub run: RunId,
    /// The number of the record, when the journal has it.
    pub seq: Option<u64>,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// Sees every event as it happens: the terminal, a log, a drill.
pub type Observer = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Returns whether a process that drove runs is certainly gone.
pub type Liveness = Arc<dyn Fn(&OwnerId) -> bool + Send + Sync>;

/// Returns the value of an environment variable, for `env:` defaults of parameters.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What is shared by all runs of one engine.
pub(crate) struct Core {
    pub(crate) language: Language,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) library: Library,
    pub(crate) secrets: Option<Arc<dyn SecretSource>>,
    pub(crate) revealed: Arc<Revealed>,
    pub(crate) owner: OwnerId,
    pub(crate) liveness: Option<Liveness>,
    pub(crate) observers: Vec<Observer>,
    pub(crate) environment: Option<Environment>,
    pub(crate) readers: Vec<(String, ParamReader)>,
    pub(crate) version: String,
    pub(crate) interrupt: watch::Sender<bool>,
    pub(crate) is_interrupted: AtomicBool,
    pub(crate) alive_until: Mutex<Option<Timestamp>>,
}

impl Core {
    pub(crate) fn show(&self, notice: Notice) {
        for observer in &self.observers {
            observer(&notice);
        }
    }

    pub(crate) fn notice(&self, run: &RunId, seq: Option<u64>, event: Event) {
        // An event that cannot be cleaned is not shown.
        if let Ok(event) = self.revealed.clean(event) {
            self.show(Notice { run: run.clone(), seq, at: self.clock.now(), event });
        }
    }

    /// Returns whether somebody interrupts the engine. Asked after every operation of a script.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }

    /// Interrupts everything that the engine drives.
    pub(crate) fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
        self.interrupt.send_replace(true);
    }

    /// Returns once somebody interrupts the engine.
    pub(crate) async fn interrupted(&self) {
        let mut interrupt = self.interrupt.subscribe();
        // The sender lives as long as the engine.
        let _ = interrupt.wait_for(|is| *is).await;
    }

    /// Returns the time `after` from now.
    pub(crate) fn after(&self, after: Duration) -> Timestamp {
        self.clock.now().saturating_add(after).unwrap_or(Timestamp::MAX)
    }

    /// Renews this process's heartbeat when half of it is over.
    pub(crate) async fn stay_alive(&self) -> Result<()> {
        let now = self.clock.now();
        let until = self.after(HEARTBEAT);
        {
            let mut alive = self.alive_until.lock().expect("no panic while the heartbeat is held");
            if alive.is_some_and(|known| {
                known > now.saturating_add(HEARTBEAT / 2).unwrap_or(now) && known <= until
            }) {
                return Ok(());
            }
            *alive = Some(until);
        }
        self.journal.heartbeat(&self.owner, until).await
    }
}
