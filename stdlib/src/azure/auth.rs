//! Tokens: one for each purpose, asked for once for everybody, renewed in time.
//!
//! A token is kept until five minutes before it ends, measured on the engine's clock: what a token carries is turned
//! into a length of time when it arrives, so a clock that runs ahead of the machine's (the lab's) works too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenRequestOptions;
use azure_core::time::OffsetDateTime;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use relight_engine::clock::Clock;
use relight_engine::{Error, ErrorKind, NextStep, Result, Secret};
use russh::keys::PrivateKey;
use tokio::sync::Mutex;

use super::cloud::Cloud;
use super::credential::{Chosen, Credential};
use super::entra::{Claims, Confirmed, Entra, Grant, Granted, SshPass, Wanted, new_key};
use super::error;
use super::http::Http;
use super::wire::shortened;

/// A token is renewed this long before it ends.
const MARGIN: Duration = Duration::from_secs(300);

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
    chosen: Chosen,
    cloud: Cloud,
    http: Http,
    clock: Arc<dyn Clock>,
    /// By scope.
    current: Mutex<HashMap<String, Token>>,
    pass: Mutex<Option<Pass>>,
}

/// A key and its certificate. The key goes on when the certificate has ended: making one takes its time.
struct Pass {
    key: Arc<PrivateKey>,
    current: Option<(SshPass, Timestamp)>,
}

impl Tokens {
    pub(super) fn new(chosen: Chosen, cloud: Cloud, http: Http, clock: Arc<dyn Clock>) -> Self {
        Tokens { chosen, cloud, http, clock, current: Mutex::default(), pass: Mutex::default() }
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.chosen.credential
    }

    /// Returns a token for Azure Resource Manager that is good for the next minutes.
    pub(super) async fn token(&self) -> Result<Token> {
        self.token_for(&self.cloud.scope()).await
    }

    /// Returns a token that is good for the next minutes.
    pub(super) async fn token_for(&self, scope: &str) -> Result<Token> {
        let mut current = self.current.lock().await;
        if let Some(token) = current.get(scope).filter(|token| self.lasts(token.expires)) {
            return Ok(token.clone());
        }
        self.renew(&mut current, scope, None).await
    }

    /// Returns another token for the same as `dead`, which was refused.
    pub(super) async fn instead_of(
        &self,
        scope: &str,
        dead: &Token,
        claims: Option<Claims>,
    ) -> Result<Token> {
        let mut current = self.current.lock().await;
        // Somebody else may have met the same refusal and renewed it already.
        let is_other = |token: &&Token| token.serial > dead.serial && self.lasts(token.expires);
        if let Some(token) = current.get(scope).filter(is_other) {
            return Ok(token.clone());
        }
        self.renew(&mut current, scope, claims).await
    }

    /// Has the next request ask for another token than `dead`, which was refused although it was new.
    pub(super) async fn forget(&self, scope: &str, dead: &Token) {
        let mut current = self.current.lock().await;
        if let Some(token) = current.get_mut(scope).filter(|token| token.serial == dead.serial) {
            token.expires = Timestamp::MIN;
        }
    }

    /// Returns a key with a certificate that is good for the next minutes.
    pub(super) async fn ssh_pass(&self) -> Result<SshPass> {
        let mut pass = self.pass.lock().await;
        let fresh =
            pass.as_ref().and_then(|pass| pass.current.as_ref()).filter(|(_, ends)| self.lasts(*ends));
        if let Some((fresh, _)) = fresh {
            return Ok(fresh.clone());
        }
        if let Some(why) = self.credential().has_no_certificate() {
            let who = self.credential().describe();
            return Err(Error::new(ErrorKind::Denied, format!("there is no SSH certificate for {who}"))
                .because(why)
                .hint(NextStep::SignIn)
                .hint(
                    "or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET of a service principal",
                ));
        }
        self.check_adfs()?;
        let key = match &*pass {
            Some(pass) => pass.key.clone(),
            None => new_key().await?,
        };
        let confirmed = Confirmed::of(&key)?;
        let scope = self.cloud.ssh_scope();
        let granted = self.grant(&Wanted { scope, claims: None, certify: Some(&confirmed) }).await?;
        let fresh = SshPass::read(&key, &granted)?;
        *pass = Some(Pass { key, current: Some((fresh.clone(), self.ends(granted.lifetime))) });
        Ok(fresh)
    }

    /// Makes sure that the cloud has the endpoints that the credential speaks to.
    fn check_adfs(&self) -> Result<()> {
        if !self.cloud.is_adfs() || self.credential().knows_adfs() {
            return Ok(());
        }
        let message = format!("{} signs in at AD FS, which needs the Azure CLI", self.cloud.name);
        Err(Error::new(ErrorKind::Denied, message).hint(format!(
            "register the cloud (`az cloud register`), sign in with `az login`, and unset {}",
            self.credential().chosen_by()
        )))
    }

