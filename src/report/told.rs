//! What there is to show, before it is known where.

use jiff::Timestamp;
use relight_engine::RunId;
use relight_engine::event::Place;

use crate::format::in_local_time;
use crate::terminal::Mark;
use crate::visible::hung;

/// A step of a run.
pub(super) type Key = (RunId, u32);

/// Something to show.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// A line that stays.
    Line(String),
    /// A line of a step's output.
    Output(String),
    /// A piece of what a step writes to a terminal that it has to itself.
    Raw(String),
    /// A step is under way.
    Began { key: Key, title: String, operation: String, since: Timestamp, at: Option<Place> },
    /// What is known about it by now, with a percentage when there is one.
    Said { key: Key, title: String, percent: Option<u8>, text: String },
    /// It is no longer under way; the line stays.
    Ended { key: Key, mark: Mark, line: String },
}

impl Told {
    /// Returns the same for people: with nothing in it that a terminal obeys, and in one time zone.
    pub(super) fn visible(self) -> Self {
        let clean = |text: String| hung(&in_local_time(&text)).into_owned();
        match self {
            Told::Line(line) => Told::Line(clean(line)),
            // What others say is repeated as they said it.
            Told::Output(line) => Told::Line(hung(&line).into_owned()),
            Told::Raw(text) => Told::Raw(text),
            Told::Began { key, title, operation, since, at } => {
                Told::Began { key, title: clean(title), operation, since, at }
            }
            Told::Said { key, title, percent, text } => {
                Told::Said { key, title: clean(title), percent, text: clean(text) }
            }
            Told::Ended { key, mark, line } => Told::Ended { key, mark, line: clean(line) },
        }
    }
}
