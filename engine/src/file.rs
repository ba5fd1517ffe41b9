//! The one way from a step to a file.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::event::{WrittenFile, content_hash, hex};
use crate::unrecorded::Unrecorded;

/// A file that a step may touch: below the run's folder, or where whoever started the run pointed.
///
/// Below the folder no link leads out of it, whoever puts one there and whenever.
#[non_exhaustive]
pub struct RunFile {
    /// The folder that it is in.
    pub(crate) folder: Dir,
    /// Inside the folder.
    pub(crate) name: PathBuf,
    pub(crate) whole: PathBuf,
    pub(crate) noted: Option<Noted>,
}

/// Where it is noted what is written, and of whom.
#[derive(Clone)]
pub(crate) struct Noted {
    by: Arc<Unrecorded>,
    step: u32,
    path: String,
}

impl Noted {
    /// Returns the same for what is in a folder.
    pub(crate) fn below(&self, path: &str) -> Self {
        Noted { path: format!("{}/{path}", self.path.trim_end_matches('/')), ..self.clone() }
    }

    fn wrote(&self, sha256: String, bytes: u64) {
        self.by.wrote(self.step, WrittenFile { path: self.path.clone(), sha256, bytes });
    }
}

impl RunFile {
    /// Points at a file below a folder.
    pub(crate) fn below(folder: &Path, name: &Path) -> io::Result<Self> {
        let whole = folder.join(name);
        Ok(RunFile {
            folder: Dir::open_ambient_dir(folder, ambient_authority())?,
            name: name.to_owned(),
            whole,
            noted: None,
        })
    }

    /// Points at a file anywhere.
    pub(crate) fn anywhere(whole: PathBuf) -> io::Result<Self> {
        let named = whole.parent().zip(whole.file_name());
        let (folder, name) = named.ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        RunFile::below(folder, Path::new(name)).map(|file| RunFile { whole, ..file })
    }

    /// Has what is written become part of the run's record, under the path by which its script knows it.
    pub(crate) fn noted_by(self, by: Arc<Unrecorded>, step: u32, path: &str) -> Self {
        let noted = Some(Noted { by, step, path: path.to_owned() });
        RunFile { noted, ..self }
    }

    /// Returns the path, for people.
    pub fn path(&self) -> &Path {
        &self.whole
    }

