//! What a folder on a machine holds, as far as it can be carried.

use std::collections::{BTreeMap, BTreeSet};

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, FileType, StatusCode};

use super::{MOST, Sftp, failed};
use crate::prelude::*;

/// How deep folders may be nested.
const DEEPEST: usize = 64;

/// A folder on a machine. Paths are relative to it; each is one that a folder here can hold.
#[derive(Debug, Default)]
pub(in crate::ssh) struct Tree {
    /// The folders, each before what is in it.
    pub(in crate::ssh) folders: BTreeSet<String>,
    pub(in crate::ssh) files: BTreeMap<String, FileAttributes>,
    pub(in crate::ssh) skipped: Vec<(String, String)>,
    /// The paths of files and folders, as this system tells them apart.
    taken: BTreeSet<String>,
}

/// Something in a folder, as its server describes it.
type Entry = (String, FileAttributes);

impl Sftp {
    /// Reads a folder with all that is in it. Links are not followed.
    pub(in crate::ssh) async fn tree(&self, root: &str) -> Result<Tree> {
        let mut tree = Tree::default();
        let mut left = vec![String::new()];
        let mut count = 0;
        while let Some(folder) = left.pop() {
            let entries = match self.entries(&joined(root, &folder), MOST - count).await {
                Ok(entries) => entries,
                // Whatever is below: that is said, and the rest is of use.
                Err(Unlisted::Refused(why)) if !folder.is_empty() => {
                    tree.skipped.push((folder, why.to_string()));
                    continue;
                }
                Err(unlisted) => return Err(unlisted.error(&self.machine, root)),
            };
            count += entries.len();
            if count >= MOST || folder.split('/').count() > DEEPEST {
                return Err(Unlisted::TooMany.error(&self.machine, root));
            }
            left.extend(tree.take(&folder, entries, &self.machine)?);
        }
        Ok(tree)
    }

    /// Makes a folder and those that are to be in it, each after the one that it is in. Returns the files that are there already, with
    /// their sizes and times.
    pub(in crate::ssh) async fn make_folders(
        &self,
        cx: &Cx,
        root: &str,
        folders: &[String],
    ) -> Result<BTreeMap<String, (u64, u32)>> {
        let mut there = BTreeMap::new();
        let mut known = BTreeMap::new();
        let first = match self.files.metadata(root).await {
            // Whoever names a link here means the folder that it leads to.
            Ok(found) => Some(found.file_type()),
            Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => None,
            Err(error) => return Err(self.unread(root, error)),
        };
        known.extend(first.map(|kind| (String::new(), kind)));
        for folder in std::iter::once("").chain(folders.iter().map(String::as_str)) {
            let path = joined(root, folder);
            match known.get(folder) {
                None => {
                    cx.may_send().await?;
                    let made = self.files.create_dir(&path).await;
                    made.map_err(|e| failed(format!("the folder `{path}` cannot be made"), e))?;
                }
                Some(FileType::Dir) => {
                    let entries = self.entries(&path, MOST).await;
                    for (name, about) in entries.map_err(|e| e.error(&self.machine, &path))? {
                        let path = joined(folder, &name);
                        if about.file_type().is_file() {
                            there.insert(path.clone(), (about.len(), about.mtime.unwrap_or_default()));
                        }
                        known.insert(path, about.file_type());
                    }
                }
                Some(_) => {
                    return Err(Error::rejected(format!("`{path}` is no folder on `{}`", self.machine))
                        .hint("move it out of the way there, or name another place"));
                }
            }
        }
        Ok(there)
    }

    /// Reads what is in one folder, without itself and the one that it is in.
    pub(in crate::ssh) async fn entries(&self, path: &str, most: usize) -> Result<Vec<Entry>, Unlisted> {
        let handle = self.raw.opendir(path).await.map_err(Unlisted::from)?.handle;
        let mut entries: Vec<Entry> = Vec::new();
        let listed = loop {
            match self.raw.readdir(handle.as_str()).await {
                Ok(more) => {
                    let named = more.files.into_iter().map(|it| (it.filename, it.attrs));
                    entries.extend(named.filter(|(name, _)| name != "." && name != ".."));
                    if entries.len() > most {
                        break Err(Unlisted::TooMany);
                    }
                }
                Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => break Ok(entries),
                Err(error) => break Err(error.into()),
            }
        };
        // What it is open for is over, whatever is said about it.
        let _ = self.raw.close(handle).await;
        listed
    }
}

/// Why a folder is not listed.
pub(in crate::ssh) enum Unlisted {
    /// The server says no.
    Refused(SftpError),
    TooMany,
    Broken(SftpError),
}

impl From<SftpError> for Unlisted {
    fn from(error: SftpError) -> Self {
        match error {
            SftpError::Status(_) => Unlisted::Refused(error),
            other => Unlisted::Broken(other),
        }
    }
}

