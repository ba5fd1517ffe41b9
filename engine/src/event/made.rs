//! What an operation hands on besides its result: what it said, and the files it wrote.

use serde::{Deserialize, Serialize};

/// On which stream something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// What a command prints as its result.
    Stdout,
    /// What a command says beside it.
    Stderr,
    /// The screen of an operation that has the terminal to itself: colours and cursor movements pass.
    Terminal,
}

/// A piece of output that the journal keeps, as text under its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeptOutput {
    /// On which stream it was said.
    pub stream: Stream,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// How many bytes were said between the piece before and this one, and left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// A file that an operation wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WrittenFile {
    /// Where: in the run's folder, unless it begins at the root.
    pub path: String,
    /// SHA-256 of what it held then, in hexadecimal.
    pub sha256: String,
    /// Its length then.
    pub bytes: u64,
}

impl WrittenFile {
    /// Makes the record of a file.
    pub fn new(path: impl Into<String>, sha256: impl Into<String>, bytes: u64) -> Self {
        WrittenFile { path: path.into(), sha256: sha256.into(), bytes }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
