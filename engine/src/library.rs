//! The runbook library: a folder, usually a git checkout, in front of what ships with the program.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::event::{Provenance, Source};
use crate::hint::NextStep;
use crate::runbook::Runbook;

/// How deep a library folder is searched.
const DEPTH: usize = 6;
/// The largest runbook, in bytes.
const LARGEST: u64 = 1 << 20;

/// Where runbooks come from. A name in the folder hides the one that ships.
#[derive(Clone, Debug, Default)]
pub struct Library {
    folder: Option<PathBuf>,
    shipped: BTreeMap<String, String>,
}

impl Library {
    /// Makes an empty library.
    pub fn new() -> Self {
        Library::default()
    }

    /// Adds a runbook that ships with the program.
    #[must_use]
    pub fn ship(mut self, name: &str, text: &str) -> Self {
        self.shipped.insert(name.to_owned(), text.to_owned());
        self
    }

    /// Sets the folder that is looked at first.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Returns the names of all runbooks and modules, in order.
    ///
    /// An entry that cannot be one (a broken link, a link that leads out of the library, a folder named like a
    /// runbook) has a name too, and [`source`](Self::source) says what is wrong with it. A folder that cannot be read
    /// is named with a `/` behind it.
    ///
    /// # Errors
    /// `Invalid` when the library's own folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.shipped.keys().cloned().collect();
        if let Some(folder) = &self.folder {
            collect(folder, "", DEPTH, &mut names).map_err(|e| unreadable(folder, e))?;
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Returns the text of a runbook.
    ///
    /// # Errors
    /// `Invalid` when there is none of that name, with the nearest names, or when it cannot be read.
    pub fn source(&self, name: &str) -> Result<Source> {
        let name = name.strip_suffix(".rhai").unwrap_or(name);
        if let (Some(folder), Some(inside)) = (&self.folder, name.strip_suffix('/'))
            && is_plain(inside)
            && let Err(error) = std::fs::read_dir(folder.join(inside))
        {
            return Err(unreadable(&folder.join(inside), error));
        }
        if !is_plain(name) {
            return Err(Error::invalid(format!("`{name}` cannot be the name of a runbook"))
                .hint("a name is letters, digits and -, with / between folders of the library"));
        }
        let file = self.folder.as_ref().map(|folder| (folder, folder.join(format!("{name}.rhai"))));
        if let Some((folder, path)) = file
            && path.symlink_metadata().is_ok()
        {
            return read(name, folder, &path);
        }
        match self.shipped.get(name) {
            Some(text) => Ok(Source { name: name.to_owned(), text: text.clone() }),
            None => Err(self.unknown(name)),
        }
    }

    /// Returns a runbook.
    ///
    /// # Errors
    /// `Invalid`, as [`source`](Self::source) and [`Runbook::parse`].
    pub fn runbook(&self, name: &str) -> Result<Runbook> {
        Runbook::parse(&self.source(name)?)
    }

    /// Returns whether a text has no front matter, so that it is there for others to import and is never run.
    pub fn is_module(&self, name: &str) -> bool {
        self.source(name).is_ok_and(|source| !Runbook::has_front_matter(&source.text))
    }

    /// Returns where the folder stands: its git commit, and whether it has changes.
    ///
    /// A folder that is no checkout has no commit; a machine without git says the same.
    pub fn provenance(&self) -> Provenance {
        let Some(folder) = &self.folder else {
            return Provenance::default();
        };
        let git = |args: &[&str]| {
            let output = Command::new("git").arg("-C").arg(folder).args(args).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let Some(commit) = git(&["rev-parse", "HEAD"]) else {
            return Provenance::default();
        };
        let dirty = git(&["status", "--porcelain", "--", "."]).is_none_or(|changes| !changes.is_empty());
        Provenance { commit: Some(commit), dirty }
    }

    /// Returns whether a runbook ships with the program and the folder does not hide it.
    pub fn is_shipped(&self, name: &str) -> bool {
        let hidden = self.folder.as_ref().is_some_and(|folder| folder.join(format!("{name}.rhai")).is_file());
        !hidden && self.shipped.contains_key(name)
    }

    fn unknown(&self, name: &str) -> Error {
        let error = Error::invalid(format!("there is no runbook `{name}`"));
        let names = self.names().unwrap_or_default();
        let near: Vec<String> = names.iter().filter(|other| near(name, other)).cloned().collect();
        match (near.is_empty(), &self.folder) {
            (false, _) => error.hint(format!("did you mean {}?", near.join(" or "))),
            (true, Some(folder)) => error.hint(format!(
                "the runbooks are {}; your own are looked for in {}",
                names.join(", "),
                folder.display()
            )),
            (true, None) => error.hint(format!("the runbooks are {}", names.join(", "))),
        }
    }
}

/// Returns whether a name stays below the library's folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', ':']))
}

/// Adds the runbooks of a folder, and what looks like one. `inside` names the folder, with a `/` behind it.
fn collect(folder: &Path, inside: &str, depth: usize, names: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        // Links to folders are not followed: they may lead out, or round in circles.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match file.strip_suffix(".rhai") {
            _ if file.starts_with('.') => {}
            Some(name) => names.push(format!("{inside}{name}")),
            None if is_folder && depth > 0 => {
                let inside = format!("{inside}{file}/");
                if collect(&entry.path(), &inside, depth - 1, names).is_err() {
                    names.push(inside);
                }
            }
            None => {}
        }
    }
    Ok(())
}

