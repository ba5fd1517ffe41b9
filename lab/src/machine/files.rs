//! The file system of a machine: what is in it, whose it is, and who may do what.
//!
//! Paths are absolute, with slashes. On Windows they begin with a drive (`/C:/Users`), as its SSH server writes them, and
//! letter case does not tell names apart. There are no links.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::User;

/// How many bytes fit on a disk.
pub(crate) const CAPACITY: usize = 16 << 20;

/// The bits of a mode that say what may be done.
const READ: u32 = 4;
const WRITE: u32 = 2;
const ENTER: u32 = 1;

/// A disk that several sessions share. It is saved with the world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Files>>);

impl Disk {
    pub(crate) fn new(files: Files) -> Self {
        Disk(Arc::new(Mutex::new(files)))
    }

    /// Returns the files. A panic elsewhere does not make them unusable: every change is one assignment.
    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serialize for Disk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.files().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Disk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Files::deserialize(deserializer).map(Disk::new)
    }
}

/// All files of a machine.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Files {
    nodes: BTreeMap<String, Node>,
    is_windows: bool,
    /// Raised by each change, so that whoever saves knows whether there is something to save.
    #[serde(skip)]
    changes: u64,
}

/// A file or a folder.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Node {
    /// What is in a file. A folder has none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "content")]
    content: Option<Vec<u8>>,
    /// The nine bits of its mode.
    pub(crate) mode: u32,
    pub(crate) owner: String,
    /// When its content changed, in seconds.
    pub(crate) changed: u32,
}

/// Bytes as base64: JSON has no others.
mod content {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| STANDARD.encode(bytes)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text).map_err(serde::de::Error::custom)).transpose()
    }
}

/// Why something cannot be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    NotFound,
    Denied,
    Exists,
    NotAFolder,
    IsAFolder,
    NotEmpty,
    Full,
}

/// Says it as the C library does.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::NotFound => "No such file or directory",
            Trouble::Denied => "Permission denied",
            Trouble::Exists => "File exists",
            Trouble::NotAFolder => "Not a directory",
            Trouble::IsAFolder => "Is a directory",
            Trouble::NotEmpty => "Directory not empty",
            Trouble::Full => "No space left on device",
        })
    }
}

type Result<T, E = Trouble> = std::result::Result<T, E>;

impl Node {
    pub(crate) fn is_folder(&self) -> bool {
        self.content.is_none()
    }

    pub(crate) fn size(&self) -> usize {
        self.content.as_ref().map_or(4096, Vec::len)
    }

    /// Returns the letters that `ls -l` shows.
    pub(crate) fn letters(&self) -> String {
        let kind = if self.is_folder() { 'd' } else { '-' };
        let bits =
            (0..9).rev().map(|bit| if self.mode >> bit & 1 == 1 { "xwr".as_bytes()[bit % 3] } else { b'-' });
        std::iter::once(kind).chain(bits.map(char::from)).collect()
    }

    fn allows(&self, user: &User, wanted: u32) -> bool {
        // A group has one member, the user of its name.
        let bits = if self.owner == user.name { self.mode >> 6 | self.mode >> 3 } else { self.mode };
        user.is_root() || bits & wanted == wanted
    }
}

impl Files {
    /// Returns a disk with nothing but its root.
    pub(crate) fn new(is_windows: bool) -> Self {
        let mut files = Files { is_windows, ..Files::default() };
        let root = Node { content: None, mode: 0o755, owner: User::ROOT.to_owned(), changed: 0 };
        files.nodes.insert("/".to_owned(), root);
        files
    }

