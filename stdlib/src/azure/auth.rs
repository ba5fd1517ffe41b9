//! Signing in: which identity is used, and its token, refreshed in time.
//!
//! A token is kept until five minutes before it ends, measured on the engine's clock: what a token carries is turned
//! into a length of time when it arrives, so a clock that runs ahead of the machine's (the lab's) works too.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret as AzureSecret, TokenCredential, TokenRequestOptions};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_core::time::OffsetDateTime;
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use relight_engine::clock::Clock;
use relight_engine::{Error, ErrorKind, Result, Secret};
use tokio::sync::Mutex;

use super::arc::{ARC, ArcAgent, CliOrArc};
use super::cloud::Cloud;
use super::error;
use super::http::Http;
use super::transport::SignInTransport;
use super::wire::shortened;

/// A token is renewed this long before it ends.
const MARGIN: Duration = Duration::from_secs(300);

/// How to sign in.
#[derive(Clone)]
pub enum Credential {
    /// A service principal with a secret.
    ClientSecret {
        /// The directory.
        tenant: String,
        /// The application.
        client_id: String,
        /// The secret.
        secret: Secret,
    },
    /// A Kubernetes service account, or whatever else leaves a federated token in a file.
    WorkloadIdentity {
        /// The directory.
        tenant: String,
        /// The application.
        client_id: String,
        /// Where the federated token is.
        token_file: PathBuf,
    },
    /// The identity of the machine or the container this runs on.
    ManagedIdentity {
        /// Which of several user-assigned identities; the system-assigned one when left out.
        client_id: Option<String>,
    },
    /// The identity of the Arc-enabled machine this runs on.
    ArcMachine(ArcAgent),
    /// Whoever signed in with `az login`, and where nobody did, the Arc-enabled machine this runs on.
    AzureCliOrArc(CliOrArc),
    /// Whoever signed in with `az login`.
    AzureCli {
        /// The directory, when it is not the one that `az` uses by default.
        tenant: Option<String>,
    },
    /// A credential of the embedder's own. It finds the [`Claims`] of a challenge, if any, in the request's context.
    Custom(Arc<dyn TokenCredential>),
}

/// The claims (JSON) that a challenge asks a new token to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(pub String);

