//! `relight runs stop`.

use clap::Args;
use relight_engine::Driven;
use relight_engine::event::RunEnd;

use crate::commands::foreground;
use crate::commands::which::Which;
use crate::exit::{Exit, Result};
use crate::report::Audience;
use crate::setup::Home;
use crate::{platform, terminal};

/// End a run for good
///
/// What the script deferred still runs. An operation that is under way in Azure is not undone.
#[derive(Args, Debug)]
pub(super) struct Stop {
    #[command(flatten)]
    which: Which,

    /// Leave the word for whoever drives the run rather than ending it here
    #[arg(long)]
    detach: bool,
}

impl Stop {
    pub(super) async fn run(self, home: Home) -> Result {
        let place = home.same_place();
        let (id, run) = {
            let engine = home.offline_engine()?;
            let run = self.which.find(&engine).await?.id;
            engine.stop(&run, &platform::user()).await?;
            (engine.shortest(&run).await?, run)
        };
        if home.remote().is_some() {
            terminal::say(format!("The service stops run {id}, within seconds."));
            return Ok(Exit::Done);
        }
        if self.detach {
            terminal::say(format!("Whoever drives run {id} stops it; else `relight serve{place}` does."));
            return Ok(Exit::Done);
        }
        if home.is_served()? {
            terminal::say(format!(
                "Whoever drives run {id} stops it, else the running `relight serve{place}`, within seconds."
            ));
            return Ok(Exit::Done);
        }
        // Nobody may be driving it: what it deferred must run somewhere.
        let session = home.connect(Audience::Person).await?;
        let history = session.engine.history(&run).await?;
        session.reporter.take_up(&session.engine, &run, &id, &history).await;
        let driven = foreground::drive(&session.engine, &run).await;
        session.close().await;
        Ok(match driven? {
            Driven::Ended(RunEnd::Stopped { unreplayed, .. }) => {
                terminal::say(format!("run {id} is stopped"));
                if let Some(why) = unreplayed {
                    terminal::say("What it deferred did not run: its script cannot be replayed any more.");
                    terminal::complain(&why.to_error());
                }
                Exit::Done
            }
            Driven::Ended(end) => {
                terminal::say(format!(
                    "run {id} was over before it could be stopped: {}",
                    crate::report::outcome(&end)
                ));
                Exit::Done
            }
            Driven::Held { .. } | Driven::Queued => {
                terminal::say(format!("run {id} is stopped by the process that drives it, within seconds"));
                Exit::Done
            }
            Driven::Parked(park, _) => {
                terminal::say(format!("run {id} is not stopped yet: {}", crate::report::why(&park)));
                Exit::Parked
            }
        })
    }
}
