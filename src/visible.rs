//! The border between texts from anywhere and the terminal.
//!
//! Azure, arguments, notes, titles and names of files may hold characters that nobody sees and a terminal, or the
//! eye, obeys: escape sequences, carriage returns, marks that turn the direction of writing round. Everything that
//! is printed passes here. They are written as JSON writes them, `\u001b`, so that JSON stays what it is.

use std::borrow::Cow;
use std::io::{self, Write};

/// Returns whether a character is obeyed rather than seen.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Returns a text with what is unseen written out. Line breaks and tabs stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c, next| matches!((c, next), ('\n' | '\t', _) | ('\r', Some('\n'))))
}

/// Returns a text with what is unseen written out, line breaks too.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_, _| false)
}

/// Returns a text of whose lines only the first begins at the margin, so that the others look like nobody else's.
pub(crate) fn hung(text: &str) -> Cow<'_, str> {
    match visible(text) {
        text if text.contains('\n') => text.replace('\n', "\n  ").into(),
        text => text,
    }
}

fn escaped(text: &str, stays: impl Fn(char, Option<char>) -> bool) -> Cow<'_, str> {
    if !text.chars().any(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, is_unseen(c) && !stays(c, chars.peek().copied())) {
            ('\n', true) => out.push_str("\\n"),
            ('\t', true) => out.push_str("\\t"),
            (_, true) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            (_, false) => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A writer that lets through what can be seen.
pub(crate) struct Visible<W: Write> {
    inner: W,
    /// The beginning of a character or of a line's end, whose rest is still to come.
    held: Vec<u8>,
}

impl<W: Write> Visible<W> {
    pub(crate) fn new(inner: W) -> Self {
        Visible { inner, held: Vec::new() }
    }
}

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let whole = match all.utf8_chunks().last() {
            // The last bytes may be the beginning of a character.
            Some(last)
                if !last.invalid().is_empty()
                    && std::str::from_utf8(last.invalid()).is_err_and(|e| e.error_len().is_none()) =>
            {
                all.len() - last.invalid().len()
            }
            Some(last) if last.valid().ends_with('\r') => all.len() - 1,
            _ => all.len(),
        };
        self.held = all.split_off(whole);
        self.inner.write_all(visible(&String::from_utf8_lossy(&all)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Drop for Visible<W> {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.held);
        // Nobody is left to hear of it.
        let _ = self.inner.write_all(visible(&String::from_utf8_lossy(&held)).as_bytes());
    }
}

/// Writes one record of the log at a time: lines after the first are indented, so that none looks like a record.
pub(crate) struct Log<W: Write>(pub(crate) W);

impl<W: Write> Write for Log<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let line = hung(text.strip_suffix('\n').unwrap_or(&text));
        writeln!(self.0, "{line}")?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each with how it is shown: colours, the clipboard, an overwritten line, and what turns text round or hides in it.
    const UNSEEN: [(&str, &str); 8] = [
        ("\x1b[31mred", r"\u001b[31mred"),
        ("\x1b]52;c;cm0gLXJm\x07", r"\u001b]52;c;cm0gLXJm\u0007"),
        ("ok\rfailed", r"ok\u000dfailed"),
        ("\u{9b}2J", r"\u009b2J"),
        ("exe\u{202e}fdp.", r"exe\u202efdp."),
        ("\u{2066}a\u{2069}", r"\u2066a\u2069"),
        ("web\u{200b}-01\u{feff}", r"web\u200b-01\ufeff"),
        ("\u{e0041}", r"\udb40\udc41"),
    ];

    #[test]
    fn what_is_unseen_is_written_out() {
        for (text, shown) in UNSEEN {
            assert_eq!(visible(text), shown);
            assert_eq!(one_line(text), shown);
        }
        assert_eq!(visible("a\tb\r\nc ü 漢 ✓\n"), "a\tb\r\nc ü 漢 ✓\n");
        assert_eq!(one_line("a\nb\tc"), r"a\nb\tc");
        assert_eq!(hung("note\nrun x failed"), "note\n  run x failed");
    }

    #[test]
    fn a_writer_sees_characters_whole_wherever_the_pieces_part() {
        let text: String = UNSEEN.iter().map(|(text, _)| format!("{text} ü漢✓\r\n")).collect();
        for length in [1, 2, 3, 5, 1000] {
            let mut out = Vec::new();
            let mut writer = Visible::new(&mut out);
            text.as_bytes().chunks(length).for_each(|piece| writer.write_all(piece).unwrap());
            writer.write_all(b"\xff!").unwrap();
            drop(writer);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{}\u{fffd}!", visible(&text)), "{length}");
        }
    }

    #[test]
    fn json_means_the_same_behind_the_border() {
        for (text, _) in UNSEEN {
            let json = serde_json::to_string(&[text]).unwrap();
            let behind: Vec<String> = serde_json::from_str(&visible(&json)).unwrap();
            assert_eq!(behind, [text]);
        }
    }

    #[test]
    fn one_record_of_the_log_cannot_look_like_two() {
        let mut out = Vec::new();
        Log(&mut out).write_all(b"10:00 INFO a note\n10:01 INFO run is done\x1b[0m\n").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "10:00 INFO a note\n  10:01 INFO run is done\\u001b[0m\n"
        );
    }
}
