//! `relight runs`: what ran, what waits, and signals to it.

mod abandon;
mod answer;
mod export;
mod list;
mod output;
mod prune;
mod rerun;
mod resume;
mod show;
mod stop;
mod verify;
mod watch;

use crate::args::Global;
use crate::exit::Result;
use clap::{Args, Subcommand};

/// See runs, resume, stop and answer them, and take old ones away
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
    Prune(prune::Prune),
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
            Command::Prune(prune) => prune.run(global).await,
        }
    }
}
