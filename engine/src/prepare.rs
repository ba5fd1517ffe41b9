//! Preparing a run: its texts are pinned, its parameters typed, and it is written down.
//!
//! Nothing is sent here, and everything that can be refused is refused here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::core::{Core, HEARTBEAT, Notice};
use crate::error::{Error, Result};
use crate::event::{Cause, Event, FORMAT, Pin, Prepared, Provenance, RunId, Source, fingerprint};
use crate::journal::NewRun;
use crate::params::{Given, Surroundings, bind};
use crate::runbook::Runbook;
use crate::script::Program;

/// How many runs may stand above one: a runbook that runs itself must not go on for ever.
const DEEPEST: u32 = 8;

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
    /// How many runs stand above it.
    pub(crate) depth: u32,
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
            depth: 0,
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

impl Core {
    /// Compiles a runbook with everything it imports.
    pub(crate) fn program(&self, main: Source) -> Result<(Program, Vec<Source>)> {
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
        self.language.check_params(&runbook)?;
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
            depth: request.depth,
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
        depth: u32,
        runbook: &str,
        params: &Value,
        workdir: &Path,
    ) -> Result<RunId> {
        if depth > DEEPEST {
            return Err(Error::invalid(format!(
                "`{runbook}` would be the child of {DEEPEST} runs, each started by the one before"
            ))
            .hint("does a runbook run itself? let it loop instead"));
        }
        let id = RunId::derived(&["child", parent.as_str(), &step.to_string()]);
        if self.journal.run(&id).await?.is_none() {
            let request = RunRequest {
                id: id.clone(),
                params: by_name(params),
                workdir: workdir.to_owned(),
                cause: Cause::Run { id: parent.clone(), step },
                // The parent drives it; a keeper takes over only when nobody did for a while.
                wake: Some(self.after(HEARTBEAT)),
                depth,
                ..RunRequest::new(runbook)
            };
            self.prepare(&request).await?;
        }
        Ok(id)
    }
}
