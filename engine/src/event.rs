//! One line of events per run: what the journal stores and what observers see as progress.
//!
//! Format version 1. A change to what is written here must answer three questions in its commit:
//! old reader and new data, new reader and old data, old writer and new data. Histories saved by
//! every release are replayed by the tests (`tests/journals/`).

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::effect::Effects;
use crate::error::{Error, Failure, Result};
use crate::limits;

/// The version of the event format that this build writes.
pub const FORMAT: u32 = 1;

/// The name of a run. Time-ordered, so that a list of runs reads in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// Makes an id for a run that a person starts. It is random from its first digit on, so that a short
    /// beginning tells it from others.
    pub fn fresh() -> Self {
        let random = uuid::Uuid::new_v4().as_bytes().to_owned();
        // Bytes 6 and 8 of a version 4 UUID are not all random.
        RunId(hex(&[&random[..6], &random[10..12]].concat()))
    }

    /// Makes the id of a run that something else fixes, such as the firing of a schedule.
    ///
    /// The same parts give the same id, so that what they stand for cannot start twice.
    pub fn derived(parts: &[&str]) -> Self {
        RunId(format!("d{}", &digest(parts)[..15]))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<String> for RunId {
    fn from(text: String) -> Self {
        RunId(text)
    }
}

impl From<&str> for RunId {
    fn from(text: &str) -> Self {
        RunId(text.to_owned())
    }
}

/// Returns the SHA-256 over length-prefixed parts, in lower-case hexadecimal.
pub fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize())
}

/// Returns the fingerprint of a source text: its SHA-256, in lower-case hexadecimal.
pub fn fingerprint(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Returns bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads the lower-case hexadecimal of 32 bytes. By a table: each record is read and written so, and nobody can
/// foretell the next digit of a hash.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    const NONE: u8 = 0xff;
    const VALUES: [u8; 256] = {
        let mut values = [NONE; 256];
        let mut digit = 0;
        while digit < 16 {
            values[b"0123456789abcdef"[digit] as usize] = digit as u8;
            digit += 1;
        }
        values
    };
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let (mut bytes, mut any) = ([0; 32], 0);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        any |= high | low;
        *byte = high << 4 | low & 15;
    }
    (any < 16).then_some(bytes)
}

/// One source text that a run uses: the runbook itself, something it imports, or a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The name inside the library, with `/` between folders and without the ending.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A source text as the journal's chain names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The name inside the library.
    pub name: String,
    /// SHA-256 of the text, in hexadecimal. The text itself is stored once, under this key.
    pub fingerprint: String,
}

/// Where the runbook library stood when the run was prepared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The git commit of the library, when it is a checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Whether the checkout had changes that the commit does not hold.
    #[serde(default)]
    pub dirty: bool,
}

/// Why a run exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Cause {
    /// Somebody asked for it.
    Person,
    /// A schedule fired.
    Schedule {
        /// The schedule.
        id: String,
        /// The time for which it was due.
        due: Timestamp,
    },
    /// A lease reached its deadline, or somebody closed it early.
    Lease {
        /// The lease.
        id: String,
    },
    /// Another run started it as its child.
    Run {
        /// The parent.
        id: RunId,
        /// The parent's step.
        step: u32,
    },
    /// Somebody ran an earlier run's runbook again, with the same parameters.
    Rerun {
        /// The run that it follows.
        of: RunId,
    },
}

/// Everything that is fixed about a run before it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The version of the event format.
    pub format: u32,
    /// The version of the program that prepared the run.
    pub engine: String,
    /// The name of the runbook.
    pub runbook: String,
    /// Every source text, the runbook itself first: what it imports, and the runbooks that it runs by a name
    /// in its text, with theirs.
    pub sources: Vec<Pin>,
    /// Where the library stood.
    #[serde(default)]
    pub provenance: Provenance,
    /// The parameters, typed and complete. Secrets are references.
    pub params: Value,
    /// Why the run exists.
    pub cause: Cause,
    /// The folder below which the run may touch files.
    pub workdir: String,
    /// What whoever started the run gave for `path` parameters, also outside that folder. A default gives no such right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// How many runs stand above this one, each the child of the next.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u32,
    /// What whatever caused the run may do: the run may do no more. Nothing limits a run that a person starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Effects>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A place in a source text. Lines and columns are one-based; columns count characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The source, when it is not the runbook itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A message about work under way, with a percentage when the service gives one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What the service last said.
    pub message: String,
    /// How much is done, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
}

/// A call of an operation, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The operation's name.
    pub operation: String,
    /// Its arguments by name.
    pub args: Value,
}

