//! The world outside: it counts what reaches it, and something goes wrong with each request that the seed picks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use relight_engine::{Cx, Error, ErrorKind, Result, RunId};

use super::chance::Chance;
use super::gates::{Gates, Kind, Pass};

/// How often in a thousand requests something goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) unsent: u64,
    pub(crate) lost_before: u64,
    pub(crate) lost_after: u64,
    pub(crate) rejected: u64,
}

/// A request that reached the world.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) process: usize,
    pub(crate) operation: &'static str,
}

/// Something that is open.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) run: RunId,
    pub(crate) deadline: Timestamp,
}

/// What there is outside.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

pub(crate) struct State {
    chance: Chance,
    pub(crate) weather: Weather,
    /// Until when nobody answers.
    pub(crate) outage: Option<Timestamp>,
    /// Until when a role is missing.
    pub(crate) role_missing: Option<Timestamp>,
    /// What took effect, by run and step.
    pub(crate) effects: BTreeMap<(RunId, u32), Vec<Sent>>,
    /// What is open, by name.
    pub(crate) doors: BTreeMap<String, Door>,
    /// How often something was closed that was not open.
    pub(crate) closed_twice: u64,
    /// Who is at a request, by process and run.
    flights: BTreeMap<(usize, RunId), u32>,
    /// Runs whose driving was dropped, by process, and the step that may still come to its record.
    pub(crate) dropped: BTreeMap<(usize, RunId), u32>,
    /// Steps at which an operation has panicked.
    panicked: BTreeSet<(RunId, u32)>,
    pub(crate) violations: Vec<String>,
    pub(crate) faults: u64,
    pub(crate) requests: u64,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    Unsent,
    LostBefore,
    LostAfter,
    Rejected,
    Denied,
}

