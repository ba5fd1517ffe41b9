//! The one way from script to effect.
//!
//! A call takes the next step number. *Replaying*, it must be the recorded call and hands back the
//! recorded result. *Live*, its intent is recorded, then it is carried to its result ([`execute`]).
//!
//! Owns: the numbers, the sandbox, the signals, and every append to the run's journal.

mod attempt;
mod branches;
mod call;
mod child;
mod closing;
mod execute;
mod handles;
mod large;
mod only_call;
mod output;
mod secrets;
mod todo;

pub(crate) use branches::{is_branching, is_elsewhere};
pub(crate) use closing::handed_over;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use crate::bridge::Bridge;
use crate::builtin::RUN;
use crate::clock::Interval;
use crate::core::{Core, Notice};
use crate::cx::{Cx, SendPermit};
use crate::drive::Way;
use crate::drive::{Drive, Halt};
use crate::effect::Effect;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::event::{Cause, Effected, Event, Park, Place, Progress, RunEnd, RunId, Signal, StepEnd};
use crate::journal::{OwnerId, Presence, Sync, Tenure};
use crate::operation::Registered;
use crate::redact::{Public, secrets_in};
use crate::replay::{History, PastStep, StepState, diverged, ended_early};
use crate::runbook::{MEND_WITHIN, Runbook};
use crate::script::{Host, Raise};
use crate::unrecorded::{Piece, Unrecorded};

/// The longest wait for which a script keeps its thread when many do.
const KEEP_THREAD: Duration = Duration::from_secs(1);

/// How long after its record a step's request may leave. Whoever is suspended for longer asks the
/// journal first, which refuses when another process has the run by then.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// How long a request may be on its way. A request that changes something must be given up earlier.
const SEND_MARGIN: Duration = Duration::from_secs(60);

/// Why a script unwound.
#[derive(Debug)]
pub(crate) enum Unwind {
    /// The step under way wants to be looked at later.
    Wait(Timestamp),
    /// The run is parked; the event is written.
    Parked(Box<Park>, Option<Timestamp>),
    /// A person stopped the run; the event is written.
    Stop(String),
    /// Only the script can tell what a signal means for the step under way.
    Replay,
    /// The step under way was a wrong call. Nothing was sent, and it is no step any more.
    Mistake(Error),
    /// Nothing more may be done or written.
    Halt(Error),
}

impl From<Error> for Unwind {
    fn from(error: Error) -> Self {
        Unwind::Halt(error)
    }
}

/// A run's steps, past and present.
pub(crate) struct Steps {
    me: Weak<Steps>,
    core: Arc<Core>,
    drive: Arc<Drive>,
    way: Way,
    tenure: Tenure,
    runbook: OnceLock<Runbook>,
    /// The place that this run takes among those at work. A run that only waits has none.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    workdir: PathBuf,
    paths: Arc<[String]>,
    public: Public,
    bridge: Bridge,
    unrecorded: Arc<Unrecorded>,
    line: Mutex<Line>,
}

struct Line {
    history: History,
    /// The number of the last step that the script has reached.
    reached: u32,
    /// Whether the script has been evaluated since this drive began: only then is it known what `deferring` says.
    replayed: bool,
    /// When the last record that permits to send was made, on the clock's second hand.
    intended: Duration,
    /// Whether the script is over and what it deferred runs.
    deferring: bool,
    /// Whether the secrets of earlier processes are known.
    remembers: bool,
    /// Whether a signal may be waiting.
    signalled: bool,
    unwind: Option<Unwind>,
    /// The interval to the next look, begun when the look was fixed.
    next_look: Option<Interval>,
}

impl Steps {
    pub(crate) fn new(
        core: Arc<Core>,
        drive: Arc<Drive>,
        way: Way,
        place: Option<OwnedSemaphorePermit>,
        tenure: Tenure,
        public: Public,
        history: History,
    ) -> Arc<Self> {
        let intended = core.clock.elapsed();
        let unrecorded = Arc::new(Unrecorded::new(core.revealed.clone()));
        let steps = Arc::new_cyclic(|me| Steps {
            me: me.clone(),
            core,
            drive,
            way,
            tenure,
            runbook: OnceLock::new(),
            place: Mutex::new(place),
            workdir: PathBuf::from(&history.prepared.workdir),
            paths: history.prepared.paths.clone().into(),
            public,
            bridge: Bridge::here(),
            unrecorded,
            line: Mutex::new(Line {
                history,
                reached: 0,
                replayed: false,
                intended,
                deferring: false,
                remembers: false,
                signalled: true,
                unwind: None,
                next_look: None,
            }),
        });
        steps.know_handles();
        steps
    }

