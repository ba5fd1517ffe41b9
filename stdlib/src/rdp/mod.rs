//! `rdp`: Remote Desktop files for consoles, and the viewer of desktops.

mod file;
mod read;
mod set_address;
mod view;
mod viewer;
mod write;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use file::RdpFile;
use relight_engine::{Registered, RunFile};
pub use viewer::Viewer;

use crate::prelude::*;

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![
        Registered::new(write::WriteRdp),
        Registered::new(read::ReadRdp),
        Registered::new(set_address::SetAddress),
        Registered::new(view::View(azure.here.viewer.clone())),
    ]
}

/// The largest file of this kind: it has a few dozen lines.
const LARGEST: u64 = 1024 * 1024;

fn write_file(to: &RunFile, file: &file::RdpFile) -> Result<()> {
    to.replace(&file.bytes()).map_err(|e| {
        Error::rejected(format!("failed to write {}", to.path().display())).because(e).hint(
            "check that the folder exists and can be written, and that no link leads out of the run's folder",
        )
    })
}

fn read_file(from: &RunFile) -> Result<file::RdpFile> {
    let shown = from.path().display();
    let bytes = from.read(LARGEST).map_err(|e| {
        let error = Error::rejected(format!("failed to read {shown}"));
        let is_missing = e.kind() == std::io::ErrorKind::NotFound;
        let error = if is_missing { error.code(ErrorCode::NOT_FOUND) } else { error };
        error.because(e)
    })?;
    file::RdpFile::parse(&bytes).ok_or_else(|| Error::rejected(format!("{shown} is not an RDP file")))
}
