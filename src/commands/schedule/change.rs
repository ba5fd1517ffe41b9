//! `relight schedule pause`, `resume`, `trigger`, `backfill` and `remove`.

use clap::Args;
use jiff::Timestamp;
use relight_engine::Error;
use relight_engine::event::Fate;

use super::find;
use crate::exit::{Exit, Result};
use crate::format::when;
use crate::setup::Home;
use crate::{platform, terminal};

/// Pause a schedule: what comes due is skipped, and one that runs once waits
#[derive(Args, Debug)]
pub(super) struct Pause {
    /// Name of the schedule, or enough of its beginning
    name: String,

    /// Why, for whoever finds it paused
    #[arg(long, value_name = "WHY")]
    because: String,
}

impl Pause {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let id = find(&engine, &self.name).await?.id;
        engine.pause_schedule(&id, &platform::user(), &self.because).await?;
        terminal::say(format!("Paused schedule {id}. Go on with `relight schedule resume {id}`."));
        Ok(Exit::Done)
    }
}

/// Let a paused schedule go on
#[derive(Args, Debug)]
pub(super) struct Resume {
    /// Name of the schedule, or enough of its beginning
    name: String,
}

impl Resume {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine_for_new_runs()?;
        let id = find(&engine, &self.name).await?.id;
        engine.resume_schedule(&id).await?;
        let now = engine.clock().now();
        let next = engine.journal().schedule(&id).await?.and_then(|schedule| schedule.wakes());
        let next = next.map_or_else(String::new, |next| format!(" It runs {}.", when(now, next)));
        terminal::say(format!("Schedule {id} goes on.{next}"));
        Ok(Exit::Done)
    }
}

/// Run a schedule's runbook now, whatever its rule says
///
/// Its overlap policy holds. A pause does not.
#[derive(Args, Debug)]
pub(super) struct Trigger {
    /// Name of the schedule, or enough of its beginning
    name: String,
}

impl Trigger {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine_for_new_runs()?;
        let id = find(&engine, &self.name).await?.id;
        let place = home.same_place();
        match engine.trigger_schedule(&id, &platform::user()).await? {
            Some(Fate::Ran { run }) => {
                use std::io::Write;
                writeln!(terminal::out(), "{run}")?;
                terminal::say(format!(
                    "`relight serve{place}` drives it; see it with `relight runs show {run}{place}`."
                ));
                Ok(Exit::Done)
            }
            Some(Fate::Skipped { because }) => Err(Error::invalid(format!("it is skipped: {because}"))
                .hint("wait for that run to end, stop it, or give the schedule another --overlap")
                .into()),
            _ => {
                terminal::say("It waits for the run that is under way to end.");
                Ok(Exit::Done)
            }
        }
    }
}

/// Make up for what had no run between two times
///
/// Whatever was missed, skipped or one with another gets its run after all, one after another; with the policy allow-all all at once.
/// What has run is left out.
#[derive(Args, Debug)]
pub(super) struct Backfill {
    /// Name of the schedule, or enough of its beginning
    name: String,

    /// The first time that counts, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Timestamp,

    /// The last time that counts
    #[arg(long, value_name = "TIME")]
    to: Timestamp,
}

impl Backfill {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine_for_new_runs()?;
        let id = find(&engine, &self.name).await?.id;
        let backfill = engine.backfill_schedule(&id, (self.from, self.to), &platform::user()).await?;
        let (wanted, ran) = (backfill.wanted.len(), backfill.ran);
        let ran = if ran > 0 { format!(" {ran} had theirs already.") } else { String::new() };
        terminal::say(match wanted {
            0 => format!("Nothing to make up for.{ran}"),
            wanted => {
                format!("{wanted} to make up for; `relight serve{}` drives them.{ran}", home.same_place())
            }
        });
        Ok(Exit::Done)
    }
}

/// Remove a schedule; its runs go on
#[derive(Args, Debug)]
pub(super) struct Remove {
    /// Name of the schedule, or enough of its beginning
    name: String,
}

impl Remove {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let schedule = find(&engine, &self.name).await?;
        engine.remove_schedule(&schedule.id).await?;
        terminal::say(format!("Removed schedule {}", schedule.id));
        Ok(Exit::Done)
    }
}
