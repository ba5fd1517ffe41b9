//! A seeded simulation over the lab: the shipped runbooks, each process with an accident that the seed
//! picks, over a site with the faults that the seed picks. The engine's own simulation (`engine/tests/simulation`) turns
//! every order of several processes; this one meets the real operations and the real protocol.
//!
//! ```text
//! RELIGHT_SEEDS=5000 cargo test --test main simulation::histories -- --nocapture      for an hour
//! RELIGHT_SEED=17 cargo test --test main simulation::one -- --nocapture               that one, told in full
//! ```
//!
//! Requests go over loopback, so that a seed repeats its decisions but not the order of two requests at the same moment.

#[path = "../../engine/tests/simulation/chance.rs"]
#[allow(dead_code)]
mod chance;
mod doomed;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use relight_engine::clock::Clock;
use relight_engine::event::{Park, RunId};
use relight_engine::journal::{Journal, MemoryJournal, RunFilter, Status, Summary};
use relight_engine::worker::{Found, Worker};
use relight_engine::{Engine, Library, RunRequest};

use self::chance::Chance;
use self::doomed::{Accident, Doomed};
use crate::support::world::{FLAGSHIP, SHIPPED, World, minutes};

/// A secret that must not turn up anywhere but in the request that needs it.
const CANARY: &str = "c4nary+/Zq9=secret";

/// Writes a secret to a place where it can be read again. `{}` is the resource group.
const SECRETLY: &str = r#"/*---
title = "Use a secret"
effects = ["azure:write", "secret"]
---*/
let group = "{}";
let tags = #{ location: "eastus", tags: #{ word: secret("env:CANARY") } };
defer(|| note(arm::get(group, "2022-09-01").tags));
note(arm::put(group, "2022-09-01", tags));
arm::get(group, "2022-09-01").tags
"#;

/// What people want done: each at most once in a history, so that each request is wanted once.
const WISHES: [(&str, &[(&str, &str)]); 7] = [
    (FLAGSHIP, &[("vm", "web-01")]),
    (FLAGSHIP, &[("vm", "db-01"), ("disable_after", "30m")]),
    ("disable-vm-connect", &[("vm", "web-01")]),
    ("restart-vm", &[("vm", "db-01")]),
    ("restart-vm", &[("vm", "file-01")]),
    ("site-report", &[]),
    ("secretly", &[]),
];

/// What may be wrong with the site, and clears up in the end.
const FAULTS: [&str; 17] = [
    "slow",
    "flaps",
    "throttled=1",
    "throttled=3",
    "throttled=2,writes",
    "token-expires",
    "cae-challenge",
    "conflict=4",
    "other-spelling",
    "long-poll-url",
    "old-api",
    "location-only",
    "async-only",
    "succeeded-but-updating",
    "reply-lost",
    "reset-before",
    "role-missing",
];

/// The longest that a door may stay open after its deadline while a service stands and the site is well.
const RETRY: SignedDuration = SignedDuration::from_mins(20);

#[derive(Default)]
struct Report {
    violations: Vec<String>,
    told: Vec<String>,
    accidents: BTreeMap<&'static str, u64>,
    runs: usize,
    requests: usize,
}

struct Story {
    seed: u64,
    world: World,
    memory: Arc<MemoryJournal>,
    chance: Chance,
    report: Report,
    /// Runs that a person interrupted, who resumes them.
    interrupted: BTreeSet<RunId>,
    /// Since when nothing keeps anybody from closing a door; not while something does.
    clear_since: Option<Timestamp>,
}

async fn live(seed: u64) -> Report {
    let mut chance = Chance::new(seed);
    let faults: Vec<&str> = (0..chance.below(3)).map(|_| *chance.one_of(&FAULTS)).collect();
    let world = World::with(&faults).await.secret("env:CANARY", CANARY);
    world.restarts_at_once();
    let memory = world.memory.clone().expect("a journal in memory");
    let mut story = Story {
        seed,
        world,
        memory,
        chance,
        report: Report::default(),
        interrupted: BTreeSet::new(),
        clear_since: None,
    };
    story.say(format!("seed {seed}: {faults:?}"));
    story.count("faults of the site", faults.len() as u64);
    let mut wishes = WISHES.to_vec();
    for _ in 0..3 + story.chance.below(4) {
        match story.chance.below(8) {
            0..=3 if !wishes.is_empty() => {
                let (runbook, params) = wishes.remove(story.chance.below(wishes.len()));
                story.command(runbook, params).await;
            }
            4 => story.person().await,
            5 => story.meddle().await,
            _ => story.serve().await,
        }
        let pause = *story.chance.one_of(&[0, 0, 1, 4, 20]);
        story.world.clock.advance(minutes(pause));
        if story.chance.per_mille(60) {
            let by = story.chance.from(30, 300);
            story.say(format!("the clock jumps by {by} minutes"));
            story.count("the clock jumped", 1);
            story.world.clock.advance(minutes(by));
        }
    }
    story.end().await
}

