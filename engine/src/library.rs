//! The runbook library: a folder, usually a git checkout, in front of what ships with the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::event::{Provenance, Source};
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

    /// Returns the names of all runbooks, in order.
    ///
    /// # Errors
    /// `Invalid` when the folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.shipped.keys().cloned().collect();
        if let Some(folder) = &self.folder {
            collect(folder, folder, DEPTH, &mut names)?;
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Returns the text of a runbook.
    ///
    /// # Errors
    /// `Invalid` when there is none of that name, with the nearest names, or when it cannot be read.
    pub fn source(&self, name: &str) -> Result<Source> {
        let name = name.strip_suffix(".rhai").unwrap_or(name);
        let is_plain = !name.is_empty()
            && name
                .split('/')
                .all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', ':']));
        if !is_plain {
            return Err(Error::invalid(format!("`{name}` cannot be the name of a runbook"))
                .hint("a name is letters, digits and -, with / between folders of the library"));
        }
        if let Some(path) = self.folder.as_ref().map(|folder| folder.join(format!("{name}.rhai")))
            && path.is_file()
        {
            return read(name, &path);
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

fn collect(root: &Path, folder: &Path, depth: usize, names: &mut Vec<String>) -> Result<()> {
    let unreadable = |e: std::io::Error| {
        Error::invalid(format!("failed to read the runbook folder {}", folder.display())).because(e)
    };
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                collect(root, &path, depth - 1, names)?;
            }
        } else if path.extension().is_some_and(|ending| ending == "rhai")
            && let Ok(inside) = path.with_extension("").strip_prefix(root)
        {
            let parts: Vec<_> = inside.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            names.push(parts.join("/"));
        }
    }
    Ok(())
}

fn read(name: &str, path: &Path) -> Result<Source> {
    let failed = |e: std::io::Error| Error::invalid(format!("failed to read {}", path.display())).because(e);
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > LARGEST {
        return Err(Error::invalid(format!(
            "{} is {size} bytes; a runbook has at most {LARGEST}",
            path.display()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok(Source { name: name.to_owned(), text })
}

/// Returns whether two names differ by a slip: a part of each other, or at most two letters apart.
pub(crate) fn near(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    (a.len() > 2 && (b.contains(&a) || a.contains(&b))) || distance(&a, &b) <= 2
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = if x == *y { diagonal } else { 1 + diagonal.min(row[j]).min(row[j + 1]) };
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
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

    #[test]
    fn a_slip_of_the_finger_finds_the_name() {
        let library = Library::new().ship("restart-vm", "").ship("site-report", "");
        let error = library.source("restrat-vm").unwrap_err();
        assert!(format!("{error:?}").contains("did you mean restart-vm?"), "{error:?}");
    }
}
