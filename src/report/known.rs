//! What is known about a run before it goes on: its plan, and how long such steps usually take.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::event::{Event, Place, StepEnd};
use relight_engine::journal::{Journal, RunFilter};
use relight_engine::replay::History;
use relight_engine::{Engine, PlannedCall, Result, RunId};

use crate::format::between;

/// How many open runs are looked at for children.
const OPEN: usize = 500;
/// How many of the newest runs are looked at.
const RUNS: usize = 20;
/// How many records are read of them at most.
const RECORDS: u64 = 4000;
/// What is over sooner is nothing to wait for.
const WORTH_KNOWING: Duration = Duration::from_secs(2);

/// What is known before a run goes on. Nothing, where it cannot be read: a run does not depend on it.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Where its steps stand in its plan.
    pub(super) plan: Outline,
    /// How long an operation usually takes: the median of its steps in the newest runs.
    pub(super) usual: HashMap<String, Duration>,
}

/// Returns the runs that are under way with their runbooks: a run that goes on may have children among them.
pub(super) async fn under_way(engine: &Engine) -> Vec<(RunId, String)> {
    let open = engine.journal().runs(&RunFilter::open().at_most(OPEN)).await.unwrap_or_default();
    open.into_iter().map(|run| (run.id, run.runbook)).collect()
}

/// Returns the branches with which a run goes on.
pub(super) async fn branches(engine: &Engine, run: &RunId, history: &History) -> Vec<(RunId, History)> {
    let mut below = Vec::new();
    let Some(step) = history.unfinished() else { return below };
    for branch in engine.branches(run, step).await.unwrap_or_default() {
        if let (false, Ok(history)) = (branch.status.is_over(), engine.history(&branch.id).await) {
            below.push((branch.id, history));
        }
    }
    below
}

impl Known {
    pub(super) async fn about(engine: &Engine, run: &RunId) -> Self {
        let plan = engine.planned(run).await.map(|calls| Outline::of(&calls)).unwrap_or_default();
        Known { plan, usual: usual(&**engine.journal()).await.unwrap_or_default() }
    }
}

/// The calls of a runbook, numbered as `--plan` numbers them.
#[derive(Debug, Default)]
pub(super) struct Outline(Vec<(String, usize, String)>);

impl Outline {
    fn of(calls: &[PlannedCall]) -> Self {
        let shown = calls.iter().filter(|call| call.shown.has_line());
        Outline(shown.map(|call| (call.source.clone(), call.line, call.operation.clone())).collect())
    }

    /// Says where a step stands: `3/7` when the plan has its call, else its number.
    pub(super) fn place(&self, operation: &str, at: &Place, step: u32) -> String {
        self.planned(operation, at).unwrap_or_else(|| format!("step {step}"))
    }

    /// Says how far a run has come that goes on: where the last of its steps stands that is in the plan.
    pub(super) fn reached(&self, history: &History) -> Option<String> {
        history.steps.iter().rev().find_map(|past| self.planned(&past.operation, &past.at))
    }

    fn planned(&self, operation: &str, at: &Place) -> Option<String> {
        let is_it = |(source, line, name): &(String, usize, String)| {
            let is_there = at.source.as_ref().is_none_or(|of| of == source) && *line == at.line;
            is_there && name == operation
        };
        let before = self.0.iter().position(is_it)?;
        Some(format!("{}/{}", before + 1, self.0.len()))
    }
}

/// Returns how long operations took in the newest runs, as far as that costs little to learn.
async fn usual(journal: &dyn Journal) -> Result<HashMap<String, Duration>> {
    let mut took: HashMap<String, Vec<Duration>> = HashMap::new();
    let mut left = RECORDS;
    for run in journal.runs(&RunFilter::all().at_most(RUNS)).await? {
        let Some(rest) = left.checked_sub(run.seq) else { continue };
        left = rest;
        let mut begun: HashMap<u32, (String, Timestamp)> = HashMap::new();
        for record in journal.records(&run.id, 0).await? {
            match record.event()? {
                Event::StepStarted { step, operation, .. } => {
                    begun.entry(step).or_insert((operation, record.at));
                }
                Event::StepFinished { step, end: StepEnd::Ok(_) | StepEnd::Large { .. }, .. } => {
                    if let Some((operation, at)) = begun.remove(&step) {
                        took.entry(operation).or_default().push(between(at, record.at));
                    }
                }
                _ => {}
            }
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let all = took.into_iter().map(|(operation, times)| (operation, median(times)));
    Ok(all.filter(|(_, time)| *time >= WORTH_KNOWING).collect())
}