impl Story {
    fn say(&mut self, line: String) {
        let at = self.world.clock.now();
        self.report.told.push(format!("{at:.0} {line}"));
    }

    fn count(&mut self, kind: &'static str, times: u64) {
        if times > 0 {
            *self.report.accidents.entry(kind).or_default() += times;
        }
    }

    fn violated(&mut self, what: String) {
        self.say(format!("VIOLATION {what}"));
        if !self.report.violations.contains(&what) {
            self.report.violations.push(what);
        }
    }

    /// Starts a process to which one of some accidents happens.
    fn process(&mut self, accidents: &[Accident]) -> (Engine, Arc<Doomed>) {
        let accident = *self.chance.one_of(accidents);
        let at = self.chance.from(1, 40);
        let doomed = Arc::new(Doomed::new(self.memory.clone(), self.world.clock.clone(), accident, at));
        let library = self.library();
        let builder = self.world.builder().journal(doomed.clone()).library(library);
        let engine = builder.build().expect("an engine");
        doomed.befalls(&engine);
        (engine, doomed)
    }

    /// A checkout of the library as one process finds it: sometimes a later one, in which every runbook does one thing
    /// more. A run goes by the texts that it was prepared with.
    fn library(&mut self) -> Library {
        let is_later = self.chance.per_mille(300);
        let group = format!(
            "/subscriptions/{}/resourceGroups/{}",
            self.world.lab.descriptor().subscription,
            self.world.lab.descriptor().resource_group
        );
        let texts = SHIPPED.map(|(name, text)| (name, text.to_owned()));
        let own = ("secretly", SECRETLY.replace("{}", &group));
        texts.into_iter().chain([own]).fold(Library::new(), |library, (name, text)| {
            let more = if is_later { "---*/\nnote(\"a later version\");" } else { "---*/" };
            library.ship(name, &text.replacen("---*/", more, 1))
        })
    }

    /// Buries a process, and what was not on the disk with it.
    async fn bury(&mut self, engine: &Engine, doomed: &Doomed) {
        // What a dead one had under way ends with it: it must not be about to send while the next one looks.
        engine.hand_back();
        engine.settle().await;
        if !doomed.has_happened() {
            return;
        }
        let kind = doomed.accident.name();
        self.count(kind, 1);
        self.say(format!("{kind} at write {}", doomed.at));
        if doomed.is_dead() && self.chance.per_mille(500) {
            self.memory.lose_unsynced();
            self.say("what was not on the disk is lost".to_owned());
        }
    }

    /// `relight run`.
    async fn command(&mut self, runbook: &str, params: &[(&str, &str)]) {
        use Accident::{DiesAfter, DiesBefore, Fails, Fills, IsInterrupted, Nothing};
        let (engine, doomed) =
            self.process(&[Nothing, Fails, Fills, DiesBefore, DiesAfter, DiesAfter, IsInterrupted]);
        let mut request: RunRequest = self.world.request(runbook, params);
        request.id = RunId::derived(&[&self.seed.to_string(), runbook, &format!("{params:?}")]);
        let run = request.id.clone();
        self.say(format!("run {runbook} {params:?} as {run}: {:?} at {}", doomed.accident, doomed.at));
        let prepared = engine.prepare_to_drive(&request).await.is_ok();
        if prepared && self.is_queued(&run).await {
            // That person does something else; a service begins with it when its turn comes.
            self.say(format!("{run} waits for its turn"));
        } else if prepared {
            let driven = engine.run(&run).await;
            let how = format!("{run} came to {driven:?}");
            if verdict::tells(&how, &self.needles()) {
                self.violated(format!("the end of a run tells a secret: {how}"));
            }
            self.say(how);
            if engine.is_halted() {
                self.interrupted.insert(run);
            }
        }
        self.bury(&engine, &doomed).await;
    }

