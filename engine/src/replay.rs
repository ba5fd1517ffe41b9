//! What a run's records say: its steps so far, folded in order.
//!
//! A script is replayed from the top. As long as [`History`] knows a step, its recorded result is
//! handed back; the first step that it does not know, or knows as unfinished, is where the run goes
//! on. Nothing here touches the world.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Failure, Result};
use crate::event::{Event, Park, Place, Prepared, Record, RunEnd, Signal, Source, StepEnd, WrittenFile};

/// A run's past.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct History {
    /// What is fixed about the run.
    pub prepared: Prepared,
    /// When it was prepared.
    pub created: Timestamp,
    /// Its steps; step `n` is at `n - 1`.
    pub steps: Vec<PastStep>,
    /// The texts that took the place of those it was prepared with.
    pub mended: Option<Vec<Source>>,
    /// A stop that took effect.
    pub stop: Option<Stop>,
    /// Why it was put away last.
    pub park: Option<Park>,
    /// How often it was put away for another reason than to wait.
    pub parks: u32,
    /// The files that its steps wrote, in order. One that was written twice is here twice.
    pub files: Vec<(u32, WrittenFile)>,
    /// How it ended.
    pub end: Option<RunEnd>,
    /// Which process drives it, or did when it died.
    pub driver: Option<String>,
    /// How many processes died driving it since it last made headway.
    pub deaths: u32,
}

/// A stop that took effect.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stop {
    /// The step at which the script unwinds.
    pub step: u32,
    /// Whether that step had begun. It is left behind then, and what was deferred takes later numbers.
    pub begun: bool,
    /// Who wanted it.
    pub by: String,
}

/// One step as recorded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PastStep {
    /// The operation.
    pub operation: String,
    /// Its arguments by name.
    pub args: Arc<Value>,
    /// Where the script called it.
    pub at: Place,
    /// How far it came.
    pub state: StepState,
    /// Which attempt began last, from 1.
    pub attempt: u32,
    /// A person's answer that it has not used yet.
    pub answer: Option<Value>,
    /// Failed attempts since it last made headway, and when the first of them began.
    pub failed: u32,
    /// When the first of the current attempts began.
    pub since: Timestamp,
    /// How many bytes of its output are kept.
    pub output: u64,
    /// Which process may send its request, and until when, unless it has put the run away.
    pub send_before: Option<(String, Timestamp)>,
}

impl PastStep {
    /// Returns what the step came to, once it has.
    pub fn end(&self) -> Option<&StepEnd> {
        match &self.state {
            StepState::Finished(end) => Some(end),
            _ => None,
        }
    }
}

/// How far a step came.
#[derive(Clone, Debug)]
pub enum StepState {
    /// Its request may or may not have been sent.
    Started {
        /// Which attempt.
        attempt: u32,
        /// When another attempt is due, after an error that left it unclear.
        until: Option<Timestamp>,
        /// That error.
        failure: Option<Failure>,
    },
    /// Its last attempt certainly had no effect; another is due.
    Clean {
        /// Which attempt failed.
        attempt: u32,
        /// When the next is due.
        until: Timestamp,
        /// Why it failed.
        failure: Failure,
    },
    /// It is under way elsewhere.
    Accepted {
        /// The operation's own state.
        continuation: Value,
        /// When to look next.
        check_at: Timestamp,
        /// When to ask a person.
        deadline: Timestamp,
    },
    /// It has a result.
    Finished(StepEnd),
}

impl History {
    /// Folds a run's records.
    ///
    /// # Errors
    /// `Storage`, naming the record that does not fit.
    pub fn read(records: &[Record]) -> Result<Self> {
        if records.is_empty() {
            return Err(Error::storage("the run has no records"));
        }
        let mut read = Vec::with_capacity(records.len());
        for record in records {
            read.push((record.seq, record.at, record.event()?));
        }
        History::fold(read.into_iter())
    }

