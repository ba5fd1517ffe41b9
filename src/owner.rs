//! This process's name in the journal, and how others see that it is alive.
//!
//! Each process holds a lock on a file of its own. The operating system lets go of the lock when the
//! process ends, however it ends, so a run whose owner was killed is taken over at once instead of
//! when the owner's heartbeat is over.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use relight_engine::journal::OwnerId;
use relight_engine::{Error, Liveness, Result};

use crate::platform;

const ENDING: &str = "lock";

/// This process as an owner of runs. Dropping it says that the process is gone.
#[derive(Debug)]
pub(crate) struct Owner {
    id: OwnerId,
    folder: PathBuf,
    _lock: File,
}

impl Owner {
    /// Takes a fresh name in `folder`, and removes what dead processes left there.
    ///
    /// # Errors
    /// `Storage` when the folder cannot be used.
    pub(crate) fn enter(folder: PathBuf) -> Result<Self> {
        let failed =
            |e: std::io::Error| Error::storage(format!("failed to enter {}", folder.display())).because(e);
        platform::make_private_folder(&folder).map_err(failed)?;
        sweep(&folder);
        loop {
            let id = OwnerId::fresh();
            let path = path(&folder, &id);
            let lock = File::create_new(&path).map_err(failed)?;
            // Another process's sweep may stand between the two calls: then this file is its prey.
            if lock.try_lock().is_ok() && path.exists() {
                return Ok(Owner { id, folder, _lock: lock });
            }
        }
    }

    /// Returns this process's name.
    pub(crate) fn id(&self) -> OwnerId {
        self.id.clone()
    }

    /// Returns how to tell that another process is certainly gone.
    pub(crate) fn liveness(&self) -> Liveness {
        let (own, folder) = (self.id.clone(), self.folder.clone());
        Arc::new(move |other| *other != own && is_free(&path(&folder, other)))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = fs::remove_file(path(&self.folder, &self.id));
    }
}

fn path(folder: &Path, id: &OwnerId) -> PathBuf {
    folder.join(id.as_str()).with_extension(ENDING)
}

/// Returns whether nobody holds a lock file. One that is not there was swept away after its owner.
fn is_free(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => file.try_lock().is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Removes the lock files that nobody holds.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_lock = path.extension().is_some_and(|ending| ending == ENDING);
        if is_lock
            && let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_lives_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let one = Owner::enter(folder.path().into()).unwrap();
        let two = Owner::enter(folder.path().into()).unwrap();
        let is_dead = one.liveness();
        assert!(!is_dead(&two.id()) && !is_dead(&one.id()));
        let gone = two.id();
        drop(two);
        assert!(is_dead(&gone));
    }

    #[test]
    fn what_a_killed_process_left_is_dead_and_swept() {
        let folder = tempfile::tempdir().unwrap();
        let killed = OwnerId::fresh();
        File::create(path(folder.path(), &killed)).unwrap();
        let one = Owner::enter(folder.path().join("")).unwrap();
        assert!(one.liveness()(&killed));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