    /// Returns whether something is there, and whether it is a link. A link is not followed.
    ///
    /// # Errors
    /// Whatever keeps the folder from being looked at, and a link that leads out of it.
    pub fn look(&self) -> io::Result<Option<Found>> {
        match self.folder.symlink_metadata(&self.name) {
            Ok(found) if found.is_file() => Ok(Some(Found::File)),
            Ok(_) => Ok(Some(Found::Other)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has a file that is there as it should be become part of the run's record, as if it were written now.
    pub fn note(&self, sha256: impl Into<String>, bytes: u64) {
        if let Some(noted) = &self.noted {
            noted.wrote(sha256.into(), bytes);
        }
    }

    /// Returns what the file holds.
    ///
    /// # Errors
    /// `FileTooLarge` when that is more than `most` bytes, and whatever keeps it from being read.
    pub fn read(&self, most: u64) -> io::Result<Vec<u8>> {
        let file = self.folder.open(&self.name)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
        }
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > most {
            true => {
                Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes")))
            }
            false => Ok(bytes),
        }
    }

    /// Opens the file for reading piece by piece.
    ///
    /// # Errors
    /// Whatever keeps it from being read; a folder is no file.
    pub fn open(&self) -> io::Result<std::fs::File> {
        let file = self.folder.open(&self.name)?;
        match file.metadata()?.is_file() {
            true => Ok(file.into_std()),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")),
        }
    }

    /// Points at a file in the same folder, whose name has this at its end besides.
    ///
    /// # Errors
    /// Whatever keeps the folder from being used.
    pub fn beside(&self, ending: &str) -> io::Result<RunFile> {
        let with = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let noted = self
            .noted
            .as_ref()
            .map(|noted| Noted { path: format!("{}{ending}", noted.path), ..noted.clone() });
        let (name, whole) = (with(&self.name), with(&self.whole));
        Ok(RunFile { folder: self.folder.try_clone()?, name, whole, noted })
    }

    /// Begins, or goes on with, a file that is written piece by piece beside this one and takes its place when it
    /// is whole. `mark` is a word for what it is part of: pieces of something else are not gone on with.
    ///
    /// # Errors
    /// Whatever keeps it from being written.
    pub fn part(self, mark: &str) -> io::Result<PartFile> {
        let name = self.name.file_name().unwrap_or_default().to_string_lossy();
        let beside = self.name.with_file_name(format!(".{name}.{mark}.part"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = self.folder.open_with(&beside, &options)?.into_std();
        let mut hash = Sha256::new();
        let mut piece = vec![0; 1 << 16];
        let mut len = 0;
        loop {
            match file.read(&mut piece)? {
                0 => break,
                count => {
                    hash.update(&piece[..count]);
                    len += count as u64;
                }
            }
        }
        Ok(PartFile { whole: self, beside, file, hash, len })
    }

    /// Replaces the file as a whole with one that only its owner can read. A reader sees the old text or the new
    /// one, never half of it. The run's record says what was written, with its hash.
    ///
    /// # Errors
    /// Whatever keeps it from being written; it is as it was then.
    pub fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let name = self.name.file_name().unwrap_or_default().to_string_lossy();
        let beside = self.name.with_file_name(format!(".{name}.{}", Uuid::new_v4().simple()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = self
            .folder
            .open_with(&beside, &options)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| self.folder.rename(&beside, &self.folder, &self.name));
        written.inspect_err(|_| {
            // Nothing is lost when even this fails: the file beside has a name of its own.
            let _ = self.folder.remove_file(&beside);
        })?;
        self.note(content_hash(bytes), bytes.len() as u64);
        Ok(())
    }
}

/// A file that is not whole yet.
pub struct PartFile {
    whole: RunFile,
    beside: PathBuf,
    file: std::fs::File,
    hash: Sha256,
    len: u64,
}

impl PartFile {
    /// Returns how many bytes there are by now.
    pub fn written(&self) -> u64 {
        self.len
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// Whatever keeps it from being written.
    pub fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.hash.update(piece);
        self.len += piece.len() as u64;
        Ok(())
    }

    /// Says when what the file holds was changed last.
    ///
    /// # Errors
    /// Whatever keeps the system from taking note of it.
    pub fn set_modified(&self, modified: SystemTime) -> io::Result<()> {
        self.file.set_modified(modified)
    }

    /// Puts the file in its place, whole and on the disk. Returns its SHA-256, in hexadecimal digits. The run's record
    /// says what was written.
    ///
    /// # Errors
    /// Whatever keeps it from its place; what was written stays beside it.
    pub fn finish(self) -> io::Result<String> {
        self.file.sync_all()?;
        let RunFile { folder, name, .. } = &self.whole;
        folder.rename(&self.beside, folder, name)?;
        let sha256 = hex(&self.hash.finalize());
        self.whole.note(sha256.clone(), self.len);
        Ok(sha256)
    }

    /// Waits until what was written is on the disk.
    ///
    /// # Errors
    /// Whatever keeps it from getting there.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Does the same as [`finish`](Self::finish) where nothing is yet: what is there is never replaced.
    ///
    /// # Errors
    /// `AlreadyExists` when something is there; whatever keeps it from its place.
    pub fn finish_new(self) -> io::Result<()> {
        self.file.sync_all()?;
        let RunFile { folder, name, .. } = &self.whole;
        folder.hard_link(&self.beside, folder, name)?;
        // It is in its place; the other name goes when it can.
        let _ = folder.remove_file(&self.beside);
        self.whole.note(hex(&self.hash.finalize()), self.len);
        Ok(())
    }

    /// Takes away what was written.
    pub fn discard(self) {
        // Nothing is lost when this fails: it has a name of its own.
        let _ = self.whole.folder.remove_file(&self.beside);
    }
}

/// What stands where a file is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// A file.
    File,
    /// A folder, a link or something else.
    Other,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = RunFile::below(folder.path(), Path::new("web-01.rdp")).unwrap();
        assert_eq!(file.look().unwrap(), None);
        file.replace(b"one").unwrap();
        file.replace(b"two").unwrap();
        assert_eq!((file.read(3).unwrap(), file.look().unwrap()), (b"two".to_vec(), Some(Found::File)));
        assert_eq!(file.read(2).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = RunFile::below(folder.path(), Path::new("missing/x.rdp")).unwrap();
        assert!(nowhere.replace(b"x").is_err());
    }

    #[test]
    fn a_part_is_gone_on_with_and_takes_its_place_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = || RunFile::below(folder.path(), Path::new("big.log")).unwrap();
        file().replace(b"old").unwrap();
        file().part("aa").unwrap().append(b"one ").unwrap();
        assert_eq!(file().part("bb").unwrap().written(), 0, "a part of something else");
        let mut part = file().part("aa").unwrap();
        assert_eq!((part.written(), file().read(9).unwrap()), (4, b"old".to_vec()));
        part.append(b"two").unwrap();
        assert_eq!(part.finish().unwrap(), content_hash(b"one two"));
        assert_eq!(file().read(9).unwrap(), b"one two");
        file().part("bb").unwrap().discard();
        let mut part = file().part("cc").unwrap();
        part.append(b"three").unwrap();
        assert_eq!(part.finish_new().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(file().read(9).unwrap(), b"one two");
        let beside = file().beside(".new").unwrap();
        file().part("cc").unwrap().discard();
        let mut part = beside.part("cc").unwrap();
        part.append(b"three").unwrap();
        part.finish_new().unwrap();
        assert_eq!(fs::read(folder.path().join("big.log.new")).unwrap(), b"three");
        fs::remove_file(folder.path().join("big.log.new")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn no_link_leads_out_and_nobody_else_reads() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(elsewhere.path().join("x"), "theirs").unwrap();
        symlink(elsewhere.path(), folder.path().join("out")).unwrap();
        symlink(elsewhere.path().join("x"), folder.path().join("x")).unwrap();
        let through = RunFile::below(folder.path(), Path::new("out/x")).unwrap();
        assert!(through.read(99).is_err() && through.replace(b"ours").is_err() && through.look().is_err());
        let link = RunFile::below(folder.path(), Path::new("x")).unwrap();
        assert!(link.read(99).is_err());
        assert_eq!(link.look().unwrap(), Some(Found::Other));
        // A link is replaced, not followed.
        link.replace(b"ours").unwrap();
        assert_eq!(fs::read(elsewhere.path().join("x")).unwrap(), b"theirs");
        let mode = fs::metadata(folder.path().join("x")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