fn unreadable(folder: &Path, error: io::Error) -> Error {
    Error::invalid(format!("failed to read the runbook folder {}", folder.display())).because(error)
}

fn read(name: &str, library: &Path, path: &Path) -> Result<Source> {
    let shown = path.display();
    let failed = |e: io::Error| Error::invalid(format!("failed to read {shown}")).because(e);
    let (root, target) = (library.canonicalize().map_err(failed)?, path.canonicalize().map_err(failed)?);
    if !target.starts_with(root) {
        return Err(Error::invalid(format!("{shown} is a link that leads out of the library"))
            .hint("copy the runbook into the library")
            .hint(NextStep::ChooseLibrary));
    }
    // Asked before it is opened: opening a pipe waits for whoever writes to it.
    if !std::fs::metadata(&target).map_err(failed)?.is_file() {
        return Err(Error::invalid(format!("{shown} is not a file")));
    }
    let mut text = String::new();
    let file = std::fs::File::open(&target).map_err(failed)?;
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(Error::invalid(format!("{shown} is larger than {LARGEST} bytes, the most of a runbook")));
    }
    Ok(Source { name: name.to_owned(), text })
}

/// Returns whether two names differ by a slip: a part of each other, or at most two letters apart.
pub(crate) fn near(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    (a.len() > 2 && (b.contains(&a) || a.contains(&b))) || strsim::levenshtein(&a, &b) <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_hides_what_ships_and_names_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("web")).unwrap();
        std::fs::write(folder.path().join("web/up.rhai"), "own").unwrap();
        std::fs::write(folder.path().join("a.rhai"), "own").unwrap();
        let library = Library::new().ship("a", "shipped").ship("b", "shipped").folder(folder.path());
        assert_eq!(library.names().unwrap(), ["a", "b", "web/up"]);
        assert_eq!(library.source("a").unwrap().text, "own");
        assert_eq!(library.source("b").unwrap().text, "shipped");
        assert_eq!(library.source("web/up.rhai").unwrap().name, "web/up");
        for outside in ["../a", "/a", "web/../a", "", "c:a", "web//up"] {
            assert!(library.source(outside).is_err(), "{outside}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn one_bad_entry_does_not_hide_the_others() {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;

        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, secret) = (folder.path(), elsewhere.path().join("secret.rhai"));
        std::fs::write(&secret, "theirs").unwrap();
        std::fs::write(root.join("good.rhai"), "own").unwrap();
        symlink("good.rhai", root.join("inside.rhai")).unwrap();
        symlink(&secret, root.join("leads-out.rhai")).unwrap();
        symlink(elsewhere.path(), root.join("folder")).unwrap();
        symlink("nowhere", root.join("broken.rhai")).unwrap();
        symlink(".", root.join("circle")).unwrap();
        std::fs::create_dir(root.join("dir.rhai")).unwrap();
        std::fs::write(root.join("binary.rhai"), b"\xff\xfe").unwrap();
        std::fs::write(root.join("huge.rhai"), vec![b' '; LARGEST as usize + 1]).unwrap();
        std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"b\xffd.rhai")), "own").unwrap();
        let library = Library::new().folder(root);
        let names = library.names().unwrap();
        assert_eq!(names, ["binary", "broken", "b\u{fffd}d", "dir", "good", "huge", "inside", "leads-out"]);
        for (name, why) in [
            ("binary", "valid UTF-8"),
            ("broken", "No such file"),
            ("dir", "is not a file"),
            ("huge", "larger than"),
            ("leads-out", "leads out of the library"),
            ("folder/secret", "leads out of the library"),
            ("b\u{fffd}d", "there is no runbook"),
        ] {
            let error = format!("{:?}", library.source(name).unwrap_err());
            assert!(error.contains(why), "{name}: {error}");
        }
        assert_eq!(library.source("good").unwrap().text, "own");
        assert_eq!(library.source("inside").unwrap().text, "own");
    }

    #[test]
    fn a_slip_of_the_finger_finds_the_name() {
        let library = Library::new().ship("restart-vm", "").ship("site-report", "");
        let error = library.source("restrat-vm").unwrap_err();
        assert!(format!("{error:?}").contains("did you mean restart-vm?"), "{error:?}");
    }
}
