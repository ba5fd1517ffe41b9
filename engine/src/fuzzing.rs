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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;
    use proptest::test_runner::{Config, RngSeed, TestRunner};

    use super::*;

    #[test]
    fn no_bytes_of_others_panic() {
        let config = Config {
            cases: 2000,
            rng_seed: RngSeed::Fixed(6),
            failure_persistence: None,
            ..Config::default()
        };
        let changes = proptest::collection::vec((any::<Index>(), any::<u8>(), 0..3u8), 0..6);
        for (parse, seed) in TARGETS {
            parse(seed);
            let mutated = (changes.clone(), proptest::collection::vec(any::<u8>(), 0..64), any::<bool>());
            let result = TestRunner::new(config.clone()).run(&mutated, |(changes, noise, is_noise)| {
                let mut bytes = if is_noise { noise } else { seed.to_vec() };
                for (at, byte, how) in changes {
                    let at = at.index(bytes.len() + 1);
                    match how {
                        0 => bytes.insert(at, byte),
                        1 => bytes.truncate(at),
                        _ => bytes.iter_mut().skip(at).take(1).for_each(|it| *it = byte),
                    }
                }
                parse(&bytes);
                Ok(())
            });
            result.unwrap();
        }
    }
}
