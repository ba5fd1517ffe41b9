//! A key and its SSH certificate of Entra ID in files, for OpenSSH. Everywhere else both stay in memory.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use relight_engine::{Error, Result};
use relight_stdlib::azure::{Arm, SshPass};

use crate::platform;
use crate::setup::Home;

/// A certificate is renewed this long before it ends.
const MARGIN: Duration = Duration::from_secs(300);

/// Returns the file of the key, unless another one is named.
///
/// # Errors
/// `Invalid` when there is no place for state.
pub(crate) fn usual_file(home: &Home) -> Result<PathBuf> {
    Ok(home.state()?.join("ssh").join("id_entra"))
}

/// Returns the file of a key's certificate, where OpenSSH looks for it, too.
pub(crate) fn beside(key: &Path) -> PathBuf {
    let name = key.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    key.with_file_name(format!("{name}-cert.pub"))
}

/// Makes sure that there is a key with a certificate that is good for the next minutes. Returns for whom.
///
/// # Errors
/// As [`Arm::ssh_pass`], and `Storage` when the files cannot be written.
pub(crate) async fn renew(arm: &Arm, file: &Path) -> Result<String> {
    let failed = |e: std::io::Error| Error::storage(format!("failed to write {}", file.display())).because(e);
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        platform::make_private_folder(folder).map_err(failed)?;
    }
    // One at a time: a key must not stand beside another's certificate.
    let _alone = platform::lock(file.with_extension("lock")).await.map_err(failed)?;
    let who = arm.credential().describe();
    if let Some(good) = kept(file, &who) {
        return Ok(good);
    }
    let pass = arm.ssh_pass().await?;
    let (key, certificate) = pass.to_openssh(&who)?;
    // In this order no certificate is ever beside a key that it is not for: without one the key is of no use.
    let own = beside(file);
    match std::fs::remove_file(&own) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    platform::write_private(file, key.expose().as_bytes()).map_err(failed)?;
    platform::write_private(&own, certificate.as_bytes()).map_err(failed)?;
    Ok(pass.principal())
}

/// Returns for whom the certificate is that lies there, when it is good for the next minutes and was given to `who`.
fn kept(file: &Path, who: &str) -> Option<String> {
    if !file.is_file() {
        return None;
    }
    let text = std::fs::read_to_string(beside(file)).ok()?;
    let soon = SystemTime::now() + MARGIN;
    SshPass::principal_of(&text, who, soon)
}
