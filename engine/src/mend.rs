//! What a person does about a run that does not go on by itself: mend its text, begin anew, give up.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;

use crate::bridge::on_own_thread;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::event::{Cause, Entry, Event, Park, Place, Provenance, Record, RunEnd, RunId, Source, StepEnd};
use crate::hint::NextStep;
use crate::journal::{Claim, ClaimRequest, Status, Summary, Sync, Tenure};
use crate::limits;
use crate::machine::point_at;
use crate::operation::Registered;
use crate::params::Given;
use crate::prepare::{RunRequest, by_name};
use crate::replay::{History, PastStep, StepState, diverged, ended_early};
use crate::script::{Ending, Host, Raise};
use crate::step::is_branching;

impl Core {
    /// Lets a parked run go on with the text that its runbook has now, or with the one given: itself and
    /// those of its branches that are parked, or none of them.
    pub(crate) async fn mend(self: &Arc<Self>, run: &RunId, text: Option<String>, by: &str) -> Result<()> {
        let summary = self.parked(run).await?;
        let history = History::read(&self.journal.records(run, 0).await?)?;
        if history.stop.is_some() {
            return Err(Error::invalid(format!("run {run} is being stopped")));
        }
        if let Some(call) = history.prepared.call() {
            return Err(Error::invalid(format!(
                "run {run} only calls `{}`, and has no text to mend",
                call.operation
            )));
        }
        let name = &history.prepared.runbook;
        let (main, provenance) = match text {
            Some(text) => (Source { name: name.clone(), text }, Provenance::default()),
            None if self.library.is_shipped(name) => (self.library.source(name)?, Provenance::default()),
            None => (self.library.source(name)?, self.library.provenance()),
        };
        let runbook = self.language.header(&main)?;
        let mut bundle = self.language.bundle(main, &|name: &str| self.library.source(name))?;
        if let Some(finding) = self.language.findings(&mut bundle).into_iter().next() {
            return Err(finding);
        }
        if let Some(granted) = &history.prepared.granted {
            runbook.check_granted(granted, "the runbook that started it")?;
        }
        let sources = bundle.sources();
        let params = &history.prepared.params;
        if let Some(new) = runbook.params.iter().find(|param| params.get(&param.name).is_none()) {
            return Err(Error::invalid(format!("run {run} has no parameter `{}`", new.name))
                .hint(NextStep::Run { runbook: name.to_owned() }));
        }
        let mut all = vec![(summary, history)];
        self.add_parked_branches(&mut all).await?;
        for (summary, history) in &all {
            let mut history = history.clone();
            self.bring_in_line(&mut history).await?;
            self.rehearse(&summary.id, &sources, history).await?;
        }
        // The run itself comes last: until then, what was cut short can be done again.
        for (summary, _) in all.iter().rev() {
            let tenure = self.claim_parked(summary).await?;
            // Each is due at once: whoever comes first goes on with the new text.
            let now = self.clock.now();
            let events = [
                Event::Mended { sources: sources.clone(), provenance: provenance.clone(), by: by.to_owned() },
                Event::Parked { park: Park::Waiting, until: Some(now) },
            ];
            self.journal.append(&tenure, &events, now, Sync::Now).await?;
        }
        Ok(())
    }

    /// Adds the branches, and theirs, that are parked and not being stopped.
    async fn add_parked_branches(&self, all: &mut Vec<(Summary, History)>) -> Result<()> {
        let mut looked_at = 0;
        while let Some((run, history)) = all.get(looked_at) {
            looked_at += 1;
            let Some((step, past)) = (1..).zip(&history.steps).last() else { continue };
            let run = run.id.clone();
            if !is_branching(past) {
                continue;
            }
            // They begin in the order of their items.
            for index in 0.. {
                let Some(branch) = self.journal.run(&run.branch(step, index)).await? else { break };
                if branch.status != Status::Parked {
                    continue;
                }
                let history = History::read(&self.journal.records(&branch.id, 0).await?)?;
                if history.stop.is_none() {
                    all.push((branch, history));
                }
            }
        }
        Ok(())
    }

