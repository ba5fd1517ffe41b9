//! The identity of an Arc-enabled machine, which its agent hands to whoever may read a file.
//!
//! ```text
//! GET token ──► 401, WWW-Authenticate: Basic realm=<file> ──► read the file ──► GET token, Authorization: Basic <it>
//! ```
//!
//! Whoever answers at the agent's address names a file that we read and send back to it. So the address must be on this
//! machine, and the file must be one of the agent's own: `*.key` directly in its token folder, and small.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind as Kind;
use azure_core::time::OffsetDateTime;
use relight_engine::{Error, Result, Secret};
use reqwest::Url;
use serde_json::Value;

use super::http::{Http, is_loopback, receive};
use super::wire::{Method, Response, excerpt, shortened};

/// The version of the agent's token endpoint.
const VERSION: &str = "2020-06-01";
/// What the machine's own identity is called.
pub(super) const ARC: &str = "identity of this Arc-enabled machine";
/// The longest challenge that is read. The agent's are a few hundred bytes.
const LONGEST_KEY: u64 = 4096;

/// The agent of an Arc-enabled machine.
#[derive(Clone)]
pub struct ArcAgent {
    endpoint: Url,
    folder: PathBuf,
    http: Http,
}

impl ArcAgent {
    /// Describes the agent: where it gives tokens, and the folder in which it leaves its challenges.
    ///
    /// # Errors
    /// `Denied` when the address is not on this machine.
    pub fn new(endpoint: &str, folder: impl Into<PathBuf>) -> Result<Self> {
        let wrong = || {
            let shown = excerpt(endpoint);
            Error::new(
                relight_engine::ErrorKind::Denied,
                format!("IDENTITY_ENDPOINT is `{shown}`, which is not an address on this machine"),
            )
            .hint("the Arc agent sets http://localhost:40342/metadata/identity/oauth2/token; unset it to sign in another way")
        };
        let endpoint: Url = endpoint.parse().map_err(|_| wrong())?;
        if !is_loopback(&endpoint) || !matches!(endpoint.scheme(), "http" | "https") {
            return Err(wrong());
        }
        let http = Http::new(&endpoint, None)?;
        Ok(ArcAgent { endpoint, folder: folder.into(), http })
    }

    /// Returns the folder in which the agent leaves its challenges. `lookup` gives the value of a variable.
    pub fn usual_folder(lookup: &dyn Fn(&str) -> Option<String>) -> PathBuf {
        if cfg!(windows) {
            let data = lookup("ProgramData").unwrap_or_else(|| r"C:\ProgramData".into());
            Path::new(&data).join("AzureConnectedMachineAgent").join("Tokens")
        } else {
            "/var/opt/azcmagent/tokens".into()
        }
    }

    /// Returns the agent's host and port, for a message.
    pub(super) fn host(&self) -> String {
        let port = self.endpoint.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.endpoint.host_str().unwrap_or_default())
    }

    async fn ask(&self, resource: &str, challenge: Option<&Secret>) -> azure_core::Result<Response> {
        let broken = |e: Error| azure_core::Error::with_error(Kind::Credential, e, "no request can be made");
        let mut url = self.endpoint.clone();
        url.query_pairs_mut().append_pair("api-version", VERSION).append_pair("resource", resource);
        let mut request = self.http.client().map_err(broken)?.get(url.clone()).header("metadata", "true");
        if let Some(challenge) = challenge {
            request = request.header("authorization", format!("Basic {}", challenge.expose()));
        }
        let unanswered = |e: Error| {
            azure_core::Error::with_error(
                Kind::Io,
                e,
                format!("the Arc agent at {} gives no answer", self.host()),
            )
        };
        receive(request, Method::Get, &url).await.map_err(unanswered)
    }

    /// Reads the file that a refusal names.
    fn challenge(&self, refusal: &Response) -> std::result::Result<Secret, String> {
        let header = refusal.header("www-authenticate").unwrap_or_default();
        let file = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, rest)| rest.trim().strip_prefix("realm="))
            .map(|file| file.trim().trim_matches('"'))
            .filter(|file| !file.is_empty())
            .ok_or_else(|| format!("the Arc agent answered {} without naming a file", refusal.status))?;
        read_key(&self.folder, Path::new(file))
            .map_err(|why| format!("the challenge of the Arc agent, {}, {why}", shortened(file, 200)))
    }
}

