//! What an operation knows about the step it belongs to.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::SetOnce;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Call, Lease, Progress, RunId, Schedule, Stream, digest};
use crate::file::RunFile;
use crate::handles::{Handle, Handles};
use crate::journal::LeaseFilter;
use crate::lease;
use crate::log::Duties;
use crate::recorded::unescaped;
use crate::redact::{RedactStream, Revealed, dressed, hidden_parts, reference};
use crate::unrecorded::Unrecorded;
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

/// The surroundings of one step: names, time, files, secrets, leases.
#[derive(Clone)]
pub struct Cx {
    pub(crate) around: Arc<Surroundings>,
    pub(crate) step: u32,
    pub(crate) attempt: u32,
    pub(crate) permit: Option<SendPermit>,
    /// The lease that the step held when its operation was asked.
    pub(crate) lease: Option<Lease>,
    /// Set when the call is to end early.
    pub(crate) told: Option<Arc<SetOnce<()>>>,
}

/// What all steps of a run have around them.
pub(crate) struct Surroundings {
    pub(crate) run: RunId,
    pub(crate) closes: Option<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) duties: Arc<dyn Duties>,
    pub(crate) secrets: Option<Arc<dyn SecretSource>>,
    pub(crate) revealed: Arc<Revealed>,
    pub(crate) workdir: PathBuf,
    pub(crate) paths: Vec<String>,
    pub(crate) unrecorded: Arc<Unrecorded>,
    pub(crate) handles: Arc<Handles>,
    /// Gone when the run is not driven any more.
    pub(crate) driving: Weak<dyn Driving>,
}

/// Whoever drives a run, as the calls of its steps reach it.
pub(crate) trait Driving: Send + Sync {
    /// Shows what an operation is doing.
    fn progress(&self, step: u32, progress: Progress);

    /// Takes what an operation says, as it comes.
    fn output(&self, step: u32, stream: Stream, bytes: &[u8]);

    /// Extends a step's permit to send: asks the journal, which refuses when another process has the run.
    fn extend(self: Arc<Self>, step: u32) -> BoxFuture<'static, Result<Timestamp>>;
}

/// The right to send a step's requests until a time, and for how long each record gives it.
#[derive(Clone)]
pub(crate) struct SendPermit(Arc<Mutex<Permitted>>, Duration);

struct Permitted {
    until: Timestamp,
    /// On the clock's second hand, which nobody sets back.
    since: Duration,
}

impl SendPermit {
    /// Makes a permit that ends at `until`, and in any case `within` from `since`, which is when its
    /// record was made: writing it may have taken any time.
    pub(crate) fn new(until: Timestamp, since: Duration, within: Duration) -> Self {
        SendPermit(Arc::new(Mutex::new(Permitted { until, since })), within)
    }

    async fn check(
        &self,
        clock: &dyn Clock,
        extend: impl Fn() -> Result<BoxFuture<'static, Result<Timestamp>>>,
    ) -> Result<()> {
        loop {
            let since = clock.elapsed();
            {
                let permitted = self.permitted();
                if clock.now() < permitted.until && since.saturating_sub(permitted.since) < self.1 {
                    return Ok(());
                }
            }
            // Asking may take any time, too.
            let until = extend()?.await?;
            *self.permitted() = Permitted { until, since };
        }
    }

    fn permitted(&self) -> std::sync::MutexGuard<'_, Permitted> {
        self.0.lock().expect("no panic while a permit is held")
    }
}

impl Cx {
    /// Returns the run.
    pub fn run(&self) -> &RunId {
        &self.around.run
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
        let mut key = digest(&[self.around.run.as_str(), &self.step.to_string()]);
        key.truncate(len);
        key
    }

    /// Returns the id of the lease that this step opens.
    pub fn lease_id(&self) -> String {
        lease::id_of(&self.around.run, self.step)
    }

    /// Returns the lease of what this step opens now, with what closes it at `deadline` at the latest. It goes
    /// with the outcome, as [`Effected::LeaseOpened`](crate::event::Effected).
    pub fn lease(&self, deadline: Timestamp, close: Call) -> Lease {
        Lease::new(self.lease_id(), &self.around.run, self.now(), deadline, close)
    }

    /// Returns this step's schedule of a runbook, whose runs may touch the files that this run may. Its id
    /// follows from the step, so that making it twice makes one. It goes with the outcome, as
    /// [`Effected::Scheduled`](crate::event::Effected).
    pub fn schedule(&self, runbook: impl Into<String>, due: Timestamp) -> Schedule {
        let workdir: PathBuf = self.around.workdir.components().collect();
        let mut schedule = Schedule::new(self.key(12), runbook, due);
        schedule.run = Some(self.around.run.clone());
        schedule.workdir = workdir.to_string_lossy().into_owned();
        schedule
    }