/// A duty to close something that was opened, with a deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The lease's name, derived from the run and the step that opened it.
    pub id: String,
    /// The run that opened it.
    pub run: RunId,
    /// For whom it is open: the resource id of the machine, in lower case.
    pub subject: String,
    /// What is open: the wall that several leases may share, such as one port of one host.
    pub door: String,
    /// One line for a person: "VM Connect to web-01 on hq-node2".
    pub title: String,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it is closed at the latest.
    pub deadline: Timestamp,
    /// What closes it. It must do no harm when it is done twice: whoever finds it undecided looks, and
    /// does it again when that tells nothing.
    pub close: Call,
}

/// A lease that a person took off the list, although nobody saw what it left open closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgottenLease {
    /// Its last terms.
    pub lease: Lease,
    /// Who took it off.
    pub by: String,
    /// Why, in that person's words.
    pub because: String,
    /// When.
    pub at: Timestamp,
}

/// A run that is due at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Appointment {
    /// The schedule's name, derived from what made it.
    pub id: String,
    /// The runbook to run.
    pub runbook: String,
    /// Its parameters: as a person would write them or, when a run made it, as that run recorded them.
    pub params: Value,
    /// When it fires next.
    pub due: Timestamp,
    /// How it repeats: a cron expression with a time zone. Fires once when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<String>,
    /// The run that made it, when a run did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The folder below which its runs may touch files.
    pub workdir: String,
    /// What the run that made it may do: its runs may do no more. The engine sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Effects>,
}

/// What else becomes true together with an event, in the same transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "does", rename_all = "snake_case")]
pub enum Effected {
    /// A lease is open. Repeating an id replaces its terms.
    LeaseOpened(Lease),
    /// A lease is closed.
    LeaseClosed {
        /// The lease.
        id: String,
    },
    /// A run is due at a time. Repeating an id replaces it.
    Scheduled(Appointment),
    /// A schedule is gone.
    Unscheduled {
        /// The schedule.
        id: String,
    },
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// It gave a value.
    Ok(Value),
    /// It gave a value that lies out of line, as JSON text under its fingerprint.
    Large {
        /// SHA-256 of the text, in hexadecimal.
        sha256: String,
        /// Its length.
        bytes: u64,
    },
    /// It failed in a way that the script may catch.
    Err(Failure),
}

/// Why a run is put away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Park {
    /// It waits for a time or for an operation that is under way.
    Waiting,
    /// A question waits for a person's answer.
    Question {
        /// The question.
        text: String,
        /// The answers that are understood; any text when empty.
        #[serde(default)]
        choices: Vec<String>,
    },
    /// A request was sent, and nobody can tell from here whether it took effect.
    Undecided {
        /// What is known about it.
        failure: Failure,
    },
    /// Retries ran out, or a wait passed its deadline.
    Exhausted {
        /// The last error.
        failure: Failure,
    },
    /// An identity or a role is missing.
    Denied {
        /// The refusal.
        failure: Failure,
    },
    /// Going on would not be safe: a replay did not meet what was recorded, the text cannot be read
    /// any more, or driving the run ended its process again and again.
    Halted {
        /// Why.
        failure: Failure,
    },
    /// The runbook has a mistake that showed only now. Its text can be mended; what was done and
    /// answered is kept.
    Mistake {
        /// The mistake.
        failure: Failure,
        /// Where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
        /// When the run is stopped unless somebody mended it, so that what it deferred runs. Not set
        /// when it deferred nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mend_by: Option<Timestamp>,
    },
    /// A person interrupted it, and goes on with it when it suits.
    Interrupted,
    /// The process that drove it ended in good order; the next one goes on with it at once.
    HandedBack,
    /// It waits for a child run.
    Child {
        /// The child.
        run: RunId,
    },
}

impl Park {
    /// Returns whether the run goes on by itself, without a person.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Park::Waiting | Park::Child { .. } | Park::HandedBack)
    }

    /// Returns the error for which it is put away, if it is for one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Park::Undecided { failure }
            | Park::Exhausted { failure }
            | Park::Denied { failure }
            | Park::Halted { failure }
            | Park::Mistake { failure, .. } => Some(failure),
            Park::Waiting
            | Park::Question { .. }
            | Park::Interrupted
            | Park::HandedBack
            | Park::Child { .. } => None,
        }
    }

    /// Returns whether a word from outside makes the run go on. Any does while it waits or asks. What
    /// a person has to look at first hears only that it shall stop, or every answer and every child
    /// that comes late would wake it for nothing.
    pub fn hears(&self, word: &Signal) -> bool {
        match self {
            Park::Question { .. } | Park::Undecided { .. } => true,
            park => park.is_waiting() || matches!(word, Signal::Stop { .. }),
        }
    }
}

