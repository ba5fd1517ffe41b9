//! A person who signed in once, and whose refresh token is kept.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use relight_engine::{NextStep, Result, Secret};
use serde::{Deserialize, Serialize};

use super::{Entra, Grant, Granted, Refusal, Wanted};

/// Who is signed in, and where. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The host where the person signed in, such as `login.microsoftonline.com`.
    pub authority: String,
    /// The directory, by its id.
    pub tenant: String,
    /// The name that people know, such as `ada@contoso.com`.
    pub user: String,
    /// The person's id in the directory.
    pub object_id: String,
}

/// Where refresh tokens are kept.
#[async_trait]
pub trait SignIns: Send + Sync + 'static {
    /// Waits until nobody else, in another process either, uses a refresh token, and keeps it so until what it returns is
    /// dropped: some services take each token only once.
    ///
    /// # Errors
    /// `Storage` when there is no place for it.
    async fn lock(&self) -> Result<Box<dyn Any + Send>>;

    /// Returns the refresh token of an account.
    ///
    /// # Errors
    /// `Denied` when it is gone, or cannot be read.
    async fn refresh_token(&self, account: &Account) -> Result<Secret>;

    /// Keeps another refresh token in place of the one before.
    ///
    /// # Errors
    /// `Storage` when it cannot be kept.
    async fn keep(&self, account: &Account, token: &Secret) -> Result<()>;
}

/// A person who signed in.
#[derive(Clone)]
pub struct Person {
    account: Account,
    sign_ins: Arc<dyn SignIns>,
    /// The refresh token that could not be kept, on a full disk for one: the only one that is good then.
    unkept: Arc<Mutex<Option<Secret>>>,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Person").field(&self.account).finish()
    }
}

impl Person {
    /// Makes a credential of an account.
    pub fn new(account: Account, sign_ins: Arc<dyn SignIns>) -> Self {
        Person { account, sign_ins, unkept: Arc::default() }
    }

    /// Returns who it is.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Asks for a token with the refresh token, and keeps the next one.
    pub(in crate::azure) async fn grant(&self, entra: &Entra, wanted: &Wanted<'_>) -> Result<Granted> {
        let Person { account, sign_ins, .. } = self;
        let _alone = sign_ins.lock().await?;
        let unkept = self.unkept().clone();
        let token = match unkept {
            Some(token) => token,
            None => sign_ins.refresh_token(account).await?,
        };
        let granted = entra.grant(&account.tenant, &Grant::Refresh { token: &token }, wanted).await;
        let granted = granted.map_err(|refusal| {
            let ended = matches!(&refusal, Refusal::No { error, .. } if error == "invalid_grant" || error == "interaction_required");
            let error = refusal.into_error(&format!("failed to sign in as {}", account.user));
            if !ended {
                return error;
            }
            // Whoever signs in again leaves another one.
            *self.unkept() = None;
            error.hint(NextStep::SignIn)
        })?;
        if let Some(next) = &granted.refresh {
            let kept = sign_ins.keep(account, next).await;
            if let Err(error) = &kept {
                tracing::warn!(
                    "the sign-in of {} could not be kept, and is tried again: {error}",
                    account.user
                );
            }
            *self.unkept() = kept.err().map(|_| next.clone());
        }
        Ok(granted)
    }

    fn unkept(&self) -> MutexGuard<'_, Option<Secret>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
