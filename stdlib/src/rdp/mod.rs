//! `rdp`: Remote Desktop files for consoles.

mod file;
mod read;
mod set_address;
mod write;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use relight_engine::Registered;

use crate::prelude::*;

/// Returns the operations of this area.
pub(crate) fn all() -> Vec<Registered> {
    vec![
        Registered::new(write::WriteRdp),
        Registered::new(read::ReadRdp),
        Registered::new(set_address::SetAddress),
    ]
}

/// Replaces a file as a whole: a reader sees the old text or the new one, never half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e: io::Error| {
        Error::rejected(format!("failed to write {}", path.display()))
            .because(e)
            .hint("check that the folder exists and can be written")
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
    let written = fs::File::create_new(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|e| {
        // Nothing is lost when even this fails: the file beside has a name of its own.
        let _ = fs::remove_file(&beside);
        failed(e)
    })
}

fn read_file(path: &Path) -> Result<file::RdpFile> {
    /// A file of this kind has a few dozen lines.
    const LARGEST: u64 = 1024 * 1024;
    let failed = |e: io::Error| {
        let error = Error::rejected(format!("failed to read {}", path.display()));
        let is_missing = e.kind() == io::ErrorKind::NotFound;
        let error = if is_missing { error.code(ErrorCode::NOT_FOUND) } else { error };
        error.because(e)
    };
    if fs::metadata(path).map_err(failed)?.len() > LARGEST {
        return Err(Error::rejected(format!("{} is too large for an RDP file", path.display())));
    }
    let bytes = fs::read(path).map_err(failed)?;
    file::RdpFile::parse(&bytes)
        .ok_or_else(|| Error::rejected(format!("{} is not an RDP file", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web-01.rdp");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write_whole(&folder.path().join("missing/x.rdp"), b"x").expect_err("no folder");
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(write_whole(folder.path(), b"x").is_err());
    }
}
