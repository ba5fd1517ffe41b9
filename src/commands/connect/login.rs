//! By what a person signs in: what was named, the agent, the keys of `~/.ssh`, and what is typed.

use std::path::Path;
use std::sync::Arc;

use relight_engine::{Error, ErrorKind, Result, Secret, SecretSource};
use relight_stdlib::Azure;
use relight_stdlib::azure::ResourceId;
use relight_stdlib::ssh::{By, Login, Proof};

use super::Connect;
use crate::secrets::Secrets;
use crate::{platform, terminal};

/// The keys that are tried without being named, as OpenSSH does.
const USUAL: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// Returns who signs in, and by what. Without a name it is whoever sits here.
///
/// # Errors
/// `Denied` when what was named is not there or cannot be read.
pub(super) async fn of(
    connect: &Connect,
    azure: &Azure,
    user: Option<&str>,
    machine: &ResourceId,
) -> Result<By> {
    if connect.entra {
        return Ok(By::Entra { user: user.map(str::to_owned) });
    }
    let user = user.map_or_else(platform::user, str::to_owned);
    let mut by = Vec::new();
    if let Some(password) = &connect.password {
        by.push(Proof::Password(Secrets(azure.arm.clone()).reveal(password).await?));
    }
    for file in &connect.identity {
        by.push(key(file)?);
    }
    if by.is_empty() {
        by.push(Proof::Agent);
        by.extend(usual());
    }
    if terminal::can_ask() {
        by.push(typed(format!("{user} on {}, password:", machine.name())));
    }
    Ok(By::Login(Login { user, by }))
}

/// Returns the keys of `~/.ssh` that need no passphrase. Who has others has them in the agent.
fn usual() -> impl Iterator<Item = Proof> {
    let folder = platform::home().map(|home| home.join(".ssh")).unwrap_or_default();
    let files = USUAL.map(|name| folder.join(name)).into_iter().filter(|file| file.is_file());
    files.filter_map(|file| Proof::key(&read(&file).ok()?, None).ok())
}

fn key(file: &Path) -> Result<Proof> {
    let text = read(file)?;
    match Proof::key(&text, None) {
        Err(error) if terminal::can_ask() && error.message().contains("encrypted") => {
            let passphrase = hidden(&format!("passphrase of {}:", file.display()));
            Proof::key(&text, Some(&passphrase.ok_or(error)?))
        }
        other => other.map_err(|error| error.because(format!("in {}", file.display()))),
    }
}

fn read(file: &Path) -> Result<Secret> {
    let text = std::fs::read_to_string(file);
    text.map(Secret::new).map_err(|e| {
        Error::new(ErrorKind::Denied, format!("the private key {} cannot be read", file.display())).because(e)
    })
}

fn typed(prompt: String) -> Proof {
    Proof::Asked(Arc::new(move || {
        let prompt = prompt.clone();
        Box::pin(async move { tokio::task::spawn_blocking(move || hidden(&prompt)).await.ok().flatten() })
    }))
}

/// Asks for something that is not shown while it is typed.
fn hidden(prompt: &str) -> Option<Secret> {
    terminal::prompt(prompt);
    let typed = rpassword::read_password().ok().filter(|typed| !typed.is_empty());
    typed.map(Secret::new)
}
