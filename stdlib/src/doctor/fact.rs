//! One thing that is asked: again where that may help, and not for longer than there is time.

use std::future::Future;
use std::time::Duration;

use relight_engine::{Error, Result};
use tokio::time::{Instant, sleep, timeout_at};

use super::rights::{PERMISSIONS, Rights};
use crate::Azure;
use crate::azure::{Origin, ResourceId};

/// How often something is asked that gives no answer, or is told to come later.
pub(super) const TRIES: u32 = 3;
/// How long to wait before it is asked again, when nothing is said about that.
pub(super) const PAUSE: Duration = Duration::from_millis(400);
/// How long one address of a host may take to answer.
pub(super) const DIAL: Duration = Duration::from_secs(4);

/// What is known about one thing.
pub(super) enum Fact<T> {
    Known(T),
    Refused(Error),
    /// There was no answer in time.
    Late,
    /// It was not asked, because what it takes to ask is not known.
    NotAsked,
}

impl<T> Fact<T> {
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Fact::Known(value) => Some(value),
            _ => None,
        }
    }

    /// Returns whether Azure itself said something, whatever it was.
    pub(super) fn is_answered(&self) -> bool {
        match self {
            Fact::Known(_) => true,
            Fact::Refused(error) => error.status().is_some(),
            Fact::Late | Fact::NotAsked => false,
        }
    }
}

/// Asks, as long as there is time.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) azure: &'a Azure,
    pub(super) origin: &'a Origin,
    pub(super) deadline: Instant,
}

impl Asking<'_> {
    /// Asks once, and again where that may help.
    pub(super) async fn ask<T, F: Future<Output = Result<T>>>(&self, what: impl Fn() -> F) -> Fact<T> {
        let mut last = None;
        let asked = timeout_at(self.deadline, async {
            for attempt in 1.. {
                match what().await {
                    Ok(value) => return Fact::Known(value),
                    Err(error) if error.kind().is_retryable() && attempt < TRIES => {
                        let pause = error.pause().unwrap_or(PAUSE);
                        last = Some(error);
                        sleep(pause).await;
                    }
                    Err(error) => return Fact::Refused(error),
                }
            }
            Fact::Late
        });
        match asked.await {
            Ok(fact) => fact,
            Err(_) => last.map_or(Fact::Late, Fact::Refused),
        }
    }

    pub(super) async fn rights(&self, scope: &ResourceId) -> Fact<Rights> {
        let path = format!("{scope}/providers/Microsoft.Authorization/permissions");
        let read = || async {
            let listed = self.azure.arm.list_as(self.origin, &path, PERMISSIONS).await?;
            Ok(Rights::read(&listed))
        };
        self.ask(read).await
    }
}
