//! One history: processes over one journal and one world, moved one gate at a time as the seed says.
//!
//! First everything happens that the seed picks (the storm). Then the weather clears: the disk works, the service
//! answers, two workers stand, and a person does what the runs ask for. By then every run must come to its end.

mod people;
mod processes;
mod schedules;
mod storm;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use relight_engine::event::{RunId, Schedule};
use relight_engine::journal::{Journal, MemoryJournal, RunFilter, SqliteJournal, Status, Summary};
use relight_engine::{Engine, Library};

use self::people::Care;
use self::processes::Process;
use super::chance::Chance;
use super::checks;
use super::clock::{Time, minutes, seconds};
use super::disk::{Shared, Version};
use super::gates::{Gates, Kind, Pass};
use super::scripts::{self, Grammar};
use super::sort::Sort;
use super::world::{Weather, World};

/// How many decisions the storm takes at most.
const STORM: usize = 160;
/// How many decisions the rest may take before the history counts as one that never ends.
const CALM: usize = 50_000;
/// How long nothing may happen at the end: longer than any pause of a run that goes on by itself.
const PATIENCE: SignedDuration = minutes(150);
/// The longest that a door may stay open after its deadline while nothing keeps anybody from closing it: the longest pause
/// between two attempts, and some minutes for the requests themselves.
const RETRY: SignedDuration = minutes(20);
/// By how much the clock is set back, once at most.
const SET_BACK: SignedDuration = minutes(60);

/// What a history came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) violations: Vec<String>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) decisions: u64,
    pub(crate) runs: u64,
    pub(crate) requests: u64,
    pub(crate) was_taken_over: bool,
    pub(crate) was_left: bool,
    pub(crate) trace: Vec<String>,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Taken,
    /// Everybody waits for a time.
    Idle,
}

pub(crate) struct History {
    chance: Chance,
    seed: u64,
    sort: Sort,
    gates: Gates,
    time: Time,
    world: World,
    journal: Arc<dyn Journal>,
    memory: Option<Arc<MemoryJournal>>,
    folder: Option<tempfile::TempDir>,
    disk: Arc<Mutex<Shared>>,
    library: Library,
    texts: Vec<scripts::Text>,
    dead_owners: Arc<Mutex<HashSet<String>>>,
    leaks: Arc<Mutex<Vec<String>>>,
    processes: Vec<Process>,
    desk: Option<Engine>,
    next_run: u32,
    plans: Vec<schedules::Planned>,
    /// Runs that a person took away, and how many effects they had by then.
    pruned: BTreeMap<RunId, usize>,
    /// Runs that a person interrupted at a terminal: that person resumes them.
    interrupted: BTreeSet<RunId>,
    /// What a person did for which run.
    care: BTreeMap<RunId, Care>,
    /// Since when nothing has kept anybody from closing doors.
    clear_since: Timestamp,
    /// How long something has been due without anybody taking it.
    hurry: SignedDuration,
    /// Whether to print each line when it happens.
    tells: bool,
    unclear: bool,
    was_set_back: bool,
    /// Whether the storm is over.
    is_clear: bool,
    report: Report,
}

impl History {
    pub(crate) fn new(seed: u64, sort: Option<Sort>) -> Self {
        let mut chance = Chance::new(seed);
        let picked = Sort::of(&mut chance);
        let sort = sort.map_or(picked, |sort| Sort { sqlite: sort.sqlite, ..picked });
        let grammar =
            Grammar { panics: sort.panics, slow: sort.slow, long: sort.versions, questions: sort.people };
        let texts = scripts::write(&mut chance.fork(), grammar);
        let library = texts.iter().fold(Library::new(), |library, (name, text)| library.ship(name, text));
        let weather = match sort.net {
            true => Weather { unsent: 60, lost_before: 40, lost_after: 60, rejected: 20 },
            false => Weather::default(),
        };
        let (memory, folder, journal): (_, _, Arc<dyn Journal>) = if sort.sqlite {
            let folder = tempfile::tempdir().expect("a folder");
            let journal = SqliteJournal::open(&folder.path().join("relight.db")).expect("a database");
            (None, Some(folder), Arc::new(journal))
        } else {
            let memory = Arc::new(MemoryJournal::new());
            (Some(memory.clone()), None, memory)
        };
        let time = Time::morning();
        History {
            gates: Gates::new(),
            world: World::new(chance.fork(), weather),
            clear_since: time.now(),
            time,
            journal,
            memory,
            folder,
            disk: Arc::default(),
            library,
            texts,
            dead_owners: Arc::default(),
            leaks: Arc::default(),
            processes: Vec::new(),
            desk: None,
            next_run: 0,
            plans: Vec::new(),
            pruned: BTreeMap::new(),
            interrupted: BTreeSet::new(),
            care: BTreeMap::new(),
            hurry: SignedDuration::ZERO,
            tells: std::env::var_os("RELIGHT_SEED").is_some(),
            unclear: sort.net || sort.outages,
            was_set_back: false,
            is_clear: false,
            report: Report::default(),
            chance,
            seed,
            sort,
        }
    }

