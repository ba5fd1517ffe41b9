//! Files on a machine, over SFTP: what upload and download share.
//!
//! ```text
//! upload   a file, a folder's files ──► send ──► beside its place ──► whole? ──► in its place
//! download a file, a folder's files ──► fetch ──► beside its place ──► whole? ──► in its place
//! ```

mod fetch;
mod meter;
mod send;
#[cfg(test)]
mod tests;
mod tree;

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use relight_engine::event::{Stream, hex};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::{Config, RawSftpSession, SftpSession};
use russh_sftp::protocol::{FileAttributes, Packet, StatusCode};
use sha2::{Digest, Sha256};

pub(super) use fetch::{Fetched, Fetching};
pub(super) use meter::Meter;
pub(super) use send::Sending;
pub(super) use tree::{Tree, joined};

use super::session::Session;
use crate::prelude::*;

/// How many requests may be on their way at once: at 80 ms, 50 MB a second.
const AT_ONCE: usize = 128;
/// How long the server may take for one of them, in seconds.
const PATIENCE: u64 = 60;
/// How much is read and written at a time.
const PIECE: usize = 256 * 1024;
/// OpenSSH's way to replace a file by another.
const REPLACE: &str = "posix-rename@openssh.com";
/// How many files of a folder are on their way at once: most of a small one's time is waiting for answers.
pub(super) const FILES_AT_ONCE: usize = 8;
/// How many files and folders one call carries at most.
pub(super) const MOST: usize = 10_000;

/// What was carried.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Carried {
    /// Path of the file or folder where it was carried to.
    path: String,
    /// How large it is: all files together, for a folder.
    bytes: u64,
    /// SHA-256 of what the file holds, in hexadecimal digits; for a folder that of its list, one line for each file as
    /// `sha256sum` writes it, in the order of the paths.
    sha256: String,
    /// How many bytes were there already, from an attempt before.
    resumed_at: u64,
    /// The files of a folder, in the order of their paths.
    files: Vec<CarriedFile>,
    /// What of a folder was not carried, in the order of the paths.
    skipped: Vec<Skipped>,
}

/// One file of a folder.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CarriedFile {
    /// Path in the folder.
    path: String,
    /// How large it is.
    bytes: u64,
    /// SHA-256 of what it holds, in hexadecimal digits.
    sha256: String,
}

/// Something that was not carried.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Skipped {
    /// Path in the folder.
    path: String,
    /// Why.
    why: String,
}

/// One file that is whole where it was carried to.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// How much of it was there before.
    pub(super) resumed_at: u64,
}

impl Carried {
    /// Says what became of a file.
    pub(super) fn file(path: &str, whole: Whole) -> Self {
        let Whole { bytes, sha256, resumed_at } = whole;
        let (files, skipped) = (Vec::new(), Vec::new());
        Carried { path: path.to_owned(), bytes, sha256, resumed_at, files, skipped }
    }

    /// Says what became of a folder.
    pub(super) fn folder(
        path: &str,
        mut files: Vec<(String, Whole)>,
        skipped: Vec<(String, String)>,
    ) -> Self {
        files.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut list = Sha256::new();
        for (path, whole) in &files {
            list.update(format!("{}  {path}\n", whole.sha256));
        }
        let mut skipped: Vec<_> = skipped.into_iter().map(|(path, why)| Skipped { path, why }).collect();
        skipped.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Carried {
            path: path.to_owned(),
            bytes: files.iter().map(|(_, whole)| whole.bytes).sum(),
            sha256: hex(&list.finalize()),
            resumed_at: files.iter().map(|(_, whole)| whole.resumed_at).sum(),
            files: files
                .into_iter()
                .map(|(path, Whole { bytes, sha256, .. })| CarriedFile { path, bytes, sha256 })
                .collect(),
            skipped,
        }
    }
}

/// A machine's files.
pub(super) struct Sftp {
    /// Reads and writes.
    files: SftpSession,
    /// Asks for what the other does not: lists with a bound, and OpenSSH's way to replace.
    raw: RawSftpSession,
    can_replace: bool,
    pub(super) machine: String,
}

