//! The journal in memory, for tests and rehearsals: stricter than the one on disk, on purpose.
//!
//! Owns: the whole state, the list of commands that led to it, and two ways to lose some of it
//! ([`crash`](MemoryJournal::crash), [`truncated`](MemoryJournal::truncated)).
//!
//! Beyond the promises of [`Journal`] it refuses an event that does not read back as it was
//! written, and steps out of order: a result without its intent, an intent while another is open.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use jiff::Timestamp;

use super::derive::{self, Verdict};
use super::{Appended, Claim, Journal, NewRun, OwnerId, RunFilter, Summary, Sync, Tenure, unknown};
use crate::error::{Error, Result};
use crate::event::{
    self, Appointment, Effected, Event, GENESIS, Lease, Record, RunId, Signal, Source,
};

/// A journal that is gone with the process.
#[derive(Default)]
pub struct MemoryJournal(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    state: State,
    /// Every command that was not refused, in order, with the number of records it wrote.
    log: Vec<(Command, u64)>,
    /// How many of them a disk would hold.
    durable: usize,
}

impl MemoryJournal {
    /// Makes an empty journal.
    pub fn new() -> Self {
        MemoryJournal::default()
    }

    /// Returns what a disk would hold if the process died now: all up to the last command that
    /// waited for it. What was appended with [`Sync::Soon`] since then is lost.
    pub fn crash(&self) -> MemoryJournal {
        let inner = self.lock();
        MemoryJournal::replay(
            inner.log[..inner.durable]
                .iter()
                .map(|(command, _)| command.clone()),
        )
    }

    /// Returns the journal as if nothing had happened to a run after its record number `seq`.
    ///
    /// What its later events did to leases and schedules is undone, the words that they consumed
    /// wait again, and words that came later are gone. Other runs keep their lines.
    pub fn truncated(&self, run: &RunId, seq: u64) -> MemoryJournal {
        let inner = self.lock();
        let mut written = 0;
        MemoryJournal::replay(inner.log.iter().filter_map(|(command, wrote)| {
            if command.run() != Some(run) {
                return Some(command.clone());
            }
            let left = seq.saturating_sub(written);
            written += wrote;
            if left == 0 {
                None
            } else {
                Some(command.clone().cut(left))
            }
        }))
    }

    fn replay(commands: impl Iterator<Item = Command>) -> MemoryJournal {
        let mut inner = Inner::default();
        for command in commands {
            // A command may have hung on one that was cut off, such as a firing on its schedule.
            let _ = inner.perform(command);
        }
        inner.durable = inner.log.len();
        MemoryJournal(Mutex::new(inner))
    }

    fn perform(&self, command: Command) -> Result<Answer> {
        let waits = !matches!(
            command,
            Command::Append {
                sync: Sync::Soon,
                ..
            }
        );
        let mut inner = self.lock();
        let answer = inner.perform(command)?;
        if waits {
            inner.durable = inner.log.len();
        }
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic while the journal is held")
    }
}

