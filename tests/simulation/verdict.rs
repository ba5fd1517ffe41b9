//! What must hold at the end of every history.

use relight_engine::journal::{Journal, MemoryJournal, RunFilter};

use crate::support::world::{World, repeated};

/// Returns whether a text tells one of some secrets.
pub(super) fn tells(text: &str, needles: &[String]) -> bool {
    needles.iter().any(|needle| text.contains(needle))
}

/// Returns what is wrong with a history that has ended.
pub(super) async fn wrong(world: &World, journal: &MemoryJournal, needles: &[String]) -> Vec<String> {
    let engine = world.engine();
    let mut wrong = Vec::new();
    for run in journal.runs(&RunFilter::default()).await.expect("runs") {
        if !run.status.is_over() {
            wrong.push(format!("{} of {} has no next step: {run:?}", run.id, run.runbook));
        }
        let history = engine.history(&run.id).await.map(drop);
        let failure = engine.failure(&run.id).await.map(drop);
        if let Err(error) = history.and(failure) {
            wrong.push(format!("{} cannot be shown: {error:?}", run.id));
        }
        for record in journal.records(&run.id, 0).await.expect("records") {
            if tells(&record.body, needles) {
                wrong.push(format!("a record tells a secret: {}", record.body));
            }
        }
    }
    for notice in world.notices.lock().expect("no panic while noticing").iter() {
        let text = serde_json::to_string(&notice.event).expect("an event");
        if tells(&text, needles) {
            wrong.push(format!("a notice tells a secret: {text}"));
        }
    }
    for lease in world.leases().await {
        wrong.push(format!("a lease is never closed: {} until {}", lease.title, lease.deadline));
    }
    for node in world.open_ports() {
        wrong.push(format!("the port of {node} is never closed"));
    }
    // Whoever puts a whole resource may put it again.
    let ledger = world.lab.ledger();
    let is_group =
        |path: &str| path.rsplit('/').nth(1).is_some_and(|kind| kind.eq_ignore_ascii_case("resourceGroups"));
    let once: Vec<_> = ledger.into_iter().filter(|entry| !is_group(&entry.path)).collect();
    wrong.extend(repeated(&once).into_iter().map(|request| format!("sent twice: {request}")));
    wrong.extend(world.complaints().into_iter().map(|complaint| format!("the lab complains: {complaint}")));
    wrong
}
