//! What an operation knows about the step it belongs to.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Lease, Progress, RunId, digest};
use crate::journal::{Journal, LeaseFilter};
use crate::recorded::unescaped;
use crate::redact::Revealed;
use crate::value::{Secret, SecretRef};

/// Where the values behind secret references are kept. The engine reads no environment itself.
#[async_trait]
pub trait SecretSource: Send + Sync + 'static {
    /// Returns the value behind a name such as `env:WEB01_PASSWORD`.
    ///
    /// # Errors
    /// `Denied` when there is none: the run parks until it is provided.
    async fn reveal(&self, name: &str) -> Result<Secret>;
}

/// Called with what an operation says about itself while it works.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// The surroundings of one step: names, time, files, secrets, leases.
#[derive(Clone)]
pub struct Cx {
    pub(crate) run: RunId,
    pub(crate) step: u32,
    pub(crate) attempt: u32,
    pub(crate) closes: Option<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) secrets: Option<Arc<dyn SecretSource>>,
    pub(crate) revealed: Arc<Revealed>,
    pub(crate) workdir: PathBuf,
    pub(crate) paths: Arc<[String]>,
    pub(crate) permit: Option<SendPermit>,
    pub(crate) on_progress: OnProgress,
}

/// Extends a permit to send: asks the journal, which refuses when another process has the run.
type Extend = Arc<dyn Fn() -> BoxFuture<'static, Result<Timestamp>> + Send + Sync>;

/// The right to send a step's requests until a time.
#[derive(Clone)]
pub(crate) struct SendPermit(Arc<Mutex<Permitted>>, Duration, Extend);

struct Permitted {
    until: Timestamp,
    /// On this process's own clock, which nobody sets back.
    since: Instant,
}

impl SendPermit {
    /// Makes a permit that ends at `until`, and in any case `within` from now.
    pub(crate) fn new(until: Timestamp, within: Duration, extend: Extend) -> Self {
        SendPermit(Arc::new(Mutex::new(Permitted { until, since: Instant::now() })), within, extend)
    }

    async fn check(&self, now: Timestamp) -> Result<()> {
        {
            let permitted = self.permitted();
            if now < permitted.until && permitted.since.elapsed() < self.1 {
                return Ok(());
            }
        }
        let since = Instant::now();
        let until = (self.2)().await?;
        *self.permitted() = Permitted { until, since };
        Ok(())
    }

    fn permitted(&self) -> std::sync::MutexGuard<'_, Permitted> {
        self.0.lock().expect("no panic while a permit is held")
    }
}

impl Cx {
    /// Returns the run.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Returns the step's number.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// Returns which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns `len` hexadecimal digits (at most 64) that name this step of this run and nothing else.
    ///
    /// The same on every attempt and in every process: the way to give a resource a name under which
    /// a second attempt finds it.
    pub fn key(&self, len: usize) -> String {
        let mut key = digest(&[self.run.as_str(), &self.step.to_string()]);
        key.truncate(len);
        key
    }

    /// Returns the id of the lease that this step opens.
    pub fn lease_id(&self) -> String {
        format!("{}-{}", self.run, self.step)
    }

    /// Returns the lease that this step's run is there to close, when it is. The operation does the work
    /// itself then; in any other run it hands a leased thing over with
    /// [`Outcome::Close`](crate::Outcome::Close).
    pub fn closes(&self) -> Option<&str> {
        self.closes.as_deref()
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the clock, for a wait of less than a few seconds inside one look at the world.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Returns the time `after` from now.
    pub fn after(&self, after: Duration) -> Timestamp {
        self.now().saturating_add(after).unwrap_or(Timestamp::MAX)
    }

    /// Shows what the operation is doing. Never stored, silent during replay.
    pub fn progress(&self, message: impl Into<String>, percent: Option<f64>) {
        (self.on_progress)(Progress { message: message.into(), percent });
    }

    /// Makes sure that the step may still change the world. To be called right before each request that
    /// does; a request that is on its way for longer than 45 seconds must be given up.
    ///
    /// A process may be suspended between the record of an intent and its request, and lose the run to
    /// another one meanwhile. So an intent permits its writer to send for 30 seconds; who comes later asks
    /// the journal here, and whoever finds the step open waits until the permit and what may be on its
    /// way are over.
    ///
    /// # Errors
    /// `Stopped` when another process has the run: nothing may be sent. `Storage`.
    pub async fn may_send(&self) -> Result<()> {
        match &self.permit {
            Some(permit) => permit.check(self.now()).await,
            None => Ok(()),
        }
    }

    /// Returns the value of a secret, at the moment of use.
    ///
    /// # Errors
    /// `Denied` when nobody provides it.
    pub async fn secret(&self, secret: &SecretRef) -> Result<Secret> {
        match &self.secrets {
            Some(source) => {
                let value = source.reveal(&secret.name).await?;
                self.revealed.learn(&secret.name, &value);
                Ok(value)
            }
            None => {
                Err(Error::new(ErrorKind::Denied, format!("no source of secrets knows `{}`", secret.name)))
            }
        }
    }

    /// Returns `value`, which came with the step's arguments, as it goes out: every secret reference in it is
    /// replaced by its value, and data that only looks like one is data again.
    ///
    /// The result must go into a request and nowhere else.
    ///
    /// # Errors
    /// `Denied` when nobody provides one of them.
    pub async fn reveal(&self, value: &Value) -> Result<Value> {
        if let Some(secret) = SecretRef::from_json(value) {
            return Ok(Value::String(self.secret(&secret).await?.expose().to_owned()));
        }
        match value {
            Value::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    out.push(Box::pin(self.reveal(item)).await?);
                }
                Ok(Value::Array(out))
            }
            Value::Object(map) => {
                let mut out = serde_json::Map::with_capacity(map.len());
                for (name, item) in map {
                    let name = unescaped(name).unwrap_or(name);
                    out.insert(name.to_owned(), Box::pin(self.reveal(item)).await?);
                }
                Ok(Value::Object(out))
            }
            plain => Ok(plain.clone()),
        }
    }

    /// Returns the file that a script means: below the run's folder, or one that a `path` parameter named.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn file(&self, path: &str) -> Result<PathBuf> {
        let named = Path::new(path);
        let whole = self.workdir.join(named);
        if self.paths.iter().any(|allowed| allowed == path) {
            return Ok(whole);
        }
        let inside = !path.is_empty()
            && named.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(Error::invalid(format!("`{path}` is outside the run's folder {}", self.workdir.display()))
                .hint("let the runbook take the file as a parameter of type `path`, so that whoever runs it names it"));
        }
        Ok(whole)
    }

    /// Returns the open leases for a subject, compared without case.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn leases_for(&self, subject: &str) -> Result<Vec<Lease>> {
        self.journal.leases_where(&LeaseFilter::Subject(subject.to_owned())).await
    }

    /// Returns the open leases that share a door.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn leases_on(&self, door: &str) -> Result<Vec<Lease>> {
        self.journal.leases_where(&LeaseFilter::Door(door.to_owned())).await
    }
}