    /// Says what the run may do. Until then no new step is permitted.
    pub(crate) fn set_runbook(&self, runbook: Runbook) {
        let _ = self.runbook.set(runbook);
    }

    /// Returns to the top of the script.
    pub(crate) fn rewind(&self) {
        let mut line = self.line();
        line.reached = 0;
        line.replayed = true;
        line.deferring = false;
        line.unwind = None;
    }

    /// Returns the step that has no result yet.
    pub(crate) fn unfinished(&self) -> Option<u32> {
        self.line().history.unfinished()
    }

    /// Returns why the script unwound.
    pub(crate) fn take_unwind(&self) -> Option<Unwind> {
        self.line().unwind.take()
    }

    /// Returns whether the run has begun no step yet: nothing was asked of the world or of a person.
    pub(crate) fn is_untouched(&self) -> bool {
        self.line().history.steps.is_empty()
    }

    /// Returns the error of a script that is over before its record is, if it is.
    pub(crate) fn ended_early(&self) -> Option<Error> {
        let line = self.line();
        ended_early(&line.history, line.reached)
    }

    /// Returns who stopped the run, if somebody did.
    pub(crate) fn stopped_by(&self) -> Option<String> {
        self.line().history.stop.as_ref().map(|stop| stop.by.clone())
    }

    /// Ends the run, and tells the run that waits for it.
    pub(crate) async fn finish(&self, end: RunEnd) -> Result<()> {
        let parent = match &self.line().history.prepared.cause {
            Cause::Run { id, .. } => Some(id.clone()),
            _ => None,
        };
        self.core.handles.close(&self.tenure.run).await;
        self.record(vec![Event::Finished { end, parent }], Sync::Now).await
    }

    /// Puts the run away.
    pub(crate) async fn park(&self, park: Park, until: Option<Timestamp>) -> Unwind {
        self.core.handles.close(&self.tenure.run).await;
        match self.record(vec![Event::Parked { park: park.clone(), until }], Sync::Now).await {
            // What the caller hears is what was written: without secrets.
            Ok(()) => Unwind::Parked(Box::new(self.line().history.park.clone().unwrap_or(park)), until),
            Err(error) => Unwind::Halt(error),
        }
    }

    /// Returns an operation's error without the secrets that it may repeat.
    fn cleaned(&self, error: Error) -> Error {
        let mut failure = error.to_failure();
        let is_public = |value: &str| self.public.holds(value, &self.line().history);
        self.core.revealed.clean_failure(&mut failure, &is_public);
        failure.to_error()
    }

    /// Puts the run away because driving it ends: for a person who interrupted it, or for the next
    /// process. What closes a lease is nobody's to keep: it always goes on at once.
    pub(crate) async fn put_down(&self) -> Unwind {
        match self.halted() {
            Some(Halt::Interrupt) if !self.closes_a_lease() => self.park(Park::Interrupted, None).await,
            _ => self.park(Park::HandedBack, Some(self.core.clock.now())).await,
        }
    }

    fn closes_a_lease(&self) -> bool {
        matches!(self.line().history.prepared.cause, Cause::Lease { .. })
    }

    fn halted(&self) -> Option<Halt> {
        self.drive.cancel.get().or_else(|| self.core.cancel.get())
    }

    /// Returns once driving is to end.
    async fn until_halted(&self) {
        tokio::select! {
            () = self.drive.cancel.wait() => {}
            () = self.core.cancel.wait() => {}
        }
    }

