//! Who is signed in here: accounts in a file of the state folder, their refresh tokens in the system's keyring.
//!
//! Where there is no keyring, as on most servers, the token stands in the file too, which only its owner can read.

use std::any::Any;
use std::io::ErrorKind as Io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::{Error, ErrorKind, NextStep, Result, Secret};
use relight_stdlib::azure::{Account, Person, SignIns};
use serde::{Deserialize, Serialize};

use crate::keyring::{self, Trouble};
use crate::platform;

const NAME: &str = "accounts.json";
/// What an entry of ours in the keyring is called.
const SERVICE: &str = "relight";

/// The accounts of this user, the one that signed in last first.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    folder: PathBuf,
}

/// One account, as it stands in the file.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Kept {
    #[serde(flatten)]
    pub(crate) account: Account,
    /// Which cloud it is, in words.
    pub(crate) cloud: String,
    /// When the person signed in.
    pub(crate) since: Timestamp,
    /// The refresh token, where there is no keyring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
struct Content {
    accounts: Vec<Kept>,
}

impl Kept {
    /// Returns where the refresh token is, in words.
    pub(crate) fn place(&self) -> &'static str {
        match self.refresh_token {
            Some(_) => "in a file that only you can read",
            None => "in the keyring",
        }
    }

    fn is(&self, account: &Account) -> bool {
        let Account { authority, tenant, object_id, .. } = account;
        let own = &self.account;
        own.authority == *authority && own.tenant == *tenant && own.object_id == *object_id
    }
}

/// Returns the name of an account's entry in the keyring.
fn entry(account: &Account) -> String {
    format!("{}/{}/{}", account.authority, account.tenant, account.object_id)
}

impl Accounts {
    /// Names the folder. Nothing is opened yet.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Accounts { folder }
    }

    /// Returns every account, the one that signed in last first.
    ///
    /// # Errors
    /// `Storage` when the file cannot be read.
    pub(crate) fn all(&self) -> Result<Vec<Kept>> {
        let path = self.path();
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::storage(format!("failed to read {}", path.display())).because(e)
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == Io::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e.into())),
        };
        let content: Content = serde_json::from_slice(&text)
            .map_err(|e| failed(e.into()).hint("delete it and sign in again").hint(NextStep::SignIn))?;
        Ok(content.accounts)
    }

    /// Returns who is signed in at a host: the one of a tenant where one is named, else the last.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub(crate) fn current(&self, authority: &str, tenant: Option<&str>) -> Result<Option<Kept>> {
        let fits = |kept: &Kept| {
            let account = &kept.account;
            account.authority == authority && tenant.is_none_or(|tenant| is_tenant(account, tenant))
        };
        Ok(self.all()?.into_iter().find(fits))
    }

    /// Returns the credential of an account.
    pub(crate) fn person(&self, kept: Kept) -> Person {
        Person::new(kept.account, Arc::new(self.clone()))
    }

    /// Keeps an account that has just signed in.
    ///
    /// # Errors
    /// `Storage` when it can be kept nowhere.
    pub(crate) async fn add(&self, account: Account, cloud: &str, token: &Secret) -> Result<Kept> {
        let _alone = self.lock().await?;
        let refresh_token = match keyring::write(SERVICE, &entry(&account), token).await {
            Ok(()) => None,
            Err(why) => {
                tracing::info!("no keyring: {why}");
                Some(token.expose().to_owned())
            }
        };
        let kept = Kept { account, cloud: cloud.to_owned(), since: Timestamp::now(), refresh_token };
        let mut accounts = self.all()?;
        accounts.retain(|other| !other.is(&kept.account));
        accounts.insert(0, kept.clone());
        self.write(accounts)?;
        Ok(kept)
    }

    /// Forgets accounts, and returns them.
    ///
    /// # Errors
    /// `Storage` when the file cannot be read or written.
    pub(crate) async fn forget(&self, which: impl Fn(&Account) -> bool) -> Result<Vec<Kept>> {
        let _alone = self.lock().await?;
        let (gone, stay): (Vec<Kept>, Vec<Kept>) =
            self.all()?.into_iter().partition(|kept| which(&kept.account));
        if !gone.is_empty() {
            self.write(stay)?;
        }
        for kept in gone.iter().filter(|kept| kept.refresh_token.is_none()) {
            // Nobody uses what is left there; it ends by itself.
            if let Err(why) = keyring::forget(SERVICE, &entry(&kept.account)).await {
                tracing::warn!("{} stays in the keyring: {why}", kept.account.user);
            }
        }
        Ok(gone)
    }

    fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    fn write(&self, accounts: Vec<Kept>) -> Result<()> {
        let path = self.path();
        let failed =
            |e: std::io::Error| Error::storage(format!("failed to write {}", path.display())).because(e);
        let text = serde_json::to_vec_pretty(&Content { accounts }).map_err(|e| failed(e.into()))?;
        platform::write_private(&path, &text).map_err(failed)
    }
}

