//! A service elsewhere, to which commands talk instead of to the runs here.
//!
//! Its journal is read over its API ([`journal`]), so that what a command shows of it is made by what shows the runs here.

mod client;
mod journal;

pub(crate) use self::client::{Client, Followed};
pub(crate) use self::journal::RemoteJournal;
