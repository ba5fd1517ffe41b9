//! Carrying a run in the foreground: questions, interrupts, and what is said when it is put away
//! or over.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use relight_engine::event::{Park, RunEnd, WrittenFile};
use relight_engine::{Driven, Engine, RunId, recorded};
use serde_json::Value;

use super::{advice, left_open};
use crate::exit::{Exit, Result};
use crate::format::{Table, in_local_time, plain, relative};
use crate::interrupt::{Interrupts, Means};
use crate::report::Reporter;
use crate::setup::{Home, Session};
use crate::visible::hung;
use crate::{platform, terminal};

/// Who answers questions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    /// Every yes-or-no question is answered with yes.
    pub(super) yes: bool,
    /// A program reads standard output, so nothing but events is printed there.
    pub(super) program: bool,
}

/// Carries a run until it is over or a person must act elsewhere.
pub(super) async fn carry(session: &Session, run: &RunId, answers: Answers) -> Result {
    let engine = &session.engine;
    let _interrupts = Interrupts::watch(engine, &session.reporter, Means::Park, "Parking the run");
    if terminal::can_ask() {
        engine.attend();
    }
    engine.answer_with(Arc::new(AtTerminal { reporter: session.reporter.clone(), answers }));
    let (id, history) = (engine.shortest(run).await?, engine.history(run).await?);
    session.reporter.begin(engine, run, &id, &history).await;
    tell_queue(engine, &session.home, run, &id).await?;
    let driven = drive(engine, run).await;
    session.reporter.clear();
    match driven {
        Ok(driven) => tell(engine, &session.home, run, driven, answers).await,
        Err(error) => {
            let id = engine.shortest(run).await.unwrap_or_else(|_| run.to_string());
            let show = format!("relight runs show {id}{}", session.home.same_place());
            Err(error.hint(format!("the record of the run: {show}")).into())
        }
    }
}

/// Drives a run. When its journal fails, what its branches have under way comes to its record first, where there is
/// one to be had.
pub(super) async fn drive(engine: &Engine, run: &RunId) -> relight_engine::Result<Driven> {
    let driven = engine.run(run).await;
    if driven.is_err() {
        engine.hand_back();
        engine.settle().await;
    }
    driven
}

/// Says what a run waits for that is in the queue.
pub(super) async fn tell_queue(engine: &Engine, home: &Home, run: &RunId, id: &str) -> Result<()> {
    let queue = engine.queue().await?;
    if let Some(queued) = queue.iter().find(|queued| queued.run.id == *run) {
        let (why, place) = (advice::queued_because(engine, queued).await?, home.same_place());
        terminal::say(format!("run {id} waits until there is room: {why}"));
        terminal::say(format!(
            "  relight runs queue{place}    # who waits for whom; `--at-once` would not wait"
        ));
    }
    Ok(())
}

/// Ends a run that has not begun when whoever started it goes away: it would begin by itself some day.
pub(super) async fn leave_queue(engine: &Engine, run: &RunId) -> Result<()> {
    if engine.journal().run(run).await?.is_some_and(|run| run.is_queued()) {
        engine.abandon(run, &platform::user(), "interrupted before its turn came").await?;
        terminal::say("It is taken out of the queue: nothing of it was done.");
    }
    Ok(())
}

/// A person at the terminal, or the answers that one gave in advance.
pub(super) struct AtTerminal {
    pub(super) reporter: Reporter,
    pub(super) answers: Answers,
}

#[async_trait]
impl relight_engine::Answers for AtTerminal {
    async fn answer(&self, _: &RunId, question: &str, choices: &[String]) -> Option<(String, String)> {
        let by = platform::user();
        if self.answers.yes && choices.iter().any(|choice| choice == "yes") {
            self.reporter.say(format!("{question} yes"));
            return Some(("yes".to_owned(), by));
        }
        if !terminal::can_ask() || self.answers.program {
            return None;
        }
        self.reporter.pause();
        let answer = ask(question, choices).await;
        self.reporter.go_on();
        answer.map(|answer| (answer, by))
    }
}

/// Asks a person until the answer is one of the choices. Nothing, when nobody answers.
async fn ask(question: &str, choices: &[String]) -> Option<String> {
    let hint = if choices.is_empty() { String::new() } else { format!(" [{}]", choices.join("/")) };
    loop {
        let prompt = format!("{}{hint}", in_local_time(question));
        let line = tokio::task::spawn_blocking(move || {
            terminal::prompt(&prompt);
            terminal::read_line()
        });
        match understood(&line.await.ok().flatten()?, choices) {
            Some(answer) => return Some(answer),
            None => terminal::say(format!("answer one of {}", choices.join(", "))),
        }
    }
}

/// Returns the choice that a line means: the word itself, or a beginning of one choice alone.
fn understood(line: &str, choices: &[String]) -> Option<String> {
    if choices.is_empty() {
        return Some(line.to_owned());
    }
    let line = line.to_lowercase();
    let mut fitting =
        choices.iter().filter(|choice| !line.is_empty() && choice.to_lowercase().starts_with(&line));
    match (choices.iter().find(|choice| choice.to_lowercase() == line), fitting.next(), fitting.next()) {
        (Some(exact), ..) => Some(exact.clone()),
        (None, Some(only), None) => Some(only.clone()),
        _ => None,
    }
}