impl Credential {
    /// Chooses a credential by the variables that Azure's own tools use. `lookup` gives the value of a variable.
    ///
    /// In this order: `AZURE_CLIENT_SECRET` (with `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`), then
    /// `AZURE_FEDERATED_TOKEN_FILE` (with the same two), then `IDENTITY_ENDPOINT` or `AZURE_USE_MANAGED_IDENTITY`
    /// (with `AZURE_CLIENT_ID` for a user-assigned identity), then the Azure CLI.
    ///
    /// The agent of an Arc-enabled machine sets `IDENTITY_ENDPOINT` and `IMDS_ENDPOINT` for everybody on it, which is nobody's
    /// choice: the Azure CLI comes first there, and the machine's own identity when nobody signed in.
    /// `AZURE_USE_MANAGED_IDENTITY` means the machine's and nothing else.
    ///
    /// # Errors
    /// `Denied` when a choice is made only half, naming the missing variable.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let need = |because: &str| {
            let [tenant, client_id] =
                ["AZURE_TENANT_ID", "AZURE_CLIENT_ID"].map(|name| get(name).ok_or(name));
            match (tenant, client_id) {
                (Ok(tenant), Ok(client_id)) => Ok((tenant, client_id)),
                (tenant, client_id) => {
                    let missing: Vec<&str> = [tenant.err(), client_id.err()].into_iter().flatten().collect();
                    let is = if missing.len() == 1 { "is" } else { "are" };
                    let missing = missing.join(" and ");
                    Err(Error::new(ErrorKind::Denied, format!("{because} is set and {missing} {is} not"))
                        .hint(format!("set {missing}, or unset {because} to sign in another way")))
                }
            }
        };
        if let Some(secret) = get("AZURE_CLIENT_SECRET") {
            let (tenant, client_id) = need("AZURE_CLIENT_SECRET")?;
            return Ok(Credential::ClientSecret { tenant, client_id, secret: Secret::new(secret) });
        }
        if let Some(file) = get("AZURE_FEDERATED_TOKEN_FILE") {
            let (tenant, client_id) = need("AZURE_FEDERATED_TOKEN_FILE")?;
            return Ok(Credential::WorkloadIdentity { tenant, client_id, token_file: file.into() });
        }
        let wanted =
            get("AZURE_USE_MANAGED_IDENTITY").is_some_and(|v| !matches!(v.as_str(), "0" | "false" | "no"));
        // App Service sets a header beside the address, the Arc agent a second address.
        let is_arc = get("IMDS_ENDPOINT").is_some() && get("IDENTITY_HEADER").is_none();
        let agent = get("IDENTITY_ENDPOINT")
            .filter(|_| is_arc)
            .map(|endpoint| ArcAgent::new(&endpoint, ArcAgent::usual_folder(lookup)))
            .transpose()?;
        let client_id = get("AZURE_CLIENT_ID");
        match agent {
            Some(_) if wanted && client_id.is_some() => Err(Error::new(
                ErrorKind::Denied,
                "AZURE_CLIENT_ID is set, and an Arc-enabled machine has no identity but its own",
            )
            .hint("unset AZURE_CLIENT_ID to use the machine's identity")),
            Some(agent) if wanted => Ok(Credential::ArcMachine(agent)),
            None if wanted || get("IDENTITY_ENDPOINT").is_some() => {
                Ok(Credential::ManagedIdentity { client_id })
            }
            _ if client_id.is_some() => {
                Err(Error::new(ErrorKind::Denied, "AZURE_CLIENT_ID is set and AZURE_CLIENT_SECRET is not")
                    .hint("set AZURE_CLIENT_SECRET for a service principal, or AZURE_USE_MANAGED_IDENTITY=1 for a managed identity, or unset AZURE_CLIENT_ID to sign in with `az login`"))
            }
            Some(agent) => Ok(Credential::AzureCliOrArc(CliOrArc::new(get("AZURE_TENANT_ID"), agent))),
            None => Ok(Credential::AzureCli { tenant: get("AZURE_TENANT_ID") }),
        }
    }

    /// Returns who signs in, in words for a person.
    pub fn describe(&self) -> String {
        match self {
            Credential::ClientSecret { tenant, client_id, .. } => {
                format!("service principal {client_id} of tenant {tenant} (AZURE_CLIENT_SECRET)")
            }
            Credential::WorkloadIdentity { tenant, client_id, .. } => {
                format!("workload identity {client_id} of tenant {tenant} (AZURE_FEDERATED_TOKEN_FILE)")
            }
            Credential::ManagedIdentity { client_id: Some(id) } => format!("managed identity {id}"),
            Credential::ManagedIdentity { client_id: None } => "managed identity of this machine".into(),
            Credential::ArcMachine(_) => ARC.into(),
            Credential::AzureCliOrArc(pair) => pair.describe().into(),
            Credential::AzureCli { .. } => "Azure CLI (`az login`)".into(),
            Credential::Custom(_) => "the embedding program's credential".into(),
        }
    }

    /// Returns the variable that chooses this credential rather than the Azure CLI.
    fn chosen_by(&self) -> &'static str {
        match self {
            Credential::ClientSecret { .. } => "AZURE_CLIENT_SECRET",
            Credential::WorkloadIdentity { .. } => "AZURE_FEDERATED_TOKEN_FILE",
            _ => "AZURE_USE_MANAGED_IDENTITY",
        }
    }

    /// Returns what to do when signing in fails, or when Azure refuses the token.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Credential::ClientSecret { .. } => {
                "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; a secret may have ended: `az ad app credential list --id <client id>`"
            }
            Credential::WorkloadIdentity { .. } => {
                "check AZURE_FEDERATED_TOKEN_FILE, and the federated credential of the application"
            }
            Credential::ManagedIdentity { .. } => "check that this machine has a managed identity",
            Credential::ArcMachine(_) => {
                "let this user read the agent's tokens (Linux: `sudo usermod -aG himds $USER` and a new session; Windows: an elevated shell), and see `azcmagent show`"
            }
            Credential::AzureCliOrArc(_) => {
                "sign in with `az login`, or let this user read the agent's tokens (Linux: `sudo usermod -aG himds $USER` and a new session; Windows: an elevated shell)"
            }
            Credential::AzureCli { .. } => {
                "sign in with `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
            }
            Credential::Custom(_) => "sign in again",
        }
    }

    /// Makes a credential without memory: its own cache looks at the machine's clock and may keep a dead token.
    fn provider(
        &self,
        cloud: &Cloud,
        http: &reqwest::Client,
    ) -> Result<Arc<dyn TokenCredential>, azure_core::Error> {
        let options = || client_options(cloud, http);
        Ok(match self {
            Credential::ClientSecret { tenant, client_id, secret } => {
                let secret = AzureSecret::new(secret.expose().to_owned());
                let options = ClientSecretCredentialOptions { client_options: options() };
                ClientSecretCredential::new(tenant, client_id.clone(), secret, Some(options))?
            }
            Credential::WorkloadIdentity { tenant, client_id, token_file } => {
                WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options: options() },
                    client_id: Some(client_id.clone()),
                    tenant_id: Some(tenant.clone()),
                    token_file_path: Some(token_file.clone()),
                }))?
            }
            Credential::ManagedIdentity { client_id } => {
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                    client_options: options(),
                }))?
            }
            Credential::ArcMachine(agent) => Arc::new(agent.clone()),
            Credential::AzureCliOrArc(pair) => pair.with(azure_cli(pair.tenant.as_deref())?),
            Credential::AzureCli { tenant } => azure_cli(tenant.as_deref())?,
            Credential::Custom(credential) => credential.clone(),
        })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credential").field(&self.describe()).finish()
    }
}

