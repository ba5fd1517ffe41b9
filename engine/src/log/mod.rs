//! A run's own log, read by position: all that the step machine knows of whoever keeps runs.
//!
//! ```text
//!  script ─► step machine ─► RunLog ─┬─ a journal (SQLite, memory): claims, epochs, wake times
//!                                    └─ whatever else hands records back in their order
//! ```
//!
//! The machine asks for the record at the next position. Where one stands it is handed back and nothing
//! happens; where none stands it is *made*: the effect is inside what makes it, so that an effect and its
//! record are one thing to every backend. Between two records a run waits ([`RunLog::wait`]), and what it
//! has to do with other runs ([`OtherRuns`]) and with what comes due by itself ([`Duties`]) is the
//! backend's affair, too. Who may drive a run, how it is found when its time comes, and what is listed is
//! not in here.
//!
//! Two rules keep a machine that is replayed on its way:
//!
//! - **One position, one label.** The label says what the run is at, whether or not a record stands there.
//!   Which way it goes is decided inside what makes the record.
//! - **Time comes from the log.** What is decided outside of what makes a record follows from earlier
//!   records, never from the clock.

mod around;

use std::fmt;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;

pub use self::around::AroundLog;
use crate::clock::Interval;
use crate::drive::Driven;
pub use crate::drive::Halt;
use crate::error::Result;
use crate::event::{Effected, Event, Lease, Park, Record, RunEnd, RunId, Signal};
use crate::journal::{LeaseFilter, NewRun, Sync};

/// The log of one run, held by whoever drives the run.
#[async_trait]
pub trait RunLog: OtherRuns + Duties {
    /// Returns the run.
    fn run(&self) -> &RunId;

    /// Hands back what stands at a position, or has it made and returns once it is durable.
    ///
    /// `position` is the number of records that the caller has. Where a record stands behind them, it is
    /// handed back, alone or with those that follow it, and `make` is never polled. Otherwise `make` is
    /// awaited to its end and what it came to is recorded; when it came to nothing, or failed, nothing is.
    ///
    /// `label` is the same whether or not a record stands there; a backend may refuse another.
    ///
    /// # Errors
    /// Those of `make`. `Stopped` when somebody else drives the run: nothing more may be done. `Storage`.
    async fn next(&self, position: u64, label: Label, make: Make<'_>) -> Result<Next>;

    /// Puts on record what happens while something is made and is never waited for at a position: what it says,
    /// which files it writes, and that it sends later than it was permitted to.
    ///
    /// # Errors
    /// `Stopped` when somebody else drives the run: nothing more may be sent. `Storage`.
    async fn annotate(&self, entry: Entry) -> Result<Vec<Logged>>;

    /// Returns a text that an earlier entry of any run kept.
    ///
    /// # Errors
    /// `Storage`, also when there is none.
    async fn text(&self, sha256: &str) -> Result<String>;

    /// Waits until a time or a signal, whichever comes first; at once, and for neither, while a record stands
    /// behind those that the caller has. Each signal that waits for the run is handed out once, and stays with
    /// the backend until [`Event::Signalled`] is on the log.
    ///
    /// # Errors
    /// `Stopped`, `Storage`.
    async fn wait(&self, until: Until, hold: Hold) -> Result<Woken>;

    /// Returns why the run is to be put down as soon as nothing is under way, if it is.
    fn halted(&self) -> Option<Halt>;

    /// Returns once a call that is under way is to end early: the run is to be put down or, if `by_stop`, a
    /// stop waits for it. Tells nothing that is on the log.
    ///
    /// # Errors
    /// `Stopped`.
    async fn interrupted(&self, by_stop: bool) -> Result<()>;

    /// Returns whether a driver of the run, as [`Event::Claimed`] names it, certainly sends nothing any more.
    fn is_gone(&self, driver: &str) -> bool;
}

/// Makes what stands at a position next.
pub type Make<'a> = BoxFuture<'a, Result<Entry>>;

/// What is recorded together.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// When it happened.
    pub at: Timestamp,
    /// What happened, in order. Nothing when there is nothing to record.
    pub events: Vec<Event>,
    /// The texts that the events name by their fingerprints. They are durable before the events.
    pub texts: Vec<String>,
    /// Whether anything depends on the entry before the next one.
    pub sync: Sync,
}

impl Entry {
    /// Makes an entry of events.
    pub fn new(at: Timestamp, events: Vec<Event>, sync: Sync) -> Self {
        Entry { at, events, texts: Vec::new(), sync }
    }

    /// Sets the texts that its events name.
    #[must_use]
    pub fn texts(self, texts: Vec<String>) -> Self {
        Entry { texts, ..self }
    }
}

/// One event as it stands on the log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Logged {
    /// Its number, from 1.
    pub seq: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// The event.
    pub event: Event,
}

impl Logged {
    /// Makes one of its parts.
    pub fn new(seq: u64, at: Timestamp, event: Event) -> Self {
        Logged { seq, at, event }
    }
}

/// What stands at a position.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Next {
    /// The records, in order.
    pub logged: Vec<Logged>,
    /// Whether they were made just now, by what the caller gave.
    pub fresh: bool,
}

impl Next {
    /// Hands back what stood there.
    pub fn handed_back(logged: Vec<Logged>) -> Self {
        Next { logged, fresh: false }
    }

    /// Returns what was made.
    pub fn made(logged: Vec<Logged>) -> Self {
        Next { logged, fresh: true }
    }
}

