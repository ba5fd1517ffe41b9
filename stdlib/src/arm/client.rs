//! The thin driver: sends a request, reads the answer, hands it to whoever decides.
//!
//! Owns the token, the pacing, the api-version that a region offers, and the headers by which a request is found
//! again. Does not own retries: an [`Error`] says whether one makes sense, and the engine makes it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use relight_engine::clock::{Clock, SystemClock};
use relight_engine::event::digest;
use relight_engine::{Cx, Error, ErrorKind, Result};
use reqwest::Url;
use serde_json::Value;
use uuid::Uuid;

use super::auth::{Credential, Tokens, challenge_claims};
use super::cloud::{Cloud, receive, require_https};
use super::error::{self, ArmError};
use super::lro::{FinalState, Lro, Note, Step};
use super::pacer::{Bucket, Kind, Pacer};
use super::wire::{Method, Response, same_origin, without_query};

pub use super::lro::Started;

/// The longest wait for our turn that is spent here; a longer one goes back to the engine, which parks the run.
const LONGEST_TURN: Duration = Duration::from_secs(60);
/// The most pages of one list.
const PAGES: usize = 1000;

/// A resource type and the api-versions with which its operations are known to work, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Api<'a> {
    /// The full type, such as `Microsoft.AzureStackHCI/clusters/jobs`.
    pub kind: &'a str,
    /// Known-good api-versions, newest first.
    pub versions: &'a [&'a str],
}

/// A request that changes something.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The method.
    pub method: Method,
    /// The path, with a query if need be but without the api-version.
    pub path: &'a str,
    /// The type and its versions.
    pub api: Api<'a>,
    /// The body. Secret references in it are replaced by their values when it is sent, and nowhere else.
    pub body: Option<&'a Value>,
    /// Where the result of a long-running operation is read.
    pub finish: FinalState,
}

/// What following an operation led to.
#[derive(Debug)]
pub enum Advance {
    /// Still running: follow it again after the wait.
    Wait(Box<Lro>, Duration, Note),
    /// Done, with the result.
    Done(Value),
}

/// On whose behalf a request is sent: what its ids are derived from.
#[derive(Clone, Debug)]
pub struct Origin {
    run: String,
    key: String,
    attempt: u32,
}

impl From<&Cx> for Origin {
    fn from(cx: &Cx) -> Self {
        Origin {
            run: cx.run().to_string(),
            key: cx.key(64),
            attempt: cx.attempt(),
        }
    }
}

impl Origin {
    /// Returns the id that ties all requests of a run together, in Azure's activity log too.
    fn correlation_id(&self) -> String {
        uuid_of(&digest(&["correlation", &self.run]))
    }

    /// Returns the id of a request. Writes of one step share all but the end, so that repeated attempts are
    /// recognised; they do not share the end, because Azure repeats some answers to an id it has seen.
    fn request_id(&self, method: Method, path: &str) -> String {
        if method.is_read() {
            return Uuid::new_v4().to_string();
        }
        let same = digest(&[&self.key, method.as_str(), path]);
        uuid_of(&format!("{}{:012x}", &same[..20], self.attempt))
    }
}

fn uuid_of(hex: &str) -> String {
    let value = u128::from_str_radix(hex.get(..32).unwrap_or_default(), 16).unwrap_or_default();
    Uuid::from_u128(value).to_string()
}

/// A request as an observer sees it, just before it is sent. Secrets in the body are still references.
#[derive(Clone, Debug)]
pub struct SentRequest {
    /// The method.
    pub method: Method,
    /// The whole address. That of a status may carry a signature.
    pub url: Url,
    /// The body.
    pub body: Option<Value>,
    /// Its `x-ms-client-request-id`.
    pub client_request_id: String,
}

type OnRequest = Arc<dyn Fn(&SentRequest) + Send + Sync>;

/// A connection to Azure Resource Manager. Cheap to clone; every clone shares the token and the budget.
#[derive(Clone)]
pub struct Arm(Arc<Inner>);

struct Inner {
    cloud: Cloud,
    http: reqwest::Client,
    tokens: Tokens,
    clock: Arc<dyn Clock>,
    pacer: Mutex<Pacer>,
    /// The api-version that was found to be offered, by type and by what was wished for.
    offered: Mutex<HashMap<String, String>>,
    on_request: Option<OnRequest>,
}

