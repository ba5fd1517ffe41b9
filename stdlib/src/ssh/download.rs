//! `ssh::download`: a file or a folder from a machine to here.

use std::io;

use futures::{StreamExt, TryStreamExt, stream};
use relight_engine::{Found, Handle, RunFile, RunFolder};
use russh_sftp::protocol::{FileAttributes, FileType};

use super::files::{self, Carried, FILES_AT_ONCE, Fetched, Fetching, Meter, Sftp, Tree, Whole, joined};
use super::line::Line;
use crate::file::{hashed, unwritten};
use crate::prelude::*;

/// Carries a file from a machine to here, or a folder with all that is in it. Each file takes its place when it is whole, readable for
/// its owner alone; what stood there is replaced. After a broken connection it goes on where it was, when the file there has the size
/// and the time it had. Of a folder, files that have the same size and time here are not carried again, what is here besides stays,
/// and what cannot be carried is skipped: links, what the user may not read, what changes meanwhile.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Session that `ssh::connect` opened.
    session: Handle,
    /// Path on the machine, of a file or a folder.
    from: String,
    /// The file or folder itself here: below the folder of the run, or a parameter of type path.
    to: String,
}

/// `ssh::download`.
pub(crate) struct Download;

impl Operation for Download {
    type Args = Args;
    type Output = Carried;

    const NAME: &'static str = "ssh::download";
    const SUMMARY: &'static str = "Carries a file or a folder from a machine to here.";
    const EFFECTS: &'static [Effect] = &[Effect::Ssh, Effect::FileWrite];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND];

    fn examples() -> Vec<Example> {
        let script = r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create(app);
            arc::service_configure(app);
            ssh::trust(app, [ssh::host_key(app).key]);
            let session = ssh::connect(app, "azureuser", #{ password: secret("env:APP_PASSWORD") });
            ssh::download(session, "/etc/hostname", "hostname.txt").bytes
        "#;
        vec![Example::new("Fetch a file.", script).on("edge").gives(json!(7))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Carried>> {
        let session = cx.live::<Line>(&args.session).await?.session().await?;
        let work = async {
            let sftp = Sftp::open(&session).await?;
            let found = sftp.about(&args.from).await?;
            let carried = match found.file_type() {
                FileType::File => fetch_file(cx, &sftp, args, &found).await?,
                FileType::Dir => fetch_folder(cx, &sftp, args).await?,
                _ => return Err(Error::rejected(format!("`{}` is neither a file nor a folder", args.from))),
            };
            sftp.close().await;
            Ok(carried)
        };
        files::unless_cancelled(cx, work).await.map(Outcome::done)
    }
}

async fn fetch_file(cx: &Cx, sftp: &Sftp, args: &Args, found: &FileAttributes) -> Result<Carried> {
    let (from, to) = (args.from.as_str(), args.to.as_str());
    let meter = Meter::new(cx, from, found.len());
    let fetching = Fetching { sftp, meter: &meter, from, found, to };
    match fetching.fetch(|| cx.file(to)).await? {
        Fetched::Whole(whole) => Ok(Carried::file(to, whole)),
        Fetched::Refused(error) => Err(sftp.unread(from, error)),
        Fetched::Changed => Err(Error::rejected(format!("`{from}` changed while it was read")).hint(
            "a file that is written to all the time is fetched with ssh::exec, such as `tail -c 1000000 FILE`",
        )),
    }
}

/// Carries what is in a folder, several files at a time.
async fn fetch_folder(cx: &Cx, sftp: &Sftp, args: &Args) -> Result<Carried> {
    let Tree { folders, files: found, mut skipped, .. } = sftp.tree(&args.from).await?;
    files::say_skipped(cx, &skipped);
    let near = RunFolder::create(&cx.file(&args.to)?).map_err(|e| unwritten(&args.to, e))?;
    for folder in &folders {
        near.create_folder(folder).map_err(|e| unwritten(&joined(&args.to, folder), e))?;
    }
    let what = format!("{}: {} files", args.from, found.len());
    let meter = Meter::new(cx, what, found.values().map(FileAttributes::len).sum());
    let fetch = async |(path, found): (String, FileAttributes)| {
        let (from, to) = (joined(&args.from, &path), joined(&args.to, &path));
        let unwritten = |e| unwritten(&to, e);
        let place = || near.file(&path).map_err(unwritten);
        let fetched = match here(&place()?, &found).map_err(unwritten)? {
            Some(whole) => {
                meter.add(whole.bytes);
                Fetched::Whole(whole)
            }
            None => {
                Fetching { sftp, meter: &meter, from: &from, found: &found, to: &to }.fetch(place).await?
            }
        };
        Ok::<_, Error>(match fetched {
            Fetched::Whole(whole) => Ok((path, whole)),
            Fetched::Refused(error) => Err((path, error.to_string())),
            Fetched::Changed => Err((path, "it changed while it was read".to_owned())),
        })
    };
    let fetching = stream::iter(found).map(fetch).buffer_unordered(FILES_AT_ONCE);
    let (mut whole, mut left) = (Vec::new(), Vec::new());
    for fetched in fetching.try_collect::<Vec<_>>().await? {
        match fetched {
            Ok(it) => whole.push(it),
            Err(it) => left.push(it),
        }
    }
    files::say_skipped(cx, &left);
    skipped.extend(left);
    Ok(Carried::folder(&args.to, whole, skipped))
}

/// Returns the file that is here when it has the size and the time that it has there: an attempt before carried it.
fn here(near: &RunFile, found: &FileAttributes) -> io::Result<Option<Whole>> {
    if near.look()? != Some(Found::File) {
        return Ok(None);
    }
    let mut file = near.open()?;
    let about = file.metadata()?;
    if (about.len(), Some(files::seconds(about.modified()?))) != (found.len(), found.mtime) {
        return Ok(None);
    }
    let (sha256, bytes) = hashed(&mut file)?;
    near.note(sha256.clone(), bytes);
    Ok(Some(Whole { bytes, sha256, resumed_at: bytes }))
}