    /// Returns how often something changed since the lab was started.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns the absolute path that a word means in a folder.
    pub(crate) fn absolute(&self, folder: &str, path: &str) -> String {
        let path = if self.is_windows { path.replace('\\', "/") } else { path.to_owned() };
        let has_drive = self.is_windows && path.as_bytes().get(1) == Some(&b':');
        let whole = match path.starts_with('/') || has_drive {
            true => path,
            false => format!("{folder}/{path}"),
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in whole.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let plain = format!("/{}", parts.join("/"));
        if !self.is_windows || self.nodes.contains_key(&plain) {
            return plain;
        }
        // As much of it as is there is spelled as it is there.
        for end in (0..=plain.len()).rev().filter(|end| plain.is_char_boundary(*end)) {
            let known = self.nodes.keys().find(|known| known.eq_ignore_ascii_case(&plain[..end]));
            if let Some(known) = known.filter(|_| plain[end..].starts_with('/') || end == plain.len()) {
                return format!("{known}{}", &plain[end..]);
            }
        }
        plain
    }

    /// Returns a file or folder that a user can get at.
    pub(crate) fn look(&self, user: &User, path: &str) -> Result<&Node> {
        self.enter(user, path)?;
        self.nodes.get(path).ok_or(Trouble::NotFound)
    }

    /// Checks that every folder above a path lets a user through.
    fn enter(&self, user: &User, path: &str) -> Result<()> {
        let ends = path.match_indices('/').map(|(at, _)| at.max(1)).filter(|end| *end < path.len());
        for end in ends {
            let above = self.nodes.get(&path[..end]).ok_or(Trouble::NotFound)?;
            if !above.is_folder() {
                return Err(Trouble::NotAFolder);
            }
            if !above.allows(user, ENTER) {
                return Err(Trouble::Denied);
            }
        }
        Ok(())
    }

    /// Returns what is in a file.
    pub(crate) fn read(&self, user: &User, path: &str) -> Result<&[u8]> {
        let node = self.look(user, path)?;
        let content = node.content.as_deref().ok_or(Trouble::IsAFolder)?;
        if node.allows(user, READ) { Ok(content) } else { Err(Trouble::Denied) }
    }

    /// Returns the names in a folder, in order.
    pub(crate) fn list(&self, user: &User, path: &str) -> Result<Vec<&str>> {
        let node = self.look(user, path)?;
        if !node.is_folder() {
            return Err(Trouble::NotAFolder);
        }
        if !node.allows(user, READ) {
            return Err(Trouble::Denied);
        }
        Ok(self.below(path).filter(|(name, _)| !name.contains('/')).map(|(name, _)| name).collect())
    }

    /// Returns everything below a folder by its path from there.
    fn below(&self, path: &str) -> impl Iterator<Item = (&str, &Node)> {
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let start = prefix.clone();
        self.nodes
            .range(start..)
            .map_while(move |(known, node)| Some((known.strip_prefix(&prefix)?, node)))
            .filter(|(name, _)| !name.is_empty())
    }

    /// Returns every file with its path, for comparing two disks.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Returns the digest of a file.
    pub(crate) fn digest(node: &Node) -> Option<String> {
        let digest = Sha256::digest(node.content.as_ref()?);
        Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Checks that a user may write into the folder of a path.
    fn may_change(&self, user: &User, path: &str) -> Result<()> {
        self.enter(user, path)?;
        let parent = self.nodes.get(parent(path)).ok_or(Trouble::NotFound)?;
        match () {
            () if !parent.is_folder() => Err(Trouble::NotAFolder),
            () if !parent.allows(user, WRITE | ENTER) => Err(Trouble::Denied),
            () => Ok(()),
        }
    }

    /// Makes an empty file unless there is one. Afterwards the user may write it.
    pub(crate) fn create(&mut self, user: &User, path: &str, mode: u32, now: u32) -> Result<()> {
        if let Some(node) = self.nodes.get(path) {
            self.enter(user, path)?;
            return match () {
                () if node.is_folder() => Err(Trouble::IsAFolder),
                () if !node.allows(user, WRITE) => Err(Trouble::Denied),
                () => Ok(()),
            };
        }
        self.may_change(user, path)?;
        let node = Node { content: Some(Vec::new()), mode, owner: user.name.clone(), changed: now };
        self.insert(path, node);
        Ok(())
    }

    fn insert(&mut self, path: &str, node: Node) {
        self.nodes.insert(path.to_owned(), node);
        self.changes += 1;
    }

    /// Returns whether a user may write a file.
    pub(crate) fn may_write(&self, user: &User, node: &Node) -> bool {
        node.allows(user, WRITE)
    }

    fn used(&self) -> usize {
        self.nodes.values().filter_map(|node| node.content.as_ref()).map(Vec::len).sum()
    }

    /// Writes bytes at a place of a file that is there; at its end without one. What lies before is filled with zeros.
    pub(crate) fn write(
        &mut self,
        user: &User,
        path: &str,
        at: Option<usize>,
        bytes: &[u8],
        now: u32,
    ) -> Result<()> {
        let node = self.look(user, path)?;
        if !node.allows(user, WRITE) {
            return Err(Trouble::Denied);
        }
        let length = node.content.as_ref().ok_or(Trouble::IsAFolder)?.len();
        let at = at.unwrap_or(length);
        let end = at.checked_add(bytes.len()).ok_or(Trouble::Full)?;
        if end.saturating_sub(length) > CAPACITY.saturating_sub(self.used()) {
            return Err(Trouble::Full);
        }
        if let Some(Node { content: Some(content), changed, .. }) = self.nodes.get_mut(path) {
            content.resize(content.len().max(end), 0);
            content[at..end].copy_from_slice(bytes);
            *changed = now;
            self.changes += 1;
        }
        Ok(())
    }

    /// Makes a file this long.
    pub(crate) fn resize(&mut self, user: &User, path: &str, length: usize, now: u32) -> Result<()> {
        let node = self.look(user, path)?;
        if !node.allows(user, WRITE) {
            return Err(Trouble::Denied);
        }
        let old = node.content.as_ref().ok_or(Trouble::IsAFolder)?.len();
        if length.saturating_sub(old) > CAPACITY.saturating_sub(self.used()) {
            return Err(Trouble::Full);
        }
        if let Some(Node { content: Some(content), changed, .. }) = self.nodes.get_mut(path) {
            content.resize(length, 0);
            *changed = now;
            self.changes += 1;
        }
        Ok(())
    }

    /// Makes a folder.
    pub(crate) fn make_folder(&mut self, user: &User, path: &str, mode: u32, now: u32) -> Result<()> {
        if self.nodes.contains_key(path) {
            return Err(Trouble::Exists);
        }
        self.may_change(user, path)?;
        self.insert(path, Node { content: None, mode, owner: user.name.clone(), changed: now });
        Ok(())
    }

    /// Removes a file, or a folder with nothing in it.
    pub(crate) fn remove(&mut self, user: &User, path: &str, is_folder: bool) -> Result<()> {
        match (self.look(user, path)?.is_folder(), is_folder) {
            (true, false) => return Err(Trouble::IsAFolder),
            (false, true) => return Err(Trouble::NotAFolder),
            _ => self.may_change(user, path)?,
        }
        if self.below(path).next().is_some() {
            return Err(Trouble::NotEmpty);
        }
        self.nodes.remove(path);
        self.changes += 1;
        Ok(())
    }

    /// Removes a file or folder with everything in it.
    pub(crate) fn remove_all(&mut self, user: &User, path: &str) -> Result<()> {
        if self.look(user, path)?.is_folder() {
            for name in self.list(user, path)?.into_iter().map(str::to_owned).collect::<Vec<_>>() {
                self.remove_all(user, &join(path, &name))?;
            }
            return self.remove(user, path, true);
        }
        self.remove(user, path, false)
    }

    /// Moves a file or a folder with everything in it; in place of a file that is there, when that is wanted.
    pub(crate) fn rename(&mut self, user: &User, from: &str, to: &str, replaces: bool) -> Result<()> {
        self.look(user, from)?;
        self.may_change(user, from)?;
        self.may_change(user, to)?;
        if let Some(there) = self.nodes.get(to) {
            match () {
                () if !replaces => return Err(Trouble::Exists),
                () if there.is_folder() => return Err(Trouble::IsAFolder),
                () => {}
            }
        }
        let inside = self.below(from).map(|(name, _)| (join(from, name), join(to, name)));
        let moved: Vec<_> = std::iter::once((from.to_owned(), to.to_owned())).chain(inside).collect();
        for (old, new) in moved {
            if let Some(node) = self.nodes.remove(&old) {
                self.nodes.insert(new, node);
            }
        }
        self.changes += 1;
        Ok(())
    }

    /// Changes a mode, an owner or a time. The owner may change all but the owner.
    pub(crate) fn change(
        &mut self,
        user: &User,
        path: &str,
        mode: Option<u32>,
        owner: Option<&str>,
        changed: Option<u32>,
    ) -> Result<()> {
        let node = self.look(user, path)?;
        let gives_away = owner.is_some_and(|owner| owner != node.owner);
        if !user.is_root() && (node.owner != user.name || gives_away) {
            return Err(Trouble::Denied);
        }
        if let Some(node) = self.nodes.get_mut(path) {
            node.mode = mode.map_or(node.mode, |mode| mode & 0o777);
            node.owner = owner.map_or_else(|| node.owner.clone(), str::to_owned);
            node.changed = changed.unwrap_or(node.changed);
            self.changes += 1;
        }
        Ok(())
    }

    /// Puts a file or folder in its place, with the folders above it, whoever may or may not. It counts as no change
    /// when it is there already.
    pub(crate) fn place(&mut self, path: &str, content: Option<&str>, mode: u32, owner: &str) {
        let content = content.map(|text| text.as_bytes().to_vec());
        if self.nodes.get(path).is_some_and(|node| node.content == content) {
            return;
        }
        let above: Vec<usize> = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).collect();
        for end in above {
            let folder = || Node { content: None, mode: 0o755, owner: User::ROOT.to_owned(), changed: 0 };
            self.nodes.entry(path[..end].to_owned()).or_insert_with(folder);
        }
        self.insert(path, Node { content, mode, owner: owner.to_owned(), changed: 0 });
    }
}

/// Returns the folder that a path lies in.
pub(crate) fn parent(path: &str) -> &str {
    path.rfind('/').map_or("/", |at| &path[..at.max(1)])
}

/// Returns the path of a name in a folder.
pub(crate) fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (Files, User, User) {
        let mut files = Files::new(false);
        files.place("/home/ann", None, 0o755, "ann");
        files.place("/etc/hostname", Some("box\n"), 0o644, "root");
        (files, User::root(), User::new("ann"))
    }