fn azure_cli(tenant: Option<&str>) -> Result<Arc<dyn TokenCredential>, azure_core::Error> {
    let options = AzureCliCredentialOptions { tenant_id: tenant.map(str::to_owned), ..Default::default() };
    Ok(AzureCliCredential::new(Some(options))?)
}

fn client_options(cloud: &Cloud, http: &reqwest::Client) -> ClientOptions {
    let mut custom = CustomConfiguration::default();
    cloud.login.as_str().clone_into(&mut custom.authority_host);
    ClientOptions {
        // Whether to try again is the engine's decision.
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(SignInTransport(http.clone())))),
        cloud: Some(Arc::new(CloudConfiguration::Custom(custom))),
        ..ClientOptions::default()
    }
}

/// A token and when it ends. Its `Debug` shows no token.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) secret: Secret,
    expires: Timestamp,
    /// Tells tokens apart without comparing them.
    serial: u64,
}

/// The one place where tokens are asked for: one request at a time, shared by everybody.
pub(super) struct Tokens {
    credential: Credential,
    cloud: Cloud,
    http: Http,
    clock: Arc<dyn Clock>,
    current: Mutex<Option<Token>>,
}

impl Tokens {
    pub(super) fn new(credential: Credential, cloud: Cloud, http: Http, clock: Arc<dyn Clock>) -> Self {
        Tokens { credential, cloud, http, clock, current: Mutex::new(None) }
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Returns a token that is good for the next minutes.
    pub(super) async fn token(&self) -> Result<Token> {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| self.is_fresh(token)) {
            return Ok(token.clone());
        }
        self.renew(&mut current, None).await
    }

    /// Returns another token than `dead`, which Azure refused.
    pub(super) async fn instead_of(&self, dead: &Token, claims: Option<Claims>) -> Result<Token> {
        let mut current = self.current.lock().await;
        // Somebody else may have met the same refusal and renewed it already.
        if let Some(token) = current.as_ref().filter(|token| token.serial > dead.serial) {
            return Ok(token.clone());
        }
        self.renew(&mut current, claims).await
    }

