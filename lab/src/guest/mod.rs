//! The machines behind the relay: their files, their users, and the SSH server that each has of its own.
//!
//! ```text
//! relay ─► server (russh) ─► session ─► shell, Windows' cmd, sftp ─► files
//!                        └─► port 22 again, RDP
//! ```
//!
//! Owns what one sees of a machine from inside. Nothing listens on a port, and nothing runs on the real machine.

mod accounts;
mod cmd;
mod keys;
mod place;
mod powershell;
mod rdp;
mod script;
mod server;
mod session;
mod sftp;
mod shell;
mod status;
mod terminal;
mod vm_access;

use jiff::Timestamp;

pub(crate) use rdp::answer as desktop;
pub(crate) use script::run as run_script;
pub(crate) use server::serve;
pub(crate) use vm_access::{on_linux as vm_access_on_linux, on_windows as vm_access_on_windows};

use crate::{
    Now,
    faults::Faults,
    machine::{Disk, Kept, Os, User, refresh},
    world::World,
};

/// The port of the SSH server.
pub(crate) const SSH: u16 = 22;
/// The port on which Windows lets people see its desktop.
pub(crate) const RDP: u16 = 3389;

/// A machine as somebody on it sees it.
#[derive(Clone)]
pub(crate) struct Computer {
    pub(crate) name: String,
    pub(crate) is_windows: bool,
    pub(crate) disk: Disk,
    now: Now,
}

impl Computer {
    /// Returns a machine of a world; its disk is made when nobody has been on it before.
    pub(crate) fn of(
        world: &mut World,
        faults: &Faults,
        now: Now,
        group: &str,
        machine: &str,
    ) -> Option<Self> {
        let os = world.os(group, machine)?;
        let keys = keys::host_keys(world, faults, group, machine);
        let is_it =
            |it: &&Kept| it.machine.eq_ignore_ascii_case(machine) && it.group.eq_ignore_ascii_case(group);
        let known = world.disks.iter().find(is_it).map(|kept| kept.disk.clone());
        let disk = known.unwrap_or_else(|| {
            let kept = Kept::fresh(machine, group, os);
            world.disks.push(kept.clone());
            kept.disk
        });
        refresh(&mut disk.files(), os, &keys::public_lines(&keys, machine));
        Some(Computer { name: machine.to_owned(), is_windows: os == Os::Windows, disk, now })
    }

    pub(crate) fn time(&self) -> Timestamp {
        (self.now)()
    }

    /// Returns the time in the seconds of a file system.
    pub(crate) fn seconds(&self) -> u32 {
        u32::try_from(self.time().as_second()).unwrap_or_default()
    }

    /// Returns the folder of a user.
    pub(crate) fn home(&self, user: &User) -> String {
        match (self.is_windows, user.is_root()) {
            (true, true) => "/C:/Windows/System32".to_owned(),
            (true, false) => format!("/C:/Users/{}", user.name),
            (false, true) => "/root".to_owned(),
            (false, false) => format!("/home/{}", user.name),
        }
    }

    /// Makes the folder of somebody who comes in for the first time.
    fn welcome(&self, user: &User) {
        self.disk.files().place(&self.home(user), None, 0o755, &user.name);
    }

    /// Returns the names of everybody who has a folder.
    pub(crate) fn users(&self) -> Vec<String> {
        let folder = if self.is_windows { "/C:/Users" } else { "/home" };
        let files = self.disk.files();
        let names = files.list(&User::root(), folder).unwrap_or_default();
        names.into_iter().chain([User::ROOT]).map(str::to_owned).collect()
    }

    /// Returns the public keys with which a user may come in, as the file with them says. One that others could have
    /// written counts for nothing.
    fn authorized_keys(&self, user: &User) -> String {
        let home = self.home(user);
        let (folder, file) = match self.is_windows {
            true => (
                "/C:/ProgramData/ssh".to_owned(),
                "/C:/ProgramData/ssh/administrators_authorized_keys".to_owned(),
            ),
            false => (format!("{home}/.ssh"), format!("{home}/.ssh/authorized_keys")),
        };
        let files = self.disk.files();
        let root = User::root();
        let mode_of = |path: &str| {
            let node = files.look(&root, path).ok()?;
            let is_own = node.owner == user.name || node.owner == User::ROOT;
            is_own.then_some(node.mode)
        };
        let is_safe = |path: &str, never: u32| mode_of(path).is_some_and(|mode| mode & never == 0);
        let is_good = match self.is_windows {
            // Of its access list, which a mode stands for here: nobody else may even read it.
            true => is_safe(&file, 0o077),
            // Stricter than OpenSSH, which lets others look into the folder.
            false => is_safe(&home, 0o022) && is_safe(&folder, 0o077) && is_safe(&file, 0o133),
        };
        match files.read(&root, &file).ok().filter(|_| is_good) {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => String::new(),
        }
    }
}

#[cfg(test)]
impl Computer {
    /// Returns a machine that belongs to no world.
    pub(crate) fn alone(os: Os) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Computer {
            name: "box".to_owned(),
            is_windows: os == Os::Windows,
            disk: Kept::fresh("box", "group", os).disk,
            now: std::sync::Arc::new(|| Timestamp::constant(1_793_000_000, 0)),
        })
    }
}