/// What a run is at, at a position of its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Label {
    /// Its beginning.
    #[default]
    Run,
    /// A step, by its number.
    Step(u32),
    /// Its end.
    End,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Run => f.write_str("run"),
            Label::Step(step) => write!(f, "step {step}"),
            Label::End => f.write_str("end"),
        }
    }
}

/// Until when a run waits, unless something is said to it before.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// Not at all: it only listens.
    Now,
    /// Until the end of an interval.
    Time(Interval),
    /// As long as it takes.
    Said,
}

/// What a run holds on to while it waits, from the dearest to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A thread with a script on it, which many want.
    Script,
    /// A thread that is its own: giving it up costs a replay.
    Thread,
    /// Only its step.
    Step,
    /// Something open that others use: giving it up closes that.
    Open,
    /// Nothing: its log says that it is put away.
    Nothing,
}

/// How long a run waits for other runs, in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: it lets go of what it holds first.
    None,
    /// While one of them is at work. When all are put away, it is put away for them.
    Some,
    /// Until they are over, as long as no person is needed.
    Endless,
}

/// Why a run woke.
#[derive(Clone, Debug, PartialEq)]
pub enum Woken {
    /// The time has come.
    Time,
    /// Something was said to it that was not handed out before.
    Said(Vec<Signal>),
    /// It takes longer than what the run holds is kept for: the run lets go of it, and waits again. One that
    /// holds nothing is left: somebody else goes on with it.
    TooLong,
    /// The run is to be put down.
    Halted,
}

/// What a run has to do with other runs: those that its steps start and wait for, and those that it came from.
#[async_trait]
pub trait OtherRuns: Send + std::marker::Sync + 'static {
    /// Begins a run. One of that id that exists already is left as it is.
    ///
    /// # Errors
    /// `Storage`.
    async fn begin(&self, run: NewRun) -> Result<()>;

    /// Has a run driven, or waits for whoever drives it, until it is over or put away. Who drops what is returned
    /// does not wait any more.
    fn drive(&self, run: &RunId, hold: Hold) -> BoxFuture<'static, Result<Driven>>;

    /// Returns once a run that nobody waits for any more is put down.
    async fn let_go(&self, run: &RunId);

    /// Returns how long a run waits for others, holding on to what it holds.
    fn patience(&self, hold: Hold) -> Patience;

    /// Returns how a run stands, or nothing when there is none of that id.
    ///
    /// # Errors
    /// `Storage`.
    async fn standing(&self, run: &RunId) -> Result<Option<Standing>>;

    /// Leaves a signal for a run. Returns whether it is there: none is for a run that is over.
    ///
    /// # Errors
    /// `Storage`.
    async fn tell(&self, run: &RunId, signal: &Signal) -> Result<bool>;

    /// Returns the records of a run so far; none when there is no such run.
    ///
    /// # Errors
    /// `Storage`.
    async fn past(&self, run: &RunId) -> Result<Vec<Record>>;
}

/// How another run stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Standing {
    /// Its end, when it is over.
    pub end: Option<RunEnd>,
    /// Why it is put away, if it is.
    pub park: Option<Park>,
    /// When it goes on by itself.
    pub wake: Option<Timestamp>,
    /// Whether somebody drives it.
    pub is_driven: bool,
    /// The last step that it began.
    pub step: u32,
}

impl Standing {
    /// How a run stands that was begun and nobody drives.
    pub fn begun() -> Self {
        Standing { end: None, park: None, wake: None, is_driven: false, step: 0 }
    }
}

/// What comes due although nobody remembers it: closing what was opened, starting what was scheduled.
#[async_trait]
pub trait Duties: Send + std::marker::Sync + 'static {
    /// Takes on a duty that a record is about to say. It is durable before [`RunLog::next`] returns with that
    /// record; who writes both together has nothing to do here.
    ///
    /// # Errors
    /// `Storage`.
    async fn take_on(&self, duty: &Effected) -> Result<()>;

    /// Returns the open leases that a filter means, the first deadline first.
    ///
    /// # Errors
    /// `Storage`.
    async fn leases(&self, filter: &LeaseFilter) -> Result<Vec<Lease>>;

    /// Returns the one run that closes a lease, begun if there was none. `now` asks for the next one without
    /// the pause after one that ended badly.
    ///
    /// # Errors
    /// `Invalid` when the program cannot close it. `Storage`.
    async fn close(&self, lease: &Lease, now: bool) -> Result<Closing>;

    /// Has the run that closes a lease driven, as [`OtherRuns::drive`] does; it waits for no place.
    fn drive_closing(&self, run: &RunId, hold: Hold) -> BoxFuture<'static, Result<Driven>>;

    /// Makes sure that what a lease is about may still be opened: the lease is there, and nobody closes it.
    ///
    /// # Errors
    /// `Unsent` when it may not. `Storage`.
    async fn check_wanted(&self, lease: &Lease) -> Result<()>;

    /// Returns whether somebody may be at the step that opens what a lease, or one that ends with it, is about.
    ///
    /// # Errors
    /// `Storage`.
    async fn is_being_opened(&self, lease: &str) -> Result<bool>;
}

/// How the closing of a lease stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// A run has just been written down for it.
    Begun(RunId),
    /// A run is at its door, for this lease or for another one on the same door.
    UnderWay(RunId),
    /// The last run for it ended, and the lease is still there: the next begins after a pause.
    Paused,
    /// It is not open any more.
    Over,
}
