//! The operating system's keyring: the Keychain, the Credential Manager, or the Secret Service of a desktop.

use std::time::Duration;

use keyring_core::Entry;
use relight_engine::Secret;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::platform;

/// How long it may take: a keyring that is locked asks the person at the desktop, who may not be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why nothing comes out of a keyring.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// There is nothing of that name in it.
    Absent,
    /// There is none, or it does not open.
    Unusable(String),
}

/// Reads an entry.
pub(crate) async fn read(service: &str, name: &str) -> Result<Secret, Trouble> {
    match with(service, name, |entry| entry.get_password()).await? {
        Ok(value) => Ok(Secret::new(value)),
        Err(keyring_core::Error::NoEntry) => Err(Trouble::Absent),
        Err(e) => Err(Trouble::Unusable(worded(&e))),
    }
}

/// Writes an entry, in place of one that is there; otherwise says why not.
pub(crate) async fn write(service: &str, name: &str, value: &Secret) -> Result<(), String> {
    let value = value.clone();
    let written = with(service, name, move |entry| entry.set_password(value.expose())).await;
    written.map_err(|trouble| trouble.worded())?.map_err(|e| worded(&e))
}

/// Removes an entry; otherwise says why not. One that is not there is removed.
pub(crate) async fn forget(service: &str, name: &str) -> Result<(), String> {
    match with(service, name, |entry| entry.delete_credential()).await.map_err(|trouble| trouble.worded())? {
        Ok(()) | Err(keyring_core::Error::NoEntry) => Ok(()),
        Err(e) => Err(worded(&e)),
    }
}

impl Trouble {
    fn worded(self) -> String {
        match self {
            Trouble::Absent => "there is nothing of that name".to_owned(),
            Trouble::Unusable(why) => why,
        }
    }
}

/// Does something with an entry, on a thread that may wait.
async fn with<T: Send + 'static>(
    service: &str,
    name: &str,
    act: impl FnOnce(Entry) -> keyring_core::Result<T> + Send + 'static,
) -> Result<keyring_core::Result<T>, Trouble> {
    let (service, name) = (service.to_owned(), name.to_owned());
    let acted = spawn_blocking(move || {
        let store = platform::keyring()?;
        Ok(store.build(&service, &name, None).and_then(act))
    });
    match timeout(PATIENCE, acted).await {
        Ok(Ok(result)) => result.map_err(Trouble::Unusable),
        Ok(Err(e)) => Err(Trouble::Unusable(e.to_string())),
        Err(_) => Err(Trouble::Unusable(format!("it did not open within {} s", PATIENCE.as_secs()))),
    }
}

/// Says what is wrong. What a keyring holds is never part of it.
fn worded(error: &keyring_core::Error) -> String {
    match error {
        keyring_core::Error::BadEncoding(_) | keyring_core::Error::BadDataFormat(..) => {
            "what it holds is no text".to_owned()
        }
        other => other.to_string(),
    }
}
