//! When a schedule fires next: a pure function of the schedule and now.

use jiff::Timestamp;
#[cfg(feature = "cron")]
use {croner::Cron, jiff::tz::TimeZone, std::str::FromStr};

use crate::error::{Error, Result};
use crate::event::Schedule;

/// How a schedule repeats: a cron expression in a time zone.
#[cfg(feature = "cron")]
#[derive(Clone, Debug)]
pub struct Repeat {
    cron: Cron,
    zone: TimeZone,
    text: String,
}

#[cfg(feature = "cron")]
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

#[cfg(feature = "cron")]
impl std::fmt::Display for Repeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns when a schedule is due after `now`, or nothing when it was the last time.
///
/// Firings that were missed while nothing ran are one firing: the one that is late.
pub(crate) fn next_after(schedule: &Schedule, now: Timestamp) -> Result<Option<Timestamp>> {
    match &schedule.repeats {
        None => Ok(None),
        #[cfg(feature = "cron")]
        Some(repeats) => Ok(Repeat::parse(repeats)?.next_after(now.max(schedule.due))),
        #[cfg(not(feature = "cron"))]
        Some(repeats) => {
            let _ = now;
            Err(Error::invalid(format!("schedule `{}` repeats (`{repeats}`)", schedule.id))
                .hint("build the program with the engine's feature `cron`"))
        }
    }
}

#[cfg(all(test, feature = "cron"))]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn after(repeat: &str, time: &str) -> String {
        Repeat::parse(repeat).unwrap().next_after(at(time)).unwrap().to_string()
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
            let repeat = Repeat::parse("30 2 * * * in Europe/Berlin").unwrap();
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
            let parsed = Repeat::parse(repeat).unwrap();
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
        for wrong in ["", "noon", "61 * * * *", "0 6 * * * in Nowhere/Land", "0 6 * *"] {
            let error = Repeat::parse(wrong).expect_err(wrong);
            assert!(error.hints()[0].to_string().contains("MON-FRI"), "{wrong}: {error:?}");
        }
    }

    #[test]
    fn firings_that_were_missed_are_one() {
        let schedule = Schedule {
            id: "a".into(),
            runbook: "site-report".into(),
            params: json!({}),
            due: at("2026-11-01T06:00:00Z"),
            repeats: Some("0 6 * * *".into()),
            run: None,
            workdir: ".".into(),
            granted: None,
        };
        let next = next_after(&schedule, at("2026-11-20T12:00:00Z")).unwrap();
        assert_eq!(next, Some(at("2026-11-21T06:00:00Z")));
        assert_eq!(
            next_after(&Schedule { repeats: None, ..schedule }, at("2026-11-20T12:00:00Z")).unwrap(),
            None
        );
    }
}