/// Returns whether a tenant's id, or the domain of the account's name, is meant.
pub(crate) fn is_tenant(account: &Account, tenant: &str) -> bool {
    let domain = account.user.rsplit_once('@').map(|(_, domain)| domain);
    account.tenant.eq_ignore_ascii_case(tenant)
        || domain.is_some_and(|domain| domain.eq_ignore_ascii_case(tenant))
}

#[async_trait]
impl SignIns for Accounts {
    async fn lock(&self) -> Result<Box<dyn Any + Send>> {
        let failed = |e: std::io::Error| {
            Error::storage(format!("failed to lock the accounts in {}", self.folder.display())).because(e)
        };
        platform::make_private_folder(&self.folder).map_err(failed)?;
        let file = platform::lock(self.folder.join("accounts.lock")).await.map_err(failed)?;
        Ok(Box::new(file))
    }

    async fn refresh_token(&self, account: &Account) -> Result<Secret> {
        let gone = || {
            let message = format!("the sign-in of {} is gone", account.user);
            Error::new(ErrorKind::Denied, message).hint(NextStep::SignIn)
        };
        let kept = self.all()?.into_iter().find(|kept| kept.is(account)).ok_or_else(gone)?;
        match kept.refresh_token {
            Some(token) => Ok(Secret::new(token)),
            None => keyring::read(SERVICE, &entry(account)).await.map_err(|trouble| match trouble {
                Trouble::Absent => gone(),
                Trouble::Unusable(why) => {
                    let message = format!("the sign-in of {} cannot be read from the keyring", account.user);
                    Error::new(ErrorKind::Denied, message)
                        .because(why)
                        .hint("unlock the keyring, or sign in again")
                        .hint(NextStep::SignIn)
                }
            }),
        }
    }

    async fn keep(&self, account: &Account, token: &Secret) -> Result<()> {
        let mut accounts = self.all()?;
        let kept = accounts.iter_mut().find(|kept| kept.is(account));
        match kept {
            // Signed out meanwhile: a token must not come back.
            None => Ok(()),
            Some(Kept { refresh_token: Some(old), .. }) => {
                token.expose().clone_into(old);
                self.write(accounts)
            }
            Some(_) => keyring::write(SERVICE, &entry(account), token).await.map_err(|why| {
                Error::storage(format!("failed to keep the sign-in of {}", account.user)).because(why)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(tenant: &str) -> Account {
        Account {
            authority: "login.example".into(),
            tenant: tenant.into(),
            user: format!("ada@{tenant}.example"),
            object_id: "o".into(),
        }
    }

    /// As [`Accounts::add`] where there is no keyring.
    fn add(accounts: &Accounts, tenant: &str, token: &str) {
        let kept = Kept {
            account: account(tenant),
            cloud: "c".into(),
            since: Timestamp::UNIX_EPOCH,
            refresh_token: Some(token.into()),
        };
        let mut all = accounts.all().unwrap();
        all.insert(0, kept);
        accounts.write(all).unwrap();
    }

    #[tokio::test]
    async fn whoever_signed_in_last_is_meant_unless_a_tenant_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::at(folder.path().to_owned());
        assert!(accounts.current("login.example", None).unwrap().is_none());
        add(&accounts, "one", "token-1");
        add(&accounts, "two", "token-2");
        let current =
            |tenant| accounts.current("login.example", tenant).unwrap().map(|kept| kept.account.tenant);
        assert_eq!(current(None).as_deref(), Some("two"));
        assert_eq!(current(Some("ONE")).as_deref(), Some("one"));
        assert_eq!(current(Some("one.example")).as_deref(), Some("one"));
        assert_eq!(current(Some("three")), None);
        assert!(accounts.current("login.other", None).unwrap().is_none());

        accounts.keep(&account("one"), &Secret::new("token-3")).await.unwrap();
        assert_eq!(accounts.refresh_token(&account("one")).await.unwrap().expose(), "token-3");
        let gone = accounts.forget(|account| account.tenant == "one").await.unwrap();
        assert_eq!(gone.len(), 1);
        let error = accounts.refresh_token(&account("one")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        // What another process got for one who signed out meanwhile is not kept.
        accounts.keep(&account("one"), &Secret::new("token-4")).await.unwrap();
        assert_eq!(accounts.all().unwrap().len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::at(folder.path().to_owned());
        add(&accounts, "one", "token-1");
        let mode = std::fs::metadata(accounts.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
