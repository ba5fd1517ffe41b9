//! Progress bars: one for the run, one for each step under way, and above them what stays.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use jiff::Timestamp;
use relight_engine::clock::Clock;
use relight_engine::replay::History;

use super::known::Known;
use super::screen::Screen;
use super::told::{Key, Told};
use crate::format::{between, fitted, length};
use crate::terminal::{self, Look};
use crate::visible::one_line;

const TICK: Duration = Duration::from_millis(120);
/// How often the bars are drawn in a second.
const RATE: u8 = 20;

/// The percentage stands first, so that a narrow window shows it.
const MEASURED: &str = "{percent:>3}% {bar:10} {prefix}  {since}  {wide_msg}";
const UNMEASURED: &str = "{spinner} {prefix}  {since}  {wide_msg}";
const RUN: &str = "{spinner} {prefix}  {since}  {wide_msg}";

/// The bars at the bottom of the terminal.
pub(super) struct Bars {
    look: Look,
    clock: Arc<dyn Clock>,
    screen: Screen,
    all: MultiProgress,
    run: Option<(ProgressBar, String)>,
    steps: HashMap<Key, Step>,
    known: Known,
}

/// The bar of a step.
struct Step {
    bar: ProgressBar,
    since: Timestamp,
    usual: Option<Duration>,
    is_measured: bool,
}

impl Bars {
    pub(super) fn new(look: Look, clock: Arc<dyn Clock>) -> Self {
        let screen = Screen::new();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), RATE);
        let all = MultiProgress::with_draw_target(target);
        Bars { look, clock, screen, all, run: None, steps: HashMap::new(), known: Known::default() }
    }

    /// Shows the bar of a run, which people call `id`.
    pub(super) fn begin(&mut self, clock: Arc<dyn Clock>, id: &str, history: &History, known: Known) {
        self.clock = clock;
        self.known = known;
        // Added first: a bar of its own would draw itself where the others are.
        let bar = self.all.add(ProgressBar::new_spinner().with_style(self.style(RUN, history.created, None)));
        let title = one_line(&history.prepared.runbook).into_owned();
        bar.set_prefix(match self.known.plan.reached(history) {
            Some(place) => format!("{title}  {place}"),
            None => title.clone(),
        });
        bar.set_message(format!("run {id}"));
        self.run = Some((bar, title));
    }

    pub(super) fn show(&mut self, told: Told) {
        match told {
            Told::Line(line) | Told::Output(line) => self.line(&line),
            Told::Raw(text) => self.all.suspend(|| terminal::raw(&text)),
            Told::Began { key, title, operation, since, at } => {
                let usual = self.known.usual.get(&operation).copied();
                let bar = ProgressBar::new(100).with_style(self.style(UNMEASURED, since, usual));
                let bar = match &self.run {
                    Some((run, runbook)) => {
                        if let Some(at) = at {
                            let place = self.known.plan.place(&operation, &at, key.1);
                            run.set_prefix(format!("{runbook}  {place}"));
                        }
                        self.all.insert_before(run, bar)
                    }
                    None => self.all.add(bar),
                };
                bar.set_prefix(title);
                bar.enable_steady_tick(TICK);
                self.steps.insert(key, Step { bar, since, usual, is_measured: false });
            }
            Told::Said { key, percent, text, .. } => self.said(&key, percent, text),
            Told::Ended { key, mark, line } => {
                if let Some(step) = self.steps.remove(&key) {
                    step.bar.finish_and_clear();
                }
                self.line(&format!("{} {line}", self.look.mark(mark)));
            }
        }
        if let Some((run, _)) = &self.run {
            run.enable_steady_tick(TICK);
        }
    }

    fn said(&mut self, key: &Key, percent: Option<u8>, text: String) {
        let Some(step) = self.steps.get(key) else { return };
        let (since, usual) = (step.since, step.usual);
        if percent.is_some() != step.is_measured {
            let template = if percent.is_some() { MEASURED } else { UNMEASURED };
            step.bar.set_style(self.style(template, since, usual));
        }
        step.bar.set_position(percent.unwrap_or_default().into());
        step.bar.set_message(text);
        if let Some(step) = self.steps.get_mut(key) {
            step.is_measured = percent.is_some();
        }
    }

    /// Writes a line that stays, above the bars.
    pub(super) fn line(&self, line: &str) {
        self.all.suspend(|| terminal::put(&fitted(line, terminal::columns())));
    }

    /// Takes all bars away for a question, until [`show_again`](Self::show_again).
    pub(super) fn hide(&self) {
        self.screen.hide();
    }

    /// Draws the bars again that were hidden.
    pub(super) fn show_again(&self) {
        self.screen.show();
    }

    /// Takes all bars away for good.
    pub(super) fn clear(&mut self) {
        self.screen.hide();
        self.steps.drain().for_each(|(_, step)| step.bar.finish_and_clear());
        if let Some((run, _)) = &self.run {
            run.disable_steady_tick();
        }
    }

    /// Returns how a bar is drawn: with the time since it began, and how long such a step usually takes.
    fn style(&self, template: &str, since: Timestamp, usual: Option<Duration>) -> ProgressStyle {
        let clock = self.clock.clone();
        // The lab's time, where the lab's clock counts.
        let elapsed = move |_: &ProgressState, out: &mut dyn Write| {
            let _ = out.write_str(&length(between(since, clock.now())));
            if let Some(usual) = usual {
                let _ = write!(out, " of ~{}", length(usual));
            }
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let style = style.with_key("since", elapsed);
        match self.look.unicode {
            true => style.progress_chars("█▉▊▋▌▍▎▏·"),
            false => style.tick_chars("|/-\\ ").progress_chars("#.."),
        }
    }
}
