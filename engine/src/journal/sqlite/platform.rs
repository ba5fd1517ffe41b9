//! What differs between operating systems about the database's file: the only such place of the engine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

/// The number by which the file system knows a file, where it has one.
pub(super) type Identity = (u64, u64);

/// Makes a folder that only its owner can enter, together with what lies above it, unless there is one.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// Makes an empty file for the database, readable by its owner only, unless there is one.
pub(super) fn make_file(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_folder(folder)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // Closing a file lets go of every lock that this process has on it, SQLite's too. So nobody may
    // get as far as locking it while it is open here.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().expect("no panic while a file is made");
    match options.open(path) {
        // The name must survive a power cut as surely as what is written under it.
        Ok(_) if cfg!(unix) => File::open(folder)?.sync_all(),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Writes a small file in place, readable by its owner only. Does not wait for the disk.
pub(super) fn write_over(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}

/// Returns which file a path leads to now.
///
/// Linux writes the times of a file to the disk for each `fsync` after somebody has asked for them, which takes as long
/// again. So nobody asks for them: that of the log is in every commit.
#[cfg(target_os = "linux")]
pub(super) fn identity(path: &Path) -> Option<Identity> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    match statx(CWD, path, AtFlags::empty(), StatxFlags::INO) {
        Ok(file) => Some((makedev(file.stx_dev_major, file.stx_dev_minor), file.stx_ino)),
        // Some containers refuse the call.
        Err(_) => identity_with_times(path),
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
pub(super) use identity_with_times as identity;

#[cfg(unix)]
pub(super) fn identity_with_times(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Elsewhere an open file cannot be deleted.
#[cfg(not(unix))]
pub(super) fn identity(_: &Path) -> Option<Identity> {
    None
}
