//! The engine: what an embedder builds once and shares.

mod extend;
mod leases;
mod schedules;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use leases::{ClosingState, OpenLease};
pub use schedules::Backfill;
use serde_json::Value;

use crate::clock::Clock;
use crate::core::{Answers, Core, HEARTBEAT};
use crate::drive::{Driven, Halt, Way};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Park, RunEnd, RunId, Signal, Source};
use crate::journal::{Journal, NewRun, Presence, Queued, Status, Summary};
use crate::library::Library;
use crate::log::RunLog;
use crate::machine::point_at;
use crate::operation::Declaration;
use crate::prepare::{Draft, RunRequest};
use crate::recorded;
use crate::replay::History;
use crate::runbook::Runbook;
use crate::script::{Bundle, Finding, PlannedCall};

/// What a run would do, as far as it is known before it runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The runbook.
    pub runbook: Runbook,
    /// The parameters, typed and complete.
    pub params: Value,
    /// The calls in the order of the text.
    pub calls: Vec<PlannedCall>,
}

/// Runs runbooks. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Core>);

impl Engine {
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
        Ok(self.check_text(self.0.library.source(name)?))
    }

    /// Returns what is wrong with a text that is not in the library, as [`check`](Self::check) does.
    pub fn check_text(&self, text: Source) -> Vec<Finding> {
        match self.0.language.header(&text).and_then(|_| self.bundle(text)) {
            Ok(mut bundle) => self.0.language.findings(&mut bundle),
            Err(error) => vec![error],
        }
    }

    /// Returns the calls that a runbook makes, whatever its parameters, with those of the runbooks it starts.
    ///
    /// # Errors
    /// `Invalid` when there is no such runbook, or its text cannot be read.
    pub fn calls(&self, name: &str) -> Result<Vec<PlannedCall>> {
        let bundle = self.bundle(self.0.library.source(name)?)?;
        Ok(self.0.language.planned(&bundle, &Value::Null))
    }

    /// Returns the calls that a run's own texts make, with its parameters filled in.
    ///
    /// # Errors
    /// `Invalid` when there is no such run; `Storage`.
    pub async fn planned(&self, run: &RunId) -> Result<Vec<PlannedCall>> {
        let history = self.history(run).await?;
        if let Some(call) = history.prepared.call() {
            return Ok(self.0.language.planned_call(&history.prepared.runbook, call).into_iter().collect());
        }
        let sources = self.0.sources(run, &history).await?;
        let find = |name: &str| {
            let found = sources.iter().find(|source| source.name == name).cloned();
            found.ok_or_else(|| Error::invalid(format!("run {run} has no text `{name}`")))
        };
        let bundle = self.0.language.bundle(find(&history.prepared.runbook)?, &find)?;
        Ok(self.0.language.planned(&bundle, &recorded::plain(&history.prepared.params)))
    }

    fn bundle(&self, main: Source) -> Result<Bundle> {
        self.0.language.bundle(main, &|name| self.0.library.source(name))
    }

    /// Returns what a run would do, without writing or sending anything.
    ///
    /// # Errors
    /// `Invalid`, as [`prepare`](Self::prepare).
    pub fn plan(&self, request: &RunRequest) -> Result<Plan> {
        let Draft { run, runbook, bundle } = self.0.draft(request)?;
        let calls = self.0.language.planned(&bundle, &recorded::plain(&run.prepared.params));
        Ok(Plan { runbook, params: run.prepared.params, calls })
    }

    /// Reads, compiles and pins the texts of a run and types its parameters, without writing or sending anything.
    ///
    /// # Errors
    /// `Invalid` when the runbook or a parameter is wrong.
    pub fn draft(&self, request: &RunRequest) -> Result<Draft> {
        self.0.draft(request)
    }

    /// Writes a run down: its parameters are typed, its sources pinned. Nothing has been sent.
    ///
    /// # Errors
    /// `Invalid` when the runbook or a parameter is wrong; `Storage`.
    pub async fn prepare(&self, request: &RunRequest) -> Result<RunId> {
        self.0.prepare(request).await
    }

    /// Writes a run down for the caller to drive at once. A worker leaves it alone, unless nobody has
    /// begun to drive it after three minutes.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub async fn prepare_to_drive(&self, request: &RunRequest) -> Result<RunId> {
        self.write_down(self.draft(request)?).await
    }

    /// Writes a draft down, as [`prepare_to_drive`](Self::prepare_to_drive) does. It may be that of another
    /// engine, such as one that was built before anything was opened: nothing is compiled anew.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn write_down(&self, draft: Draft) -> Result<RunId> {
        self.0.language.learn(&draft.bundle);
        let run = NewRun { wake: Some(self.0.after(HEARTBEAT)), ..draft.run };
        let id = run.id.clone();
        self.0.write_down(run).await?;
        Ok(id)
    }

    /// Drives a run until it is over or a person must act, waiting through everything else.
    ///
    /// In one process a run is driven once: a second call waits for what comes of the first. When the
    /// last of those who wait goes away, the run is parked before its next step, as if a person had
    /// interrupted it; what is under way at that moment is interrupted, and still comes to its record when
    /// it ends in time ([`EngineBuilder::grace`]).
    ///
    /// # Errors
    /// `Storage`, `Diverged`; `Stopped` when another process took the run over.
    pub async fn run(&self, run: &RunId) -> Result<Driven> {
        loop {
            match self.0.drive(run, Way::patient(Duration::MAX)).await? {
                Driven::Parked(Park::Waiting, Some(until)) if !self.is_halted() => {
                    tokio::select! {
                        () = self.0.clock.sleep_until(until) => {}
                        () = self.0.cancel.wait() => {}
                    }
                }
                Driven::Queued if self.0.until_its_turn(run).await? => {}
                driven => return Ok(driven),
            }
        }
    }

    /// Returns the queue: the runs that begin once enough of those before them are over, in the order in which they came.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn queue(&self) -> Result<Vec<Queued>> {
        self.0.journal.queue().await
    }

    /// Drives a run until it is over, parked, or waits for longer than `patience`.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn drive(&self, run: &RunId, patience: Duration) -> Result<Driven> {
        self.0.drive(run, Way::patient(patience)).await
    }

    /// Carries a run over a log that something else than this engine's journal keeps, from wherever the log ends.
    /// `run` says what is fixed about it: its first record when the log is empty, and its texts.
    ///
    /// Whoever keeps the log sees to it that nobody else carries the run, and comes back when it is put away.
    ///
    /// # Errors
    /// `Diverged` when the run does not take the way that is on its log; whatever the log fails with.
    pub async fn carry(&self, log: Arc<dyn RunLog>, run: &NewRun) -> Result<Driven> {
        self.0.parts.carry_anew(log, run).await
    }

    /// Sets who answers the questions of the runs that this engine drives, instead of parking them.
    pub fn answer_with(&self, answers: Arc<dyn Answers>) {
        *self.0.answers.lock().expect("no panic while the answers are held") = Some(answers);
    }

    /// Says that a person's terminal is at hand, for operations that need one
    /// ([`Operation::TERMINAL`](crate::Operation::TERMINAL)).
    pub fn attend(&self) {
        self.0.attended.store(true, Ordering::Relaxed);
    }

    /// Interrupts everything that this engine drives, for a person: each run parks at the next safe
    /// point, until a person resumes it.
    pub fn interrupt(&self) {
        self.0.cancel.set(Halt::Interrupt);
    }

    /// Hands back everything that this engine drives, because its process ends: each run parks at the
    /// next safe point and is due at once, for whichever process comes next.
    pub fn hand_back(&self) {
        self.0.cancel.set(Halt::HandBack);
    }

    /// Returns whether [`interrupt`](Self::interrupt) or [`hand_back`](Self::hand_back) was called.
    pub fn is_halted(&self) -> bool {
        self.0.cancel.get().is_some()
    }

    /// Returns once [`interrupt`](Self::interrupt) or [`hand_back`](Self::hand_back) was called.
    pub async fn halted(&self) {
        self.0.cancel.wait().await;
    }

    /// Returns once this engine drives nothing any more. A run that failed because of its journal leaves what it had
    /// under way in others, such as its branches; whoever ends a process waits here, after
    /// [`hand_back`](Self::hand_back), until that has come to its record: at most as long as a call under way
    /// is waited for ([`EngineBuilder::grace`](crate::EngineBuilder::grace)), also when the journal never works again.
    pub async fn settle(&self) {
        self.0.drives.settled().await;
    }

    /// Returns what is known about the process that drives a run, if one does.
    pub fn driver(&self, run: &Summary) -> Option<Presence> {
        (run.status == Status::Running).then(|| run.owner.as_ref().map(|owner| self.0.presence(owner)))?
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
        self.signal(run, &signal).await
    }

    /// Asks a run to end. What it deferred still runs; an operation under way is not undone.
    ///
    /// # Errors
    /// `Invalid` when the run is over; `Storage`.
    pub async fn stop(&self, run: &RunId, by: &str) -> Result<()> {
        self.signal(run, &Signal::Stop { by: by.to_owned() }).await
    }

    /// Leaves a signal for a run, which hears it at once when it is driven here.
    async fn signal(&self, run: &RunId, signal: &Signal) -> Result<()> {
        self.0.journal.signal(run, signal, self.0.clock.now()).await?;
        self.0.drives.signal(run);
        Ok(())
    }

    /// Lets a parked run go on with the text that its runbook has now, or with the `text` given, together
    /// with those of its branches that are parked. Afterwards the new texts are on record and the run is due.
    ///
    /// # Errors
    /// `Invalid` when the run is not parked or the text is wrong; `Diverged`, with both sides, when it
    /// does not take the way that is recorded. The run stays parked with its old text then. `Storage`.
    pub async fn mend(&self, run: &RunId, text: Option<String>, by: &str) -> Result<()> {
        self.0.mend(run, text, by).await
    }

    /// Returns the request of a run that follows an earlier one: the same runbook as it is now, with the
    /// same parameters. Secrets are references in both.
    ///
    /// # Errors
    /// `Invalid` when there is no such run; `Storage`.
    pub async fn rerun(&self, of: &RunId) -> Result<RunRequest> {
        self.0.rerun(of).await
    }

    /// Gives up on a run whatever its state, without replaying it: what it deferred does not run, and
    /// what it opened stays open until its lease closes it. Whoever drives it loses it.
    ///
    /// # Errors
    /// `Invalid` when there is no such run or it is over; `Storage`.
    pub async fn abandon(&self, run: &RunId, by: &str, because: &str) -> Result<()> {
        self.0.abandon(run, by, because).await
    }

    /// Returns one line about a run. A beginning of an id that fits one run is enough.
    ///
    /// # Errors
    /// `Invalid` when no run, or more than one, fits; `Storage`.
    pub async fn find(&self, id: &str) -> Result<Summary> {
        if let Some(summary) = self.0.journal.run(&RunId::from(id)).await? {
            return Ok(summary);
        }
        // A branch has the id of its run before its own numbers, which are told whole.
        if let Some((run, branch)) = id.split_once('.') {
            let run = Box::pin(self.find(run)).await?.id;
            let branch = RunId::from(format!("{run}.{branch}"));
            return self.0.journal.run(&branch).await?.ok_or_else(|| crate::journal::unknown(&branch));
        }
        let found = if id.is_empty() { Vec::new() } else { self.0.journal.find(id, 2).await? };
        let mut fitting = found.into_iter();
        match (fitting.next(), fitting.next()) {
            (Some(run), None) => Ok(run),
            (Some(a), Some(b)) => {
                Err(Error::invalid(format!("`{id}` fits more than one run, such as {} and {}", a.id, b.id)))
            }
            (None, _) => Err(self.0.not_there(&RunId::from(id)).await?),
        }
    }

    /// Returns the shortest beginning of a run's id, of four characters at least, that fits no other run.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn shortest(&self, run: &RunId) -> Result<String> {
        let (id, branch) = run.as_str().split_at(run.as_str().find('.').unwrap_or(run.as_str().len()));
        for length in 4..id.len() {
            if self.0.journal.find(&id[..length], 2).await?.len() < 2 {
                return Ok(format!("{}{branch}", &id[..length]));
            }
        }
        Ok(run.to_string())
    }

    /// Returns the branches that a step of a run has begun, in the order of their items.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn branches(&self, run: &RunId, step: u32) -> Result<Vec<Summary>> {
        let mut branches = Vec::new();
        // They begin in that order.
        while let Some(branch) = self.0.journal.run(&run.branch(step, branches.len() as u32)).await? {
            branches.push(branch);
        }
        Ok(branches)
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
        match &history.end {
            Some(RunEnd::Failed { failure, at }) => {
                let sources = self.0.sources(run, &history).await?;
                Ok(Some(point_at(&sources, failure.to_error(), at.as_ref())))
            }
            _ => Ok(None),
        }
    }

    /// Returns the error for which a run is parked, with the script line of its step underlined. A run that is
    /// over has none, whatever it was parked for before it was stopped.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn trouble(&self, run: &RunId) -> Result<Option<Error>> {
        let history = self.history(run).await?;
        let failure = match &history.park {
            _ if history.end.is_some() => return Ok(None),
            Some(
                Park::Undecided { failure }
                | Park::Exhausted { failure }
                | Park::Denied { failure }
                | Park::Halted { failure }
                | Park::Mistake { failure, .. },
            ) => failure,
            _ => return Ok(None),
        };
        let sources = self.0.sources(run, &history).await?;
        let at = match &history.park {
            Some(Park::Mistake { at, .. }) => at.clone(),
            _ => history.steps.last().map(|past| past.at.clone()),
        };
        Ok(Some(point_at(&sources, failure.to_error(), at.as_ref())))
    }

    async fn summary(&self, run: &RunId) -> Result<Summary> {
        match self.0.journal.run(run).await? {
            Some(summary) => Ok(summary),
            None => Err(self.0.not_there(run).await?),
        }
    }

    /// Returns whether a run may be resumed, with the reason when not.
    ///
    /// # Errors
    /// `Invalid` when the run is over.
    pub async fn resumable(&self, run: &RunId) -> Result<Summary> {
        let summary = self.summary(run).await?;
        match summary.status {
            over if over.is_over() => Err(Error::new(
                ErrorKind::Invalid,
                format!("run {run} is over: it {}", summary.status.as_str()),
            )),
            _ => Ok(summary),
        }
    }
}
