//! The one place at which a run's log is read and written.

use std::pin::{Pin, pin};

use super::attempt::{Made, Then};
use super::{Steps, Unwind};
use crate::core::Notice;
use crate::error::{ErrorKind, Result};
use crate::event::{Event, Signal, StepEnd};
use crate::journal::Sync;
use crate::log::{Entry, Label, Logged};
use crate::unrecorded::Piece;

/// What makes the next record, where its caller has it: to move it costs as much as to record what it comes to.
pub(super) type Making<'a> = Pin<&'a mut (dyn Future<Output = Result<Made, Unwind>> + Send + 'a)>;

impl Steps {
    /// Takes what stands at the next position of the log; where nothing does, makes it and records it.
    /// Either way it is part of the past then.
    ///
    /// Returns how the run goes on.
    pub(super) async fn next(&self, make: Making<'_>) -> Result<Then, Unwind> {
        let (position, label) = self.position();
        self.next_at(position, label, make).await
    }

    /// Takes the end of the run from its log, or records it there.
    pub(super) async fn last(&self, end: Event) -> Result<(), Unwind> {
        let (position, _) = self.position();
        let made = pin!(async { Ok(Made::events(vec![end], Sync::Now)) });
        self.next_at(position, Label::End, made).await.map(drop)
    }

    /// Takes what stands at the next position, or records events there.
    pub(super) async fn record(&self, events: Vec<Event>, sync: Sync) -> Result<(), Unwind> {
        self.next(pin!(async { Ok(Made::events(events, sync)) })).await.map(drop)
    }

    /// Records what happens while something else is made.
    pub(super) async fn annotate(&self, events: Vec<Event>, sync: Sync) -> Result<()> {
        let mut said = Vec::new();
        let entry = self.entry(events, sync, &mut said).await?;
        if entry.events.is_empty() {
            return Ok(());
        }
        match self.log.annotate(entry).await {
            Ok(logged) => self.fold(logged, true),
            Err(error) => {
                self.around.unrecorded.give_back(said);
                Err(error)
            }
        }
    }

    async fn next_at(&self, position: u64, label: Label, make: Making<'_>) -> Result<Then, Unwind> {
        let (mut then, mut unwound, mut said) = (Then::GoOn, None, Vec::new());
        let entry = async {
            match make.await {
                Ok(made) => {
                    then = made.then;
                    match made.events.is_empty() {
                        true => Ok(Entry::new(self.parts.clock.now(), Vec::new(), Sync::Soon)),
                        false => self.entry(made.events, made.sync, &mut said).await,
                    }
                }
                Err(unwind) => {
                    unwound = Some(unwind);
                    Ok(Entry::new(self.parts.clock.now(), Vec::new(), Sync::Soon))
                }
            }
        };
        let next = self.log.next(position, label, Box::pin(entry)).await;
        if let Some(unwind) = unwound {
            return Err(unwind);
        }
        let next = match next {
            Ok(next) => next,
            Err(error) => {
                self.around.unrecorded.give_back(said);
                return Err(error.into());
            }
        };
        if next.fresh {
            self.fold(next.logged, true)?;
            return Ok(then);
        }
        let last = next.logged.last().map(|last| last.event.clone());
        self.fold(next.logged, false)?;
        match last {
            Some(Event::Parked { park, until }) => Err(Unwind::Parked(Box::new(park), until)),
            Some(Event::Signalled { signal: Signal::Stop { by } }) => Err(Unwind::Stop(by)),
            Some(Event::StepFinished { end: StepEnd::Err(failure), .. })
                if failure.kind == ErrorKind::Script =>
            {
                Err(Unwind::Mistake(failure.to_error()))
            }
            _ => Ok(Then::GoOn),
        }
    }

    /// Returns how many records there are, and what the run is at behind them.
    fn position(&self) -> (u64, Label) {
        let line = self.line();
        let step = line.history.unfinished().unwrap_or(line.history.steps.len() as u32 + 1);
        (line.position, Label::Step(step))
    }

    /// Makes an entry of what happened, without the secrets in it, behind what was said and written before.
    async fn entry(&self, mut events: Vec<Event>, sync: Sync, said: &mut Vec<Piece>) -> Result<Entry> {
        let at = self.parts.clock.now();
        {
            let line = self.line();
            let is_public = |value: &str| self.public.holds(value, &line.history);
            events.iter_mut().for_each(|event| self.parts.revealed.clean(event, &is_public));
        }
        let mut texts = Vec::new();
        let events = super::large::stow(events, &mut texts);
        for duty in events.iter().flat_map(Event::effected) {
            self.log.take_on(duty).await?;
        }
        *said = self.said_before(&events);
        texts.extend(said.iter().filter_map(|(_, text)| text.clone()));
        let events = match said.is_empty() {
            true => events,
            false => said.iter().map(|(event, _)| event.clone()).chain(events).collect(),
        };
        Ok(Entry::new(at, events, sync).texts(texts))
    }

    /// Folds what stands on the log into the past. What was recorded just now is shown.
    pub(super) fn fold(&self, logged: Vec<Logged>, fresh: bool) -> Result<()> {
        let shown: Vec<Notice> = match fresh && !self.parts.observers.is_empty() {
            true => logged.iter().map(|one| self.notice_of(one)).collect(),
            false => Vec::new(),
        };
        let known = {
            let mut line = self.line();
            let known = line.history.steps.len();
            for Logged { seq, at, event } in logged {
                line.position = seq;
                if permits(&event) {
                    line.is_intended_here = fresh;
                }
                line.history.apply(event, at)?;
            }
            line.remembers &= fresh;
            known
        };
        if !fresh {
            self.know_handles(known.saturating_sub(1));
        }
        shown.into_iter().for_each(|notice| self.parts.show(notice));
        Ok(())
    }

    fn notice_of(&self, logged: &Logged) -> Notice {
        Notice::new(self.log.run().clone(), Some(logged.seq), logged.at, logged.event.clone())
    }
}

/// Returns whether an event says until when whoever recorded it may send.
fn permits(event: &Event) -> bool {
    matches!(event, Event::StepStarted { .. } | Event::StepAccepted { .. } | Event::StepExtended { .. })
}
