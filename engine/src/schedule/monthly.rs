//! Days of a month that no cron expression names, such as its last weekday.

use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::zone_of;

/// Through how many months a day is looked for: 29 February may be eight years away.
const MONTHS: usize = 12 * 9;
const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];
const ORDINALS: [(&str, usize); 4] = [("first", 0), ("second", 1), ("third", 2), ("fourth", 3)];
const NAMES: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// `last weekday of the month at 03:00 in Europe/Oslo`, `day 15 of march at 00:30`.
#[derive(Clone, Debug)]
pub struct Monthly {
    which: Which,
    /// January is 1; every month when left out.
    month: Option<i8>,
    at: Time,
    zone: TimeZone,
    text: String,
}

/// Which day of the month.
#[derive(Clone, Copy, Debug)]
enum Which {
    /// The day of this number; a month that has none is left out.
    Number(i8),
    /// The n-th of the days that fit, from 0.
    Nth(usize, Days),
    /// The last of the days that fit.
    Last(Days),
}

/// Which days fit.
#[derive(Clone, Copy, Debug)]
enum Days {
    Any,
    /// Monday to Friday.
    Weekdays,
    Of(Weekday),
}

impl Days {
    fn fits(self, date: Date) -> bool {
        match self {
            Days::Any => true,
            Days::Weekdays => !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday),
            Days::Of(weekday) => date.weekday() == weekday,
        }
    }
}

impl Monthly {
    /// Returns whether a text means to be one of these.
    pub(super) fn is_meant(text: &str) -> bool {
        text.contains(" of ") && text.contains(" at ")
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (rule, zone) = text.split_once(" in ").unwrap_or((text, "UTC"));
        let (day, at) = rule.split_once(" at ").ok_or("it does not say at what time")?;
        let (which, month) = day.split_once(" of ").ok_or("it does not say of which month")?;
        let month = match month.trim().to_ascii_lowercase().as_str() {
            "the month" => None,
            name => match (1..).zip(NAMES).find(|(_, known)| *known == name) {
                Some((number, _)) => Some(number),
                None => return Err(format!("`{name}` is no month")),
            },
        };
        let at = at.trim().parse().map_err(|_| format!("`{}` is no time of day such as 03:00", at.trim()))?;
        Ok(Monthly { which: read(which)?, month, at, zone: zone_of(zone)?, text: text.trim().to_owned() })
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        // A zone may be behind the day that its local time names: the month before is looked at as well.
        let today = time.to_zoned(self.zone.clone()).date().first_of_month();
        let mut month = today.yesterday().ok().map_or(today, Date::first_of_month);
        for _ in 0..MONTHS {
            let is_meant = self.month.is_none_or(|meant| meant == month.month());
            let date = if is_meant { self.day_of(month) } else { None };
            if let Some(next) = date.and_then(|date| self.instant(date)).filter(|next| *next > time) {
                return Some(next);
            }
            month = month.last_of_month().tomorrow().ok()?;
        }
        None
    }

    fn day_of(&self, month: Date) -> Option<Date> {
        let days =
            || (1..=month.days_in_month()).filter_map(|day| Date::new(month.year(), month.month(), day).ok());
        match self.which {
            Which::Number(day) => days().find(|date| date.day() == day),
            Which::Nth(n, fitting) => days().filter(|date| fitting.fits(*date)).nth(n),
            Which::Last(fitting) => days().rfind(|date| fitting.fits(*date)),
        }
    }

    /// Returns when it is that time on a day: the first of two, and the moment of the clock change when there is none.
    fn instant(&self, date: Date) -> Option<Timestamp> {
        let local = date.to_datetime(self.at);
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => {
                let before = ambiguous.earlier().ok()?;
                self.zone.following(before).next().map(|change| change.timestamp())
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        }
    }
}

fn read(which: &str) -> Result<Which, String> {
    let words: Vec<String> = which.split_whitespace().map(str::to_ascii_lowercase).collect();
    let wrong = || format!("`{}` is no day such as `last weekday`, `first monday` or `day 15`", which.trim());
    let [first, second] = words.as_slice() else { return Err(wrong()) };
    if first == "day" {
        let number = second.parse().ok().filter(|day| (1..=31).contains(day));
        return number.map(Which::Number).ok_or_else(wrong);
    }
    let days = match second.as_str() {
        "day" => Days::Any,
        "weekday" => Days::Weekdays,
        name => WEEKDAYS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, it)| Days::Of(*it))
            .ok_or_else(wrong)?,
    };
    if first == "last" {
        return Ok(Which::Last(days));
    }
    let nth = ORDINALS.iter().find(|(known, _)| known == first).ok_or_else(wrong)?;
    Ok(Which::Nth(nth.1, days))
}

impl std::fmt::Display for Monthly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