    fn is_fresh(&self, token: &Token) -> bool {
        self.clock.now().saturating_add(MARGIN).is_ok_and(|soon| soon < token.expires)
    }

    async fn renew(&self, current: &mut Option<Token>, claims: Option<Claims>) -> Result<Token> {
        if self.cloud.is_adfs()
            && !matches!(
                self.credential,
                Credential::AzureCli { .. } | Credential::AzureCliOrArc(_) | Credential::Custom(_)
            )
        {
            let message = format!("{} signs in at AD FS, which needs the Azure CLI", self.cloud.name);
            return Err(Error::new(ErrorKind::Denied, message).hint(format!(
                "register the cloud (`az cloud register`), sign in with `az login`, and unset {}",
                self.credential.chosen_by()
            )));
        }
        let http = self.http.client()?;
        let provider = self.credential.provider(&self.cloud, http).map_err(|e| self.refused(&e))?;
        let mut options = TokenRequestOptions::default();
        if let Some(claims) = claims {
            options.method_options.context = options.method_options.context.with_value(claims);
        }
        let token =
            provider.get_token(&[&self.cloud.scope()], Some(options)).await.map_err(|e| self.refused(&e))?;
        let lifetime = (token.expires_on - OffsetDateTime::now_utc()).max(azure_core::time::Duration::ZERO);
        let lifetime = Duration::try_from(lifetime).unwrap_or_default();
        let token = Token {
            secret: Secret::new(token.token.secret()),
            expires: self.clock.now().saturating_add(lifetime).unwrap_or(Timestamp::MAX),
            serial: current.as_ref().map_or(1, |token| token.serial + 1),
        };
        *current = Some(token.clone());
        tracing::debug!(as = %self.credential.describe(), seconds = lifetime.as_secs(), "signed in");
        Ok(token)
    }

    fn refused(&self, error: &azure_core::Error) -> Error {
        let who = self.credential.describe();
        let said = shortened(&error.to_string(), 400);
        let host = self.cloud.login.host_str().unwrap_or_default();
        if let Some(untrusted) = error::untrusted(host, error) {
            return untrusted.because(said);
        }
        if let (Credential::ArcMachine(agent), true) = (&self.credential, is_network_trouble(error)) {
            return Error::new(
                ErrorKind::Unsent,
                format!("failed to reach the Arc agent at {}", agent.host()),
            )
            .because(said)
            .hint("see whether the agent runs: `azcmagent show`");
        }
        if is_network_trouble(error) {
            return Error::new(ErrorKind::Unsent, format!("failed to reach {host} to sign in as {who}"))
                .because(said)
                .hint(format!(
                    "check the network and the proxy settings: can this machine reach https://{host} ?"
                ));
        }
        Error::new(ErrorKind::Denied, format!("failed to sign in as {who}"))
            .because(said)
            .hint(self.credential.hint())
    }
}

