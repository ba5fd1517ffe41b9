//! The state that commands lead to, and the rules under which they do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::convert::Infallible;

use jiff::{SignedDuration, Timestamp};

use super::outbox::Rows;
use super::{Answer, Command};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{
    Effected, Event, ExtendedLease, ForgottenLease, Lease, Record, RunId, Schedule, Signal, Source, StepEnd,
    Tick, fingerprint,
};
use crate::journal::derive::{self, Needs, Verdict};
use crate::journal::queue::{self, Places};
use crate::journal::{
    Appended, Claim, ClaimRequest, ConcurrencyLimit, ExtendRequest, Full, NewRun, Notification, OwnerId,
    PruneFilter, Queued, Settlement, Start, Status, Summary, Tenure, gone, unknown,
};

/// Everything that a journal holds.
#[derive(Default)]
pub(super) struct State {
    pub(super) lines: BTreeMap<RunId, Line>,
    pub(super) owners: HashMap<OwnerId, Timestamp>,
    /// What records name by its fingerprint.
    pub(super) texts: HashMap<String, String>,
    /// Which of them a record names.
    named: HashSet<String>,
    pub(super) leases: BTreeMap<String, Lease>,
    pub(super) forgotten: Vec<ForgottenLease>,
    pub(super) extended: Vec<ExtendedLease>,
    pub(super) schedules: BTreeMap<String, Schedule>,
    /// The runs that are gone, and since when.
    pub(super) pruned: HashMap<RunId, Timestamp>,
    pub(super) ticks: Vec<Tick>,
    /// The runs of schedules of whose end those have not heard.
    pub(super) followed: BTreeMap<RunId, Followed>,
    pub(super) outbox: Rows,
    /// The runs that have or want places, in the order in which they came.
    pub(super) seats: Vec<Seat>,
}

/// What a run has to do with the queue.
pub(super) struct Seat {
    pub(super) run: RunId,
    pub(super) limits: Vec<ConcurrencyLimit>,
    /// Whether it has its places.
    pub(super) held: bool,
    /// How long after that it wakes by itself.
    delay: SignedDuration,
}

/// What a schedule has to do with one of its runs.
pub(super) struct Followed {
    pub(super) schedule: String,
    /// When the run is asked to stop.
    pub(super) until: Option<Timestamp>,
    /// How it ended.
    pub(super) ended: Option<Status>,
}

/// One run.
pub(super) struct Line {
    pub(super) summary: Summary,
    pub(super) records: Vec<Record>,
    pub(super) sources: Vec<Source>,
    pub(super) signals: Vec<Signal>,
    /// The texts that its records name.
    named: HashSet<String>,
    steps: Steps,
}

impl State {
    /// Does all of what a command says, or nothing.
    pub(super) fn apply(&mut self, command: &Command) -> Result<Answer> {
        match command {
            Command::Prepare { run, at } => self.prepare(run, *at).map(Answer::Did),
            Command::Heartbeat { owner, until } => {
                self.owners.insert(owner.clone(), *until);
                Ok(Answer::Done)
            }
            Command::Claim(request) => self.claim(request).map(Answer::Claim),
            Command::Append { tenure, events, at, .. } => {
                self.append(tenure, events, *at).map(Answer::Appended)
            }
            Command::Signal { run, signal, at } => self.signal(run, signal, *at).map(|()| Answer::Done),
            Command::Forget { id, by, because, at } => Ok(Answer::Did(match self.leases.remove(id) {
                Some(lease) => {
                    let (by, because, at) = (by.clone(), because.clone(), *at);
                    self.forgotten.push(ForgottenLease { lease, by, because, at });
                    true
                }
                None => false,
            })),
            Command::Extend(request) => Ok(Answer::Extended(self.extend(request).map(Box::new))),
            Command::Prune { runs, at } => Ok(Answer::Runs(self.prune(runs, *at))),
            Command::Keep(text) => {
                self.texts.insert(fingerprint(text), text.clone());
                Ok(Answer::Done)
            }
            Command::Settle { settlement, at } => self.settle(settlement, *at).map(Answer::Did),
            Command::PruneTicks { before, limit } => Ok(Answer::Count(self.prune_ticks(*before, *limit))),
            Command::StopOverdue { now } => Ok(Answer::Runs(self.stop_overdue(*now))),
            Command::Subscribe(all) => Ok(Answer::Unsubscribed(self.outbox.subscribe(all))),
            Command::Notify(notification) => Ok(Answer::Count(self.outbox.notify(notification))),
            Command::Take(taking) => Ok(Answer::Taken(self.outbox.take(taking).map(Box::new))),
            Command::SettleDelivery { taken, came_to, at } => {
                Ok(Answer::Did(self.outbox.settle(taken, came_to, *at)))
            }
            Command::Bound { receiver, bounds, at } => {
                Ok(Answer::Count(self.outbox.bound(receiver, bounds, *at)))
            }
        }
    }