    /// Folds what a run's records say, with their numbers and times.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn fold(mut events: impl Iterator<Item = (u64, Timestamp, Event)>) -> Result<Self> {
        let Some((_, created, Event::Prepared(prepared))) = events.next() else {
            return Err(Error::storage("the run's first record is not its preparation"));
        };
        let mut history = History {
            prepared: *prepared,
            created,
            steps: Vec::new(),
            mended: None,
            stop: None,
            park: None,
            parks: 0,
            files: Vec::new(),
            end: None,
            driver: None,
            deaths: 0,
        };
        for (seq, at, event) in events {
            history.apply(event, at).map_err(|e| {
                Error::storage(format!("record {seq} of the run does not fit its past")).because(e)
            })?;
        }
        Ok(history)
    }

    /// Folds more records in.
    ///
    /// # Errors
    /// `Storage` when one may not follow.
    pub fn extend(&mut self, records: &[Record]) -> Result<()> {
        for record in records {
            self.apply(record.event()?, record.at).map_err(|e| {
                Error::storage(format!("record {} of the run does not fit its past", record.seq)).because(e)
            })?;
        }
        Ok(())
    }

    /// Folds one more event in.
    ///
    /// # Errors
    /// `Storage` when it may not follow.
    pub fn apply(&mut self, event: Event, at: Timestamp) -> Result<()> {
        if self.end.is_some() {
            return Err(Error::storage("the run had ended"));
        }
        match &event {
            Event::Claimed { owner, .. } => {
                self.deaths += u32::from(self.driver.as_ref().is_some_and(|driver| driver != owner));
                self.driver = Some(owner.clone());
            }
            Event::StepAccepted { .. } | Event::StepFinished { .. } | Event::Signalled { .. } => {
                self.deaths = 0
            }
            _ => {}
        }
        match event {
            Event::StepStarted { step, operation, args, at: place, attempt, send_before } => {
                self.start(step, operation, args, place, attempt, at)?;
                self.permit(step, send_before)?;
            }
            Event::StepExtended { step, send_before } => self.permit(step, Some(send_before))?,
            Event::StepRetrying { step, attempt, failure, clean, until } => {
                let past = self.open_step(step)?;
                past.failed += 1;
                past.state = match clean {
                    true => StepState::Clean { attempt, until, failure },
                    false => StepState::Started { attempt, until: Some(until), failure: Some(failure) },
                };
            }
            Event::StepAccepted { step, continuation, check_at, deadline, send_before, .. } => {
                self.permit(step, send_before)?;
                let past = self.open_step(step)?;
                past.failed = 0;
                past.since = at;
                past.state = StepState::Accepted { continuation, check_at, deadline };
                // What it was parked for is behind it: the next park is about something new.
                self.park = None;
            }
            Event::StepFinished { step, end, .. } => {
                self.open_step(step)?;
                match end {
                    // The call was wrong and never became a step; its mended form takes the number.
                    StepEnd::Err(failure) if failure.kind == ErrorKind::Script => {
                        self.steps.pop();
                    }
                    end => self.open_step(step)?.state = StepState::Finished(end),
                }
            }
            Event::Signalled { signal: Signal::Answer { step, value, .. } } => {
                // An answer that comes too late changes nothing.
                if let Ok(past) = self.open_step(step) {
                    past.answer = Some(value);
                }
            }
            Event::Signalled { signal: Signal::Stop { by } } => {
                let begun = self.unfinished().is_some();
                let step = self.steps.len() as u32 + u32::from(!begun);
                self.stop.get_or_insert(Stop { step, begun, by });
                self.give_up_permit();
            }
            Event::Signalled { signal: Signal::ChildEnded { .. } } => {}
            Event::Parked { park, .. } => {
                // A person had a look: the attempts count from one again.
                if let Some(past) = self.steps.last_mut().filter(|_| !park.is_waiting()) {
                    past.failed = 0;
                }
                self.give_up_permit();
                self.parks += u32::from(!park.is_waiting());
                self.park = Some(park);
                self.driver = None;
                self.deaths = 0;
            }
            Event::Mended { sources, .. } => {
                self.mended = Some(sources);
                self.park = None;
            }
            Event::Finished { end, .. } => self.end = Some(end),
            Event::Claimed { .. } => {}
            Event::Prepared(_) => return Err(Error::storage("the run was prepared twice")),
            Event::OutputKept { step, output } => self.past_step(step)?.output += output.bytes,
            Event::FileWritten { step, file } => {
                self.past_step(step)?;
                self.files.push((step, file));
            }
            Event::Progress { .. } | Event::Output { .. } => {
                return Err(Error::storage("progress is not part of a journal"));
            }
        }
        Ok(())
    }

    /// Returns the step that has no result yet and still counts.
    pub fn unfinished(&self) -> Option<u32> {
        let last = self.steps.len() as u32;
        let is_open = self.steps.last().is_some_and(|past| !matches!(past.state, StepState::Finished(_)));
        let is_left = self.stop.as_ref().is_some_and(|stop| stop.begun && stop.step == last);
        (is_open && !is_left).then_some(last)
    }

    /// Returns a recorded step.
    pub fn step(&self, step: u32) -> Option<&PastStep> {
        self.steps.get((step as usize).checked_sub(1)?)
    }

    fn start(
        &mut self,
        step: u32,
        operation: String,
        args: Value,
        place: Place,
        attempt: u32,
        at: Timestamp,
    ) -> Result<()> {
        let last = self.steps.len() as u32;
        let state = StepState::Started { attempt, until: None, failure: None };
        if step == last + 1 && self.unfinished().is_none() {
            self.steps.push(PastStep {
                operation,
                args: Arc::new(args),
                at: place,
                state,
                attempt,
                answer: None,
                failed: 0,
                since: at,
                output: 0,
                send_before: None,
            });
            return Ok(());
        }
        let past = self.open_step(step)?;
        if past.operation != operation || *past.args != args {
            return Err(Error::storage(format!("step {step} was started as `{}`", past.operation)));
        }
        if past.failed == 0 {
            past.since = at;
        }
        past.state = state;
        past.attempt = attempt;
        if matches!(self.park, Some(Park::Undecided { .. })) {
            // The answer was "again"; the next unclear moment is a new question.
            self.park = None;
            self.open_step(step)?.answer = None;
        }
        Ok(())
    }

    /// Notes until when the current driver may send.
    fn permit(&mut self, step: u32, until: Option<Timestamp>) -> Result<()> {
        let maker = self.driver.clone().unwrap_or_default();
        self.open_step(step)?.send_before = until.map(|until| (maker, until));
        Ok(())
    }

    /// Whoever leaves a step, by putting the run away or because of a stop, sends nothing more for it.
    fn give_up_permit(&mut self) {
        if let Some(past) = self.steps.last_mut() {
            past.send_before =
                past.send_before.take().filter(|(maker, _)| Some(maker) != self.driver.as_ref());
        }
    }

    fn past_step(&mut self, step: u32) -> Result<&mut PastStep> {
        let past = (step as usize).checked_sub(1).and_then(|index| self.steps.get_mut(index));
        past.ok_or_else(|| Error::storage(format!("step {step} has not begun")))
    }

    fn open_step(&mut self, step: u32) -> Result<&mut PastStep> {
        let last = self.steps.len() as u32;
        match self.steps.last_mut() {
            Some(past) if step == last && !matches!(past.state, StepState::Finished(_)) => Ok(past),
            _ => Err(Error::storage(format!("step {step} is not under way"))),
        }
    }
}

/// Returns the error of a script that calls something else than what is recorded.
pub fn diverged(step: u32, past: &PastStep, operation: &str, args: &Value) -> Error {
    differs(step, past, &shown(operation, args))
}

/// Returns the error of a script that ends although more steps are recorded, if it does.
pub fn ended_early(history: &History, reached: u32) -> Option<Error> {
    history.step(reached + 1).map(|past| differs(reached + 1, past, "the script ends"))
}

fn shown(operation: &str, args: &Value) -> String {
    let mut text = format!("{operation} {args}");
    if text.chars().count() > 300 {
        text = text.chars().take(300).chain("...".chars()).collect();
    }
    text
}

fn differs(step: u32, past: &PastStep, now: &str) -> Error {
    let recorded = shown(&past.operation, &past.args);
    Error::new(
        ErrorKind::Diverged,
        format!("step {step} is not the one that was recorded\n  recorded: {recorded}\n  now:      {now}"),
    )
    .hint("nothing was sent; a runbook must take the same way when it is run again: let now(), random() and operations decide, not anything else")
}
