//! An event as the journal keeps it, chained to the one before.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Event, hex};
use crate::error::{Error, Result};
use crate::limits;

/// The hash that stands before the first record of a run.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One numbered, hash-chained event of a run, exactly as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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