    fn prepare(&mut self, run: &NewRun, at: Timestamp) -> Result<bool> {
        let (summary, first) = derive::prepare(run, at)?;
        reads_back(&first, &Event::Prepared(Box::new(run.prepared.clone())))?;
        let deadline = |id: &str| self.leases.get(id).map(|lease| lease.deadline);
        if self.lines.contains_key(&run.id)
            || self.pruned.contains_key(&run.id)
            || !derive::is_wanted(run, deadline)
        {
            return Ok(false);
        }
        let mut summary = summary;
        self.enter(run, &mut summary, at);
        let line = Line {
            summary,
            records: vec![first],
            sources: run.sources.clone(),
            signals: Vec::new(),
            named: HashSet::new(),
            steps: Steps::default(),
        };
        self.lines.insert(run.id.clone(), line);
        Ok(true)
    }

    fn claim(&mut self, request: &ClaimRequest) -> Result<Claim> {
        if !self.owners.contains_key(&request.owner) {
            return Err(derive::no_heartbeat(&request.owner));
        }
        let line = self.lines.get_mut(&request.run).ok_or_else(|| missing(&self.pruned, &request.run))?;
        let heartbeat = line.summary.owner.as_ref().and_then(|by| self.owners.get(by)).copied();
        Ok(match derive::decide_claim(&mut line.summary, heartbeat, request)? {
            Verdict::Over => Claim::Over,
            Verdict::Moved => Claim::Moved,
            Verdict::Queued => Claim::Queued,
            Verdict::Held { by, until } => Claim::Held { by, until },
            Verdict::Grant(record, tenure) => {
                line.records.push(record);
                // One that was woken before its turn is under way like any other.
                if let Some(seat) = self.seats.iter_mut().find(|seat| seat.run == request.run) {
                    seat.held = true;
                }
                Claim::Granted(tenure)
            }
        })
    }

    fn append(&mut self, tenure: &Tenure, events: &[Event], at: Timestamp) -> Result<Appended> {
        let line = self.lines.get_mut(&tenure.run).ok_or_else(|| missing(&self.pruned, &tenure.run))?;
        let (mut summary, mut steps) = (line.summary.clone(), line.steps.clone());
        let records = derive::proceed(&mut summary, tenure, events, at)?;
        for (event, record) in events.iter().zip(&records) {
            reads_back(record, event)?;
            steps.take(event, record)?;
            if let Some(print) = event.text().filter(|print| !self.texts.contains_key(*print)) {
                return Err(derive::not_kept(&tenure.run, print));
            }
        }
        // Nothing fails from here on.
        let last = summary.seq;
        line.summary = summary;
        line.steps = steps;
        for print in events.iter().filter_map(Event::text) {
            line.named.insert(print.to_owned());
            self.named.insert(print.to_owned());
        }
        line.records.extend(records);
        for event in events {
            if let Some(found) = derive::consumed(event, line.signals.iter()) {
                line.signals.remove(found);
            }
        }
        let signalled = !line.signals.is_empty();
        if signalled && !events.is_empty() {
            derive::wake_for(&mut line.summary, line.signals.iter(), at);
        }
        for notification in events.iter().filter_map(|event| Notification::of_event(&line.summary, event)) {
            self.outbox.notify(&notification);
        }
        for effect in events.iter().flat_map(Event::effected) {
            match effect {
                Effected::LeaseOpened(lease) => drop(self.leases.insert(lease.id.clone(), lease.clone())),
                Effected::LeaseClosed { id } => drop(self.leases.remove(id)),
                Effected::Scheduled(made) => {
                    let before = self.schedules.remove(&made.id);
                    self.schedules.insert(made.id.clone(), derive::scheduled(before, made));
                }
                Effected::Unscheduled { id } => {
                    if let Some(before) = self.schedules.get(id) {
                        let left = derive::unscheduled(before, at);
                        self.account(&left);
                        self.unschedule(id);
                    }
                }
            }
        }
        self.tell_end(&tenure.run);
        self.leave(&tenure.run, at);
        for event in events {
            if let Some((parent, signal)) = derive::told(&tenure.run, event) {
                // A parent that is over waits for nothing.
                let _ = self.signal(parent, &signal, at);
            }
        }
        Ok(Appended { last, signalled })
    }

