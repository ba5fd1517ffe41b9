//! `ssh::upload`: a file from here to a machine.

use std::io::{Read, Seek, SeekFrom};

use relight_engine::Handle;
use relight_engine::event::hex;
use russh_sftp::client::SftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::files::{self, Carried, Meter, PIECE};
use super::line::Line;
use crate::prelude::*;

/// Carries a file from here to a machine. It takes its place there when it is whole, so that nobody reads half of it; what stood
/// there is replaced. After a broken connection it goes on where it was, and then all of it is read back and compared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Session that `ssh::connect` opened.
    session: Handle,
    /// File here: below the folder of the run, or a parameter of type path.
    from: String,
    /// Path on the machine, of the file and not of its folder.
    to: String,
    /// Permissions on the machine in octal digits, such as 0644; the server's own choice when left out.
    #[serde(default)]
    mode: Option<String>,
}

/// `ssh::upload`.
pub(crate) struct Upload;

impl Operation for Upload {
    type Args = Args;
    type Output = Carried;

    const NAME: &'static str = "ssh::upload";
    const SUMMARY: &'static str = "Carries a file from here to a machine.";
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
        let mut file = cx.file(&args.from)?.open().map_err(|e| unread(&args.from, e))?;
        let (sha256, bytes) = hashed(&mut file).map_err(|e| unread(&args.from, e))?;
        let work = async {
            cx.may_send().await?;
            let sftp = files::open(&session).await?;
            let part = format!("{}.{}.part", args.to, &sha256[..12]);
            let carry = Carry { cx, sftp: &sftp, args, part: &part, sha256: &sha256, bytes };
            let resumed_at = carry.all(&mut file, mode).await?;
            // Carrying it took its time: whoever has the run now may have put something newer there.
            cx.may_send().await?;
            files::replace(&session, &part, &args.to).await?;
            let _ = sftp.close().await;
            Ok(Carried { path: args.to.clone(), bytes, sha256: sha256.clone(), resumed_at })
        };
        files::unless_cancelled(cx, work).await.map(Outcome::done)
    }
}

/// One file on its way.
struct Carry<'a> {
    cx: &'a Cx,
    sftp: &'a SftpSession,
    args: &'a Args,
    /// Where it is until it is whole. Its name holds the hash, so that what is gone on with is the same file.
    part: &'a str,
    sha256: &'a str,
    bytes: u64,
}

impl Carry<'_> {
    /// Carries what is not there yet. Returns how much was there.
    async fn all(&self, file: &mut std::fs::File, mode: Option<u32>) -> Result<u64> {
        let (to, part) = (&self.args.to, self.part);
        let there = self.sftp.metadata(part).await.ok().and_then(|found| found.size).unwrap_or_default();
        let resumed_at = if there <= self.bytes { there } else { 0 };
        let mut flags = OpenFlags::CREATE | OpenFlags::WRITE | OpenFlags::READ;
        if resumed_at == 0 {
            flags |= OpenFlags::TRUNCATE;
        }
        let attributes = FileAttributes { permissions: mode, ..FileAttributes::empty() };
        let opened = self.sftp.open_with_flags_and_attributes(part, flags, attributes).await;
        let mut far = opened.map_err(|e| {
            files::failed(format!("`{to}` cannot be written"), e)
                .hint("is its folder there, and may the user write to it?")
        })?;
        let broke = |e| files::cut(format!("`{to}` is not whole"), e);
        far.seek(SeekFrom::Start(resumed_at)).await.map_err(broke)?;
        file.seek(SeekFrom::Start(resumed_at)).map_err(|e| unread(&self.args.from, e))?;
        let mut meter = Meter::new(self.cx, to, self.bytes);
        let mut piece = vec![0; PIECE];
        let mut at = resumed_at;
        loop {
            let count = file.read(&mut piece).map_err(|e| unread(&self.args.from, e))?;
            if count == 0 {
                break;
            }
            far.write_all(&piece[..count]).await.map_err(broke)?;
            at += count as u64;
            meter.at(at);
        }
        far.flush().await.map_err(broke)?;
        if at != self.bytes {
            return Err(Error::new(
                ErrorKind::Unsent,
                format!("`{}` changed while it was read", self.args.from),
            ));
        }
        if resumed_at > 0 {
            self.compare(&mut far).await?;
        }
        // Servers without it keep the file all the same.
        let _ = far.sync_all().await;
        if mode.is_some() {
            // A part from before has the permissions that it was made with, and the server's mask took from them.
            let attributes = FileAttributes { permissions: mode, ..FileAttributes::empty() };
            let set = self.sftp.set_metadata(part, attributes).await;
            set.map_err(|e| files::failed(format!("the permissions of `{to}` cannot be set"), e))?;
        }
        far.close().await.map_err(broke)?;
        Ok(resumed_at)
    }

    /// Reads back what was written in more than one attempt.
    async fn compare(&self, far: &mut (impl AsyncReadExt + AsyncSeekExt + Unpin)) -> Result<()> {
        let broke = |e| files::cut(format!("`{}` cannot be read back", self.args.to), e);
        far.seek(SeekFrom::Start(0)).await.map_err(broke)?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        let mut meter = Meter::new(self.cx, format!("comparing {}", self.args.to), self.bytes);
        let mut at = 0;
        loop {
            let count = far.read(&mut piece).await.map_err(broke)?;
            if count == 0 {
                break;
            }
            hash.update(&piece[..count]);
            at += count as u64;
            meter.at(at);
        }
        if hex(&hash.finalize()) == self.sha256 {
            return Ok(());
        }
        // What is there is of no use: the next attempt begins anew.
        let _ = self.sftp.remove_file(self.part).await;
        Err(Error::new(
            ErrorKind::Transient,
            format!("`{}` arrived with other content than it has here", self.args.to),
        ))
    }
}

fn hashed(file: &mut std::fs::File) -> std::io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let bytes = std::io::copy(file, &mut hash)?;
    Ok((hex(&hash.finalize()), bytes))
}

fn unread(path: &str, error: std::io::Error) -> Error {
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let failed = Error::rejected(format!("`{path}` cannot be read here")).because(error);
    if missing { failed.code(ErrorCode::NOT_FOUND) } else { failed }
}

fn read_mode(text: &str) -> Result<u32> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| {
        Error::invalid(format!("`{text}` is no permission")).hint("in octal digits, such as 0644")
    })
}