    /// Puts the run away until somebody mends its text. What it `deferred` runs in the end all the same:
    /// not later than the runbook says after the mistake was first met.
    pub(crate) async fn park_mistake(&self, failure: Failure, at: Option<Place>, deferred: bool) -> Unwind {
        let known = match &self.line().history.park {
            Some(Park::Mistake { failure: known, mend_by, .. }) if *known == failure => *mend_by,
            _ => None,
        };
        let mend_within = self.runbook.get().map_or(MEND_WITHIN, |runbook| runbook.mend_within);
        let mend_by = match deferred {
            true => known.or_else(|| Some(self.core.after(mend_within))),
            false => None,
        };
        self.park(Park::Mistake { failure, at, mend_by }, mend_by).await
    }

    /// Stops the run when its time to be mended is over.
    pub(crate) async fn give_up_mending(&self) -> Result<()> {
        let is_over = match &self.line().history.park {
            Some(Park::Mistake { mend_by: Some(by), .. }) => self.core.clock.now() >= *by,
            _ => false,
        };
        if !is_over || self.stopped_by().is_some() {
            return Ok(());
        }
        let signal = Signal::Stop { by: "a mistake that nobody mended".to_owned() };
        self.record(vec![Event::Signalled { signal }], Sync::Now).await
    }

    /// Ends a run that somebody stopped although its script cannot be replayed any more. What it
    /// deferred does not run then.
    pub(crate) async fn stop_unreplayed(&self, why: &Error) -> Result<Option<RunEnd>> {
        if self.stopped_by().is_none() {
            let words = self.core.journal.signals(&self.tenure.run).await?;
            if let Some(signal) = words.into_iter().find(|word| matches!(word, Signal::Stop { .. })) {
                self.record(vec![Event::Signalled { signal }], Sync::Now).await?;
            }
        }
        let Some(by) = self.stopped_by() else { return Ok(None) };
        let end = RunEnd::Stopped { by, unreplayed: Some(why.to_failure()) };
        self.finish(end.clone()).await?;
        Ok(Some(end))
    }

    /// Waits, looking for signals; gives up at once when it would take too long.
    async fn wait_until(&self, until: Timestamp, patience: Duration) -> Result<(), Unwind> {
        let fixed = self.line().next_look.filter(|look| look.end() == until);
        let interval = fixed.unwrap_or_else(|| Interval::until(&*self.core.clock, until));
        self.wait(interval, patience).await
    }

    async fn wait(&self, interval: Interval, patience: Duration) -> Result<(), Unwind> {
        let clock = &*self.core.clock;
        let left = interval.left(clock);
        if left.is_zero() {
            return Ok(());
        }
        if left > patience {
            return Err(Unwind::Wait(interval.end()));
        }
        let rest = self.rest();
        while !interval.is_over(clock) {
            tokio::select! {
                () = clock.sleep(interval.left(clock).min(self.way.nap)) => {}
                () = self.drive.signalled.notified() => {}
                () = self.until_halted() => {}
            }
            self.line().signalled = true;
            self.attend().await?;
        }
        rest.over().await
    }

