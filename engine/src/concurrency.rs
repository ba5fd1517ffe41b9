//! How many runs may be under way at once: of one runbook, on one target, and in all.
//!
//! ```text
//!  a new run ─► has every group of it room? ── yes ─► it is due, and takes a place in each
//!                        └── no ─► it stands in the queue until runs that are under way are over
//! ```
//!
//! A run takes its places before it begins and keeps them until it is over, also while it is parked: half-done work on a machine
//! is work on it. What another run starts as its child is part of that and takes none, and what closes a lease never waits.
//!
//! Owns: which groups a run is of. Does not own: who is in line and who is next, which every journal keeps beside its runs, so that all
//! processes on one database see one queue ([`NewRun::limits`](crate::journal::NewRun::limits)).

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde_json::Value;

use crate::event::Cause;
use crate::journal::ConcurrencyLimit;
use crate::recorded;
use crate::runbook::Runbook;

/// The limits that an operator sets, beside those of the runbooks themselves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Concurrency {
    /// How many runs may be under way in all; any number unless set.
    pub runs: Option<NonZeroU32>,
    /// How many runs may be under way on one target (`target` in the front matter); one unless set.
    pub per_target: NonZeroU32,
    /// How many of a runbook, by its name. Goes before `concurrency` in its front matter.
    pub runbooks: BTreeMap<String, NonZeroU32>,
}

impl Default for Concurrency {
    fn default() -> Self {
        Concurrency { runs: None, per_target: NonZeroU32::MIN, runbooks: BTreeMap::new() }
    }
}

impl Concurrency {
    /// Returns the groups of a run, the widest first.
    pub(crate) fn of(&self, runbook: &Runbook, params: &Value, cause: &Cause) -> Vec<ConcurrencyLimit> {
        if matches!(cause, Cause::Run { .. } | Cause::Lease { .. }) {
            return Vec::new();
        }
        let all = self.runs.map(|most| ConcurrencyLimit::new("all", most.get()));
        let most = self.runbooks.get(&runbook.name).copied().or(runbook.concurrency);
        let alike = most.map(|most| ConcurrencyLimit::new(format!("runbook:{}", runbook.name), most.get()));
        let target = target(runbook, params)
            .map(|target| ConcurrencyLimit::new(format!("target:{target}"), self.per_target.get()));
        all.into_iter().chain(alike).chain(target).collect()
    }
}

/// Returns what a run acts on, as its runbook says it: the values of those parameters. Azure's names do not differ by case.
fn target(runbook: &Runbook, params: &Value) -> Option<String> {
    let params = recorded::plain(params);
    let mut parts = Vec::with_capacity(runbook.target.len());
    for name in &runbook.target {
        parts.push(match &params[name] {
            Value::Null => return None,
            Value::String(text) => text.to_ascii_lowercase(),
            other => other.to_string().to_ascii_lowercase(),
        });
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