/// Reads one of the agent's keys; otherwise says why not.
fn read_key(folder: &Path, file: &Path) -> std::result::Result<Secret, String> {
    let foreign = || format!("is not a key in {}", folder.display());
    if file.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("key")) {
        return Err(foreign());
    }
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => format!("cannot be read: {e}"),
    };
    // What a folder or a link leads to counts, not how it is written. Where even the folder may not be entered, nothing
    // can be read either.
    let folder_is = std::fs::canonicalize(folder).map_err(unreadable)?;
    // Checked before anything outside is touched.
    let parent_is = file.parent().map(std::fs::canonicalize).and_then(std::io::Result::ok);
    if parent_is.as_deref() != Some(&*folder_is) {
        return Err(foreign());
    }
    let file_is = std::fs::canonicalize(file).map_err(unreadable)?;
    if file_is.parent() != Some(&*folder_is) {
        return Err(foreign());
    }
    let mut key = String::new();
    let opened = std::fs::File::open(&file_is).map_err(unreadable)?;
    opened.take(LONGEST_KEY + 1).read_to_string(&mut key).map_err(unreadable)?;
    if key.len() as u64 > LONGEST_KEY {
        return Err(format!("is longer than {LONGEST_KEY} bytes"));
    }
    let key = key.trim();
    match !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Secret::new(key)),
        false => Err("holds no key".into()),
    }
}

impl fmt::Debug for ArcAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArcAgent").field("endpoint", &self.endpoint.as_str()).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl TokenCredential for ArcAgent {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let failed = |why: String| azure_core::Error::with_message(Kind::Credential, why);
        let scope = scopes.first().copied().unwrap_or_default();
        let resource = scope.strip_suffix("/.default").unwrap_or(scope);
        let mut answer = self.ask(resource, None).await?;
        if answer.status == 401 {
            let challenge = self.challenge(&answer).map_err(failed)?;
            answer = self.ask(resource, Some(&challenge)).await?;
        }
        if !answer.is_success() {
            let said = answer.json().get("error_description").or_else(|| answer.json().get("error"));
            let said = said.map(Value::to_string).unwrap_or_default();
            return Err(failed(format!(
                "the Arc agent answered {} {}",
                answer.status,
                shortened(&said, 200)
            )));
        }
        let body = answer.json();
        let (Some(token), Some(expires)) = (body.get("access_token").and_then(Value::as_str), expires(body))
        else {
            return Err(failed("the Arc agent's answer holds no token".into()));
        };
        Ok(AccessToken::new(token.to_owned(), expires))
    }
}

/// Returns when a token ends: seconds since 1970, as a number or as text.
fn expires(body: &Value) -> Option<OffsetDateTime> {
    let value = body.get("expires_on")?;
    let seconds = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

/// Whoever signed in with `az login`, and where nobody did, the Arc-enabled machine itself.
///
/// The agent sets its variables for the whole machine: they are no choice of the user's. Whoever answered first stays the
/// identity for as long as the process lives, so that no run changes hands on its way.
#[derive(Clone, Debug)]
pub struct CliOrArc {
    pub(super) tenant: Option<String>,
    agent: ArcAgent,
    chosen: Arc<OnceLock<Chosen>>,
}

/// Which of the two it became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    Cli,
    Arc,
}

impl CliOrArc {
    /// Describes the choice. `tenant` is the directory, when it is not the one that `az` uses by default.
    pub fn new(tenant: Option<String>, agent: ArcAgent) -> Self {
        CliOrArc { tenant, agent, chosen: Arc::default() }
    }

    /// Returns who signs in, in words for a person.
    pub(super) fn describe(&self) -> &'static str {
        match self.chosen.get() {
            None => "Azure CLI (`az login`), else this Arc-enabled machine",
            Some(Chosen::Cli) => "Azure CLI (`az login`)",
            Some(Chosen::Arc) => ARC,
        }
    }

    /// Returns the credential; `cli` is that of the Azure CLI.
    pub(super) fn with(&self, cli: Arc<dyn TokenCredential>) -> Arc<dyn TokenCredential> {
        Arc::new(Both { cli, pair: self.clone() })
    }
}

#[derive(Debug)]
struct Both {
    cli: Arc<dyn TokenCredential>,
    pair: CliOrArc,
}