/// Makes an [`Arm`].
pub struct ArmBuilder {
    cloud: Cloud,
    credential: Credential,
    clock: Arc<dyn Clock>,
    on_request: Option<OnRequest>,
}

impl ArmBuilder {
    /// Sets the clock; the machine's own unless set.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets who is shown every request before it is sent.
    #[must_use]
    pub fn on_request(mut self, observe: impl Fn(&SentRequest) + Send + Sync + 'static) -> Self {
        self.on_request = Some(Arc::new(observe));
        self
    }

    /// Makes the connection. Nothing is sent yet.
    ///
    /// # Errors
    /// `Invalid` when the cloud's certificates cannot be read.
    pub fn build(self) -> Result<Arm> {
        for url in [&self.cloud.arm, &self.cloud.login] {
            require_https(url)?;
        }
        let http = self.cloud.http_client()?;
        let tokens = Tokens::new(
            self.credential,
            self.cloud.clone(),
            http.clone(),
            self.clock.clone(),
        );
        Ok(Arm(Arc::new(Inner {
            cloud: self.cloud,
            http,
            tokens,
            clock: self.clock,
            pacer: Mutex::default(),
            offered: Mutex::default(),
            on_request: self.on_request,
        })))
    }
}

impl fmt::Debug for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arm")
            .field("cloud", &self.0.cloud)
            .field("as", self.0.tokens.credential())
            .finish()
    }
}

impl Arm {
    /// Starts to describe a connection.
    pub fn builder(cloud: Cloud, credential: Credential) -> ArmBuilder {
        ArmBuilder {
            cloud,
            credential,
            clock: Arc::new(SystemClock),
            on_request: None,
        }
    }

    /// Returns the cloud.
    pub fn cloud(&self) -> &Cloud {
        &self.0.cloud
    }

    /// Returns who signs in.
    pub fn credential(&self) -> &Credential {
        self.0.tokens.credential()
    }

