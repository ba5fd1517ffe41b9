//! What is known about the terminal, and errors as reports.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use relight_engine::{Error, ErrorCode, Result};
use textwrap::{WordSeparator, WordSplitter};

use crate::environment::variable;
use crate::format::{fitted, wrapped};
use crate::log_file::LogFile;
use crate::visible::{Visible, hung, one_line, visible};
use crate::{next_step, platform};

/// The widest text that is still easy to read.
const WIDEST: usize = 100;

/// What standard error can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Somebody looks at it, rather than a file or a pipe.
    pub(crate) is_terminal: bool,
    /// It shows colours, and they are wanted.
    pub(crate) colour: bool,
    /// It shows more than ASCII.
    pub(crate) unicode: bool,
}

impl Look {
    /// Returns what standard error can show.
    pub(crate) fn here() -> Self {
        let is_terminal = LOG.get().is_none()
            && io::stderr().is_terminal()
            && variable("TERM").as_deref() != Some("dumb")
            && platform::reads_escapes();
        Look {
            is_terminal,
            colour: is_terminal && variable("NO_COLOR").is_none(),
            unicode: is_terminal && platform::speaks_unicode(),
        }
    }

    /// Returns the mark in front of a step that is over.
    pub(crate) fn mark(self, mark: Mark) -> &'static str {
        match (mark, self.unicode, self.colour) {
            (Mark::Done, true, true) => "\x1b[32m✓\x1b[0m",
            (Mark::Done, true, false) => "✓",
            (Mark::Done, false, _) => "done",
            (Mark::Failed, true, true) => "\x1b[31m✗\x1b[0m",
            (Mark::Failed, true, false) => "✗",
            (Mark::Failed, false, _) => "failed",
        }
    }

    fn theme(self) -> GraphicalTheme {
        match (self.colour, self.unicode) {
            (true, true) => GraphicalTheme::unicode(),
            (true, false) => GraphicalTheme::ascii(),
            (false, true) => GraphicalTheme::unicode_nocolor(),
            (false, false) => GraphicalTheme::none(),
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mark {
    Done,
    Failed,
}

/// Returns how many characters a line of text should have at most.
pub(crate) fn width() -> usize {
    let columns = variable("COLUMNS").and_then(|columns| columns.parse().ok());
    columns.unwrap_or_else(self::columns).clamp(40, WIDEST)
}

/// Returns how many columns the terminal has right now.
pub(crate) fn columns() -> usize {
    size().map_or(80, |(columns, _)| columns)
}

/// Returns how many rows the terminal has right now.
pub(crate) fn rows() -> usize {
    size().map_or(24, |(_, rows)| rows)
}

fn size() -> Option<(usize, usize)> {
    let (width, height) = terminal_size::terminal_size_of(io::stderr())?;
    Some((width.0.into(), height.0.into()))
}

/// Returns whether a person reads what the command prints, rather than a program.
pub(crate) fn is_out_a_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns whether a person can be asked: both the question and the answer need a terminal.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Reads one line from standard input; nothing at its end.
pub(crate) fn read_line() -> Option<String> {
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(read) if read > 0 => Some(line.trim().to_owned()),
        _ => None,
    }
}

/// The file that is written instead of standard error, if one was chosen.
static LOG: OnceLock<Mutex<LogFile>> = OnceLock::new();

/// Has what would go to standard error go to a file from here on.
///
/// # Errors
/// `Invalid` when it cannot be written.
pub(crate) fn say_to(path: &Path) -> Result<()> {
    let log = LogFile::open(path)
        .map_err(|e| Error::invalid(format!("{} cannot be written", path.display())).because(e))?;
    let _ = LOG.set(Mutex::new(log));
    Ok(())
}

/// Returns what is said to: standard error, unless a file was chosen.
pub(crate) fn err() -> Box<dyn Write> {
    match LOG.get() {
        Some(log) => Box::new(Held(log.lock().unwrap_or_else(PoisonError::into_inner))),
        None => Box::new(io::stderr().lock()),
    }
}

/// The file, for as long as one line is written.
struct Held(MutexGuard<'static, LogFile>);

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Returns standard output, for results.
pub(crate) fn out() -> Visible<io::StdoutLock<'static>> {
    Visible::new(io::stdout().lock())
}

/// Writes a line to standard error. Nobody there to read it is no reason to stop a run.
pub(crate) fn say(line: impl AsRef<str>) {
    put(&visible(line.as_ref()));
}

/// Writes a line to standard error that has passed the border and is painted now.
pub(crate) fn put(line: &str) {
    let _ = writeln!(err(), "{line}");
}

/// Writes a text to standard error as it stands, lines and all.
pub(crate) fn pour(text: &str) {
    let _ = Visible::new(err()).write_all(text.as_bytes());
}

/// Writes to the terminal what an operation writes that has it to itself.
pub(crate) fn raw(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Writes a question to standard error and stays on its line.
pub(crate) fn prompt(question: &str) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{} ", fitted(&hung(question), columns())).and_then(|()| err.flush());
}

/// Shows an error: what failed, where, why, and what to do next.
pub(crate) fn complain(error: &Error) {
    put(report(error, Look::here(), width()).trim_end());
}

/// Returns an error as a report for standard error. Lines are broken for a person at a terminal only, and never
/// within a word: who searches a log for an id finds it.
fn report(error: &Error, look: Look, width: usize) -> String {
    let handler = GraphicalReportHandler::new_themed(look.theme())
        .with_width(width)
        .with_wrap_lines(look.is_terminal)
        .with_break_words(false)
        .with_word_separator(WordSeparator::AsciiSpace)
        .with_word_splitter(WordSplitter::NoHyphenation)
        .with_links(false)
        .with_context_lines(1);
    let mut text = String::new();
    if handler.render_report(&mut text, &Shown::of(error)).is_err() {
        return visible(&format!("{error:?}")).into_owned();
    }
    let mut margin = "  help: ";
    let request = error.service_error().and_then(|service| service.request_id.as_ref());
    let hints =
        error.hints().iter().map(next_step::told).chain(request.map(|id| format!("request id: {id}")));
    let columns = if look.is_terminal { width - margin.len() } else { usize::MAX };
    for line in hints.flat_map(|hint| advice(&visible(&hint), columns)) {
        text.push_str(&format!("{margin}{line}\n"));
        margin = "        ";
    }
    text
}

/// Breaks a hint into lines. A command stays on one, so that it can be copied.
fn advice(hint: &str, columns: usize) -> Vec<String> {
    let is_command = ["az ", "relight "].iter().any(|program| hint.starts_with(program));
    if is_command { vec![hint.to_owned()] } else { wrapped(hint, columns) }
}

/// An error behind the border, without its hints, which `miette` would break in the middle of ids and commands.
#[derive(Debug)]
struct Shown {
    message: String,
    cause: Option<Box<Shown>>,
    code: Option<String>,
    source: Option<NamedSource<String>>,
    labels: Vec<LabeledSpan>,
}

impl Shown {
    fn of(error: &Error) -> Self {
        let kind = error.kind().as_str();
        let code = error.error_code().map(ErrorCode::as_str).or(error.service_code());
        let code = code.map_or_else(|| kind.to_owned(), |code| format!("{kind}: {code}"));
        let mut shown = Shown::cause(error);
        shown.code = Some(one_line(&code).into_owned());
        if let Some(snippet) = error.points_at() {
            // Before and under the mark, each as long as it is shown.
            let length = |end: usize| snippet.text.get(..end).map_or(0, |text| visible(text).len());
            let start = length(snippet.offset);
            let marked = length(snippet.offset + snippet.len).saturating_sub(start);
            shown.labels = vec![LabeledSpan::new(Some(visible(&snippet.label).into_owned()), start, marked)];
            shown.source =
                Some(NamedSource::new(one_line(&snippet.name), visible(&snippet.text).into_owned()));
        }
        shown
    }

    fn cause(error: &(dyn std::error::Error + 'static)) -> Self {
        Shown {
            message: visible(&error.to_string()).into_owned(),
            cause: error.source().map(|cause| Box::new(Shown::cause(cause))),
            code: None,
            source: None,
            labels: Vec::new(),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl Diagnostic for Shown {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.code.as_ref().map(|code| Box::new(code) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().cloned()) as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_wrapped_on_a_terminal_alone_and_no_word_is_split() {
        let id = "/subscriptions/0a1b2c3d-0000/resourceGroups/rg-edge/providers/Microsoft.HybridCompute/machines/web-01";
        let error = Error::invalid(format!("failed to reach {id} although it was there a minute ago"))
            .because(std::io::Error::other(format!(
                "https://management.azure.com{id} gives no answer at all"
            )))
            .hint(format!("look whether {id} is there, and ask again in a while"));
        let look = Look { is_terminal: true, colour: false, unicode: true };
        let on_terminal = report(&error, look, 60);
        assert_eq!(on_terminal.matches(id).count(), 3, "{on_terminal}");
        assert!(
            on_terminal.lines().all(|line| line.chars().count() <= 60 || line.contains(id)),
            "{on_terminal}"
        );
        let in_file = report(&error, Look { is_terminal: false, unicode: false, ..look }, 60);
        assert!(in_file.contains(&format!("{id} although it was there a minute ago\n")), "{in_file}");
        assert!(in_file.contains(&format!("{id} is there, and ask again in a while\n")), "{in_file}");
    }
}
