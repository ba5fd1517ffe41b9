//! What is worth saying about an event, and how.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::event::{Place, Prepared, StepEnd};
use relight_engine::recorded;
use relight_engine::replay::{History, PastStep, StepState};
use relight_engine::{Declaration, Event, Notice, RunId, Shown};
use serde_json::Value;

use super::outcome::{LONGEST, headline, outcome, shortened, why};
use super::output::Outputs;
use super::told::{Key, Told};
use crate::format::{WHOLE, between, brief, length, plain};
use crate::terminal::{Look, Mark};

/// The shortest time that is worth telling.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// The longest item by which a branch is called.
const LONGEST_NAME: usize = 24;

struct Step {
    title: String,
    since: Timestamp,
    shown: Shown,
    said: (Option<u8>, String),
}

/// Follows runs event by event.
pub(super) struct Narrator {
    look: Look,
    main: Option<RunId>,
    runbooks: HashMap<RunId, String>,
    shown: HashMap<&'static str, Shown>,
    steps: HashMap<Key, Step>,
    outputs: Outputs,
    /// The last step of each run that was a text.
    texts: HashMap<RunId, u32>,
    /// What each run below the main one said last.
    below: HashMap<RunId, String>,
}

impl Narrator {
    pub(super) fn new(look: Look) -> Self {
        Narrator {
            look,
            main: None,
            runbooks: HashMap::new(),
            shown: HashMap::new(),
            steps: HashMap::new(),
            outputs: Outputs::default(),
            texts: HashMap::new(),
            below: HashMap::new(),
        }
    }

    /// Hears how the steps of each operation are shown.
    pub(super) fn declare(&mut self, operations: &[Arc<Declaration>]) {
        self.shown = operations.iter().map(|operation| (operation.name, operation.shown)).collect();
    }

    fn shown(&self, operation: &str) -> Shown {
        self.shown.get(operation).copied().unwrap_or_default()
    }

    /// Hears which runbooks runs are of, before anything is told about them.
    pub(super) fn learn(&mut self, runs: Vec<(RunId, String)>) {
        self.runbooks.extend(runs);
    }

    /// Takes a run on where its history ends.
    pub(super) fn begin(&mut self, run: &RunId, history: &History) -> Vec<Told> {
        self.main = Some(run.clone());
        self.begin_branch(run, history)
    }

    /// Says which run begins or goes on.
    pub(super) fn heading(&self, id: &str, history: &History) -> Told {
        let done = history.steps.iter().filter(|past| matches!(past.state, StepState::Finished(_))).count();
        let before = match (done, history.steps.len() - done) {
            (0, 0) => String::new(),
            (0, _) => ", goes on".to_owned(),
            (1, _) => ", goes on after 1 step".to_owned(),
            (many, _) => format!(", goes on after {many} steps"),
        };
        Told::Line(format!("run {id} of {}{before}", history.prepared.runbook))
    }

    /// Takes a branch on with its run: its steps that are under way.
    pub(super) fn begin_branch(&mut self, run: &RunId, history: &History) -> Vec<Told> {
        self.runbooks.insert(run.clone(), name_of(run, &history.prepared));
        let mut told = Vec::new();
        for (past, number) in history.steps.iter().zip(1..) {
            let PastStep { operation, at, since, state, .. } = past;
            // What a step holds open may speak long after the step is over.
            self.outputs.name((run.clone(), number), operation);
            let is_told = self.shown(operation).has_line();
            if !matches!(state, StepState::Finished(_)) && is_told {
                told.push(self.step_began((run.clone(), number), operation, *since, Some(at.clone())));
            }
        }
        told
    }