/// A word from outside the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
pub enum Signal {
    /// The answer to the question or the undecided step on which the run is parked.
    Answer {
        /// The step it answers.
        step: u32,
        /// The answer.
        value: Value,
        /// Who gave it.
        by: String,
    },
    /// A child run on which the run is parked is over.
    ChildEnded {
        /// The child.
        run: RunId,
    },
    /// A wish to end the run. What it deferred still runs.
    Stop {
        /// Who wants it.
        by: String,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum RunEnd {
    /// The script ran to its end.
    Succeeded {
        /// Its last value.
        value: Value,
    },
    /// An error was not caught.
    Failed {
        /// The error.
        failure: Failure,
        /// Where it was raised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
    },
    /// A person stopped it.
    Stopped {
        /// Who.
        by: String,
        /// Why what it had deferred did not run: its script could not be replayed any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unreplayed: Option<Failure>,
    },
    /// A person gave up on it. What it deferred did not run, and what it opened is still open.
    Abandoned {
        /// Who.
        by: String,
        /// Why.
        because: String,
    },
}

/// One thing that happened to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run exists; always the first event.
    Prepared(Box<Prepared>),
    /// A process took the run on.
    Claimed {
        /// The process.
        owner: String,
        /// The fencing number; grows with each claim.
        epoch: u64,
    },
    /// The intent of a step. Durable before its request leaves.
    StepStarted {
        /// The step's number, from 1.
        step: u32,
        /// The operation.
        operation: String,
        /// Its arguments by name.
        args: Value,
        /// Where the script calls it.
        at: Place,
        /// Which attempt this is, from 1.
        attempt: u32,
        /// Until when whoever wrote this may send. Whoever finds the step open later waits for that
        /// time, and a margin, unless the writer is known to be gone. Left out where nothing changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        send_before: Option<Timestamp>,
    },
    /// Whoever drives the step may send for longer. Written before the request that comes late.
    StepExtended {
        /// The step.
        step: u32,
        /// Until when, as in `StepStarted`.
        send_before: Timestamp,
    },
    /// An attempt failed in a way that another may mend.
    StepRetrying {
        /// The step.
        step: u32,
        /// The attempt that failed.
        attempt: u32,
        /// Its error.
        failure: Failure,
        /// Whether the request certainly had no effect.
        clean: bool,
        /// When the next attempt is due.
        until: Timestamp,
    },
    /// The operation is under way elsewhere; this is enough to go on waiting after a restart.
    StepAccepted {
        /// The step.
        step: u32,
        /// The operation's own state.
        continuation: Value,
        /// When to look next.
        check_at: Timestamp,
        /// When to stop waiting and ask a person.
        deadline: Timestamp,
        /// Until when whoever wrote this may send, as in `StepStarted`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        send_before: Option<Timestamp>,
        /// What became true with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        effected: Vec<Effected>,
    },
    /// The step's result. A failure of the kind `script` says that the call itself was wrong: nothing
    /// was sent, and the number is taken by the call that the mended text makes in its place.
    StepFinished {
        /// The step.
        step: u32,
        /// What it came to.
        end: StepEnd,
        /// What became true with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        effected: Vec<Effected>,
    },
    /// A word from outside took effect here.
    Signalled {
        /// The word.
        #[serde(flatten)]
        signal: Signal,
    },
    /// The run goes on with other texts, which replay what was recorded so far.
    Mended {
        /// The texts, the runbook itself first. They are part of the record.
        sources: Vec<Source>,
        /// Where the library stood.
        #[serde(default)]
        provenance: Provenance,
        /// Who wanted it.
        by: String,
    },
    /// The run is put away.
    Parked {
        /// Why.
        #[serde(flatten)]
        park: Park,
        /// When it goes on by itself, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// The run is over; always the last event.
    Finished {
        /// How.
        #[serde(flatten)]
        end: RunEnd,
        /// The run that waits for this one: it is told in the same transaction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<RunId>,
    },
    /// What the service last said. Shown, never stored.
    Progress {
        /// The step.
        step: u32,
        /// The message.
        #[serde(flatten)]
        progress: Progress,
    },
}

impl Event {
    /// Returns whether the journal keeps the event.
    pub fn is_durable(&self) -> bool {
        !matches!(self, Event::Progress { .. })
    }

    /// Returns what becomes true together with the event.
    pub fn effected(&self) -> &[Effected] {
        match self {
            Event::StepAccepted { effected, .. } | Event::StepFinished { effected, .. } => effected,
            _ => &[],
        }
    }
}

/// The hash that stands before the first record of a run.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One numbered, hash-chained event of a run, exactly as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The number, from 1 without a gap.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The event as the JSON text over which the hash runs.
    pub body: String,
    /// SHA-256 over the previous hash, the number, the time and the body, in hexadecimal.
    pub hash: String,
}

impl Record {
    /// Makes the record that follows `previous` (its hash, or [`GENESIS`]).
    ///
    /// # Errors
    /// `Storage` when the event cannot be written as JSON, `Invalid` when it would not read back.
    pub fn follow(previous: &str, seq: u64, at: Timestamp, event: &Event) -> Result<Self> {
        let body = serde_json::to_string(event)
            .map_err(|e| Error::storage(format!("failed to write event {seq}")).because(e))?;
        limits::check(&body)?;
        let hash = link(previous, seq, at, &body);
        Ok(Record { seq, at, body, hash })
    }

