//! What calling an operation led to.

use std::convert::Infallible;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::event::{Effected, Progress};

/// What beginning or resuming an operation led to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// It is done.
    Done(Done<T>),
    /// It is under way elsewhere.
    Pending(Pending),
    /// A person must answer before the step has a value. Answers become the step's value.
    Ask {
        /// The question.
        question: String,
        /// The answers that are understood; any text when empty. For an operation that gives a flag,
        /// `yes` means true.
        choices: Vec<String>,
    },
    /// The one run that closes a lease does the work: it is begun if need be and waited for. When it
    /// is over, or the lease is gone, the operation is resumed with [`HandedBack`], and says this again
    /// while there is more to close.
    Close {
        /// The lease.
        lease: String,
        /// The operation's own state meanwhile.
        then: Value,
    },
    /// The step's branches must end before it has a value: one for each item of the arguments.
    Branches,
    /// Another run must end before the step has a value.
    Child {
        /// The runbook to run.
        runbook: String,
        /// Its parameters, as the arguments of the step have them.
        params: Value,
    },
}

/// A value, and what became true together with it.
#[derive(Debug)]
pub struct Done<T> {
    /// The step's value.
    pub value: T,
    /// What the journal records in the same transaction.
    pub effected: Vec<Effected>,
}

/// An operation under way: enough to go on waiting after a restart.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pending {
    /// The operation's own state, handed back to [`Operation::resume`](super::Operation::resume).
    pub continuation: Value,
    /// How long to wait before looking.
    pub check_after: Duration,
    /// The longest wait from the first acceptance on; the run parks for a person when it is over.
    pub within: Duration,
    /// What the service last said.
    pub progress: Option<Progress>,
    /// What the journal records in the same transaction.
    pub effected: Vec<Effected>,
}

impl<T> Outcome<T> {
    /// Returns a finished outcome.
    pub fn done(value: T) -> Self {
        Outcome::Done(Done { value, effected: Vec::new() })
    }

    /// Returns an outcome that is looked at again after `check_after`.
    ///
    /// # Errors
    /// `Invalid` when the state cannot be written as JSON.
    pub fn pending(state: &impl Serialize, check_after: Duration) -> Result<Self> {
        let continuation = serde_json::to_value(state)
            .map_err(|e| Error::invalid("failed to write the state of a waiting operation").because(e))?;
        Ok(Outcome::Pending(Pending {
            continuation,
            check_after,
            within: Duration::from_secs(3600),
            progress: None,
            effected: Vec::new(),
        }))
    }

    /// Sets the longest wait, counted from the first acceptance. One hour unless set.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        if let Outcome::Pending(pending) = &mut self {
            pending.within = limit;
        }
        self
    }

    /// Says what the service last said.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>, percent: Option<f64>) -> Self {
        if let Outcome::Pending(pending) = &mut self {
            pending.progress = Some(Progress { message: message.into(), percent });
        }
        self
    }

    /// Adds something that becomes true in the same transaction as this outcome.
    #[must_use]
    pub fn with(mut self, effect: Effected) -> Self {
        match &mut self {
            Outcome::Done(done) => done.effected.push(effect),
            Outcome::Pending(pending) => pending.effected.push(effect),
            Outcome::Ask { .. } | Outcome::Close { .. } | Outcome::Branches | Outcome::Child { .. } => {}
        }
        self
    }

    /// Returns what becomes true in the same transaction.
    pub(crate) fn effected_mut(&mut self) -> &mut [Effected] {
        match self {
            Outcome::Done(done) => &mut done.effected,
            Outcome::Pending(pending) => &mut pending.effected,
            Outcome::Ask { .. } | Outcome::Close { .. } | Outcome::Branches | Outcome::Child { .. } => {
                &mut []
            }
        }
    }

    /// Turns a finished value into another type.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U> {
        match self.try_map(|value| Ok::<_, Infallible>(f(value))) {
            Ok(outcome) => outcome,
        }
    }

    /// Turns a finished value into another type, which may fail.
    pub(crate) fn try_map<U, E>(self, f: impl FnOnce(T) -> Result<U, E>) -> Result<Outcome<U>, E> {
        Ok(match self {
            Outcome::Done(done) => Outcome::Done(Done { value: f(done.value)?, effected: done.effected }),
            Outcome::Pending(pending) => Outcome::Pending(pending),
            Outcome::Ask { question, choices } => Outcome::Ask { question, choices },
            Outcome::Close { lease, then } => Outcome::Close { lease, then },
            Outcome::Branches => Outcome::Branches,
            Outcome::Child { runbook, params } => Outcome::Child { runbook, params },
        })
    }
}

/// What an operation that handed a closing over ([`Outcome::Close`]) is resumed with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HandedBack {
    /// The operation's own state.
    pub then: Value,
    /// The value of the closing run, when one ran and came to a value. It may have closed another lease
    /// on the same door.
    pub closed: Option<Value>,
}

/// What looking for a step's own trace found.
#[derive(Debug)]
pub enum Probe<T> {
    /// The request took effect; go on from here.
    Found(Outcome<T>),
    /// The request certainly had no effect; it may be sent again.
    Absent,
    /// It cannot be told; a person must decide. The text says what was seen.
    Unclear(String),
}
