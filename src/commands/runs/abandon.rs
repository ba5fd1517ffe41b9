//! `relight runs abandon`.

use clap::Args;

use crate::args::Global;
use crate::commands::which::{Which, short};
use crate::exit::{Exit, Result};
use crate::format::when;
use crate::setup::Home;
use crate::{platform, terminal};

/// Give up on a run, whatever its state
///
/// Nothing of it is run or replayed: what it deferred does not run, and what it opened stays open until its
/// lease closes it. Use `relight runs stop` while that works.
#[derive(Args, Debug)]
pub(super) struct Abandon {
    #[command(flatten)]
    which: Which,

    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    because: String,
}

impl Abandon {
    pub(super) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let engine = home.offline_engine()?;
        let run = self.which.find(&engine).await?.id;
        engine.abandon(&run, &platform::user(), &self.because).await?;
        let id = engine.shortest(&run).await?;
        terminal::say(format!("run {id} is abandoned; what it deferred did not run"));
        let now = engine.clock().now();
        let leases = engine.journal().leases().await?;
        for lease in leases.iter().filter(|lease| lease.run == run) {
            terminal::say(format!("{} stays open until {}", lease.title, when(now, lease.deadline)));
            let id = short(&engine, lease).await?;
            terminal::say(format!("Close it now: relight leases close {id}{}", home.same_place()));
        }
        Ok(Exit::Done)
    }
}
