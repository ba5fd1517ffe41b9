//! A machine from inside, as data: its users and the files on its disk.
//!
//! Owns what is kept of a machine. Who comes in and what runs there is for `guest` to say.

mod files;
mod image;
mod passwords;

use serde::{Deserialize, Serialize};

pub(crate) use files::{Disk, Files, Node, Trouble, join, parent};
pub(crate) use image::refresh;
pub(crate) use passwords::{hashed, kept_password, passwords};

/// The user that every machine has, good for nothing but a lab.
pub const GUEST_USER: &str = "azureuser";
/// The password of [`GUEST_USER`].
pub const GUEST_PASSWORD: &str = "lab-password";

/// An operating system.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Os {
    Linux,
    Windows,
}

/// What is kept of a machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Kept {
    pub(crate) machine: String,
    pub(crate) group: String,
    pub(crate) disk: Disk,
}

/// Somebody who works on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
}

impl User {
    pub(crate) const ROOT: &'static str = "root";

    pub(crate) fn new(name: &str) -> Self {
        User { name: name.to_owned() }
    }

    pub(crate) fn root() -> Self {
        User::new(Self::ROOT)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.name == Self::ROOT
    }

    /// Returns the number by which the system knows the user.
    pub(crate) fn number(&self) -> u32 {
        match self.name.as_str() {
            Self::ROOT => 0,
            GUEST_USER => 1000,
            name => {
                10_000
                    + name.bytes().fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
                        % 50_000
            }
        }
    }
}

impl Kept {
    /// Returns a machine that nobody has touched.
    pub(crate) fn fresh(machine: &str, group: &str, os: Os) -> Self {
        let disk = Disk::new(image::fresh(os, machine));
        Kept { machine: machine.to_owned(), group: group.to_owned(), disk }
    }

    /// Returns what was changed on a disk since it was new: the path, mode, owner and digest of each file.
    pub(crate) fn changes(&self, os: Os) -> Vec<serde_json::Value> {
        let fresh = image::fresh(os, &self.machine);
        let known: std::collections::BTreeMap<_, _> =
            fresh.all().map(|(path, node)| (path, described(path, node))).collect();
        let files = self.disk.files();
        let all = files.all().map(|(path, node)| (path, described(path, node)));
        all.filter(|(path, now)| !image::is_host_key(path) && known.get(path) != Some(now))
            .map(|(_, now)| now)
            .collect()
    }
}

fn described(path: &str, node: &Node) -> serde_json::Value {
    serde_json::json!({"path": path, "mode": format!("{:o}", node.mode), "owner": node.owner, "sha256": Files::digest(node)})
}
