//! `file`: files and folders of the machine that drives the run.

mod checksums;
mod create_folder;
mod write;

use std::io;

use relight_engine::Registered;
use relight_engine::event::hex;
use sha2::{Digest, Sha256};

use crate::prelude::*;

/// Returns the operations of this area.
pub(crate) fn all() -> Vec<Registered> {
    vec![
        Registered::new(create_folder::CreateFolder),
        Registered::new(write::WriteFile),
        Registered::new(checksums::Checksums),
    ]
}

/// A file that is here.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Written {
    /// Its path, as the script has it.
    pub(crate) path: String,
    /// How large it is.
    pub(crate) bytes: u64,
    /// SHA-256 of what it holds, in hexadecimal digits.
    pub(crate) sha256: String,
}

/// Returns the hash of what a file holds, and how large it is.
pub(crate) fn hashed(file: &mut std::fs::File) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let bytes = io::copy(file, &mut hash)?;
    Ok((hex(&hash.finalize()), bytes))
}

/// Says what keeps something from being read here.
pub(crate) fn unread(path: &str, error: io::Error) -> Error {
    let missing = error.kind() == io::ErrorKind::NotFound;
    let failed = Error::rejected(format!("`{path}` cannot be read here")).because(error);
    if missing { failed.code(ErrorCode::NOT_FOUND) } else { failed }
}

/// Says what keeps something from being written here.
pub(crate) fn unwritten(path: &str, error: io::Error) -> Error {
    match error.kind() {
        // Somebody can make room, and it goes on where it was.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::Unsent, format!("there is no room here for `{path}`"))
                .because(error)
                .hint("make room on this disk; what is here already is gone on with")
        }
        _ => Error::rejected(format!("`{path}` cannot be written here")).because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_here_is_waited_for_and_nothing_else_is() {
        for (kind, is_waited_for) in [
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::QuotaExceeded, true),
            (io::ErrorKind::PermissionDenied, false),
            (io::ErrorKind::ReadOnlyFilesystem, false),
        ] {
            let error = unwritten("x", io::Error::from(kind));
            assert_eq!(error.kind().is_retryable(), is_waited_for, "{error:?}");
        }
    }
}
