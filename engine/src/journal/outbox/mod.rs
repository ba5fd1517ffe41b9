//! What is to be told to receivers outside: written in the transaction of what caused it, taken and settled by whoever delivers.
//!
//! ```text
//!  record, settlement ──(same transaction)──► waiting ──take──► under way ──► delivered
//!                                               ▲                  │   └────► given up
//!                                               └── later, put back, or its process is gone
//! ```
//!
//! A delivery that is under way is due again after a time, and at once when its process is known to be gone: so none is lost, and
//! one may arrive twice, under the same id. Times of deliveries are those of the world outside, also where the engine's clock is
//! another. Nothing is written while nobody subscribes.

mod notification;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::notification::{Notification, Occasion};
use super::OwnerId;
use crate::error::{Error, Result};

/// Who is told, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Subscription {
    /// The name of the receiver.
    pub receiver: String,
    /// Of what it is told.
    pub occasions: Vec<Occasion>,
    /// Only of what has to do with these runbooks; of all when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runbooks: Vec<String>,
}

impl Subscription {
    /// Tells a receiver of everything.
    pub fn new(receiver: impl Into<String>) -> Self {
        Subscription { receiver: receiver.into(), occasions: Occasion::ALL.to_vec(), runbooks: Vec::new() }
    }

    /// Tells it of these occasions only.
    #[must_use]
    pub fn on(self, occasions: impl Into<Vec<Occasion>>) -> Self {
        Subscription { occasions: occasions.into(), ..self }
    }

    /// Tells it of what has to do with these runbooks only; of all when there are none.
    #[must_use]
    pub fn of(self, runbooks: impl Into<Vec<String>>) -> Self {
        Subscription { runbooks: runbooks.into(), ..self }
    }

    /// Returns whether the receiver is told.
    pub fn fits(&self, notification: &Notification) -> bool {
        let runbook = notification.runbook.as_ref();
        self.occasions.contains(&notification.occasion)
            && (self.runbooks.is_empty() || runbook.is_some_and(|runbook| self.runbooks.contains(runbook)))
    }
}

/// A notification on its way to one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Delivery {
    /// To whom.
    pub receiver: String,
    /// What.
    pub notification: Notification,
    /// How it stands.
    pub state: DeliveryState,
    /// How often it was taken.
    pub attempts: u32,
    /// When it was taken first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// When it is due; under way, when it is due again unless somebody settles it. Nothing once it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Which process has it under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<OwnerId>,
    /// When it was delivered or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Timestamp>,
    /// What went wrong last, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// It waits, or is under way.
    Waiting,
    /// The receiver has taken it.
    Delivered,
    /// It is not tried any more.
    GivenUp,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [DeliveryState; 3] =
        [DeliveryState::Waiting, DeliveryState::Delivered, DeliveryState::GivenUp];

    /// Returns the word that lists and JSON use.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Waiting => "waiting",
            DeliveryState::Delivered => "delivered",
            DeliveryState::GivenUp => "given-up",
        }
    }
}

/// What went wrong with a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trouble {
    /// When.
    pub at: Timestamp,
    /// What, in words; no secret is in it.
    pub because: String,
}

impl Trouble {
    /// Says what went wrong, and when.
    pub fn new(because: impl Into<String>, at: Timestamp) -> Self {
        Trouble { at, because: because.into() }
    }
}

impl Delivery {
    /// Makes the delivery of a notification to a receiver, due at once.
    pub(crate) fn new(receiver: &str, notification: &Notification) -> Self {
        Delivery {
            receiver: receiver.to_owned(),
            notification: notification.clone(),
            state: DeliveryState::Waiting,
            attempts: 0,
            first: None,
            due: Some(Timestamp::UNIX_EPOCH),
            taken: None,
            settled: None,
            trouble: None,
        }
    }

