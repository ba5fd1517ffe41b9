//! What is known about the terminal, errors as reports, and diagnostics.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};
use relight_engine::{Error, ErrorCode};

use crate::cli::{Cli, Command};
use crate::platform;
use crate::words::wrapped;

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
        let is_terminal = io::stderr().is_terminal() && variable("TERM").as_deref() != Some("dumb");
        Look {
            is_terminal,
            colour: is_terminal && variable("NO_COLOR").is_none(),
            unicode: is_terminal && platform::speaks_unicode(),
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

/// Returns the value of an environment variable that is not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns how many characters a line of text should have at most.
pub(crate) fn width() -> usize {
    let columns = variable("COLUMNS").and_then(|columns| columns.parse().ok());
    let terminal = || terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| width.0.into());
    columns.or_else(terminal).unwrap_or(80).clamp(40, WIDEST)
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

/// Writes a line to standard error. Nobody there to read it is no reason to stop a run.
pub(crate) fn say(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
}

/// Shows an error: what failed, where, why, and what to do next.
pub(crate) fn complain(error: &Error) {
    say(report(error).trim_end());
}

/// Returns an error as a report for standard error.
fn report(error: &Error) -> String {
    let width = width();
    let handler = GraphicalReportHandler::new_themed(Look::here().theme())
        .with_width(width)
        .with_links(false)
        .with_context_lines(1);
    let mut text = String::new();
    if handler.render_report(&mut text, &Unhelped(error)).is_err() {
        return format!("{error:?}");
    }
    let mut margin = "  help: ";
    let request = error.service_error().and_then(|service| service.request_id.as_ref());
    let hints = error.hints().iter().cloned().chain(request.map(|id| format!("request id: {id}")));
    for line in hints.flat_map(|hint| advice(&hint, width - margin.len())) {
        text.push_str(&format!("{margin}{line}\n"));
        margin = "        ";
    }
    text
}

/// Breaks a hint into lines. A command stays on one, so that it can be copied.
fn advice(hint: &str, width: usize) -> Vec<String> {
    let is_command = ["az ", "relight "].iter().any(|program| hint.starts_with(program));
    if is_command { vec![hint.to_owned()] } else { wrapped(hint, width) }
}

/// An error without its hints, which `miette` would break in the middle of ids and commands.
#[derive(Debug)]
struct Unhelped<'a>(&'a Error);

impl fmt::Display for Unhelped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unhelped<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl Diagnostic for Unhelped<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let kind = self.0.kind().as_str();
        let code = self.0.error_code().map(ErrorCode::as_str).or(self.0.service_code());
        Some(Box::new(code.map_or_else(|| kind.to_owned(), |code| format!("{kind}: {code}"))))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.0.labels()
    }
}

/// Begins to write diagnostics to standard error, when they are wanted.
///
/// `serve` always wants them: there they are the only sign of life.
pub(crate) fn log(cli: &Cli) {
    let chosen = variable("RELIGHT_LOG").or_else(|| variable("RUST_LOG"));
    let default = match (cli.global.verbose, &cli.command) {
        (0, Command::Serve(_) | Command::Lab(_)) => "info,hyper=warn",
        (0, _) if chosen.is_none() => return,
        (0 | 1, _) => "relight=info,relight_engine=info,relight_stdlib=info,relight_lab=info",
        (_, _) => "relight=debug,relight_engine=debug,relight_stdlib=debug,relight_lab=debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_new(chosen.as_deref().unwrap_or(default))
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(Look::here().colour)
        .with_target(false);
    LOGGING.store(subscriber.try_init().is_ok(), Ordering::Relaxed);
}

static LOGGING: AtomicBool = AtomicBool::new(false);

/// Returns whether diagnostics are written, which would tear a progress bar apart.
pub(crate) fn is_logging() -> bool {
    LOGGING.load(Ordering::Relaxed)
}
