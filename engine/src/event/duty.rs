//! What a step makes due later: closing what it opened, running what it scheduled.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RunId, Schedule};

/// A call of an operation, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Call {
    /// The operation's name.
    pub operation: String,
    /// Its arguments by name.
    pub args: Value,
}

impl Call {
    /// Makes a call.
    pub fn new(operation: impl Into<String>, args: Value) -> Self {
        Call { operation: operation.into(), args }
    }
}

/// A duty to close something that was opened, with a deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lease {
    /// The lease's name, derived from the run and the step that opened it.
    pub id: String,
    /// The run that opened it.
    pub run: RunId,
    /// For whom it is open: the resource id of the machine, in lower case.
    pub subject: String,
    /// What is open: the wall that several leases may share, such as one port of one host.
    pub door: String,
    /// One line for a person: "VM Connect to web-01 on hq-node2".
    pub title: String,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it is closed at the latest.
    pub deadline: Timestamp,
    /// The last moment to which a person may move the deadline. Nobody may when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Timestamp>,
    /// What closes it. It must do no harm when it is done twice: whoever finds it undecided looks, and
    /// does it again when that tells nothing.
    pub close: Call,
}

impl Lease {
    /// Makes the lease of something that is open until `deadline` at the latest. It shares its door with no other.
    /// [`Cx::lease`](crate::Cx::lease) makes that of a step.
    pub fn new(
        id: impl Into<String>,
        run: &RunId,
        opened: Timestamp,
        deadline: Timestamp,
        close: Call,
    ) -> Self {
        let (id, title) = (id.into(), close.operation.clone());
        Lease {
            run: run.clone(),
            subject: id.clone(),
            door: id.clone(),
            id,
            title,
            opened,
            deadline,
            latest: None,
            close,
        }
    }

    /// Returns the ids that the closings of its door have or will have, in their order, as long as it is the first on it.
    pub(crate) fn closings(&self) -> impl Iterator<Item = RunId> {
        let opened = self.opened.to_string();
        (0u32..).map(move |n| RunId::derived(&["close", &self.id, &opened, &self.door, &n.to_string()]))
    }

    /// Returns the run that opened a lease, as its id says.
    pub(super) fn opener_of(id: &str) -> Option<RunId> {
        id.rsplit_once('-').map(|(run, _)| RunId::from(run))
    }

    /// Says in one line for a person what is open.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Says for whom it is open.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Says what it may share with other leases.
    #[must_use]
    pub fn door(mut self, door: impl Into<String>) -> Self {
        self.door = door.into();
        self
    }

    /// Lets a person move its deadline, to `latest` at most. For what stays open until then by itself: nothing is
    /// sent when the deadline moves.
    #[must_use]
    pub fn latest(mut self, latest: Timestamp) -> Self {
        self.latest = Some(latest);
        self
    }
}

/// A deadline that a person moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExtendedLease {
    /// The lease with its new deadline.
    pub lease: Lease,
    /// Its deadline before.
    pub from: Timestamp,
    /// Who moved it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The schedules that would have closed it before, and are due with it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<String>,
}

impl ExtendedLease {
    /// Says who moved the deadline of `lease`, which has the new one, from which, and when.
    pub fn new(lease: Lease, from: Timestamp, by: impl Into<String>, at: Timestamp) -> Self {
        ExtendedLease { lease, from, by: by.into(), at, schedules: Vec::new() }
    }
}

/// A lease that a person took off the list, although nobody saw what it left open closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ForgottenLease {
    /// Its last terms.
    pub lease: Lease,
    /// Who took it off.
    pub by: String,
    /// Why, in that person's words.
    pub because: String,
    /// When.
    pub at: Timestamp,
}

/// What else becomes true together with an event, in the same transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "does", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a step has few of them, and most are leases")]
pub enum Effected {
    /// A lease is open. Repeating an id replaces its terms.
    LeaseOpened(Lease),
    /// A lease is closed.
    LeaseClosed {
        /// The lease.
        id: String,
    },
    /// A run is due at a time. Repeating an id replaces it.
    Scheduled(Box<Schedule>),
    /// A schedule is gone.
    Unscheduled {
        /// The schedule.
        id: String,
    },
}
