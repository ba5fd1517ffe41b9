//! What happens in a run, told while it happens: bars on a terminal, plain lines elsewhere, JSON
//! lines for programs.
//!
//! ```text
//!  Notice ──► narrator (what is worth saying) ──► bars | lines
//!         └─► JSON lines, every notice
//! ```

mod bars;
mod json;
mod known;
mod narrator;
mod outcome;
mod output;
mod screen;
mod told;

use std::sync::{Arc, Mutex, PoisonError};

use relight_engine::clock::Clock;
use relight_engine::replay::History;
use relight_engine::{Engine, Notice, Observer, RunId};

use self::bars::Bars;
pub(crate) use self::json::line as json_line;
use self::known::Known;
use self::narrator::{Narrator, measured};
pub(crate) use self::outcome::{outcome, why};
use self::told::Told;
use crate::logging;
use crate::terminal::{self, Look};
use crate::visible::visible;

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A person, on standard error.
    Person,
    /// A program, on standard output.
    Program,
    /// The log, by tracing.
    Log,
}

/// Tells about runs. Clones tell the same story.
#[derive(Clone)]
pub(crate) struct Reporter(Arc<Mutex<Inner>>);

struct Inner {
    audience: Audience,
    narrator: Narrator,
    bars: Option<Bars>,
    /// What is told once a person has answered, while one is asked.
    held: Option<Vec<Told>>,
}

impl Reporter {
    /// Makes a reporter. Bars are drawn where somebody looks and nothing else writes to the terminal.
    pub(crate) fn new(audience: Audience, clock: Arc<dyn Clock>) -> Self {
        let look = Look::here();
        let draws = audience == Audience::Person && look.is_terminal && !logging::is_on();
        let inner = Inner {
            audience,
            narrator: Narrator::new(look),
            bars: draws.then(|| Bars::new(look, clock)),
            held: None,
        };
        Reporter(Arc::new(Mutex::new(inner)))
    }

    /// Returns the observer to give to an engine.
    pub(crate) fn observer(&self) -> Observer {
        let reporter = self.clone();
        Arc::new(move |notice| reporter.notice(notice))
    }

    /// Hears what an engine knows, before anything is told about its runs.
    pub(crate) fn learn(&self, engine: &Engine) {
        self.inner().narrator.declare(&engine.operations());
    }

    /// Tells about one event.
    pub(crate) fn notice(&self, notice: &Notice) {
        let mut inner = self.inner();
        match inner.audience {
            Audience::Program => json::print(notice),
            Audience::Log => inner.narrator.log(notice),
            Audience::Person => inner.tell(notice),
        }
    }

    /// Says which run is about to go on, which people call `id`, and what it did before.
    pub(crate) async fn begin(&self, engine: &Engine, run: &RunId, id: &str, history: &History) {
        {
            let mut inner = self.inner();
            if inner.audience == Audience::Person {
                let heading = inner.narrator.heading(id, history);
                inner.show(heading);
            }
        }
        self.take_up(engine, run, id, history).await;
    }

    /// Shows what is under way of a run that is about to go on.
    pub(crate) async fn take_up(&self, engine: &Engine, run: &RunId, id: &str, history: &History) {
        let draws = self.inner().bars.is_some();
        let known = if draws { Known::about(engine, run).await } else { Known::default() };
        let under_way = known::under_way(engine).await;
        let branches = known::branches(engine, run, history).await;
        let mut inner = self.inner();
        if inner.audience != Audience::Person {
            return;
        }
        inner.narrator.learn(under_way);
        let told = inner.narrator.begin(run, history);
        if let Some(bars) = &mut inner.bars {
            bars.begin(engine.clock().clone(), id, history, known);
        }
        let below =
            branches.iter().flat_map(|(branch, history)| inner.narrator.begin_branch(branch, history));
        let told: Vec<Told> = told.into_iter().chain(below.collect::<Vec<_>>()).collect();
        told.into_iter().for_each(|told| inner.show(told));
    }

    /// Writes a line for a person, above the bars.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        match &self.inner().bars {
            Some(bars) => bars.line(&visible(line.as_ref())),
            None => terminal::say(line),
        }
    }

    /// Keeps what happens to itself while a person is asked, until [`go_on`](Self::go_on).
    pub(crate) fn pause(&self) {
        let mut inner = self.inner();
        inner.held.get_or_insert_default();
        if let Some(bars) = &inner.bars {
            bars.hide();
        }
    }

    /// Tells what happened since [`pause`](Self::pause).
    pub(crate) fn go_on(&self) {
        let mut inner = self.inner();
        if let Some(bars) = &inner.bars {
            bars.show_again();
        }
        let held = inner.held.take().unwrap_or_default();
        held.into_iter().for_each(|told| inner.show(told));
    }

    /// Takes the bars away for good.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &mut self.inner().bars {
            bars.clear();
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&mut self, notice: &Notice) {
        for told in self.narrator.tell(notice) {
            self.show(told);
        }
    }

    fn show(&mut self, told: Told) {
        if let Some(held) = &mut self.held {
            held.push(told);
            return;
        }
        match (&mut self.bars, told.visible()) {
            (Some(bars), told) => bars.show(told),
            (None, Told::Raw(text)) => terminal::raw(&text),
            (None, Told::Line(line) | Told::Output(line)) => terminal::put(&line),
            (None, Told::Ended { mark, line, .. }) => {
                terminal::put(&format!("{} {line}", self.narrator.look().mark(mark)));
            }
            (None, Told::Said { title, percent, text, .. }) => {
                terminal::put(&format!("  {title}: {}", measured(percent, &text)));
            }
            (None, Told::Began { .. }) => {}
        }
    }
}
