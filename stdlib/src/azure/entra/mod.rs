//! Entra ID's own endpoints, for what `azure_identity` has no words for: device codes, refresh tokens, SSH certificates,
//! and the claims of a challenge.
//!
//! ```text
//! POST {login}/{tenant}/oauth2/v2.0/devicecode    scope                  a code that a person confirms
//! POST {login}/{tenant}/oauth2/v2.0/token         grant, scope, claims   a token, or an SSH certificate
//! ```
//!
//! Confirmed (MSAL and the Azure CLI's sources): the forms, the client, how refusals are worded.

mod device;
mod person;
mod ssh;

use std::time::Duration;

use relight_engine::{Error, ErrorKind, Result, Secret};
use reqwest::Url;
use serde_json::{Value, json};

use super::cloud::Cloud;
use super::error;
use super::http::{Http, receive};
use super::wire::{Method, shortened};

pub use device::DeviceLogin;
pub use person::{Account, Person, SignIns};
pub use ssh::SshPass;
pub(super) use ssh::{Confirmed, new_key};

/// The public client that people sign in with: that of the Azure CLI, which every tenant knows.
const CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
/// The longest life of a token that is believed. The longest of Azure's own is 28 hours.
const LONGEST_LIFE: Duration = Duration::from_secs(48 * 3600);
/// The longest text of a refusal that is shown: what Conditional Access demands has several sentences.
const LONGEST_REFUSAL: usize = 1000;

/// The claims (JSON) that a challenge asks a new token to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(pub String);

/// By what somebody shows who they are.
pub(super) enum Grant<'a> {
    /// A service principal with a secret.
    Secret { client_id: &'a str, secret: &'a Secret },
    /// A service principal with somebody else's word for it.
    Assertion { client_id: &'a str, assertion: &'a Secret },
    /// A person who signed in before.
    Refresh { token: &'a Secret },
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// For what the token is good.
    pub(super) scope: &'a str,
    /// What a challenge demands of it.
    pub(super) claims: Option<&'a Claims>,
    /// The key, as `req_cnf`, that a certificate is wanted for in place of a token.
    pub(super) certify: Option<&'a Confirmed>,
}

/// What came back.
pub(super) struct Granted {
    /// The token, or the certificate in base64.
    pub(super) token: Secret,
    pub(super) lifetime: Duration,
    /// What the next token is asked for with, where that is another than before.
    pub(super) refresh: Option<Secret>,
}

/// Why nothing came back.
enum Refusal {
    /// Entra ID says no.
    No { error: String, said: String },
    /// There was no answer, or none that decides.
    Unanswered(Error),
}

impl Refusal {
    /// Returns the error for a person, who wanted `what`.
    fn into_error(self, what: &str) -> Error {
        match self {
            Refusal::No { said, .. } => Error::new(ErrorKind::Denied, what.to_owned()).because(said),
            Refusal::Unanswered(error) => error,
        }
    }
}

/// The endpoints of one cloud's Entra ID.
#[derive(Clone)]
pub(super) struct Entra {
    login: Url,
    http: Http,
}

impl Entra {
    /// Describes the endpoints. Nothing is sent yet.
    ///
    /// # Errors
    /// `Invalid` when the cloud's certificates cannot be read.
    pub(super) fn of(cloud: &Cloud) -> Result<Self> {
        Ok(Entra { login: cloud.login.clone(), http: cloud.http()? })
    }

