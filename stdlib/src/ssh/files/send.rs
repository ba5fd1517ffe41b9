//! One file from here to a machine.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use relight_engine::event::hex;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::{Meter, PIECE, Sftp, Whole, cut, failed, seconds};
use crate::file::{hashed, unread};
use crate::prelude::*;

/// One file on its way to a machine.
pub(in crate::ssh) struct Sending<'a> {
    pub(in crate::ssh) cx: &'a Cx,
    pub(in crate::ssh) sftp: &'a Sftp,
    pub(in crate::ssh) meter: &'a Meter<'a>,
    /// What it is called here.
    pub(in crate::ssh) from: &'a str,
    /// Where it belongs there.
    pub(in crate::ssh) to: &'a str,
    pub(in crate::ssh) mode: Option<u32>,
}

impl Sending<'_> {
    /// Carries the file, and puts it in its place once it is whole.
    pub(in crate::ssh) async fn send(&self, mut file: File) -> Result<Whole> {
        let unread = |e| unread(self.from, e);
        let (sha256, bytes) = hashed(&mut file).map_err(unread)?;
        let modified = file.metadata().and_then(|about| about.modified()).map_err(unread)?;
        self.cx.may_send().await?;
        // The name holds the hash, so that what is gone on with is the same file.
        let part = format!("{}.{}.part", self.to, &sha256[..12]);
        let resumed_at = self.carry(&mut file, &part, &sha256, bytes).await?;
        self.describe(&part, seconds(modified)).await?;
        // Carrying it took its time: whoever has the run now may have put something newer there.
        self.cx.may_send().await?;
        self.sftp.replace(&part, self.to).await?;
        Ok(Whole { bytes, sha256, resumed_at })
    }

    /// Carries what is not there yet. Returns how much was there.
    async fn carry(&self, file: &mut File, part: &str, sha256: &str, bytes: u64) -> Result<u64> {
        let there =
            self.sftp.files.metadata(part).await.ok().and_then(|found| found.size).unwrap_or_default();
        let resumed_at = if there <= bytes { there } else { 0 };
        let mut flags = OpenFlags::CREATE | OpenFlags::WRITE | OpenFlags::READ;
        if resumed_at == 0 {
            flags |= OpenFlags::TRUNCATE;
        }
        let attributes = FileAttributes { permissions: self.mode, ..FileAttributes::empty() };
        let opened = self.sftp.files.open_with_flags_and_attributes(part, flags, attributes).await;
        let mut far = opened.map_err(|e| {
            failed(format!("`{}` cannot be written", self.to), e)
                .hint("is its folder there, and may the user write to it?")
        })?;
        let broke = |e| cut(format!("`{}` is not whole", self.to), e);
        far.seek(SeekFrom::Start(resumed_at)).await.map_err(broke)?;
        file.seek(SeekFrom::Start(resumed_at)).map_err(|e| unread(self.from, e))?;
        self.meter.add(resumed_at);
        let mut piece = vec![0; PIECE];
        let mut at = resumed_at;
        loop {
            let count = file.read(&mut piece).map_err(|e| unread(self.from, e))?;
            if count == 0 {
                break;
            }
            far.write_all(&piece[..count]).await.map_err(broke)?;
            at += count as u64;
            self.meter.add(count as u64);
        }
        far.flush().await.map_err(broke)?;
        if at != bytes {
            return Err(Error::new(ErrorKind::Unsent, format!("`{}` changed while it was read", self.from)));
        }
        if resumed_at > 0 {
            self.compare(&mut far, part, sha256, bytes).await?;
        }
        // Servers without it keep the file all the same.
        let _ = far.sync_all().await;
        far.close().await.map_err(broke)?;
        Ok(resumed_at)
    }

    /// Gives it the permissions that are asked for, and the time that it has here.
    async fn describe(&self, part: &str, modified: u32) -> Result<()> {
        let (atime, mtime) = (Some(modified), Some(modified));
        // A part from before has the permissions that it was made with, and the server's mask took from them.
        let attributes = FileAttributes { permissions: self.mode, atime, mtime, ..FileAttributes::empty() };
        match self.sftp.files.set_metadata(part, attributes).await {
            // A server that keeps no times has the file all the same.
            Err(_) if self.mode.is_none() => Ok(()),
            set => set.map_err(|e| failed(format!("the permissions of `{}` cannot be set", self.to), e)),
        }
    }

    /// Reads back what was written in more than one attempt.
    async fn compare(
        &self,
        far: &mut (impl AsyncReadExt + AsyncSeekExt + Unpin),
        part: &str,
        sha256: &str,
        bytes: u64,
    ) -> Result<()> {
        let broke = |e| cut(format!("`{}` cannot be read back", self.to), e);
        far.seek(SeekFrom::Start(0)).await.map_err(broke)?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        let meter = Meter::new(self.cx, format!("comparing {}", self.to), bytes);
        let mut at = 0;
        // Who has more than was written need not be heard to the end.
        while at <= bytes {
            let count = far.read(&mut piece).await.map_err(broke)?;
            if count == 0 {
                break;
            }
            hash.update(&piece[..count]);
            at += count as u64;
            meter.add(count as u64);
        }
        if hex(&hash.finalize()) == sha256 {
            return Ok(());
        }
        // What is there is of no use: the next attempt begins anew.
        let _ = self.sftp.files.remove_file(part).await;
        Err(Error::new(
            ErrorKind::Transient,
            format!("`{}` arrived with other content than it has here", self.to),
        ))
    }
}
