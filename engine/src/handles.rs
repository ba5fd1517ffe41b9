//! What the steps of a run hold open: sessions, tunnels, ports.
//!
//! ```text
//!  a step opens it ──► recipe on record ──► (another process) ──► opened again at its first use
//!  the run ends, parks or is stopped ──► everything is closed, the last opened first
//! ```
//!
//! Owns: what is open, in which order it was opened, and that it is closed. Does not own: what a recipe
//! says, which is the value of a recorded step.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OnceCell;
use tracing::warn;

use crate::error::{Error, ErrorKind, Result};
use crate::event::RunId;

/// How long, in real time, closing one thing may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// When something is opened again in a process that did not open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reopen {
    /// When a step uses it: a session.
    OnUse,
    /// Before the run goes on: what others use without a step that knows of it, such as a listening port.
    /// As long as it is open the run is not put away to wait.
    WithRun,
}

/// The name of something that a step holds open: the field `handle` of the step's value.
///
/// As an argument it is given as that value, or as the field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Handle(String);

impl Handle {
    pub(crate) fn new(run: &RunId, step: u32) -> Self {
        Handle(format!("{run}/{step}"))
    }

    /// Returns the run and the step that opened it.
    pub(crate) fn parts(&self) -> Option<(RunId, u32)> {
        let (run, step) = self.0.rsplit_once('/')?;
        Some((RunId::from(run), step.parse().ok()?))
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = value.get("handle").unwrap_or(&value).as_str();
        let named = text.map(|text| Handle(text.to_owned())).filter(|handle| handle.parts().is_some());
        named.ok_or_else(|| D::Error::custom("a handle is the value of a step that holds something open"))
    }
}

impl JsonSchema for Handle {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Handle".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "format": "handle" })
    }
}

/// Something open, whatever it is.
pub(crate) type Live = Arc<dyn Any + Send + Sync>;

/// Something open, and what closes it.
pub(crate) struct Opened {
    pub(crate) live: Live,
    pub(crate) close: BoxFuture<'static, ()>,
}

/// What an earlier step opened, as its record says it.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) reopen: Reopen,
    pub(crate) open: Box<dyn Fn() -> BoxFuture<'static, Result<Opened>> + Send + Sync>,
}

/// What is open in this process, run by run.
#[derive(Default)]
pub(crate) struct Handles(Mutex<HashMap<RunId, Held>>);

#[derive(Default)]
struct Held {
    slots: HashMap<u32, Arc<Slot>>,
    /// What closes what is open, in the order in which it was opened.
    closers: Vec<(String, BoxFuture<'static, ()>)>,
}

struct Slot {
    reopen: Reopen,
    recipe: Option<Recipe>,
    live: OnceCell<Live>,
}

impl Handles {
    /// Notes what a recorded step opened: it is opened again when it is used.
    pub(crate) fn know(&self, run: &RunId, step: u32, recipe: Recipe) {
        let slot = Slot { reopen: recipe.reopen, recipe: Some(recipe), live: OnceCell::new() };
        self.table().entry(run.clone()).or_default().slots.entry(step).or_insert_with(|| Arc::new(slot));
    }

    /// Takes what a step has just opened.
    pub(crate) fn hold(&self, run: &RunId, step: u32, name: &str, reopen: Reopen, opened: Opened) {
        let slot = Slot { reopen, recipe: None, live: OnceCell::new_with(Some(opened.live)) };
        let mut table = self.table();
        let held = table.entry(run.clone()).or_default();
        held.slots.insert(step, Arc::new(slot));
        held.closers.push((name.to_owned(), opened.close));
    }

    /// Returns what a handle names, opened again if need be.
    pub(crate) async fn live(&self, handle: &Handle) -> Result<Live> {
        let (run, step) = handle.parts().ok_or_else(|| not_open(handle))?;
        let slot = self.table().get(&run).and_then(|held| held.slots.get(&step)).cloned();
        let slot = slot.ok_or_else(|| not_open(handle))?;
        let live = slot.live.get_or_try_init(|| async {
            let recipe = slot.recipe.as_ref().ok_or_else(|| not_open(handle))?;
            let Opened { live, close } = (recipe.open)().await?;
            let mut close = Some((recipe.name.to_owned(), close));
            if let Some(held) = self.table().get_mut(&run) {
                held.closers.extend(close.take());
            }
            match close {
                None => Ok(live),
                // The run was put away meanwhile.
                Some((_, close)) => {
                    close.await;
                    Err(not_open(handle))
                }
            }
        });
        live.await.cloned()
    }

    /// Returns the steps of a run whose things are open as long as it is at work, whoever uses them.
    pub(crate) fn with_run(&self, run: &RunId) -> Vec<u32> {
        let table = self.table();
        let slots = table.get(run).into_iter().flat_map(|held| &held.slots);
        let slots = slots.filter(|(_, slot)| slot.reopen == Reopen::WithRun);
        let mut steps: Vec<u32> = slots.map(|(step, _)| *step).collect();
        steps.sort_unstable();
        steps
    }

    /// Closes all that a run holds open, the last opened first.
    pub(crate) async fn close(&self, run: &RunId) {
        let held = self.table().remove(run);
        for (name, close) in held.into_iter().flat_map(|held| held.closers.into_iter().rev()) {
            if tokio::time::timeout(CLOSE_WITHIN, close).await.is_err() {
                warn!(%run, "`{name}` did not close within {CLOSE_WITHIN:?} and was dropped");
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<RunId, Held>> {
        self.0.lock().expect("no panic while the handles are held")
    }
}

fn not_open(handle: &Handle) -> Error {
    Error::new(ErrorKind::Rejected, format!("`{handle}` is not open"))
        .hint("a handle is good in the run whose step opened it, and in the runs that it starts, while it is at work")
}