    /// Asks for a token or a certificate. `who` is for the error.
    ///
    /// # Errors
    /// `Denied` when the service refuses, `Unsent` when it cannot be reached.
    pub(super) async fn grant_to(
        &self,
        who: &str,
        tenant: &str,
        grant: &Grant<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<Granted> {
        let granted = self.grant(tenant, grant, wanted).await;
        granted.map_err(|refusal| refusal.into_error(&format!("failed to sign in as {who}")))
    }

    async fn grant(&self, tenant: &str, grant: &Grant<'_>, wanted: &Wanted<'_>) -> Result<Granted, Refusal> {
        const BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let claims = claims(wanted.claims);
        let mut form = vec![("scope", wanted.scope), ("client_info", "1"), ("claims", &claims)];
        match grant {
            Grant::Secret { client_id, secret } => form.extend([
                ("grant_type", "client_credentials"),
                ("client_id", client_id),
                ("client_secret", secret.expose()),
            ]),
            Grant::Assertion { client_id, assertion } => form.extend([
                ("grant_type", "client_credentials"),
                ("client_id", client_id),
                ("client_assertion_type", BEARER),
                ("client_assertion", assertion.expose()),
            ]),
            Grant::Refresh { token } => form.extend([
                ("grant_type", "refresh_token"),
                ("client_id", CLIENT),
                ("refresh_token", token.expose()),
            ]),
        }
        if let Some(key) = wanted.certify {
            form.extend([("token_type", "ssh-cert"), ("req_cnf", &key.req_cnf), ("key_id", &key.id)]);
        }
        let body = self.post(tenant, "token", &form).await?;
        granted(&body, wanted.certify.is_some()).ok_or_else(|| self.garbled())
    }

    /// Sends a form to one of a tenant's endpoints.
    async fn post(&self, tenant: &str, endpoint: &str, form: &[(&str, &str)]) -> Result<Value, Refusal> {
        let mut url = self.login.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([tenant, "oauth2", "v2.0", endpoint]);
        }
        let request = self.http.client().map_err(Refusal::Unanswered)?.post(url.clone());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        // Whoever asks for a token twice has two: it may be asked again, as what reads.
        let answer = receive(request.body(encoded(form)), Method::Get, &url).await;
        let answer = answer.map_err(|e| Refusal::Unanswered(self.unreached(e)))?;
        let body = answer.json();
        if answer.is_success() {
            return Ok(body.clone());
        }
        match (body["error"].as_str(), answer.status) {
            (Some(error), 400..=407 | 409..=428) => {
                let said = body["error_description"].as_str().unwrap_or(error);
                Err(Refusal::No { error: error.to_owned(), said: shortened(said, LONGEST_REFUSAL) })
            }
            (_, status) => {
                Err(Refusal::Unanswered(self.unreached(Error::rejected(format!("it answered {status}")))))
            }
        }
    }

    fn unreached(&self, why: Error) -> Error {
        let host = self.login.host_str().unwrap_or_default();
        if let Some(untrusted) = error::untrusted(host, &why) {
            return untrusted;
        }
        Error::new(ErrorKind::Unsent, format!("failed to reach {host} to sign in")).because(why).hint(
            format!("check the network and the proxy settings: can this machine reach https://{host} ?"),
        )
    }

    fn garbled(&self) -> Refusal {
        let host = self.login.host_str().unwrap_or_default();
        Refusal::No { error: String::new(), said: format!("{host} gave an answer that holds no token") }
    }
}

/// Returns a form as it travels.
fn encoded(form: &[(&str, &str)]) -> String {
    let form = form.iter().filter(|(_, value)| !value.is_empty());
    let url = Url::parse_with_params("https://form/", form);
    url.ok().and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

/// Returns the claims to ask for: those of a challenge, and that we can answer one (`cp1`).
fn claims(challenge: Option<&Claims>) -> String {
    let challenge = challenge.and_then(|Claims(text)| serde_json::from_str(text).ok());
    let mut claims: Value = challenge.filter(Value::is_object).unwrap_or_else(|| json!({}));
    claims["access_token"]["xms_cc"] = json!({ "values": ["cp1"] });
    claims.to_string()
}

/// Reads an answer; `None` when it is not what was asked for.
fn granted(body: &Value, certified: bool) -> Option<Granted> {
    let kind = body["token_type"].as_str()?;
    if !kind.eq_ignore_ascii_case(if certified { "ssh-cert" } else { "bearer" }) {
        return None;
    }
    let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
    // Some services write the number as a text.
    let life = body["expires_in"].as_f64().or_else(|| text("expires_in")?.parse().ok())?;
    Some(Granted {
        token: Secret::new(text("access_token")?),
        lifetime: Duration::try_from_secs_f64(life.max(0.0)).unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE),
        refresh: text("refresh_token").map(Secret::new),
    })
}