    /// Gives up the run's place among those at work until the rest is over.
    fn rest(&self) -> Rest<'_> {
        let had = self.place.lock().expect("no panic while a place is held").take().is_some();
        Rest { steps: self, had }
    }

    /// Takes signals: an interruption, a stop, an answer.
    pub(crate) async fn attend(&self) -> Result<(), Unwind> {
        self.attend_with(&[]).await
    }

    /// Takes signals while other runs may be under way for this one. A stop is passed on to
    /// them first: it takes effect here when all of them are over.
    async fn attend_with(&self, below: &[RunId]) -> Result<(), Unwind> {
        if self.halted().is_some() {
            return Err(self.put_down().await);
        }
        if !std::mem::take(&mut self.line().signalled) {
            return Ok(());
        }
        self.core.stay_alive().await?;
        for signal in self.core.journal.signals(&self.tenure.run).await? {
            let stop = match &signal {
                Signal::Stop { .. } if self.stopped_by().is_some() => None,
                // Is the step under way the script's, or one that it deferred?
                Signal::Stop { .. } if self.must_replay() => {
                    self.line().signalled = true;
                    return Err(Unwind::Replay);
                }
                // What was deferred is the orderly end already; the signal stays until it is over.
                Signal::Stop { .. } if self.line().deferring => continue,
                Signal::Stop { by } => {
                    let mut are_open = false;
                    for run in below {
                        are_open |= self.stop_child(run, by).await?;
                    }
                    if are_open {
                        continue;
                    }
                    Some(by.clone())
                }
                Signal::Answer { .. } | Signal::ChildEnded { .. } => None,
            };
            self.record(vec![Event::Signalled { signal }], Sync::Now).await?;
            if let Some(by) = stop {
                return Err(Unwind::Stop(by));
            }
        }
        Ok(())
    }

    /// Returns whether a step is under way that the script has not come to in this drive.
    fn must_replay(&self) -> bool {
        let line = self.line();
        !line.replayed && line.history.unfinished().is_some()
    }

    /// Appends events, folds them into the past, and shows them.
    async fn record(&self, mut events: Vec<Event>, sync: Sync) -> Result<()> {
        let at = self.core.clock.now();
        let is_public = |value: &str| self.public.holds(value, &self.line().history);
        events.iter_mut().for_each(|event| self.core.revealed.clean(event, &is_public));
        let events = self.stow(events).await?;
        let said = self.said_before(&events);
        let recorded = self.append(&said, events, at, sync).await;
        if recorded.is_err() {
            self.unrecorded.give_back(said);
        }
        recorded
    }

    /// Appends what was said and written, and events after it. The texts that the records name are on the
    /// disk then.
    async fn append(&self, said: &[Piece], events: Vec<Event>, at: Timestamp, sync: Sync) -> Result<()> {
        for text in said.iter().filter_map(|(_, text)| text.as_ref()) {
            self.core.journal.keep(text).await?;
        }
        let events: Vec<Event> = said.iter().map(|(event, _)| event.clone()).chain(events).collect();
        if events.is_empty() {
            return Ok(());
        }
        let appended = self.core.journal.append(&self.tenure, &events, at, sync).await?;
        {
            let mut line = self.line();
            line.signalled |= appended.signalled;
            for event in &events {
                line.history.apply(event.clone(), at)?;
            }
        }
        for (event, record) in events.into_iter().zip(&appended.records) {
            self.core.show(Notice { run: self.tenure.run.clone(), seq: Some(record.seq), at, event });
        }
        Ok(())
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("no panic while the line is held")
    }

    fn past(&self, step: u32) -> Result<PastStep, Unwind> {
        let past = self.line().history.step(step).cloned();
        past.ok_or_else(|| Unwind::Halt(Error::storage(format!("step {step} is not in the journal"))))
    }

    fn operation(&self, name: &str) -> Result<Registered> {
        self.core.language.operation(name).cloned().ok_or_else(|| no_operation(name))
    }

    fn cx(&self, step: u32, past: &PastStep) -> Cx {
        let permit = past.send_before.as_ref().map(|(_, until)| {
            let steps = self.me.clone();
            let extend = move || -> BoxFuture<'static, Result<Timestamp>> {
                let steps = steps.clone();
                Box::pin(async move {
                    let steps = steps.upgrade().ok_or_else(|| {
                        Error::new(ErrorKind::Stopped, "the run is not driven here any more")
                    })?;
                    steps.extend_permit(step).await
                })
            };
            SendPermit::new(*until, self.line().intended, SEND_WITHIN, Arc::new(extend))
        });
        Cx { permit, ..self.surroundings(step, past.attempt) }
    }

    /// Returns what a step knows, without a permit to send.
    fn surroundings(&self, step: u32, attempt: u32) -> Cx {
        let core = self.core.clone();
        let run = self.tenure.run.clone();
        Cx {
            on_output: self.on_output(step),
            unrecorded: self.unrecorded.clone(),
            handles: self.core.handles.clone(),
            run: run.clone(),
            step,
            attempt,
            closes: self.closes(),
            clock: self.core.clock.clone(),
            journal: self.core.journal.clone(),
            secrets: self.core.secrets.clone(),
            revealed: self.core.revealed.clone(),
            workdir: self.workdir.clone(),
            paths: self.paths.clone(),
            permit: None,
            lease: None,
            told: None,
            on_progress: Arc::new(move |progress| {
                core.notice(&run, None, Event::Progress { step, progress })
            }),
        }
    }

    /// Returns until when a record that is written now permits its writer to send, if it is about
    /// something that changes the world.
    fn send_before(&self, operation: &Registered) -> Option<Timestamp> {
        self.line().intended = self.core.clock.elapsed();
        (!operation.declaration.is_read_only()).then(|| self.core.after(SEND_WITHIN))
    }

    /// Asks the journal for more time to send, which refuses when another process has the run.
    async fn extend_permit(&self, step: u32) -> Result<Timestamp> {
        let send_before = self.core.after(SEND_WITHIN);
        self.record(vec![Event::StepExtended { step, send_before }], Sync::Now).await?;
        Ok(send_before)
    }

    /// Waits until nobody else can still send for a step: whoever began it may only be suspended.
    async fn outwait_its_maker(&self, past: &PastStep, patience: Duration) -> Result<(), Unwind> {
        let Some((maker, until)) = &past.send_before else { return Ok(()) };
        let maker = OwnerId::from(maker.clone());
        if maker == self.core.owner || self.core.presence(&maker) == Presence::Gone {
            return Ok(());
        }
        self.wait_until(until.saturating_add(SEND_MARGIN).unwrap_or(Timestamp::MAX), patience).await
    }

    fn runbook(&self) -> Result<&Runbook> {
        self.runbook.get().ok_or_else(|| Error::invalid("the runbook is not known yet"))
    }

    /// Refuses a new call that the runbook must not make.
    fn permit(&self, operation: &Registered, args: &Value) -> Result<()> {
        let declaration = &operation.declaration;
        let runbook = self.runbook()?;
        if let Some(effect) = runbook.effects.lacking_for(declaration.effects) {
            return Err(Error::invalid(format!(
                "`{}` requires the effect `{}`, which `{}` does not declare",
                declaration.name,
                effect.as_str(),
                runbook.name
            ))
            .hint(format!("add \"{}\" to the effects in the front matter", effect.as_str())));
        }
        if !secrets_in(args).is_empty() && !runbook.reach().allow(Effect::Secret) {
            return Err(Error::invalid(format!(
                "`{}` is given a secret, and `{}` says nothing of secrets",
                declaration.name, runbook.name
            ))
            .hint("add \"secret\" to the effects in the front matter"));
        }
        operation.check(&without_retry(args))?;
        match declaration.runbook_in(args) {
            // A child may be pinned; it is held to the same when it is prepared.
            Some(_) if declaration.name == RUN => Ok(()),
            Some(name) => self.permit_scheduled(name),
            None => Ok(()),
        }
    }

    /// Refuses to schedule a runbook that may do more than this one.
    fn permit_scheduled(&self, name: &str) -> Result<()> {
        self.core
            .library
            .runbook(name)?
            .check_granted(&self.runbook()?.reach(), "the runbook that schedules it")
    }

    /// Has what a step schedules do no more than the run itself may, also when it is due.
    fn grant(&self, effected: &mut [Effected]) -> Result<()> {
        for effect in effected {
            let Effected::Scheduled(schedule) = effect else { continue };
            self.permit_scheduled(&schedule.runbook)?;
            schedule.granted = Some(self.runbook()?.reach());
        }
        Ok(())
    }

    /// Takes the next step of the script: from the record, or live.
    fn take(&self, operation: &Registered, args: Value, at: Place) -> Result<StepEnd, Unwind> {
        let (step, known) = self.reach(operation, &args)?;
        if let Some(end) = known {
            return Ok(end);
        }
        let kept = self.core.threads.try_acquire().ok();
        let patience = if kept.is_some() { self.way.kept_patience } else { KEEP_THREAD };
        self.bridge.wait(self.live(step, operation, args, at, patience))?
    }

    /// Goes on to the next step of the script, which must be the recorded one if there is a record. Returns its
    /// number and what it came to, if it is over.
    fn reach(&self, operation: &Registered, args: &Value) -> Result<(u32, Option<StepEnd>), Unwind> {
        let name = operation.declaration.name;
        let mut line = self.line();
        line.reached += 1;
        let step = line.reached;
        if let (false, Some(stop)) = (line.deferring, line.history.stop.clone())
            && stop.step == step
        {
            line.reached -= u32::from(!stop.begun);
            return Err(Unwind::Stop(stop.by));
        }
        match line.history.step(step) {
            None => Ok((step, None)),
            Some(past) if past.operation != name || *past.args != *args => {
                Err(Unwind::Halt(diverged(step, past, name, args)))
            }
            Some(PastStep { state: StepState::Finished(end), .. }) => Ok((step, Some(end.clone()))),
            Some(_) => Ok((step, None)),
        }
    }

    /// Takes a step that has no result yet: begins it, or goes on with it.
    async fn live(
        &self,
        step: u32,
        operation: &Registered,
        args: Value,
        at: Place,
        patience: Duration,
    ) -> Result<StepEnd, Unwind> {
        if self.line().history.step(step).is_some() {
            return self.execute_for(step, false, patience).await;
        }
        let ready = async {
            self.attend().await?;
            self.remember_secrets(operation).await?;
            self.reopen().await
        };
        let ready = ready.await;
        if let Err(unwind) = ready {
            // What never became a step takes no number.
            self.line().reached -= 1;
            return Err(unwind);
        }
        if let Err(error) = self.permit(operation, &args) {
            return Err(Unwind::Mistake(error));
        }
        if let Err(unwind) = self.check_terminal(operation).await {
            self.line().reached -= 1;
            return Err(unwind);
        }
        let fresh = self.make(self.intent(step, operation, args, at, 1)).await?;
        self.execute_for(step, fresh, patience).await
    }
}

