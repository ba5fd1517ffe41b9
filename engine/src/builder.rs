//! Building an engine.

#[cfg(feature = "sqlite")]
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};

use crate::attached::Attached;
use crate::builtin;
use crate::clock::{Clock, SystemClock};
use crate::concurrency::Concurrency;
use crate::core::{Core, Environment, GRACE, Liveness, Observer, Parts, THREADS};
use crate::cx::SecretSource;
use crate::drive::{Cancel, Drives};
use crate::engine::Engine;
use crate::error::Result;
use crate::journal::{Journal, MemoryJournal, OwnerId};
use crate::library::Library;
use crate::operation::{Operation, Registered};
use crate::params::ParamReader;
use crate::script::{Language, Limits, MemoryMeter};

/// Builds an [`Engine`].
pub struct EngineBuilder {
    operations: Vec<Registered>,
    journal: Option<Arc<dyn Journal>>,
    clock: Arc<dyn Clock>,
    library: Library,
    limits: Limits,
    concurrency: Concurrency,
    meter: Option<MemoryMeter>,
    secrets: Option<Arc<dyn SecretSource>>,
    observers: Vec<Observer>,
    environment: Option<Environment>,
    readers: Vec<(String, ParamReader)>,
    liveness: Option<Liveness>,
    owner: OwnerId,
    grace: Duration,
}

impl Engine {
    /// Starts building an engine: no operations but the built-in ones, the wall clock, no library.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    /// Starts building an engine over a database file, which is made if it is not there. Its runs outlive
    /// the process: the next one that opens the file goes on with them, and takes over from one that died.
    /// To drive by itself what is due, the program needs a [`Worker`](crate::worker::Worker).
    ///
    /// # Errors
    /// `Storage` when the file cannot be opened or is no journal of this version.
    #[cfg(feature = "sqlite")]
    pub fn open(path: impl AsRef<Path>) -> Result<EngineBuilder> {
        Ok(EngineBuilder::new().journal(Arc::new(crate::journal::SqliteJournal::open(path.as_ref())?)))
    }
}

impl EngineBuilder {
    pub(crate) fn new() -> Self {
        EngineBuilder {
            operations: Vec::new(),
            journal: None,
            clock: Arc::new(SystemClock),
            library: Library::new(),
            limits: Limits::default(),
            concurrency: Concurrency::default(),
            meter: None,
            secrets: None,
            observers: Vec::new(),
            environment: None,
            readers: Vec::new(),
            liveness: None,
            owner: OwnerId::fresh(),
            grace: GRACE,
        }
    }

    /// Adds an operation.
    #[must_use]
    pub fn operation(mut self, operation: impl Operation) -> Self {
        self.operations.push(Registered::new(operation));
        self
    }

    /// Adds an operation that holds something open.
    #[must_use]
    pub fn attached(mut self, attached: impl Attached) -> Self {
        self.operations.push(Registered::attached(attached));
        self
    }

    /// Adds operations.
    #[must_use]
    pub fn operations(mut self, operations: impl IntoIterator<Item = Registered>) -> Self {
        self.operations.extend(operations);
        self
    }

    /// Sets the journal. Without one, runs are kept in memory and are gone with the engine.
    #[must_use]
    pub fn journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Sets the clock; the wall clock unless set.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets where runbooks come from.
    #[must_use]
    pub fn library(mut self, library: Library) -> Self {
        self.library = library;
        self
    }

    /// Sets what a script may use up.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how many runs may be under way at once: one on each target, and as many as the runbooks say, unless set.
    #[must_use]
    pub fn concurrency(mut self, concurrency: Concurrency) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Sets how the memory of a script is measured. Without a meter [`Limits::memory`] is a matter of luck:
    /// scripts are bounded value by value, and their variables added up every now and then.
    #[must_use]
    pub fn memory_meter(mut self, meter: MemoryMeter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Sets where the values of secrets come from.
    #[must_use]
    pub fn secrets(mut self, secrets: Arc<dyn SecretSource>) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// Adds somebody who sees every event.
    #[must_use]
    pub fn observer(mut self, observer: Observer) -> Self {
        self.observers.push(observer);
        self
    }

    /// Sets where `env:` defaults of parameters are looked up.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Teaches the engine a kind of parameter, such as `resource_id`.
    #[must_use]
    pub fn parameter_kind(mut self, name: &str, reader: ParamReader) -> Self {
        self.readers.push((name.to_owned(), reader));
        self
    }

    /// Sets the name of this process and how to tell whether another is gone, where the journal's own
    /// way does not do.
    #[must_use]
    pub fn owner(mut self, owner: OwnerId, liveness: Liveness) -> Self {
        self.owner = owner;
        self.liveness = Some(liveness);
        self
    }

    /// Sets how long, in real time, an interruption or a stop waits for an operation that does not hear of it:
    /// 45 seconds unless set, in which every request was answered or given up. What it came to is unclear
    /// after that.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Builds the engine.
    ///
    /// # Errors
    /// `Invalid` when two operations share a name.
    pub fn build(self) -> Result<Engine> {
        let mut operations = builtin::all();
        operations.extend(self.operations);
        let parts = Parts {
            language: Language::new(operations, self.limits, self.meter)?,
            clock: self.clock,
            library: self.library,
            concurrency: self.concurrency,
            secrets: self.secrets,
            revealed: Arc::default(),
            observers: self.observers,
            environment: self.environment,
            readers: self.readers,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            grace: self.grace,
            handles: Arc::default(),
            attended: AtomicBool::new(false),
            threads: Semaphore::new(THREADS),
            asking: tokio::sync::Mutex::default(),
            answers: Mutex::default(),
        };
        Ok(Engine(Arc::new(Core {
            parts: Arc::new(parts),
            journal: self.journal.unwrap_or_else(|| Arc::new(MemoryJournal::new())),
            owner: self.owner,
            liveness: self.liveness,
            cancel: Cancel::default(),
            drives: Drives::default(),
            suspects: Arc::new(Semaphore::new(1)),
            alive_until: Mutex::new(None),
            entered: OnceCell::new(),
        })))
    }
}
