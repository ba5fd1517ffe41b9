//! What must hold at the end of every history.

use std::collections::BTreeMap;

use relight_engine::event::{Event, Park, Signal, StepEnd};
use relight_engine::journal::RunFilter;
use relight_engine::{Engine, Redo};

use super::history::stand;
use super::world::World;
use super::{CANARY, operations};

/// What the journal says about one step.
#[derive(Default)]
struct Told {
    operation: String,
    started: usize,
    again: usize,
    done: bool,
    ok: bool,
}

/// Returns what is wrong with the runs of a history that has ended. `unclear` says whether anything has happened that
/// may leave a request undecided.
pub(crate) async fn verify(desk: &Engine, world: &World, unclear: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let journal = desk.journal();
    for run in journal.runs(&RunFilter::default()).await.expect("runs") {
        if !run.status.is_over() {
            wrong.push(format!("a run has no next step: {}", stand(&run)));
        }
        for (what, result) in [
            ("shown", desk.history(&run.id).await.map(drop)),
            ("explained", desk.failure(&run.id).await.map(drop)),
            ("explained", desk.trouble(&run.id).await.map(drop)),
        ] {
            if let Err(error) = result {
                wrong.push(format!("{} cannot be {what}: {error:?}", run.id));
            }
        }
        let records = match journal.records(&run.id, 0).await {
            Ok(records) => records,
            Err(error) => {
                wrong.push(format!("{} cannot be read: {error:?}", run.id));
                continue;
            }
        };
        let mut steps: BTreeMap<u32, Told> = BTreeMap::new();
        for record in &records {
            if record.body.contains(CANARY) {
                wrong.push(format!("a record tells a secret: {}", record.body));
            }
            match record.event().expect("an event") {
                Event::StepStarted { step, operation, .. } => {
                    let told = steps.entry(step).or_default();
                    told.operation = operation;
                    told.started += 1;
                }
                Event::StepFinished { step, end, .. } => {
                    steps.entry(step).or_default().ok = matches!(end, StepEnd::Ok(_));
                }
                Event::Signalled { signal: Signal::Answer { step, value, .. } } => {
                    let told = steps.entry(step).or_default();
                    told.again += usize::from(value == "again");
                    told.done |= value == "done";
                }
                Event::Parked { park: Park::Undecided { failure }, .. } if !unclear => {
                    wrong.push(format!("{} asks although nothing went wrong: {}", run.id, failure.message));
                }
                _ => {}
            }
        }
        let state = world.state();
        for (step, told) in &steps {
            let sent = state.effects.get(&(run.id.clone(), *step)).map_or(0, Vec::len);
            let (name, redo) = (&told.operation, operations::redo(&told.operation));
            let most = match redo {
                // Each attempt that is written down sends once at most; opening sends when it is looked at.
                Redo::Resend if name.starts_with("door::open") => usize::MAX,
                Redo::Resend => told.started,
                Redo::Probe | Redo::Ask => 1 + told.again,
            };
            if sent > most {
                let by: Vec<usize> =
                    state.effects[&(run.id.clone(), *step)].iter().map(|s| s.process).collect();
                wrong.push(format!(
                    "`{name}` of step {step} of {} took effect {sent} times by processes {by:?}, {most} at most",
                    run.id
                ));
            }
            if told.ok && sent == 0 && !told.done && name.starts_with("box::") {
                wrong.push(format!("`{name}` of step {step} of {} is done and was never sent", run.id));
            }
        }
        for (key, sent) in state.effects.iter().filter(|((id, _), _)| *id == run.id) {
            if !steps.contains_key(&key.1) {
                wrong.push(format!("`{}` of {key:?} was sent and is not on record", sent[0].operation));
            }
        }
    }
    let state = world.state();
    for (name, door) in &state.doors {
        wrong.push(format!("a door is never closed: {name} of {}", door.run));
    }
    wrong
}
