//! Preparing a run: its texts are pinned, its parameters typed, and it is written down.
//!
//! Nothing is sent here, and everything that can be refused is refused here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::core::{Core, HEARTBEAT, Notice, Parts};
use crate::effect::Effects;
use crate::error::{Error, Result};
use crate::event::{
    Branch, Cause, Entry, Event, FORMAT, Pin, Prepared, Provenance, RunId, Source, fingerprint,
};
use crate::hint::NextStep;
use crate::journal::{NewRun, gone, unknown};
use crate::params::{Given, Surroundings, bind};
use crate::runbook::Runbook;
use crate::script::Bundle;

/// How many runs may stand above one: a runbook that runs itself must not go on for ever.
const DEEPEST: u32 = 8;

/// How many labels a run may have, and how many bytes their names and values.
const MOST_LABELS: usize = 32;
const LONGEST_LABEL: usize = 200;

/// The longest id of a run.
const LONGEST_ID: usize = 100;

/// Turns a map of parameters into what was given by name.
pub(crate) fn by_name(params: &Value, given: impl Fn(Value) -> Given) -> Vec<(String, Given)> {
    let entries = params.as_object().into_iter().flatten();
    let present = entries.filter(|(_, value)| !value.is_null());
    present.map(|(name, value)| (name.clone(), given(value.clone()))).collect()
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
    /// When a worker may wake it; at once unless set.
    pub wake: Option<Timestamp>,
    /// Who wants it.
    pub who: Option<String>,
    /// What it is called by, each with a name: letters, digits, `-`, `_`, `.` and `/`.
    pub labels: BTreeMap<String, String>,
    /// How many runs stand above it.
    pub(crate) depth: u32,
    /// Begins although as many runs are under way as may be.
    pub at_once: bool,
    /// What whatever causes the run may do; the run may do no more. Nothing limits a run that a person starts.
    pub granted: Option<Effects>,
    /// The paths that may be named, when a script asks for the run; any when a person does.
    pub(crate) may_name: Option<Vec<String>>,
    /// Texts that stand before those of the library: one that is not in it, or what a parent pinned.
    pub(crate) pinned: Vec<Source>,
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
            who: None,
            labels: BTreeMap::new(),
            depth: 0,
            at_once: false,
            granted: None,
            may_name: None,
            pinned: Vec::new(),
        }
    }

    /// Adds a parameter as a person writes it.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.params.push((name.into(), Given::Text(text.into())));
        self
    }

    /// Fixes the run's id, so that asking again is asking for the same run: letters, digits, `-` and `_`.
    #[must_use]
    pub fn id(mut self, id: impl Into<RunId>) -> Self {
        self.id = id.into();
        self
    }

    /// Runs a text that is not in the library.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.pinned.push(Source { name: self.runbook.clone(), text: text.into() });
        self
    }
}

/// What a child takes from the step that starts it.
pub(crate) struct Parent<'a> {
    /// The run.
    pub(crate) run: &'a RunId,
    /// Its step.
    pub(crate) step: u32,
    /// How many runs stand above it.
    pub(crate) depth: u32,
    /// What it lets happen.
    pub(crate) granted: Effects,
    /// The texts that it goes by.
    pub(crate) texts: &'a [Source],
    /// Its folder.
    pub(crate) workdir: &'a Path,
    /// The files that it may name.
    pub(crate) paths: &'a [String],
    /// Who started it.
    pub(crate) who: Option<String>,
    /// What it is called by.
    pub(crate) labels: BTreeMap<String, String>,
}

/// What the branches of a run have from it.
pub(crate) struct Trunk {
    /// The run.
    pub(crate) run: RunId,
    /// As it was prepared.
    pub(crate) prepared: Prepared,
    /// The texts that it goes by.
    pub(crate) sources: Arc<[Source]>,
}

/// A run that can be written down: its texts are read, compiled and pinned, its parameters typed.
pub struct Draft {
    pub(crate) run: NewRun,
    pub(crate) runbook: Runbook,
    pub(crate) bundle: Bundle,
}