    fn extend(&mut self, request: &ExtendRequest) -> Option<ExtendedLease> {
        let lease = self.leases.get_mut(&request.lease)?;
        if self.lines.contains_key(&request.unless) {
            return None;
        }
        let closing = self.schedules.values_mut().filter(|one| one.closes.as_ref() == Some(&request.lease));
        let extended = derive::extend(lease, closing, request)?;
        lease.clone_from(&extended.lease);
        self.extended.push(extended.clone());
        Some(extended)
    }

    pub(super) fn prunable(&self, filter: &PruneFilter) -> Vec<Summary> {
        let mut over: Vec<&Summary> = self.lines.values().map(|line| &line.summary).collect();
        over.retain(|run| filter.counts(run));
        over.sort_unstable_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        let needs = self.needs();
        let old = over.into_iter().skip(filter.keep).rev();
        let free = old.filter(|run| filter.fits(run) && !self.is_needed(&needs, run));
        let limit = if filter.limit == 0 { usize::MAX } else { filter.limit };
        free.take(limit).cloned().collect()
    }

    fn prune(&mut self, runs: &[RunId], at: Timestamp) -> Vec<RunId> {
        let needs = self.needs();
        let mut gone = Vec::new();
        for id in runs {
            let Some(Line { summary, .. }) = self.lines.get(id) else { continue };
            if id.is_branch() || !summary.status.is_over() || self.is_needed(&needs, summary) {
                continue;
            }
            self.lines.retain(|run, _| run.whole() != *id);
            self.pruned.insert(id.clone(), at);
            gone.push(id.clone());
        }
        let named: HashSet<String> = self.lines.values().flat_map(|line| line.named.clone()).collect();
        // What was kept and not named yet is named soon.
        self.named.retain(|print| {
            let is_named = named.contains(print) || needs.has_text(print);
            if !is_named {
                self.texts.remove(print);
            }
            is_named
        });
        gone
    }

    fn needs(&self) -> Needs {
        let leases: Vec<Lease> = self.leases.values().cloned().collect();
        let schedules: Vec<Schedule> = self.schedules.values().cloned().collect();
        let is_there = |run: &RunId| Ok::<_, Infallible>(self.lines.contains_key(run));
        let Ok(needs) = Needs::of(&leases, &schedules, is_there);
        needs
    }

    fn is_needed(&self, needs: &Needs, run: &Summary) -> bool {
        let is_open = |run: &Summary| !run.status.is_over();
        let (mut below, mut seen) = (vec![run], HashSet::new());
        while let Some(one) = below.pop() {
            if is_open(one) || needs.has(&one.id) {
                return true;
            }
            if seen.insert(&one.id) {
                let all = self.lines.values().map(|line| &line.summary);
                below.extend(all.filter(|other| other.came_from.as_ref() == Some(&one.id)));
            }
        }
        let (mut above, mut seen) = (run, HashSet::new());
        while let Some(line) = above.came_from.as_ref().and_then(|from| self.lines.get(from)) {
            above = &line.summary;
            if is_open(above) {
                return true;
            }
            if !seen.insert(&above.id) {
                break;
            }
        }
        false
    }

