//! `ssh::download`: a file from a machine to here.

use std::io::SeekFrom;

use relight_engine::Handle;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::files::{self, Carried, Meter, PIECE};
use super::line::Line;
use crate::prelude::*;

/// Carries a file from a machine to here. It takes its place when it is whole, readable for its owner alone; what stood there is
/// replaced. After a broken connection it goes on where it was, when the file there has the size and the time it had.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Session that `ssh::connect` opened.
    session: Handle,
    /// Path on the machine.
    from: String,
    /// File here: below the folder of the run, or a parameter of type path.
    to: String,
}

/// `ssh::download`.
pub(crate) struct Download;

impl Operation for Download {
    type Args = Args;
    type Output = Carried;

    const NAME: &'static str = "ssh::download";
    const SUMMARY: &'static str = "Carries a file from a machine to here.";
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
            let sftp = files::open(&session).await?;
            let (from, to) = (&args.from, &args.to);
            let unread = |e| files::failed(format!("`{from}` cannot be read on `{}`", session.machine()), e);
            let found = sftp.metadata(from).await.map_err(unread)?;
            if !found.is_regular() {
                return Err(Error::rejected(format!("`{from}` is no file")));
            }
            let bytes = found.size.unwrap_or_default();
            let when = found.mtime.unwrap_or_default();
            let mark = files::mark(&[session.machine(), from, &bytes.to_string(), &when.to_string()]);
            let mut near = cx.file(to)?.part(&mark).map_err(|e| unwritten(to, e))?;
            if near.written() > bytes {
                near.discard();
                near = cx.file(to)?.part(&mark).map_err(|e| unwritten(to, e))?;
            }
            let resumed_at = near.written();
            let mut far = sftp.open(from).await.map_err(unread)?;
            let broke = |e| files::cut(format!("`{from}` is not whole here"), e);
            far.seek(SeekFrom::Start(resumed_at)).await.map_err(broke)?;
            let mut meter = Meter::new(cx, from, bytes);
            let mut piece = vec![0; PIECE];
            loop {
                let count = far.read(&mut piece).await.map_err(broke)?;
                if count == 0 {
                    break;
                }
                near.append(&piece[..count]).map_err(|e| unwritten(to, e))?;
                meter.at(near.written());
            }
            let after = sftp.metadata(from).await.map_err(unread)?;
            if near.written() != bytes || (after.size, after.mtime) != (found.size, found.mtime) {
                near.discard();
                return Err(Error::rejected(format!("`{from}` changed while it was read"))
                    .hint("a file that is written to all the time is fetched with ssh::exec, such as `tail -c 1000000 FILE`"));
            }
            let sha256 = near.finish().map_err(|e| unwritten(to, e))?;
            let _ = sftp.close().await;
            Ok(Carried { path: to.clone(), bytes, sha256, resumed_at })
        };
        files::unless_cancelled(cx, work).await.map(Outcome::done)
    }
}

fn unwritten(path: &str, error: std::io::Error) -> Error {
    Error::rejected(format!("`{path}` cannot be written here")).because(error)
}