    #[test]
    fn modes_decide_who_may_do_what() {
        let (mut files, root, ann) = disk();
        let ben = User::new("ben");
        assert_eq!(files.read(&ann, "/etc/hostname"), Ok(&b"box\n"[..]));
        assert_eq!(files.write(&ann, "/etc/hostname", None, b"x", 1), Err(Trouble::Denied));
        assert_eq!(files.create(&ann, "/etc/new", 0o644, 1), Err(Trouble::Denied));
        assert_eq!(files.make_folder(&ann, "/home/ann/.ssh", 0o700, 1), Ok(()));
        assert_eq!(files.create(&ann, "/home/ann/.ssh/keys", 0o600, 1), Ok(()));
        assert_eq!(files.write(&ann, "/home/ann/.ssh/keys", None, b"key\n", 1), Ok(()));
        assert_eq!(files.read(&ben, "/home/ann/.ssh/keys"), Err(Trouble::Denied));
        assert_eq!(files.list(&ben, "/home/ann/.ssh"), Err(Trouble::Denied));
        assert_eq!(files.read(&root, "/home/ann/.ssh/keys"), Ok(&b"key\n"[..]));
        assert_eq!(files.change(&ben, "/home/ann", Some(0o777), None, None), Err(Trouble::Denied));
        assert_eq!(files.change(&ann, "/home/ann", None, Some("ben"), None), Err(Trouble::Denied));
        assert_eq!(files.change(&root, "/home/ann", None, Some("ben"), None), Ok(()));
        assert_eq!(files.look(&root, "/home/ann").expect("as prepared").letters(), "drwxr-xr-x");
    }

