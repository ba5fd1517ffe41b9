//! The schedules, as an embedding program makes and changes them.

use jiff::Timestamp;

use super::Engine;
use crate::error::{Error, Result};
use crate::event::{Arrival, Fate, Pause, Pin, Schedule, TickCause, fingerprint};
use crate::journal::{Settlement, TickFilter};
use crate::prepare::RunRequest;
use crate::schedule::{Rule, give_up};

/// How many ticks one backfill may make up for.
const BACKFILLED: usize = 500;
/// Among how many of its last accounts a schedule is asked what came of a wish that had no run.
const ACCOUNTS: usize = 500;

/// What a backfill came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backfill {
    /// The ticks that are made up for, in order. Their runs start one after another, or all at once with
    /// [`Overlap::AllowAll`](crate::event::Overlap).
    pub wanted: Vec<Timestamp>,
    /// How many ticks of the range have had their run already.
    pub ran: usize,
}

impl Engine {
    /// Adds a schedule.
    ///
    /// # Errors
    /// `Invalid` when there is one of its name, or its rule cannot be read; `Storage`.
    pub async fn add_schedule(&self, schedule: &Schedule) -> Result<()> {
        schedule.repeats.as_deref().map(Rule::parse).transpose()?;
        match self.journal().settle(&Settlement::add(schedule.clone()), self.clock().now()).await? {
            true => Ok(()),
            false => Err(Error::invalid(format!("there is a schedule `{}` already", schedule.id))),
        }
    }

    /// Makes sure that a run of a schedule could be started now: its runbook is there, and takes its parameters. Writes nothing.
    ///
    /// # Errors
    /// `Invalid`, saying what is in the way; `Storage`.
    pub async fn check_schedule(&self, schedule: &Schedule) -> Result<()> {
        let arrival = Arrival::new(schedule.due, TickCause::Due);
        self.0.start_of(schedule, &arrival, self.clock().now()).await.map(drop)
    }

    /// Gives a schedule other terms, another rule or other parameters. What the old ones left due is accounted for as skipped; what
    /// waits or is under way stays as it is.
    ///
    /// # Errors
    /// `Invalid` when there is none of its name, or its rule cannot be read; `Storage`.
    pub async fn replace_schedule(&self, schedule: &Schedule) -> Result<()> {
        schedule.repeats.as_deref().map(Rule::parse).transpose()?;
        let change = |before: &Schedule, now: Timestamp| {
            let mut alone = before.clone();
            alone.standing.waiting.clear();
            let ticks = give_up(&alone, "the schedule was changed", now)?;
            let mut next = Schedule { standing: before.standing.clone(), ..schedule.clone() };
            next.standing.taken = None;
            Ok(Settlement { ticks, ..Settlement::of(before).to(next) })
        };
        self.0.change_schedule(&schedule.id, change).await
    }

    /// Removes a schedule. What was due and what waits is accounted for as skipped; its runs go on.
    ///
    /// # Errors
    /// `Invalid` when there is none of that name; `Storage`.
    pub async fn remove_schedule(&self, id: &str) -> Result<()> {
        let change = |before: &Schedule, now: Timestamp| {
            // A rule that nobody can read has no ticks.
            let ticks = give_up(before, "the schedule was removed", now).unwrap_or_default();
            Ok(Settlement { ticks, ..Settlement::remove(before) })
        };
        self.0.change_schedule(id, change).await
    }

    /// Pauses a schedule, for a reason: its ticks are skipped until it is resumed, and one that fires once waits.
    ///
    /// # Errors
    /// `Invalid` when there is none of that name, it is paused already, or the reason is missing; `Storage`.
    pub async fn pause_schedule(&self, id: &str, by: &str, because: &str) -> Result<()> {
        if because.trim().is_empty() {
            return Err(Error::invalid("the reason for which the schedule is paused is missing"));
        }
        let change = |before: &Schedule, now: Timestamp| {
            if let Some(pause) = &before.standing.paused {
                return Err(Error::invalid(format!(
                    "the schedule `{id}` is paused already, by {}: {}",
                    pause.by, pause.because
                )));
            }
            let mut next = before.clone();
            next.standing.paused = Some(Pause::new(by, because.trim(), now));
            Ok(Settlement::of(before).to(next))
        };
        self.0.change_schedule(id, change).await
    }

    /// Lets a paused schedule go on. The ticks of the pause are skipped; what waited starts.
    ///
    /// # Errors
    /// `Invalid` when there is none of that name, it is not paused, or a run that waited cannot be started; `Storage`.
    pub async fn resume_schedule(&self, id: &str) -> Result<()> {
        // First what the pause still has to account for, which one look may not hold.
        loop {
            let before = self.0.schedule(id).await?;
            if before.standing.paused.is_none() {
                return Err(Error::invalid(format!("the schedule `{id}` is not paused")));
            }
            let is_due = before.wakes().is_some_and(|wakes| wakes <= self.clock().now());
            if is_due {
                self.0.settle_schedule(&before, &[], &[]).await?;
                continue;
            }
            let mut next = before.clone();
            next.standing.paused = None;
            next.standing.failures = 0;
            let now = self.clock().now();
            if self.journal().settle(&Settlement::of(&before).to(next.clone()), now).await? {
                // What waits for nobody any more starts; a worker does the same with what is due.
                if next.standing.open.is_empty() && !next.standing.waiting.is_empty() {
                    self.0.settle_schedule(&next, &[], &[]).await?;
                }
                return Ok(());
            }
        }
    }