impl Parts {
    /// Makes a run of a request, without writing it anywhere.
    pub(crate) fn draft(&self, request: &RunRequest) -> Result<Draft> {
        check_id(&request.id)?;
        check_labels(&request.labels)?;
        let find = |name: &str| match request.pinned.iter().find(|pinned| pinned.name == name) {
            Some(pinned) => Ok(pinned.clone()),
            None => self.library.source(name),
        };
        let main = find(&request.runbook)?;
        let runbook = self.language.header(&main)?;
        let mut bundle = self.language.bundle(main, &find)?;
        if let Some(finding) = self.language.findings(&mut bundle).into_iter().next() {
            return Err(finding);
        }
        if let Some(granted) = &request.granted {
            runbook.check_granted(granted, "the runbook that starts it")?;
        }
        let sources = bundle.sources();
        let environment = |name: &str| self.environment.as_ref().and_then(|lookup| lookup(name));
        let reader = |kind: &str| self.readers.iter().find(|(name, _)| name == kind).map(|(_, r)| r.clone());
        let mut bound =
            bind(&runbook, &request.params, &Surroundings { environment: &environment, reader: &reader })?;
        if let Some(may_name) = &request.may_name {
            bound.paths.retain(|path| may_name.contains(path));
        }
        // Where the text of a pinned child comes from is said by its parent.
        let provenance = match !request.pinned.is_empty() || self.library.is_shipped(&runbook.name) {
            true => Provenance::default(),
            false => self.library.provenance(),
        };
        if request.require_clean && (provenance.dirty || provenance.commit.is_none()) {
            let why = if provenance.dirty {
                "has changes that no commit holds"
            } else {
                "is not in a git checkout"
            };
            return Err(
                Error::invalid(format!("the runbook `{}` {why}", runbook.name)).hint(NextStep::Commit)
            );
        }
        let pins = pins(&sources);
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
            granted: request.granted.clone(),
            entry: None,
            who: request.who.clone(),
            labels: request.labels.clone(),
        };
        let limits = self.concurrency.of(&runbook, &prepared.params, &prepared.cause);
        let (wake, at_once) = (request.wake, request.at_once);
        let run = NewRun { wake, limits, at_once, ..NewRun::new(request.id.clone(), prepared, sources) };
        Ok(Draft { run, runbook, bundle })
    }

    /// Makes the child of a step. The same step always has the same child. It does no more than its parent
    /// may, and its text is the one that is pinned with the parent, if there is one.
    pub(crate) fn draft_child(&self, parent: Parent<'_>, runbook: &str, params: &Value) -> Result<NewRun> {
        let depth = parent.depth + 1;
        if depth > DEEPEST {
            return Err(Error::invalid(format!(
                "`{runbook}` would be the child of {DEEPEST} runs, each started by the one before"
            ))
            .hint("does a runbook run itself? let it loop instead"));
        }
        let pins_it = parent.texts.iter().any(|text| text.name == runbook);
        let request = RunRequest {
            id: child_of(parent.run, parent.step),
            params: by_name(params, Given::Recorded),
            granted: Some(parent.granted),
            // A script cannot give another more than it was given.
            may_name: Some(parent.paths.to_vec()),
            pinned: if pins_it { parent.texts.to_vec() } else { Vec::new() },
            workdir: parent.workdir.to_owned(),
            cause: Cause::Run { id: parent.run.clone(), step: parent.step, branch: None },
            // The parent drives it; a worker takes over only when nobody did for a while.
            wake: Some(self.after(HEARTBEAT)),
            who: parent.who,
            labels: parent.labels,
            depth,
            ..RunRequest::new(runbook)
        };
        Ok(self.draft(&request)?.run)
    }

    /// Makes a branch: the run that it is a part of again, which begins elsewhere.
    pub(crate) fn draft_branch(&self, trunk: &Trunk, (step, index): (u32, u32), branch: Branch) -> NewRun {
        let prepared = Prepared {
            engine: self.version.clone(),
            sources: pins(&trunk.sources),
            cause: Cause::Run { id: trunk.run.clone(), step, branch: Some(index) },
            entry: Some(Entry::Branch(branch)),
            ..trunk.prepared.clone()
        };
        // Its run drives it; a worker takes over only when nobody did for a while.
        let wake = Some(self.after(HEARTBEAT));
        NewRun { wake, ..NewRun::new(trunk.run.branch(step, index), prepared, trunk.sources.to_vec()) }
    }
}

