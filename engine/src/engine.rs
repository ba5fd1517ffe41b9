//! The engine: what an embedder builds once and shares.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::builtin;
use crate::clock::{Clock, SystemClock};
use crate::cx::SecretSource;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{
    Cause, Event, FORMAT, Park, Pin, Prepared, Provenance, RunEnd, RunId, Signal, Source, fingerprint,
};
use crate::journal::{Journal, MemoryJournal, NewRun, OwnerId, Status, Summary};
use crate::lease::Closing;
use crate::library::Library;
use crate::operation::{Declaration, Operation, Registered};
use crate::params::{Given, ParamReader, Surroundings, bind};
use crate::replay::History;
use crate::run::{Driven, point_at};
use crate::runbook::Runbook;
use crate::script::{Finding, Language, Limits, PlannedCall, Program};

/// How long a process that says nothing counts as alive.
const HEARTBEAT: Duration = Duration::from_secs(180);

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
    pub(crate) owner: OwnerId,
    pub(crate) liveness: Option<Liveness>,
    observers: Vec<Observer>,
    environment: Option<Environment>,
    readers: Vec<(String, ParamReader)>,
    version: String,
    interrupt: watch::Sender<bool>,
    alive_until: Mutex<Option<Timestamp>>,
}

impl Core {
    pub(crate) fn show(&self, notice: Notice) {
        for observer in &self.observers {
            observer(&notice);
        }
    }

    pub(crate) fn notice(&self, run: &RunId, seq: Option<u64>, event: Event) {
        self.show(Notice { run: run.clone(), seq, at: self.clock.now(), event });
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        *self.interrupt.borrow()
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

    /// Compiles a runbook with everything it imports.
    fn program(&self, main: Source) -> Result<(Program, Vec<Source>)> {
        let mut sources = vec![main];
        let mut checked = 0;
        while checked < sources.len() {
            let source = sources[checked].clone();
            let program = self.language.compile(Arc::from([source]))?;
            for name in program.imports()? {
                if !sources.iter().any(|known| known.name == name) {
                    sources.push(self.library.source(&name)?);
                }
            }
            checked += 1;
        }
        Ok((self.language.compile(sources.clone().into())?, sources))
    }

    /// Makes a run of a request, without writing it anywhere.
    pub(crate) fn make(&self, request: &RunRequest) -> Result<(NewRun, Runbook, Program)> {
        let main = match &request.text {
            Some(text) => Source { name: request.runbook.clone(), text: text.clone() },
            None => self.library.source(&request.runbook)?,
        };
        let runbook = Runbook::parse(&main)?;
        let (program, sources) = self.program(main)?;
        if let Some(finding) = self.language.findings(&runbook, &program).into_iter().next() {
            return Err(finding);
        }
        let environment = |name: &str| self.environment.as_ref().and_then(|lookup| lookup(name));
        let reader = |kind: &str| self.readers.iter().find(|(name, _)| name == kind).map(|(_, r)| r.clone());
        let bound =
            bind(&runbook, &request.params, &Surroundings { environment: &environment, reader: &reader })?;
        let provenance = match request.text.is_some() || self.library.is_shipped(&runbook.name) {
            true => Provenance::default(),
            false => self.library.provenance(),
        };
        if request.require_clean && (provenance.dirty || provenance.commit.is_none()) {
            let why = if provenance.dirty {
                "has changes that no commit holds"
            } else {
                "is not in a git checkout"
            };
            return Err(Error::invalid(format!("the runbook `{}` {why}", runbook.name))
                .hint("commit the runbooks, or run without --require-clean"));
        }
        let pins =
            sources.iter().map(|s| Pin { name: s.name.clone(), fingerprint: fingerprint(&s.text) }).collect();
        let prepared = Prepared {
            format: FORMAT,
            engine: self.version.clone(),
            runbook: runbook.name.clone(),
            sources: pins,
            provenance,
            params: bound.values,
            cause: request.cause.clone(),
            workdir: request.workdir.to_string_lossy().into_owned(),
            paths: bound.paths,
        };
        Ok((NewRun { id: request.id.clone(), prepared, sources, wake: request.wake }, runbook, program))
    }

    /// Writes a run down. Afterwards it can be driven by any process.
    pub(crate) async fn prepare(&self, request: &RunRequest) -> Result<RunId> {
        let (run, ..) = self.make(request)?;
        let (id, event) = (run.id.clone(), Event::Prepared(Box::new(run.prepared.clone())));
        let at = self.clock.now();
        if self.journal.prepare(run, at).await? {
            self.show(Notice { run: id.clone(), seq: Some(1), at, event });
        }
        Ok(id)
    }

    /// Prepares the child of a step. The same step always has the same child.
    pub(crate) async fn prepare_child(
        &self,
        parent: &RunId,
        step: u32,
        runbook: &str,
        params: &Value,
        workdir: &Path,
    ) -> Result<RunId> {
        let id = RunId::derived(&["child", parent.as_str(), &step.to_string()]);
        if self.journal.run(&id).await?.is_none() {
            let request = RunRequest {
                id: id.clone(),
                params: by_name(params),
                workdir: workdir.to_owned(),
                cause: Cause::Run { id: parent.clone(), step },
                // The parent drives it; a keeper takes over only when nobody did for a while.
                wake: Some(self.after(HEARTBEAT)),
                ..RunRequest::new(runbook)
            };
            self.prepare(&request).await?;
        }
        Ok(id)
    }
}

/// Turns a map of parameters into what was given by name.
pub(crate) fn by_name(params: &Value) -> Vec<(String, Given)> {
    let entries = params.as_object().into_iter().flatten();
    entries
        .filter(|(_, v)| !v.is_null())
        .map(|(name, value)| (name.clone(), Given::Value(value.clone())))
        .collect()
}

/// Everything needed to prepare a run.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// The runbook's name.
    pub runbook: String,
    /// The parameters as given.
    pub params: Vec<(String, Given)>,
    /// The folder below which the run may touch files.
    pub workdir: PathBuf,
    /// Refuses a runbook that no commit holds.
    pub require_clean: bool,
    /// The run's id; a fresh one unless something fixes it.
    pub id: RunId,
    /// Why it exists.
    pub cause: Cause,
    /// When a keeper may wake it; at once unless set.
    pub wake: Option<Timestamp>,
    /// The text, when the runbook is not from the library.
    pub(crate) text: Option<String>,
}

