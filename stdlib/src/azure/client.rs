//! The thin driver: sends a request, reads the answer, hands it to whoever decides.
//!
//! Owns the token, the pacing, the api-version that a region offers, and the headers by which a request is found
//! again. Does not own retries: an [`Error`] says whether one makes sense, and the engine makes it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use relight_engine::clock::{Clock, SystemClock};
use relight_engine::{Cx, Error, ErrorCode, ErrorKind, Result};
use reqwest::Url;
use serde_json::Value;

use super::auth::{Token, Tokens, challenge_claims};
use super::cloud::{Cloud, require_https};
use super::credential::{Chosen, Credential};
use super::entra::SshPass;
use super::error::{self, ArmError};
use super::http::{Http, limit, receive};
use super::identity::Identity;
use super::lro::{FinalState, Lro, Note, Step};
use super::pacer::{Bucket, Kind, Pacer};
use super::wire::{Method, Response, same_origin, without_query};

mod observed;
mod origin;

pub use super::lro::Started;
pub use observed::{Exchange, SentRequest};
use observed::{OnExchange, OnRequest};
pub use origin::Origin;

/// The longest wait for our turn that is spent here; a longer one goes back to the engine, which parks the run.
const LONGEST_TURN: Duration = Duration::from_secs(60);
/// How long to pause before a read is sent again.
const READ_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
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

/// A connection to Azure Resource Manager. Cheap to clone; every clone shares the token and the budget.
#[derive(Clone)]
pub struct Arm(Arc<Inner>);

struct Inner {
    cloud: Cloud,
    http: Http,
    /// For the relay.
    upgrading: Http,
    tokens: Tokens,
    clock: Arc<dyn Clock>,
    pacer: Mutex<Pacer>,
    /// The api-version that was found to be offered, by type and by what was asked for.
    offered: Mutex<HashMap<String, String>>,
    on_request: Option<OnRequest>,
    on_exchange: Option<OnExchange>,
}

/// Makes an [`Arm`].
pub struct ArmBuilder {
    cloud: Cloud,
    chosen: Chosen,
    clock: Arc<dyn Clock>,
    on_request: Option<OnRequest>,
    on_exchange: Option<OnExchange>,
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

    /// Sets who is shown every request with its answer, as soon as that is read. What got no answer is not shown. What asks
    /// others than Azure Resource Manager (Entra ID, a key vault, the relay, a blob) does not pass here.
    #[must_use]
    pub fn on_exchange(mut self, observe: impl Fn(&Exchange<'_>) + Send + Sync + 'static) -> Self {
        self.on_exchange = Some(Arc::new(observe));
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
        let http = self.cloud.http()?;
        let tokens = Tokens::new(self.chosen, self.cloud.clone(), http.clone(), self.clock.clone());
        Ok(Arm(Arc::new(Inner {
            upgrading: self.cloud.http()?.for_upgrades(),
            cloud: self.cloud,
            http,
            tokens,
            clock: self.clock,
            pacer: Mutex::default(),
            offered: Mutex::default(),
            on_request: self.on_request,
            on_exchange: self.on_exchange,
        })))
    }
}

impl fmt::Debug for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arm").field("cloud", &self.0.cloud).field("as", self.0.tokens.credential()).finish()
    }
}