    #[test]
    fn every_trouble_has_its_name() {
        let (mut files, root, _) = disk();
        assert_eq!(files.read(&root, "/none/x"), Err(Trouble::NotFound));
        assert_eq!(files.read(&root, "/etc/hostname/x"), Err(Trouble::NotAFolder));
        assert_eq!(files.read(&root, "/etc"), Err(Trouble::IsAFolder));
        assert_eq!(files.remove(&root, "/etc", true), Err(Trouble::NotEmpty));
        assert_eq!(files.make_folder(&root, "/etc", 0o755, 1), Err(Trouble::Exists));
        files.create(&root, "/big", 0o644, 1).expect("as prepared");
        assert_eq!(files.write(&root, "/big", Some(CAPACITY), b"x", 1), Err(Trouble::Full));
        assert_eq!(files.write(&root, "/big", Some(CAPACITY - 100), b"x", 1), Ok(()));
        assert_eq!(files.resize(&root, "/big", usize::MAX, 1), Err(Trouble::Full));
        assert_eq!(files.write(&root, "/big", Some(usize::MAX), b"x", 1), Err(Trouble::Full));
    }

    #[test]
    fn folders_move_with_what_is_in_them() {
        let (mut files, root, _) = disk();
        files.place("/a/b/c", Some("deep"), 0o644, "root");
        files.place("/ab", Some("beside"), 0o644, "root");
        files.rename(&root, "/a", "/z", false).expect("as prepared");
        assert_eq!(files.read(&root, "/z/b/c"), Ok(&b"deep"[..]));
        assert_eq!(files.list(&root, "/"), Ok(vec!["ab", "etc", "home", "z"]));
        assert_eq!(files.rename(&root, "/ab", "/z/b/c", false), Err(Trouble::Exists));
        assert_eq!(files.rename(&root, "/ab", "/z/b/c", true), Ok(()));
        files.remove_all(&root, "/z").expect("as prepared");
        assert_eq!(files.list(&root, "/"), Ok(vec!["etc", "home"]));
    }

