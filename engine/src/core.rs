//! What all runs of one engine share: the parts, and who keeps runs: the journal, the interruption, the heartbeat.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{OnceCell, Semaphore};

use crate::clock::Clock;
use crate::concurrency::Concurrency;
use crate::cx::SecretSource;
use crate::drive::{Cancel, Drives};
use crate::error::Result;
use crate::event::{Event, RunId};
use crate::handles::Handles;
use crate::journal::{Journal, OwnerId, Presence};
use crate::library::Library;
use crate::params::ParamReader;
use crate::redact::Revealed;
use crate::script::Language;

/// How long a process that says nothing counts as alive, where nothing better is known.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(180);

/// How long a halt or a stop waits for a call under way: as long as a request may be on its way.
pub(crate) const GRACE: Duration = Duration::from_secs(45);

/// How often, in real time, the heartbeat is looked after.
const PULSE: Duration = Duration::from_secs(1);

/// How many scripts keep their threads while they wait. A script that unwinds is replayed from the top
/// after its wait, which costs the more the longer it is; a thread costs the stack that it has touched.
pub(crate) const THREADS: usize = 256;

/// One event as observers see it: durable ones with their number, progress without.
#[derive(Clone, Debug)]
#[non_exhaustive]
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

impl Notice {
    /// Makes a notice, such as one of an event that is read again.
    pub fn new(run: RunId, seq: Option<u64>, at: Timestamp, event: Event) -> Self {
        Notice { run, seq, at, event }
    }
}

/// Sees every event as it happens: the terminal, a log, a drill.
pub type Observer = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Returns whether a process that drove runs is certainly gone.
pub type Liveness = Arc<dyn Fn(&OwnerId) -> bool + Send + Sync>;

/// Answers the questions of runs while they are driven, such as a person at the terminal.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// Returns the answer and who gave it, or nothing when there is nobody to ask: then the run parks.
    ///
    /// An answer must be one of `choices`, unless there are none.
    async fn answer(&self, run: &RunId, question: &str, choices: &[String]) -> Option<(String, String)>;
}

/// Returns the value of an environment variable, for `env:` defaults of parameters.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the step machine is given beside a run's log. It says nothing of who keeps runs.
pub(crate) struct Parts {
    pub(crate) language: Language,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) library: Library,
    /// How many runs may be under way at once.
    pub(crate) concurrency: Concurrency,
    pub(crate) secrets: Option<Arc<dyn SecretSource>>,
    pub(crate) revealed: Arc<Revealed>,
    pub(crate) observers: Vec<Observer>,
    pub(crate) environment: Option<Environment>,
    pub(crate) readers: Vec<(String, ParamReader)>,
    pub(crate) version: String,
    /// How long, in real time, a halt or a stop waits for a call under way.
    pub(crate) grace: Duration,
    /// What the runs that are driven here hold open.
    pub(crate) handles: Arc<Handles>,
    /// Whether a person's terminal is at hand.
    pub(crate) attended: AtomicBool,
    /// For scripts that keep their threads through long waits.
    pub(crate) threads: Semaphore,
    pub(crate) answers: Mutex<Option<Arc<dyn Answers>>>,
    /// Held by the run whose question is before somebody.
    pub(crate) asking: tokio::sync::Mutex<()>,
}

/// What is shared by all runs of one engine: the parts, and what keeps and drives runs.
pub(crate) struct Core {
    pub(crate) parts: Arc<Parts>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) owner: OwnerId,
    pub(crate) liveness: Option<Liveness>,
    /// Ends everything that the engine drives.
    pub(crate) cancel: Cancel,
    pub(crate) drives: Drives,
    /// The one place for runs of which more than one driver has died.
    pub(crate) suspects: Arc<Semaphore>,
    pub(crate) alive_until: Mutex<Option<Timestamp>>,
    /// Set once the process is known to the journal.
    pub(crate) entered: OnceCell<()>,
}

/// Whoever keeps runs has the parts as well.
impl Deref for Core {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Parts {
    pub(crate) fn show(&self, notice: Notice) {
        for observer in &self.observers {
            observer(&notice);
        }
    }

    pub(crate) fn notice(&self, run: &RunId, seq: Option<u64>, mut event: Event) {
        self.revealed.clean(&mut event, &|_| false);
        self.show(Notice { run: run.clone(), seq, at: self.clock.now(), event });
    }

    /// Returns the time `after` from now.
    pub(crate) fn after(&self, after: Duration) -> Timestamp {
        self.clock.now().saturating_add(after).unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn is_attended(&self) -> bool {
        self.attended.load(Ordering::Relaxed)
    }

    /// Returns who answers questions here, if somebody does.
    pub(crate) fn answers(&self) -> Option<Arc<dyn Answers>> {
        self.answers.lock().expect("no panic while the answers are held").clone()
    }
}

impl Core {
    /// Returns what is known about whether a process is alive.
    pub(crate) fn presence(&self, owner: &OwnerId) -> Presence {
        match &self.liveness {
            _ if *owner == self.owner => Presence::Here,
            Some(is_gone) if is_gone(owner) => Presence::Gone,
            Some(_) => Presence::Here,
            None => self.journal.presence(owner),
        }
    }

    /// Makes this process known to the journal before it claims its first run, and keeps it alive.
    ///
    /// The heartbeat is a task of its own: an operation may take longer than a heartbeat lasts.
    pub(crate) async fn enter(self: &Arc<Self>) -> Result<()> {
        let entered = self.entered.get_or_try_init(|| async {
            if self.liveness.is_none() {
                self.journal.enter(&self.owner)?;
            }
            tokio::spawn(Core::pulse(Arc::downgrade(self)));
            Ok(())
        });
        entered.await?;
        self.stay_alive().await
    }

    async fn pulse(core: Weak<Core>) {
        loop {
            tokio::time::sleep(PULSE).await;
            let Some(core) = core.upgrade() else { return };
            if let Err(error) = core.stay_alive().await {
                tracing::warn!("the heartbeat of this process: {error}");
            }
        }
    }

    /// Renews this process's heartbeat when half of it is over.
    pub(crate) async fn stay_alive(&self) -> Result<()> {
        let (now, until) = (self.clock.now(), self.after(HEARTBEAT));
        let is_fresh =
            |known: Timestamp| known > now.saturating_add(HEARTBEAT / 2).unwrap_or(now) && known <= until;
        if self.alive_until().is_some_and(is_fresh) {
            return Ok(());
        }
        self.journal.heartbeat(&self.owner, until).await?;
        *self.alive_until() = Some(until);
        Ok(())
    }

    fn alive_until(&self) -> std::sync::MutexGuard<'_, Option<Timestamp>> {
        self.alive_until.lock().expect("no panic while the heartbeat is held")
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.entered.initialized() && self.liveness.is_none() {
            self.journal.leave(&self.owner);
        }
    }
}
