//! Long-running operations as their status addresses see them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Failure;

/// How an operation's address looks and answers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Shape {
    /// Tenant-level status address of cluster work: 202 with a full body while running.
    ClusterStatus,
    /// Tenant-level result address: 202 empty while running, 204 at the end.
    ClusterResult,
    /// Subscription-level addresses of VM actions: status 200 with a body, result 202 empty, then 200.
    VmAction,
    /// Work on an extension of an Arc machine: status 200 with a brief body, result 202 empty, then 200 or 204.
    Extension,
    /// Work on a virtual machine in Azure: status 200 with a brief body, result 202 empty, then 200.
    Compute,
    /// Work on a network: status 200 with one word, result 202 empty, then 200 or 204.
    Network,
    /// Resource group deletion: 202 empty with `Location` each time, then 200 empty.
    Group,
}

/// One operation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Operation {
    /// What stands in the address: a GUID, for Azure Local with `*` and 64 hex digits behind it.
    pub(crate) id: String,
    pub(crate) shape: Shape,
    /// The resource it works on.
    pub(crate) resource: String,
    pub(crate) api_version: String,
    pub(crate) started: Timestamp,
    /// When its status address admits the end; never, when `None`.
    pub(crate) told: Option<Timestamp>,
    /// The word while running.
    pub(crate) running: String,
    pub(crate) failure: Option<Failure>,
    /// What its result address hands out at the end, where that is more than the resource.
    #[serde(default)]
    pub(crate) result: Option<serde_json::Value>,
    /// `Retry-After` of the first answer and of each poll.
    pub(crate) retry_after: Option<u32>,
    /// The earliest moment at which a poll is polite.
    pub(crate) next_poll: Option<Timestamp>,
    /// How often the end was told.
    pub(crate) ends_told: u32,
}

impl Operation {
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.told.is_some_and(|told| told <= now)
    }

    /// Returns how many seconds too early a poll is, if it is.
    pub(crate) fn too_early(&self, now: Timestamp) -> Option<u32> {
        let next = self.next_poll.filter(|next| now < *next)?;
        Some(next.duration_since(now).as_secs_f64().ceil() as u32)
    }

    /// Notes that the client was just told to wait.
    pub(crate) fn asked_to_wait(&mut self, now: Timestamp) {
        self.next_poll = self.retry_after.map(|seconds| now + SignedDuration::from_secs(i64::from(seconds)));
    }
}
