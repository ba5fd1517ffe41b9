//! The one way from a step to what is in a folder.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use cap_std::fs::{Dir, DirBuilder};

use crate::file::{Noted, RunFile};

/// How deep folders may be nested when they are listed.
const DEEPEST: usize = 64;

/// A folder that a step may touch, with all that is in it.
///
/// Neither a name nor a link leads out of it, whoever puts one there and whenever.
#[non_exhaustive]
pub struct RunFolder {
    folder: Dir,
    whole: PathBuf,
    noted: Option<Noted>,
}

/// What a folder holds, in the order of the paths. Paths are relative to it, their parts apart by `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The folders, each before what is in it.
    pub folders: Vec<String>,
    /// The files.
    pub files: Vec<ListedFile>,
    /// What is neither, with what it is.
    pub others: Vec<(String, &'static str)>,
}

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedFile {
    /// Its path in the folder.
    pub path: String,
    /// How large it is.
    pub bytes: u64,
    /// When it was changed last.
    pub modified: SystemTime,
}

impl RunFolder {
    /// Opens the folder at which a step points; nothing when that is none, or is not there.
    ///
    /// # Errors
    /// Whatever keeps it from being opened, and a link that leads out.
    pub fn open(at: &RunFile) -> io::Result<Option<Self>> {
        match at.folder.metadata(&at.name) {
            Ok(found) if found.is_dir() => RunFolder::opened(at).map(Some),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the folder at which a step points, made for its owner alone when nothing is there.
    ///
    /// # Errors
    /// Whatever keeps it from being made or opened, such as a file of that name.
    pub fn create(at: &RunFile) -> io::Result<Self> {
        create(&at.folder, &at.name)?;
        RunFolder::opened(at)
    }

    fn opened(at: &RunFile) -> io::Result<Self> {
        let folder = at.folder.open_dir(&at.name)?;
        Ok(RunFolder { folder, whole: at.whole.clone(), noted: at.noted.clone() })
    }

    /// Returns what is in the folder, and in the folders in it. Links are not followed.
    ///
    /// # Errors
    /// `FileTooLarge` when that is more than `most` things, and whatever keeps it from being read.
    pub fn list(&self, most: usize) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let mut left = vec![String::new()];
        let mut count = 0;
        while let Some(folder) = left.pop() {
            let at = if folder.is_empty() { "." } else { folder.as_str() };
            for entry in self.folder.read_dir(at)? {
                let entry = entry?;
                count += 1;
                if count > most || folder.split('/').count() > DEEPEST {
                    let what =
                        format!("it holds more than {most} files and folders, or they are nested too deep");
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
                }
                let name = entry.file_name();
                let path = match folder.is_empty() {
                    true => name.to_string_lossy().into_owned(),
                    false => format!("{folder}/{}", name.to_string_lossy()),
                };
                let kind = entry.file_type()?;
                if name.to_str().is_none() {
                    listing.others.push((path, "its name is no text"));
                } else if kind.is_dir() {
                    listing.folders.push(path.clone());
                    left.push(path);
                } else if kind.is_file() {
                    let about = entry.metadata()?;
                    let modified = about.modified()?.into_std();
                    listing.files.push(ListedFile { path, bytes: about.len(), modified });
                } else {
                    let what = if kind.is_symlink() { "a link" } else { "neither a file nor a folder" };
                    listing.others.push((path, what));
                }
            }
        }
        listing.folders.sort_unstable();
        listing.files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        listing.others.sort_unstable();
        Ok(listing)
    }

    /// Makes a folder in it, for its owner alone, when nothing is there. The folder that it is in must be there.
    ///
    /// # Errors
    /// Whatever keeps it from being made, such as a file or a link of that name.
    pub fn create_folder(&self, path: &str) -> io::Result<()> {
        create(&self.folder, inside(path)?)
    }

    /// Points at a file in it. What is written becomes part of the run's record.
    ///
    /// # Errors
    /// `InvalidInput` when the path leads elsewhere.
    pub fn file(&self, path: &str) -> io::Result<RunFile> {
        let name = inside(path)?;
        let noted = self.noted.as_ref().map(|noted| noted.below(path));
        let (folder, whole) = (self.folder.try_clone()?, self.whole.join(name));
        Ok(RunFile { folder, name: name.to_owned(), whole, noted })
    }
}

/// Makes a folder, unless it is there.
fn create(parent: &Dir, name: &Path) -> io::Result<()> {
    match parent.create_dir_with(name, &private()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match parent.metadata(name)?.is_dir() {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder")),
        },
        other => other,
    }
}

#[cfg(unix)]
fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    cap_std::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

#[cfg(not(unix))]
fn private() -> DirBuilder {
    DirBuilder::new()
}

fn inside(path: &str) -> io::Result<&Path> {
    let name = Path::new(path);
    let is_inside = !path.is_empty() && name.components().all(|part| matches!(part, Component::Normal(_)));
    let outside = || io::Error::new(io::ErrorKind::InvalidInput, "it leads out of the folder");
    is_inside.then_some(name).ok_or_else(outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_folder_is_listed_in_order() {
        let outer = tempfile::tempdir().unwrap();
        let file = RunFile::below(outer.path(), Path::new("conf")).unwrap();
        assert!(RunFolder::open(&file).unwrap().is_none());
        let folder = RunFolder::create(&file).unwrap();
        folder.create_folder("sub").unwrap();
        folder.create_folder("sub").unwrap();
        folder.create_folder("sub/empty").unwrap();
        for name in ["b", "sub/a", "a"] {
            folder.file(name).unwrap().replace(name.as_bytes()).unwrap();
        }
        let listing = RunFolder::open(&file).unwrap().unwrap().list(10).unwrap();
        assert_eq!(listing.folders, ["sub", "sub/empty"]);
        let files: Vec<_> = listing.files.iter().map(|file| (file.path.as_str(), file.bytes)).collect();
        assert_eq!(files, [("a", 1), ("b", 1), ("sub/a", 5)]);
        assert_eq!(folder.list(4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(folder.create_folder("a").is_err() && folder.create_folder("none/sub").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn nothing_leads_out_of_a_folder() {
        use std::fs;
        use std::os::unix::fs::{PermissionsExt, symlink};

        let (outer, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = RunFolder::create(&RunFile::below(outer.path(), Path::new("conf")).unwrap()).unwrap();
        symlink(elsewhere.path(), outer.path().join("conf/out")).unwrap();
        symlink("../beside", outer.path().join("conf/up")).unwrap();
        fs::create_dir(outer.path().join("beside")).unwrap();
        for path in ["", "..", "../x", "/x", "a/../../x", "."] {
            assert!(folder.file(path).is_err() && folder.create_folder(path).is_err(), "{path}");
        }
        for path in ["out/x", "up/x"] {
            assert!(folder.file(path).unwrap().replace(b"ours").is_err(), "{path}");
            assert!(folder.create_folder(path).is_err(), "{path}");
        }
        assert!(folder.create_folder("out").is_err());
        assert_eq!(
            folder.list(9).unwrap().others,
            [("out".to_owned(), "a link"), ("up".to_owned(), "a link")]
        );
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        // A link in place of the folder itself is no folder either when it leads out.
        symlink(elsewhere.path(), outer.path().join("theirs")).unwrap();
        let theirs = RunFile::below(outer.path(), Path::new("theirs")).unwrap();
        assert!(RunFolder::create(&theirs).is_err() && RunFolder::open(&theirs).is_err());
        let mode = fs::metadata(outer.path().join("conf")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
