//! The files that a run wrote, handed to whoever started it.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use hyper::Method;
use relight_engine::event::{WrittenFile, content_hash};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::call::Call;
use super::super::endpoint::{Endpoint, Needs, NoBody};
use super::super::refusal::{Outcome, Refusal};
use super::super::reply::Content;
use super::super::tokens::Role;

/// The largest file that is handed out: it is read as a whole.
const LARGEST: u64 = 64 << 20;

/// Which file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FileQuery {
    /// Its path, as the run's `files` say it.
    path: String,
}

/// A file that a run wrote.
pub(super) struct ReadFile;

#[async_trait]
impl Endpoint for ReadFile {
    const NAME: &'static str = "read_file";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/runs/{run}/file";
    const SUMMARY: &'static str = "Returns a file that a run wrote into its folder, as it was written, of up to 64 MiB: to the token that started the run, \
                                   and to those with the role `admin`.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The file.")];
    const REFUSED: &'static [u16] = &[409];
    type Query = FileQuery;
    type Body = NoBody;
    type Answer = Content;

    async fn answer(call: &Call, query: FileQuery, _: NoBody) -> Outcome<Content> {
        let run = call.run().await?;
        // It may be a key, or say what no other token's runs may read.
        if !call.is(Role::Admin) && run.who.as_deref() != Some(call.by()) {
            return Err(Refusal::forbidden("the files of a run are for the token that started it"));
        }
        let history = call.shared.engine.history(&run.id).await?;
        let of_run = history.files.iter().rev().map(|(_, file)| file).find(|file| file.path == query.path);
        let Some(file) = of_run.cloned() else {
            return Err(Refusal::not_found(format!("run {} wrote no such file", run.id))
                .hint("its `files` are those that it wrote: GET /v1/runs/{run}"));
        };
        let workdir = PathBuf::from(&history.prepared.workdir);
        let content = tokio::task::spawn_blocking(move || read(&workdir, &file)).await;
        content.unwrap_or(Err("reading it was cut short")).map(Content).map_err(Refusal::conflict)
    }
}

/// Reads a file as it was written. Whatever else is there by now is not handed out.
fn read(workdir: &Path, file: &WrittenFile) -> Result<Vec<u8>, &'static str> {
    if file.bytes > LARGEST {
        return Err("the file is too large: fetch it from the machine of the service");
    }
    let gone = |_| "the file is there no more";
    let whole = workdir.join(&file.path).canonicalize().map_err(gone)?;
    if !whole.starts_with(workdir.canonicalize().map_err(gone)?) {
        return Err("the file is outside the folder of the run");
    }
    let content = std::fs::read(&whole).map_err(gone)?;
    match content_hash(&content) == file.sha256 {
        true => Ok(content),
        false => Err("the file was changed since the run wrote it"),
    }
}