impl Host for Steps {
    fn call(&self, operation: &Registered, args: Value, at: Place) -> Result<Value, Raise> {
        match self.take(operation, args, at).and_then(|end| self.value_of(end)) {
            Ok(Ok(value)) => Ok(value),
            Err(Unwind::Mistake(error)) => {
                // What is no step takes no number.
                self.line().reached -= 1;
                Err(Raise::Throw(error))
            }
            Ok(Err(failure)) => Err(Raise::Throw(failure.to_error())),
            Err(unwind) => {
                self.line().unwind = Some(unwind);
                Err(Raise::Unwind)
            }
        }
    }

    fn progress(&self, message: String, percent: Option<f64>) {
        let (step, live) = {
            let line = self.line();
            (line.reached, line.reached >= line.history.steps.len() as u32)
        };
        if live {
            self.core.notice(
                &self.tenure.run,
                None,
                Event::Progress { step, progress: Progress { message, percent } },
            );
        }
    }

    fn is_halted(&self) -> bool {
        self.halted().is_some()
    }

    fn ends_anyway(&self) -> bool {
        self.stopped_by().is_some()
    }

    fn begin_deferred(&self) -> bool {
        let mut line = self.line();
        let runs = matches!(line.unwind, None | Some(Unwind::Stop(_))) && self.halted().is_none();
        line.deferring |= runs;
        runs
    }
}

/// Returns the error of a run that uses an operation which this program has not.
pub(crate) fn no_operation(name: &str) -> Error {
    Error::new(ErrorKind::Diverged, format!("this program has no operation `{name}`, which the run uses"))
        .hint("resume the run with the version of the program that prepared it")
}

/// A run that only waits, and takes nobody's place.
struct Rest<'a> {
    steps: &'a Steps,
    had: bool,
}

impl Rest<'_> {
    /// Takes a place again, when there is one.
    async fn over(self) -> Result<(), Unwind> {
        if let (true, Some(places)) = (self.had, &self.steps.way.places) {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place.ok(),
                () = self.steps.until_halted() => None,
            };
            *self.steps.place.lock().expect("no panic while a place is held") = place;
        }
        Ok(())
    }
}

/// The policy of a call is the engine's business; the operation does not see it.
pub(crate) fn without_retry(args: &Value) -> Cow<'_, Value> {
    match args {
        Value::Object(map) if map.contains_key("retry") => Cow::Owned(Value::Object(
            map.iter().filter(|(name, _)| *name != "retry").map(|(n, v)| (n.clone(), v.clone())).collect(),
        )),
        plain => Cow::Borrowed(plain),
    }
}

fn since(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
