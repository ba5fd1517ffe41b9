//! The names of traces and spans. They follow from the names of runs, so that any process goes on with the same trace, and whoever
//! knows a run finds its trace.

use relight_engine::event::{Cause, Event, Prepared, fingerprint};
use relight_engine::journal::Journal;
use relight_engine::{Result, RunId};

/// Returns the name of the trace of which a run is the first one: 32 hexadecimal digits.
pub(super) fn trace(root: &RunId) -> String {
    fingerprint(&format!("relight trace {root}"))[..32].to_owned()
}

/// Returns the name of a run's span: 16 hexadecimal digits.
pub(super) fn run(run: &RunId) -> String {
    fingerprint(&format!("relight span {run}"))[..16].to_owned()
}

/// Returns the name of the span of a run's step: 16 hexadecimal digits.
pub(super) fn step(run: &RunId, step: u32) -> String {
    fingerprint(&format!("relight span {run} {step}"))[..16].to_owned()
}

/// Returns the run that stands above all others over a run: itself, when nothing does.
pub(super) async fn root(journal: &dyn Journal, run: &RunId, prepared: &Prepared) -> RunId {
    let (mut root, mut above) = (run.clone(), parent(prepared));
    while let Some(parent_of_root) = above {
        above = match self::prepared(journal, &parent_of_root).await {
            Ok(prepared) => parent(&prepared),
            // It is kept no longer; what stood above it is not known any more.
            Err(_) => None,
        };
        root = parent_of_root;
    }
    root
}

/// Returns what a run began with.
///
/// # Errors
/// `Invalid` when there is no such run, `Storage`.
pub(super) async fn prepared(journal: &dyn Journal, run: &RunId) -> Result<Prepared> {
    match journal.records(run, 0).await?.first().map(|first| first.event()).transpose()? {
        Some(Event::Prepared(prepared)) => Ok(*prepared),
        _ => Err(relight_engine::Error::storage(format!("the record of run {run} has no beginning"))),
    }
}

fn parent(prepared: &Prepared) -> Option<RunId> {
    match &prepared.cause {
        Cause::Run { id, .. } => Some(id.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anybody_can_work_out_the_names() {
        let id = RunId::from("6d1f0a72c4b93e58");
        // As `printf 'relight trace 6d1f0a72c4b93e58' | sha256sum` has it.
        assert_eq!(trace(&id), "62b12013c7823b5b8cd284abbd433e6b");
        assert_eq!(run(&id), "9ef264b9cc7b5449");
        assert_eq!(step(&id, 3), "9b61340b4dcbfe07");
    }
}