impl Inner {
    fn perform(&mut self, command: Command) -> Result<Answer> {
        let length = |state: &State| {
            command
                .run()
                .and_then(|run| state.lines.get(run))
                .map_or(0, |l| l.summary.seq)
        };
        let before = length(&self.state);
        let answer = self.state.apply(&command)?;
        let wrote = length(&self.state) - before;
        self.log.push((command, wrote));
        Ok(answer)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn prepare(&self, run: NewRun, at: Timestamp) -> Result<bool> {
        self.perform(Command::Prepare { run, at }).map(Answer::did)
    }

    async fn heartbeat(&self, owner: &OwnerId, until: Timestamp) -> Result<()> {
        self.perform(Command::Heartbeat {
            owner: owner.clone(),
            until,
        })
        .map(drop)
    }

    async fn claim(
        &self,
        run: &RunId,
        owner: &OwnerId,
        dead: Option<&OwnerId>,
        at: Timestamp,
    ) -> Result<Claim> {
        let (run, owner, dead) = (run.clone(), owner.clone(), dead.cloned());
        match self.perform(Command::Claim {
            run,
            owner,
            dead,
            at,
        })? {
            Answer::Claim(claim) => Ok(claim),
            _ => unreachable!("a claim is answered as a claim"),
        }
    }

    async fn append(
        &self,
        tenure: &Tenure,
        events: &[Event],
        at: Timestamp,
        sync: Sync,
    ) -> Result<Appended> {
        let (tenure, events) = (tenure.clone(), events.to_vec());
        match self.perform(Command::Append {
            tenure,
            events,
            at,
            sync,
        })? {
            Answer::Appended(appended) => Ok(appended),
            _ => unreachable!("an append is answered as an append"),
        }
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        let inner = self.lock();
        let line = inner.state.line(run)?;
        event::verify(GENESIS, 1, &line.records)?;
        Ok(line
            .records
            .iter()
            .filter(|record| record.seq > after)
            .cloned()
            .collect())
    }

    async fn sources(&self, run: &RunId) -> Result<Vec<Source>> {
        Ok(self.lock().state.line(run)?.sources.clone())
    }

    async fn run(&self, run: &RunId) -> Result<Option<Summary>> {
        Ok(self
            .lock()
            .state
            .lines
            .get(run)
            .map(|line| line.summary.clone()))
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Summary>> {
        let inner = self.lock();
        let all = inner.state.lines.values().map(|line| &line.summary);
        let mut found: Vec<Summary> = all
            .filter(|run| !filter.open || !run.status.is_over())
            .cloned()
            .collect();
        found.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        if filter.limit > 0 {
            found.truncate(filter.limit);
        }
        Ok(found)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>> {
        let inner = self.lock();
        let since = |run: &Summary| match &run.owner {
            Some(owner) => inner.state.owners.get(owner).copied(),
            None => run.wake,
        };
        let runs = inner.state.lines.values().map(|line| &line.summary);
        let mut due: Vec<(Timestamp, RunId)> = runs
            .filter_map(|run| Some((since(run)?, run.id.clone())))
            .filter(|(since, _)| *since <= now)
            .collect();
        due.sort();
        Ok(due.into_iter().take(limit).map(|(_, id)| id).collect())
    }

    async fn signal(&self, run: &RunId, signal: &Signal, at: Timestamp) -> Result<()> {
        self.perform(Command::Signal {
            run: run.clone(),
            signal: signal.clone(),
            at,
        })
        .map(drop)
    }

    async fn signals(&self, run: &RunId) -> Result<Vec<Signal>> {
        Ok(self
            .lock()
            .state
            .lines
            .get(run)
            .map(|line| line.signals.clone())
            .unwrap_or_default())
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        let mut leases: Vec<Lease> = self.lock().state.leases.values().cloned().collect();
        leases.sort_by(|a, b| (a.deadline, &a.id).cmp(&(b.deadline, &b.id)));
        Ok(leases)
    }

    async fn schedules(&self) -> Result<Vec<Appointment>> {
        let mut schedules: Vec<Appointment> =
            self.lock().state.schedules.values().cloned().collect();
        schedules.sort_by(|a, b| (a.due, &a.id).cmp(&(b.due, &b.id)));
        Ok(schedules)
    }

    async fn schedule(&self, appointment: &Appointment) -> Result<()> {
        self.perform(Command::Schedule(appointment.clone()))
            .map(drop)
    }

    async fn unschedule(&self, id: &str) -> Result<bool> {
        self.perform(Command::Unschedule(id.to_owned()))
            .map(Answer::did)
    }

    async fn fire(
        &self,
        id: &str,
        due: Timestamp,
        run: NewRun,
        next: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<bool> {
        self.perform(Command::Fire {
            id: id.to_owned(),
            due,
            run,
            next,
            at,
        })
        .map(Answer::did)
    }
}

/// A call that changes something, as data.
#[derive(Clone)]
enum Command {
    Prepare {
        run: NewRun,
        at: Timestamp,
    },
    Heartbeat {
        owner: OwnerId,
        until: Timestamp,
    },
    Claim {
        run: RunId,
        owner: OwnerId,
        dead: Option<OwnerId>,
        at: Timestamp,
    },
    Append {
        tenure: Tenure,
        events: Vec<Event>,
        at: Timestamp,
        sync: Sync,
    },
    Signal {
        run: RunId,
        signal: Signal,
        at: Timestamp,
    },
    Schedule(Appointment),
    Unschedule(String),
    Fire {
        id: String,
        due: Timestamp,
        run: NewRun,
        next: Option<Timestamp>,
        at: Timestamp,
    },
}

impl Command {
    /// Returns the run that it is about.
    fn run(&self) -> Option<&RunId> {
        match self {
            Command::Prepare { run, .. } | Command::Fire { run, .. } => Some(&run.id),
            Command::Claim { run, .. } | Command::Signal { run, .. } => Some(run),
            Command::Append { tenure, .. } => Some(&tenure.run),
            Command::Heartbeat { .. } | Command::Schedule(_) | Command::Unschedule(_) => None,
        }
    }

    /// Returns the command as far as it writes at most `left` records.
    fn cut(mut self, left: u64) -> Command {
        if let Command::Append { events, .. } = &mut self {
            events.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self
    }
}

/// What a command came to.
enum Answer {
    Done,
    Did(bool),
    Claim(Claim),
    Appended(Appended),
}

impl Answer {
    fn did(self) -> bool {
        matches!(self, Answer::Did(true))
    }
}

#[derive(Default)]
struct State {
    lines: BTreeMap<RunId, Line>,
    owners: HashMap<OwnerId, Timestamp>,
    leases: BTreeMap<String, Lease>,
    schedules: BTreeMap<String, Appointment>,
}

struct Line {
    summary: Summary,
    records: Vec<Record>,
    sources: Vec<Source>,
    signals: Vec<Signal>,
    steps: Steps,
}

impl State {
    /// Does all of what a command says, or nothing.
    fn apply(&mut self, command: &Command) -> Result<Answer> {
        match command {
            Command::Prepare { run, at } => self.prepare(run, *at).map(Answer::Did),
            Command::Heartbeat { owner, until } => {
                self.owners.insert(owner.clone(), *until);
                Ok(Answer::Done)
            }
            Command::Claim {
                run,
                owner,
                dead,
                at,
            } => self
                .claim(run, owner, dead.as_ref(), *at)
                .map(Answer::Claim),
            Command::Append {
                tenure, events, at, ..
            } => self.append(tenure, events, *at).map(Answer::Appended),
            Command::Signal { run, signal, at } => {
                self.signal(run, signal, *at).map(|()| Answer::Done)
            }
            Command::Schedule(appointment) => {
                self.schedules
                    .insert(appointment.id.clone(), appointment.clone());
                Ok(Answer::Done)
            }
            Command::Unschedule(id) => Ok(Answer::Did(self.schedules.remove(id).is_some())),
            Command::Fire {
                id,
                due,
                run,
                next,
                at,
            } => self.fire(id, *due, run, *next, *at).map(Answer::Did),
        }
    }

    fn prepare(&mut self, run: &NewRun, at: Timestamp) -> Result<bool> {
        let (summary, first) = derive::born(run, at)?;
        reads_back(&first, &Event::Prepared(Box::new(run.prepared.clone())))?;
        if self.lines.contains_key(&run.id) {
            return Ok(false);
        }
        let line = Line {
            summary,
            records: vec![first],
            sources: run.sources.clone(),
            signals: Vec::new(),
            steps: Steps::default(),
        };
        self.lines.insert(run.id.clone(), line);
        Ok(true)
    }

    fn claim(
        &mut self,
        run: &RunId,
        owner: &OwnerId,
        dead: Option<&OwnerId>,
        at: Timestamp,
    ) -> Result<Claim> {
        if !self.owners.contains_key(owner) {
            return Err(derive::lifeless(owner));
        }
        let line = self.lines.get_mut(run).ok_or_else(|| unknown(run))?;
        let heartbeat = line
            .summary
            .owner
            .as_ref()
            .and_then(|by| self.owners.get(by))
            .copied();
        Ok(
            match derive::judge(&mut line.summary, heartbeat, owner, dead, at)? {
                Verdict::Over => Claim::Over,
                Verdict::Held { by, until } => Claim::Held { by, until },
                Verdict::Grant(record, tenure) => {
                    line.records.push(record);
                    Claim::Granted(tenure)
                }
            },
        )
    }

    fn append(&mut self, tenure: &Tenure, events: &[Event], at: Timestamp) -> Result<Appended> {
        let line = self
            .lines
            .get_mut(&tenure.run)
            .ok_or_else(|| unknown(&tenure.run))?;
        let (mut summary, mut steps) = (line.summary.clone(), line.steps.clone());
        let records = derive::proceed(&mut summary, tenure, events, at)?;
        for (event, record) in events.iter().zip(&records) {
            reads_back(record, event)?;
            steps.take(event, record)?;
        }
        // Nothing fails from here on.
        line.summary = summary;
        line.steps = steps;
        line.records.extend(records.iter().cloned());
        for event in events {
            if let Some(found) = derive::consumed(event, line.signals.iter()) {
                line.signals.remove(found);
            }
        }
        let signalled = !line.signals.is_empty();
        if signalled && !events.is_empty() {
            derive::summon(&mut line.summary, at);
        }
        for effect in events.iter().flat_map(Event::effected) {
            match effect {
                Effected::LeaseOpened(lease) => {
                    drop(self.leases.insert(lease.id.clone(), lease.clone()))
                }
                Effected::LeaseClosed { id } => drop(self.leases.remove(id)),
                Effected::Scheduled(next) => {
                    drop(self.schedules.insert(next.id.clone(), next.clone()))
                }
                Effected::Unscheduled { id } => drop(self.schedules.remove(id)),
            }
        }
        Ok(Appended { records, signalled })
    }

    fn signal(&mut self, run: &RunId, signal: &Signal, at: Timestamp) -> Result<()> {
        let line = self.lines.get_mut(run).ok_or_else(|| unknown(run))?;
        if line.summary.status.is_over() {
            return Err(derive::deaf(run, line.summary.status));
        }
        line.signals.push(signal.clone());
        derive::summon(&mut line.summary, at);
        Ok(())
    }

    fn fire(
        &mut self,
        id: &str,
        due: Timestamp,
        run: &NewRun,
        next: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<bool> {
        if self
            .schedules
            .get(id)
            .is_none_or(|appointment| appointment.due != due)
        {
            derive::born(run, at)?;
            return Ok(false);
        }
        self.prepare(run, at)?;
        match (next, self.schedules.get_mut(id)) {
            (Some(next), Some(appointment)) => appointment.due = next,
            _ => drop(self.schedules.remove(id)),
        }
        Ok(true)
    }

    fn line(&self, run: &RunId) -> Result<&Line> {
        self.lines.get(run).ok_or_else(|| unknown(run))
    }
}

/// How far a run's line of steps has come.
#[derive(Clone, Default)]
struct Steps {
    /// The last step that was started.
    last: u32,
    /// Whether it has no result yet.
    open: bool,
    /// Whether somebody has stopped the run.
    stopped: bool,
}

impl Steps {
    /// Takes the next event in, if it is in order.
    fn take(&mut self, event: &Event, record: &Record) -> Result<()> {
        let out_of_order = |how: &str| {
            Err(Error::storage(format!(
                "record {} may not follow: {how}",
                record.seq
            )))
        };
        match event {
            Event::StepStarted { step, .. } if self.open && *step != self.last => {
                return out_of_order(&format!(
                    "step {step} starts while step {} is open",
                    self.last
                ));
            }
            Event::StepStarted { step, .. } if !self.open && *step <= self.last => {
                return out_of_order(&format!("step {step} starts again after its end"));
            }
            Event::StepStarted { step, .. } => {
                {
                self.last = *step;
                self.open = true;
            }
            }
            Event::StepRetrying { step, .. }
            | Event::StepAccepted { step, .. }
            | Event::StepFinished { step, .. }
                if !self.open || *step != self.last =>
            {
                return out_of_order(&format!("step {step} was not started"));
            }
            Event::StepFinished { .. } => self.open = false,
            // The first stop leaves the step under way behind: what was deferred comes next.
            Event::Signalled {
                signal: Signal::Stop { .. },
            } if !self.stopped => {
                self.stopped = true;
                self.open = false;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Checks that a record gives back the event that it was made of.
fn reads_back(record: &Record, event: &Event) -> Result<()> {
    if record.event()? == *event {
        return Ok(());
    }
    Err(Error::storage(format!(
        "record {} does not read back as it was written: {}",
        record.seq, record.body
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::contract::{
        answer, appointment, both, claim, kind, lease, new_run, owner, parked, started, t,
    };
    use super::*;
    use crate::error::ErrorKind;
    use crate::event::StepEnd;

    fn result(step: u32, effected: Vec<Effected>) -> Event {
        Event::StepFinished {
            step,
            end: StepEnd::Ok(json!(step)),
            effected,
        }
    }

    /// Two runs that touch the same tables, a word, and a claim after it.
    async fn story() -> MemoryJournal {
        let journal = MemoryJournal::new();
        journal.prepare(new_run("a"), t(0)).await.unwrap();
        journal.prepare(new_run("b"), t(0)).await.unwrap();
        let a = claim(&journal, "a", "one", 1).await;
        let b = claim(&journal, "b", "one", 1).await;
        let opens = vec![
            Effected::LeaseOpened(lease("l", 50)),
            Effected::Scheduled(appointment("s", 60)),
        ];
        journal
            .append(&a, &[started(1), result(1, opens)], t(2), Sync::Now)
            .await
            .unwrap();
        let closes = vec![Effected::LeaseClosed { id: "l".into() }];
        journal
            .append(&b, &[started(1), result(1, closes)], t(3), Sync::Now)
            .await
            .unwrap();
        let reopens = vec![Effected::LeaseOpened(lease("l", 70))];
        journal
            .append(
                &a,
                &[started(2), result(2, reopens), parked(None)],
                t(4),
                Sync::Now,
            )
            .await
            .unwrap();
        journal.signal(&"a".into(), &answer(2), t(5)).await.unwrap();
        let a = claim(&journal, "a", "two", 6).await;
        let heard = Event::Signalled { signal: answer(2) };
        journal
            .append(&a, &[heard, started(3)], t(7), Sync::Now)
            .await
            .unwrap();
        journal
    }

    #[tokio::test]
    async fn a_line_cut_anywhere_is_a_consistent_prefix() {
        let whole = story().await;
        let (a, b) = (RunId::from("a"), RunId::from("b"));
        let all = whole.records(&a, 0).await.unwrap();
        assert_eq!(all.len(), 10);
        for seq in 1..=10 {
            let cut = whole.truncated(&a, seq);
            assert_eq!(
                cut.records(&a, 0).await.unwrap(),
                all[..seq as usize],
                "cut after {seq}"
            );
            assert_eq!(cut.run(&a).await.unwrap().unwrap().seq, seq);
            assert_eq!(
                cut.records(&b, 0).await.unwrap(),
                whole.records(&b, 0).await.unwrap()
            );
            let leases: Vec<_> = cut
                .leases()
                .await
                .unwrap()
                .iter()
                .map(|lease| lease.deadline)
                .collect();
            assert_eq!(
                leases,
                if seq < 6 { vec![] } else { vec![t(70)] },
                "cut after {seq}"
            );
            assert_eq!(
                cut.schedules().await.unwrap().len(),
                usize::from(seq >= 4),
                "cut after {seq}"
            );
            let words = cut.signals(&a).await.unwrap();
            assert_eq!(
                words.len(),
                usize::from(seq == 8),
                "consumed at 9, came after 7: cut after {seq}"
            );
            // The run goes on from there.
            cut.heartbeat(&owner("new"), t(9999)).await.unwrap();
            let claimed = cut.claim(&a, &owner("new"), None, t(2000)).await.unwrap();
            assert!(matches!(claimed, Claim::Granted(_)), "cut after {seq}");
        }
        assert_eq!(whole.truncated(&a, 0).run(&a).await.unwrap(), None);
        assert_eq!(whole.truncated(&a, 99).records(&a, 0).await.unwrap(), all);
    }

    #[tokio::test]
    async fn a_crash_loses_what_did_not_wait_for_the_disk() {
        let journal = MemoryJournal::new();
        journal.prepare(new_run("a"), t(0)).await.unwrap();
        let tenure = claim(&journal, "a", "one", 1).await;
        let [start, end] = both(1);
        journal
            .append(&tenure, &[start], t(2), Sync::Now)
            .await
            .unwrap();
        journal
            .append(&tenure, &[end], t(3), Sync::Soon)
            .await
            .unwrap();
        assert_eq!(journal.records(&"a".into(), 0).await.unwrap().len(), 4);
        assert_eq!(
            journal.crash().records(&"a".into(), 0).await.unwrap().len(),
            3
        );
        // There is one line to the disk: whatever waits for it takes along what came before.
        journal.heartbeat(&owner("two"), t(9)).await.unwrap();
        assert_eq!(
            journal.crash().records(&"a".into(), 0).await.unwrap().len(),
            4
        );
        assert_eq!(
            journal
                .crash()
                .crash()
                .records(&"a".into(), 0)
                .await
                .unwrap()
                .len(),
            4
        );
    }

    #[tokio::test]
    async fn steps_out_of_order_are_refused() {
        let journal = MemoryJournal::new();
        journal.prepare(new_run("a"), t(0)).await.unwrap();
        let tenure = claim(&journal, "a", "one", 1).await;
        let accepted = |step| Event::StepAccepted {
            step,
            continuation: json!(1),
            check_at: t(1),
            deadline: t(2),
            effected: vec![],
        };
        journal
            .append(&tenure, &both(1), t(2), Sync::Now)
            .await
            .unwrap();
        for wrong in [
            vec![result(2, vec![])],
            vec![accepted(2)],
            vec![started(1)],
            vec![started(2), started(3)],
            vec![started(2), accepted(3)],
            vec![started(2), result(2, vec![]), result(2, vec![])],
        ] {
            assert_eq!(
                kind(journal.append(&tenure, &wrong, t(3), Sync::Now).await),
                ErrorKind::Storage,
                "{wrong:?}"
            );
        }
        // Another attempt starts the same step again.
        let right = [
            started(2),
            accepted(2),
            started(2),
            accepted(2),
            result(2, vec![]),
        ];
        journal
            .append(&tenure, &right, t(3), Sync::Now)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn an_event_that_does_not_read_back_is_refused() {
        let record = Record::follow(GENESIS, 1, t(0), &started(1)).unwrap();
        assert!(reads_back(&record, &started(1)).is_ok());
        assert_eq!(kind(reads_back(&record, &started(2))), ErrorKind::Storage);
        let cut = Record {
            body: record.body[1..].to_owned(),
            ..record
        };
        assert_eq!(kind(reads_back(&cut, &started(1))), ErrorKind::Storage);
    }
}
