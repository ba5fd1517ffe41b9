//! The queue: the runs that begin once enough of those before them are over.
//!
//! Owns: who is next, the same in every journal. Does not own: of which groups a run is ([`concurrency`](crate::concurrency)).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Summary;
use crate::event::RunId;

/// A group of runs of which only so many may be under way at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConcurrencyLimit {
    /// The group: `all`, `runbook:NAME`, or `target:VALUE`.
    pub group: String,
    /// How many.
    pub most: u32,
}

impl ConcurrencyLimit {
    /// Lets `most` runs of a group be under way at once.
    pub fn new(group: impl Into<String>, most: u32) -> Self {
        ConcurrencyLimit { group: group.into(), most }
    }
}

/// A run in the queue, and why it waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Queued {
    /// The run.
    pub run: Summary,
    /// Its groups that have no room.
    pub full: Vec<Full>,
}

impl Queued {
    pub(crate) fn new(run: Summary, full: Vec<Full>) -> Self {
        Queued { run, full }
    }
}

/// A group that has no room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Full {
    /// The group, and how many may be under way.
    #[serde(flatten)]
    pub limit: ConcurrencyLimit,
    /// The runs that are, in the order in which they came; the first ten.
    pub by: Vec<RunId>,
}

impl Full {
    pub(crate) fn new(limit: ConcurrencyLimit, by: Vec<RunId>) -> Self {
        Full { limit, by }
    }
}

/// How many runs are named of those that keep others waiting.
pub(super) const NAMED: usize = 10;

/// How many places are taken, as far as one transaction has asked.
pub(super) struct Places<F> {
    taken: BTreeMap<String, u32>,
    read: F,
}

impl<E, F: FnMut(&str) -> Result<u32, E>> Places<F> {
    /// `read` returns how many places of a group are taken.
    pub(super) fn new(read: F) -> Self {
        Places { taken: BTreeMap::new(), read }
    }

    fn taken(&mut self, group: &str) -> Result<&mut u32, E> {
        if !self.taken.contains_key(group) {
            let taken = (self.read)(group)?;
            self.taken.insert(group.to_owned(), taken);
        }
        Ok(self.taken.entry(group.to_owned()).or_default())
    }

    /// Returns those groups that have no room.
    pub(super) fn full<'a>(
        &mut self,
        limits: &'a [ConcurrencyLimit],
    ) -> Result<Vec<&'a ConcurrencyLimit>, E> {
        let mut full = Vec::new();
        for limit in limits {
            if *self.taken(&limit.group)? >= limit.most {
                full.push(limit);
            }
        }
        Ok(full)
    }

    /// Returns who of the queue takes the places that were given back: the first ones for which there is room. `queue` are those of the
    /// groups in which that was, in the order in which they came; no more of it is read than needed.
    pub(super) fn next<K>(
        &mut self,
        mut given_back: BTreeSet<String>,
        queue: impl Iterator<Item = Result<(K, Vec<ConcurrencyLimit>), E>>,
    ) -> Result<Vec<K>, E> {
        let mut next = Vec::new();
        let mut queue = queue.into_iter();
        while !given_back.is_empty() {
            let Some(waiting) = queue.next() else { break };
            let (run, limits) = waiting?;
            let full = self.full(&limits)?;
            for limit in &full {
                given_back.remove(&limit.group);
            }
            if full.is_empty() {
                for limit in &limits {
                    *self.taken(&limit.group)? += 1;
                }
                next.push(run);
            }
        }
        Ok(next)
    }
}
