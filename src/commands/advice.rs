//! How a run stands, and what a person can do about it.

use relight_engine::Engine;
use relight_engine::event::Park;
use relight_engine::journal::{Full, Presence, Queued, Status, Summary};

use crate::format::brief;
use crate::setup::Home;
use crate::visible::one_line;
use crate::{report, terminal};

/// Returns what a person can do about the run that `id` names, as a command.
///
/// # Errors
/// `Storage`.
pub(super) async fn next(
    engine: &Engine,
    run: &Summary,
    id: &str,
    home: &Home,
) -> relight_engine::Result<Option<String>> {
    let place = home.same_place();
    let needy = in_need(engine, run).await?;
    // What is asked is asked by one run; who goes on with a run goes on with its branches and children.
    let asks = engine.shortest(&needy.id).await?;
    let id = whole(id);
    let resume = format!("relight runs resume {id}");
    Ok(match (needy.status, &needy.park) {
        (Status::Running, _) if engine.driver(&needy) == Some(Presence::Gone) => {
            Some(format!("{resume}{place}"))
        }
        // It begins when others are over, or never waits again for nobody.
        (Status::Prepared, _) if needy.is_queued() => None,
        // A service takes it up by itself.
        (Status::Prepared, _) if home.remote().is_some() => None,
        (Status::Prepared, _) => Some(format!("relight serve{place}")),
        (Status::Parked, Some(Park::Question { choices, .. })) => {
            let answer = choices.first().map_or("ANSWER", String::as_str);
            Some(format!("relight runs answer {asks} {answer}{place}"))
        }
        (Status::Parked, Some(Park::Undecided { .. })) => {
            Some(format!("relight runs answer {asks} done{place}"))
        }
        (Status::Parked, Some(Park::Mistake { .. })) => {
            let mended = mended(engine, &needy);
            Some(format!("relight runs resume {} {mended}{place}", whole(&asks)))
        }
        // The child is over: nothing has to be waited for, until a service looks or for ever where there is none.
        (Status::Parked, Some(Park::Child { .. })) => Some(format!("{resume}{place}")),
        (Status::Parked, Some(park)) if !park.is_waiting() => Some(format!("{resume}{place}")),
        _ => None,
    })
}

/// Returns the run that needs a person: this one, or the child for which it waits. A run whose child is over
/// goes on itself.
///
/// # Errors
/// `Storage`.
pub(super) async fn in_need(engine: &Engine, run: &Summary) -> relight_engine::Result<Summary> {
    let mut needy = run.clone();
    while let Some(Park::Child { run: child }) = &needy.park {
        let Some(child) = engine.journal().run(child).await?.filter(|child| !child.status.is_over()) else {
            break;
        };
        needy = child;
    }
    Ok(needy)
}

/// Returns the id of the run that a branch is part of: its text is that of all of its branches.
pub(super) fn whole(id: &str) -> &str {
    id.split_once('.').map_or(id, |(whole, _)| whole)
}

/// Returns the option that brings the mended text: that of the library, or the file that a person names.
fn mended(engine: &Engine, run: &Summary) -> String {
    match engine.library().source(&run.runbook) {
        Ok(_) => "--with-current-text".to_owned(),
        Err(_) => format!("--with-current-text={}.rhai", run.runbook),
    }
}

/// Returns the state of a run. One that stands as running although its driver died says so.
pub(super) fn state(engine: &Engine, run: &Summary) -> &'static str {
    match engine.driver(run) {
        Some(Presence::Gone) => "left behind",
        _ if run.is_queued() => "queued",
        _ => run.status.as_str(),
    }
}

/// Says what can be done about a run that is parked on a mistake in its runbook.
pub(super) fn tell_mistake(engine: &Engine, run: &Summary, id: &str, stops: Option<String>, place: &str) {
    let stops = stops.map(|stops| format!("; it is stopped {stops} and runs what it deferred then"));
    terminal::say(format!(
        "run {id} is parked on a mistake in its runbook; nothing is lost{}. One of:",
        stops.unwrap_or_default()
    ));
    let (whole, text) = (whole(id), mended(engine, run));
    let means = match run.id.is_branch() {
        true => "go on with all branches once the text is mended",
        false => "go on once the text is mended",
    };
    let (mend, again, stop) = (
        (format!("resume {whole} {text}"), means),
        (format!("rerun {whole}"), "begin anew with the same parameters"),
        (format!("stop {whole}"), "end it; what it deferred runs"),
    );
    for (command, means) in [mend, again, stop] {
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

/// Says why a run waits: which groups have no room, and who is in them.
pub(super) async fn queued_because(engine: &Engine, queued: &Queued) -> relight_engine::Result<String> {
    let mut reasons = Vec::with_capacity(queued.full.len());
    for Full { limit, by, .. } in &queued.full {
        let mut names = Vec::with_capacity(by.len());
        for run in by {
            names.push(engine.shortest(run).await?);
        }
        let runs = if limit.most == 1 { "one run" } else { &format!("{} runs", limit.most) };
        let kind = match limit.group.split_once(':') {
            Some(("runbook", name)) => format!("{runs} of {name}"),
            Some(("target", target)) => format!("{runs} on {target}"),
            _ => format!("{runs} in all"),
        };
        reasons.push(format!("at most {kind} at once; under way: {}", names.join(", ")));
    }
    Ok(match reasons.is_empty() {
        true => "it is next".to_owned(),
        false => reasons.join("; "),
    })
}
