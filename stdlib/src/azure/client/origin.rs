//! Whose request it is.

use relight_engine::event::digest;
use relight_engine::{Cx, Result};
use uuid::Uuid;

use crate::azure::wire::Method;

/// On whose behalf a request is sent: what its ids are derived from, and who may still forbid it.
#[derive(Clone)]
pub struct Origin {
    pub(super) run: String,
    pub(super) key: String,
    pub(super) attempt: u32,
    pub(super) step: Option<Cx>,
    /// Whether nothing that is sent changes anything, whatever its method.
    pub(super) only_asks: bool,
}

impl From<&Cx> for Origin {
    fn from(cx: &Cx) -> Self {
        Origin {
            run: cx.run().to_string(),
            key: cx.key(64),
            attempt: cx.attempt(),
            step: Some(cx.clone()),
            only_asks: false,
        }
    }
}

impl From<&Origin> for Origin {
    fn from(origin: &Origin) -> Self {
        origin.clone()
    }
}

impl Origin {
    /// Asks in the last moment whether a request that changes something may still leave: since the step was recorded
    /// this process may have waited for its turn, for a token, or slept with its machine.
    pub(super) async fn may_send(&self, method: Method) -> Result<()> {
        match &self.step {
            Some(cx) if !self.only_asks && !method.is_read() => cx.may_send().await,
            _ => Ok(()),
        }
    }

    /// Returns the origin of requests that change nothing whatever their method: they may be sent at any time, also for a step
    /// that is over and holds something open.
    pub(super) fn only_asking(&self) -> Self {
        Origin { only_asks: true, ..self.clone() }
    }

    /// Makes the origin of requests that belong to no run, such as those of a command that only looks.
    pub fn outside_runs() -> Self {
        let run = Uuid::new_v4().to_string();
        Origin { key: digest(&[&run]), run, attempt: 1, step: None, only_asks: false }
    }

    /// Returns the id that ties all requests of a run together, in Azure's activity log too.
    pub(super) fn correlation_id(&self) -> String {
        uuid_of(&digest(&["correlation", &self.run]))
    }

    /// Returns the id of a request. Writes of one step share all but the end, so that repeated attempts are
    /// recognised; they do not share the end, because Azure repeats some answers to an id it has seen.
    pub(super) fn request_id(&self, method: Method, path: &str) -> String {
        if method.is_read() {
            return Uuid::new_v4().to_string();
        }
        let same = digest(&[&self.key, method.as_str(), path]);
        uuid_of(&format!("{}{:012x}", &same[..20], self.attempt))
    }
}

fn uuid_of(hex: &str) -> String {
    let value = u128::from_str_radix(hex.get(..32).unwrap_or_default(), 16).unwrap_or_default();
    Uuid::from_u128(value).to_string()
}