    fn lasts(&self, ends: Timestamp) -> bool {
        self.clock.now().saturating_add(MARGIN).is_ok_and(|soon| soon < ends)
    }

    fn ends(&self, lifetime: Duration) -> Timestamp {
        self.clock.now().saturating_add(lifetime).unwrap_or(Timestamp::MAX)
    }

    async fn renew(
        &self,
        current: &mut HashMap<String, Token>,
        scope: &str,
        claims: Option<Claims>,
    ) -> Result<Token> {
        self.check_adfs()?;
        // The libraries' credentials cannot be told what a challenge demands; our own requests can.
        let is_ours = match self.credential() {
            Credential::Person(_) => true,
            credential => claims.is_some() && credential.has_no_certificate().is_none(),
        };
        let (secret, lifetime) = match is_ours {
            true => {
                let wanted = Wanted { scope, claims: claims.as_ref(), certify: None };
                let granted = self.grant(&wanted).await.map_err(|error| self.chosen.explained(error))?;
                (granted.token, granted.lifetime)
            }
            false => self.provided(scope, claims).await?,
        };
        let token = Token {
            secret,
            expires: self.ends(lifetime),
            serial: current.get(scope).map_or(1, |token| token.serial + 1),
        };
        current.insert(scope.to_owned(), token.clone());
        tracing::debug!(as = %self.credential().describe(), seconds = lifetime.as_secs(), "signed in");
        Ok(token)
    }

    /// Asks for a token by a credential of a library.
    async fn provided(&self, scope: &str, claims: Option<Claims>) -> Result<(Secret, Duration)> {
        let http = self.http.client()?;
        let provider = self.credential().provider(&self.cloud, http).map_err(|e| self.refused(&e))?;
        let mut options = TokenRequestOptions::default();
        if let Some(claims) = claims {
            options.method_options.context = options.method_options.context.with_value(claims);
        }
        let token = provider.get_token(&[scope], Some(options)).await.map_err(|e| self.refused(&e))?;
        let lifetime = (token.expires_on - OffsetDateTime::now_utc()).max(azure_core::time::Duration::ZERO);
        Ok((Secret::new(token.token.secret()), Duration::try_from(lifetime).unwrap_or_default()))
    }

    /// Asks for a token or a certificate by requests of our own.
    async fn grant(&self, wanted: &Wanted<'_>) -> Result<Granted> {
        let entra = Entra::of(&self.cloud)?;
        let who = self.credential().describe();
        match self.credential() {
            Credential::Person(person) => person.grant(&entra, wanted).await,
            Credential::ClientSecret { tenant, client_id, secret } => {
                let grant = Grant::Secret { client_id, secret };
                let granted = entra.grant_to(&who, tenant, &grant, wanted).await;
                granted.map_err(|error| self.credential().advise(error))
            }
            Credential::WorkloadIdentity { tenant, client_id, token_file } => {
                let assertion = tokio::fs::read_to_string(token_file).await.map_err(|e| {
                    let message = format!("the federated token {} cannot be read", token_file.display());
                    self.credential().advise(Error::new(ErrorKind::Denied, message).because(e))
                })?;
                let assertion = Secret::new(assertion.trim());
                let grant = Grant::Assertion { client_id, assertion: &assertion };
                let granted = entra.grant_to(&who, tenant, &grant, wanted).await;
                granted.map_err(|error| self.credential().advise(error))
            }
            other => {
                let why = other.has_no_certificate().unwrap_or("it signs in by another program");
                Err(Error::new(ErrorKind::Denied, format!("failed to sign in as {who}")).because(why))
            }
        }
    }

    fn refused(&self, error: &azure_core::Error) -> Error {
        let who = self.credential().describe();
        let said = shortened(&error.to_string(), 400);
        let host = self.cloud.login.host_str().unwrap_or_default();
        if let Some(untrusted) = error::untrusted(host, error) {
            return untrusted.because(said);
        }
        if let (Credential::ArcMachine(agent), true) = (self.credential(), is_network_trouble(error)) {
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
        let refused = Error::new(ErrorKind::Denied, format!("failed to sign in as {who}")).because(said);
        self.chosen.explained(self.credential().advise(refused))
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
    use std::sync::atomic::{AtomicU64, Ordering};

    use azure_core::credentials::{AccessToken, TokenCredential};
    use relight_engine::clock::SteppedClock;

    use super::*;

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
            Tokens::new(Credential::Custom(credential).into(), cloud, http, Arc::new(clock.clone())),
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
        let scope = tokens.cloud.scope();
        let fresh = tokens.instead_of(&scope, &dead, claims.clone()).await.unwrap();
        assert_eq!(fresh.secret.expose(), "token 2 {}");
        assert_eq!(tokens.instead_of(&scope, &dead, claims).await.unwrap().secret.expose(), "token 2 {}");
        assert_eq!(credential.asked.load(Ordering::SeqCst), 2);
        assert!(!format!("{fresh:?}").contains("token 2"));
    }
}
