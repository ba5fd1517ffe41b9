//! How a run stands, and what a person can do about it.

use relight_engine::Engine;
use relight_engine::event::Park;
use relight_engine::journal::{Presence, Status, Summary};

use crate::format::brief;
use crate::visible::one_line;
use crate::{report, terminal};

/// Returns what a person can do about the run that `id` names, as a command.
pub(super) fn next(engine: &Engine, run: &Summary, id: &str, place: &str) -> Option<String> {
    match (run.status, &run.park) {
        (Status::Running, _) if engine.driver(run) == Some(Presence::Gone) => {
            Some(format!("relight runs resume {id}{place}"))
        }
        (Status::Prepared, _) => Some(format!("relight serve{place}")),
        (Status::Parked, Some(Park::Question { choices, .. })) => {
            let answer = choices.first().map_or("ANSWER", String::as_str);
            Some(format!("relight runs answer {id} {answer}{place}"))
        }
        (Status::Parked, Some(Park::Undecided { .. })) => {
            Some(format!("relight runs answer {id} done{place}"))
        }
        (Status::Parked, Some(Park::Mistake { .. })) => {
            Some(format!("relight runs resume {id} --with-current-text{place}"))
        }
        (Status::Parked, Some(park)) if !park.is_waiting() => {
            Some(format!("relight runs resume {id}{place}"))
        }
        _ => None,
    }
}

/// Returns the state of a run. One that stands as running although its driver died says so.
pub(super) fn state(engine: &Engine, run: &Summary) -> &'static str {
    match engine.driver(run) {
        Some(Presence::Gone) => "left behind",
        _ => run.status.as_str(),
    }
}

/// Says what can be done about a run that is parked on a mistake in its runbook.
pub(super) fn tell_mistake(run: &str, stops: Option<String>, place: &str) {
    let stops = stops.map(|stops| format!("; it is stopped {stops} and runs what it deferred then"));
    terminal::say(format!(
        "run {run} is parked on a mistake in its runbook; nothing is lost{}. One of:",
        stops.unwrap_or_default()
    ));
    // A branch does not run without its run, which goes on once the branch is over.
    let second = match run.split_once('.') {
        Some((whole, _)) => (format!("resume {whole}"), "then go on with its run"),
        None => (format!("rerun {run}"), "begin anew with the same parameters"),
    };
    for (command, means) in [
        (format!("resume {run} --with-current-text"), "go on once the text is mended"),
        second,
        (format!("stop {run}"), "end it; what it deferred runs"),
    ] {
        terminal::say(format!("  relight runs {command}{place}    # {means}"));
    }
}

/// Returns why a run is put away, if it is, on one line.
pub(super) fn why(engine: &Engine, run: &Summary) -> Option<String> {
    if engine.driver(run) == Some(Presence::Gone) {
        return Some("the process that drove it died; `relight serve` goes on with it".to_owned());
    }
    run.park.as_ref().map(|park| one_line(&brief(&report::why(park), 120)).into_owned())
}
