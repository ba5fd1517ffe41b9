//! `relight runs`: what ran, what waits, and words for it.

mod abandon;
mod answer;
mod export;
pub(super) mod files;
mod list;
mod output;
mod rerun;
mod resume;
mod show;
mod stop;
mod verify;
mod watch;

use clap::{Args, Subcommand};
use relight_engine::event::Park;
use relight_engine::journal::{Presence, RunFilter, Status, Summary};
use relight_engine::{Engine, Error};

use crate::cli::Global;
use crate::exit::Result;
use crate::visible::one_line;
use crate::words::brief;
use crate::{report, terminal};

/// See runs, resume, stop and answer them
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Runs {
    #[command(flatten)]
    list: list::List,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::List),
    Show(show::Show),
    Output(output::Output),
    Watch(watch::Watch),
    Resume(resume::Resume),
    Rerun(rerun::Rerun),
    Stop(stop::Stop),
    Abandon(abandon::Abandon),
    Answer(answer::Answer),
    Export(export::Export),
    Verify(verify::Verify),
}

impl Runs {
    pub(crate) async fn run(self, global: &Global) -> Result {
        match self.command.unwrap_or(Command::List(self.list)) {
            Command::List(list) => list.run(global).await,
            Command::Show(show) => show.run(global).await,
            Command::Output(output) => output.run(global).await,
            Command::Watch(watch) => watch.run(global).await,
            Command::Resume(resume) => resume.run(global).await,
            Command::Rerun(rerun) => rerun.run(global).await,
            Command::Stop(stop) => stop.run(global).await,
            Command::Abandon(abandon) => abandon.run(global).await,
            Command::Answer(answer) => answer.run(global).await,
            Command::Export(export) => export.run(global).await,
            Command::Verify(verify) => verify.run(),
        }
    }
}

/// The run that a command is about.
#[derive(Args, Debug)]
struct Which {
    /// Id of the run, or enough of its beginning; `@last` is the newest
    run: String,
}

impl Which {
    async fn find(&self, engine: &Engine) -> relight_engine::Result<Summary> {
        find(engine, &self.run).await
    }
}

/// Returns the run of an id, of the beginning of one, or the newest.
async fn find(engine: &Engine, named: &str) -> relight_engine::Result<Summary> {
    if named != "@last" {
        return engine.find(named).await;
    }
    let newest = engine.journal().runs(&RunFilter { open: false, limit: 1 }).await?;
    newest.into_iter().next().ok_or_else(|| Error::invalid("nothing has run yet, so there is no last run"))
}

/// Returns what a person can do about the run that `id` names, as a command.
fn next(engine: &Engine, run: &Summary, id: &str, place: &str) -> Option<String> {
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
fn state(engine: &Engine, run: &Summary) -> &'static str {
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
    for (command, means) in [
        (format!("resume {run} --with-current-text"), "go on once the text is mended"),
        (format!("rerun {run}"), "begin anew with the same parameters"),
        (format!("stop {run}"), "end it; what it deferred runs"),
    ] {
        terminal::say(format!("  relight runs {command}{place}    # {means}"));
    }
}

/// Returns why a run is put away, if it is, on one line.
fn why(engine: &Engine, run: &Summary) -> Option<String> {
    if engine.driver(run) == Some(Presence::Gone) {
        return Some("the process that drove it died; `relight serve` goes on with it".to_owned());
    }
    run.park.as_ref().map(|park| one_line(&brief(&report::why(park), 120)).into_owned())
}
