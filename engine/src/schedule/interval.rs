//! The same length of time again and again.

use jiff::{SignedDuration, Timestamp};

use crate::value::Span;

/// The shortest interval: who needs more has something that ought to run all the time.
const SHORTEST: SignedDuration = SignedDuration::from_secs(10);

/// `every 6h from 2026-11-22T06:00:00Z`. Clock changes do not touch it: it is time that passes, not a time of day.
#[derive(Clone, Debug)]
pub struct Interval {
    every: SignedDuration,
    from: Timestamp,
}

impl Interval {
    /// Makes one that fires at `from` and whenever `every` has passed again.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn new(every: Span, from: Timestamp) -> Result<Self, String> {
        let every = SignedDuration::try_from(every.get()).unwrap_or(SignedDuration::MAX);
        match every < SHORTEST {
            true => Err("the shortest interval is 10s".to_owned()),
            false => Ok(Interval { every, from }),
        }
    }

    /// Reads what is behind `every`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (every, from) = text.split_once(" from ").ok_or("it does not say from when")?;
        let every: Span = every.trim().parse()?;
        let from = from.trim().parse().map_err(|_| format!("`{}` is not a time", from.trim()))?;
        Interval::new(every, from)
    }

    pub(super) fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        if time < self.from {
            return Some(self.from);
        }
        let (passed, every) = (time.duration_since(self.from).as_nanos(), self.every.as_nanos());
        let next = self.from.as_nanosecond().checked_add((passed / every + 1).checked_mul(every)?)?;
        Timestamp::from_nanosecond(next).ok()
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let every = Span::from(self.every.unsigned_abs());
        write!(f, "every {every} from {}", self.from)
    }
}
