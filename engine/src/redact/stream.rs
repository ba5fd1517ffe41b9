//! Taking secrets out of a text that arrives in pieces.

use std::sync::Arc;

use super::find::WIDEST_ESCAPE;
use super::{Cleaner, Revealed};

/// Takes revealed secrets out of a text that arrives in pieces, such as the output of a command.
///
/// Holds back as much of the end as may be the beginning of a secret. Made by [`Cx::redact`](crate::Cx::redact).
pub struct RedactStream {
    revealed: Arc<Revealed>,
    held: String,
}

impl RedactStream {
    pub(crate) fn new(revealed: Arc<Revealed>) -> Self {
        RedactStream { revealed, held: String::new() }
    }

    /// Takes the next piece, and returns what can be shown by now.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let known = self.revealed.known();
        let mut end = self.held.len().saturating_sub(known.finder.longest * WIDEST_ESCAPE);
        if let (false, Some(newline)) = (known.finder.crosses_lines, self.held.rfind('\n')) {
            // No secret goes on behind it, so that lines are shown as they come.
            end = end.max(newline + 1);
        }
        while !self.held.is_char_boundary(end) {
            end -= 1;
        }
        for part in known.finder.parts(&self.held, &|_| true) {
            if part.at.start < end && end < part.at.end {
                end = part.at.start;
            }
        }
        let rest = self.held.split_off(end);
        let mut ready = std::mem::replace(&mut self.held, rest);
        Cleaner { known: &known, public: &|_| false }.text(&mut ready);
        ready
    }

    /// Returns the rest, after the last piece.
    pub fn finish(mut self) -> String {
        self.revealed.clean_text(&mut self.held);
        self.held
    }
}

impl std::fmt::Debug for RedactStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedactStream(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Secret;

    #[test]
    fn a_secret_is_found_wherever_the_pieces_part() {
        let revealed = Arc::new(Revealed::default());
        revealed.learn("env:PW", &Secret::new("hünter 22")).unwrap();
        let text =
            format!("{}hünter 22 h%C3%BCnter%2022{} aMO8bnRlciAyMg== ", "a".repeat(400), "hünter".repeat(90));
        let chars: Vec<String> = text.chars().map(String::from).collect();
        for length in [1, 2, 3, 7, 50, 1000] {
            let mut stream = RedactStream::new(revealed.clone());
            let mut out: String = chars.chunks(length).map(|piece| stream.push(&piece.concat())).collect();
            assert!(length > 50 || out.len() > 400, "nothing was shown before the end");
            out.push_str(&stream.finish());
            assert_eq!(out.matches("secret(env:PW)").count(), 3, "{length}: {out}");
            assert!(!out.contains("nter 22") && !out.contains("nter%2022"), "{length}: {out}");
        }
    }

    #[test]
    fn nothing_is_held_back_while_nothing_is_secret() {
        let mut stream = RedactStream::new(Arc::default());
        assert_eq!(stream.push("as it comes"), "as it comes");
        assert_eq!(stream.finish(), "");
    }
}
