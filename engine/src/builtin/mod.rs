//! What every runbook can call, whatever the embedding program adds.

mod ask;
mod branches;
mod now;
mod run;
mod secret;
mod wait;

pub(crate) use branches::{ALL, Branches, OnError};
pub(crate) use run::RUN;

use crate::operation::Registered;

/// Returns the built-in operations.
pub(crate) fn all() -> Vec<Registered> {
    vec![
        Registered::new(ask::Ask),
        Registered::new(ask::Confirm),
        Registered::new(branches::All),
        Registered::new(now::Note),
        Registered::new(now::Now),
        Registered::new(now::Random),
        Registered::new(run::Run),
        Registered::new(secret::UseSecret),
        Registered::new(wait::Wait),
        Registered::new(wait::WaitUntil),
    ]
}
