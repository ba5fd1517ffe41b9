//! `relight runs resume`.

use clap::Args;

use super::Which;
use crate::cli::Global;
use crate::commands::foreground::{self, Answers};
use crate::exit::Result;
use crate::report::Audience;
use crate::setup::Home;

/// Go on with a run where it stands
///
/// Recorded steps are not done again. An operation that is under way is waited for, not sent again. Use it after
/// an interrupt or a crash, and after mending what a run was parked for.
#[derive(Args, Debug)]
pub(super) struct Resume {
    #[command(flatten)]
    which: Which,

    /// Answer every yes-or-no question with yes
    #[arg(long)]
    yes: bool,

    /// Print every event as one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Resume {
    pub(super) async fn run(self, global: &Global) -> Result {
        let answers = Answers { yes: self.yes, program: self.json };
        go_on(Home::find(global)?, &self.which.run, answers).await
    }
}

/// Carries a run on in the foreground.
pub(super) async fn go_on(home: Home, run: &str, answers: Answers) -> Result {
    // Before anything is reached: whether there is such a run, and whether it can go on.
    let run = {
        let desk = home.desk()?;
        let found = desk.find(run).await?;
        desk.resumable(&found.id).await?.id
    };
    let audience = if answers.program { Audience::Program } else { Audience::Person };
    let session = home.connect(audience).await?;
    let ended = foreground::carry(&session, &run, answers).await;
    session.close().await;
    ended
}
