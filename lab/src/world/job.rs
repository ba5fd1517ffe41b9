//! A cluster job: opens or closes the console port of a node.
//!
//! ```text
//! accepted ──► validation ──► deployment ──► succeeded
//!                  └──────────────┴────────► failed
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a job does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum JobKind {
    VmConnectProvision,
    VmConnectRemove,
}

/// How far a job goes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Mode {
    Validate,
    Deploy,
}

/// One VM of a job, with the node's name in the cluster's own spelling where the node exists.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Target {
    pub(crate) vm: String,
    pub(crate) group: String,
    pub(crate) node: String,
    /// The detail as it was sent; it is read back unchanged.
    pub(crate) sent: serde_json::Value,
}

/// Why a job or an operation failed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) advice: String,
    /// Whether it shows while validating rather than while deploying.
    pub(crate) in_validation: bool,
}

/// One job resource.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) kind: JobKind,
    pub(crate) mode: Mode,
    pub(crate) targets: Vec<Target>,
    pub(crate) started: Timestamp,
    /// When it will end; never, when `None`.
    pub(crate) ends: Option<Timestamp>,
    /// When it did end.
    pub(crate) ended: Option<Timestamp>,
    /// What it will fail with, decided when it starts.
    pub(crate) failure: Option<Failure>,
    /// When its first VM moves to another node.
    pub(crate) moves_host: Option<Timestamp>,
    /// When the record will be gone, once its deletion was accepted.
    pub(crate) gone: Option<Timestamp>,
}

impl Job {
    /// Returns when the job ends, while it has not.
    pub(super) fn pending_end(&self) -> Option<Timestamp> {
        self.ends.filter(|_| self.ended.is_none())
    }

    /// Returns whether the job still runs or its record is being deleted.
    pub(crate) fn is_busy(&self) -> bool {
        self.ended.is_none() || self.gone.is_some()
    }
}