impl World {
    pub(crate) fn new(chance: Chance, weather: Weather) -> Self {
        World(Arc::new(Mutex::new(State {
            chance,
            weather,
            outage: None,
            role_missing: None,
            effects: BTreeMap::new(),
            doors: BTreeMap::new(),
            closed_twice: 0,
            flights: BTreeMap::new(),
            dropped: BTreeMap::new(),
            panicked: BTreeSet::new(),
            violations: Vec::new(),
            faults: 0,
            requests: 0,
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the world is held")
    }
}

impl State {
    /// Returns how many effects the steps of a run had.
    pub(crate) fn effects_of(&self, run: &RunId) -> usize {
        self.effects.iter().filter(|((of, _), _)| of == run).map(|(_, sent)| sent.len()).sum()
    }

    fn fate(&mut self, now: Timestamp) -> Fate {
        let Weather { unsent, lost_before, lost_after, rejected } = self.weather;
        self.requests += 1;
        let fate = if self.outage.is_some_and(|until| now < until) {
            if self.chance.per_mille(700) { Fate::Unsent } else { Fate::LostBefore }
        } else if self.role_missing.is_some_and(|until| now < until) {
            Fate::Denied
        } else {
            let fine = 1000u64.saturating_sub(unsent + lost_before + lost_after + rejected);
            let all = [Fate::Fine, Fate::Unsent, Fate::LostBefore, Fate::LostAfter, Fate::Rejected];
            all[self.chance.weighed(&[fine, unsent, lost_before, lost_after, rejected])]
        };
        self.faults += u64::from(fate != Fate::Fine);
        fate
    }
}

/// The world as one process reaches it.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) world: World,
    pub(crate) gates: Gates,
    pub(crate) process: usize,
    pub(crate) dead: Arc<AtomicBool>,
}

/// A request under way.
struct Flight<'a>(&'a Reach, RunId);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0.world.state().flights.get_mut(&(self.0.process, self.1.clone())) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Reach {
    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn gone() -> Error {
        Error::new(ErrorKind::Unsent, "the process is dead")
    }

    /// Takes a place on the wire. Two at once for one run in one process are two drivers.
    fn take_off(&self, cx: &Cx, operation: &str) -> Flight<'_> {
        let mut state = self.world.state();
        let run = cx.run().clone();
        let step = cx.step();
        let goes_on = state.dropped.get(&(self.process, run.clone())).is_some_and(|last| step > *last);
        if goes_on && !self.is_dead() {
            state.violations.push(format!(
                "`{operation}` of step {step} of {run} begins after the driving of that run was dropped"
            ));
        }
        let count = state.flights.entry((self.process, run.clone())).or_default();
        *count += 1;
        if *count > 1 && !self.is_dead() {
            let process = self.process;
            state
                .violations
                .push(format!("two drivers: process {process} is at two requests of {run} at once"));
        }
        Flight(self, run)
    }

    /// Sends a request that changes something: `effect` is what it does when it arrives.
    pub(crate) async fn send(
        &self,
        cx: &Cx,
        operation: &'static str,
        effect: impl FnOnce(&mut State) + Send,
    ) -> Result<()> {
        let place = format!("{operation} {}/{}", cx.run(), cx.step());
        let _flight = self.take_off(cx, operation);
        let pass = self.gates.pass(self.process, Kind::Request, format!("send {place}")).await;
        if self.is_dead() {
            return Err(Reach::gone());
        }
        cx.may_send().await?;
        let fate = {
            let mut state = self.world.state();
            let fate = state.fate(cx.now());
            if matches!(fate, Fate::Fine | Fate::LostAfter) {
                let key = (cx.run().clone(), cx.step());
                state.effects.entry(key).or_default().push(Sent { process: self.process, operation });
                effect(&mut state);
            }
            fate
        };
        if pass == Pass::DieAfter {
            self.dead.store(true, Ordering::SeqCst);
        }
        self.gates.pass(self.process, Kind::Request, format!("answer {place} {fate:?}")).await;
        if self.is_dead() {
            return Err(Reach::gone());
        }
        match fate {
            Fate::Fine => Ok(()),
            Fate::Unsent => Err(Error::new(ErrorKind::Unsent, "no connection")),
            Fate::LostBefore | Fate::LostAfter => Err(Error::new(ErrorKind::Transient, "the reply was lost")),
            Fate::Rejected => Err(Error::rejected("the service says no")),
            Fate::Denied => Err(Error::new(ErrorKind::Denied, "a role is missing").hint("ask for the role")),
        }
    }

    /// Asks how something stands.
    pub(crate) async fn look<T: Send>(
        &self,
        cx: &Cx,
        operation: &'static str,
        seen: impl FnOnce(&State) -> T + Send,
    ) -> Result<T> {
        let _flight = self.take_off(cx, operation);
        let place = format!("look {operation} {}/{}", cx.run(), cx.step());
        self.gates.pass(self.process, Kind::Request, place).await;
        if self.is_dead() {
            return Err(Reach::gone());
        }
        let mut state = self.world.state();
        if state.outage.is_some_and(|until| cx.now() < until) {
            state.faults += 1;
            return Err(Error::new(ErrorKind::Transient, "no answer"));
        }
        Ok(seen(&state))
    }

    /// Closes a door. A look comes first: nothing is sent for one that is closed.
    pub(crate) async fn close(&self, cx: &Cx, operation: &'static str, name: &str) -> Result<()> {
        let door = name.to_owned();
        if !self.look(cx, operation, move |state| state.doors.contains_key(&door)).await? {
            return Ok(());
        }
        let door = name.to_owned();
        let close = move |state: &mut State| {
            if state.doors.remove(&door).is_none() {
                state.closed_twice += 1;
            }
        };
        self.send(cx, operation, close).await
    }

    /// Panics the first time that a step comes here.
    pub(crate) fn panics_once(&self, cx: &Cx) {
        let first = self.world.state().panicked.insert((cx.run().clone(), cx.step()));
        if first && !self.is_dead() {
            self.world.state().faults += 1;
            panic!("{}", super::PANIC);
        }
    }
}
