//! The state that commands lead to, and the rules under which they do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;

use jiff::Timestamp;

use super::{Answer, Command};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{
    Effected, Event, ExtendedLease, ForgottenLease, Lease, Record, RunId, Schedule, Signal, Source, StepEnd,
    fingerprint,
};
use crate::journal::derive::{self, Needs, Verdict};
use crate::journal::{
    Appended, Claim, ClaimRequest, ExtendRequest, NewRun, OwnerId, PruneFilter, Summary, Tenure, gone,
    unknown,
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
            Command::Schedule(schedule) => {
                self.schedules.insert(schedule.id.clone(), schedule.clone());
                Ok(Answer::Done)
            }
            Command::Unschedule(id) => Ok(Answer::Did(self.schedules.remove(id).is_some())),
            Command::Fire { id, due, run, next, at } => self.fire(id, *due, run, *next, *at).map(Answer::Did),
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
            Verdict::Held { by, until } => Claim::Held { by, until },
            Verdict::Grant(record, tenure) => {
                line.records.push(record);
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
        line.summary = summary;
        line.steps = steps;
        for print in events.iter().filter_map(Event::text) {
            line.named.insert(print.to_owned());
            self.named.insert(print.to_owned());
        }
        line.records.extend(records.iter().cloned());
        for event in events {
            if let Some(found) = derive::consumed(event, line.signals.iter()) {
                line.signals.remove(found);
            }
        }
        let signalled = !line.signals.is_empty();
        if signalled && !events.is_empty() {
            derive::wake_for(&mut line.summary, line.signals.iter(), at);
        }
        for effect in events.iter().flat_map(Event::effected) {
            match effect {
                Effected::LeaseOpened(lease) => drop(self.leases.insert(lease.id.clone(), lease.clone())),
                Effected::LeaseClosed { id } => drop(self.leases.remove(id)),
                Effected::Scheduled(next) => drop(self.schedules.insert(next.id.clone(), next.clone())),
                Effected::Unscheduled { id } => drop(self.schedules.remove(id)),
            }
        }
        for (event, record) in events.iter().zip(&records) {
            if let Some((parent, signal)) = derive::told(&tenure.run, event) {
                // A parent that is over waits for nothing.
                let _ = self.signal(parent, &signal, record.at);
            }
        }
        Ok(Appended { records, signalled })
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
        over.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
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
            let is_named = named.contains(print);
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

    fn fire(
        &mut self,
        id: &str,
        due: Timestamp,
        run: &NewRun,
        next: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<bool> {
        if self.schedules.get(id).is_none_or(|schedule| schedule.due != due) {
            derive::prepare(run, at)?;
            return Ok(false);
        }
        self.prepare(run, at)?;
        match (next, self.schedules.get_mut(id)) {
            (Some(next), Some(schedule)) => schedule.due = next,
            _ => drop(self.schedules.remove(id)),
        }
        Ok(true)
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