    fn signal(&mut self, run: &RunId, signal: &Signal, at: Timestamp) -> Result<()> {
        let line = self.lines.get_mut(run).ok_or_else(|| missing(&self.pruned, run))?;
        if line.summary.status.is_over() {
            return Err(derive::already_over(run, line.summary.status));
        }
        line.signals.push(signal.clone());
        derive::wake_for(&mut line.summary, std::iter::once(signal), at);
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement, at: Timestamp) -> Result<bool> {
        let id = settlement.schedule()?;
        for start in &settlement.starts {
            derive::prepare(&start.run, at)?;
        }
        if self.schedules.get(id) != settlement.from.as_ref() {
            return Ok(false);
        }
        match &settlement.to {
            Some(schedule) => drop(self.schedules.insert(id.to_owned(), schedule.clone())),
            None => self.unschedule(id),
        }
        self.account(&settlement.ticks);
        for Start { run, until } in &settlement.starts {
            self.prepare(run, at)?;
            let followed = Followed { schedule: id.to_owned(), until: *until, ended: None };
            self.followed.entry(run.id.clone()).or_insert(followed);
            self.tell_end(&run.id);
        }
        for (run, by) in &settlement.stops {
            // One that is over needs no stop.
            let _ = self.signal(run, &Signal::Stop { by: by.clone() }, at);
        }
        for run in &settlement.heard {
            self.followed.remove(run);
        }
        for notification in Notification::of_settlement(settlement, at) {
            self.outbox.notify(&notification);
        }
        Ok(true)
    }

    fn stop_overdue(&mut self, now: Timestamp) -> Vec<RunId> {
        let mut overdue = Vec::new();
        for (run, followed) in &mut self.followed {
            if followed.until.is_some_and(|until| until <= now) {
                followed.until = None;
                overdue.push((run.clone(), derive::overdue(&followed.schedule)));
            }
        }
        for (run, word) in &overdue {
            let _ = self.signal(run, word, now);
        }
        overdue.into_iter().map(|(run, _)| run).collect()
    }

    /// Gives a new run its places, or its place in the queue.
    fn enter(&mut self, run: &NewRun, summary: &mut Summary, at: Timestamp) {
        if run.limits.is_empty() {
            return;
        }
        let Ok(full) = self.places().full(&run.limits);
        let held = run.at_once || full.is_empty();
        let delay = summary.wake.map_or(SignedDuration::ZERO, |wake| wake.duration_since(at));
        if !held {
            summary.wake = None;
        }
        self.seats.push(Seat { run: run.id.clone(), limits: run.limits.clone(), held, delay });
    }

    /// Gives back the places of a run if it is over, to those who are next.
    fn leave(&mut self, run: &RunId, at: Timestamp) {
        let Some(n) = self.seats.iter().position(|seat| seat.run == *run) else { return };
        if self.lines.get(run).is_some_and(|line| !line.summary.status.is_over()) {
            return;
        }
        let Seat { limits, held, .. } = self.seats.remove(n);
        if !held {
            return;
        }
        let groups: BTreeSet<String> = limits.into_iter().map(|limit| limit.group).collect();
        let queue =
            self.seats.iter().enumerate().filter(|(_, seat)| {
                !seat.held && seat.limits.iter().any(|limit| groups.contains(&limit.group))
            });
        let queue = queue.map(|(n, seat)| Ok((n, seat.limits.clone())));
        let Ok(next) = self.places().next(groups.clone(), queue);
        for n in next {
            let seat = &mut self.seats[n];
            seat.held = true;
            let Some(line) = self.lines.get_mut(&seat.run) else { continue };
            if line.summary.is_queued() {
                line.summary.wake = Some(at.saturating_add(seat.delay).unwrap_or(at));
            }
        }
    }

    fn places(&self) -> Places<impl FnMut(&str) -> Result<u32, Infallible>> {
        Places::new(|group: &str| {
            let is_of = |seat: &&Seat| seat.held && seat.limits.iter().any(|limit| limit.group == group);
            Ok(u32::try_from(self.seats.iter().filter(is_of).count()).unwrap_or(u32::MAX))
        })
    }

    pub(super) fn queue(&self) -> Vec<Queued> {
        let waiting = self.seats.iter().filter(|seat| !seat.held);
        let waiting = waiting.filter_map(|seat| Some((seat, self.lines.get(&seat.run)?)));
        let full = |seat: &Seat| {
            let Ok(full) = self.places().full(&seat.limits);
            let full = full.into_iter().map(|limit| {
                let is_of = |other: &&Seat| other.held && other.limits.iter().any(|l| l.group == limit.group);
                let by = self.seats.iter().filter(is_of).take(queue::NAMED).map(|other| other.run.clone());
                Full::new(limit.clone(), by.collect())
            });
            full.collect()
        };
        waiting.map(|(seat, line)| Queued::new(line.summary.clone(), full(seat))).collect()
    }

