//! What goes wrong: processes that die, are told to end or stand still, disks, the service, the clock.

use jiff::SignedDuration;
use relight_engine::RunRequest;
use relight_engine::event::RunId;

use super::processes::Role;
use super::{History, SET_BACK};
use crate::clock::{minutes, seconds};
use crate::disk::Trouble;
use crate::gates::{Kind, Pass};
use crate::operations::SLOW;

impl History {
    pub(super) async fn begin_run(&mut self) {
        if self.next_run >= 4 {
            return;
        }
        self.next_run += 1;
        let mains: Vec<&str> = self
            .texts
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| name.starts_with("main"))
            .collect();
        let name = (*self.chance.one_of(&mains)).to_owned();
        let mut request = RunRequest::new(&name);
        request.id = RunId::derived(&[&self.seed.to_string(), &self.next_run.to_string()]);
        let run = request.id.clone();
        if self.chance.per_mille(400) {
            self.start_command(run, Some(request));
        } else {
            self.say(|_| format!("{run} of {name} is detached"));
            if let Err(error) = self.desk().prepare(&request).await {
                self.violated(format!("a run of {name} cannot be prepared: {error:?}"));
            }
        }
    }

    pub(super) async fn disturb(&mut self) {
        let sort = self.sort;
        let of = |is: bool, weight: u64| if is { weight } else { 0 };
        let weights = [
            4,
            of(sort.kills, 8),
            of(sort.kills, 3),
            of(sort.kills && self.memory.is_some(), 2),
            of(sort.terms, 5),
            6, // a worker comes back
            of(sort.freezes, 4),
            2, // and wakes up
            of(sort.people, 5),
            of(sort.people || sort.terms, 6),
            of(sort.drops, 4),
            of(sort.disk, 5),
            of(sort.outages, 3),
            of(sort.jumps, 2),
            of(sort.jumps && !self.was_set_back, 1),
            of(sort.schedules, 4),
        ];
        let alive = self.alive();
        let now = self.time.now();
        match self.chance.weighed(&weights) {
            0 => self.begin_run().await,
            1 if !alive.is_empty() => self.strike(Pass::DieAfter, "killed while writing or sending").await,
            2 if !alive.is_empty() => {
                let number = *self.chance.one_of(&alive);
                self.fault("killed");
                self.kill(number).await;
            }
            3 => self.lose_power().await,
            4 if !alive.is_empty() => {
                let number = *self.chance.one_of(&alive);
                self.tell_to_end(number);
            }
            5 if self.workers().len() < 2 => self.start_worker(),
            6 => self.freeze().await,
            7 => self.unfreeze(),
            8 => self.meddle().await,
            9 => {
                self.serve_people().await;
            }
            10 => self.drop_a_command().await,
            11 => {
                let trouble = match self.chance.below(3) {
                    0 => Trouble::Fails(self.chance.from(1, 2) as u32),
                    1 => Trouble::FullUntil(now + seconds(4)),
                    _ => Trouble::LockedUntil(now + seconds(self.chance.from(10, 60) as i64)),
                };
                self.say(|_| format!("the disk: {trouble:?}"));
                self.fault("disk trouble");
                self.unclear = true;
                self.disk().trouble = Some(trouble);
            }
            12 => {
                let until = now + minutes(self.chance.from(1, 40) as i64);
                self.say(|_| format!("trouble outside until {until}"));
                self.fault("outage or missing role");
                if self.chance.per_mille(700) {
                    self.world.state().outage = Some(until);
                } else {
                    self.world.state().role_missing = Some(until);
                }
            }
            13 => {
                let by = minutes(self.chance.from(1, 90) as i64);
                self.jump(by);
            }
            14 => {
                self.was_set_back = true;
                self.jump(-SET_BACK);
            }
            15 => self.replan().await,
            _ => {
                self.step().await;
            }
        }
    }

    pub(super) fn jump(&mut self, by: SignedDuration) {
        self.say(|_| format!("the clock jumps by {by:#}"));
        self.fault("clock jump");
        // Whoever is at a request now may find that somebody else has taken over.
        self.unclear = true;
        self.time.set(by);
        self.disturbed();
    }

    /// Lets somebody go on who does not live to see, or is held before it sees, what came of it.
    pub(super) async fn strike(&mut self, pass: Pass, kind: &'static str) {
        let processes = &self.processes;
        let ready = self.gates.waiting(|w| {
            let is_at_work = matches!(w.kind, Kind::Write | Kind::Request);
            (is_at_work && !processes[w.process].is_frozen).then(|| (w.process, w.kind, w.what.clone()))
        });
        let ready: Vec<_> = match pass {
            // A request that is under way cannot be held back; its maker can.
            Pass::HoldAfter => ready.into_iter().filter(|(_, (_, kind, _))| *kind == Kind::Write).collect(),
            _ => ready,
        };
        // Between an intent and its request is where it hurts.
        let is_intent = |(_, (_, _, what)): &(u64, (usize, Kind, String))| what.contains(" started ");
        let ready: Vec<_> = match ready.iter().any(is_intent) && self.chance.per_mille(700) {
            true => ready.into_iter().filter(is_intent).collect(),
            false => ready,
        };
        if ready.is_empty() {
            return;
        }
        let (id, (process, _, what)) = ready[self.chance.below(ready.len())].clone();
        self.say(|_| format!("{process} {what}: {pass:?}"));
        if pass == Pass::HoldAfter {
            self.fault(kind);
            self.silence(process).await;
            self.processes[process].is_frozen = true;
            self.unclear = true;
        }
        self.gates.open(id, pass);
    }

    /// Ends a heartbeat early, half of the time: its last beats did not come through. Then somebody takes over while the
    /// one that stands still may send.
    async fn silence(&mut self, process: usize) {
        let owner = self.disk().entered.get(&process).cloned();
        if let Some(owner) = owner.filter(|_| self.chance.per_mille(500)) {
            self.say(|_| format!("{process} is not heard of"));
            self.journal.heartbeat(&owner, self.time.now()).await.expect("a heartbeat");
        }
    }

    pub(super) async fn freeze(&mut self) {
        if self.processes.iter().any(|p| p.is_frozen && !p.is_over) {
            return;
        }
        self.strike(Pass::HoldAfter, "suspended").await;
    }

    pub(super) fn unfreeze(&mut self) {
        for process in self.processes.iter_mut().filter(|p| p.is_frozen) {
            process.is_frozen = false;
        }
        self.say(|_| "everybody is awake".to_owned());
        self.disturbed();
    }

    pub(super) async fn lose_power(&mut self) {
        self.fault("power lost");
        for number in self.alive() {
            self.kill(number).await;
        }
        self.gates.settled().await;
        if self.chance.per_mille(700)
            && let Some(memory) = &self.memory
        {
            memory.lose_unsynced();
            self.say(|_| "what was not on the disk is lost".to_owned());
        }
        self.disk().unsynced.clear();
        let pause = self.chance.from(0, 20) as i64;
        self.time.pass(minutes(pause)).await;
        self.start_worker();
    }

    /// SIGTERM to a service, Ctrl-C to a command.
    pub(super) fn tell_to_end(&mut self, number: usize) {
        let process = &mut self.processes[number];
        if process.told_to_end || process.is_frozen {
            return;
        }
        process.told_to_end = true;
        // A call that does not hear of it is given up after a while, and what it came to is unclear then.
        let slow = self.gates.waiting(|w| {
            let is_on_its_way = w.what.contains(" box::slow ");
            let is_late = w.nap.is_some_and(|nap| nap.length.unsigned_abs() == SLOW);
            (w.process == number && (is_on_its_way || is_late)).then_some(())
        });
        self.unclear |= !slow.is_empty();
        let engine = process.engine.clone().expect("it is alive");
        let role = process.role.clone();
        match &role {
            Role::Worker => engine.hand_back(),
            Role::Command(run) => {
                engine.interrupt();
                self.interrupted.insert(run.clone());
            }
        }
        self.fault("told to end");
        self.say(|_| format!("process {number} is told to end"));
        self.disturbed();
    }

    /// An embedding program drops the future of a run and lives on.
    pub(super) async fn drop_a_command(&mut self) {
        let commands: Vec<usize> = self
            .processes
            .iter()
            .filter(|p| !p.is_over && !p.is_frozen && p.role != Role::Worker && !p.tasks.is_empty())
            .map(|p| p.number)
            .collect();
        if commands.is_empty() {
            return;
        }
        let number = *self.chance.one_of(&commands);
        let mut tasks = std::mem::take(&mut self.processes[number].tasks);
        let Role::Command(run) = self.processes[number].role.clone() else { return };
        self.say(|_| format!("process {number} drops the driving of {run}"));
        self.fault("driving dropped");
        self.unclear = true;
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        self.interrupted.insert(run.clone());
        // What is under way comes to its record, also when its intent is just being written.
        let begins = format!("append {run} started ");
        let about = self.gates.waiting(|w| {
            let step = w.what.strip_prefix(&begins)?.split(' ').next()?;
            step.parse::<u32>().ok()
        });
        let summary = self.journal.run(&run).await.expect("the journal is read");
        let last = about.first().map(|(_, step)| *step).or(summary.map(|run| run.step)).unwrap_or_default();
        self.world.state().dropped.insert((number, run), last);
    }
}
