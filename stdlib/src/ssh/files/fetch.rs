//! One file from a machine to here.

use std::io::SeekFrom;
use std::time::UNIX_EPOCH;

use relight_engine::RunFile;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::FileAttributes;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Meter, PIECE, Sftp, Whole, cut, failed, mark};
use crate::file::unwritten;
use crate::prelude::*;

/// One file on its way from a machine.
pub(in crate::ssh) struct Fetching<'a> {
    pub(in crate::ssh) sftp: &'a Sftp,
    pub(in crate::ssh) meter: &'a Meter<'a>,
    /// Where it is there.
    pub(in crate::ssh) from: &'a str,
    /// How large it is there, and when it was changed last.
    pub(in crate::ssh) found: &'a FileAttributes,
    /// What it is called here.
    pub(in crate::ssh) to: &'a str,
}

/// What became of a file that was to be fetched.
pub(in crate::ssh) enum Fetched {
    Whole(Whole),
    /// The machine does not give it, which is no trouble of the connection.
    Refused(SftpError),
    Changed,
}

impl Fetching<'_> {
    /// Carries the file, and puts it in its place once it is whole. `near` makes the place.
    pub(in crate::ssh) async fn fetch(&self, near: impl Fn() -> Result<RunFile>) -> Result<Fetched> {
        let (bytes, when) = (self.found.size.unwrap_or_default(), self.found.mtime.unwrap_or_default());
        let mark = mark(&[&self.sftp.machine, self.from, &bytes.to_string(), &when.to_string()]);
        let unwritten = |e| unwritten(self.to, e);
        let mut part = near()?.part(&mark).map_err(unwritten)?;
        if part.written() > bytes {
            part.discard();
            part = near()?.part(&mark).map_err(unwritten)?;
        }
        let resumed_at = part.written();
        let mut far = match self.sftp.files.open(self.from).await {
            Ok(far) => far,
            Err(error @ SftpError::Status(_)) => {
                part.discard();
                return Ok(Fetched::Refused(error));
            }
            Err(error) => return Err(failed(format!("`{}` cannot be read", self.from), error)),
        };
        let broke = |e| cut(format!("`{}` is not whole here", self.from), e);
        far.seek(SeekFrom::Start(resumed_at)).await.map_err(broke)?;
        self.meter.add(resumed_at);
        let mut piece = vec![0; PIECE];
        // Who has more to say than the file had need not be heard to the end, which may never come.
        while part.written() <= bytes {
            let count = far.read(&mut piece).await.map_err(broke)?;
            if count == 0 {
                break;
            }
            part.append(&piece[..count]).map_err(unwritten)?;
            self.meter.add(count as u64);
        }
        let after = self.sftp.files.metadata(self.from).await.ok();
        let is_same = after.is_some_and(|it| (it.size, it.mtime) == (self.found.size, self.found.mtime));
        if part.written() != bytes || !is_same {
            part.discard();
            return Ok(Fetched::Changed);
        }
        part.set_modified(UNIX_EPOCH + Duration::from_secs(when.into())).map_err(unwritten)?;
        let sha256 = part.finish().map_err(unwritten)?;
        Ok(Fetched::Whole(Whole { bytes, sha256, resumed_at }))
    }
}