#[async_trait::async_trait]
impl TokenCredential for Both {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let Both { cli, pair: CliOrArc { agent, chosen, .. } } = self;
        let is_open = match chosen.get() {
            Some(Chosen::Arc) => return agent.get_token(scopes, options).await,
            known => known.is_none(),
        };
        let refusal = match cli.get_token(scopes, options).await {
            Ok(token) => {
                let _ = chosen.set(Chosen::Cli);
                return Ok(token);
            }
            Err(error) if is_open && is_nobody(&error.to_string()) => error,
            // Somebody is signed in, and it does not work: that is what has to be mended.
            Err(error) => return Err(error),
        };
        match agent.get_token(scopes, None).await {
            Ok(token) => {
                let _ = chosen.set(Chosen::Arc);
                Ok(token)
            }
            Err(error) => {
                let message = format!("{}; and {error}", shortened(&refusal.to_string(), 200));
                Err(azure_core::Error::with_message(Kind::Credential, message))
            }
        }
    }
}

/// Returns whether the Azure CLI says that nobody ever signed in, or is not installed.
fn is_nobody(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("found on path") || said.contains("to setup account")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const SCOPE: &str = "https://management.azure.com/.default";

    /// An agent as azcmagent's: refuses first and names a new file, then takes what stands in it, once.
    struct Site {
        agent: ArcAgent,
        folder: tempfile::TempDir,
        asked: Arc<AtomicUsize>,
    }

    /// What the agent names instead of its own file.
    type Naming = fn(&Path) -> String;

    impl Site {
        async fn new(naming: Naming) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let tokens = folder.path().join("tokens");
            std::fs::create_dir(&tokens).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint =
                format!("http://{}/metadata/identity/oauth2/token", listener.local_addr().unwrap());
            let asked = Arc::new(AtomicUsize::new(0));
            let (count, dir) = (asked.clone(), tokens.clone());
            tokio::spawn(async move {
                loop {
                    let (mut socket, _) = listener.accept().await.unwrap();
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    let mut request = vec![0; 16 * 1024];
                    let read = socket.read(&mut request).await.unwrap();
                    let request = String::from_utf8_lossy(&request[..read]).into_owned();
                    let lower = request.to_ascii_lowercase();
                    let file = dir.join(format!("{}.key", number - number % 2));
                    let (head, body) = if !lower.contains("\r\nmetadata: true\r\n") {
                        ("400 Bad Request\r\n".to_owned(), "{}".to_owned())
                    } else if !lower.contains("\r\nauthorization: basic ") {
                        std::fs::write(&file, format!("secret-{number}")).unwrap();
                        let named = naming(&file);
                        (
                            format!("401 Unauthorized\r\nWWW-Authenticate: Basic realm={named}\r\n"),
                            "{}".to_owned(),
                        )
                    } else if request.contains(&format!(": Basic secret-{}\r\n", number - number % 2)) {
                        std::fs::remove_file(&file).unwrap();
                        let resource = request.contains("resource=https%3A%2F%2Fmanagement.azure.com&")
                            || request.contains("resource=https%3A%2F%2Fmanagement.azure.com ");
                        let token =
                            format!("token {} {resource}", request.contains("api-version=2020-06-01"));
                        let body = serde_json::json!({"access_token": token, "expires_on": "4102444800", "token_type": "Bearer"});
                        ("200 OK\r\n".to_owned(), body.to_string())
                    } else {
                        ("401 Unauthorized\r\n".to_owned(), "{}".to_owned())
                    };
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 {head}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            });
            Site { agent: ArcAgent::new(&endpoint, tokens).unwrap(), folder, asked }
        }

        async fn token(&self) -> azure_core::Result<AccessToken> {
            self.agent.get_token(&[SCOPE], None).await
        }
    }

    fn own(file: &Path) -> String {
        file.display().to_string()
    }

    #[tokio::test]
    async fn whoever_may_read_the_challenge_gets_the_token() {
        let site = Site::new(own).await;
        let token = site.token().await.unwrap();
        assert_eq!(
            (token.token.secret(), token.expires_on.unix_timestamp()),
            ("token true true", 4_102_444_800)
        );
        let quoted = Site::new(|file| format!("\"{}\"", file.display())).await;
        assert!(quoted.token().await.is_ok());
        assert_eq!(site.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn no_other_file_is_read_and_sent() {
        let long = Site::new(|file| {
            std::fs::write(file, "x".repeat(5000)).unwrap();
            own(file)
        });
        let outside = Site::new(|file| {
            let other = file.parent().unwrap().with_file_name("other.key");
            std::fs::write(&other, "mine").unwrap();
            own(&other)
        });
        let upwards = Site::new(|file| {
            std::fs::write(file.parent().unwrap().with_file_name("other.key"), "mine").unwrap();
            format!("{}/../other.key", file.parent().unwrap().display())
        });
        let no_key = Site::new(|file| own(&file.with_extension("txt")));
        let nothing = Site::new(|_| String::new());
        for (site, says) in [
            (long.await, "longer than 4096"),
            (outside.await, "is not a key in"),
            (upwards.await, "is not a key in"),
            (no_key.await, "is not a key in"),
            (nothing.await, "without naming a file"),
        ] {
            let error = site.token().await.expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
            assert_eq!(site.asked.load(Ordering::SeqCst), 1, "nothing was sent back: {error}");
            drop(site.folder);
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_out_of_the_folder_is_no_key() {
        let site = Site::new(|file| {
            let other = file.parent().unwrap().with_file_name("other.key");
            std::fs::write(&other, "mine").unwrap();
            let link = file.with_file_name("link.key");
            std::os::unix::fs::symlink(&other, &link).unwrap();
            own(&link)
        })
        .await;
        let error = site.token().await.expect_err("a link").to_string();
        assert!(error.contains("is not a key in"), "{error}");
        assert_eq!(site.asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn the_agent_is_on_this_machine() {
        for elsewhere in
            ["http://10.0.0.1:40342/token", "http://evil.example/", "file:///etc/passwd", "localhost"]
        {
            let error = ArcAgent::new(elsewhere, "/x").expect_err(elsewhere);
            assert!(error.message().contains("IDENTITY_ENDPOINT"), "{error}");
        }
        assert!(ArcAgent::new("http://localhost:40342/metadata/identity/oauth2/token", "/x").is_ok());
    }

    /// The Azure CLI, with what it says.
    #[derive(Debug)]
    struct Says(Option<&'static str>);

    #[async_trait::async_trait]
    impl TokenCredential for Says {
        async fn get_token(
            &self,
            _: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            match self.0 {
                None => Ok(AccessToken::new(
                    "from az",
                    OffsetDateTime::now_utc() + azure_core::time::Duration::HOUR,
                )),
                Some(refusal) => Err(azure_core::Error::with_message(Kind::Credential, refusal)),
            }
        }
    }

    #[tokio::test]
    async fn a_person_who_is_signed_in_comes_before_the_machine() {
        let nobody = || Arc::new(Says(Some("Please run 'az login' to setup account.")));
        let ended =
            || Arc::new(Says(Some("AADSTS700082: The refresh token has expired. Please run az login.")));
        let missing = Arc::new(Says(Some("Azure CLI not found on PATH")));
        let site = Site::new(own).await;
        let secret = |token: azure_core::Result<AccessToken>| token.map(|t| t.token.secret().to_owned());

        let pair = CliOrArc::new(None, site.agent.clone());
        assert_eq!(
            secret(pair.with(Arc::new(Says(None))).get_token(&[SCOPE], None).await).unwrap(),
            "from az"
        );
        assert_eq!(pair.describe(), "Azure CLI (`az login`)");
        // Whoever signs out does not turn a run under way into one of the machine's.
        assert!(pair.with(nobody()).get_token(&[SCOPE], None).await.is_err());

        for cli in [nobody(), missing] {
            let pair = CliOrArc::new(None, site.agent.clone());
            assert_eq!(secret(pair.with(cli).get_token(&[SCOPE], None).await).unwrap(), "token true true");
            assert_eq!(pair.describe(), ARC);
            assert_eq!(
                secret(pair.with(Arc::new(Says(None))).get_token(&[SCOPE], None).await).unwrap(),
                "token true true"
            );
        }

        let pair = CliOrArc::new(None, site.agent.clone());
        let error = pair.with(ended()).get_token(&[SCOPE], None).await.expect_err("a sign-in that ended");
        assert!(error.to_string().contains("AADSTS700082"), "{error}");

        let hidden = Site::new(|_| "/var/opt/none/1.key".into()).await;
        let pair = CliOrArc::new(None, hidden.agent.clone());
        let error =
            pair.with(nobody()).get_token(&[SCOPE], None).await.expect_err("nobody at all").to_string();
        assert!(error.contains("az login") && error.contains("is not a key in"), "{error}");
    }
}