impl Arm {
    /// Starts to describe a connection.
    pub fn builder(cloud: Cloud, credential: impl Into<Chosen>) -> ArmBuilder {
        ArmBuilder {
            cloud,
            chosen: credential.into(),
            clock: Arc::new(SystemClock),
            on_request: None,
            on_exchange: None,
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

    /// Signs in, and returns as whom. Only for people to read: what a token holds is between Entra ID and Azure.
    ///
    /// # Errors
    /// As [`sign_in`](Self::sign_in).
    pub async fn identity(&self) -> Result<Identity> {
        Ok(Identity::read(self.0.tokens.token().await?.secret.expose()))
    }

    /// Asks something else than Azure Resource Manager, with a token for `scope`; once more with another one when that is
    /// refused, because it was revoked or a challenge demands more of it.
    ///
    /// # Errors
    /// As [`sign_in`](Self::sign_in), and when there is no answer.
    pub(super) async fn read_elsewhere(&self, url: &Url, scope: &str) -> Result<Response> {
        let http = self.0.http.client()?;
        let ask = |token: &Token| http.get(url.clone()).bearer_auth(token.secret.expose());
        let token = self.0.tokens.token_for(scope).await?;
        let answer = receive(ask(&token), Method::Get, url).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let claims = answer.header("www-authenticate").and_then(challenge_claims);
        let other = self.0.tokens.instead_of(scope, &token, claims).await?;
        let answer = receive(ask(&other), Method::Get, url).await?;
        if answer.status == 401 {
            self.0.tokens.forget(scope, &other).await;
        }
        Ok(answer)
    }

    /// Downloads what lies behind a signed address, such as a blob's: no token goes there. Nothing is returned when nothing is
    /// there yet.
    ///
    /// # Errors
    /// `Rejected` when the address is none or what lies there is larger than `most`, `Transient` when there is no answer.
    pub(crate) async fn download(&self, address: &str, most: usize) -> Result<Option<Vec<u8>>> {
        let url: Url =
            address.parse().map_err(|e| Error::rejected("Azure named an address that is none").because(e))?;
        require_https(&url)?;
        super::http::download(self.0.http.client()?, &url, most).await
    }

    /// Returns a key with an SSH certificate of whoever signs in, good for the next minutes at least.
    ///
    /// # Errors
    /// `Denied` when whoever signs in gets none, or Entra ID refuses; `Unsent` when it cannot be reached.
    pub async fn ssh_pass(&self) -> Result<SshPass> {
        self.0.tokens.ssh_pass().await
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// `Rejected` when there is none, and whatever else Azure says.
    pub async fn get(&self, cx: &Cx, path: &str, api: Api<'_>) -> Result<Value> {
        self.get_as(&cx.into(), path, api).await
    }

    pub(crate) async fn get_as(&self, origin: &Origin, path: &str, api: Api<'_>) -> Result<Value> {
        let (url, response) = self.exchange(origin, Method::Get, path, api, None).await?;
        resource(&url, response)
    }

    /// Reads a resource that may not exist.
    ///
    /// # Errors
    /// Whatever Azure says, other than that there is none.
    pub async fn find(&self, cx: &Cx, path: &str, api: Api<'_>) -> Result<Option<Value>> {
        self.find_as(&cx.into(), path, api).await
    }

    pub(crate) async fn find_as(&self, origin: &Origin, path: &str, api: Api<'_>) -> Result<Option<Value>> {
        let found = self.exchange(origin, Method::Get, path, api, None).await;
        match found.and_then(|(url, response)| resource(&url, response)) {
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

    pub(crate) async fn list_as(&self, origin: &Origin, path: &str, api: Api<'_>) -> Result<Vec<Value>> {
        let (mut url, mut response) = self.exchange(origin, Method::Get, path, api, None).await?;
        let mut seen = HashSet::new();
        let mut items = Vec::new();
        loop {
            let mut page = resource(&url, response)?;
            if let Some(Value::Array(mut values)) = page.get_mut("value").map(Value::take) {
                items.append(&mut values);
            }
            let Some(next) = page.get("nextLink").and_then(Value::as_str).filter(|link| !link.is_empty())
            else {
                return Ok(items);
            };
            // The link is opaque: used as it is, but only on Azure's own host.
            url = url
                .join(next)
                .map_err(|e| Error::rejected(format!("the list {path} continues nowhere")).because(e))?;
            if !seen.insert(url.clone()) || seen.len() >= PAGES {
                return Err(Error::rejected(format!(
                    "the list {path} does not end after {} pages",
                    seen.len()
                )));
            }
            response = self.read(origin, &url).await?;
            if !response.is_success() {
                return Err(error::refused(Method::Get, &url, &response));
            }
        }
    }

    /// Asks with a POST that changes nothing, such as one that lists credentials. What comes back may be a secret.
    ///
    /// # Errors
    /// Whatever Azure says.
    pub(crate) async fn ask(
        &self,
        origin: &Origin,
        path: &str,
        api: Api<'_>,
        body: Option<&Value>,
    ) -> Result<Value> {
        let payload = body.map(|body| Payload { shown: body, sent: body.clone() });
        let origin = origin.only_asking();
        let (url, response) = self.exchange(&origin, Method::Post, path, api, payload.as_ref()).await?;
        resource(&url, response)
    }

    /// Asks as [`ask`](Self::ask), for what is refused: returns the refusal, and nothing of what is granted.
    ///
    /// # Errors
    /// Whatever keeps Azure from answering.
    pub(crate) async fn refusal(
        &self,
        origin: &Origin,
        path: &str,
        api: Api<'_>,
        body: Option<&Value>,
    ) -> Result<Option<Error>> {
        let payload = body.map(|body| Payload { shown: body, sent: body.clone() });
        match self.exchange(&origin.only_asking(), Method::Post, path, api, payload.as_ref()).await {
            Ok(_) => Ok(None),
            Err(error) if error.status().is_some() && !error.kind().is_retryable() => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    /// Returns a client for upgrades to other protocols.
    pub(crate) fn upgrading(&self) -> Result<&reqwest::Client> {
        self.0.upgrading.client()
    }

    /// Sends a request that changes something, and reads the first answer.
    ///
    /// # Errors
    /// Whatever Azure says. `Unsent` when it certainly had no effect, `Transient` when that is unclear.
    pub async fn write(&self, cx: &Cx, write: Write<'_>) -> Result<Started> {
        let body = match write.body {
            Some(shown) => Some(Payload { shown, sent: cx.reveal(shown).await? }),
            None => None,
        };
        let origin = Origin::from(cx);
        let (url, response) =
            match self.exchange(&origin, write.method, write.path, write.api, body.as_ref()).await {
                // What is not there has been deleted.
                Err(error) if write.method == Method::Delete && is_absence(&error) => {
                    return Ok(Started::Done(Value::Null));
                }
                answer => answer?,
            };
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
            let (method, origin) = (lro.origin().0, lro.origin().1.clone());
            let response = match self.send(&cx.into(), request.method, &request.url, None, id).await {
                // What cannot be read says nothing about the operation.
                Err(error) if error.kind() == ErrorKind::Rejected => {
                    return Err(error::undecided(method, &origin, error));
                }
                answer => answer?,
            };
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
        let key = format!("{}?{}", api.kind.to_ascii_lowercase(), api.versions.join(","));
        let remembered = lock(&self.0.offered).get(&key).cloned();
        let mut version =
            remembered.unwrap_or_else(|| api.versions.first().copied().unwrap_or_default().to_owned());
        let mut tried = HashSet::new();
        let mut was_repeated = false;
        loop {
            let url = self.url(path, &version)?;
            let response = match method {
                Method::Get => self.read(origin, &url).await?,
                _ => self.send(origin, method, &url, body, None).await?,
            };
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
            let next = api
                .versions
                .iter()
                .find(|v| !tried.contains(**v) && offered.iter().any(|o| o.eq_ignore_ascii_case(v)));
            let Some(next) = next else {
                return Err(unknown_versions(api, &offered, error::refused(method, &url, &response)));
            };
            tracing::info!(kind = api.kind, refused = %version, chosen = %next, "another api-version");
            (*next).clone_into(&mut version);
        }
    }

    /// Sends a GET, and again when the moment was bad: one look at the world is made of many reads, and must not start
    /// over because each time another of them stumbles.
    async fn read(&self, origin: &Origin, url: &Url) -> Result<Response> {
        for pause in READ_PAUSES {
            match self.send(origin, Method::Get, url, None, None).await {
                Ok(response) if response.is_passing_trouble() && response.status != 429 => {}
                Ok(response) if response.is_success() && !is_resource(&response) => {}
                Err(error) if error.kind() == ErrorKind::Transient => {}
                answer => return answer,
            }
            self.0.clock.sleep(pause).await;
        }
        self.send(origin, Method::Get, url, None, None).await
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
            observe(&SentRequest { method, url: url.clone(), body, client_request_id: id.clone() });
        }
        let token = self.0.tokens.token().await?;
        let mut response = self.try_once(origin, method, url, body, &id, token.secret.expose()).await?;
        if response.status == 401 {
            let claims = response.header("www-authenticate").and_then(challenge_claims);
            let is_challenge = claims.is_some();
            let scope = self.0.cloud.scope();
            let fresh = self.0.tokens.instead_of(&scope, &token, claims).await?;
            response = self.try_once(origin, method, url, body, &id, fresh.secret.expose()).await?;
            if response.status == 401 {
                self.0.tokens.forget(&scope, &fresh).await;
                let error = error::refused(method, url, &response);
                let error = if is_challenge {
                    error.hint(
                        "an access policy asks for a new sign-in from here (continuous access evaluation)",
                    )
                } else {
                    error
                };
                return Err(self.credential().advise(error));
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
        let http = self.0.http.client()?;
        origin.may_send(method).await?;
        let mut request = http
            .request(verb, url.clone())
            .timeout(limit(method))
            .bearer_auth(token)
            .header("accept", "application/json")
            .header("x-ms-client-request-id", id)
            .header("x-ms-return-client-request-id", "true")
            .header("x-ms-correlation-request-id", origin.correlation_id());
        if let Some(payload) = body {
            request = request.header("content-type", "application/json").body(payload.sent.to_string());
        } else if !method.is_read() && method != Method::Delete {
            // Some gateways refuse a POST that does not say its length.
            request = request.header("content-length", "0");
        }
        let began = Instant::now();
        let response = receive(request, method, url).await;
        let status = response.as_ref().map_or(0, |r| r.status);
        let server_id = response.as_ref().ok().and_then(Response::request_id).unwrap_or_default();
        tracing::debug!(%method, path = url.path(), status, id, server_id, ms = began.elapsed().as_millis(), "arm");
        if let (Some(observe), Ok(answer)) = (&self.0.on_exchange, &response) {
            let request = body.map(|payload| payload.shown);
            observe(&Exchange { method, url, request, answer, step: origin.step.as_ref() });
        }
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
            .code(ErrorCode::BUSY)
            .retry_after(Some(turn)));
        }
        if !turn.is_zero() {
            tracing::debug!(seconds = turn.as_secs_f64(), "waiting for a turn");
            self.0.clock.sleep(turn).await;
        }
        Ok(())
    }

    fn learn(&self, bucket: &Bucket, method: Method, url: &Url, response: &Response) {
        let now = self.0.clock.now();
        let mut pacer = lock(&self.0.pacer);
        if let Some(left) = response.header(bucket.kind.header()).and_then(|text| text.parse().ok()) {
            pacer.handle_remaining(bucket, left, now);
        }
        if response.status == 429 && is_for_everybody(response) {
            let pause = error::refused(method, url, response).pause().unwrap_or_default();
            pacer.handle_refusal(bucket, pause, now);
        }
    }

    fn bucket(&self, method: Method, url: &Url) -> Bucket {
        let mut parts = url.path_segments().into_iter().flatten();
        let subscription =
            parts.next().filter(|word| word.eq_ignore_ascii_case("subscriptions")).and_then(|_| parts.next());
        Bucket {
            subscription: subscription.unwrap_or_default().to_ascii_lowercase(),
            principal: self.credential().describe(),
            kind: Kind::of(method),
        }
    }

    fn url(&self, path: &str, version: &str) -> Result<Url> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if let Some(why) = not_a_path(path, query) {
            return Err(Error::invalid(format!("`{path}` is not a path below {}: {why}", self.0.cloud.arm))
                .hint("a path starts with /subscriptions/ or /providers/; write names as they are"));
        }
        let mut url = self.0.cloud.arm.clone();
        url.set_path(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        url.query_pairs_mut().append_pair("api-version", version);
        Ok(url)
    }
}

/// Returns why a text cannot be the path of a request, or mean another one than it seems to.
fn not_a_path(path: &str, query: &str) -> Option<&'static str> {
    // An escape may stand for what is refused below, and what it stands for may be an escape again.
    let escapes = ["%2e", "%2f", "%5c", "%25", "%3f", "%23", "%7f", "%0", "%1"];
    let lower = path.to_ascii_lowercase();
    if !path.starts_with('/') {
        return Some("it does not start with `/`");
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        return Some("it has a part that leads elsewhere");
    }
    if path.contains(['\\', '#']) || escapes.iter().any(|escape| lower.contains(escape)) {
        return Some("it holds a sign that cannot stand in a name");
    }
    if path.chars().chain(query.chars()).any(char::is_control) {
        return Some("it holds a character that cannot be seen");
    }
    if query.contains('#') {
        return Some("`#` ends a query");
    }
    None
}

/// A body as it is shown and as it is sent.
struct Payload<'a> {
    shown: &'a Value,
    sent: Value,
}

/// Returns the resource or the list that an answer brings.
fn resource(url: &Url, response: Response) -> Result<Value> {
    if is_resource(&response) {
        return Ok(response.into_json());
    }
    Err(error::garbled(Method::Get, url, &response))
}

/// Returns whether a success brings anything at all: not `null`, half an answer, or a web page.
fn is_resource(response: &Response) -> bool {
    response.json().is_object() || response.json().is_array()
}

/// Returns whether an error says that there is no such resource (rather than no such subscription or type).
fn is_absence(error: &Error) -> bool {
    let elsewhere =
        ["SubscriptionNotFound", "InvalidSubscriptionId", "InvalidResourceNamespace", "InvalidResourceType"];
    error.status() == Some(404)
        && !error.service_code().is_some_and(|code| elsewhere.iter().any(|c| c.eq_ignore_ascii_case(code)))
}

/// Returns whether a 429 is about the subscription's bucket rather than one busy resource.
fn is_for_everybody(response: &Response) -> bool {
    let codes = ["TooManyRequests", "SubscriptionRequestsThrottled", "OperationNotAllowed"];
    ArmError::read(response.json()).is_none_or(|error| error.has_code(&codes))
}

/// Returns the api-versions that a refusal offers, when the refusal is about the api-version.
fn offered_versions(response: &Response) -> Option<Vec<String>> {
    let error = ArmError::read(response.json())?;
    if !error.has_code(&["NoRegisteredProviderFound", "InvalidResourceType", "InvalidApiVersionParameter"]) {
        return None;
    }
    let message = error.message.unwrap_or_default();
    let list = ["supported api-versions are '", "supported versions are '"]
        .iter()
        .find_map(|before| message.split_once(before))
        .map_or("", |(_, rest)| rest.split('\'').next().unwrap_or_default());
    Some(list.split(',').map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).collect())
}

fn unknown_versions(api: Api<'_>, offered: &[String], refusal: Error) -> Error {
    let message = format!(
        "Azure offers `{}` here with none of the api-versions known to work (known: {}; offered: {})",
        api.kind,
        api.versions.join(", "),
        if offered.is_empty() { "none".to_owned() } else { offered.join(", ") },
    );
    let service = refusal.service_error().cloned().unwrap_or_default();
    Error::rejected(message).service(service).because(refusal).hint(
        "the feature may not have reached this region yet; a newer Relight may know a newer api-version",
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside stays meaningful whatever panicked elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