    /// Returns what to show for an event.
    pub(super) fn tell(&mut self, notice: &Notice) -> Vec<Told> {
        let key = |step: &u32| (notice.run.clone(), *step);
        match &notice.event {
            Event::Prepared(prepared) => {
                self.runbooks.insert(notice.run.clone(), name_of(&notice.run, prepared));
                Vec::new()
            }
            Event::StepStarted { step, operation, args, .. } if self.shown(operation) == Shown::Text => {
                // Begun again: a process died before the end of the step was on the disk.
                if self.texts.insert(notice.run.clone(), *step) == Some(*step) {
                    return Vec::new();
                }
                let text = args.get("text").map(plain).unwrap_or_default();
                vec![Told::Line(match notice.run.is_branch() {
                    true => format!("{}: {text}", self.name(&notice.run)),
                    false => text,
                })]
            }
            Event::StepStarted { operation, .. } if self.shown(operation) == Shown::Silent => Vec::new(),
            // Asked again because there is an answer now.
            Event::StepStarted { step, operation, .. }
                if self.shown(operation) == Shown::Question && self.steps.contains_key(&key(step)) =>
            {
                Vec::new()
            }
            Event::StepStarted { step, operation, attempt, at, .. } => {
                match self.steps.contains_key(&key(step)) && *attempt > 1 {
                    true => self.said(key(step), None, format!("attempt {attempt}")),
                    false => vec![self.step_began(key(step), operation, notice.at, Some(at.clone()))],
                }
            }
            Event::Progress { step, progress } => {
                let percent = progress.percent.map(|percent| percent.clamp(0.0, 100.0).round() as u8);
                let text = brief(&progress.message, LONGEST);
                match self.steps.contains_key(&key(step)) {
                    true => self.said(key(step), percent, text),
                    // The script itself says it, between two steps.
                    false if self.is_main(&notice.run) => vec![Told::Line(measured(percent, &text))],
                    // So does one below it, or a step of that which began in an earlier process.
                    false => self.said_below(&notice.run, measured(percent, &text)),
                }
            }
            Event::StepRetrying { step, attempt, failure, until, .. } => {
                let pause = between(notice.at, *until);
                let mut again = format!("attempt {attempt} failed: {}", headline(failure));
                if !pause.is_zero() {
                    again += &format!("; again in {}", length(pause));
                }
                self.said(key(step), None, again)
            }
            Event::Output { step, stream, text } => {
                self.outputs.tell(key(step), *stream, text, self.look.is_terminal)
            }
            Event::StepFinished { step, end, .. } => {
                let mut told = self.outputs.end(&key(step));
                told.extend(self.step_ended(key(step), notice.at, end));
                told
            }
            Event::Parked { .. } | Event::Finished { .. } => self.outputs.end_run(&notice.run),
            // What the engine keeps its own books by.
            _ => Vec::new(),
        }
    }

    fn step_began(&mut self, key: Key, operation: &str, since: Timestamp, at: Option<Place>) -> Told {
        let is_main = self.is_main(&key.0);
        let title = match is_main {
            true => operation.to_owned(),
            // A child run's step names the child, or several would look alike.
            false => {
                format!("{} > {operation}", self.name(&key.0))
            }
        };
        self.outputs.name(key.clone(), &title);
        let step =
            Step { title: title.clone(), since, shown: self.shown(operation), said: (None, String::new()) };
        self.steps.insert(key.clone(), step);
        // Where a child stands in its own plan says nothing about the run's.
        Told::Began { key, title, operation: operation.to_owned(), since, at: at.filter(|_| is_main) }
    }

    fn is_main(&self, run: &RunId) -> bool {
        self.main.as_ref().is_none_or(|main| main == run)
    }

    /// Tells once what a child or a branch says.
    fn said_below(&mut self, run: &RunId, text: String) -> Vec<Told> {
        let line = format!("{}: {text}", self.name(run));
        match self.below.insert(run.clone(), line.clone()) {
            Some(known) if known == line => Vec::new(),
            _ => vec![Told::Line(line)],
        }
    }

    /// Returns what a run is called beside others.
    fn name(&self, run: &RunId) -> String {
        self.runbooks.get(run).cloned().or_else(|| branch_of(run)).unwrap_or_else(|| run.to_string())
    }