/// Returns the id of the child of a step.
pub(crate) fn child_of(run: &RunId, step: u32) -> RunId {
    RunId::derived(&["child", run.as_str(), &step.to_string()])
}

impl Core {
    /// Writes a run down. Afterwards it can be driven by any process.
    pub(crate) async fn prepare(&self, request: &RunRequest) -> Result<RunId> {
        let run = self.draft(request)?.run;
        let id = run.id.clone();
        self.write_down(run).await?;
        Ok(id)
    }

    /// Returns the error of a call for a run that is not there, or not any more.
    pub(crate) async fn not_there(&self, run: &RunId) -> Result<Error> {
        let pruned = self.journal.pruned(run).await?;
        Ok(pruned.map_or_else(|| unknown(run), |at| gone(run, at)))
    }

    /// Returns the paths that whoever started a run named.
    pub(crate) async fn paths_of(&self, run: &RunId) -> Result<Vec<String>> {
        let records = self.journal.records(run, 0).await?;
        match records.first().map(|first| first.event()).transpose()? {
            Some(Event::Prepared(prepared)) => Ok(prepared.paths),
            _ => Ok(Vec::new()),
        }
    }

    /// Writes a run down that may exist already, and shows a new one. Returns whether it is new.
    pub(crate) async fn write_down(&self, run: NewRun) -> Result<bool> {
        let (id, event) = (run.id.clone(), Event::Prepared(Box::new(run.prepared.clone())));
        let at = self.clock.now();
        let is_new = self.journal.prepare(run, at).await?;
        if is_new {
            self.show(Notice { run: id, seq: Some(1), at, event });
        }
        Ok(is_new)
    }
}

/// Refuses an id that would read as something else: a dot as a branch, blanks and signs as parts of a command.
///
/// # Errors
/// `Invalid`.
fn check_id(id: &RunId) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match (1..=LONGEST_ID).contains(&id.as_str().len()) && id.as_str().chars().all(is_plain) {
        true => Ok(()),
        false => Err(Error::invalid(format!("`{}` cannot be the id of a run", id.as_str().escape_debug()))
            .hint(format!("use letters, digits, `-` and `_`, at most {LONGEST_ID} of them"))),
    }
}

/// Refuses labels that could not be typed in a list's filter, or are none.
///
/// # Errors
/// `Invalid`.
fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > MOST_LABELS {
        return Err(Error::invalid(format!(
            "a run has at most {MOST_LABELS} labels, and not {}",
            labels.len()
        )));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    for (name, value) in labels {
        if !(1..=LONGEST_LABEL).contains(&name.len()) || !name.chars().all(is_plain) {
            return Err(Error::invalid(format!("`{}` cannot be the name of a label", name.escape_debug()))
                .hint(format!(
                    "use letters, digits, `-`, `_`, `.` and `/`, at most {LONGEST_LABEL} of them"
                )));
        }
        if value.len() > LONGEST_LABEL || value.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "the label `{name}` has a value that is too long or has control characters"
            ))
            .hint(format!("write one line of at most {LONGEST_LABEL} bytes")));
        }
    }
    Ok(())
}

fn pins(sources: &[Source]) -> Vec<Pin> {
    let pin = |s: &Source| Pin { name: s.name.clone(), fingerprint: fingerprint(&s.text) };
    sources.iter().map(pin).collect()
}
