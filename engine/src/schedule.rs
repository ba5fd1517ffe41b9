//! When a schedule fires next: a pure function of the schedule and now.

use std::str::FromStr;

use croner::Cron;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};
use crate::event::Appointment;

/// How a schedule repeats: a cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Repeat {
    cron: Cron,
    zone: TimeZone,
    text: String,
}

impl Repeat {
    /// Reads `minute hour day month weekday`, followed by an IANA time zone after `in`:
    /// `30 6 * * MON-FRI in Europe/Berlin`. The zone is UTC when it is left out.
    ///
    /// # Errors
    /// `Invalid`, saying which half is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let (cron, zone) = text.split_once(" in ").unwrap_or((text, "UTC"));
        let wrong = |what: String| {
            Error::invalid(format!("`{text}` is no schedule: {what}"))
                .hint("write for example `30 6 * * MON-FRI in Europe/Berlin`")
        };
        let cron = Cron::from_str(cron.trim()).map_err(|e| wrong(e.to_string()))?;
        let zone = TimeZone::get(zone.trim())
            .map_err(|_| wrong(format!("there is no time zone `{}`", zone.trim())))?;
        Ok(Repeat { cron, zone, text: text.to_owned() })
    }

    /// Returns the first firing after a time, or nothing when there is none.
    ///
    /// A local time that a clock change skips fires at the moment of the change; one that comes
    /// twice fires once.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let local = time.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&local, false).ok().map(|next| next.timestamp())
    }
}

impl std::fmt::Display for Repeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns when an appointment is due after `now`, or nothing when it was the last time.
///
/// Firings that were missed while nothing ran are one firing: the one that is late.
pub(crate) fn next_after(appointment: &Appointment, now: Timestamp) -> Result<Option<Timestamp>> {
    match &appointment.repeats {
        None => Ok(None),
        Some(repeats) => Ok(Repeat::parse(repeats)?.next_after(now.max(appointment.due))),
    }
}
