//! `relight runs abandon`.

use clap::Args;

use super::Which;
use crate::cli::Global;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::words::when;
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
        let desk = home.desk()?;
        let run = desk.find(&self.which.run).await?.id;
        desk.abandon(&run, &platform::user(), &self.because).await?;
        terminal::say(format!("run {run} is abandoned; what it deferred did not run"));
        let now = desk.clock().now();
        let leases = desk.journal().leases().await?;
        for lease in leases.iter().filter(|lease| lease.run == run) {
            terminal::say(format!(
                "{} stays open until {} at the latest",
                lease.title,
                when(now, lease.deadline)
            ));
            terminal::say(format!("Close it now: relight leases close {}{}", lease.id, home.same_place()));
        }
        Ok(Exit::Done)
    }
}