    fn said(&mut self, key: Key, percent: Option<u8>, text: String) -> Vec<Told> {
        match self.steps.get_mut(&key) {
            Some(step) if step.said != (percent, text.clone()) => {
                step.said = (percent, text.clone());
                vec![Told::Said { key, title: step.title.clone(), percent, text }]
            }
            _ => Vec::new(),
        }
    }

    fn step_ended(&mut self, key: Key, at: Timestamp, end: &StepEnd) -> Vec<Told> {
        let Some(step) = self.steps.remove(&key) else { return Vec::new() };
        let took = between(step.since, at);
        let took = if took < WORTH_TELLING { String::new() } else { format!("  {}", length(took)) };
        let (mark, line) = match end {
            StepEnd::Ok(value) => (Mark::Done, format!("{}{took}{}", step.title, answer(step.shown, value))),
            StepEnd::Large { bytes, .. } => {
                (Mark::Done, format!("{}{took}  {} KiB", step.title, bytes >> 10))
            }
            StepEnd::Err(failure) => (Mark::Failed, format!("{}{took}  {}", step.title, headline(failure))),
        };
        vec![Told::Ended { key, mark, line }]
    }

    /// Writes an event to the log.
    pub(super) fn log(&self, notice: &Notice) {
        let run = notice.run.as_str();
        match &notice.event {
            Event::Prepared(prepared) => tracing::info!(run, runbook = prepared.runbook, "prepared"),
            Event::Claimed { epoch, .. } => tracing::info!(run, epoch, "goes on"),
            Event::StepStarted { operation, args, .. } if self.shown(operation) == Shown::Text => {
                tracing::info!(run, "{}", args.get("text").map(plain).unwrap_or_default());
            }
            Event::StepStarted { step, operation, attempt, .. } => {
                tracing::info!(run, step, attempt, "{operation}")
            }
            Event::StepRetrying { step, failure, until, .. } => {
                tracing::warn!(run, step, until = second(*until), "again: {}", shortened(failure, WHOLE));
            }
            Event::StepExtended { step, .. } => tracing::debug!(run, step, "sends late"),
            Event::StepAccepted { step, check_at, .. } => tracing::debug!(run, step, %check_at, "under way"),
            Event::Progress { step, progress } => {
                tracing::debug!(run, step, percent = progress.percent, "{}", progress.message)
            }
            Event::Output { step, stream, text } => tracing::debug!(run, step, ?stream, "{text}"),
            Event::OutputKept { step, output } => tracing::debug!(run, step, bytes = output.bytes, "said"),
            Event::FileWritten { step, file } => {
                tracing::info!(run, step, bytes = file.bytes, sha256 = file.sha256, "wrote {}", file.path);
            }
            Event::StepFinished { step, end: StepEnd::Ok(_) | StepEnd::Large { .. }, .. } => {
                tracing::info!(run, step, "done")
            }
            Event::StepFinished { step, end: StepEnd::Err(failure), .. } => {
                tracing::warn!(run, step, "failed: {}", shortened(failure, WHOLE));
            }
            Event::Signalled { .. } => tracing::info!(run, "a signal came"),
            Event::Mended { by, .. } => tracing::info!(run, by, "goes on with a mended text"),
            Event::Parked { park, until } => {
                let why = park.failure().map_or_else(|| why(park), |failure| shortened(failure, WHOLE));
                tracing::info!(run, until = until.map(second), "parked: {why}");
            }
            Event::Finished { end, .. } => tracing::info!(run, "{}", outcome(end)),
            _ => tracing::debug!(run, "an event that has no words yet"),
        }
    }

    /// Returns what the place where it is told can show.
    pub(super) fn look(&self) -> Look {
        self.look
    }
}

