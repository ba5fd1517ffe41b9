//! `relight runs`: what ran, what waits, and signals to it.

mod abandon;
mod answer;
mod export;
mod list;
mod output;
mod prune;
mod queue;
mod rerun;
mod resume;
mod show;
mod stop;
mod verify;
mod watch;

use crate::args::{Global, Place};
use crate::exit::Result;
use crate::setup::Home;
use clap::{Args, Subcommand};

/// See runs, resume, stop and answer them, and take old ones away
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Runs {
    #[command(flatten)]
    list: list::List,
    #[command(flatten)]
    at: Place,
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
    Queue(queue::Queue),
}

impl Runs {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::at(global, &self.at).await?;
        let command = self.command.unwrap_or(Command::List(self.list));
        if command.is_for_here() {
            home.refuse_remote("this cannot be done")?;
        }
        match command {
            Command::List(list) => list.run(&home).await,
            Command::Show(show) => show.run(&home).await,
            Command::Output(output) => output.run(&home).await,
            Command::Watch(watch) => watch.run(&home).await,
            Command::Resume(resume) => resume.run(home).await,
            Command::Rerun(rerun) => rerun.run(global).await,
            Command::Stop(stop) => stop.run(home).await,
            Command::Abandon(abandon) => abandon.run(global).await,
            Command::Answer(answer) => answer.run(home).await,
            Command::Export(export) => export.run(global).await,
            Command::Verify(verify) => verify.run(),
            Command::Prune(prune) => prune.run(global).await,
            Command::Queue(queue) => queue.run(&home).await,
        }
    }
}

impl Command {
    /// Returns whether it is for the runs of this machine alone.
    fn is_for_here(&self) -> bool {
        matches!(self, Command::Rerun(_) | Command::Abandon(_) | Command::Export(_) | Command::Verify(_))
    }
}
