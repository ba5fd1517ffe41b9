//! The life of a run: prepared, running, parked and running again, over.
//!
//! ```text
//!  prepared ──► running ◄──► parked
//!                  │
//!                  └──► succeeded | failed | stopped | abandoned
//! ```
//!
//! A run is driven by one process at a time, and there by one task ([`drive`](crate::drive)): it reads
//! the run, claims it, replays the script from the top, and carries on from the first step that has no
//! result. Through a wait, a few hundred scripts keep their threads, so that a run of many waits is not
//! replayed for each; any other is let go of: its step is carried to its result alone, and then the
//! script is replayed once.
//!
//! Every way out of a drive ends the run, parks it with a reason, or leaves it to be tried again: by a
//! worker of this process after a growing pause, and by any other once this process is gone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::bridge::on_own_thread;
use crate::core::Core;
use crate::drive::{Drive, Driven, Ending, Way, pauses};
use crate::error::{Error, ErrorKind, Failure, Result, panic_message};
use crate::event::{Branch, Call, Event, Park, Prepared, Record, RunEnd, RunId, Source};
use crate::journal::{Claim, ClaimRequest, OwnerId, Presence, Tenure};
use crate::redact::Public;
use crate::replay::History;
use crate::runbook::Runbook;
use crate::script::{self, Host, Program};
use crate::step::{Steps, Unwind, no_operation};

/// How many processes may die driving a run before it is parked rather than tried once more.
const DEATHS: u32 = 3;

/// Whether a run may stand in the journal as driven by this process.
#[derive(Clone, Copy, PartialEq)]
enum Touched {
    No,
    Maybe,
}

/// What a run does.
enum Work {
    /// It evaluates a script: from its top, or only the function with which a branch begins.
    Script { program: Program, params: Value, branch: Option<Branch> },
    /// It makes one call.
    Call(Call),
}

/// A run as it was read, ready to be driven.
struct Loaded {
    /// The number of the last record that was read.
    seq: u64,
    history: History,
    sources: Arc<[Source]>,
    /// What it may do and does, or why it cannot be run any more.
    work: Result<(Runbook, Work)>,
}

impl Core {
    /// Drives a run until it is over, parked, or waits for longer than the patience. When it is driven
    /// in this process already, waits for what comes of that.
    pub(crate) async fn drive(self: &Arc<Self>, run: &RunId, way: Way) -> Result<Driven> {
        loop {
            let waiter = self.drives.join(run, way.on_drop, |drive| {
                tokio::spawn(self.clone().drive_here(run.clone(), drive, way.clone()));
            });
            if let Some(result) = waiter.ended().await {
                return result;
            }
        }
    }

