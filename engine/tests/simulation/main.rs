//! A seeded simulation: processes, a journal, a world and a clock, in every order that a seed picks.
//!
//! Each history has two workers and some commands over one journal; runbooks made of a grammar with children, leases,
//! schedules, questions and secrets; a disk that fails, fills and is locked; requests that are lost; processes that are
//! killed at any gate, told to end, suspended, or lose what was not on the disk; processes of an older version beside newer ones; a clock that jumps, forward and back.
//! After it the invariants of [`checks`] must hold: nothing was sent twice unless a person said so, no run is without a
//! next step, no door is open for longer than promised, no secret stands anywhere, no old version writes over a newer one's state.
//!
//! ```text
//! cargo test -p relight-engine --test simulation                                        thousands of histories
//! RELIGHT_SEEDS=1000000 cargo test -p relight-engine --test simulation histories        for hours
//! RELIGHT_SEED=4711 cargo test -p relight-engine --test simulation one -- --nocapture   that one, told in full
//! ```
//!
//! A seed repeats its history: [`gates`] says how far. What is left to chance is the order in which tokio's `select!`
//! looks at two things that are both ready.
#![allow(clippy::unwrap_used, missing_docs)]

mod chance;
mod checks;
mod clock;
mod disk;
mod gates;
mod history;
mod operations;
mod scripts;
mod sort;
mod world;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::{Mutex, Once};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use history::{History, Report};
use sort::Sort;

/// A secret that must not turn up anywhere.
const CANARY: &str = "c4nary+/Zq9=secret";
/// What a simulated bug says when it panics.
const PANIC: &str = "a simulated panic";

/// The seeds that a part lives through: `<first> <step> <count>`.
const PART: &str = "RELIGHT_PART";

/// One history at a time: the gates count the threads of the process.
static ONE: Mutex<()> = Mutex::new(());

fn live(seed: u64, sort: Option<Sort>) -> Report {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { History::new(seed, sort).live().await })
}

/// Simulated panics are not worth a line.
fn quiet() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let said = info.payload().downcast_ref::<String>();
            if said.is_none_or(|said| said != PANIC) {
                told(info);
            }
        }));
    });
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// What many histories came to.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Tally {
    histories: u64,
    runs: u64,
    requests: u64,
    decisions: u64,
    faults: BTreeMap<String, u64>,
    /// The histories in which the new version went on where the old one was.
    taken_over: u64,
    /// The histories in which the old version came to what the new one had begun.
    left: u64,
    /// The seeds whose histories did not hold, with what was wrong.
    offenders: BTreeMap<u64, Vec<String>>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.histories += other.histories;
        self.runs += other.runs;
        self.requests += other.requests;
        self.decisions += other.decisions;
        self.taken_over += other.taken_over;
        self.left += other.left;
        for (kind, times) in other.faults {
            *self.faults.entry(kind).or_default() += times;
        }
        self.offenders.extend(other.offenders);
    }
}

impl From<(u64, Report)> for Tally {
    fn from((seed, report): (u64, Report)) -> Self {
        let is_wrong = !report.violations.is_empty();
        Tally {
            histories: 1,
            runs: report.runs,
            requests: report.requests,
            decisions: report.decisions,
            taken_over: report.was_taken_over.into(),
            left: report.was_left.into(),
            faults: report.faults.into_iter().map(|(kind, times)| (kind.to_owned(), times)).collect(),
            offenders: is_wrong.then_some((seed, report.violations)).into_iter().collect(),
        }
    }
}

/// Lives through some histories, and prints the tally as the last line.
fn part(seeds: &str, sort: Option<Sort>) {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    quiet();
    let [first, step, count] = seeds.split(' ').map(|n| n.parse::<u64>().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!("{PART}={seeds}");
    };
    let mut tally = Tally::default();
    for n in 0..count {
        let seed = first + n * step;
        let lived = Tally::from((seed, live(seed, sort)));
        // Whoever lets it run for hours hears at once.
        if let Some(wrong) = lived.offenders.get(&seed) {
            eprintln!("seed {seed}: {}", wrong.join("\n    "));
        }
        tally.add(lived);
    }
    println!("\n{}", serde_json::to_string(&tally).unwrap());
}

/// Lives through many histories and tells how many held. Each processor takes a part, in a process of its own because
/// the gates count threads.
fn many(test: &str, count: u64, sort: Option<Sort>) {
    if let Ok(seeds) = std::env::var(PART) {
        return part(&seeds, sort);
    }
    let began = Instant::now();
    let (from, count) = (number("RELIGHT_FROM").unwrap_or(1), number("RELIGHT_SEEDS").unwrap_or(count));
    let parts = std::thread::available_parallelism().map_or(1, |n| n.get() as u64).min(count).max(1);
    let under_way: Vec<_> = (0..parts)
        .map(|n| {
            let count = (count - n).div_ceil(parts);
            Command::new(std::env::current_exe().unwrap())
                .args([test, "--exact", "--nocapture"])
                .env(PART, format!("{} {parts} {count}", from + n))
                .env_remove("RELIGHT_SEED")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut tally = Tally::default();
    for process in under_way {
        let output = process.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let line = told.lines().find(|line| line.starts_with('{'));
        tally.add(serde_json::from_str(line.unwrap_or_else(|| panic!("a part broke off: {told}"))).unwrap());
    }
    let Tally { histories, runs, requests, decisions, faults, taken_over, left, offenders } = tally;
    let all: u64 = faults.values().sum();
    let took = began.elapsed();
    println!(
        "{test}: {histories} histories, {runs} runs, {requests} requests, {decisions} decisions, {taken_over} taken over by a newer version and {left} left to one, {all} faults in {took:.1?}: {faults:?}"
    );
    assert_eq!(histories, count);
    assert!(
        offenders.is_empty(),
        "{} of {count} histories do not hold; RELIGHT_SEED=<seed> repeats one: {:?}",
        offenders.len(),
        offenders.keys().collect::<Vec<_>>()
    );
}

#[test]
fn histories() {
    many("histories", 2000, None);
}

#[test]
fn histories_over_a_database() {
    let sort = Sort { sqlite: true, ..Sort::default() };
    many("histories_over_a_database", 40, Some(sort));
}

/// Tells one history in full: the one that `RELIGHT_SEED` names.
#[test]
fn one() {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    quiet();
    let report = live(number("RELIGHT_SEED").unwrap_or(1), None);
    assert_eq!(report.violations, Vec::<String>::new());
}

#[test]
fn the_same_seed_is_the_same_history() {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    quiet();
    for seed in 1..=20 {
        let (first, second) = (live(seed, None), live(seed, None));
        let other = first.trace.iter().zip(&second.trace).find(|(a, b)| a != b);
        assert!(other.is_none() && first.trace.len() == second.trace.len(), "seed {seed}: {other:?}");
    }
}