impl RunRequest {
    /// Makes a request that a person gives, without parameters, in the current folder.
    pub fn new(runbook: impl Into<String>) -> Self {
        RunRequest {
            runbook: runbook.into(),
            params: Vec::new(),
            workdir: PathBuf::from("."),
            require_clean: false,
            id: RunId::fresh(),
            cause: Cause::Person,
            wake: None,
            text: None,
        }
    }

    /// Adds a parameter as a person writes it.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.params.push((name.into(), Given::Text(text.into())));
        self
    }

    /// Runs a text that is not in the library.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }
}

/// What a run would do, as far as it is known before it runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The runbook.
    pub runbook: Runbook,
    /// The parameters, typed and complete.
    pub params: Value,
    /// The calls in the order of the text.
    pub calls: Vec<PlannedCall>,
}

/// Builds an [`Engine`].
pub struct EngineBuilder {
    operations: Vec<Registered>,
    journal: Option<Arc<dyn Journal>>,
    clock: Arc<dyn Clock>,
    library: Library,
    limits: Limits,
    secrets: Option<Arc<dyn SecretSource>>,
    observers: Vec<Observer>,
    environment: Option<Environment>,
    readers: Vec<(String, ParamReader)>,
    liveness: Option<Liveness>,
    owner: OwnerId,
}

