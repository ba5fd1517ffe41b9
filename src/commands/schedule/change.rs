//! `relight schedule pause`, `resume`, `trigger`, `backfill` and `remove`.

use std::io::Write;

use clap::Args;
use jiff::Timestamp;
use relight_engine::event::Fate;
use relight_engine::{Error, Result as Checked};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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
        match home.remote() {
            Some(client) => {
                client.post(&path(&id, "pause"), &json!({ "because": self.because })).await?;
            }
            None => engine.pause_schedule(&id, &platform::user(), &self.because).await?,
        }
        let place = home.same_place();
        terminal::say(format!("Paused schedule {id}. Go on with `relight schedule resume {id}{place}`."));
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
        match home.remote() {
            Some(client) => _ = client.post(&path(&id, "resume"), &json!({})).await?,
            None => engine.resume_schedule(&id).await?,
        }
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
        let fate = match home.remote() {
            Some(client) => {
                let mut answer = client.post_once(&path(&id, "trigger"), &json!({})).await?;
                read(answer["fate"].take())?
            }
            None => engine.trigger_schedule(&id, &platform::user(), None).await?,
        };
        match fate {
            Some(Fate::Ran { run }) => {
                writeln!(terminal::out(), "{run}")?;
                let (keeper, place) = (home.keeper(), home.same_place());
                terminal::say(format!("Driven by {keeper}; see it with `relight runs show {run}{place}`."));
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
        let (wanted, ran) = match home.remote() {
            Some(client) => {
                let range = json!({ "from": self.from, "to": self.to });
                let mut answer = client.post(&path(&id, "backfill"), &range).await?;
                let wanted: Vec<Timestamp> = read(answer["wanted"].take())?;
                (wanted.len(), read(answer["ran"].take())?)
            }
            None => {
                let range = (self.from, self.to);
                let backfill = engine.backfill_schedule(&id, range, &platform::user()).await?;
                (backfill.wanted.len(), backfill.ran)
            }
        };
        let ran = if ran > 0 { format!(" {ran} had theirs already.") } else { String::new() };
        terminal::say(match wanted {
            0 => format!("Nothing to make up for.{ran}"),
            wanted => format!("{wanted} to make up for; {} drives them.{ran}", home.keeper()),
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
        match home.remote() {
            Some(client) => client.delete(&["v1", "schedules", &schedule.id]).await?,
            None => engine.remove_schedule(&schedule.id).await?,
        }
        terminal::say(format!("Removed schedule {}", schedule.id));
        Ok(Exit::Done)
    }
}

/// Returns where a service is asked to do something to a schedule.
fn path<'a>(id: &'a str, what: &'a str) -> [&'a str; 4] {
    ["v1", "schedules", id, what]
}

/// Reads a part of a service's answer.
fn read<T: DeserializeOwned>(part: Value) -> Checked<T> {
    serde_json::from_value(part)
        .map_err(|e| Error::rejected("the service answers with what this version cannot read").because(e))
}