    /// Signs in without asking for anything.
    ///
    /// # Errors
    /// `Denied` when nobody can be signed in, `Unsent` when the sign-in service cannot be reached.
    pub async fn sign_in(&self) -> Result<()> {
        self.0.tokens.token().await.map(drop)
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// `Rejected` when there is none, and whatever else Azure says.
    pub async fn get(&self, cx: &Cx, path: &str, api: Api<'_>) -> Result<Value> {
        let (url, response) = self
            .exchange(&cx.into(), Method::Get, path, api, None)
            .await?;
        object(&url, response)
    }

    /// Reads a resource that may not exist.
    ///
    /// # Errors
    /// Whatever Azure says, other than that there is none.
    pub async fn find(&self, cx: &Cx, path: &str, api: Api<'_>) -> Result<Option<Value>> {
        match self.get(cx, path, api).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all pages of a list.
    ///
    /// # Errors
    /// Whatever Azure says; `Rejected` when the pages go in circles or on for ever.
    pub async fn list(&self, cx: &Cx, path: &str, api: Api<'_>) -> Result<Vec<Value>> {
        self.list_as(&cx.into(), path, api).await
    }

    pub(crate) async fn list_as(
        &self,
        origin: &Origin,
        path: &str,
        api: Api<'_>,
    ) -> Result<Vec<Value>> {
        let (mut url, mut response) = self.exchange(origin, Method::Get, path, api, None).await?;
        let mut seen = HashSet::new();
        let mut items = Vec::new();
        loop {
            let mut page = object(&url, response)?;
            if let Some(Value::Array(mut values)) = page.get_mut("value").map(Value::take) {
                items.append(&mut values);
            }
            let Some(next) = page
                .get("nextLink")
                .and_then(Value::as_str)
                .filter(|link| !link.is_empty())
            else {
                return Ok(items);
            };
            // The link is opaque: used as it is, but only on Azure's own host.
            url = url.join(next).map_err(|e| {
                Error::rejected(format!("the list {path} continues nowhere")).because(e)
            })?;
            if !seen.insert(url.clone()) || seen.len() >= PAGES {
                return Err(Error::rejected(format!(
                    "the list {path} does not end after {} pages",
                    seen.len()
                )));
            }
            response = self.send(origin, Method::Get, &url, None, None).await?;
            if !response.is_success() {
                return Err(error::refused(Method::Get, &url, &response));
            }
        }
    }

    /// Sends a request that changes something, and reads the first answer.
    ///
    /// # Errors
    /// Whatever Azure says. `Unsent` when it certainly had no effect, `Transient` when that is unclear.
    pub async fn write(&self, cx: &Cx, write: Write<'_>) -> Result<Started> {
        let body = match write.body {
            Some(shown) => Some(Payload {
                shown,
                sent: cx.reveal(shown).await?,
            }),
            None => None,
        };
        let origin = Origin::from(cx);
        let (url, response) = self
            .exchange(&origin, write.method, write.path, write.api, body.as_ref())
            .await?;
        let id = origin.request_id(write.method, url.path());
        Lro::start(write.method, &url, write.finish, &response, Some(&id))
    }

    /// Looks once at an operation under way.
    ///
    /// # Errors
    /// `Rejected` when it ended in failure, and whatever else Azure says.
    pub async fn follow(&self, cx: &Cx, lro: Lro) -> Result<Advance> {
        let mut lro = Box::new(lro);
        loop {
            let request = lro.next_request();
            let id = lro.client_request_id().map(str::to_owned);
            let response = self
                .send(&cx.into(), request.method, &request.url, None, id)
                .await?;
            match lro.handle_response(&response) {
                Step::Wait(lro, wait, note) => return Ok(Advance::Wait(lro, wait, note)),
                Step::Final(next) => lro = next,
                Step::Done(value) => return Ok(Advance::Done(value)),
                Step::Failed(error) => return Err(error),
            }
        }
    }

    /// Sends a request under the newest api-version that both sides know; returns a success and its address.
    async fn exchange(
        &self,
        origin: &Origin,
        method: Method,
        path: &str,
        api: Api<'_>,
        body: Option<&Payload<'_>>,
    ) -> Result<(Url, Response)> {
        let key = format!(
            "{}?{}",
            api.kind.to_ascii_lowercase(),
            api.versions.join(",")
        );
        let remembered = lock(&self.0.offered).get(&key).cloned();
        let mut version = remembered
            .unwrap_or_else(|| api.versions.first().copied().unwrap_or_default().to_owned());
        let mut tried = HashSet::new();
        let mut was_repeated = false;
        loop {
            let url = self.url(path, &version)?;
            let response = self.send(origin, method, &url, body, None).await?;
            if response.is_success() {
                if !tried.is_empty() {
                    lock(&self.0.offered).insert(key, version);
                }
                return Ok((url, response));
            }
            let Some(offered) = offered_versions(&response) else {
                return Err(error::refused(method, &url, &response));
            };
            // While a provider rolls out, some of its regions refuse for a moment: once the same again.
            if !was_repeated {
                was_repeated = true;
                continue;
            }
            tried.insert(version.clone());
            let next = api.versions.iter().find(|v| {
                !tried.contains(**v) && offered.iter().any(|o| o.eq_ignore_ascii_case(v))
            });
            let Some(next) = next else {
                return Err(unknown_versions(
                    api,
                    &offered,
                    error::refused(method, &url, &response),
                ));
            };
            tracing::info!(kind = api.kind, refused = %version, chosen = %next, "another api-version");
            (*next).clone_into(&mut version);
        }
    }

    /// Sends one request: waits for its turn, signs it, and signs it once more when the token was refused.
    async fn send(
        &self,
        origin: &Origin,
        method: Method,
        url: &Url,
        body: Option<&Payload<'_>>,
        id: Option<String>,
    ) -> Result<Response> {
        if !same_origin(&self.0.cloud.arm, url) {
            let message = format!(
                "{} is not {}; the sign-in token is not sent there",
                without_query(url),
                self.0.cloud.arm
            );
            return Err(Error::rejected(message));
        }
        let bucket = self.bucket(method, url);
        self.wait_for_turn(&bucket).await?;
        let id = id.unwrap_or_else(|| origin.request_id(method, url.path()));
        if let Some(observe) = &self.0.on_request {
            let body = body.map(|payload| payload.shown.clone());
            observe(&SentRequest {
                method,
                url: url.clone(),
                body,
                client_request_id: id.clone(),
            });
        }
        let token = self.0.tokens.token().await?;
        let mut response = self
            .try_once(origin, method, url, body, &id, token.secret.expose())
            .await?;
        if response.status == 401 {
            let claims = response
                .header("www-authenticate")
                .and_then(challenge_claims);
            let is_challenge = claims.is_some();
            let fresh = self.0.tokens.instead_of(&token, claims).await?;
            response = self
                .try_once(origin, method, url, body, &id, fresh.secret.expose())
                .await?;
            if response.status == 401 {
                let error = error::refused(method, url, &response);
                return Err(if is_challenge {
                    error.hint("an access policy asks for a new sign-in from here (continuous access evaluation)")
                } else {
                    error
                });
            }
        }
        self.learn(&bucket, method, url, &response);
        Ok(response)
    }

    async fn try_once(
        &self,
        origin: &Origin,
        method: Method,
        url: &Url,
        body: Option<&Payload<'_>>,
        id: &str,
        token: &str,
    ) -> Result<Response> {
        let verb = reqwest::Method::from_bytes(method.as_str().as_bytes())
            .map_err(|e| Error::invalid("not a method").because(e))?;
        let mut request = self
            .0
            .http
            .request(verb, url.clone())
            .bearer_auth(token)
            .header("accept", "application/json")
            .header("x-ms-client-request-id", id)
            .header("x-ms-return-client-request-id", "true")
            .header("x-ms-correlation-request-id", origin.correlation_id());
        if let Some(payload) = body {
            request = request
                .header("content-type", "application/json")
                .body(payload.sent.to_string());
        } else if !method.is_read() && method != Method::Delete {
            // Some gateways refuse a POST that does not say its length.
            request = request.header("content-length", "0");
        }
        let began = Instant::now();
        let response = receive(request, method, url).await;
        let status = response.as_ref().map_or(0, |r| r.status);
        let server_id = response
            .as_ref()
            .ok()
            .and_then(Response::request_id)
            .unwrap_or_default();
        tracing::debug!(%method, path = url.path(), status, id, server_id, ms = began.elapsed().as_millis(), "arm");
        response
    }

    async fn wait_for_turn(&self, bucket: &Bucket) -> Result<()> {
        let now = self.0.clock.now();
        let turn = lock(&self.0.pacer).reserve(bucket, now);
        if turn > LONGEST_TURN {
            lock(&self.0.pacer).release(bucket, now);
            let seconds = turn.as_secs();
            return Err(Error::new(
                ErrorKind::Unsent,
                format!("Azure's request limit is used up for {seconds} s"),
            )
            .retry_after(Some(turn)));
        }
        if !turn.is_zero() {
            tracing::debug!(seconds = turn.as_secs_f64(), "waiting for a turn");
            self.0
                .clock
                .sleep_until(now.saturating_add(turn).unwrap_or(now))
                .await;
        }
        Ok(())
    }

    fn learn(&self, bucket: &Bucket, method: Method, url: &Url, response: &Response) {
        let now = self.0.clock.now();
        let mut pacer = lock(&self.0.pacer);
        if let Some(left) = response
            .header(bucket.kind.header())
            .and_then(|text| text.parse().ok())
        {
            pacer.handle_remaining(bucket, left, now);
        }
        if response.status == 429
            && let Some(pause) = error::refused(method, url, response).pause()
            && is_for_everybody(response)
        {
            pacer.handle_refusal(bucket, pause, now);
        }
    }

    fn bucket(&self, method: Method, url: &Url) -> Bucket {
        let mut parts = url.path_segments().into_iter().flatten();
        let subscription = parts
            .next()
            .filter(|word| word.eq_ignore_ascii_case("subscriptions"))
            .and_then(|_| parts.next());
        Bucket {
            subscription: subscription.unwrap_or_default().to_ascii_lowercase(),
            principal: self.credential().describe(),
            kind: Kind::of(method),
        }
    }

    fn url(&self, path: &str, version: &str) -> Result<Url> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if !path.starts_with('/') || path.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(Error::invalid(format!(
                "`{path}` is not a path below {}",
                self.0.cloud.arm
            ))
            .hint("a path starts with /subscriptions/ or /providers/"));
        }
        let mut url = self.0.cloud.arm.clone();
        url.set_path(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        url.query_pairs_mut().append_pair("api-version", version);
        Ok(url)
    }
}

/// A body as it is shown and as it is sent.
struct Payload<'a> {
    shown: &'a Value,
    sent: Value,
}

