//! `file::checksums`: seals a folder with the hashes of what is in it.

use relight_engine::event::content_hash;
use relight_engine::{ListedFile, RunFolder};

use super::{Written, hashed, unread, unwritten};
use crate::prelude::*;

/// The file with the hashes, as `sha256sum -c` reads it.
const SUMS: &str = "SHA256SUMS";
/// The most files and folders that are looked at.
const MOST: usize = 100_000;

/// Writes the SHA-256 of every file in a folder into its file SHA256SUMS: `sha256sum -c SHA256SUMS` in that folder says later whether
/// anything was changed. What is no file, such as a link, is no part of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Folder: below the run's folder, or named by a parameter of type path.
    path: String,
}

/// A folder that was sealed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Sealed {
    /// Path of the file with the hashes.
    sums: String,
    /// SHA-256 of that file: with it alone the whole folder can be checked.
    sha256: String,
    /// The files, in the order of their paths, which are those inside the folder.
    files: Vec<Written>,
}

/// `file::checksums`.
pub(super) struct Checksums;

impl Operation for Checksums {
    type Args = Args;
    type Output = Sealed;

    const NAME: &'static str = "file::checksums";
    const SUMMARY: &'static str = "Writes the hashes of all files of a folder beside them.";
    const EFFECTS: &'static [Effect] = &[Effect::FileRead, Effect::FileWrite];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND];

    fn examples() -> Vec<Example> {
        let script = r#"
            let folder = file::create_folder("found");
            file::write(folder + "/note.txt", "web-01 is back\n");
            file::checksums(folder).files.map(|it| it.path)
        "#;
        vec![Example::new("Seal a folder.", script).on("edge").gives(json!(["note.txt"]))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Sealed>> {
        let path = &args.path;
        let folder = RunFolder::open(&cx.file(path)?).map_err(|e| unread(path, e))?;
        let Some(folder) = folder else {
            return Err(Error::rejected(format!("there is no folder `{path}`")).code(ErrorCode::NOT_FOUND));
        };
        let listing = folder.list(MOST).map_err(|e| unread(path, e))?;
        let seen = |near: ListedFile| {
            let hashed =
                folder.file(&near.path).and_then(|it| it.open()).and_then(|mut file| hashed(&mut file));
            let (sha256, bytes) = hashed.map_err(|e| unread(&format!("{path}/{}", near.path), e))?;
            Ok(Written { path: near.path, bytes, sha256 })
        };
        let files: Vec<Written> =
            listing.files.into_iter().filter(|it| it.path != SUMS).map(seen).collect::<Result<_>>()?;
        let lines: String = files.iter().map(line).collect();
        let sums = format!("{path}/{SUMS}");
        let written = folder.file(SUMS).and_then(|it| it.replace(lines.as_bytes()));
        written.map_err(|e| unwritten(&sums, e))?;
        Ok(Outcome::done(Sealed { sha256: content_hash(lines.as_bytes()), sums, files }))
    }
}

/// Returns the line about a file. One whose name would break it begins with a `\`, as GNU's program has it.
fn line(file: &Written) -> String {
    let name = file.path.replace('\\', r"\\").replace('\n', r"\n");
    let mark = if name == file.path { "" } else { r"\" };
    format!("{mark}{}  {name}\n", file.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_makes_a_second_line() {
        let file = |path: &str| Written { path: path.to_owned(), bytes: 1, sha256: "ab".to_owned() };
        assert_eq!(line(&file("a b.txt")), "ab  a b.txt\n");
        assert_eq!(line(&file("a\nb\\c")), "\\ab  a\\nb\\\\c\n");
    }
}