impl Sftp {
    /// Begins to work with the files of a machine.
    pub(super) async fn open(session: &Session) -> Result<Self> {
        let config = Config {
            max_concurrent_reads: AT_ONCE,
            max_concurrent_writes: AT_ONCE,
            request_timeout_secs: PATIENCE,
            ..Config::default()
        };
        let begin = |e| failed("SFTP does not begin", e);
        let stream = session.sftp().await?.into_stream();
        let files = SftpSession::new_with_config(stream, config.clone()).await.map_err(begin)?;
        let raw = RawSftpSession::new_with_config(session.sftp().await?.into_stream(), config);
        let version = raw.init().await.map_err(begin)?;
        let can_replace = version.extensions.contains_key(REPLACE);
        Ok(Sftp { files, raw, can_replace, machine: session.machine().to_owned() })
    }

    /// Returns what a path on the machine is; a link is followed.
    pub(super) async fn about(&self, path: &str) -> Result<FileAttributes> {
        self.files.metadata(path).await.map_err(|e| self.unread(path, e))
    }

    /// Says what keeps something from being read on the machine.
    pub(super) fn unread(&self, path: &str, error: SftpError) -> Error {
        failed(format!("`{path}` cannot be read on `{}`", self.machine), error)
    }

    /// Ends it in good order.
    pub(super) async fn close(&self) {
        // Whoever is gone already need not be told.
        let _ = self.files.close().await;
        let _ = self.raw.close_session();
    }

    /// Puts a file in the place of another, at once where the server can.
    async fn replace(&self, from: &str, to: &str) -> Result<()> {
        let done = match self.can_replace {
            true => {
                let mut names = Vec::new();
                for name in [from, to] {
                    names.extend(u32::try_from(name.len()).unwrap_or_default().to_be_bytes());
                    names.extend(name.as_bytes());
                }
                match self.raw.extended(REPLACE, names).await {
                    Ok(Packet::Status(status)) if status.status_code == StatusCode::Ok => Ok(()),
                    Ok(Packet::Status(status)) => Err(SftpError::Status(status)),
                    Ok(_) => Err(SftpError::UnexpectedPacket),
                    Err(error) => Err(error),
                }
            }
            false => {
                // What stood there is gone for a moment; if it was not there, this says nothing new.
                let _ = self.raw.remove(to).await;
                self.raw.rename(from, to).await.map(drop)
            }
        };
        done.map_err(|e| failed(format!("`{to}` cannot be put in its place"), e))
    }
}

/// Says what keeps a file from being carried.
fn failed(what: impl Into<String>, error: SftpError) -> Error {
    let what = what.into();
    match &error {
        SftpError::Status(status) => match status.status_code {
            StatusCode::NoSuchFile => Error::rejected(what).code(ErrorCode::NOT_FOUND),
            StatusCode::PermissionDenied => {
                Error::rejected(what).hint("may the user do that on the machine?")
            }
            StatusCode::NoConnection | StatusCode::ConnectionLost => Error::new(ErrorKind::Transient, what),
            // OpenSSH gives no other reason for a full disk, a folder in the way and much else.
            _ => Error::rejected(what),
        },
        // Carrying it again is carrying it once.
        SftpError::IO(_) | SftpError::Timeout | SftpError::UnexpectedBehavior(_) => {
            Error::new(ErrorKind::Transient, what)
        }
        SftpError::Limited(_) | SftpError::UnexpectedPacket => Error::rejected(what),
    }
    .because(error)
}

/// Says what keeps a file from being carried, when it was said of a stream. What is no error of the client's own are
/// the server's words, such as those about a full disk.
fn cut(what: impl Into<String>, error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<SftpError>()) {
        Some(own) => failed(what, own.clone()),
        None => Error::rejected(what.into()).because(error),
    }
}

/// Returns the word for what a part is of.
fn mark(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())[..12].to_owned()
}

/// Returns a time as SFTP has it.
pub(super) fn seconds(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

/// Says what is not carried, while it is carried.
pub(super) fn say_skipped(cx: &Cx, skipped: &[(String, String)]) {
    for (path, why) in skipped {
        cx.output(Stream::Stderr, format!("skipped {path}: {why}\n").as_bytes());
    }
}

/// Ends with an error when the run is put away meanwhile. What was carried is gone on with.
pub(super) async fn unless_cancelled<T>(cx: &Cx, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = cx.cancelled() => Err(Error::new(ErrorKind::Unsent, "given up before all was carried")),
    }
}
