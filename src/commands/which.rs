//! Which run or lease is meant, and how people call it.

use clap::Args;
use relight_engine::event::Lease;
use relight_engine::journal::{RunFilter, Summary};
use relight_engine::{Engine, Error};

/// The run that a command is about.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// Id of the run, or enough of its beginning; `@last` is the newest
    run: String,
}

impl Which {
    pub(super) async fn find(&self, engine: &Engine) -> relight_engine::Result<Summary> {
        find(engine, &self.run).await
    }
}

/// Returns the run of an id, of the beginning of one, or the newest.
pub(super) async fn find(engine: &Engine, named: &str) -> relight_engine::Result<Summary> {
    if named != "@last" {
        return engine.find(named).await;
    }
    let newest = engine.journal().runs(&RunFilter::all().at_most(1)).await?;
    newest.into_iter().next().ok_or_else(|| Error::invalid("nothing has run yet, so there is no last run"))
}

/// Returns how people call a lease: the run that opened it, as short as can be, and the step.
pub(super) async fn short(engine: &Engine, lease: &Lease) -> relight_engine::Result<String> {
    let run = engine.shortest(&lease.run).await?;
    Ok(lease.id.replacen(lease.run.as_str(), &run, 1))
}