    /// Returns it as it is while a process has it.
    pub(crate) fn take(self, taking: &Taking) -> Self {
        Delivery {
            attempts: self.attempts.saturating_add(1),
            first: self.first.or(Some(taking.at)),
            due: Some(taking.until),
            taken: Some(taking.owner.clone()),
            ..self
        }
    }

    /// Returns it as it is after an attempt, or nothing when that says nothing any more. Whoever has delivered it has, also when others
    /// have taken it meanwhile; what else is said counts only for who has it now.
    pub(crate) fn settle(self, attempt: u32, came_to: &CameTo, at: Timestamp) -> Option<Self> {
        let is_delivered = matches!(came_to, CameTo::Delivered);
        if self.state != DeliveryState::Waiting || (self.attempts != attempt && !is_delivered) {
            return None;
        }
        let over = |state, trouble| Delivery {
            state,
            due: None,
            taken: None,
            settled: Some(at),
            trouble,
            ..self.clone()
        };
        let trouble = |because: &str| Some(Trouble::new(because, at));
        Some(match came_to {
            CameTo::Delivered => over(DeliveryState::Delivered, self.trouble.clone()),
            CameTo::GivenUp { because } => over(DeliveryState::GivenUp, trouble(because)),
            CameTo::Later { until, because } => {
                Delivery { due: Some(*until), taken: None, trouble: trouble(because), ..self }
            }
            CameTo::PutBack => Delivery { due: Some(Timestamp::UNIX_EPOCH), taken: None, ..self },
        })
    }

    /// Returns it as it is when too many wait.
    pub(crate) fn crowded_out(self, at: Timestamp) -> Self {
        let because = "more waited for this receiver than are kept";
        let trouble = Some(Trouble::new(because, at));
        Delivery { state: DeliveryState::GivenUp, due: None, taken: None, settled: Some(at), trouble, ..self }
    }
}

/// A wish to take a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taking {
    /// To whom it is.
    pub receiver: String,
    /// Who takes it.
    pub owner: OwnerId,
    /// When.
    pub at: Timestamp,
    /// When it is due again, unless it is settled by then.
    pub until: Timestamp,
}

impl Taking {
    /// Makes one.
    pub fn new(receiver: impl Into<String>, owner: &OwnerId, at: Timestamp, until: Timestamp) -> Self {
        Taking { receiver: receiver.into(), owner: owner.clone(), at, until }
    }
}

/// What an attempt to deliver came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CameTo {
    /// The receiver has it.
    Delivered,
    /// It is tried again.
    Later {
        /// When.
        until: Timestamp,
        /// What went wrong.
        because: String,
    },
    /// It is not tried any more.
    GivenUp {
        /// Why.
        because: String,
    },
    /// Nothing: whoever had it stops, and it is due at once.
    PutBack,
}

/// How much is kept for one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// What was settled before goes.
    pub before: Timestamp,
    /// Of what was settled, so many of the newest stay.
    pub settled: usize,
    /// So many of the newest wait; older ones are given up.
    pub waiting: usize,
}

impl Bounds {
    /// Makes them.
    pub fn new(before: Timestamp, settled: usize, waiting: usize) -> Self {
        Bounds { before, settled, waiting }
    }
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryFilter {
    /// Only those to a receiver.
    pub receiver: Option<String>,
    /// Only those in a state.
    pub state: Option<DeliveryState>,
    /// At most so many, the newest first; all when zero.
    pub limit: usize,
}

impl DeliveryFilter {
    /// Lists those to a receiver.
    #[must_use]
    pub fn to(self, receiver: impl Into<String>) -> Self {
        DeliveryFilter { receiver: Some(receiver.into()), ..self }
    }

    /// Lists those in a state.
    #[must_use]
    pub fn state(self, state: DeliveryState) -> Self {
        DeliveryFilter { state: Some(state), ..self }
    }

    /// Lists the newest of them, so many at most; all when zero.
    #[must_use]
    pub fn at_most(self, limit: usize) -> Self {
        DeliveryFilter { limit, ..self }
    }