/// Says how far a run came and what to do next.
pub(super) async fn tell(
    engine: &Engine,
    home: &Home,
    run: &RunId,
    driven: Driven,
    answers: Answers,
) -> Result {
    let place = home.same_place();
    let id = &engine.shortest(run).await?;
    let is_for_person = !answers.program && terminal::is_out_a_terminal();
    let exit = match driven {
        Driven::Ended(end) => {
            // A person reads first what to do and until when; a program reads nothing but the value.
            if is_for_person {
                left_open::tell(engine, home, run).await?;
            }
            if !answers.program {
                print_results(engine, home, run, &end).await?;
            }
            match &end {
                RunEnd::Succeeded { .. } => {}
                RunEnd::Failed { .. } => {
                    if let Some(error) = engine.failure(run).await? {
                        terminal::complain(&error);
                    }
                    terminal::say(format!("run {id} failed; its record: relight runs show {id}{place}"));
                }
                RunEnd::Stopped { .. } | RunEnd::Abandoned { .. } => {
                    terminal::say(format!("run {id} was {}", crate::report::outcome(&end)));
                }
            }
            if is_for_person {
                // It is told already.
                return Ok(Exit::from(&end));
            }
            Exit::from(&end)
        }
        Driven::Parked(park, until) => {
            // What a child run waits for is what this one waits for.
            let needy = advice::in_need(engine, &engine.find(run.as_str()).await?).await?;
            let (run, park) = (&needy.id, needy.park.as_ref().unwrap_or(&park));
            let id = &engine.shortest(run).await?;
            if let Some(error) = engine.trouble(run).await? {
                terminal::complain(&error);
            }
            let now = engine.clock().now();
            let until = match until {
                Some(until) if until > now => format!(" and goes on {}", relative(now, until)),
                Some(_) => " until a `relight serve` takes it up".to_owned(),
                None => String::new(),
            };
            match park {
                Park::Question { text, choices } => {
                    let answer = choices.first().map_or("ANSWER", String::as_str);
                    let choices =
                        if choices.is_empty() { String::new() } else { format!(" [{}]", choices.join("/")) };
                    terminal::say(format!(
                        "{}{choices}\nrun {id} is parked until somebody answers:",
                        hung(&in_local_time(text))
                    ));
                    terminal::say(format!("  relight runs answer {id} {answer}{place}"));
                }
                Park::Undecided { .. } => {
                    terminal::say(format!("run {id} is parked until somebody has looked:"));
                    for (word, means) in
                        [("done", "it happened"), ("again", "send it"), ("failed", "it failed")]
                    {
                        terminal::say(format!("  relight runs answer {id} {word}{place}    # {means}"));
                    }
                }
                Park::Mistake { mend_by, .. } => {
                    advice::tell_mistake(engine, &needy, id, mend_by.map(|by| relative(now, by)), &place);
                }
                _ => {
                    let is_ours = matches!(park, Park::Interrupted | Park::HandedBack);
                    let nothing_lost = if is_ours { "; nothing is lost" } else { "" };
                    terminal::say(format!("run {id} is parked{until}{nothing_lost}. Go on with:"));
                    terminal::say(format!("  relight runs resume {}{place}", advice::whole(id)));
                }
            }
            Exit::Parked
        }
        Driven::Queued => {
            terminal::say(format!(
                "run {id} has not begun: it stands in the queue, see `relight runs queue{place}`"
            ));
            return Ok(Exit::Parked);
        }
        Driven::Held { .. } => {
            terminal::say(format!("run {id} is driven by another process; follow it with:"));
            terminal::say(format!("  relight runs watch {id}{place}"));
            return Ok(Exit::Parked);
        }
    };
    left_open::tell(engine, home, run).await?;
    Ok(exit)
}

/// Prints the files that a run wrote, then the script's last value. A file that the value names is not
/// printed twice.
async fn print_results(engine: &Engine, home: &Home, run: &RunId, end: &RunEnd) -> Result<()> {
    let mut out = terminal::out();
    let history = engine.history(run).await?;
    let value = match end {
        RunEnd::Succeeded { value } => recorded::plain(value),
        _ => Value::Null,
    };
    let named = value.to_string();
    for WrittenFile { path, .. } in super::files::written(&history) {
        if !named.contains(&Value::from(path.as_str()).to_string()) {
            // Those of a run elsewhere were brought here.
            let workdir = if home.remote().is_some() { "" } else { &history.prepared.workdir };
            writeln!(out, "{}", shown(Path::new(workdir), path))?;
        }
    }
    match &value {
        Value::Null => {}
        Value::Object(fields) if terminal::is_out_a_terminal() => {
            let mut table = Table::default();
            for (name, value) in fields {
                table.row([name.clone(), in_local_time(&plain(value))]);
            }
            for line in table.lines(0) {
                writeln!(out, "{line}")?;
            }
        }
        Value::Object(_) | Value::Array(_) => writeln!(out, "{value:#}")?,
        simple if terminal::is_out_a_terminal() => writeln!(out, "{}", in_local_time(&plain(simple)))?,
        simple => writeln!(out, "{}", plain(simple))?,
    }
    Ok(())
}

/// Returns a path as it is seen from the current folder.
fn shown(workdir: &Path, path: &str) -> String {
    let whole = workdir.join(path);
    let here = std::env::current_dir().unwrap_or_default();
    whole.strip_prefix(&here).unwrap_or(&whole).display().to_string()
}
