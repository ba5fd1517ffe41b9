//! The rows at the bottom of the terminal on which bars are drawn, and drawn over.
//!
//! `indicatif` fills each line with blanks to the terminal's edge and goes on from there. A window that becomes narrower
//! breaks such lines in two, and what is drawn next lands below what should have gone. Here a line ends where its
//! text ends, and how many rows it takes is counted anew each time it is taken away.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;
use textwrap::core::display_width;

use crate::terminal;

/// What a terminal writes where the cursor stands when somebody types Ctrl-C: `^C`, and the cursor behind it.
const ECHO: usize = 3;

/// Standard error, as a place for bars. Clones are the same place.
#[derive(Clone, Debug)]
pub(super) struct Screen(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    /// How wide each line is that stands there, the lowest last.
    lines: Vec<usize>,
    /// Whether the cursor stands in an empty row below them, rather than behind the last.
    is_below: bool,
    /// Whether the blanks that fill a line come next.
    is_filler_next: bool,
    /// Whether nothing is drawn, whoever asks for it.
    is_hidden: bool,
    /// What is written with the next flush.
    out: String,
}

impl Screen {
    pub(super) fn new() -> Self {
        Screen(Arc::new(Mutex::new(Rows { is_below: true, ..Rows::default() })))
    }

    /// Takes away what stands there. Nothing is drawn any more until [`show`](Self::show): a bar that moves by itself
    /// does not draw over a question.
    pub(super) fn hide(&self) {
        let mut rows = self.rows();
        let columns = terminal::columns();
        while !rows.lines.is_empty() {
            rows.take_away(columns);
        }
        rows.is_hidden = true;
        // A terminal that cannot be written to is no reason to stop the run.
        let _ = rows.flush();
    }

    /// Draws again from the next time on.
    pub(super) fn show(&self) {
        self.rows().is_hidden = false;
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    /// Takes the lowest line away, on a terminal of so many columns. The cursor stands where it began.
    fn take_away(&mut self, columns: usize) {
        let Some(width) = self.lines.pop() else { return };
        if self.is_below {
            self.out.push_str("\x1b[A");
        }
        self.out.push('\r');
        // A terminal breaks a line that no longer fits, and keeps the cursor behind its last character.
        let broken = width.saturating_sub(1) / columns.max(1);
        if broken > 0 {
            let _ = write!(self.out, "\x1b[{broken}A");
        }
        self.out.push_str("\x1b[J");
        self.is_below = true;
    }

    /// Writes a line below the others, cut where the terminal ends.
    fn put(&mut self, line: &str, columns: usize) {
        if self.is_hidden {
            return;
        }
        if !self.is_below {
            self.out.push_str("\r\n");
        }
        let mut width = 0;
        for c in line.trim_end().chars() {
            let wide = display_width(c.encode_utf8(&mut [0; 4]));
            if width + wide > columns {
                break;
            }
            self.out.push(c);
            width += wide;
        }
        self.lines.push(width);
        self.is_below = false;
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut err = io::stderr().lock();
        err.write_all(std::mem::take(&mut self.out).as_bytes())?;
        err.flush()
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        u16::try_from(terminal::columns().saturating_sub(ECHO).max(1)).unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        u16::try_from(terminal::rows()).unwrap_or(u16::MAX)
    }

    // Where the cursor stands follows from the lines that are taken away and written.
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.rows().take_away(terminal::columns());
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.rows().put(line, self.width().into());
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut rows = self.rows();
        rows.is_filler_next = !rows.is_filler_next;
        if rows.is_filler_next {
            rows.put(text, self.width().into());
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.rows().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_became_two_rows_is_taken_away_whole() {
        let mut rows = Rows { is_below: true, ..Rows::default() };
        rows.put("0123456789  ", 77);
        rows.put("abc", 77);
        assert_eq!(std::mem::take(&mut rows.out), "0123456789\r\nabc");
        rows.take_away(6);
        rows.take_away(6);
        assert_eq!(std::mem::take(&mut rows.out), "\r\x1b[J\x1b[A\r\x1b[1A\x1b[J");
        rows.put("xyz", 2);
        assert_eq!((&*rows.out, &rows.lines), ("xy", &vec![2]));
        rows.is_hidden = true;
        rows.put("a bar that moves by itself", 77);
        assert_eq!((&*rows.out, rows.lines), ("xy", vec![2]));
    }
}