    /// Wants a run of a schedule now, whatever its rule says. Returns what came of it under its overlap policy: nothing yet when it
    /// waits for the end of another run.
    ///
    /// Whoever does not know whether a wish has come through says it again with the same text as `once`, and is told what came of it.
    ///
    /// # Errors
    /// `Invalid` when there is none of that name, or its run cannot be started; `Storage`.
    pub async fn trigger_schedule(&self, id: &str, by: &str, once: Option<&str>) -> Result<Option<Fate>> {
        let cause = TickCause::Trigger { by: by.to_owned(), once: once.map(str::to_owned) };
        let wanted = [Arrival::new(self.clock().now(), cause)];
        loop {
            let schedule = self.0.schedule(id).await?;
            if once.is_some()
                && let Some(known) = self.came_of(&schedule, &wanted[0]).await?
            {
                return Ok(known);
            }
            let Some(settled) = self.0.settle_schedule(&schedule, &[], &wanted).await? else { continue };
            let mut accounts = settled.settlement.ticks.into_iter();
            // Another of the same person may have waited until now.
            let own = accounts.find(|tick| tick.due == wanted[0].due && tick.cause == wanted[0].cause);
            return Ok(own.map(|tick| tick.fate));
        }
    }

    /// Returns what came of a wish that was said before; nothing inside when it waits, nothing at all when it is new.
    async fn came_of(&self, schedule: &Schedule, wanted: &Arrival) -> Result<Option<Option<Fate>>> {
        let (journal, run) = (self.journal(), wanted.run(&schedule.id));
        // The run outlives its account, and what is noted of one that was pruned outlives the run.
        if journal.run(&run).await?.is_some() || journal.pruned(&run).await?.is_some() {
            return Ok(Some(Some(Fate::Ran { run })));
        }
        if schedule.standing.waiting.iter().any(|waiting| waiting.cause == wanted.cause) {
            return Ok(Some(None));
        }
        let accounts = journal.ticks(&TickFilter::of(&schedule.id).at_most(ACCOUNTS)).await?;
        Ok(accounts.into_iter().find(|tick| tick.cause == wanted.cause).map(|tick| Some(tick.fate)))
    }

    /// Makes up for the ticks of a range that had no run, whatever became of them, the first and the last moment included.
    ///
    /// # Errors
    /// `Invalid` when there is none of that name, it does not repeat, or the range holds more than 500 ticks or any that is still to
    /// come; `Storage`.
    pub async fn backfill_schedule(
        &self,
        id: &str,
        (from, to): (Timestamp, Timestamp),
        by: &str,
    ) -> Result<Backfill> {
        loop {
            let schedule = self.0.schedule(id).await?;
            let Some(repeats) = &schedule.repeats else {
                return Err(Error::invalid(format!(
                    "the schedule `{id}` runs once: there is nothing to make up for"
                )));
            };
            let rule = Rule::parse(repeats)?;
            if to >= schedule.due {
                return Err(Error::invalid(format!(
                    "a backfill ends before the next tick, which is at {}",
                    schedule.due
                )));
            }
            let before = from.saturating_sub(std::time::Duration::from_nanos(1)).unwrap_or(Timestamp::MIN);
            let mut wanted = Vec::new();
            let mut ran = 0;
            let mut ticks = std::iter::successors(rule.next_after(before), |due| rule.next_after(*due));
            for due in ticks.by_ref().take_while(|due| *due <= to) {
                if wanted.len() + ran == BACKFILLED {
                    return Err(Error::invalid(format!(
                        "the range holds more than {BACKFILLED} ticks of the schedule `{id}`"
                    ))
                    .hint("make it up in parts"));
                }
                let arrival = Arrival::new(due, TickCause::Backfill { by: by.to_owned() });
                let waits = schedule.standing.waiting.iter().any(|waiting| waiting.due == due);
                let run = arrival.run(id);
                if waits
                    || self.journal().run(&run).await?.is_some()
                    || self.journal().pruned(&run).await?.is_some()
                {
                    ran += 1;
                } else {
                    wanted.push(arrival);
                }
            }
            if self.0.settle_schedule(&schedule, &[], &wanted).await?.is_some() {
                return Ok(Backfill { wanted: wanted.into_iter().map(|arrival| arrival.due).collect(), ran });
            }
        }
    }

    /// Returns a schedule whose runs go by the texts that the library has now, whatever it has later.
    ///
    /// # Errors
    /// `Invalid`, as [`prepare`](Self::prepare); `Storage`.
    pub async fn pin_schedule(&self, schedule: Schedule, request: &RunRequest) -> Result<Schedule> {
        let mut pins = Vec::new();
        for source in self.draft(request)?.run.sources {
            self.journal().keep(&source.text).await?;
            pins.push(Pin { fingerprint: fingerprint(&source.text), name: source.name });
        }
        Ok(Schedule { pins, ..schedule })
    }
}
