//! Cron expressions in a time zone.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::zone_of;

/// `minute hour day month weekday` in a time zone.
#[derive(Clone, Debug)]
pub struct CronRule {
    cron: Cron,
    zone: TimeZone,
    text: String,
}

impl CronRule {
    /// Reads the five fields, perhaps with ` in ZONE` behind them. More fields are refused: others take the sixth for seconds or for
    /// years, and nobody sees which was meant.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (fields, zone) = text.split_once(" in ").unwrap_or((text, "UTC"));
        let count = fields.split_whitespace().count();
        if count != 5 && !fields.trim_start().starts_with('@') {
            return Err(format!("it has {count} fields, and minute hour day month weekday are five"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(fields.trim()).map_err(|e| e.to_string())?;
        Ok(CronRule { cron, zone: zone_of(zone)?, text: text.trim().to_owned() })
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let local = time.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&local, false).ok().map(|next| next.timestamp())
    }
}

impl std::fmt::Display for CronRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
