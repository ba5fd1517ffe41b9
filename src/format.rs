//! How times, lengths of time, values and tables are written for people.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use relight_engine::recorded;
use serde_json::Value;
use textwrap::core::display_width;
use textwrap::{WordSeparator, WordSplitter, WrapAlgorithm};

use crate::visible::one_line;

/// Returns a length of time in at most two units: `0.4s`, `58s`, `3m58s`, `2h05m`, `3d4h`.
pub(crate) fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", length.as_millis() as f64 / 1000.0),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// Returns the time between two moments; none when the second is not later.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// Returns a moment relative to now: `3m ago`, `in 2h`, `now`.
pub(crate) fn relative(now: Timestamp, then: Timestamp) -> String {
    let rough = |length: Duration| match length.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..5400 => format!("{}m", (seconds + 30) / 60),
        seconds @ 5400..129_600 => format!("{}h", (seconds + 1800) / 3600),
        seconds => format!("{}d", (seconds + 43_200) / 86_400),
    };
    match (between(then, now), between(now, then)) {
        (past, _) if past.as_secs() > 0 => format!("{} ago", rough(past)),
        (_, future) if future.as_secs() > 0 => format!("in {}", rough(future)),
        _ => "now".to_owned(),
    }
}

/// Returns a moment in the local time zone, which it names: `2026-11-20 14:05 CET`.
pub(crate) fn moment(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// Returns a text whose moments in UTC, as RFC 3339 writes them, are in the local time zone: a screen has one.
pub(crate) fn in_local_time(text: &str) -> String {
    const DATE: &str = "0000-00-00T";
    let is_moment = |text: &str| {
        let date = text.get(..DATE.len())?;
        let fits = |(c, like): (char, char)| if like == '0' { c.is_ascii_digit() } else { c == like };
        let end = date.chars().zip(DATE.chars()).all(fits).then(|| text.find('Z'))?? + 1;
        Some((text[..end].parse().ok()?, end))
    };
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        let skipped = match is_moment(rest) {
            Some((time, end)) => {
                out += &moment(time);
                end
            }
            None => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[skipped..];
    }
    out
}

/// Returns a moment in the local time zone, and how far it is from now.
pub(crate) fn when(now: Timestamp, time: Timestamp) -> String {
    format!("{} ({})", moment(time), relative(now, time))
}

/// Returns a recorded value as a person would write it on a command line.
pub(crate) fn plain(value: &Value) -> String {
    if let Some(name) = value.get("$secret").and_then(Value::as_str) {
        return name.to_owned();
    }
    let value = recorded::plain(value);
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns `name=value` for every parameter that has a value.
pub(crate) fn assignments(params: &Value) -> String {
    let given = params.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    given.map(|(name, value)| format!("{name}={}", quoted(&plain(value)))).collect::<Vec<_>>().join(" ")
}

/// Returns a text as one word of a shell's command line.
pub(crate) fn quoted(text: &str) -> String {
    if cfg!(windows) { for_windows(text) } else { for_sh(text) }
}

fn for_sh(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:,=@+".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Quotes for PowerShell and for `cmd`. They agree on double quotes; what PowerShell finds something in even so, it gets in its own way.
fn for_windows(text: &str) -> String {
    // PowerShell makes two arguments of one with a comma, and something else of one that begins with @.
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:\\=@+".contains(c);
    match text {
        _ if text.contains(['"', '$', '`', '\u{201c}', '\u{201d}', '\u{201e}']) => in_powershell(text),
        _ if text.is_empty() || text.starts_with('@') || !text.chars().all(is_plain) => {
            // A backslash before the closing quote would be taken for one that takes its meaning away.
            let last = text.len() - text.trim_end_matches('\\').len();
            format!("\"{text}{}\"", "\\".repeat(last))
        }
        _ => text.to_owned(),
    }
}

/// Writes a text as PowerShell reads it as nothing but that. It takes every single quote of typesetters for a plain one.
pub(crate) fn in_powershell(text: &str) -> String {
    let doubled = text.chars().flat_map(|c| {
        let times = if "'\u{2018}\u{2019}\u{201a}\u{201b}".contains(c) { 2 } else { 1 };
        std::iter::repeat_n(c, times)
    });
    format!("'{}'", doubled.collect::<String>())
}

/// How long an error is in a line that nobody may have to look further than: Azure names the action that
/// is not allowed after four hundred characters.
pub(crate) const WHOLE: usize = 600;

/// Returns the first line of a text, shortened to `most` characters.
pub(crate) fn brief(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.chars().count() > most {
        true => line.chars().take(most.saturating_sub(3)).chain("...".chars()).collect(),
        false => line.to_owned(),
    }
}

/// Breaks a text into lines of at most `width` columns. A blank line in the text stays one, and an item of a list
/// stays on a line of its own; other line breaks are only how it was typed. A word is never split: it may be an id,
/// an address or a part of a command.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    let mut is_open = false;
    for typed in text.lines().map(str::trim) {
        match paragraphs.last_mut().filter(|_| is_open && !typed.is_empty() && !typed.starts_with("- ")) {
            Some(paragraph) => *paragraph += &format!(" {typed}"),
            None => paragraphs.push(typed.to_owned()),
        }
        is_open = !typed.is_empty();
    }
    paragraphs.iter().flat_map(|paragraph| broken(paragraph, width)).collect()
}

/// Breaks the lines of a text that are wider than a terminal, between words.
pub(crate) fn fitted(text: &str, width: usize) -> String {
    broken(text, width).join("\n")
}

/// Breaks a text between words. What stands between backticks is a command, and one word.
fn broken(text: &str, width: usize) -> Vec<String> {
    const UNBROKEN: char = '\u{a0}';
    let mut is_command = false;
    let whole: String = text
        .chars()
        .map(|c| {
            is_command ^= c == '`';
            if is_command && c == ' ' { UNBROKEN } else { c }
        })
        .collect();
    let options = textwrap::Options::new(width)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::wrap(&whole, options).iter().map(|line| line.replace(UNBROKEN, " ")).collect()
}

/// Rows of text in columns that line up. The last column is as long as it likes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table with a heading.
    pub(crate) fn headed(titles: &[&str]) -> Self {
        Table { rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| one_line(cell).into_owned()).collect());
    }

    /// Returns the lines, each behind `indent` spaces.
    pub(crate) fn lines(&self, indent: usize) -> Vec<String> {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            let wider = |(width, cell): (&mut usize, &String)| *width = display_width(cell).max(*width);
            widths.iter_mut().zip(row).for_each(wider);
        }
        let padded =
            |(cell, width): (&String, &usize)| format!("{cell}{}", " ".repeat(width - display_width(cell)));
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row.iter().zip(&widths).map(padded).collect();
            format!("{}{}", " ".repeat(indent), cells.join("  ")).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_at_most_two_units() {
        for (seconds, text) in
            [(0.42, "0.4s"), (58.0, "58s"), (238.0, "3m58s"), (7500.0, "2h05m"), (274_000.0, "3d4h")]
        {
            assert_eq!(length(Duration::from_secs_f64(seconds)), text);
        }
    }

    #[test]
    fn moments_are_told_from_now() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        for (second, text) in
            [(0, "now"), (-30, "30s ago"), (7200, "in 2h"), (-180, "3m ago"), (300_000, "in 3d")]
        {
            assert_eq!(relative(now, at(second)), text);
        }
    }

    #[test]
    fn moments_in_a_text_are_local_ones() {
        let moment = moment("2026-11-20T13:05:00Z".parse().unwrap());
        let text = "ä until 2026-11-20T13:05:00Z, or 2026-11-20T13:05:00.25Z; not 2026-99-20T13:05:00Z, 2026-11-20T or Z";
        let told = format!("ä until {moment}, or {moment}; not 2026-99-20T13:05:00Z, 2026-11-20T or Z");
        assert_eq!(in_local_time(text), told);
    }

    #[test]
    fn what_a_shell_would_split_is_quoted() {
        for (text, shown) in [("web-01", "web-01"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")] {
            assert_eq!(for_sh(text), shown);
        }
    }

    #[test]
    fn what_a_shell_of_windows_would_split_is_quoted() {
        for (text, shown) in [
            (r"C:\relight\relight.exe", r"C:\relight\relight.exe"),
            (r"C:\Program Files\relight\", r#""C:\Program Files\relight\\""#),
            ("hosts=a,b", "\"hosts=a,b\""),
            ("ann@web-01", "ann@web-01"),
            ("@web-01", "\"@web-01\""),
            ("it's", "\"it's\""),
            ("", "\"\""),
            ("it's 5$", "'it''s 5$'"),
            ("a\u{2019}b `\"", "'a\u{2019}\u{2019}b `\"'"),
        ] {
            assert_eq!(for_windows(text), shown);
        }
    }

    #[test]
    fn paragraphs_flow_and_lists_stay() {
        assert_eq!(wrapped("one\ntwo three\n\n- a\n- b b", 8), ["one two", "three", "", "- a", "- b b"]);
    }

    #[test]
    fn a_command_is_not_broken() {
        assert_eq!(
            wrapped("see them with `relight runs --open` now", 20),
            ["see them with", "`relight runs --open`", "now"]
        );
    }

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let mut table = Table::headed(&["A", "B"]);
        table.row(["long".into(), String::new()]);
        table.row(["x".into(), "y".into()]);
        assert_eq!(table.lines(1), [" A     B", " long", " x     y"]);
    }

    #[test]
    fn columns_line_up_behind_wide_characters() {
        let mut table = Table::default();
        table.row(["東京".into(), "y".into()]);
        table.row(["x".into(), "y".into()]);
        assert_eq!(table.lines(0), ["東京  y", "x     y"]);
    }
}
