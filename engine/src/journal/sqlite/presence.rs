//! Which processes are alive, told by the operating system.
//!
//! Each process holds a lock on a file of its own in a folder beside the database. The operating system
//! lets go of the lock when the process ends, however it ends, so what it drove is taken over at once
//! instead of when its heartbeat is over.
//!
//! A file that nobody holds is proof of death; a file that is not there proves nothing, since anybody
//! may have deleted it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::lock;
use super::platform::make_folder;
use crate::error::{Error, Result};
use crate::journal::{OwnerId, Presence};

const ENDING: &str = "lock";

/// The lock files of one database's processes.
#[derive(Debug)]
pub(super) struct Processes {
    folder: PathBuf,
    /// Those of this process.
    held: Mutex<HashMap<OwnerId, File>>,
}

impl Processes {
    /// Names the folder, which is made when it is needed.
    pub(super) fn beside(database: &Path) -> Self {
        Processes { folder: database.with_file_name("owners"), held: Mutex::default() }
    }

    /// Takes the lock of a name, which must be fresh.
    ///
    /// # Errors
    /// `Storage` when the folder cannot be used.
    pub(super) fn enter(&self, owner: &OwnerId) -> Result<()> {
        let failed = |e: std::io::Error| {
            Error::storage(format!("failed to enter `{}`", self.folder.display()))
                .because(e)
                .hint("make the folder writable for this user")
        };
        make_folder(&self.folder).map_err(failed)?;
        let path = self.path(owner);
        loop {
            // Another process's sweep may stand between these calls and take the file for one that a
            // dead process left; then it is gone in a moment, and made again.
            let file =
                File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
            if file.try_lock().is_ok() && path.exists() {
                lock(&self.held).insert(owner.clone(), file);
                return Ok(());
            }
            std::thread::yield_now();
        }
    }

    /// Lets go of a name: from now on it counts as gone.
    pub(super) fn leave(&self, owner: &OwnerId) {
        lock(&self.held).remove(owner);
    }

    /// Returns what the lock of a process tells.
    pub(super) fn presence(&self, owner: &OwnerId) -> Presence {
        if lock(&self.held).contains_key(owner) {
            return Presence::Here;
        }
        match File::open(self.path(owner)) {
            Ok(file) if file.try_lock().is_ok() => Presence::Gone,
            Ok(_) => Presence::Here,
            Err(_) => Presence::Unknown,
        }
    }

    /// Calls `bury` with the processes that are gone, and removes their files when it succeeds.
    pub(super) async fn sweep(&self, bury: impl AsyncFnOnce(Vec<OwnerId>) -> Result<()>) -> Result<()> {
        let gone = self.gone();
        if gone.is_empty() {
            return Ok(());
        }
        bury(gone.iter().map(|(owner, ..)| owner.clone()).collect()).await?;
        for (_, path, lock) in gone {
            // While it is still locked: a process that is just making this file sees it vanish.
            let _ = fs::remove_file(path);
            drop(lock);
        }
        Ok(())
    }

    fn gone(&self) -> Vec<(OwnerId, PathBuf, File)> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let locks = files.filter(|path| path.extension().is_some_and(|ending| ending == ENDING));
        let gone = locks.filter_map(|path| {
            let owner = OwnerId::from(path.file_stem()?.to_str()?.to_owned());
            let file = File::open(&path).ok().filter(|file| file.try_lock().is_ok())?;
            Some((owner, path, file))
        });
        gone.collect()
    }

    fn path(&self, owner: &OwnerId) -> PathBuf {
        self.folder.join(owner.as_str()).with_extension(ENDING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(folder: &Path) -> Processes {
        Processes::beside(&folder.join("relight.db"))
    }

    #[test]
    fn a_process_is_here_until_it_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (here(folder.path()), here(folder.path()));
        let owner = OwnerId::fresh();
        assert_eq!(two.presence(&owner), Presence::Unknown, "nobody ever heard of it");
        one.enter(&owner).unwrap();
        assert_eq!((one.presence(&owner), two.presence(&owner)), (Presence::Here, Presence::Here));
        one.leave(&owner);
        assert_eq!(two.presence(&owner), Presence::Gone);
    }

    #[test]
    fn a_deleted_file_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (here(folder.path()), here(folder.path()));
        let owner = OwnerId::fresh();
        one.enter(&owner).unwrap();
        fs::remove_file(one.path(&owner)).unwrap();
        assert_eq!(one.presence(&owner), Presence::Here);
        // Windows may show an open file that was deleted until it is closed.
        let told = two.presence(&owner);
        assert!(told == Presence::Unknown || cfg!(windows) && told == Presence::Here, "{told:?}");
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_buried_once() {
        let folder = tempfile::tempdir().unwrap();
        let (one, living) = (here(folder.path()), OwnerId::fresh());
        one.enter(&living).unwrap();
        let killed = OwnerId::fresh();
        File::create(one.path(&killed)).unwrap();
        let full = one.sweep(async |_| Err(Error::storage("the disk is full"))).await;
        assert!(full.is_err() && one.path(&killed).exists(), "a death that is not recorded keeps its proof");
        let mut buried = Vec::new();
        one.sweep(async |gone| {
            buried = gone;
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(buried, [killed]);
        assert_eq!(fs::read_dir(&one.folder).unwrap().count(), 1);
    }
}