    /// `relight serve`, for an hour at most.
    async fn serve(&mut self) {
        use Accident::{DiesAfter, DiesBefore, Fails, Fills, HandsBack, Nothing};
        let (engine, doomed) = self.process(&[Nothing, Fails, Fills, DiesBefore, DiesAfter, HandsBack]);
        self.say(format!("serve: {:?} at {}", doomed.accident, doomed.at));
        let until = self.world.clock.now() + minutes(60);
        self.keep(&engine, until).await;
        self.bury(&engine, &doomed).await;
    }

    /// Does what is due until a time, or until the process is dead or told to end.
    async fn keep(&mut self, engine: &Engine, until: Timestamp) {
        let troubles = Arc::new(Mutex::new(Vec::new()));
        let told = troubles.clone();
        let mut worker = Worker::new(engine, move |what, error| {
            told.lock().expect("no panic while telling").push(format!("{what}: {error:?}"));
        });
        for _ in 0..200 {
            if engine.is_halted() {
                break;
            }
            let found = worker.tick().await;
            worker.settle().await;
            self.watch_doors().await;
            let now = self.world.clock.now();
            match found {
                Ok(found) if found != Found::default() => continue,
                Ok(_) => {}
                // A disk that fails for a while is asked again.
                Err(_) if now < until => self.world.clock.advance(minutes(1)),
                Err(_) => break,
            }
            match self.world.next_due().await.filter(|due| *due <= until) {
                Some(due) if due > now => self.world.clock.set(due),
                // Whoever drives a run may be dead, or has to try again after a pause: a minute shows.
                _ if now < until && self.is_something_running().await => self.world.clock.advance(minutes(1)),
                _ => break,
            }
        }
        let troubles = std::mem::take(&mut *troubles.lock().expect("no panic while telling"));
        for trouble in troubles {
            if verdict::tells(&trouble, &self.needles()) {
                self.violated(format!("a service tells a secret: {trouble}"));
            }
            self.say(format!("serve: {trouble}"));
        }
    }

    async fn open_runs(&self) -> Vec<Summary> {
        self.memory.runs(&RunFilter::open()).await.expect("runs")
    }

    async fn is_queued(&self, run: &RunId) -> bool {
        self.memory.run(run).await.expect("a run").is_some_and(|run| run.is_queued())
    }

    async fn is_something_running(&self) -> bool {
        self.open_runs().await.iter().any(|run| run.status == Status::Running)
    }

    /// Checks that no door is open for longer than promised, once the site is well and a service stands.
    async fn watch_doors(&mut self) {
        let Some(clear_since) = self.clear_since else { return };
        let now = self.world.clock.now();
        for lease in self.world.leases().await {
            if now.duration_since(lease.deadline.max(clear_since)) > RETRY {
                self.violated(format!("open too long: {} was to close at {}", lease.title, lease.deadline));
            }
        }
    }

    /// A person stops a run, or closes a lease early.
    async fn meddle(&mut self) {
        let engine = self.world.engine();
        let (open, leases) = (self.open_runs().await, self.world.leases().await);
        if self.chance.per_mille(500) && !open.is_empty() {
            let run = self.chance.one_of(&open).id.clone();
            self.say(format!("a person stops {run}"));
            self.count("a person stopped a run", 1);
            if let Err(error) = engine.stop(&run, "ann").await {
                self.violated(format!("{run} cannot be stopped: {error:?}"));
            }
        } else if !leases.is_empty() {
            let lease = self.chance.one_of(&leases).id.clone();
            self.say(format!("a person closes {lease}"));
            self.count("a person closed a lease", 1);
            match engine.close_lease(&lease).await {
                Ok(run) => {
                    let driven = engine.run(&run).await;
                    self.say(format!("{run} came to {driven:?}"));
                }
                Err(error) => self.violated(format!("{lease} cannot be closed: {error:?}")),
            }
        }
    }