/// Reads an answer that must be an object.
fn object(url: &Url, response: Response) -> Result<Value> {
    if response.json().is_object() {
        return Ok(response.into_json());
    }
    Err(error::garbled(Method::Get, url, &response))
}

/// Returns whether an error says that there is no such resource (rather than no such subscription or type).
fn is_absence(error: &Error) -> bool {
    let elsewhere = [
        "SubscriptionNotFound",
        "InvalidSubscriptionId",
        "InvalidResourceNamespace",
        "InvalidResourceType",
    ];
    error.status() == Some(404)
        && !error
            .code()
            .is_some_and(|code| elsewhere.iter().any(|c| c.eq_ignore_ascii_case(code)))
}

/// Returns whether a 429 is about the subscription's bucket rather than one busy resource.
fn is_for_everybody(response: &Response) -> bool {
    let codes = [
        "TooManyRequests",
        "SubscriptionRequestsThrottled",
        "OperationNotAllowed",
    ];
    ArmError::read(response.json()).is_none_or(|error| error.has_code(&codes))
}

/// Returns the api-versions that a refusal offers, when the refusal is about the api-version.
fn offered_versions(response: &Response) -> Option<Vec<String>> {
    let error = ArmError::read(response.json())?;
    if !error.has_code(&[
        "NoRegisteredProviderFound",
        "InvalidResourceType",
        "InvalidApiVersionParameter",
    ]) {
        return None;
    }
    let message = error.message.unwrap_or_default();
    let list = ["supported api-versions are '", "supported versions are '"]
        .iter()
        .find_map(|before| message.split_once(before))
        .map_or("", |(_, rest)| rest.split('\'').next().unwrap_or_default());
    Some(
        list.split(',')
            .map(|v| v.trim().to_owned())
            .filter(|v| !v.is_empty())
            .collect(),
    )
}

