//! What is asked of a schedule: by options of the command line, or by the same words in a file.

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::{ArgGroup, Args};
use jiff::Timestamp;
use relight_engine::event::{Overlap, Terms};
use relight_engine::schedule::Rule;
use relight_engine::{Error, Result, Span};
use serde::Deserialize;

/// When runs are wanted, and on what terms.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[command(group = ArgGroup::new("when").required(true).args(["at", "after", "cron", "every", "on"]))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Asked {
    /// Run once at this time, such as 2026-11-20T22:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// Run once after this long, such as 90m or 2h
    #[arg(long, value_name = "DURATION")]
    after: Option<Span>,

    /// Run at the times of a cron expression: minute hour day month weekday, such as '30 6 * * MON-FRI'
    #[arg(long, value_name = "CRON")]
    cron: Option<String>,

    /// Run now and whenever this much time has passed again, such as 6h
    #[arg(long, value_name = "DURATION")]
    every: Option<Span>,

    /// Run on a day of every month, such as 'last weekday' or 'first monday', or of one, such as 'day 15 of march'
    #[arg(long, value_name = "DAY", requires = "time")]
    on: Option<String>,

    /// Time of that day
    #[arg(long, value_name = "HH:MM", requires = "on")]
    time: Option<String>,

    /// Time zone of the cron expression or of the time of day, such as Europe/Oslo [default: UTC]
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["at", "after", "every"])]
    zone: Option<String>,

    /// What becomes of a firing while an earlier run is under way
    #[arg(long, value_name = "POLICY", value_parser = overlaps(), default_value = Overlap::default().as_str(), hide_default_value = true)]
    overlap: Overlap,

    /// How late a run may start; a firing that is later is missed [default: however late]
    #[arg(long, value_name = "DURATION")]
    catch_up: Option<Span>,

    /// Start later by a part of this, always the same for this schedule
    #[arg(long, value_name = "DURATION")]
    jitter: Option<Span>,

    /// How long a run may take, with its waits; then it is asked to stop
    #[arg(long, value_name = "DURATION")]
    longest: Option<Span>,

    /// Pause the schedule when so many runs in a row failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pause_after: Option<u32>,

    /// Go by the runbook as it is now, whatever the library has later
    #[arg(long)]
    pub(super) pin: bool,
}

/// The overlap policies by their words, each with what it means.
fn overlaps() -> impl TypedValueParser<Value = Overlap> {
    let words = Overlap::ALL.map(|overlap| {
        let means = match overlap {
            Overlap::BufferOne => "it waits for the end of that run; what comes meanwhile is one with it",
            Overlap::BufferAll => "it waits for the end of that run, behind those that wait already",
            Overlap::CancelOther => "that run is asked to stop, and this one starts when it has ended",
            Overlap::TerminateOther => "that run is given up, and this one starts at once",
            Overlap::AllowAll => "both run",
            _ => "it is skipped (the default)",
        };
        clap::builder::PossibleValue::new(overlap.as_str()).help(means)
    });
    PossibleValuesParser::new(words)
        .map(|word| Overlap::ALL.into_iter().find(|overlap| overlap.as_str() == word).unwrap_or_default())
}

impl Asked {
    /// Returns how it repeats, if it does, and when it fires first.
    pub(super) fn rule(&self, now: Timestamp) -> Result<(Option<Rule>, Timestamp)> {
        let rule = self.repeats(now)?;
        let due = match (&rule, self.every, self.at) {
            // The first time is now.
            (Some(_), Some(_), _) => now,
            (Some(rule), None, _) => rule.next_after(now).ok_or_else(|| {
                Error::invalid(format!("`{rule}` never comes"))
                    .hint("write for example --cron '30 6 * * MON-FRI' --zone Europe/Berlin")
            })?,
            (None, _, Some(at)) => at,
            (None, ..) => {
                now.saturating_add(self.after.map(Span::get).unwrap_or_default()).unwrap_or(Timestamp::MAX)
            }
        };
        Ok((rule, due))
    }

    /// Returns the terms of its runs.
    pub(super) fn terms(&self) -> Terms {
        let mut terms = Terms::default();
        terms.overlap = self.overlap;
        (terms.catch_up, terms.jitter, terms.longest) = (self.catch_up, self.jitter, self.longest);
        terms.pause_after = self.pause_after;
        terms
    }

    /// Checks what the command line checks by itself: a file says when, once, and nothing that only a command can mean.
    pub(super) fn check_declared(&self) -> Result<(), String> {
        let named = [
            ("at", self.at.is_some()),
            ("cron", self.cron.is_some()),
            ("every", self.every.is_some()),
            ("on", self.on.is_some()),
        ];
        let named: Vec<&str> =
            named.iter().filter(|(_, is_named)| *is_named).map(|(name, _)| *name).collect();
        match named[..] {
            _ if self.after.is_some() => {
                Err("`after` is for the command line: a file says `at` or how it repeats".into())
            }
            [] => Err("it says neither `cron` nor `every`, `on` or `at`".into()),
            [_, _, ..] => Err(format!("it says {}, and one of them is enough", named.join(" and "))),
            _ if self.on.is_some() != self.time.is_some() => Err("`on` and `time` belong together".into()),
            _ if self.zone.is_some() && !matches!(named[0], "cron" | "on") => {
                Err("`zone` is for `cron` and `on`".into())
            }
            _ if self.pause_after == Some(0) => Err("`pause-after` is 1 at least".into()),
            _ if self.pin => Err("`pin` is for the command line: a file goes with the library".into()),
            _ => Ok(()),
        }
    }

    fn repeats(&self, now: Timestamp) -> Result<Option<Rule>> {
        let zoned = |rule: String| match &self.zone {
            Some(_) if rule.contains(" in ") => {
                Err(Error::invalid(format!("`{rule}` names a time zone, and so does --zone"))
                    .hint("name it once"))
            }
            Some(zone) => Rule::parse(&format!("{rule} in {zone}")),
            None => Rule::parse(&rule),
        };
        match (&self.cron, self.every, &self.on) {
            (Some(cron), ..) => zoned(cron.trim().to_owned()).map(Some),
            (None, Some(every), _) => Rule::every(every, now).map(Some),
            (None, None, Some(day)) => {
                let month = if day.contains(" of ") { "" } else { " of the month" };
                let time = self.time.as_deref().unwrap_or_default();
                zoned(format!("{day}{month} at {time}")).map(Some)
            }
            (None, None, None) => Ok(None),
        }
    }
}
