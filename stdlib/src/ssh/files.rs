//! Files on a machine, over SFTP: what upload and download share.

use std::time::Instant;

use relight_engine::event::hex;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::{Config, RawSftpSession, SftpSession};
use russh_sftp::protocol::{Packet, StatusCode};
use sha2::{Digest, Sha256};

use super::session::Session;
use crate::prelude::*;

/// How many requests may be on their way at once: at 80 ms, 50 MB a second.
const AT_ONCE: usize = 128;
/// How long the server may take for one of them, in seconds.
const PATIENCE: u64 = 60;
/// How much is read and written at a time.
pub(super) const PIECE: usize = 256 * 1024;
/// OpenSSH's way to replace a file by another.
const REPLACE: &str = "posix-rename@openssh.com";

/// A file that was carried.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Carried {
    /// Path of the file where it was carried to.
    pub(super) path: String,
    /// How large it is.
    pub(super) bytes: u64,
    /// SHA-256 of what it holds, in hexadecimal digits.
    pub(super) sha256: String,
    /// How much of it was there from an attempt before.
    pub(super) resumed_at: u64,
}

/// Begins to work with files.
pub(super) async fn open(session: &Session) -> Result<SftpSession> {
    let config = Config {
        max_concurrent_reads: AT_ONCE,
        max_concurrent_writes: AT_ONCE,
        request_timeout_secs: PATIENCE,
        ..Config::default()
    };
    let stream = session.sftp().await?.into_stream();
    SftpSession::new_with_config(stream, config).await.map_err(|e| failed("SFTP does not begin", e))
}

/// Says what keeps a file from being carried.
pub(super) fn failed(what: impl Into<String>, error: SftpError) -> Error {
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
pub(super) fn cut(what: impl Into<String>, error: std::io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<SftpError>()) {
        Some(own) => failed(what, own.clone()),
        None => Error::rejected(what.into()).because(error),
    }
}

/// Puts a file in the place of another, at once where the server can.
pub(super) async fn replace(session: &Session, from: &str, to: &str) -> Result<()> {
    let failed = |e| failed(format!("`{to}` cannot be put in its place"), e);
    let raw = RawSftpSession::new(session.sftp().await?.into_stream());
    let version = raw.init().await.map_err(failed)?;
    let done = match version.extensions.contains_key(REPLACE) {
        true => {
            let mut names = Vec::new();
            for name in [from, to] {
                names.extend(u32::try_from(name.len()).unwrap_or_default().to_be_bytes());
                names.extend(name.as_bytes());
            }
            match raw.extended(REPLACE, names).await {
                Ok(Packet::Status(status)) if status.status_code == StatusCode::Ok => Ok(()),
                Ok(Packet::Status(status)) => Err(SftpError::Status(status)),
                Ok(_) => Err(SftpError::UnexpectedPacket),
                Err(error) => Err(error),
            }
        }
        false => {
            // What stood there is gone for a moment; if it was not there, this says nothing new.
            let _ = raw.remove(to).await;
            raw.rename(from, to).await.map(drop)
        }
    };
    let _ = raw.close_session();
    done.map_err(failed)
}

/// Returns the word for what a part is of.
pub(super) fn mark(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())[..12].to_owned()
}

/// Says how far a file is, now and then.
pub(super) struct Meter<'a> {
    cx: &'a Cx,
    what: String,
    whole: u64,
    said: Instant,
}

impl<'a> Meter<'a> {
    pub(super) fn new(cx: &'a Cx, what: impl Into<String>, whole: u64) -> Self {
        Meter { cx, what: what.into(), whole, said: Instant::now() }
    }

    pub(super) fn at(&mut self, now: u64) {
        if self.said.elapsed() > Duration::from_millis(200) || now == self.whole {
            self.said = Instant::now();
            #[expect(clippy::cast_precision_loss, reason = "a percentage")]
            let percent = 100.0 * now as f64 / self.whole.max(1) as f64;
            self.cx.progress(format!("{}: {} of {}", self.what, size(now), size(self.whole)), Some(percent));
        }
    }
}

/// Returns a number of bytes as people say it.
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// Ends with an error when the run is put away meanwhile. What was carried is gone on with.
pub(super) async fn unless_cancelled<T>(cx: &Cx, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = cx.cancelled() => Err(Error::new(ErrorKind::Unsent, "given up before the file was whole")),
    }
}
