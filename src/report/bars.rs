//! Progress bars: one for the run, one for each step under way, and above them what stays.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use jiff::Timestamp;
use relight_engine::RunId;
use relight_engine::clock::Clock;
use relight_engine::replay::History;

use super::narrator::{Key, Told};
use crate::terminal::Look;
use crate::visible::one_line;
use crate::words::{between, length};

const TICK: Duration = Duration::from_millis(120);

/// The bars at the bottom of the terminal.
pub(super) struct Bars {
    look: Look,
    clock: Arc<dyn Clock>,
    all: MultiProgress,
    run: Option<(ProgressBar, String)>,
    steps: HashMap<Key, ProgressBar>,
}

impl Bars {
    pub(super) fn new(look: Look, clock: Arc<dyn Clock>) -> Self {
        Bars { look, clock, all: MultiProgress::new(), run: None, steps: HashMap::new() }
    }

    /// Shows the bar of a run.
    pub(super) fn begin(&mut self, clock: Arc<dyn Clock>, run: &RunId, history: &History) {
        self.clock = clock;
        // Added first: a bar of its own would draw itself where the others are.
        let bar = self.all.add(self.bar("{spinner} {prefix}  {since}  {msg}", history.created));
        let title = one_line(&history.prepared.runbook).into_owned();
        bar.set_prefix(title.clone());
        bar.set_message(run.to_string());
        self.run = Some((bar, title));
    }

    pub(super) fn show(&mut self, told: Told) {
        match told {
            Told::Line(line) => self.line(&line),
            Told::Began { key, title, since } => {
                let bar = self.bar("{spinner} {prefix}  {since}  {wide_msg}", since);
                let bar = match &self.run {
                    Some((run, runbook)) => {
                        run.set_prefix(format!("{runbook}  step {}", key.1));
                        self.all.insert_before(run, bar)
                    }
                    None => self.all.add(bar),
                };
                bar.set_prefix(title);
                bar.enable_steady_tick(TICK);
                self.steps.insert(key, bar);
            }
            Told::Said { key, text, .. } => {
                if let Some(bar) = self.steps.get(&key) {
                    bar.set_message(text);
                }
            }
            Told::Ended { key, mark, line } => {
                if let Some(bar) = self.steps.remove(&key) {
                    bar.finish_and_clear();
                }
                self.line(&format!("{} {line}", self.look.mark(mark)));
            }
        }
        if let Some((run, _)) = &self.run {
            run.enable_steady_tick(TICK);
        }
    }

    /// Writes a line that stays, above the bars.
    pub(super) fn line(&self, line: &str) {
        // A terminal that cannot be written to is no reason to stop the run.
        let _ = self.all.println(line);
    }

    /// Takes all bars away.
    pub(super) fn clear(&mut self) {
        self.steps.drain().for_each(|(_, bar)| bar.finish_and_clear());
        if let Some((run, _)) = &self.run {
            run.disable_steady_tick();
        }
        let _ = self.all.clear();
    }

    fn bar(&self, template: &str, since: Timestamp) -> ProgressBar {
        let clock = self.clock.clone();
        // The lab's time, where the lab's clock counts.
        let elapsed = move |_: &ProgressState, out: &mut dyn Write| {
            let _ = out.write_str(&length(between(since, clock.now())));
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let style = style.with_key("since", elapsed);
        let style = if self.look.unicode { style } else { style.tick_chars("|/-\\ ") };
        ProgressBar::new_spinner().with_style(style)
    }
}
