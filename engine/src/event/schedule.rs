//! A runbook that is run later, or again and again, and what its operator has said about that.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tick::{Fate, Tick, TickCause};
use super::{Pin, RunId};
use crate::effect::Effects;
use crate::hash::digest;
use crate::value::Span;

/// A runbook that is run at a time, or again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Schedule {
    /// The schedule's name: a person chose it, or it follows from the step that made it.
    pub id: String,
    /// The runbook to run.
    pub runbook: String,
    /// Its parameters: as a person would write them or, when a run made it, as that run recorded them.
    pub params: Value,
    /// The first tick that is not accounted for yet. [`Timestamp::MAX`] when none follows and one still waits.
    pub due: Timestamp,
    /// How it repeats, as the text of a [`Rule`](crate::schedule::Rule). Fires once when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<String>,
    /// The run that made it, when a run did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The folder below which its runs may touch files.
    pub workdir: String,
    /// What the run that made it may do: its runs may do no more. The engine sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Effects>,
    /// The lease that it is there to close: it comes due with that when a person extends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<String>,
    /// What is asked of its runs beside the rule.
    #[serde(default, skip_serializing_if = "is_default")]
    pub terms: Terms,
    /// The texts that its runs go by, the runbook first, when they were pinned as it was made. Otherwise each run goes by those
    /// that the library has when it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// The file that declares it, when one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<String>,
    /// How it stands: what the engine notes from tick to tick.
    #[serde(default, skip_serializing_if = "is_default")]
    pub standing: Standing,
}

/// What an operator asks of the runs of a schedule beside the rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Terms {
    /// What becomes of a tick while an earlier run is under way.
    #[serde(skip_serializing_if = "is_default")]
    pub overlap: Overlap,
    /// How late a run may start; a tick that is later is missed. However late, when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<Span>,
    /// Its runs start later by a part of this that follows from the schedule's name, so that not all start in the same second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// How long a run may take, with its waits; then it is asked to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<Span>,
    /// After how many runs in a row that failed the schedule is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_after: Option<u32>,
}

/// What becomes of a tick while a run of the same schedule is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It waits for the end of that run. One that comes while another waits is one with it.
    BufferOne,
    /// It waits for the end of that run, behind those that wait already.
    BufferAll,
    /// That run is asked to stop, and what it deferred is done; then this one starts.
    CancelOther,
    /// That run is asked to stop, and this one starts at once: for a while both are under way, until what the first deferred is done.
    TerminateOther,
    /// It starts beside that run.
    AllowAll,
}

impl Overlap {
    /// Every policy.
    pub const ALL: [Overlap; 6] = [
        Overlap::Skip,
        Overlap::BufferOne,
        Overlap::BufferAll,
        Overlap::CancelOther,
        Overlap::TerminateOther,
        Overlap::AllowAll,
    ];

    /// Returns the word that commands and files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Overlap::Skip => "skip",
            Overlap::BufferOne => "buffer-one",
            Overlap::BufferAll => "buffer-all",
            Overlap::CancelOther => "cancel-other",
            Overlap::TerminateOther => "terminate-other",
            Overlap::AllowAll => "allow-all",
        }
    }
}

/// How a schedule stands between two ticks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Standing {
    /// That it is paused, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// The last tick that was taken: it has its account, or waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<Timestamp>,
    /// How many of its runs failed in a row.
    #[serde(skip_serializing_if = "is_default")]
    pub failures: u32,
    /// Its runs whose end it has not heard of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<RunId>,
    /// What has arrived and waits for a run to end, in order. Accounted for when it leaves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Arrival>,
}

/// That a schedule is paused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pause {
    /// Who paused it.
    pub by: String,
    /// Why, in words.
    pub because: String,
    /// When.
    pub at: Timestamp,
}

impl Pause {
    /// Makes the note of a pause.
    pub fn new(by: impl Into<String>, because: impl Into<String>, at: Timestamp) -> Self {
        Pause { by: by.into(), because: because.into(), at }
    }
}

/// One time for which a run of a schedule is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Arrival {
    /// The time.
    pub due: Timestamp,
    /// Why it is wanted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cause: TickCause,
}

impl Arrival {
    /// Makes one.
    pub fn new(due: Timestamp, cause: TickCause) -> Self {
        Arrival { due, cause }
    }

    /// Returns the id of its run: the same for whoever asks, so that it starts once.
    pub fn run(&self, schedule: &str) -> RunId {
        let due = self.due.to_string();
        match &self.cause {
            // A backfill makes up for the tick itself.
            TickCause::Due | TickCause::Backfill { .. } => RunId::derived(&["schedule", schedule, &due]),
            TickCause::Trigger { once: None, .. } => RunId::derived(&["schedule", schedule, "trigger", &due]),
            TickCause::Trigger { once: Some(once), .. } => {
                RunId::derived(&["schedule", schedule, "trigger", "once", once])
            }
        }
    }
}

impl Schedule {
    /// Makes a schedule of a runbook without parameters that fires once, in the current folder.
    /// [`Cx::schedule`](crate::Cx::schedule) makes that of a step.
    pub fn new(id: impl Into<String>, runbook: impl Into<String>, due: Timestamp) -> Self {
        Schedule {
            id: id.into(),
            runbook: runbook.into(),
            params: Value::Object(serde_json::Map::new()),
            due,
            repeats: None,
            run: None,
            workdir: ".".to_owned(),
            granted: None,
            closes: None,
            terms: Terms::default(),
            pins: Vec::new(),
            declared: None,
            standing: Standing::default(),
        }
    }

    /// Says which lease it is there to close.
    #[must_use]
    pub fn closes(mut self, lease: impl Into<String>) -> Self {
        self.closes = Some(lease.into());
        self
    }

    /// Sets its parameters.
    #[must_use]
    pub fn params(mut self, params: Value) -> Self {
        self.params = params;
        self
    }

    /// Returns by how much its runs start later than its ticks: a part of the jitter that follows from its name.
    pub fn offset(&self) -> Duration {
        let Some(jitter) = self.terms.jitter else { return Duration::ZERO };
        let name = u64::from_str_radix(&digest(&["jitter", &self.id])[..8], 16).unwrap_or(0);
        // A share of 2^32 of it; in whole milliseconds, as nobody reads the rest.
        let share = jitter.get().as_millis().saturating_mul(u128::from(name)) >> 32;
        Duration::from_millis(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// Returns when there is something to do about it by itself; nothing when that is never.
    ///
    /// One that runs once waits out its pause; one that repeats goes on accounting for its ticks.
    pub fn wakes(&self) -> Option<Timestamp> {
        let holds = self.repeats.is_none() && self.standing.paused.is_some();
        match holds || self.due == Timestamp::MAX {
            true => None,
            false => Some(self.due.saturating_add(self.offset()).unwrap_or(Timestamp::MAX)),
        }
    }
}

impl Schedule {
    /// Returns the accounts of what waits and will have no run.
    pub(crate) fn leave(&self, because: &str, at: Timestamp) -> Vec<Tick> {
        let account = |waiting: &Arrival| {
            let fate = Fate::Skipped { because: because.to_owned() };
            Tick::new(&self.id, waiting.due, waiting.cause.clone(), fate, at)
        };
        self.standing.waiting.iter().map(account).collect()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