    /// Returns the event.
    ///
    /// # Errors
    /// `Storage` when the body is of an unknown type.
    pub fn event(&self) -> Result<Event> {
        serde_json::from_str(&self.body)
            .map_err(|e| Error::unreadable(format!("unknown event type in record {}", self.seq)).because(e))
    }
}

/// Checks that `records` are numbered without a gap and chained from `previous`.
///
/// # Errors
/// `Storage`, naming the first record that does not fit.
pub fn verify(previous: &str, first: u64, records: &[Record]) -> Result<()> {
    let mut previous = previous;
    for (record, seq) in records.iter().zip(first..) {
        if record.seq != seq {
            return Err(broken(seq, &format!("the journal continues with record {}", record.seq)));
        }
        if link(previous, seq, record.at, &record.body) != record.hash {
            return Err(broken(seq, "its hash does not match its content"));
        }
        previous = &record.hash;
    }
    Ok(())
}

fn broken(seq: u64, how: &str) -> Error {
    Error::storage(format!("record {seq} of the run is damaged: {how}"))
        .hint("the journal was changed or the disk is failing: restore the database from a backup; nothing was sent")
}

fn link(previous: &str, seq: u64, at: Timestamp, body: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(previous.as_bytes());
    hasher.update(seq.to_le_bytes());
    hasher.update(at.as_nanosecond().to_le_bytes());
    hasher.update(body.as_bytes());
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(events: &[Event]) -> Vec<Record> {
        let mut previous = GENESIS.to_owned();
        let mut out = Vec::new();
        for (event, seq) in events.iter().zip(1..) {
            let record = Record::follow(&previous, seq, Timestamp::UNIX_EPOCH, event).expect("writes");
            previous.clone_from(&record.hash);
            out.push(record);
        }
        out
    }

    fn three() -> Vec<Record> {
        chain(&[
            Event::Claimed { owner: "a".into(), epoch: 1 },
            Event::Parked { park: Park::Interrupted, until: None },
            Event::Claimed { owner: "b".into(), epoch: 2 },
        ])
    }

    #[test]
    fn a_chain_verifies_and_reads_back() {
        let records = three();
        verify(GENESIS, 1, &records).expect("intact");
        assert_eq!(
            records[1].event().expect("reads"),
            Event::Parked { park: Park::Interrupted, until: None }
        );
    }

    #[test]
    fn every_changed_byte_dropped_or_swapped_record_is_named() {
        let intact = three();
        for index in 0..3 {
            for at in 0..intact[index].body.len() {
                let mut records = intact.clone();
                let mut body = records[index].body.clone().into_bytes();
                body[at] ^= 1;
                records[index].body = String::from_utf8(body).expect("ascii");
                let error = verify(GENESIS, 1, &records).expect_err("damaged");
                assert!(error.message().starts_with(&format!("record {} ", index + 1)), "{error}");
            }
        }
        let mut dropped = intact.clone();
        dropped.remove(1);
        assert!(verify(GENESIS, 1, &dropped).is_err());
        let mut swapped = intact.clone();
        swapped.swap(0, 1);
        assert!(verify(GENESIS, 1, &swapped).is_err());
    }

    #[test]
    fn derived_ids_tell_their_parts_apart() {
        assert_eq!(RunId::derived(&["a", "b"]), RunId::derived(&["a", "b"]));
        assert_ne!(RunId::derived(&["ab", ""]), RunId::derived(&["a", "b"]));
    }
}
