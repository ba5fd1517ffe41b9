//! What can keep a lab from starting or saving. A client's mistakes are never errors here: they are answers.

use std::path::PathBuf;

/// Why a lab could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The loopback address could not be bound.
    #[error("failed to listen on 127.0.0.1:{port}")]
    Listen {
        /// The port that was asked for; 0 means any.
        port: u16,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The certificate authority or the server certificate could not be made or used.
    #[error("failed to prepare the lab's certificates: {0}")]
    Certificates(String),
    /// The saved lab could not be read or written.
    #[error("failed to use the saved lab at `{}`", path.display())]
    Store {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The saved lab is not one this version can read.
    #[error("failed to understand the saved lab at `{}`", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}
