//! `file::create_folder`: makes a folder for what a run brings home.

use relight_engine::RunFolder;

use super::{unread, unwritten};
use crate::prelude::*;

/// Makes a folder that only its owner can enter. One that is there already will do when nothing is in it, so that nothing of
/// another time gets among what this run writes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Folder: below the run's folder, or named by a parameter of type path. The one that it is in must be there.
    path: String,
}

/// `file::create_folder`.
pub(super) struct CreateFolder;

impl Operation for CreateFolder {
    type Args = Args;
    type Output = String;

    const NAME: &'static str = "file::create_folder";
    const SUMMARY: &'static str = "Makes a folder here for what a run writes.";
    const EFFECTS: &'static [Effect] = &[Effect::FileWrite];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Make a folder.", r#"file::create_folder("found")"#)
                .on("edge")
                .gives(json!("found")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<String>> {
        let path = &args.path;
        let folder = RunFolder::create(&cx.file(path)?).map_err(|e| unwritten(path, e))?;
        // One thing is enough to see that it is not empty.
        match folder.list(0) {
            Ok(_) => Ok(Outcome::done(path.clone())),
            Err(e) if e.kind() == std::io::ErrorKind::FileTooLarge => {
                Err(Error::rejected(format!("the folder `{path}` is there already, with something in it"))
                    .hint("name another folder, or move away what is in it, then resume the run"))
            }
            Err(e) => Err(unread(path, e)),
        }
    }
}