    #[test]
    fn paths_are_read_as_each_system_writes_them() {
        let (files, ..) = disk();
        assert_eq!(files.absolute("/home/ann", "../ben/./x//y"), "/home/ben/x/y");
        assert_eq!(files.absolute("/home", "/../.."), "/");
        let mut windows = Files::new(true);
        windows.place("/C:/ProgramData/ssh/keys", Some("k"), 0o600, "root");
        assert_eq!(windows.absolute("/C:/", r"c:\programdata\SSH\new"), "/C:/ProgramData/ssh/new");
        assert_eq!(windows.absolute("/C:/ProgramData", "ssh/KEYS"), "/C:/ProgramData/ssh/keys");
        assert_eq!(windows.absolute("/C:/", "/c:/Programs"), "/C:/Programs");
    }

    #[test]
    fn a_disk_is_saved_byte_for_byte() {
        let (mut files, root, _) = disk();
        files.create(&root, "/raw", 0o600, 7).expect("as prepared");
        files.write(&root, "/raw", None, &[0, 255, 10], 8).expect("as prepared");
        let text = serde_json::to_string(&Disk::new(files)).expect("as prepared");
        let back: Disk = serde_json::from_str(&text).expect("as prepared");
        assert_eq!(back.files().read(&root, "/raw"), Ok(&[0, 255, 10][..]));
        assert!(back.files().look(&root, "/home/ann").expect("as prepared").is_folder());
    }
}