impl EngineBuilder {
    /// Adds an operation.
    #[must_use]
    pub fn operation(mut self, operation: impl Operation) -> Self {
        self.operations.push(Registered::new(operation));
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

    /// Sets the name of this process and how to tell whether another is gone, so that its runs are
    /// taken over at once rather than when its heartbeat is over.
    #[must_use]
    pub fn owner(mut self, owner: OwnerId, liveness: Liveness) -> Self {
        self.owner = owner;
        self.liveness = Some(liveness);
        self
    }

    /// Builds the engine.
    ///
    /// # Errors
    /// `Invalid` when two operations share a name.
    pub fn build(self) -> Result<Engine> {
        let mut operations = builtin::all();
        operations.extend(self.operations);
        Ok(Engine(Arc::new(Core {
            language: Language::new(operations, self.limits)?,
            journal: self.journal.unwrap_or_else(|| Arc::new(MemoryJournal::new())),
            clock: self.clock,
            library: self.library,
            secrets: self.secrets,
            owner: self.owner,
            liveness: self.liveness,
            observers: self.observers,
            environment: self.environment,
            readers: self.readers,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interrupt: watch::Sender::new(false),
            alive_until: Mutex::new(None),
        })))
    }
}

/// Runs runbooks. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Core>);

impl Engine {
    /// Starts building an engine: no operations but the built-in ones, the wall clock, no library.
    pub fn builder() -> EngineBuilder {
        EngineBuilder {
            operations: Vec::new(),
            journal: None,
            clock: Arc::new(SystemClock),
            library: Library::new(),
            limits: Limits::default(),
            secrets: None,
            observers: Vec::new(),
            environment: None,
            readers: Vec::new(),
            liveness: None,
            owner: OwnerId::fresh(),
        }
    }

    /// Returns the library.
    pub fn library(&self) -> &Library {
        &self.0.library
    }

    /// Returns the journal.
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.0.journal
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Returns every operation in the order of names.
    pub fn operations(&self) -> Vec<Arc<Declaration>> {
        self.0.language.operations().map(|o| o.declaration.clone()).collect()
    }

    /// Returns what is wrong with a runbook, as far as it can be seen without running it.
    ///
    /// # Errors
    /// `Invalid` when there is no such runbook.
    pub fn check(&self, name: &str) -> Result<Vec<Finding>> {
        let main = self.0.library.source(name)?;
        let runbook = match Runbook::parse(&main) {
            Ok(runbook) => runbook,
            Err(error) => return Ok(vec![error]),
        };
        match self.0.program(main) {
            Ok((program, _)) => Ok(self.0.language.findings(&runbook, &program)),
            Err(error) => Ok(vec![error]),
        }
    }

    /// Returns what a run would do, without writing or sending anything.
    ///
    /// # Errors
    /// `Invalid`, as [`prepare`](Self::prepare).
    pub fn plan(&self, request: &RunRequest) -> Result<Plan> {
        let (run, runbook, program) = self.0.make(request)?;
        let calls = self.0.language.planned(&program, &run.prepared.params);
        Ok(Plan { runbook, params: run.prepared.params, calls })
    }

    /// Writes a run down: its parameters are typed, its sources pinned. Nothing has been sent.
    ///
    /// # Errors
    /// `Invalid` when the runbook or a parameter is wrong; `Storage`.
    pub async fn prepare(&self, request: &RunRequest) -> Result<RunId> {
        self.0.prepare(request).await
    }

    /// Drives a run until it is over or a person must act, waiting through everything else.
    ///
    /// # Errors
    /// `Storage`, `Diverged`; `Stopped` when another process took the run over.
    pub async fn run(&self, run: &RunId) -> Result<Driven> {
        loop {
            match self.0.drive(run, Duration::MAX).await? {
                Driven::Parked(park, Some(until)) if park.is_waiting() => {
                    self.0.clock.sleep_until(until).await
                }
                driven => return Ok(driven),
            }
        }
    }

    /// Drives a run until it is over, parked, or waits for longer than `patience`.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn drive(&self, run: &RunId, patience: Duration) -> Result<Driven> {
        self.0.drive(run, patience).await
    }

    /// Interrupts everything that this engine drives: each run parks at the next safe point.
    pub fn interrupt(&self) {
        self.0.interrupt.send_replace(true);
    }

    /// Returns whether [`interrupt`](Self::interrupt) was called.
    pub fn is_interrupted(&self) -> bool {
        self.0.is_interrupted()
    }

    /// Answers the question or the undecided step on which a run is parked.
    ///
    /// # Errors
    /// `Invalid` when the run is not parked on one, or the answer is not among its choices; `Storage`.
    pub async fn answer(&self, run: &RunId, answer: &str, by: &str) -> Result<()> {
        let summary = self.summary(run).await?;
        let choices = match &summary.park {
            Some(Park::Question { choices, .. }) => choices.clone(),
            Some(Park::Undecided { .. }) => ["done", "again", "failed"].map(str::to_owned).to_vec(),
            _ => {
                return Err(Error::invalid(format!(
                    "run {run} waits for no answer: it is {}",
                    summary.status.as_str()
                )));
            }
        };
        if !choices.is_empty() && !choices.iter().any(|choice| choice == answer) {
            return Err(Error::invalid(format!("`{answer}` is no answer to run {run}"))
                .hint(format!("answer one of {}", choices.join(", "))));
        }
        let value = Value::String(answer.to_owned());
        let signal = Signal::Answer { step: summary.step, value, by: by.to_owned() };
        self.0.journal.signal(run, &signal, self.0.clock.now()).await
    }