/// Returns whether signing in failed on the way, rather than at its end.
fn is_network_trouble(error: &azure_core::Error) -> bool {
    use azure_core::error::ErrorKind as Kind;
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<azure_core::Error>() {
            match error.kind() {
                Kind::Connection | Kind::Io => return true,
                Kind::HttpResponse { status, .. } => {
                    return matches!(u16::from(*status), 408 | 429 | 500..=599);
                }
                _ => {}
            }
        }
        if error.downcast_ref::<reqwest::Error>().is_some_and(|e| e.is_connect() || e.is_timeout()) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Reads the claims of a continuous-access challenge out of a `WWW-Authenticate` header.
///
/// They are base64 or base64url, padded or not, and stand in the `Bearer` scheme; other schemes may stand beside it.
pub(crate) fn challenge_claims(header: &str) -> Option<Claims> {
    let lower = header.to_ascii_lowercase();
    let bearer = lower.find("bearer ")?;
    let start = bearer + lower[bearer..].find("claims=\"")? + "claims=\"".len();
    let text = header[start..].split('"').next()?;
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = [alphabet::STANDARD, alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok())?;
    let claims = String::from_utf8(decoded).ok()?;
    serde_json::from_str::<serde_json::Value>(&claims).ok()?.is_object().then_some(Claims(claims))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU64, Ordering};

    use azure_core::credentials::AccessToken;
    use relight_engine::clock::SteppedClock;

    use super::*;

    fn choose(variables: &[(&str, &str)]) -> Result<Credential> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Credential::from_environment(&|name| variables.get(name).map(|v| (*v).to_owned()))
    }

    #[test]
    fn the_environment_chooses_in_a_fixed_order() {
        let principal = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")];
        for (more, starts) in [
            (vec![("AZURE_CLIENT_SECRET", "s"), ("IDENTITY_ENDPOINT", "http://x")], "service principal c"),
            (
                vec![("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("IDENTITY_ENDPOINT", "http://x")],
                "workload identity c",
            ),
            (vec![("IDENTITY_ENDPOINT", "http://x")], "managed identity c"),
            (vec![("AZURE_USE_MANAGED_IDENTITY", "1")], "managed identity c"),
            (
                vec![
                    ("IDENTITY_ENDPOINT", "http://x"),
                    ("IDENTITY_HEADER", "h"),
                    ("IMDS_ENDPOINT", "http://x"),
                ],
                "managed identity c",
            ),
        ] {
            let variables: Vec<_> = principal.iter().copied().chain(more).collect();
            let chosen = choose(&variables).unwrap().describe();
            assert!(chosen.starts_with(starts), "{variables:?}: {chosen}");
        }
        let tenant = ("AZURE_TENANT_ID", "t");
        for more in
            [("AZURE_USE_MANAGED_IDENTITY", "0"), ("AZURE_CLIENT_SECRET", " "), ("IMDS_ENDPOINT", "http://x")]
        {
            assert_eq!(choose(&[tenant, more]).unwrap().describe(), "Azure CLI (`az login`)", "{more:?}");
        }
    }

    #[test]
    fn what_the_arc_agent_sets_hides_no_other_sign_in() {
        let arc = [
            ("IDENTITY_ENDPOINT", "http://localhost:40342/metadata/identity/oauth2/token"),
            ("IMDS_ENDPOINT", "http://localhost:40342"),
        ];
        let with = |more: &[(&str, &str)]| {
            let all: Vec<_> = arc.iter().chain(more).copied().collect();
            choose(&all).map(|credential| credential.describe())
        };
        assert_eq!(with(&[]).unwrap(), "Azure CLI (`az login`), else this Arc-enabled machine");
        assert_eq!(with(&[("AZURE_USE_MANAGED_IDENTITY", "1")]).unwrap(), ARC);
        let principal = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s")];
        assert!(with(&principal).unwrap().starts_with("service principal c"));
        let error = with(&[("AZURE_USE_MANAGED_IDENTITY", "1"), ("AZURE_CLIENT_ID", "c")]).unwrap_err();
        assert!(error.message().contains("no identity but its own"), "{error}");
    }

    #[test]
    fn half_a_choice_names_the_other_half() {
        let error =
            choose(&[("AZURE_CLIENT_SECRET", "hunter2"), ("AZURE_CLIENT_ID", "c")]).expect_err("half");
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.message(), "AZURE_CLIENT_SECRET is set and AZURE_TENANT_ID is not");
        for (set, says) in [
            (&[("AZURE_CLIENT_SECRET", "s")][..], "AZURE_TENANT_ID and AZURE_CLIENT_ID are not"),
            (&[("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t")], "AZURE_CLIENT_SECRET is not"),
            (&[("AZURE_CLIENT_ID", "c")], "AZURE_CLIENT_SECRET is not"),
            (&[("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("AZURE_TENANT_ID", "t")], "AZURE_CLIENT_ID is not"),
        ] {
            let error = choose(set).expect_err(says);
            assert!(error.message().ends_with(says), "{error}");
        }
        assert!(!format!("{error:?}").contains("hunter2"));
        let whole =
            choose(&[("AZURE_CLIENT_SECRET", "hunter2"), ("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t")]);
        assert!(!format!("{whole:?}").contains("hunter2"));
    }

    #[test]
    fn claims_are_found_in_every_dress() {
        let claims =
            r#"{"access_token":{"nbf":{"essential":true,"value":"1726258122"},"x":{"value":"??>>~~"}}}"#;
        let standard = base64::engine::general_purpose::STANDARD.encode(claims);
        let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
        assert!(standard.contains(['+', '/']), "the two alphabets must differ here: {standard}");
        for text in [standard.as_str(), standard.trim_end_matches('='), url_safe.as_str()] {
            let header = format!(
                r#"Bearer realm="", authorization_uri="https://l/a,b", error="insufficient_claims", claims="{text}", PoP realm="", nonce="x""#
            );
            assert_eq!(challenge_claims(&header), Some(Claims(claims.into())), "{header}");
        }
        for header in [
            "",
            "Bearer",
            r#"Bearer claims="!!""#,
            r#"Bearer claims="eA==""#,
            r#"PoP claims="e30=""#,
            "Bearer claims=\"",
        ] {
            assert_eq!(challenge_claims(header), None, "{header}");
        }
    }

    #[derive(Debug)]
    struct Counting {
        asked: AtomicU64,
        lifetime: i64,
    }

    #[async_trait::async_trait]
    impl TokenCredential for Counting {
        async fn get_token(
            &self,
            _: &[&str],
            options: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            let claims = options.and_then(|o| o.method_options.context.value::<Claims>().cloned());
            let expires = OffsetDateTime::now_utc() + azure_core::time::Duration::seconds(self.lifetime);
            Ok(AccessToken::new(
                format!("token {asked} {}", claims.map_or_else(String::new, |c| c.0)),
                expires,
            ))
        }
    }

    fn tokens(clock: &SteppedClock) -> (Arc<Counting>, Tokens) {
        let credential = Arc::new(Counting { asked: AtomicU64::new(0), lifetime: 3600 });
        let cloud = Cloud::public();
        let http = cloud.http().unwrap();
        (
            credential.clone(),
            Tokens::new(Credential::Custom(credential), cloud, http, Arc::new(clock.clone())),
        )
    }

    #[tokio::test]
    async fn a_token_lasts_on_the_engines_clock_and_is_renewed_in_time() {
        // A lab's clock may be years ahead of the machine's.
        let clock = SteppedClock::new("2031-01-01T00:00:00Z".parse().unwrap());
        let (credential, tokens) = tokens(&clock);
        let many = futures::future::join_all((0..20).map(|_| tokens.token())).await;
        assert!(many.iter().all(|t| t.as_ref().unwrap().secret.expose() == "token 1 "));
        clock.advance(Duration::from_secs(3290));
        tokens.token().await.unwrap();
        assert_eq!(credential.asked.load(Ordering::SeqCst), 1);
        clock.advance(Duration::from_secs(20));
        assert_eq!(tokens.token().await.unwrap().secret.expose(), "token 2 ");
    }

    #[tokio::test]
    async fn a_dead_token_is_replaced_once_for_everybody() {
        let clock = SteppedClock::new(Timestamp::UNIX_EPOCH);
        let (credential, tokens) = tokens(&clock);
        let dead = tokens.token().await.unwrap();
        let claims = Some(Claims("{}".into()));
        let fresh = tokens.instead_of(&dead, claims.clone()).await.unwrap();
        assert_eq!(fresh.secret.expose(), "token 2 {}");
        assert_eq!(tokens.instead_of(&dead, claims).await.unwrap().secret.expose(), "token 2 {}");
        assert_eq!(credential.asked.load(Ordering::SeqCst), 2);
        assert!(!format!("{fresh:?}").contains("token 2"));
    }
}
