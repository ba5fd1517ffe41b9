//! The processes of a history: how they start, and the two ways in which they end.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use relight_engine::event::RunId;
use relight_engine::journal::{Journal, News, OwnerId};
use relight_engine::worker::Worker;
use relight_engine::{Concurrency, Driven, Engine, EngineBuilder, Result, RunRequest, Secret, SecretSource};
use tokio::task::JoinSet;

use super::History;
use crate::clock::ProcessClock;
use crate::disk::{Disk, Version};
use crate::gates::{Pass, Waiting};
use crate::world::Reach;
use crate::{CANARY, operations};

/// What a process is there for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Role {
    Worker,
    /// Drives one run in the foreground.
    Command(RunId),
}

pub(super) struct Process {
    pub(super) number: usize,
    pub(super) role: Role,
    pub(super) owner: String,
    pub(super) engine: Option<Engine>,
    pub(super) tasks: JoinSet<Result<Option<Driven>>>,
    pub(super) dead: Arc<AtomicBool>,
    pub(super) version: Version,
    pub(super) is_frozen: bool,
    pub(super) told_to_end: bool,
    pub(super) is_over: bool,
}

impl Process {
    /// Keeps the place of number 0: the desk is nobody's process.
    pub(super) fn nobody() -> Self {
        Process {
            number: 0,
            role: Role::Worker,
            owner: String::new(),
            engine: None,
            tasks: JoinSet::new(),
            dead: Arc::default(),
            version: Version::Only,
            is_frozen: false,
            told_to_end: true,
            is_over: true,
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

struct Pocket;

#[async_trait::async_trait]
impl SecretSource for Pocket {
    async fn reveal(&self, _: &str) -> Result<Secret> {
        Ok(Secret::new(CANARY))
    }
}

impl History {
    /// How many runs may be under way at once.
    fn room(&self) -> Concurrency {
        let mut concurrency = Concurrency::default();
        concurrency.runs = NonZeroU32::new(self.sort.room);
        if concurrency.runs.is_some() {
            let mains = self.texts.iter().filter(|(name, _)| name.starts_with("main"));
            concurrency.runbooks = mains.map(|(name, _)| (name.clone(), NonZeroU32::MIN)).collect();
        }
        concurrency
    }

    pub(super) fn build(&self, number: usize, owner: Option<&str>) -> Engine {
        let dead = Arc::<AtomicBool>::default();
        self.build_with(number, owner, Version::Only, &dead)
    }

    pub(super) fn build_with(
        &self,
        number: usize,
        owner: Option<&str>,
        version: Version,
        dead: &Arc<AtomicBool>,
    ) -> Engine {
        let reach = Reach {
            world: self.world.clone(),
            gates: self.gates.clone(),
            process: number,
            dead: dead.clone(),
        };
        let clock = ProcessClock { time: self.time.clone(), gates: self.gates.clone(), process: number };
        let leaks = self.leaks.clone();
        let journal: Arc<dyn Journal> = match number {
            0 => self.journal.clone(),
            _ => Arc::new(Disk {
                journal: self.journal.clone(),
                shared: self.disk.clone(),
                gates: self.gates.clone(),
                time: self.time.clone(),
                process: number,
                version,
                read: Mutex::default(),
                dead: dead.clone(),
                news: News::default(),
                seen: AtomicU64::new(0),
            }),
        };
        let builder: EngineBuilder = operations::add(Engine::builder(), &reach, version == Version::Old)
            .journal(journal)
            .clock(Arc::new(clock))
            .library(self.library.clone())
            .concurrency(self.room())
            .secrets(Arc::new(Pocket))
            .observer(Arc::new(move |notice| {
                let text = serde_json::to_string(&notice.event).expect("an event");
                if text.contains(CANARY) {
                    leaks
                        .lock()
                        .expect("no panic while leaking")
                        .push(format!("a notice tells a secret: {text}"));
                }
            }));
        let builder = match owner {
            Some(owner) if self.sort.told => {
                let dead = self.dead_owners.clone();
                let is_dead = move |other: &OwnerId| {
                    dead.lock().expect("no panic while the dead are counted").contains(other.as_str())
                };
                builder.owner(OwnerId::from(owner.to_owned()), Arc::new(is_dead))
            }
            _ => builder,
        };
        builder.build().expect("an engine")
    }

    pub(super) fn enter(&mut self, role: Role) -> usize {
        let number = self.processes.len();
        let dead = Arc::<AtomicBool>::default();
        let owner = format!("process-{number}");
        let version = match (self.sort.versions, self.is_clear) {
            (false, _) => Version::Only,
            (true, false) if self.chance.per_mille(500) => Version::Old,
            _ => Version::New,
        };
        let engine = self.build_with(number, Some(&owner), version, &dead);
        self.say(|_| format!("process {number} starts: {role:?} {version:?}"));
        self.processes.push(Process {
            number,
            role,
            owner,
            engine: Some(engine),
            tasks: JoinSet::new(),
            dead,
            version,
            is_frozen: false,
            told_to_end: false,
            is_over: false,
        });
        number
    }

    pub(super) fn start_worker(&mut self) {
        let number = self.enter(Role::Worker);
        let leaks = self.leaks.clone();
        let process = &mut self.processes[number];
        let engine = process.engine.clone().expect("it has just started");
        process.tasks.spawn(async move {
            let mut worker = Worker::new(&engine, move |what, error| {
                let text = format!("{what}: {error:?}");
                if text.contains(CANARY) {
                    leaks
                        .lock()
                        .expect("no panic while leaking")
                        .push(format!("an error tells a secret: {text}"));
                }
            });
            drop(engine);
            worker.run().await;
            Ok(None)
        });
        self.disturbed();
    }

    /// Drives a run in the foreground: a new one that a request describes, or one that is there.
    pub(super) fn start_command(&mut self, run: RunId, request: Option<RunRequest>) {
        let number = self.enter(Role::Command(run.clone()));
        let process = &mut self.processes[number];
        let engine = process.engine.clone().expect("it has just started");
        process.tasks.spawn(async move {
            if let Some(request) = request {
                engine.prepare_to_drive(&request).await?;
            }
            engine.run(&run).await.map(Some)
        });
    }

    pub(super) fn alive(&self) -> Vec<usize> {
        self.processes.iter().filter(|p| !p.is_over).map(|p| p.number).collect()
    }

    pub(super) fn workers(&self) -> Vec<usize> {
        let all = self.processes.iter().filter(|p| !p.is_over && p.role == Role::Worker && !p.told_to_end);
        all.map(|p| p.number).collect()
    }

    pub(super) fn keep_two_workers(&mut self) {
        while self.workers().len() < 2 {
            self.start_worker();
        }
    }

    /// Ends a process without a word: what it was doing is dropped where it stands.
    pub(super) async fn kill(&mut self, number: usize) {
        self.say(|_| format!("process {number} is killed"));
        let process = &mut self.processes[number];
        process.dead.store(true, Ordering::SeqCst);
        process.is_over = true;
        process.is_frozen = false;
        process.engine = None;
        let owner = process.owner.clone();
        let mut tasks = std::mem::take(&mut process.tasks);
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        self.bury(number, owner);
        self.unclear = true;
        self.disturbed();
    }

    /// Lets the others know, in whatever way they can, that a process is gone.
    fn bury(&mut self, number: usize, owner: String) {
        self.dead_owners.lock().expect("no panic while the dead are counted").insert(owner);
        let entered = self.disk().entered.remove(&number);
        if let Some(owner) = entered {
            self.journal.leave(&owner);
        }
    }

    /// Says that something may keep somebody from closing a door just now.
    pub(super) fn disturbed(&mut self) {
        self.clear_since = self.time.now();
    }

    /// Waits until everybody stands still, and takes note of who is gone. Returns whether to go on.
    pub(super) async fn breathe(&mut self) -> bool {
        self.report.decisions += 1;
        self.gates.settled().await;
        for number in self.alive() {
            if self.processes[number].is_dead() {
                self.fault("killed while writing or sending");
                self.kill(number).await;
            }
        }
        for number in self.alive() {
            // A program that dropped what it drove and was told to end does so when nothing is under way any more.
            let process = &self.processes[number];
            let is_busy = |w: &Waiting| w.process == number && w.nap.is_none();
            if process.told_to_end
                && process.tasks.is_empty()
                && self.gates.waiting(|w| is_busy(w).then_some(())).is_empty()
            {
                self.kill(number).await;
            }
        }
        for heard in 0.. {
            // What a dead process has under way goes on until it notices.
            let processes = &self.processes;
            let gone = self
                .gates
                .waiting(|w| (processes[w.process].is_dead() && w.must_hear_of_its_death()).then_some(()));
            let Some((id, ())) = gone.first() else { break };
            if heard == 10_000 {
                self.violated("a dead process never stops trying".to_owned());
                return false;
            }
            self.gates.open(*id, Pass::Go);
            self.gates.settled().await;
        }
        for number in self.alive() {
            let Some(done) = self.processes[number].tasks.try_join_next() else { continue };
            let (role, told) = (self.processes[number].role.clone(), self.processes[number].told_to_end);
            let how = match &done {
                // Names of owners may be made up, and differ when a seed is repeated.
                Ok(Ok(Some(Driven::Held { .. }))) => "somebody else drives the run".to_owned(),
                Ok(Ok(driven)) => format!("{driven:?}"),
                Ok(Err(error)) => format!("{error:?}"),
                Err(panic) => panic.to_string(),
            };
            if how.contains(CANARY) {
                self.violated(format!("the end of a process tells a secret: {how}"));
            }
            self.say(|_| format!("process {number} ends: {how}"));
            match (role, done) {
                (Role::Worker, Ok(Err(error))) => {
                    self.violated(format!("a service ends by itself: {error}"));
                }
                (Role::Worker, Ok(Ok(_))) if !told => {
                    self.violated("a service ends although nobody told it to".to_owned());
                }
                (_, Err(panic)) => self.violated(format!("a process panics: {panic}")),
                _ => {}
            }
            let process = &mut self.processes[number];
            process.is_over = true;
            process.engine = None;
            process.dead.store(true, Ordering::SeqCst);
            let owner = process.owner.clone();
            self.bury(number, owner);
            self.disturbed();
        }
        self.watch_doors().await;
        let mut told = std::mem::take(&mut self.world.state().violations);
        told.append(&mut self.disk().violations);
        let leaks = std::mem::take(&mut *self.leaks.lock().expect("no panic while leaking"));
        for violation in told.into_iter().chain(leaks.into_iter().take(3)) {
            self.violated(violation);
        }
        // One wrong step leads to others: the first ones tell.
        self.report.violations.len() < 4
    }
}
