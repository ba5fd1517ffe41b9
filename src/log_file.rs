//! A file for what a service says, where nobody keeps its standard error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::platform;

/// How long the file becomes. The one before it is kept, so that there is never more than twice as much.
const MOST: u64 = 10 << 20;

/// A file that is begun anew when it is long.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    len: u64,
    most: u64,
}

impl LogFile {
    /// Opens the file to append to it, or makes one that only its owner can read, together with the folder above it.
    ///
    /// # Errors
    /// Whatever keeps it from being written.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            platform::make_private_folder(folder)?;
        }
        let file = append(path)?;
        let len = file.metadata()?.len();
        Ok(LogFile { path: path.to_owned(), file, len, most: MOST })
    }

    /// Puts the file away as `NAME.1` and begins it anew. When it cannot be put away it goes on.
    fn roll(&mut self) -> io::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        self.len = 0;
        if fs::rename(&self.path, old).is_ok() {
            self.file = append(&self.path)?;
        }
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len >= self.most {
            self.roll()?;
        }
        let count = self.file.write(bytes)?;
        self.len += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    platform::make_private_file(path)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_put_away_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/serve.log");
        let read = |name: &str| fs::read_to_string(path.with_file_name(name)).unwrap();
        let mut log = LogFile { most: 6, ..LogFile::open(&path).unwrap() };
        log.write_all(b"one\n").unwrap();
        drop(log);
        let mut log = LogFile { most: 6, ..LogFile::open(&path).unwrap() };
        for line in ["two\n", "three\n", "four\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!((read("serve.log").as_str(), read("serve.log.1").as_str()), ("four\n", "three\n"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }
}