    /// Drives a run for the run that is its parent. Boxed, since runs nest.
    pub(crate) fn drive_child(self: &Arc<Self>, run: &RunId, way: Way) -> BoxFuture<'static, Result<Driven>> {
        let (core, run) = (self.clone(), run.clone());
        Box::pin(async move { core.drive(&run, way).await })
    }

    /// The one task that drives a run. Its end is told whatever happens.
    async fn drive_here(self: Arc<Self>, run: RunId, drive: Arc<Drive>, way: Way) {
        let ending = Ending::new({
            let (core, run, drive) = (self.clone(), run.clone(), drive.clone());
            move |result: Result<Driven>| {
                // Who lost the run leaves it to who has it; a divergence or a mistake is parked.
                let again = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Storage);
                core.drives.end(&run, &drive, result, core.clock.elapsed(), again);
            }
        });
        let mut driven = self.drive_caught(&run, &drive, &way, Touched::No).await;
        // Nobody waits for a drive that was dropped, so nobody would hear that its run could not be put
        // away and counts as driven by a process that lives.
        for pause in pauses() {
            let is_storage = driven.as_ref().is_err_and(|error| error.kind() == ErrorKind::Storage);
            if !is_storage || drive.cancel.get().is_none() {
                break;
            }
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = self.cancel.wait() => break,
            }
            driven = self.drive_caught(&run, &drive, &way, Touched::Maybe).await;
        }
        ending.with(driven);
    }

    async fn drive_caught(
        self: &Arc<Self>,
        run: &RunId,
        drive: &Arc<Drive>,
        way: &Way,
        touched: Touched,
    ) -> Result<Driven> {
        let driven = AssertUnwindSafe(self.drive_alone(run, drive, way, touched)).catch_unwind().await;
        // Of a run that ended in another way than it should.
        self.handles.close(run).await;
        driven.unwrap_or_else(|panic| {
            let said = panic_message(panic.as_ref());
            Err(Error::storage(format!("driving run {run} failed: {said}")).hint("please report it"))
        })
    }

    async fn drive_alone(
        self: &Arc<Self>,
        run: &RunId,
        drive: &Arc<Drive>,
        way: &Way,
        touched: Touched,
    ) -> Result<Driven> {
        let mut place = match &way.places {
            Some(places) => places.clone().acquire_owned().await.ok(),
            None => None,
        };
        if let (Touched::No, Some(why)) = (touched, drive.cancel.get().or_else(|| self.cancel.get())) {
            // Nobody has touched it, so nothing needs to be written.
            return Ok(Driven::Parked(why.park(), None));
        }
        self.enter().await?;
        // Everything is read before anything is written: what this version cannot read is left to one
        // that can. Whoever went on with the run in between may be such a version: it is read again.
        let (Loaded { history, sources, work, .. }, tenure) = loop {
            let mut loaded = match self.load(run).await? {
                Ok(loaded) => loaded,
                Err(end) => return Ok(Driven::Ended(end)),
            };
            if loaded.is_suspect() {
                // One at a time, so that the one which ends processes takes no others' blame.
                place = self.suspects.clone().acquire_owned().await.ok();
            }
            match self.claim(run, &loaded).await? {
                Claim::Granted(tenure) => {
                    loaded.history.apply(claimed(&tenure), self.clock.now())?;
                    break (loaded, tenure);
                }
                Claim::Moved => {}
                Claim::Held { by, .. } => return Ok(Driven::Held { by }),
                Claim::Over => return self.how_it_ended(run).await,
            }
        };
        let deaths = history.deaths;
        let public = Public::new(&sources);
        let steps = Steps::new(self.clone(), drive.clone(), way.clone(), place, tenure, public, history);
        steps.give_up_mending().await?;
        let driven = match work {
            _ if deaths >= DEATHS => Err(deadly(deaths)),
            Ok((runbook, work)) => {
                steps.set_runbook(runbook);
                self.advance(&steps, work).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = driven else { return driven };
        match error.kind() {
            ErrorKind::Storage | ErrorKind::Stopped => Err(error),
            kind => {
                if let Some(end) = steps.stop_unreplayed(&error).await? {
                    return Ok(Driven::Ended(end));
                }
                // The run must not look as if somebody drove it.
                let failure = error.to_failure();
                match parked(steps.park(Park::Halted { failure }, None).await) {
                    Ok(_) if kind == ErrorKind::Diverged => Err(point_at(&sources, error, None)),
                    driven => driven,
                }
            }
        }
    }

    /// Reads a run, without writing anything. Returns its end when it is over.
    async fn load(&self, run: &RunId) -> Result<Result<Loaded, RunEnd>> {
        let records = self.journal.records(run, 0).await?;
        let history = History::read(&records)?;
        if let Some(end) = history.end {
            return Ok(Err(end));
        }
        self.understands(&history)?;
        let seq = records.last().map_or(0, |last| last.seq);
        let sources: Arc<[Source]> = self.sources(run, &history).await?.into();
        let work = match (history.prepared.call(), sources.first()) {
            (Some(call), _) => self.call(&history.prepared.runbook, call),
            (None, Some(main)) => self.script(main, &sources, &history.prepared),
            (None, None) => return Err(Error::storage(format!("run {run} has no source text"))),
        };
        Ok(Ok(Loaded { seq, history, sources, work }))
    }

    fn script(&self, main: &Source, sources: &Arc<[Source]>, prepared: &Prepared) -> Result<(Runbook, Work)> {
        let runbook = Runbook::parse(main)?;
        let program = self.language.compile(sources.clone())?;
        let (params, branch) = (prepared.params.clone(), prepared.branch().cloned());
        Ok((runbook, Work::Script { program, params, branch }))
    }

    fn call(&self, name: &str, call: &Call) -> Result<(Runbook, Work)> {
        let operation =
            self.language.operation(&call.operation).ok_or_else(|| no_operation(&call.operation))?;
        let effects = operation.declaration.effects.iter().map(|effect| effect.as_str().to_owned()).collect();
        Ok((Runbook::without_text(name, effects), Work::Call(call.clone())))
    }

    /// Does a run's work once, from its beginning: what is recorded is not done again.
    async fn work(self: &Arc<Self>, steps: &Arc<Steps>, work: &Arc<Work>) -> Result<script::Ending> {
        if let Work::Call(call) = &**work {
            return Ok(steps.only_call(call).await);
        }
        let host: Arc<dyn Host> = steps.clone();
        let (core, work) = (self.clone(), work.clone());
        on_own_thread(move || match &*work {
            Work::Script { program, params, branch } => {
                core.language.evaluate(program, params, branch.as_ref(), &host)
            }
            Work::Call(_) => script::Ending::Unwound,
        })
        .await
    }

    /// Carries the step under way, then the rest of the work, in turn.
    async fn advance(self: &Arc<Self>, steps: &Arc<Steps>, work: Work) -> Result<Driven> {
        let work = Arc::new(work);
        match steps.outwait_openers().await {
            Ok(()) | Err(Unwind::Stop(_)) => {}
            Err(unwind) => return parked(unwind),
        }
        loop {
            if let Some(step) = steps.unfinished() {
                match steps.execute(step).await {
                    // After a stop, the script unwinds at that step and what it deferred runs. A wrong
                    // call is made, and refused, once more by the script.
                    Ok(_) | Err(Unwind::Stop(_) | Unwind::Mistake(_) | Unwind::Replay) => {}
                    Err(Unwind::Wait(until)) => {
                        return parked(steps.park(Park::Waiting, Some(until)).await);
                    }
                    Err(unwind) => return parked(unwind),
                }
            }
            steps.rewind();
            let ending = self.work(steps, &work).await?;
            let unwind = steps.take_unwind();
            let is_over = match &unwind {
                None => !matches!(ending, script::Ending::Unwound),
                Some(unwind) => matches!(unwind, Unwind::Stop(_)),
            };
            if let Some(diverged) = steps.ended_early().filter(|_| is_over) {
                return Err(diverged);
            }
            let end = match (ending, unwind) {
                (_, Some(Unwind::Wait(_))) => continue,
                (script::Ending::Unwound, None) => return parked(steps.put_down().await),
                (_, Some(Unwind::Stop(by))) => RunEnd::Stopped { by, unreplayed: None },
                (_, Some(unwind)) => return parked(unwind),
                (script::Ending::Value(value), None) => RunEnd::Succeeded { value },
                (script::Ending::Error(error, at), None) => {
                    RunEnd::Failed { failure: error.to_failure(), at }
                }
                (script::Ending::Mistake(error, at, deferred), None) => match steps.stopped_by() {
                    Some(by) => RunEnd::Stopped { by, unreplayed: None },
                    // Nothing was done that a person would want to keep: the runbook is simply wrong.
                    None if steps.is_untouched() => {
                        let failure = Failure { kind: ErrorKind::Invalid, ..error.to_failure() };
                        RunEnd::Failed { failure, at }
                    }
                    None => match steps.attend().await {
                        Ok(()) => return parked(steps.park_mistake(error.to_failure(), at, deferred).await),
                        // What the script deferred runs behind its mistake.
                        Err(Unwind::Stop(_)) => continue,
                        Err(unwind) => return parked(unwind),
                    },
                },
            };
            steps.finish(end.clone()).await?;
            return Ok(Driven::Ended(end));
        }
    }

    /// Claims a run as it was read, also from a driver that is known to be gone. Where that can be told,
    /// a living one keeps its run even when it was suspended past its heartbeat.
    async fn claim(&self, run: &RunId, loaded: &Loaded) -> Result<Claim> {
        let now = self.clock.now();
        let mut request = ClaimRequest::new(run, &self.owner, now).seen(loaded.seq);
        let driver = loaded.history.driver.clone().map(OwnerId::from).filter(|by| *by != self.owner);
        if let Some(by) = driver {
            match self.presence(&by) {
                Presence::Here => return Ok(Claim::Held { by, until: now }),
                Presence::Gone => request.dead = Some(by),
                Presence::Unknown => {}
            }
        }
        self.journal.claim(&request).await
    }

    /// Returns the texts that a run goes by, the runbook itself first.
    pub(crate) async fn sources(&self, run: &RunId, history: &History) -> Result<Vec<Source>> {
        match &history.mended {
            Some(sources) => Ok(sources.clone()),
            None => self.journal.sources(run).await,
        }
    }

    /// Returns how a run that is over ended.
    pub(crate) async fn how_it_ended(&self, run: &RunId) -> Result<Driven> {
        // The last record says it, also of a run whose earlier ones cannot be read any more.
        let summary = self.journal.run(run).await?.ok_or_else(|| crate::journal::unknown(run))?;
        let last = self.journal.records(run, summary.seq.saturating_sub(1)).await?;
        match last.last().map(Record::event).transpose()? {
            Some(Event::Finished { end, .. }) => Ok(Driven::Ended(end)),
            _ => Err(Error::storage(format!("run {run} is over without an end"))),
        }
    }
}

impl Loaded {
    /// Returns whether more than one process in a row has died driving the run.
    fn is_suspect(&self) -> bool {
        self.history.deaths + u32::from(self.history.driver.is_some()) > 1
    }
}

/// Returns the event that a granted claim has written.
fn claimed(tenure: &Tenure) -> Event {
    Event::Claimed { owner: tenure.owner.as_str().to_owned(), epoch: tenure.epoch }
}

/// Returns the error of a run that ends whoever drives it.
fn deadly(deaths: u32) -> Error {
    Error::new(ErrorKind::Script, format!("the process that drove the run died, {deaths} times in a row"))
        .hint("look for what ends it, such as the memory that the run takes; then resume the run, or stop it")
}

fn parked(unwind: Unwind) -> Result<Driven> {
    match unwind {
        Unwind::Parked(park, until) => Ok(Driven::Parked(*park, until)),
        Unwind::Halt(error) | Unwind::Mistake(error) => Err(error),
        Unwind::Wait(until) => Ok(Driven::Parked(Park::Waiting, Some(until))),
        Unwind::Replay => Err(Error::storage("a script was replayed and is to be replayed again")),
        Unwind::Stop(by) => Ok(Driven::Ended(RunEnd::Stopped { by, unreplayed: None })),
    }
}

/// Returns an error with the script line that it is about underlined.
pub(crate) fn point_at(sources: &[Source], error: Error, at: Option<&crate::event::Place>) -> Error {
    let Some(at) = at else { return error };
    let source = match &at.source {
        Some(name) => sources.iter().find(|source| source.name == *name),
        None => sources.first(),
    };
    let Some(source) = source else { return error };
    let text: Arc<str> = source.text.as_str().into();
    error.snippet(crate::error::Snippet::at(&source.name, &text, at.line, at.column).label("here"))
}