    /// A person does what the runs ask for.
    async fn person(&mut self) {
        let engine = self.world.engine();
        for run in self.open_runs().await.into_iter().filter(|run| run.status == Status::Parked) {
            let resumes = match &run.park {
                Some(Park::Undecided { .. }) => {
                    let answer = if self.has_restarted(&run).await { "done" } else { "again" };
                    self.say(format!("a person answers {answer} to {}", run.id));
                    // Whoever says that it happened has seen it end.
                    self.world.clock.advance(minutes(5));
                    if let Err(error) = engine.answer(&run.id, answer, "ann").await {
                        self.violated(format!("{} cannot be answered: {error:?}", run.id));
                    }
                    true
                }
                Some(Park::Exhausted { .. } | Park::Denied { .. } | Park::Halted { .. }) => true,
                Some(Park::Interrupted) => self.interrupted.contains(&run.id),
                _ => false,
            };
            if resumes {
                let driven = engine.run(&run.id).await;
                self.say(format!("resumed {}: {driven:?}", run.id));
            }
        }
    }

    /// Looks whether the VM that a run is about was restarted.
    async fn has_restarted(&self, run: &Summary) -> bool {
        let history = self.world.engine().history(&run.id).await.expect("a history");
        let vm = history.prepared.params["vm"].as_str().unwrap_or_default().to_ascii_lowercase();
        let ledger = self.world.lab.ledger();
        ledger.iter().any(|entry| {
            let path = entry.path.to_ascii_lowercase();
            entry.effect && path.ends_with("/restart") && path.contains(&vm)
        })
    }

    /// What must not be told.
    fn needles(&self) -> [String; 2] {
        [self.world.lab.descriptor().client_secret, CANARY.to_owned()]
    }

    /// The weather clears; a service stands, and a person helps. Then everything must come to its end.
    async fn end(mut self) -> Report {
        self.world.lab.clear_faults();
        self.say("the weather clears".to_owned());
        self.clear_since = Some(self.world.clock.now());
        for _ in 0..12 {
            let deadline = self.world.leases().await.iter().map(|lease| lease.deadline).max();
            let last = deadline.unwrap_or(self.world.clock.now()).max(self.world.clock.now());
            let engine = self.world.engine();
            self.keep(&engine, last + minutes(20)).await;
            self.person().await;
            let is_still = self.open_runs().await.is_empty()
                && self.world.leases().await.is_empty()
                && self.memory.schedules().await.expect("schedules").is_empty();
            if is_still {
                break;
            }
        }
        let wrong = verdict::wrong(&self.world, &self.memory, &self.needles()).await;
        self.report.runs = self.memory.runs(&RunFilter::default()).await.expect("runs").len();
        self.report.requests = self.world.lab.requests().len();
        for violation in wrong {
            self.violated(violation);
        }
        // The complaints of the lab are told with the seed, not by a panic.
        let report = std::mem::take(&mut self.report);
        if !report.violations.is_empty() {
            std::mem::forget(self.world);
        }
        report
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[tokio::test]
async fn histories() {
    let (from, count) = (number("RELIGHT_FROM").unwrap_or(1), number("RELIGHT_SEEDS").unwrap_or(100));
    let (mut runs, mut requests) = (0, 0);
    let mut accidents: BTreeMap<&str, u64> = BTreeMap::new();
    let mut offenders = Vec::new();
    for seed in from..from + count {
        let report = live(seed).await;
        runs += report.runs;
        requests += report.requests;
        for (kind, times) in report.accidents {
            *accidents.entry(kind).or_default() += times;
        }
        if !report.violations.is_empty() {
            eprintln!("seed {seed}: {}", report.violations.join("\n    "));
            offenders.push(seed);
        }
    }
    let all: u64 = accidents.values().sum();
    println!(
        "simulation over the lab: {count} histories, {runs} runs, {requests} requests, {all} accidents: {accidents:?}"
    );
    assert!(
        offenders.is_empty(),
        "{} of {count} histories do not hold; RELIGHT_SEED=<seed> repeats one: {offenders:?}",
        offenders.len()
    );
}

/// Tells one history in full: the one that `RELIGHT_SEED` names.
#[tokio::test]
async fn one() {
    let report = live(number("RELIGHT_SEED").unwrap_or(1)).await;
    if number("RELIGHT_SEED").is_some() {
        println!("{}", report.told.join("\n"));
    }
    assert_eq!(report.violations, Vec::<String>::new());
}
