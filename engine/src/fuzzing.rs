//! The parsers that read bytes of others, as one function each that must never panic, and what must hold besides.
//!
//! `fuzz/` feeds them for as long as somebody wants; the test below does so for a moment, with the same bytes each time.

use crate::event::Source;
use crate::journal::records_of;
use crate::recorded;
use crate::runbook::Runbook;
use crate::value::Span;

/// One row of a run's records, as the database hands it over.
pub fn records(bytes: &[u8]) {
    if let Some((records, again)) = records_of(bytes) {
        // What is damaged in its text is caught by its hash; all else comes back to the byte.
        let is_text = records.iter().all(|record| !record.body.contains('\u{fffd}'));
        assert!(!is_text || again == bytes, "records do not come back as they were");
    }
}

/// The front matter of a runbook.
pub fn front_matter(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    match Runbook::parse(&Source { name: "fuzzed".to_owned(), text: text.clone() }) {
        Ok(runbook) => assert!(Runbook::has_front_matter(&text) && *runbook.text == *text),
        // Whatever is underlined can be shown.
        Err(error) => drop(format!("{error:?}")),
    }
}

/// A value as a record keeps it.
pub fn recorded_value(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        let _ = recorded::plain(&value);
    }
}

/// A length of time as somebody writes it.
pub fn duration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse(), Ok(span), "{text}");
    }
}

/// A parser, and an input that it takes.
pub type Target = (fn(&[u8]), &'static [u8]);

/// All of them.
pub const TARGETS: [Target; 4] = [
    (records, b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x000123456789abcdef0123456789abcdef{}"),
    (front_matter, b"/*---\ntitle = \"T\"\neffects = [\"azure:read\"]\n[params.vm]\nhelp = \"h\"\ntype = \"duration\"\nmax = \"8h\"\n---*/\nvm"),
    (recorded_value, br#"{"$secret":"env:X","$$time":[{"$time":"2026-11-20T08:00:00Z"},{"$duration":"PT2H"}]}"#),
    (duration, b"1h 30m"),
];

/// Feeds each parser its input, and a few thousand that are made of it or of nothing: the same each time.
///
/// # Panics
/// When a parser does, with what it was fed.
pub fn feed(targets: &[Target]) {
    let mut random = Random(6);
    for (parse, seed) in targets {
        parse(seed);
        for _ in 0..INPUTS {
            let bytes = random.mutated(seed);
            let parsed = std::panic::catch_unwind(|| parse(&bytes));
            assert!(parsed.is_ok(), "it was fed {}", bytes.escape_ascii());
        }
    }
}

/// How many inputs each parser is fed.
const INPUTS: usize = 2000;

/// Numbers without an order that anybody would see (xorshift).
struct Random(u64);

impl Random {
    /// Returns a number below another.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (end as u64)).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    fn mutated(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = match self.below(2) {
            0 => (0..self.below(64)).map(|_| self.byte()).collect(),
            _ => seed.to_vec(),
        };
        for _ in 0..self.below(6) {
            let (at, byte) = (self.below(bytes.len() + 1), self.byte());
            match self.below(3) {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|it| *it = byte),
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_of_others_panic() {
        feed(&TARGETS);
    }

    #[test]
    #[should_panic(expected = "it was fed")]
    fn what_panics_is_told_with_its_bytes() {
        feed(&[(|bytes| assert!(bytes.len() > 2), b"seed")]);
    }
}
