//! What somebody is told who is not looking, and when that is due.
//!
//! Owns: which records and settlements are worth a notification, and its id and words. Does not own: who is told, and how.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{Settlement, Summary};
use crate::error::Failure;
use crate::event::{Event, Fate, Lease, Park, RunEnd, RunId, Tick, digest};

/// The longest text that a notification carries, in bytes: receivers take a few thousand, and the journal has the whole.
const TEXT: usize = 2000;
/// The longest title.
const TITLE: usize = 200;
/// How many answers are named.
const CHOICES: usize = 10;
/// What is said of a run that needs a person's terminal.
const TERMINAL: &str = "it is at an operation that needs a terminal";

/// For what somebody is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Occasion {
    /// A run asks a person.
    Question,
    /// A run is parked and goes on only when a person does something about it.
    Parked,
    /// A run failed, and no other run waits for it.
    Failed,
    /// Something is open that should have been closed.
    LateLease,
    /// A schedule could not start a run in time.
    MissedTick,
    /// A schedule was paused because its runs fail.
    SchedulePaused,
}

impl Occasion {
    /// Every occasion.
    pub const ALL: [Occasion; 6] = [
        Occasion::Question,
        Occasion::Parked,
        Occasion::Failed,
        Occasion::LateLease,
        Occasion::MissedTick,
        Occasion::SchedulePaused,
    ];

    /// Returns the word that the configuration, lists and JSON use.
    pub fn as_str(self) -> &'static str {
        match self {
            Occasion::Question => "question",
            Occasion::Parked => "parked",
            Occasion::Failed => "failed",
            Occasion::LateLease => "late-lease",
            Occasion::MissedTick => "missed-tick",
            Occasion::SchedulePaused => "schedule-paused",
        }
    }
}

/// One thing that somebody is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Notification {
    /// Its id, which follows from what happened: a repeat carries the same one.
    pub id: String,
    /// For what.
    pub occasion: Occasion,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, in one line.
    pub title: String,
    /// The question, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The answers that are understood; any text when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// The runbook that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// The run that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The schedule that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The lease that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

impl Notification {
    /// Makes one. `about` is what the id follows from, and must be the same for whoever tells of the same.
    pub fn new(occasion: Occasion, about: &[&str], at: Timestamp, title: &str) -> Self {
        let parts: Vec<&str> =
            ["notification", occasion.as_str()].into_iter().chain(about.iter().copied()).collect();
        Notification {
            // Without a full stop: signatures are over texts that are put together with one.
            id: format!("note_{}", &digest(&parts)[..32]),
            occasion,
            at,
            title: bounded(title, TITLE),
            text: None,
            choices: Vec::new(),
            runbook: None,
            run: None,
            schedule: None,
            lease: None,
        }
    }

    /// Says that a lease is late. The same for as long as its deadline is the same.
    pub fn late_lease(lease: &Lease, runbook: Option<String>, at: Timestamp) -> Self {
        let title =
            format!("LATE: {} was to be closed by {:.0} and is still open", lease.title, lease.deadline);
        Notification {
            runbook,
            run: Some(lease.run.clone()),
            lease: Some(lease.id.clone()),
            ..Notification::new(Occasion::LateLease, &[&lease.id, &lease.deadline.to_string()], at, &title)
        }
    }

    /// Returns what an event of a run is worth, when the run stands as `run` says after it.
    pub(crate) fn of_event(run: &Summary, event: &Event) -> Option<Self> {
        if !Notification::may_be_of(event) {
            return None;
        }
        let (occasion, title, text, choices) = match event {
            Event::Parked { park, .. } if is_left(run) => match park {
                Park::Question { text, choices } => {
                    (Occasion::Question, format!("{} asks", run.runbook), text.clone(), choices.as_slice())
                }
                park => {
                    let title = format!("{} is parked: {}", run.runbook, reason(park));
                    let text = park.failure().map_or_else(|| TERMINAL.to_owned(), said);
                    (Occasion::Parked, title, text, &[][..])
                }
            },
            Event::Finished { end: RunEnd::Failed { failure, .. }, .. } if !run.id.is_branch() => {
                (Occasion::Failed, format!("{} failed", run.runbook), said(failure), &[][..])
            }
            _ => return None,
        };
        Some(Notification {
            text: Some(bounded(&text, TEXT)),
            choices: choices.iter().take(CHOICES).map(|choice| bounded(choice, TITLE)).collect(),
            runbook: Some(run.runbook.clone()),
            run: Some(run.id.clone()),
            ..Notification::new(occasion, &[run.id.as_str(), &run.seq.to_string()], run.updated, &title)
        })
    }