    /// Lives through the whole history.
    pub(crate) async fn live(mut self) -> Report {
        self.say(|h| format!("seed {}: {:?}", h.seed, h.sort));
        for (name, text) in self.texts.clone() {
            self.say(|_| format!("runbook {name}:\n{text}"));
        }
        self.journal.outbox().subscribe(&checks::receivers()).await.expect("receivers");
        self.desk = Some(self.build(0, None));
        self.processes.push(Process::nobody());
        self.start_worker();
        self.start_worker();
        self.begin_run().await;
        if self.sort.schedules {
            self.plan().await;
        }
        for _ in 0..STORM {
            if !self.breathe().await {
                break;
            }
            if self.chance.per_mille(140) {
                self.disturb().await;
            } else if self.step().await == Step::Idle && !self.pass_time().await {
                if self.next_run >= 4 {
                    break;
                }
                self.begin_run().await;
            }
        }
        self.clear_up().await;
        // How many writes there were so far, the number of records, and when the last of them was.
        let mut headway = (None, 0, self.time.now());
        for decision in 0.. {
            if !self.breathe().await {
                break;
            }
            let writes = Some(self.disk().writes);
            if writes != headway.0 {
                if self.is_finished().await {
                    break;
                }
                let records = self.runs().await.iter().map(|run| run.seq).sum();
                let last = if records == headway.1 { headway.2 } else { self.time.now() };
                headway = (writes, records, last);
            }
            if decision == CALM || self.time.now().duration_since(headway.2) > PATIENCE {
                break;
            }
            self.keep_two_workers();
            if self.step().await == Step::Idle && !self.serve_people().await && !self.pass_time().await {
                break;
            }
        }
        // After a wrong step the history is not lived to its end, and what is open then says nothing.
        if self.report.violations.is_empty() {
            self.verify().await;
        }
        self.close().await
    }

    // ---- what is seen ---------------------------------------------------------------------------

    fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        let line = line(self);
        let at = self.time.now();
        let line = format!("{at:.3} {line}");
        if self.tells {
            println!("{line}");
        }
        self.report.trace.push(line);
    }

    fn violated(&mut self, what: String) {
        self.say(|_| format!("VIOLATION {what}"));
        if self.report.violations.len() < 20 {
            self.report.violations.push(what);
        }
    }

    fn fault(&mut self, kind: &'static str) {
        *self.report.faults.entry(kind).or_default() += 1;
    }

    async fn runs(&self) -> Vec<Summary> {
        let mut runs = self.journal.runs(&RunFilter::default()).await.expect("runs");
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        runs
    }

    fn desk(&self) -> &Engine {
        self.desk.as_ref().expect("the desk is there")
    }

    // ---- one step -------------------------------------------------------------------------------

    /// Lets somebody go on, if somebody can.
    async fn step(&mut self) -> Step {
        let (processes, time) = (&self.processes, &self.time);
        let ready = self.gates.waiting(|w| {
            let is_due = w.nap.is_none_or(|nap| time.left(&nap).is_zero());
            let label = || format!("{} {:?} {}", w.process, w.kind, w.what);
            let process = &processes[w.process];
            (is_due && !process.is_frozen && !process.is_dead()).then(|| (w.kind, label()))
        });
        if ready.is_empty() {
            return Step::Idle;
        }
        let (id, (kind, label)) = ready[self.chance.below(ready.len())].clone();
        if kind != Kind::Time {
            self.hurry = SignedDuration::ZERO;
            self.say(|_| label);
        }
        self.gates.open(id, Pass::Go);
        Step::Taken
    }

    /// Moves the clock to whatever comes next. Returns whether anything does.
    async fn pass_time(&mut self) -> bool {
        let now = self.time.now();
        let (processes, time) = (&self.processes, &self.time);
        // Whoever looks twice a second has nothing to say about when something happens.
        let sleepers = self.gates.waiting(|w| {
            let nap = w.nap?;
            let process = &processes[w.process];
            (!process.is_frozen && !process.is_dead() && nap.length > seconds(1))
                .then(|| now + time.left(&nap))
        });
        let mut next: Vec<Timestamp> = sleepers.into_iter().map(|(_, until)| until).collect();
        let runs = self.runs().await;
        let open: Vec<&Summary> = runs.iter().filter(|run| !run.status.is_over()).collect();
        let leases = self.journal.leases().await.expect("leases");
        let schedules = self.journal.schedules().await.expect("schedules");
        let mut due: Vec<Timestamp> = open.iter().filter_map(|run| run.wake).collect();
        due.extend(leases.iter().map(|lease| lease.deadline));
        due.extend(schedules.iter().filter_map(Schedule::wakes));
        if !self.workers().is_empty() {
            if due.iter().any(|due| *due <= now) {
                // Somebody looks at it within half a second, or has just looked and comes back later.
                self.hurry = (self.hurry * 2).clamp(SignedDuration::from_millis(500), minutes(1));
                next.push(now + self.hurry);
            }
            next.extend(due.iter().filter(|due| **due > now));
        }
        if open.iter().any(|run| run.status == Status::Running) {
            // Heartbeats go on, or are over after some time.
            next.push(now + seconds(60));
        }
        if self.processes.iter().any(|p| !p.is_over && (p.is_frozen || p.told_to_end)) {
            next.push(now + seconds(60));
        }
        // Whoever did something for a run looks again when nothing came of it.
        let parked = open.iter().filter(|run| run.status == Status::Parked);
        next.extend(parked.filter_map(|run| self.care.get(&run.id)?.again(run)).filter(|again| *again > now));
        let Some(next) = next.into_iter().min() else { return false };
        self.time.pass(next.duration_since(now)).await;
        true
    }

    /// Checks that no door is open for longer than promised.
    async fn watch_doors(&mut self) {
        let now = self.time.now();
        let is_troubled = self.disk().trouble.is_some()
            || self.workers().is_empty()
            || self.processes.iter().any(|p| p.is_frozen && !p.is_over)
            || self.world.state().outage.is_some_and(|until| now < until)
            || self.world.state().role_missing.is_some_and(|until| now < until);
        if is_troubled {
            self.clear_since = now;
        }
        // What is parked until a time waits for that time to be shown again.
        let patience = RETRY + if self.was_set_back { SET_BACK } else { SignedDuration::ZERO };
        let late: Vec<String> = {
            let state = self.world.state();
            let from = |deadline: Timestamp| deadline.max(self.clear_since);
            let late =
                state.doors.iter().filter(|(_, door)| now.duration_since(from(door.deadline)) > patience);
            late.map(|(name, door)| {
                format!("a door is open too long: {name} of {} was to close at {}", door.run, door.deadline)
            })
            .collect()
        };
        for late in late {
            if !self.report.violations.contains(&late) {
                self.violated(late);
            }
        }
    }

    fn disk(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.disk.lock().expect("no panic while the disk is held")
    }

    // ---- the end --------------------------------------------------------------------------------

    async fn clear_up(&mut self) {
        // Whoever was let through last is still on its way.
        self.gates.settled().await;
        self.say(|_| "the weather clears".to_owned());
        self.disk().trouble = None;
        {
            let mut state = self.world.state();
            state.weather = Weather::default();
            state.outage = None;
            state.role_missing = None;
        }
        self.unfreeze();
        self.disturbed();
        self.unplan().await;
        // The old version is replaced.
        self.is_clear = true;
        for number in self.workers() {
            if self.processes[number].version == Version::Old {
                self.tell_to_end(number);
            }
        }
    }

    async fn is_finished(&self) -> bool {
        self.runs().await.iter().all(|run| run.status.is_over())
            && self.journal.leases().await.expect("leases").is_empty()
            && self.journal.schedules().await.expect("schedules").is_empty()
    }

    /// Checks what must hold at the end of every history.
    async fn verify(&mut self) {
        let found = checks::verify(self.desk(), &self.world, self.unclear).await;
        for violation in found {
            self.violated(violation);
        }
        self.verify_ticks().await;
        self.verify_pruned().await;
        for queued in self.journal.queue().await.expect("the queue") {
            self.violated(format!("nobody's turn comes: {queued:?}"));
        }
        let leases = self.journal.leases().await.expect("leases");
        for lease in leases {
            self.violated(format!("a lease is never closed: {} until {}", lease.title, lease.deadline));
        }
        for planned in self.journal.schedules().await.expect("schedules") {
            self.violated(format!("a schedule never fires: {} at {}", planned.runbook, planned.due));
        }
        self.report.runs = self.runs().await.len() as u64;
    }

    /// Lets everybody go.
    async fn close(mut self) -> Report {
        for number in self.alive() {
            self.processes[number].dead.store(true, Ordering::SeqCst);
            self.kill(number).await;
        }
        self.processes.iter().for_each(|process| process.dead.store(true, Ordering::SeqCst));
        loop {
            self.gates.settled().await;
            let all = self.gates.waiting(|w| w.must_hear_of_its_death().then_some(()));
            let Some((id, ())) = all.first() else { break };
            self.gates.open(*id, Pass::Go);
        }
        drop(self.folder.take());
        let state = self.world.state();
        if state.faults > 0 {
            self.report.faults.insert("requests that went wrong", state.faults);
        }
        let (failures, was_taken_over, was_left) = {
            let disk = self.disk();
            (disk.failures, disk.was_taken_over, disk.was_left)
        };
        (self.report.was_taken_over, self.report.was_left) = (was_taken_over, was_left);
        if failures > 0 {
            self.report.faults.insert("writes that failed", failures);
        }
        self.report.requests = state.requests;
        drop(state);
        self.report
    }
}

/// Says how a run stands, for a message.
pub(crate) fn stand(run: &Summary) -> String {
    let park = run.park.as_ref().map(|park| serde_json::to_string(park).unwrap_or_default());
    format!(
        "{} {} at step {}, wakes {:?}, {}",
        run.id,
        run.status.as_str(),
        run.step,
        run.wake,
        park.unwrap_or_default()
    )
}
