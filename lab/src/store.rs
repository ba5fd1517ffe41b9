//! The saved lab: one JSON file that is replaced as a whole, so that a killed lab comes back as it was.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::{LabError, LedgerEntry, certs::Certificates, token::TokenKey, world::World};

/// What makes a lab the same lab after a restart.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Identity {
    pub(crate) certificates: Certificates,
    pub(crate) token_key: TokenKey,
    /// The port, so that status addresses stay good.
    pub(crate) port: u16,
}

/// The folder of a saved lab.
#[derive(Clone, Debug)]
pub(crate) struct Store(PathBuf);

/// The saved form.
#[derive(Deserialize, Serialize)]
pub(crate) struct Saved<I, W, L> {
    /// Raised when an older lab could not read what a newer one writes.
    format: u32,
    pub(crate) identity: I,
    pub(crate) world: W,
    pub(crate) ledger: L,
}

/// A lab as loaded.
pub(crate) type Loaded = Saved<Identity, World, Vec<LedgerEntry>>;

const FORMAT: u32 = 1;

impl Store {
    /// Opens a folder, making it when it is not there.
    pub(crate) fn open(dir: &Path) -> Result<Self, LabError> {
        fs::create_dir_all(dir).map_err(|source| failed(dir, source))?;
        Ok(Self(dir.to_owned()))
    }

    fn file(&self) -> PathBuf {
        self.0.join("lab.json")
    }

    /// Returns the saved lab, if there is one.
    pub(crate) fn load(&self) -> Result<Option<Loaded>, LabError> {
        let path = self.file();
        match fs::read(&path) {
            // By way of any JSON: reading the world straight from bytes is twice the code, for a file read once.
            Ok(bytes) => serde_json::from_slice::<serde_json::Value>(&bytes)
                .and_then(serde_json::from_value)
                .map(Some)
                .map_err(|source| LabError::Format { path, source }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed(&path, source)),
        }
    }

    /// Replaces the saved lab. Afterwards a lab that starts here sees exactly this.
    ///
    /// The file is not synced: the lab promises to survive its own death, not the machine's.
    pub(crate) fn save(
        &self,
        identity: &Identity,
        world: &World,
        ledger: &[LedgerEntry],
    ) -> Result<(), LabError> {
        let path = self.file();
        let saved = Saved { format: FORMAT, identity, world, ledger };
        let bytes =
            serde_json::to_vec(&saved).map_err(|source| LabError::Format { path: path.clone(), source })?;
        self.replace("lab.json", &bytes)
    }

    /// Writes the authority's certificate where people and other tools look for it.
    pub(crate) fn write_ca(&self, pem: &str) -> Result<(), LabError> {
        self.replace("ca.pem", pem.as_bytes())
    }

    /// Replaces a file with one that only its owner can read: the keys of the authority and of the sign-in are inside.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), LabError> {
        let path = self.0.join(name);
        let written = NamedTempFile::new_in(&self.0).and_then(|mut file| {
            file.write_all(bytes)?;
            file.persist(&path)?;
            Ok(())
        });
        written.map_err(|source| failed(&path, source))
    }
}

fn failed(path: &Path, source: io::Error) -> LabError {
    LabError::Store { path: path.to_owned(), source }
}
