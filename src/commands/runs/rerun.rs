//! `relight runs rerun`.

use clap::Args;

use crate::args::Global;
use crate::commands::foreground::{self, Answers};
use crate::commands::which::Which;
use crate::exit::Result;
use crate::report::Audience;
use crate::setup::Home;
use crate::{platform, terminal};

/// Run the runbook of an earlier run again, from the top, with the same parameters
///
/// The earlier run stays as it is. Secrets are not in the record: they are looked up anew.
#[derive(Args, Debug)]
pub(super) struct Rerun {
    #[command(flatten)]
    which: Which,

    /// Answer every yes-or-no question with yes
    #[arg(long)]
    yes: bool,

    /// Print every event as one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Rerun {
    pub(super) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let (of, request) = {
            let engine = home.offline_engine()?;
            let of = self.which.find(&engine).await?.id;
            let mut request = engine.rerun(&of).await?;
            request.who = Some(platform::who());
            (engine.shortest(&of).await?, request)
        };
        // What is wrong with the request is known before anything is opened or reached.
        let draft = home.planner()?.draft(&request)?;
        let audience = if self.json { Audience::Program } else { Audience::Person };
        let session = home.connect(audience).await?;
        let run = session.engine.write_down(draft).await?;
        let id = session.engine.shortest(&run).await?;
        terminal::say(format!("run {id} follows run {of}"));
        let ended = foreground::carry(&session, &run, Answers { yes: self.yes, program: self.json }).await;
        foreground::leave_queue(&session.engine, &run).await?;
        session.close().await;
        ended
    }
}