    /// Puts the results that lie out of line where a rehearsal finds them.
    async fn bring_in_line(&self, history: &mut History) -> Result<()> {
        for step in &mut history.steps {
            if let StepState::Finished(end) = &mut step.state
                && let StepEnd::Large { sha256, .. } = end
            {
                *end = StepEnd::Ok(limits::read_large(sha256, &self.journal.kept(sha256).await?)?.into());
            }
        }
        Ok(())
    }

    /// Checks that a text takes the way that is on record. Nothing is written or sent.
    async fn rehearse(self: &Arc<Self>, run: &RunId, sources: &[Source], history: History) -> Result<()> {
        let program = self.language.compile(sources.into())?;
        let params = history.prepared.params.clone();
        let branch = history.prepared.branch().cloned();
        let rehearsal = Arc::new(Rehearsal::new(history));
        let host: Arc<dyn Host> = rehearsal.clone();
        let core = self.clone();
        let ending =
            on_own_thread(move || core.language.evaluate(&program, &params, branch.as_ref(), &host)).await?;
        let line = rehearsal.line();
        let at = line.at.clone();
        let refused = match (&line.refused, ended_early(&line.history, line.reached), ending) {
            (Some((step, operation, args)), ..) => {
                line.history.step(*step).map(|past| diverged(*step, past, operation, args))
            }
            (None, None, _) => None,
            (None, Some(early), Ending::Mistake(error, at, _)) => {
                return Err(point_at(sources, early.because(error), at.as_ref()));
            }
            (None, Some(early), _) => Some(early),
        };
        match refused {
            Some(error) => Err(point_at(sources, error, at.as_ref())
                .hint("the run stays parked with its old text")
                .hint(NextStep::Rerun { run: run.clone() })),
            None => Ok(()),
        }
    }

    /// Returns the request of a run that does the same as an earlier one, from the top.
    pub(crate) async fn rerun(&self, of: &RunId) -> Result<RunRequest> {
        let records = self.journal.records(of, 0).await?;
        let Some(Event::Prepared(prepared)) = records.first().map(|first| first.event()).transpose()? else {
            return Err(Error::storage(format!("run {of} does not begin with its preparation")));
        };
        match &prepared.entry {
            None => {}
            Some(Entry::Branch(_)) => {
                return Err(Error::invalid(format!("{of} is a branch and does not run without its run"))
                    .hint("run that again"));
            }
            Some(Entry::Call(_)) => {
                return Err(Error::invalid(format!(
                    "run {of} closed a lease, and has no runbook to run again"
                ))
                .hint(NextStep::ListLeases));
            }
        }
        let mut request = RunRequest {
            params: by_name(&prepared.params, Given::Recorded),
            granted: prepared.granted.clone(),
            workdir: prepared.workdir.clone().into(),
            cause: Cause::Rerun { of: of.clone() },
            ..RunRequest::new(&prepared.runbook)
        };
        if self.library.source(&prepared.runbook).is_err() {
            // It came from a file, or is gone: what ran is on record.
            let sources = self.journal.sources(of).await?;
            request.pinned = sources;
        }
        Ok(request)
    }

