//! Why a run is put away, how it ended, and an error on one line.

use relight_engine::Failure;
use relight_engine::event::{Park, RunEnd};

use crate::format::brief;
use crate::visible::one_line;

/// The longest message of a service on one line.
pub(super) const LONGEST: usize = 120;

/// Returns why a run is put away, as the end of "the run is parked: ..".
pub(crate) fn why(park: &Park) -> String {
    match park {
        Park::Waiting => "it waits".to_owned(),
        Park::Question { text, .. } => format!("it asks: {}", one_line(text)),
        Park::Undecided { failure } => failure.message.clone(),
        Park::Exhausted { failure }
        | Park::Denied { failure }
        | Park::Halted { failure }
        | Park::Mistake { failure, .. } => headline(failure),
        Park::Interrupted => "it was interrupted".to_owned(),
        Park::HandedBack => "the process that drove it ended".to_owned(),
        Park::Terminal { operation } => format!("`{operation}` needs a terminal"),
        Park::Child { run } => format!("it waits for run {run}"),
        _ => "it was put away".to_owned(),
    }
}

/// Returns how a run ended, as a word or a few.
pub(crate) fn outcome(end: &RunEnd) -> String {
    match end {
        RunEnd::Succeeded { .. } => "succeeded".to_owned(),
        RunEnd::Failed { failure, .. } => format!("failed: {}", headline(failure)),
        RunEnd::Stopped { by, .. } => format!("stopped by {by}"),
        RunEnd::Abandoned { by, because } => format!("abandoned by {by}: {because}"),
    }
}

/// Returns an error's message and its innermost cause on one line.
pub(crate) fn headline(failure: &Failure) -> String {
    shortened(failure, 2 * LONGEST)
}

pub(super) fn shortened(failure: &Failure, most: usize) -> String {
    match failure.causes.last() {
        Some(cause) => brief(&format!("{}: {cause}", failure.message), most),
        None => brief(&failure.message, most),
    }
}
