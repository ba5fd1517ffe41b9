//! One request, past the door: who asks, for what, and with what the service can answer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::HeaderMap;
use relight_engine::event::{Cause, Lease};
use relight_engine::journal::Summary;
use relight_engine::{Engine, RunId};
use tokio::sync::Semaphore;

use super::audit::Audit;
use super::health::Health;
use super::metrics::Metrics;
use super::refusal::{Outcome, Refusal};
use super::tokens::{Grant, Role, Tokens};

/// How many streams of events are open at once.
const STREAMS: usize = 128;

/// What all requests share.
pub(crate) struct Shared {
    pub(super) engine: Engine,
    pub(super) tokens: Tokens,
    pub(super) audit: Audit,
    pub(super) metrics: Metrics,
    pub(super) health: Arc<Health>,
    /// The state folder.
    pub(super) state: PathBuf,
    /// The names of secrets that a token below `admin` may give, each perhaps with a `*` at its end.
    pub(super) secrets: Vec<String>,
    /// Places for streams of events.
    pub(super) streams: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(
        engine: Engine,
        state: PathBuf,
        secrets: Vec<String>,
        health: Arc<Health>,
    ) -> relight_engine::Result<Self> {
        Ok(Shared {
            tokens: Tokens::open(&state)?,
            audit: Audit::open(&state)?,
            metrics: Metrics::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            engine,
            state,
            secrets,
            health,
        })
    }

    /// Drives a run until it is over or waits: nobody has to wait for that.
    pub(super) fn drive(&self, run: &RunId) {
        let (engine, run) = (self.engine.clone(), run.clone());
        tokio::spawn(async move {
            if let Err(error) = engine.drive(&run, super::PATIENCE).await {
                tracing::warn!("run {run}: {error:?}");
            }
        });
    }
}

/// What a request is about, as the audit journal says it.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) runbook: Option<String>,
    pub(super) run: Option<String>,
}

/// One request.
pub(super) struct Call {
    pub(super) shared: Arc<Shared>,
    /// Who asks; nobody where everybody may.
    pub(super) grant: Option<Grant>,
    /// What stands in the path's places, by the names that the table gives them.
    pub(super) places: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    /// What the handler has learned about what the request is about.
    pub(super) about: Mutex<About>,
}

impl Call {
    /// Returns what stands in a place of the path.
    pub(super) fn place(&self, name: &str) -> &str {
        self.places.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// Returns a header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the token with which it came.
    pub(super) fn token(&self) -> Option<&str> {
        bearer(&self.headers)
    }

    /// Returns the name of whoever asks, for the record.
    pub(super) fn by(&self) -> &str {
        self.grant.as_ref().map_or("somebody", |grant| &grant.name)
    }

    /// Returns whether whoever asks may do all that a role may.
    pub(super) fn is(&self, role: Role) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.role >= role)
    }

    /// Returns whether whoever asks is limited to some runbooks.
    pub(super) fn is_limited(&self) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.runbooks.is_some())
    }

    /// Returns whether a runbook is for whoever asks.
    pub(super) fn reaches(&self, runbook: &str) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.reaches(runbook))
    }

    /// Notes what the request is about.
    pub(super) fn concerns(&self, run: &Summary) {
        let about = About { runbook: Some(run.runbook.clone()), run: Some(run.id.to_string()) };
        *self.about.lock().unwrap_or_else(PoisonError::into_inner) = about;
    }

    /// Returns the run that the path names, if it is for whoever asks.
    ///
    /// # Errors
    /// 404 when there is none, or not for this token.
    pub(super) async fn run(&self) -> Outcome<Summary> {
        let id = RunId::from(self.place("run"));
        let found = self.shared.engine.journal().run(&id).await?;
        let nothing = || {
            Refusal::not_found(format!("there is no run `{}`", id.as_str().escape_debug()))
                .hint("list the runs: GET /v1/runs")
        };
        let run = found.ok_or_else(nothing)?;
        if !self.reaches_run(&run.id, &run.runbook).await? {
            return Err(nothing());
        }
        self.concerns(&run);
        Ok(run)
    }

    /// Returns whether a run is for whoever asks: by its runbook, or by that of a run that started it.
    pub(super) async fn reaches_run(&self, run: &RunId, runbook: &str) -> relight_engine::Result<bool> {
        if self.reaches(runbook) {
            return Ok(true);
        }
        let mut at = run.clone();
        loop {
            let prepared = self.shared.engine.history(&at).await?.prepared;
            if self.reaches(&prepared.runbook) {
                return Ok(true);
            }
            match prepared.cause {
                Cause::Run { id, .. } => at = id,
                _ => return Ok(false),
            }
        }
    }

    /// Returns whether a lease is for whoever asks: by the run that opened it.
    pub(super) async fn reaches_lease(&self, lease: &Lease) -> relight_engine::Result<bool> {
        match self.is_limited() {
            false => Ok(true),
            true => self.reaches_run(&lease.run, "").await,
        }
    }
}

/// Returns the token that headers bear. Who sends two means neither.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(hyper::header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
