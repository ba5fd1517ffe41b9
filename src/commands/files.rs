//! The files that a run wrote, and whether they still are what they were.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use relight_engine::event::{WrittenFile, content_hash};
use relight_engine::replay::History;

use crate::format::Table;

/// Returns the files that a run wrote, each once, as it was written last.
pub(super) fn written(history: &History) -> Vec<&WrittenFile> {
    let mut files: Vec<&WrittenFile> = Vec::new();
    for (_, file) in &history.files {
        match files.iter_mut().find(|known| known.path == file.path) {
            Some(known) => *known = file,
            None => files.push(file),
        }
    }
    files
}

/// Returns the files as lines of a table; none when there are none. Whether they still are what they were can be said on the machine of
/// the run alone.
pub(super) fn lines(history: &History, is_here: bool) -> Vec<String> {
    let files = written(history);
    if files.is_empty() {
        return Vec::new();
    }
    let mut table = Table::headed(&["FILE", "BYTES", "SHA-256", if is_here { "NOW" } else { "" }]);
    for file in files {
        let hash = file.sha256.get(..12).unwrap_or(&file.sha256).to_owned();
        let now = if is_here { now(Path::new(&history.prepared.workdir), file) } else { "" };
        table.row([file.path.clone(), file.bytes.to_string(), hash, now.to_owned()]);
    }
    table.lines(0)
}

fn now(workdir: &Path, file: &WrittenFile) -> &'static str {
    let whole = workdir.join(&file.path);
    let is_same = fs::metadata(&whole).and_then(|found| {
        // Only what has the same length needs to be read.
        Ok(found.is_file() && found.len() == file.bytes && content_hash(&fs::read(&whole)?) == file.sha256)
    });
    match is_same {
        Ok(true) => "unchanged",
        Ok(false) => "changed",
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => "gone",
        Err(_) => "cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_compared_with_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = WrittenFile::new("a.rdp", content_hash(b"one"), 3);
        let look = || now(folder.path(), &file);
        assert_eq!(look(), "gone");
        for (text, seen) in [("one", "unchanged"), ("two", "changed"), ("three", "changed")] {
            fs::write(folder.path().join("a.rdp"), text).unwrap();
            assert_eq!(look(), seen, "{text}");
        }
        fs::remove_file(folder.path().join("a.rdp")).unwrap();
        fs::create_dir(folder.path().join("a.rdp")).unwrap();
        assert_eq!(look(), "changed");
    }
}