    /// Ends a run whatever its state, without replaying or running anything of it.
    pub(crate) async fn abandon(self: &Arc<Self>, run: &RunId, by: &str, because: &str) -> Result<()> {
        self.enter().await?;
        let summary = self.journal.run(run).await?.ok_or_else(|| crate::journal::unknown(run))?;
        // Whoever drives it loses it here: its next record is refused, and with it its next request.
        let mut request = ClaimRequest::new(run, &self.owner, self.clock.now()).queued();
        request.dead.clone_from(&summary.owner);
        let claimed = self.journal.claim(&request).await?;
        let tenure = match claimed {
            Claim::Granted(tenure) => tenure,
            Claim::Held { .. } | Claim::Moved | Claim::Queued => {
                return Err(Error::rejected(format!("another process took run {run} over just now"))
                    .hint("try it again"));
            }
            Claim::Over => return Err(over(&summary)),
        };
        // A parent that cannot be known finds out by itself.
        let records = self.journal.records(run, 0).await.unwrap_or_default();
        let parent = match records.first().map(Record::event) {
            Some(Ok(Event::Prepared(prepared))) => match prepared.cause {
                Cause::Run { id, .. } => Some(id),
                _ => None,
            },
            _ => None,
        };
        let end = RunEnd::Abandoned { by: by.to_owned(), because: because.to_owned() };
        self.journal.append(&tenure, &[Event::Finished { end, parent }], self.clock.now(), Sync::Now).await?;
        Ok(())
    }

    async fn parked(&self, run: &RunId) -> Result<Summary> {
        let summary = self.journal.run(run).await?.ok_or_else(|| crate::journal::unknown(run))?;
        match summary.status {
            Status::Parked => Ok(summary),
            status if status.is_over() => Err(over(&summary)),
            status => Err(Error::invalid(format!("run {run} is {}, not parked", status.as_str()))
                .hint("only the text of a parked run can be mended")),
        }
    }

    /// Claims a run on which nothing happened since it was looked at.
    async fn claim_parked(self: &Arc<Self>, seen: &Summary) -> Result<Tenure> {
        self.enter().await?;
        let request = ClaimRequest::new(&seen.id, &self.owner, self.clock.now()).seen(seen.seq);
        match self.journal.claim(&request).await? {
            Claim::Granted(tenure) => Ok(tenure),
            Claim::Held { .. } | Claim::Moved | Claim::Queued | Claim::Over => {
                Err(Error::invalid(format!("run {} went on meanwhile", seen.id)).hint("look at it again"))
            }
        }
    }
}

fn over(run: &Summary) -> Error {
    Error::invalid(format!("run {} is over: it {}", run.id, run.status.as_str()))
}

/// A host that only compares: every call must be the recorded one, until the record ends.
struct Rehearsal(Mutex<Line>);

struct Line {
    history: History,
    /// The last step on which text and record agree.
    reached: u32,
    /// The step on which they do not, with the call that the text makes.
    refused: Option<(u32, String, Value)>,
    at: Option<Place>,
    /// Whether the record is over.
    is_over: bool,
}

impl Rehearsal {
    fn new(history: History) -> Self {
        Rehearsal(Mutex::new(Line { history, reached: 0, refused: None, at: None, is_over: false }))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().expect("no panic while the line is held")
    }
}

impl Host for Rehearsal {
    fn call(&self, operation: &Registered, args: Value, at: Place) -> Result<Arc<Value>, Raise> {
        let (mut line, name) = (self.line(), operation.declaration.name);
        let step = line.reached + 1;
        let result = match line.history.step(step) {
            Some(past) if past.operation != name || *past.args != args => {
                line.refused = Some((step, name.to_owned(), args));
                line.at = Some(at);
                None
            }
            Some(PastStep { state: StepState::Finished(end), .. }) => {
                let end = end.clone();
                line.reached = step;
                Some(end)
            }
            Some(_) => {
                line.reached = step;
                None
            }
            None => None,
        };
        match result {
            Some(StepEnd::Ok(value)) => Ok(value),
            Some(StepEnd::Err(failure)) => Err(Raise::Throw(failure.to_error())),
            // Nothing lies out of line any more.
            Some(StepEnd::Large { .. }) | None => {
                line.is_over = true;
                Err(Raise::Unwind)
            }
        }
    }

    fn progress(&self, _: String, _: Option<f64>) {}

    fn is_halted(&self) -> bool {
        false
    }

    fn begin_deferred(&self) -> bool {
        !self.line().is_over
    }

    fn ends_anyway(&self) -> bool {
        false
    }
}