/// Returns what a run is called beside others: a branch by its item, if that is short, else by its place.
fn name_of(run: &RunId, prepared: &Prepared) -> String {
    let item = prepared.branch().map(|branch| recorded::plain(&branch.item));
    match (item, branch_of(run)) {
        (Some(Value::String(item)), _) if item.len() <= LONGEST_NAME && !item.is_empty() => {
            brief(&item, LONGEST_NAME)
        }
        (Some(Value::Number(item)), _) => item.to_string(),
        (Some(_), Some(place)) => place,
        _ => prepared.runbook.clone(),
    }
}

/// Returns the place of a branch among the others, if the run is one.
fn branch_of(run: &RunId) -> Option<String> {
    let (_, index) = run.as_str().rsplit_once('.')?;
    Some(format!("branch {}", index.parse().unwrap_or(0_u64) + 1))
}

/// Returns what is said about work under way as a line. The percentage stands first, so that a narrow window shows it.
pub(super) fn measured(percent: Option<u8>, text: &str) -> String {
    percent.map_or_else(|| text.to_owned(), |percent| format!("{percent}% {text}"))
}

/// Returns a person's answer, which is worth repeating; other values are the script's business.
fn answer(shown: Shown, value: &Value) -> String {
    match value {
        Value::String(answer) if shown == Shown::Question => format!("  {}", brief(answer, LONGEST)),
        Value::Bool(yes) if shown == Shown::Question => if *yes { "  yes" } else { "  no" }.to_owned(),
        _ => String::new(),
    }
}

/// Returns a moment to the second.
fn second(at: Timestamp) -> String {
    format!("{at:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use relight_engine::Engine;
    use relight_engine::event::Progress;
    use serde_json::json;

    const PLAIN: Look = Look { is_terminal: false, colour: false, unicode: false };

    fn notice(second: i64, event: Event) -> Notice {
        Notice::new("r".into(), None, Timestamp::from_second(second).unwrap(), event)
    }

    fn started(step: u32, operation: &str, args: Value) -> Event {
        Event::StepStarted {
            step,
            operation: operation.into(),
            args,
            at: Place::default(),
            attempt: 1,
            send_before: None,
        }
    }

    fn finished(step: u32, value: Value) -> Event {
        Event::StepFinished { step, end: StepEnd::Ok(value.into()), effected: Vec::new() }
    }

    #[test]
    fn a_step_is_told_from_begin_to_end() {
        let mut narrator = Narrator::new(PLAIN);
        let mut told = narrator.tell(&notice(0, started(1, "vmconnect::enable", json!({}))));
        for _ in 0..2 {
            let progress = Progress::new("opening", Some(40.4));
            told.extend(narrator.tell(&notice(5, Event::Progress { step: 1, progress })));
        }
        told.extend(narrator.tell(&notice(238, finished(1, Value::Null))));
        let (key, title) = (("r".into(), 1), "vmconnect::enable".to_owned());
        assert_eq!(
            told,
            [
                Told::Began {
                    key: ("r".into(), 1),
                    title: title.clone(),
                    operation: title.clone(),
                    since: Timestamp::UNIX_EPOCH,
                    at: Some(Place::default()),
                },
                Told::Said { key: ("r".into(), 1), title, percent: Some(40), text: "opening".into() },
                Told::Ended { key, mark: Mark::Done, line: "vmconnect::enable  3m58s".into() },
            ]
        );
    }

    #[test]
    fn a_note_is_its_text_and_what_is_silent_says_nothing() {
        let mut narrator = Narrator::new(PLAIN);
        narrator.declare(&Engine::builder().build().unwrap().operations());
        let told = narrator.tell(&notice(0, started(1, "note", json!({ "text": "web-01 is up" }))));
        assert_eq!(told, [Told::Line("web-01 is up".into())]);
        // Whoever follows the run hears it begin again when the process that drove it died right then.
        assert_eq!(narrator.tell(&notice(1, started(1, "note", json!({ "text": "web-01 is up" })))), []);
        assert_eq!(narrator.tell(&notice(0, finished(1, Value::Null))), []);
        assert_eq!(narrator.tell(&notice(0, started(2, "now", json!({})))), []);
    }
}
