//! `relight runs answer`.

use clap::Args;

use super::resume;
use crate::commands::afar;
use crate::commands::foreground::Answers;
use crate::commands::which::Which;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::{platform, terminal};

/// Answer what a run asks, and go on with it
#[derive(Args, Debug)]
pub(super) struct Answer {
    #[command(flatten)]
    which: Which,

    /// The answer
    answer: String,

    /// Leave the answer for `relight serve` rather than going on here
    #[arg(long)]
    detach: bool,
}

impl Answer {
    pub(super) async fn run(self, home: Home) -> Result {
        let (id, run, seen) = {
            let engine = home.offline_engine()?;
            let run = self.which.find(&engine).await?;
            engine.answer(&run.id, &self.answer, &platform::user()).await?;
            (engine.shortest(&run.id).await?, run.id, run.seq)
        };
        if let (true, Some(_)) = (self.detach, home.remote()) {
            terminal::say(format!("Answered. The service goes on with run {id}"));
            return Ok(Exit::Done);
        }
        if self.detach {
            terminal::say(format!("Answered. `relight serve{}` goes on with run {id}", home.same_place()));
            return Ok(Exit::Done);
        }
        if let Some(client) = home.remote() {
            // For a branch the whole of it goes on, of which nothing was told yet.
            let from = if run.is_branch() { afar::From::Beginning } else { afar::From::Behind(seen) };
            return afar::carry(&home, client, &run.whole(), from, Answers::default()).await;
        }
        resume::go_on(home, &run, Answers::default()).await
    }
}
