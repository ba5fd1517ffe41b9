//! `file::write`: writes a text, or a value as JSON, into a file.

use relight_engine::Found;
use relight_engine::event::content_hash;

use super::{Written, unread, unwritten};
use crate::prelude::*;

/// Writes a file that only its owner can read: a text as it is, any other value as JSON. A file that is there is never replaced
/// unless that is asked for; when it holds the same already, it is left as it is. No secret can be in it, because a script never
/// holds one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// File: below the run's folder, named by a parameter of type path, or in a folder that is.
    path: String,
    /// What it shall hold.
    content: Value,
    /// Whether to replace whatever file is there; no when left out.
    #[serde(default)]
    overwrite: bool,
}

/// `file::write`.
pub(super) struct WriteFile;

impl Operation for WriteFile {
    type Args = Args;
    type Output = Written;

    const NAME: &'static str = "file::write";
    const SUMMARY: &'static str = "Writes a text, or a value as JSON, into a file here.";
    const EFFECTS: &'static [Effect] = &[Effect::FileWrite];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Keep a value.", r#"file::write("vms.json", local::vms()).path"#)
                .on("edge")
                .gives(json!("vms.json")),
            Example::new("Write a text.", r#"file::write("note.txt", "web-01 is back\n").bytes"#)
                .on("edge")
                .gives(json!(15)),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Written>> {
        let path = &args.path;
        let bytes = match &args.content {
            Value::String(text) => text.clone().into_bytes(),
            value => format!("{value:#}\n").into_bytes(),
        };
        let file = cx.file(path)?;
        let is_same = || file.read(bytes.len() as u64).is_ok_and(|there| there == bytes);
        match file.look().map_err(|e| unread(path, e))? {
            None => {}
            Some(_) if args.overwrite => {}
            // An attempt before this one wrote it, or somebody who meant the same.
            Some(Found::File) if is_same() => {}
            Some(_) => {
                return Err(Error::rejected(format!("`{path}` is there already, and holds something else"))
                    .hint("name another file, or replace it with #{ overwrite: true }"));
            }
        }
        file.replace(&bytes).map_err(|e| unwritten(path, e))?;
        let (bytes, sha256) = (bytes.len() as u64, content_hash(&bytes));
        Ok(Outcome::done(Written { path: path.clone(), bytes, sha256 }))
    }
}
