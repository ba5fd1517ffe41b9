//! Diagnostics on standard error, or in the file that a service was given instead.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::environment::variable;
use crate::terminal;
use crate::visible::Log;

/// Begins to write diagnostics to standard error, when they are wanted.
///
/// A service always wants them: there they are the only sign of life. With `RELIGHT_LOG_FORMAT=json` each is a JSON object on a line of its
/// own, with the run that it is about as `run`.
pub(crate) fn begin(verbose: u8, is_service: bool) {
    let chosen = variable("RELIGHT_LOG").or_else(|| variable("RUST_LOG"));
    let default = match (verbose, is_service) {
        (0, true) => "info,hyper=warn",
        (0, false) if chosen.is_none() => return,
        (0 | 1, _) => "relight=info,relight_engine=info,relight_stdlib=info,relight_lab=info",
        (_, _) => "relight=debug,relight_engine=debug,relight_stdlib=debug,relight_lab=debug",
    };
    let wanted: Option<Targets> = chosen.and_then(|chosen| chosen.parse().ok());
    let filter = wanted.or_else(|| default.parse().ok()).unwrap_or_default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Log(terminal::err()))
        .with_ansi(false)
        .with_target(false);
    let is_json = variable("RELIGHT_LOG_FORMAT").is_some_and(|format| format == "json");
    let lines = match is_json {
        true => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        false => lines.boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(lines).with(filter);
    LOGGING.store(subscriber.try_init().is_ok(), Ordering::Relaxed);
}

static LOGGING: AtomicBool = AtomicBool::new(false);

/// Returns whether diagnostics are written, which would tear a progress bar apart.
pub(crate) fn is_on() -> bool {
    LOGGING.load(Ordering::Relaxed)
}
