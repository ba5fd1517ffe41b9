//! `relight runs answer`.

use clap::Args;

use super::resume;
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
        let (id, run) = {
            let engine = home.offline_engine()?;
            let run = self.which.find(&engine).await?.id;
            engine.answer(&run, &self.answer, &platform::user()).await?;
            (engine.shortest(&run).await?, run)
        };
        if let (true, Some(_)) = (self.detach, home.remote()) {
            terminal::say(format!("Answered. The service goes on with run {id}"));
            return Ok(Exit::Done);
        }
        if self.detach {
            terminal::say(format!("Answered. `relight serve{}` goes on with run {id}", home.same_place()));
            return Ok(Exit::Done);
        }
        resume::go_on(home, &run, Answers::default()).await
    }
}