fn unknown_versions(api: Api<'_>, offered: &[String], refusal: Error) -> Error {
    let message = format!(
        "Azure offers `{}` here with none of the api-versions known to work (known: {}; offered: {})",
        api.kind,
        api.versions.join(", "),
        if offered.is_empty() {
            "none".to_owned()
        } else {
            offered.join(", ")
        },
    );
    let service = refusal.service_error().cloned().unwrap_or_default();
    Error::rejected(message)
        .service(service)
        .because(refusal)
        .hint("the feature may not have reached this region yet; a newer Relight may know a newer api-version")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside stays meaningful whatever panicked elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
    use relight_engine::clock::SteppedClock;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const API: Api<'static> = Api {
        kind: "Microsoft.X/things",
        versions: &["3", "2", "1"],
    };
    const THING: &str = "/subscriptions/s/providers/Microsoft.X/things/t";

    #[derive(Debug, Default)]
    struct Numbered(AtomicUsize);

    #[async_trait::async_trait]
    impl TokenCredential for Numbered {
        async fn get_token(
            &self,
            _: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            let expires =
                azure_core::time::OffsetDateTime::now_utc() + azure_core::time::Duration::HOUR;
            Ok(AccessToken::new(format!("token{number}"), expires))
        }
    }

    /// A server that gives fixed answers and keeps what it was asked.
    struct Fixed {
        arm: Arm,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Fixed {
        /// An empty answer closes the connection without one.
        async fn new(answers: Vec<(u16, &'static str, Value)>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base: Url = format!("http://{}", listener.local_addr().unwrap())
                .parse()
                .unwrap();
            let asked = Arc::new(Mutex::new(Vec::new()));
            let seen = asked.clone();
            tokio::spawn(async move {
                for (status, headers, body) in answers {
                    let (mut socket, _) = listener.accept().await.unwrap();
                    let mut request = vec![0; 16 * 1024];
                    let read = socket.read(&mut request).await.unwrap();
                    lock(&seen).push(String::from_utf8_lossy(&request[..read]).into_owned());
                    if status > 0 {
                        let body = body.to_string();
                        let head = format!(
                            "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
                            body.len()
                        );
                        socket
                            .write_all(format!("{head}{body}").as_bytes())
                            .await
                            .unwrap();
                    }
                }
            });
            let cloud = Cloud {
                arm: base.clone(),
                login: base,
                ..Cloud::public()
            };
            let clock = SteppedClock::jumping("2026-11-20T10:00:00Z".parse().unwrap());
            let arm = Arm::builder(cloud, Credential::Custom(Arc::new(Numbered::default())))
                .clock(Arc::new(clock))
                .build()
                .unwrap();
            Fixed { arm, asked }
        }

        async fn send(&self, method: Method) -> Result<(Url, Response)> {
            self.arm
                .exchange(&origin(1), method, THING, API, None)
                .await
        }

        /// Returns what was asked, as `token1 GET /path?query`.
        fn asked(&self) -> Vec<String> {
            let words = |request: &String| {
                let line = request
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .trim_end_matches(" HTTP/1.1")
                    .to_owned();
                let token = request
                    .split("Bearer ")
                    .nth(1)
                    .and_then(|rest| rest.lines().next());
                format!("{} {line}", token.unwrap_or_default())
            };
            lock(&self.asked).iter().map(words).collect()
        }
    }

    fn origin(attempt: u32) -> Origin {
        Origin {
            run: "run".into(),
            key: "0".repeat(64),
            attempt,
        }
    }

    fn unregistered(supported: &str) -> (u16, &'static str, Value) {
        let message = format!(
            "No registered resource provider found for type 'things'. The supported api-versions are '{supported}'. The supported locations are 'x'."
        );
        (
            400,
            "",
            json!({"error": {"code": "NoRegisteredProviderFound", "message": message}}),
        )
    }

    #[tokio::test]
    async fn the_newest_version_that_both_know_is_found_and_remembered() {
        let server = Fixed::new(vec![
            unregistered("0, 2, 1"),
            unregistered("0, 2, 1"),
            (200, "", json!({})),
            (200, "", json!({})),
        ])
        .await;
        server.send(Method::Get).await.unwrap();
        server.send(Method::Get).await.unwrap();
        let versions: Vec<_> = server
            .asked()
            .iter()
            .map(|a| a.rsplit('=').next().unwrap().to_owned())
            .collect();
        assert_eq!(versions, ["3", "3", "2", "2"]);
    }

    #[tokio::test]
    async fn a_version_that_is_refused_for_a_moment_is_kept() {
        let server = Fixed::new(vec![unregistered("3"), (200, "", json!({}))]).await;
        server.send(Method::Put).await.unwrap();
        assert!(server.asked().iter().all(|a| a.ends_with("api-version=3")));
    }

    #[tokio::test]
    async fn no_common_version_shows_both_lists() {
        let server = Fixed::new(vec![unregistered("9, 8"), unregistered("9, 8")]).await;
        let error = server
            .send(Method::Get)
            .await
            .expect_err("nothing in common");
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Rejected, Some("NoRegisteredProviderFound"))
        );
        assert!(
            error.message().contains("3, 2, 1") && error.message().contains("9, 8"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once() {
        let expired = || {
            (
                401,
                "",
                json!({"error": {"code": "ExpiredAuthenticationToken", "message": "m"}}),
            )
        };
        let server = Fixed::new(vec![expired(), (200, "", json!({})), expired(), expired()]).await;
        server.send(Method::Put).await.unwrap();
        let error = server.send(Method::Put).await.expect_err("refused twice");
        assert_eq!(error.kind(), ErrorKind::Denied);
        let tokens: Vec<_> = server
            .asked()
            .iter()
            .map(|a| a.split(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(tokens, ["token1", "token2", "token2", "token3"]);
    }

    #[tokio::test]
    async fn attempts_of_one_write_are_recognised_and_runs_are_tied_together() {
        let server = Fixed::new(vec![(200, "", json!({}))]).await;
        server.send(Method::Put).await.unwrap();
        let request = lock(&server.asked).join("");
        for header in [
            "x-ms-return-client-request-id: true",
            "x-ms-correlation-request-id: ",
            "content-length: 0",
        ] {
            assert!(request.to_ascii_lowercase().contains(header), "{request}");
        }
        let id = |attempt| origin(attempt).request_id(Method::Put, THING);
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2));
        assert_eq!(id(1)[..23], id(2)[..23]);
        assert_ne!(
            id(1)[..23],
            origin(1).request_id(Method::Put, "/other")[..23]
        );
        assert_ne!(
            origin(1).request_id(Method::Get, THING),
            origin(1).request_id(Method::Get, THING)
        );
    }

    #[tokio::test]
    async fn lost_answers_are_unclear_and_lost_connections_are_not() {
        let server = Fixed::new(vec![(0, "", json!(null))]).await;
        let error = server.send(Method::Put).await.expect_err("no answer");
        assert_eq!(error.kind(), ErrorKind::Transient);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base: Url = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        drop(listener);
        let cloud = Cloud {
            arm: base.clone(),
            login: base,
            ..Cloud::public()
        };
        let arm = Arm::builder(cloud, Credential::Custom(Arc::new(Numbered::default())))
            .build()
            .unwrap();
        let error = arm
            .exchange(&origin(1), Method::Put, THING, API, None)
            .await
            .expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::Unsent);
    }

    #[tokio::test]
    async fn pages_are_followed_and_circles_are_not() {
        let page = |next: &str| (200, "", json!({"value": [{}], "nextLink": next}));
        let server = Fixed::new(vec![
            page("/a?x=1"),
            (200, "", json!({"value": [], "nextLink": "/b"})),
            page(""),
        ])
        .await;
        assert_eq!(
            server
                .arm
                .list_as(&origin(1), THING, API)
                .await
                .unwrap()
                .len(),
            2
        );
        assert_eq!(
            server.asked()[1],
            "token1 GET /a?x=1",
            "an opaque link is used as it is"
        );

        let server = Fixed::new(vec![page("/a"), page("/a")]).await;
        let error = server
            .arm
            .list_as(&origin(1), THING, API)
            .await
            .expect_err("a circle");
        assert!(error.message().contains("does not end"), "{error}");

        let server = Fixed::new(vec![page("https://evil.example/a")]).await;
        let error = server
            .arm
            .list_as(&origin(1), THING, API)
            .await
            .expect_err("another host");
        assert!(error.message().contains("not sent there"), "{error}");
    }

    #[tokio::test]
    async fn one_refusal_for_load_makes_everybody_wait() {
        let throttled = (
            429,
            "retry-after: 293\r\n",
            json!({"error": {"code": "TooManyRequests", "message": "m"}}),
        );
        let server = Fixed::new(vec![throttled]).await;
        let error = server.send(Method::Put).await.expect_err("throttled");
        assert_eq!(
            (error.kind(), error.pause()),
            (ErrorKind::Unsent, Some(Duration::from_secs(293)))
        );
        let error = server.send(Method::Put).await.expect_err("not even sent");
        assert_eq!(
            (error.kind(), error.pause()),
            (ErrorKind::Unsent, Some(Duration::from_secs(293)))
        );
        assert_eq!(server.asked().len(), 1);
    }

    #[tokio::test]
    async fn answers_that_are_no_resource_are_asked_for_again() {
        let server = Fixed::new(vec![(200, "", json!(null))]).await;
        let (url, response) = server.send(Method::Get).await.unwrap();
        assert_eq!(
            object(&url, response).expect_err("null").kind(),
            ErrorKind::Transient
        );
    }

    #[test]
    fn paths_stay_below_azure() {
        let arm = Arm::builder(Cloud::public(), Credential::AzureCli { tenant: None })
            .build()
            .unwrap();
        let url = arm.url("/subscriptions/s/x y?$expand=a", "1").unwrap();
        assert_eq!(
            url.as_str(),
            "https://management.azure.com/subscriptions/s/x%20y?$expand=a&api-version=1"
        );
        for wrong in ["", "subscriptions/s", "https://evil.example/", "/a/../b"] {
            assert!(arm.url(wrong, "1").is_err(), "{wrong}");
        }
        let plain = Cloud {
            arm: "http://arm.private".parse().unwrap(),
            ..Cloud::public()
        };
        assert!(
            Arm::builder(plain, Credential::AzureCli { tenant: None })
                .build()
                .is_err()
        );
    }
}
