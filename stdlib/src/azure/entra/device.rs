//! Signing in with a device code: a code is shown, a person confirms it in any browser, and we ask until then.

use std::time::Duration;

use relight_engine::{Error, ErrorKind, Result, Secret};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::person::Account;
use super::{CLIENT, Entra, Refusal};
use crate::azure::cloud::Cloud;
use crate::azure::identity::Identity;

/// How much longer to wait from now on when the service finds us too fast (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// A sign-in that waits for a person.
pub struct DeviceLogin {
    entra: Entra,
    authority: String,
    tenant: String,
    code: Secret,
    pause: Duration,
    ends: Instant,
    /// What the person has to do, in the service's words and language.
    pub message: String,
    /// The page to open.
    pub page: String,
    /// The code to enter there.
    pub user_code: String,
}

impl DeviceLogin {
    /// Asks for a code. `tenant` is a directory's id or domain, or `organizations` for the home of whoever signs in.
    ///
    /// # Errors
    /// `Denied` when the service refuses, `Unsent` when it cannot be reached.
    pub async fn begin(cloud: &Cloud, tenant: &str) -> Result<Self> {
        if cloud.is_adfs() {
            let message = format!("{} signs in at AD FS, which knows no device codes", cloud.name);
            return Err(Error::new(ErrorKind::Denied, message).hint("sign in with `az login`"));
        }
        let entra = Entra::of(cloud)?;
        let scope = format!("{} openid profile offline_access", cloud.scope());
        let form = [("client_id", CLIENT), ("scope", scope.as_str())];
        let refused =
            |refusal: Refusal| refusal.into_error(&format!("failed to begin a sign-in to {tenant}"));
        let body = entra.post(tenant, "devicecode", &form).await.map_err(refused)?;
        let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let seconds = |name: &str, or: u64| Duration::from_secs(body[name].as_u64().unwrap_or(or).min(3600));
        let (Some(code), Some(page), Some(user_code)) =
            (text("device_code"), text("verification_uri"), text("user_code"))
        else {
            return Err(refused(entra.garbled()));
        };
        let message = text("message").unwrap_or_else(|| {
            format!("To sign in, open {page} in a browser and enter the code {user_code}.")
        });
        Ok(DeviceLogin {
            authority: cloud.authority(),
            tenant: tenant.to_owned(),
            code: Secret::new(code),
            pause: seconds("interval", 5).max(Duration::from_secs(1)),
            ends: Instant::now() + seconds("expires_in", 900),
            entra,
            message,
            page,
            user_code,
        })
    }

    /// Waits until the person has confirmed the code. Returns who it is, and the token that later ones are asked for with.
    ///
    /// # Errors
    /// `Denied` when the person declines, lets the time pass, or may not sign in.
    pub async fn finish(mut self) -> Result<(Account, Secret)> {
        const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
        let failed = "failed to sign in with a device code";
        loop {
            sleep(self.pause).await;
            let form = [("grant_type", GRANT), ("client_id", CLIENT), ("device_code", self.code.expose())];
            match self.entra.post(&self.tenant, "token", &form).await {
                Ok(body) => return self.signed_in(&body),
                Err(Refusal::No { error, .. }) if error == "authorization_pending" => {}
                Err(Refusal::No { error, .. }) if error == "slow_down" => self.pause += SLOWER,
                Err(Refusal::No { error, said }) => {
                    let refused = Error::new(ErrorKind::Denied, failed).because(said);
                    return Err(match error.as_str() {
                        "authorization_declined" => refused.hint("it was declined in the browser"),
                        "expired_token" => refused.hint("the code was not confirmed in time: sign in again"),
                        _ => refused,
                    });
                }
                // A network that comes and goes does not end what a person is busy with.
                Err(Refusal::Unanswered(error)) if Instant::now() >= self.ends => return Err(error),
                Err(Refusal::Unanswered(error)) => tracing::debug!("{error}; asking again"),
            }
            if Instant::now() >= self.ends {
                return Err(Error::new(ErrorKind::Denied, failed)
                    .hint("the code was not confirmed in time: sign in again"));
            }
        }
    }

    fn signed_in(&self, body: &Value) -> Result<(Account, Secret)> {
        let refresh = body["refresh_token"].as_str().filter(|token| !token.is_empty());
        let account = body["id_token"].as_str().and_then(|token| account(&self.authority, token));
        match (account, refresh) {
            (Some(account), Some(refresh)) => Ok((account, Secret::new(refresh))),
            _ => Err(self.entra.garbled().into_error("failed to sign in with a device code")),
        }
    }
}

/// Reads who an ID token is about. It came from the service itself over TLS, so nobody else can have made it up.
fn account(authority: &str, token: &str) -> Option<Account> {
    let Identity { name, tenant, object_id, .. } = Identity::read(token);
    Some(Account { authority: authority.to_owned(), tenant: tenant?, object_id: object_id?, user: name? })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn an_id_token_says_who_signed_in() {
        let token = |claims: &str| format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
        let whole = token(r#"{"tid":"t","oid":"o","preferred_username":"ada@contoso.com"}"#);
        let account = account("login.microsoftonline.com", &whole).unwrap();
        assert_eq!(
            (account.user.as_str(), account.tenant.as_str(), account.authority.as_str()),
            ("ada@contoso.com", "t", "login.microsoftonline.com")
        );
        for wrong in ["", "a", "a.b.c", &token("[]"), &token(r#"{"tid":"t","oid":"","upn":"x"}"#)] {
            assert_eq!(super::account("a", wrong), None, "{wrong}");
        }
    }
}