    /// Returns whether an event may be worth one, whatever the state of its run.
    pub(crate) fn may_be_of(event: &Event) -> bool {
        match event {
            Event::Parked { park, .. } => !park.is_waiting() && *park != Park::Interrupted,
            Event::Finished { end: RunEnd::Failed { .. }, parent: None } => true,
            _ => false,
        }
    }

    /// Returns what a settlement of a schedule is worth: one notification for all ticks in a row that were missed.
    pub(crate) fn of_settlement(settlement: &Settlement, at: Timestamp) -> Vec<Self> {
        let mut missed: Vec<Tick> = Vec::new();
        for tick in settlement.ticks.iter().filter(|tick| matches!(tick.fate, Fate::Missed { .. })) {
            if !missed.last_mut().is_some_and(|last| last.absorb(tick)) {
                missed.push(tick.clone());
            }
        }
        let schedule = settlement.to.as_ref().or(settlement.from.as_ref());
        let runbook = schedule.map(|schedule| schedule.runbook.clone());
        let mut all: Vec<Notification> =
            missed.iter().map(|tick| missed_tick(tick, runbook.clone(), at)).collect();
        all.extend(schedule.and_then(|to| {
            let was_paused = settlement.from.as_ref().is_some_and(|from| from.standing.paused.is_some());
            let pause = to.standing.paused.as_ref().filter(|_| !was_paused && to.standing.failures > 0)?;
            // A person who pauses knows of it; whoever pauses for failures counts up to the limit.
            to.terms.pause_after.filter(|most| to.standing.failures >= *most)?;
            let about = [to.id.as_str(), &pause.at.to_string()];
            let title = format!("schedule {} is paused by {}", to.id, pause.by);
            Some(Notification {
                text: Some(bounded(&pause.because, TEXT)),
                runbook: runbook.clone(),
                schedule: Some(to.id.clone()),
                ..Notification::new(Occasion::SchedulePaused, &about, at, &title)
            })
        }));
        all
    }
}

fn missed_tick(tick: &Tick, runbook: Option<String>, at: Timestamp) -> Notification {
    let Tick { schedule, due, last, count, .. } = tick;
    let title = match count {
        1 => format!("schedule {schedule} missed its run of {due:.0}"),
        count => format!("schedule {schedule} missed {count} runs, from {due:.0} to {last:.0}"),
    };
    let because = match &tick.fate {
        Fate::Missed { because } => Some(bounded(because, TEXT)),
        _ => None,
    };
    Notification {
        text: because,
        runbook,
        schedule: Some(schedule.clone()),
        ..Notification::new(
            Occasion::MissedTick,
            &[schedule, &due.to_string(), &last.to_string()],
            at,
            &title,
        )
    }
}

/// Returns whether a run that was just parked for a person stays so until that person does something.
fn is_left(run: &Summary) -> bool {
    match &run.park {
        // They may come back by themselves at some time, and a person is to come before; what was heard already wakes them now.
        Some(Park::Question { .. } | Park::Mistake { .. }) => run.wake.is_none_or(|wake| wake > run.updated),
        _ => run.wake.is_none(),
    }
}

/// Returns what went wrong, with the innermost cause.
fn said(failure: &Failure) -> String {
    match failure.causes.last() {
        Some(cause) => format!("{}: {cause}", failure.message),
        None => failure.message.clone(),
    }
}

fn reason(park: &Park) -> &'static str {
    match park {
        Park::Undecided { .. } => "nobody can tell whether a request took effect",
        Park::Exhausted { .. } => "retries ran out, or a wait took too long",
        Park::Denied { .. } => "an identity or a role is missing",
        Park::Halted { .. } => "going on would not be safe",
        Park::Mistake { .. } => "its runbook has a mistake",
        _ => "a person is needed",
    }
}

/// Returns a text of so many bytes at most.
fn bounded(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most - '…'.len_utf8()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_ends_between_two_letters() {
        assert_eq!(bounded("short", 5), "short");
        assert_eq!(bounded("äääää", 8), "ää…");
        let long = "ü".repeat(3000);
        let cut = bounded(&long, TEXT);
        assert!(cut.len() <= TEXT && cut.ends_with('…'), "{}", cut.len());
    }

    #[test]
    fn an_id_has_no_full_stop_and_follows_from_what_it_is_about() {
        let at = Timestamp::UNIX_EPOCH;
        let id = |about: &[&str]| Notification::new(Occasion::Failed, about, at, "x").id;
        assert_eq!(id(&["run", "7"]), id(&["run", "7"]));
        assert_ne!(id(&["run", "7"]), id(&["run", "8"]));
        assert_ne!(id(&["a", "bc"]), id(&["ab", "c"]));
        assert!(!id(&["run.x"]).contains('.'));
    }
}
