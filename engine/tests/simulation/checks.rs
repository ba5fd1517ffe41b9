//! What must hold at the end of every history.

use std::collections::{BTreeMap, BTreeSet};

use relight_engine::event::{Event, Park, Record, RunEnd, RunId, Signal, StepEnd};
use relight_engine::journal::{DeliveryFilter, Notification, Occasion, RunFilter, Subscription};
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

/// Who is told in every history: one of everything, one of failures.
pub(crate) fn receivers() -> [Subscription; 2] {
    [Subscription::new("all"), Subscription::new("failures").on([Occasion::Failed])]
}

/// Which notifications the records of a run are worth: those that must be there, and those that may.
struct Worth {
    must: BTreeSet<(Occasion, String)>,
    may: BTreeSet<(Occasion, String)>,
}

impl Worth {
    fn of(run: &RunId, records: &[Record]) -> Worth {
        let mut worth = Worth { must: BTreeSet::new(), may: BTreeSet::new() };
        for (n, record) in records.iter().enumerate() {
            let about = |occasion: Occasion| {
                let about = [run.as_str(), &record.seq.to_string()];
                (occasion, Notification::new(occasion, &about, record.at, "").id)
            };
            match record.event().expect("an event") {
                Event::Finished { end: RunEnd::Failed { .. }, parent: None } if !run.is_branch() => {
                    worth.must.insert(about(Occasion::Failed));
                }
                Event::Parked { park, until } if !park.is_waiting() && park != Park::Interrupted => {
                    let asks = matches!(park, Park::Question { .. });
                    let comes_back = until.is_some() && !asks && !matches!(park, Park::Mistake { .. });
                    let own = about(if asks { Occasion::Question } else { Occasion::Parked });
                    // What was said before it was parked wakes it at once, and is the first that it hears then.
                    let heard = records[n + 1..]
                        .iter()
                        .take(2)
                        .any(|next| matches!(next.event().expect("an event"), Event::Signalled { .. }));
                    if !comes_back && !heard {
                        worth.must.insert(own.clone());
                    }
                    if !comes_back {
                        worth.may.insert(own);
                    }
                }
                _ => {}
            }
        }
        worth.may.extend(worth.must.iter().cloned());
        worth
    }
}

/// Returns what is wrong with the notifications of the runs: one for each receiver and each record that is worth one.
fn check_told(told: &BTreeSet<(String, Occasion, String)>, run: &RunId, records: &[Record]) -> Vec<String> {
    let Worth { must, .. } = Worth::of(run, records);
    let mut wrong = Vec::new();
    for (occasion, id) in must {
        for one in receivers().iter().filter(|one| one.occasions.contains(&occasion)) {
            if !told.contains(&(one.receiver.clone(), occasion, id.clone())) {
                wrong.push(format!("{} was not told that {run} {}", one.receiver, occasion.as_str()));
            }
        }
    }
    wrong
}

/// Returns what is wrong with the runs of a history that has ended. `unclear` says whether anything has happened that
/// may leave a request undecided.
pub(crate) async fn verify(desk: &Engine, world: &World, unclear: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let journal = desk.journal();
    let deliveries = journal.outbox().deliveries(&DeliveryFilter::default()).await.expect("deliveries");
    let told: BTreeSet<_> = deliveries
        .iter()
        .map(|it| (it.receiver.clone(), it.notification.occasion, it.notification.id.clone()))
        .collect();
    if told.len() != deliveries.len() {
        wrong.push("somebody is told twice of the same".to_owned());
    }
    let mut may: BTreeSet<(Occasion, String)> = BTreeSet::new();
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
        wrong.extend(check_told(&told, &run.id, &records));
        may.extend(Worth::of(&run.id, &records).may);
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
    for delivery in &deliveries {
        let about = &delivery.notification;
        // Of a run that was pruned nobody can say any more what it recorded.
        let is_gone = match &about.run {
            Some(run) => journal.pruned(run).await.expect("the journal is read").is_some(),
            None => true,
        };
        let known = is_gone || may.contains(&(about.occasion, about.id.clone()));
        if !known || serde_json::to_string(delivery).expect("JSON").contains(CANARY) {
            wrong.push(format!("{} is told what nobody recorded, or a secret: {about:?}", delivery.receiver));
        }
    }
    let state = world.state();
    for (name, door) in &state.doors {
        wrong.push(format!("a door is never closed: {name} of {}", door.run));
    }
    wrong
}