    /// Returns the lease that this step's run is there to close, when it is. The operation does the work
    /// itself then; in any other run it hands a leased thing over with
    /// [`Outcome::Close`](crate::Outcome::Close).
    pub fn closes(&self) -> Option<&str> {
        self.around.closes.as_deref()
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.around.clock.now()
    }

    /// Returns the clock, for a wait of less than a few seconds inside one look at the world.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.around.clock
    }

    /// Returns the time `after` from now.
    pub fn after(&self, after: Duration) -> Timestamp {
        self.now().saturating_add(after).unwrap_or(Timestamp::MAX)
    }

    /// Shows what the operation is doing. Never stored, silent during replay.
    pub fn progress(&self, message: impl Into<String>, percent: Option<f64>) {
        if let Some(driving) = self.around.driving.upgrade() {
            driving.progress(self.step, Progress { message: message.into(), percent });
        }
    }

    /// Hands on what something else says while the operation works: a command, a log, a session. Shown as it
    /// comes, without the secrets that were revealed by now, wherever the pieces part. Never part of a
    /// replay; the journal keeps it up to a cap, its beginning and its end.
    ///
    /// What comes in several looks at one thing should end with a line when the step is put away: a
    /// secret that one process hears the first half of and another the second is not found.
    pub fn output(&self, stream: Stream, bytes: &[u8]) {
        if let Some(driving) = self.around.driving.upgrade() {
            driving.output(self.step, stream, bytes);
        }
    }

    /// Returns once the call is to end early, because its run is stopped or put away. A call that waits for
    /// long waits for this too, and gives up what it holds: with [`ErrorKind::Unsent`] when certainly nothing
    /// happened, with its state when it goes on elsewhere.
    ///
    /// Who does not listen is given up after a bound: at once for what changes nothing (five seconds), and
    /// when every request must have been given up for what does (45 seconds).
    pub async fn cancelled(&self) {
        match &self.told {
            Some(told) => drop(told.wait().await),
            // What is no call is closed in its own way.
            None => std::future::pending().await,
        }
    }

    /// Returns whether the call is to end early.
    pub fn is_cancelled(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.initialized())
    }

    /// Makes sure that the step may still change the world. To be called right before each request that
    /// does; a request that is on its way for longer than 45 seconds must be given up.
    ///
    /// A process may be suspended between the record of an intent and its request, and lose the run to
    /// another one meanwhile. So an intent permits its writer to send for 30 seconds; who comes later asks
    /// the journal here, and whoever finds the step open waits until the permit and what may be on its
    /// way are over. What opens something is held to its lease as well: once somebody closes it, the step
    /// sends nothing any more, and the closing waits for what is on its way.
    ///
    /// # Errors
    /// `Stopped` when another process has the run: nothing may be sent. `Unsent` when the step's lease is
    /// being closed, or was: the operation is asked again, and sees what became of it. `Storage`.
    pub async fn may_send(&self) -> Result<()> {
        if let Some(permit) = &self.permit {
            permit.check(&*self.around.clock, || self.extend()).await?;
        }
        match &self.lease {
            Some(lease) => self.around.duties.check_wanted(lease).await,
            None => Ok(()),
        }
    }

    fn extend(&self) -> Result<BoxFuture<'static, Result<Timestamp>>> {
        let driving = self.around.driving.upgrade();
        let driving =
            driving.ok_or_else(|| Error::new(ErrorKind::Stopped, "the run is not driven here any more"))?;
        Ok(driving.extend(self.step))
    }

    /// Returns the value of a secret, at the moment of use.
    ///
    /// # Errors
    /// `Denied` when nobody provides it, or when it is too short to be kept out of the record.
    pub async fn secret(&self, secret: &SecretRef) -> Result<Secret> {
        match &self.around.secrets {
            Some(source) => {
                let value = source.reveal(&secret.name).await?;
                self.around.revealed.learn(&secret.name, &value)?;
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

    /// Returns what takes the secrets that were revealed by now out of a text that arrives in pieces.
    ///
    /// What an operation returns, reports or fails with is cleaned without it.
    pub fn redact(&self) -> RedactStream {
        RedactStream::new(self.around.revealed.clone())
    }

    /// Returns an operation's state with its secrets in their place again.
    ///
    /// # Errors
    /// `Denied` when nobody provides one of them.
    pub(crate) async fn unhidden(&self, state: &Value) -> Result<Value> {
        let Some(parts) = state.get("at").and_then(hidden_parts) else { return Ok(state.clone()) };
        let mut text = String::new();
        for part in parts {
            match reference(part) {
                Some((secret, form)) => {
                    text.push_str(&dressed(&self.secret(&secret).await?, form).unwrap_or_default());
                }
                None => text.push_str(part.as_str().unwrap_or_default()),
            }
        }
        let at: Value = serde_json::from_str(&text).map_err(|e| {
            Error::new(ErrorKind::Denied, "a secret that the step's state refers to has another value now")
                .because(e)
                .hint("provide the value that it had when the step began, then resume the run")
        })?;
        Ok(json!({ "v": state.get("v"), "at": at }))
    }

    /// Returns the run's folder.
    pub fn workdir(&self) -> &Path {
        &self.around.workdir
    }

    /// Returns the file that a script means: below the run's folder, one that a `path` parameter named, or one below a
    /// folder that it named.
    /// What is written to it becomes part of the run's record.
    ///
    /// # Errors
    /// `Invalid` for anything else, `Rejected` when its folder cannot be opened.
    pub fn file(&self, path: &str) -> Result<RunFile> {
        let named = Path::new(path);
        let whole = self.around.workdir.join(named);
        let failed = |e| {
            Error::rejected(format!("failed to open the folder of `{path}`"))
                .because(e)
                .hint("check that the folder exists and can be entered")
        };
        let noted = |file: RunFile| file.noted_by(self.around.unrecorded.clone(), self.step, path);
        if self.around.paths.iter().any(|allowed| allowed == path) {
            return RunFile::anywhere(whole).map(noted).map_err(failed);
        }
        let is_plain =
            |path: &Path| path.components().all(|it| matches!(it, Component::Normal(_) | Component::CurDir));
        let below = |allowed: &String| match named.strip_prefix(allowed).ok()? {
            rest if allowed.is_empty() || !is_plain(rest) => None,
            rest => Some((self.around.workdir.join(allowed), rest)),
        };
        if let Some((folder, rest)) = self.around.paths.iter().find_map(below) {
            return RunFile::below(&folder, rest).map(noted).map_err(failed);
        }
        if path.is_empty() || !is_plain(named) {
            return Err(Error::invalid(format!("`{path}` is outside the run's folder {}", self.around.workdir.display()))
                .hint("let the runbook take the file as a parameter of type `path`, so that whoever runs it names it"));
        }
        RunFile::below(&self.around.workdir, named).map(noted).map_err(failed)
    }

    /// Returns what an earlier step holds open, opened again if this process has not done so yet.
    ///
    /// # Errors
    /// `Rejected` when it is not open, because its run is not at work here; `Invalid` when it is something else
    /// than the caller uses; and whatever keeps it from being opened again.
    pub async fn live<L: Send + Sync + 'static>(&self, handle: &Handle) -> Result<Arc<L>> {
        let live = self.around.handles.live(handle).await?;
        live.downcast()
            .map_err(|_| Error::invalid(format!("`{handle}` is not what this operation works with")))
    }

    /// Returns the open leases for a subject, compared without case.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn leases_for(&self, subject: &str) -> Result<Vec<Lease>> {
        self.around.duties.leases(&LeaseFilter::Subject(subject.to_owned())).await
    }

    /// Returns the open leases that share a door.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn leases_on(&self, door: &str) -> Result<Vec<Lease>> {
        self.around.duties.leases(&LeaseFilter::Door(door.to_owned())).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::SteppedClock;

    #[tokio::test]
    async fn a_permit_is_over_although_the_clock_was_set_back() {
        let within = Duration::from_secs(30);
        let clock = SteppedClock::new("2026-11-20T08:00:00Z".parse().unwrap());
        let asked = AtomicUsize::new(0);
        let extend = || -> Result<BoxFuture<'static, Result<Timestamp>>> {
            asked.fetch_add(1, Ordering::SeqCst);
            let until = clock.now().saturating_add(within).unwrap();
            Ok(Box::pin(async move { Ok(until) }))
        };
        let until = clock.now().saturating_add(within).unwrap();
        let permit = SendPermit::new(until, clock.elapsed(), within);
        permit.check(&clock, extend).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        clock.advance(Duration::from_secs(300));
        clock.set("2026-11-20T07:00:00Z".parse().unwrap());
        permit.check(&clock, extend).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 1, "the journal was asked");
        permit.check(&clock, extend).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
