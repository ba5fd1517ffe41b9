//! `ssh::upload`: a file or a folder from here to a machine.

use futures::{StreamExt, TryStreamExt, stream};
use relight_engine::{Handle, ListedFile, RunFolder};

use super::files::{self, Carried, FILES_AT_ONCE, MOST, Meter, Sending, Sftp, Whole, joined};
use super::line::Line;
use crate::file::{hashed, unread};
use crate::prelude::*;

/// Carries a file from here to a machine, or a folder with all that is in it. Each file takes its place there when it is whole, so
/// that nobody reads half of it; what stood there is replaced. After a broken connection it goes on where it was, and then all of it
/// is read back and compared. Of a folder, files that have the same size and time there are not carried again, what is there besides
/// stays, and links are skipped.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Session that `ssh::connect` opened.
    session: Handle,
    /// File or folder here: below the folder of the run, or a parameter of type path.
    from: String,
    /// Path on the machine, of the file or folder itself and not of the one that it is in.
    to: String,
    /// Permissions of the files on the machine in octal digits, such as 0644; the server's own choice when left out.
    #[serde(default)]
    mode: Option<String>,
}

/// `ssh::upload`.
pub(crate) struct Upload;

impl Operation for Upload {
    type Args = Args;
    type Output = Carried;

    const NAME: &'static str = "ssh::upload";
    const SUMMARY: &'static str = "Carries a file or a folder from here to a machine.";
    const EFFECTS: &'static [Effect] = &[Effect::FileRead, Effect::Ssh];
    // The same file in the same place, however often.
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
            let there = ssh::download(session, "/etc/hostname", "hostname.txt");
            ssh::upload(session, "hostname.txt", "/tmp/name", #{ mode: "0600" }).sha256 == there.sha256
        "#;
        vec![Example::new("Carry a file there and back.", script).on("edge").gives(json!(true))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Carried>> {
        let mode = args.mode.as_deref().map(read_mode).transpose()?;
        let session = cx.live::<Line>(&args.session).await?.session().await?;
        let near = cx.file(&args.from)?;
        let folder = RunFolder::open(&near).map_err(|e| unread(&args.from, e))?;
        let work = async {
            cx.may_send().await?;
            let sftp = Sftp::open(&session).await?;
            let carried = match folder {
                Some(folder) => send_folder(cx, &sftp, args, mode, &folder).await?,
                None => {
                    let unread = |e| unread(&args.from, e);
                    let file = near.open().map_err(unread)?;
                    let meter = Meter::new(cx, &args.to, file.metadata().map_err(unread)?.len());
                    let (from, to) = (&args.from, &args.to);
                    let whole = Sending { cx, sftp: &sftp, meter: &meter, from, to, mode }.send(file).await?;
                    Carried::file(&args.to, whole)
                }
            };
            sftp.close().await;
            Ok(carried)
        };
        files::unless_cancelled(cx, work).await.map(Outcome::done)
    }
}

/// Carries what is in a folder, several files at a time.
async fn send_folder(
    cx: &Cx,
    sftp: &Sftp,
    args: &Args,
    mode: Option<u32>,
    folder: &RunFolder,
) -> Result<Carried> {
    let listing = folder.list(MOST).map_err(|e| unread(&args.from, e))?;
    let skipped: Vec<_> = listing.others.into_iter().map(|(path, why)| (path, why.to_owned())).collect();
    files::say_skipped(cx, &skipped);
    let there = sftp.make_folders(cx, &args.to, &listing.folders).await?;
    let what = format!("{}: {} files", args.to, listing.files.len());
    let meter = Meter::new(cx, what, listing.files.iter().map(|file| file.bytes).sum());
    let send = async |near: ListedFile| {
        let (from, to) = (joined(&args.from, &near.path), joined(&args.to, &near.path));
        let unread = |e| unread(&from, e);
        let mut file = folder.file(&near.path).and_then(|it| it.open()).map_err(unread)?;
        let whole = match there.get(&near.path) == Some(&(near.bytes, files::seconds(near.modified))) {
            true => {
                meter.add(near.bytes);
                let (sha256, bytes) = hashed(&mut file).map_err(unread)?;
                Whole { bytes, sha256, resumed_at: bytes }
            }
            false => Sending { cx, sftp, meter: &meter, from: &from, to: &to, mode }.send(file).await?,
        };
        Ok((near.path, whole))
    };
    let sending = stream::iter(listing.files).map(send).buffer_unordered(FILES_AT_ONCE);
    Ok(Carried::folder(&args.to, sending.try_collect().await?, skipped))
}

fn read_mode(text: &str) -> Result<u32> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| {
        Error::invalid(format!("`{text}` is no permission")).hint("in octal digits, such as 0644")
    })
}
