//! What became of each time for which a schedule wanted a run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RunId;

/// The account of one tick of a schedule, or of several in a row that came to the same.
///
/// Every tick is accounted for exactly once; one that was missed and is made up for by a backfill has an account of that as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tick {
    /// The schedule.
    pub schedule: String,
    /// The time for which a run was wanted: of several, the first.
    pub due: Timestamp,
    /// Of several, the last.
    pub last: Timestamp,
    /// How many they are.
    pub count: u64,
    /// Why a run was wanted.
    #[serde(default, skip_serializing_if = "TickCause::is_due")]
    pub cause: TickCause,
    /// What came of it.
    pub fate: Fate,
    /// When that was decided: of several, for the last.
    pub at: Timestamp,
    /// The tick right before the first, as far as whoever made the account knows it. Not kept.
    #[serde(skip)]
    pub follows: Option<Timestamp>,
}

/// Why a run is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TickCause {
    /// The rule says so.
    #[default]
    Due,
    /// Somebody wanted one now.
    Trigger {
        /// Who.
        by: String,
        /// What tells this wish from others: one with the same text is the same wish, said again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once: Option<String>,
    },
    /// Somebody wants what did not run made up for.
    Backfill {
        /// Who.
        by: String,
    },
}

impl TickCause {
    /// Returns whether the rule asks for it.
    pub fn is_due(&self) -> bool {
        *self == TickCause::Due
    }
}

/// What came of a tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "came_to", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// A run was written down for it.
    Ran {
        /// The run.
        run: RunId,
    },
    /// No run was wanted after all.
    Skipped {
        /// Why.
        because: String,
    },
    /// Nobody could start it in time.
    Missed {
        /// Why.
        because: String,
    },
    /// It is one with another tick.
    Coalesced {
        /// That one, which has its own account.
        into: Timestamp,
    },
}

impl Fate {
    /// Returns the word that lists and JSON use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Fate::Ran { .. } => "ran",
            Fate::Skipped { .. } => "skipped",
            Fate::Missed { .. } => "missed",
            Fate::Coalesced { .. } => "coalesced",
        }
    }
}

impl Tick {
    /// Makes the account of one tick.
    pub fn new(
        schedule: impl Into<String>,
        due: Timestamp,
        cause: TickCause,
        fate: Fate,
        at: Timestamp,
    ) -> Self {
        Tick { schedule: schedule.into(), due, last: due, count: 1, cause, fate, at, follows: None }
    }

    /// Says which tick is the one right before.
    #[must_use]
    pub fn after(self, previous: Option<Timestamp>) -> Self {
        Tick { follows: previous, ..self }
    }

    /// Takes the account of the tick right behind these in, when both came to the same for the same reason. Returns whether it did.
    pub fn absorb(&mut self, next: &Tick) -> bool {
        let runs = matches!(self.fate, Fate::Ran { .. });
        let fits = !runs
            && self.schedule == next.schedule
            && self.cause.is_due()
            && next.cause.is_due()
            && self.fate == next.fate
            && next.follows == Some(self.last);
        if fits {
            (self.last, self.at) = (next.last, next.at);
            self.count += next.count;
        }
        fits
    }
}
