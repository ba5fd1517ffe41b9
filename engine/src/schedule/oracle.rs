//! Rules against a model that only counts: every minute of the days around every clock change is looked at, in every zone.

use std::collections::BTreeSet;

use jiff::civil::{Date, Time};
use jiff::tz::{self, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::Rule;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// The minutes of the days around a moment.
fn around(change: Timestamp) -> impl Iterator<Item = Timestamp> {
    let start = change.as_second().div_euclid(60) * 60 - 36 * 3600;
    (0..72 * 60).filter_map(move |minute| Timestamp::from_second(start + minute * 60).ok())
}

/// When it is `at` for the first time, or later for want of that time, on each local day.
fn daily(minutes: &[Timestamp], zone: &TimeZone, at: Time) -> Vec<Timestamp> {
    let mut fired = BTreeSet::<Date>::new();
    let mut before: Option<Date> = None;
    let mut firings = Vec::new();
    for minute in minutes {
        let local = minute.to_zoned(zone.clone());
        // The first day is seen from its middle on.
        let is_whole =
            before.replace(local.date()).is_some_and(|day| day != local.date()) || !fired.is_empty();
        if local.time() >= at && fired.insert(local.date()) && is_whole {
            firings.push(*minute);
        }
    }
    firings
}

fn firings(rule: &Rule, minutes: &[Timestamp]) -> Vec<Timestamp> {
    let (first, last) = (minutes[0], minutes[minutes.len() - 1]);
    let mut time = first - MINUTE;
    let mut firings = Vec::new();
    while let Some(next) = rule.next_after(time).filter(|next| *next <= last) {
        assert!(next > time, "{rule} after {time}: {next}");
        firings.push(next);
        time = next;
    }
    firings
}

/// Every clock change of every zone in some years.
fn changes() -> Vec<(String, TimeZone, Timestamp)> {
    let (from, to): (Timestamp, Timestamp) =
        ("2024-01-01T00:00:00Z".parse().unwrap(), "2028-01-01T00:00:00Z".parse().unwrap());
    let mut all = Vec::new();
    for name in tz::db().available() {
        let Ok(zone) = TimeZone::get(name.as_str()) else { continue };
        let moments: Vec<Timestamp> =
            zone.following(from).map(|change| change.timestamp()).take_while(|at| *at < to).collect();
        all.extend(moments.into_iter().map(|at| (name.to_string(), zone.clone(), at)));
    }
    all
}

#[test]
fn a_time_of_day_comes_once_a_day_in_every_zone_around_every_change() {
    let changes = changes();
    assert!(changes.len() > 500, "only {} clock changes are known here", changes.len());
    let mut wrong = Vec::new();
    for (name, zone, change) in &changes {
        let minutes: Vec<Timestamp> = around(*change).collect();
        // Times inside, beside and far from what is skipped or repeated.
        let there = change.to_zoned(zone.clone()).datetime();
        let times = [there - 30.minutes(), there, there + 15.minutes(), there + 7.hours()];
        for at in times.map(|it| it.time()).map(|it| Time::constant(it.hour(), it.minute(), 0, 0)) {
            let expected = daily(&minutes, zone, at);
            let clock = format!("{:02}:{:02}", at.hour(), at.minute());
            let text = format!("{} {} * * * in {name}", at.minute(), at.hour());
            let got = firings(&Rule::parse(&text).unwrap(), &minutes);
            let got: Vec<Timestamp> = got.into_iter().filter(|it| *it >= expected[0]).collect();
            if got != expected {
                wrong.push(format!("{text} around {change}: expected {expected:?}, got {got:?}"));
            }
            // The same by the calendar, which names one of those days.
            for firing in expected {
                let day = firing.to_zoned(zone.clone()).day();
                let text = format!("day {day} of the month at {clock} in {name}");
                let got = Rule::parse(&text).unwrap().next_after(firing - 20.hours());
                if got != Some(firing) {
                    wrong.push(format!("{text}: expected {firing}, got {got:?}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        4 * changes.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

#[test]
fn a_step_means_time_that_passes() {
    let mut wrong = Vec::new();
    for (name, zone, change) in changes() {
        let minutes: Vec<Timestamp> = around(change).collect();
        let fits = |minute: &&Timestamp| minute.to_zoned(zone.clone()).minute() % 15 == 0;
        let expected: Vec<Timestamp> = minutes.iter().filter(fits).copied().collect();
        let got = firings(&Rule::parse(&format!("*/15 * * * * in {name}")).unwrap(), &minutes);
        if got != expected {
            let odd: Vec<_> = got.iter().filter(|it| !expected.contains(it)).collect();
            let lost: Vec<_> = expected.iter().filter(|it| !got.contains(it)).collect();
            wrong.push(format!("{name} around {change}: too many {odd:?}, lost {lost:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}

/// The days of each month that fit, found by looking at every day.
#[test]
fn a_day_of_the_month_is_the_one_that_is_counted() {
    let first = Date::constant(2023, 1, 1);
    let days: Vec<Date> = first.series(1.day()).take_while(|day| day.year() < 2037).collect();
    let fits = |day: Date, word: &str| match word {
        "day" => true,
        "weekday" => day.weekday().to_monday_one_offset() <= 5,
        name => day.strftime("%A").to_string().to_lowercase() == name,
    };
    for word in ["day", "weekday", "monday", "thursday", "sunday"] {
        for (n, ordinal) in ["first", "second", "third", "fourth", "last"].into_iter().enumerate() {
            for (month, name) in [(0, "the month"), (2, "february"), (12, "december")] {
                let mut expected = Vec::new();
                for of_one in days.chunk_by(|a, b| a.month() == b.month()) {
                    let fitting: Vec<Date> = of_one.iter().copied().filter(|day| fits(*day, word)).collect();
                    let chosen = if ordinal == "last" { fitting.last() } else { fitting.get(n) };
                    expected.extend(chosen.filter(|day| month == 0 || day.month() == month).copied());
                }
                let rule =
                    Rule::parse(&format!("{ordinal} {word} of {name} at 03:00 in Europe/Oslo")).unwrap();
                let mut time: Timestamp = "2022-12-31T22:59:59Z".parse().unwrap();
                for day in expected {
                    time = rule.next_after(time).expect("one more");
                    let local = time.to_zoned(rule.zone());
                    assert_eq!((local.date(), local.time()), (day, Time::constant(3, 0, 0, 0)), "{rule}");
                }
            }
        }
    }
}

#[test]
fn leap_days_and_intervals_are_found_however_far_they_are() {
    let next = |rule: &str, time: &str| {
        Rule::parse(rule).unwrap().next_after(time.parse().unwrap()).map(|it| it.to_string())
    };
    let leap = "day 29 of february at 00:30";
    assert_eq!(next(leap, "2096-03-01T00:00:00Z").as_deref(), Some("2104-02-29T00:30:00Z"));
    assert_eq!(next("day 30 of february at 00:30", "2026-01-01T00:00:00Z"), None);
    let every = "every 6h from 2026-11-22T06:00:00Z";
    for (time, expected) in [
        ("2020-01-01T00:00:00Z", Some("2026-11-22T06:00:00Z")),
        ("2026-11-22T06:00:00Z", Some("2026-11-22T12:00:00Z")),
        ("2036-11-22T11:59:59Z", Some("2036-11-22T12:00:00Z")),
        ("9999-12-30T21:00:00Z", None),
    ] {
        assert_eq!(next(every, time).as_deref(), expected, "after {time}");
    }
    // What is written down is read back.
    for text in [leap, every, "0 3 * * SUN in Europe/Oslo"] {
        let rule = Rule::parse(text).unwrap();
        assert_eq!(Rule::parse(&rule.to_string()).unwrap().to_string(), rule.to_string());
    }
}