    /// Asks a run to end. What it deferred still runs; an operation under way is not undone.
    ///
    /// # Errors
    /// `Invalid` when the run is over; `Storage`.
    pub async fn stop(&self, run: &RunId, by: &str) -> Result<()> {
        self.0.journal.signal(run, &Signal::Stop { by: by.to_owned() }, self.0.clock.now()).await
    }

    /// Returns one line about a run. A beginning of an id that fits one run is enough.
    ///
    /// # Errors
    /// `Invalid` when no run, or more than one, fits; `Storage`.
    pub async fn find(&self, id: &str) -> Result<Summary> {
        if let Some(summary) = self.0.journal.run(&RunId::from(id)).await? {
            return Ok(summary);
        }
        let runs = self.0.journal.runs(&crate::journal::RunFilter::default()).await?;
        let mut fitting = runs.into_iter().filter(|run| !id.is_empty() && run.id.as_str().starts_with(id));
        match (fitting.next(), fitting.next()) {
            (Some(run), None) => Ok(run),
            (Some(a), Some(b)) => {
                Err(Error::invalid(format!("`{id}` fits more than one run, such as {} and {}", a.id, b.id)))
            }
            (None, _) => Err(crate::journal::unknown(&RunId::from(id))),
        }
    }

    /// Returns what a run's records say.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn history(&self, run: &RunId) -> Result<History> {
        History::read(&self.0.journal.records(run, 0).await?)
    }

    /// Returns a failed run's error with the script line underlined.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn failure(&self, run: &RunId) -> Result<Option<Error>> {
        let history = self.history(run).await?;
        match history.end {
            Some(RunEnd::Failed { failure, at }) => {
                let sources = self.0.journal.sources(run).await?;
                Ok(Some(point_at(&sources, failure.to_error(), at.as_ref())))
            }
            _ => Ok(None),
        }
    }

    /// Returns the error for which a run is parked, with the script line of its step underlined.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn trouble(&self, run: &RunId) -> Result<Option<Error>> {
        let history = self.history(run).await?;
        let failure = match &history.park {
            Some(
                Park::Undecided { failure }
                | Park::Exhausted { failure }
                | Park::Denied { failure }
                | Park::Halted { failure },
            ) => failure,
            _ => return Ok(None),
        };
        let sources = self.0.journal.sources(run).await?;
        let at = history.steps.last().map(|past| past.at.clone());
        Ok(Some(point_at(&sources, failure.to_error(), at.as_ref())))
    }

    /// Prepares the run that closes a lease now, and takes it off its deadline's list.
    ///
    /// # Errors
    /// `Invalid` when there is no such lease; `Storage`.
    pub async fn close_lease(&self, id: &str) -> Result<RunId> {
        let leases = self.0.journal.leases().await?;
        let lease = leases.iter().find(|lease| lease.id == id).ok_or_else(|| {
            Error::invalid(format!("there is no open lease `{id}`")).hint("list them with `relight leases`")
        })?;
        match self.0.closing(lease, true).await? {
            Closing::Begin(request) => self.0.prepare(&request).await,
            Closing::UnderWay(run) => Ok(run),
        }
    }

    async fn summary(&self, run: &RunId) -> Result<Summary> {
        self.0.journal.run(run).await?.ok_or_else(|| crate::journal::unknown(run))
    }

    /// Returns whether a run may be resumed, with the reason when not.
    ///
    /// # Errors
    /// `Invalid` when the run is over.
    pub async fn resumable(&self, run: &RunId) -> Result<Summary> {
        let summary = self.summary(run).await?;
        match summary.status {
            Status::Succeeded | Status::Failed | Status::Stopped => Err(Error::new(
                ErrorKind::Invalid,
                format!("run {run} is over: it {}", summary.status.as_str()),
            )),
            _ => Ok(summary),
        }
    }
}