impl Unlisted {
    pub(in crate::ssh) fn error(self, machine: &str, path: &str) -> Error {
        match self {
            Unlisted::Refused(error) | Unlisted::Broken(error) => {
                failed(format!("the folder `{path}` cannot be read on `{machine}`"), error)
            }
            Unlisted::TooMany => Error::rejected(format!(
                "the folder `{path}` on `{machine}` holds more than {MOST} files and folders, or they are nested too deep"
            ))
            .hint("pack it there, such as with tar, and carry the archive"),
        }
    }
}

impl Tree {
    /// Takes what is in one folder. Returns the folders among it.
    fn take(&mut self, folder: &str, entries: Vec<Entry>, machine: &str) -> Result<Vec<String>> {
        let mut folders = Vec::new();
        for (name, about) in entries {
            if !is_one_name(&name) {
                // No folder holds that: whoever says so wants to be elsewhere.
                return Err(Error::rejected(format!(
                    "the SSH server of `{machine}` names a file `{}`, which leads out of its folder",
                    name.escape_debug()
                ))
                .hint("no honest server does: find out what answers there"));
            }
            let path = joined(folder, &name);
            let kind = about.file_type();
            if let Some(why) = self.obstacle(&path, &name, kind) {
                self.skipped.push((path, why.to_owned()));
            } else if kind.is_dir() {
                self.folders.insert(path.clone());
                folders.push(path);
            } else {
                self.files.insert(path, about);
            }
        }
        Ok(folders)
    }

    /// Returns why something cannot stand here under its name. What can has taken the name.
    fn obstacle(&mut self, path: &str, name: &str, kind: FileType) -> Option<&'static str> {
        // These systems take names for one that differ in their case.
        let taken = match cfg!(any(windows, target_os = "macos")) {
            true => path.to_lowercase(),
            false => path.to_owned(),
        };
        match kind {
            FileType::Symlink => Some("a link"),
            FileType::Other => Some("neither a file nor a folder"),
            _ if name.contains(char::REPLACEMENT_CHARACTER) => Some("its name is no text"),
            _ if cfg!(windows) && !is_a_name_on_windows(name) => Some("its name cannot be had on Windows"),
            _ if !self.taken.insert(taken) => Some("another one has this name here"),
            _ => None,
        }
    }
}

/// Returns whether a name is that of one thing in a folder.
fn is_one_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// Returns whether Windows has files of that name, and nothing else.
fn is_a_name_on_windows(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let is_device = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str())
        || (stem.chars().count() == 4 && (stem.starts_with("COM") || stem.starts_with("LPT")));
    let has_mark = name.chars().any(|c| c < ' ' || r#"<>:"/\|?*"#.contains(c));
    !is_device && !has_mark && !name.ends_with(['.', ' '])
}

/// Returns the path of something in a folder on a machine.
pub(in crate::ssh) fn joined(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{}/{name}", folder.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, mode: u32) -> Entry {
        (name.to_owned(), FileAttributes { permissions: Some(mode), ..FileAttributes::empty() })
    }

    #[test]
    fn a_server_that_names_what_is_elsewhere_is_not_followed() {
        for name in ["../x", "/etc/passwd", "..", ".", "", "a/b", "a\0b"] {
            let mut tree = Tree::default();
            let error = tree.take("sub", vec![entry(name, 0o100_644)], "db-01").unwrap_err();
            assert!(error.message().contains("leads out of its folder"), "{name:?}: {error}");
            assert!(tree.files.is_empty());
        }
    }

    #[test]
    fn what_is_no_file_is_skipped_and_said() {
        let mut tree = Tree::default();
        let entries = vec![
            entry("conf", 0o40_755),
            entry("link", 0o120_777),
            entry("socket", 0o140_755),
            entry("disk", 0o60_660),
            entry("file", 0o100_644),
            entry("file", 0o100_644),
            entry("\u{fffd}", 0o100_644),
            entry("unknown", 0o644),
        ];
        assert_eq!(tree.take("a", entries, "db-01").unwrap(), ["a/conf"]);
        assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["a/file"]);
        let skipped: Vec<_> = tree.skipped.iter().map(|(path, why)| format!("{path}: {why}")).collect();
        assert_eq!(
            skipped,
            [
                "a/link: a link",
                "a/socket: neither a file nor a folder",
                "a/disk: neither a file nor a folder",
                "a/file: another one has this name here",
                "a/\u{fffd}: its name is no text",
                "a/unknown: neither a file nor a folder",
            ]
        );
    }

    #[test]
    fn windows_has_names_of_its_own() {
        for name in ["nul", "NUL.txt", "com1", "lpt9.log", "a:b", "a\\b", "x.", "x ", "what?", "tab\t"] {
            assert!(!is_a_name_on_windows(name), "{name}");
        }
        for name in ["nginx.conf", "common", "console.log", ".bashrc", "com"] {
            assert!(is_a_name_on_windows(name), "{name}");
        }
    }
}
