//! When a schedule fires next: a pure function of the schedule and now.
//!
//! What repeats is written down as the text of a [`Rule`]. Of times of day in a zone that changes its clocks: one that a
//! change skips fires at the moment of the change, one that comes twice fires the first time. A cron expression whose minutes or hours
//! are `*` or steps means time that passes instead: it fires through both hours, and not in one that is skipped.

#[cfg(feature = "cron")]
mod cron;
mod interval;
mod monthly;
#[cfg(all(test, feature = "cron"))]
mod oracle;

use jiff::Timestamp;
use jiff::tz::TimeZone;

#[cfg(feature = "cron")]
pub use cron::CronRule;
pub use interval::Interval;
pub use monthly::Monthly;

use crate::error::{Error, Result};
use crate::event::Schedule;
use crate::value::Span;

/// How a schedule repeats.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Rule {
    /// Again and again after the same length of time.
    Every(Interval),
    /// At the times that a cron expression names.
    #[cfg(feature = "cron")]
    Cron(Box<CronRule>),
    /// On a day of the month.
    Monthly(Monthly),
}

impl Rule {
    /// Reads a rule: `30 6 * * MON-FRI in Europe/Berlin` (minute, hour, day, month, weekday, and an IANA time zone, which is UTC when it
    /// is left out), `last weekday of the month at 03:00 in Europe/Oslo`, or `every 6h from 2026-11-22T06:00:00Z`.
    ///
    /// # Errors
    /// `Invalid`, saying what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let rule = match text.trim() {
            text if text.starts_with("every ") => Interval::parse(&text["every ".len()..]).map(Rule::Every),
            text if Monthly::is_meant(text) => Monthly::parse(text).map(Rule::Monthly),
            #[cfg(feature = "cron")]
            text => CronRule::parse(text).map(|cron| Rule::Cron(Box::new(cron))),
            #[cfg(not(feature = "cron"))]
            _ => Err("this program was built without the engine's feature `cron`".to_owned()),
        };
        rule.map_err(|what| {
            Error::invalid(format!("`{text}` is no schedule: {what}"))
                .hint("write for example `30 6 * * MON-FRI in Europe/Berlin`, or `last weekday of the month at 03:00 in Europe/Oslo`")
        })
    }

    /// Makes a rule that fires at `from` and whenever `every` has passed again.
    ///
    /// # Errors
    /// `Invalid` when `every` is shorter than 10 seconds.
    pub fn every(every: Span, from: Timestamp) -> Result<Self> {
        Interval::new(every, from).map(Rule::Every).map_err(Error::invalid)
    }

    /// Returns the first firing after a time, or nothing when there is none.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Rule::Every(interval) => interval.next_after(time),
            #[cfg(feature = "cron")]
            Rule::Cron(cron) => cron.next_after(time),
            Rule::Monthly(monthly) => monthly.next_after(time),
        }
    }

    /// Returns the zone of its times of day; UTC when it has none.
    pub fn zone(&self) -> TimeZone {
        match self {
            Rule::Every(_) => TimeZone::UTC,
            #[cfg(feature = "cron")]
            Rule::Cron(cron) => cron.zone().clone(),
            Rule::Monthly(monthly) => monthly.zone().clone(),
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rule::Every(interval) => interval.fmt(f),
            #[cfg(feature = "cron")]
            Rule::Cron(cron) => cron.fmt(f),
            Rule::Monthly(monthly) => monthly.fmt(f),
        }
    }
}

/// Looks a time zone up.
fn zone_of(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name.trim()).map_err(|_| format!("there is no time zone `{}`", name.trim()))
}

/// Returns when a schedule is due after `now`, or nothing when it was the last time.
///
/// Firings that were missed while nothing ran are one firing: the one that is late.
pub(crate) fn next_after(schedule: &Schedule, now: Timestamp) -> Result<Option<Timestamp>> {
    match &schedule.repeats {
        None => Ok(None),
        Some(repeats) => Ok(Rule::parse(repeats)?.next_after(now.max(schedule.due))),
    }
}

#[cfg(all(test, feature = "cron"))]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn after(repeat: &str, time: &str) -> String {
        Rule::parse(repeat).unwrap().next_after(at(time)).unwrap().to_string()
    }

    #[test]
    fn a_local_time_follows_its_zone_through_the_year() {
        let repeat = "30 6 * * MON-FRI in Europe/Berlin";
        assert_eq!(after(repeat, "2026-01-12T00:00:00Z"), "2026-01-12T05:30:00Z");
        assert_eq!(after(repeat, "2026-07-13T00:00:00Z"), "2026-07-13T04:30:00Z");
        // Friday to Monday.
        assert_eq!(after(repeat, "2026-11-20T05:30:00Z"), "2026-11-23T05:30:00Z");
    }

    #[test]
    fn a_day_of_a_clock_change_fires_once() {
        // 02:30 does not exist on 29 March and comes twice on 25 October 2026.
        for (day, next) in [
            ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            ("2026-10-24T23:00:00Z", "2026-10-25T23:00:00Z"),
        ] {
            let repeat = Rule::parse("30 2 * * * in Europe/Berlin").unwrap();
            let mut firings = Vec::new();
            let mut time = at(day);
            while let Some(firing) = repeat.next_after(time).filter(|firing| *firing < at(next)) {
                firings.push(firing);
                time = firing;
            }
            assert_eq!(firings.len(), 1, "{day}: {firings:?}");
        }
    }

    #[test]
    fn a_firing_is_always_later_than_now() {
        for repeat in
            ["* * * * *", "0 0 29 2 *", "*/7 3-5 * * 1 in Asia/Kathmandu", "0 12 1 1 * in America/St_Johns"]
        {
            let parsed = Rule::parse(repeat).unwrap();
            let mut time = at("2026-02-28T23:59:59Z");
            for _ in 0..50 {
                let Some(next) = parsed.next_after(time) else { break };
                assert!(next > time, "{repeat} after {time}: {next}");
                time = next;
            }
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_an_example() {
        for wrong in [
            "",
            "noon",
            "61 * * * *",
            "0 6 * * * in Nowhere/Land",
            "0 6 * *",
            "0 0 6 * * SUN",
            "0 6 * * * 2027",
            "every 6h",
            "every 1s from 2026-11-22T06:00:00Z",
            "every moon from 2026-11-22T06:00:00Z",
            "fifth monday of the month at 03:00",
            "last weekday of nonember at 03:00",
            "day 32 of the month at 03:00",
            "last weekday of the month at 25:00",
        ] {
            let error = Rule::parse(wrong).expect_err(wrong);
            assert!(error.hints()[0].to_string().contains("MON-FRI"), "{wrong}: {error:?}");
        }
    }

    #[test]
    fn firings_that_were_missed_are_one() {
        let mut schedule = Schedule::new("a", "site-report", at("2026-11-01T06:00:00Z"));
        schedule.repeats = Some("0 6 * * *".into());
        let next = next_after(&schedule, at("2026-11-20T12:00:00Z")).unwrap();
        assert_eq!(next, Some(at("2026-11-21T06:00:00Z")));
        assert_eq!(
            next_after(&Schedule { repeats: None, ..schedule }, at("2026-11-20T12:00:00Z")).unwrap(),
            None
        );
    }
}