    pub(crate) fn fits(&self, delivery: &Delivery) -> bool {
        self.receiver.as_ref().is_none_or(|receiver| *receiver == delivery.receiver)
            && self.state.is_none_or(|state| state == delivery.state)
    }
}

/// The part of a journal that holds what is to be told outside.
///
/// Every method either does all of what it says or returns an error and does nothing. Times come from the caller.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Says who is told from now on. What waits for receivers that are none any more is gone; everything else stays.
    ///
    /// Returns who is not told any more, and how much waited for each.
    ///
    /// # Errors
    /// `Storage`.
    async fn subscribe(&self, subscriptions: &[Subscription]) -> Result<Vec<(String, u64)>>;

    /// Returns who is told, in the order of names.
    ///
    /// # Errors
    /// `Storage`.
    async fn subscriptions(&self) -> Result<Vec<Subscription>>;

    /// Tells of what no record says: a notification that follows from the time alone. Whoever has it under its id is not told again.
    ///
    /// Returns how many receivers are told.
    ///
    /// # Errors
    /// `Storage`.
    async fn notify(&self, notification: &Notification) -> Result<usize>;

    /// Takes the delivery to a receiver that is due for the longest. Afterwards it is due again at [`Taking::until`], and nobody else
    /// has it until then.
    ///
    /// # Errors
    /// `Storage`.
    async fn take(&self, taking: &Taking) -> Result<Option<Delivery>>;

    /// Says what came of a delivery that was taken. Returns whether that still said something.
    ///
    /// # Errors
    /// `Storage`.
    async fn settle_delivery(&self, taken: &Delivery, came_to: &CameTo, at: Timestamp) -> Result<bool>;

    /// Returns when the next delivery to a receiver is due.
    ///
    /// # Errors
    /// `Storage`.
    async fn next_delivery(&self, receiver: &str) -> Result<Option<Timestamp>>;

    /// Returns deliveries, the newest first.
    ///
    /// # Errors
    /// `Storage`.
    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>>;

    /// Returns how many deliveries to each receiver are in each state.
    ///
    /// # Errors
    /// `Storage`.
    async fn delivery_tally(&self) -> Result<Vec<(String, DeliveryState, u64)>>;

    /// Keeps what is kept for a receiver within bounds. Returns how many were given up for it.
    ///
    /// # Errors
    /// `Storage`.
    async fn bound_deliveries(&self, receiver: &str, bounds: &Bounds, at: Timestamp) -> Result<u64>;
}

/// The outbox of a journal that has none: nobody is told.
#[derive(Clone, Copy, Debug)]
pub struct NoOutbox;

fn none<T>() -> Result<T> {
    Err(Error::invalid("this journal keeps no notifications"))
}

#[async_trait]
impl Outbox for NoOutbox {
    async fn subscribe(&self, subscriptions: &[Subscription]) -> Result<Vec<(String, u64)>> {
        if subscriptions.is_empty() { Ok(Vec::new()) } else { none() }
    }

    async fn subscriptions(&self) -> Result<Vec<Subscription>> {
        Ok(Vec::new())
    }

    async fn notify(&self, _: &Notification) -> Result<usize> {
        Ok(0)
    }

    async fn take(&self, _: &Taking) -> Result<Option<Delivery>> {
        Ok(None)
    }

    async fn settle_delivery(&self, _: &Delivery, _: &CameTo, _: Timestamp) -> Result<bool> {
        none()
    }

    async fn next_delivery(&self, _: &str) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn deliveries(&self, _: &DeliveryFilter) -> Result<Vec<Delivery>> {
        none()
    }

    async fn delivery_tally(&self) -> Result<Vec<(String, DeliveryState, u64)>> {
        none()
    }

    async fn bound_deliveries(&self, _: &str, _: &Bounds, _: Timestamp) -> Result<u64> {
        Ok(0)
    }
}
