//! How what was looked at is told: a word, what it is about, what was found, and below it what to do.

use std::io::{self, Write};

use crate::format::wrapped;
use crate::terminal;

/// How wide the columns before the text are.
pub(super) struct Layout {
    pub(super) word: usize,
    pub(super) what: usize,
    /// Where what to do begins.
    pub(super) next: usize,
}

impl Layout {
    /// Writes what was found about one thing. For a person the text is broken into lines; a program gets one line, and a
    /// command is one everywhere.
    pub(super) fn tell(&self, word: &str, what: &str, said: &str, next: &[String]) -> io::Result<()> {
        let mut out = terminal::out();
        let indent = self.word + self.what + 2;
        let said = match terminal::is_out_a_terminal() {
            true => wrapped(said, terminal::width().saturating_sub(indent).max(30)),
            false => vec![said.replace('\n', " ")],
        };
        let mut lines = said.iter();
        let first = lines.next().map(String::as_str).unwrap_or_default();
        let (one, two) = (self.word, self.what);
        writeln!(out, "{}", format!("{word:<one$} {what:<two$} {first}").trim_end())?;
        for line in lines {
            writeln!(out, "{:indent$}{line}", "")?;
        }
        for next in next {
            writeln!(out, "{:1$}-> {next}", "", self.next)?;
        }
        Ok(())
    }
}