    /// Notes for the schedule of a run that the run is over, if it is.
    fn tell_end(&mut self, run: &RunId) {
        let status = match self.lines.get(run) {
            Some(line) => line.summary.status,
            // It is over and gone.
            None => Status::Succeeded,
        };
        if !status.is_over() {
            return;
        }
        let Some(followed) = self.followed.get_mut(run) else { return };
        if self.schedules.contains_key(&followed.schedule) {
            (followed.until, followed.ended) = (None, Some(status));
        } else {
            self.followed.remove(run);
        }
    }

    fn unschedule(&mut self, id: &str) {
        self.schedules.remove(id);
        self.followed.retain(|_, followed| followed.schedule != id || followed.ended.is_none());
    }

    fn prune_ticks(&mut self, before: Timestamp, limit: usize) -> usize {
        let mut old = HashSet::new();
        for (n, tick) in self.ticks.iter().enumerate() {
            let is_newest = !self.ticks[n + 1..].iter().any(|newer| newer.schedule == tick.schedule);
            if is_newest && self.schedules.contains_key(&tick.schedule) {
                continue;
            }
            if old.len() == limit || tick.at >= before {
                break;
            }
            old.insert(n);
        }
        let mut n = 0..;
        self.ticks.retain(|_| !n.next().is_some_and(|n| old.contains(&n)));
        old.len()
    }

    fn account(&mut self, ticks: &[Tick]) {
        for tick in ticks {
            let last = self.ticks.iter_mut().rev().find(|last| last.schedule == tick.schedule);
            if !last.is_some_and(|last| last.absorb(tick)) {
                self.ticks.push(tick.clone().after(None));
            }
        }
    }

    /// Returns since when a run is due, or from when on it is.
    pub(super) fn due(&self, run: &Summary) -> Option<Timestamp> {
        match &run.owner {
            Some(owner) => self.owners.get(owner).copied(),
            None => run.wake,
        }
    }

    /// Returns one run.
    pub(super) fn line(&self, run: &RunId) -> Result<&Line> {
        self.lines.get(run).ok_or_else(|| missing(&self.pruned, run))
    }
}

fn missing(pruned: &HashMap<RunId, Timestamp>, run: &RunId) -> Error {
    pruned.get(run).map_or_else(|| unknown(run), |at| gone(run, *at))
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
        let out_of_order =
            |how: &str| Err(Error::storage(format!("record {} may not follow: {how}", record.seq)));
        match event {
            Event::StepStarted { step, .. } if self.open && *step != self.last => {
                return out_of_order(&format!("step {step} starts while step {} is open", self.last));
            }
            Event::StepStarted { step, .. } if !self.open && *step <= self.last => {
                return out_of_order(&format!("step {step} starts again after its end"));
            }
            Event::StepStarted { step, .. } => {
                self.last = *step;
                self.open = true;
            }
            Event::StepRetrying { step, .. }
            | Event::StepAccepted { step, .. }
            | Event::StepFinished { step, .. }
                if !self.open || *step != self.last =>
            {
                return out_of_order(&format!("step {step} was not started"));
            }
            // A call that was wrong is no step: its number is taken again.
            Event::StepFinished { end: StepEnd::Err(failure), .. } if failure.kind == ErrorKind::Script => {
                self.open = false;
                self.last -= 1;
            }
            Event::StepFinished { .. } => self.open = false,
            // The first stop leaves the step under way behind: what was deferred comes next.
            Event::Signalled { signal: Signal::Stop { .. } } if !self.stopped => {
                self.stopped = true;
                self.open = false;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Checks that a record gives back the event that it was made of.
pub(super) fn reads_back(record: &Record, event: &Event) -> Result<()> {
    if record.event()? == *event {
        return Ok(());
    }
    Err(Error::storage(format!(
        "record {} does not read back as it was written: {}",
        record.seq, record.body
    )))
}
