//! Requests to a service: whose token, which answers, and the events of a run as they come.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::journal::{Delivery, DeliveryFilter};
use relight_engine::{Error, ErrorKind, Event, Notice, Result, RunId};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use crate::config::Remote;
use crate::environment::variable;
use crate::platform::is_this_machine;
use crate::trust::certificates;

/// How long the service may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);
/// How long it may say nothing: when there is nothing to say it says so every fifteen seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// As many things as a service lists at once.
const MOST: usize = 500;
/// The variable that holds the token. No argument does: others on the machine read those.
const TOKEN: &str = "RELIGHT_TOKEN";
/// The header that makes asking again asking for the same.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// A service, and the token with which it is asked.
#[derive(Clone)]
pub(crate) struct Client {
    url: Arc<Url>,
    token: Arc<str>,
    http: reqwest::Client,
}

impl Client {
    /// Makes a client of a service. Nothing is sent yet.
    ///
    /// # Errors
    /// `Invalid` when the address cannot be used or the token would cross a network in the clear, `Denied` when there is no token.
    pub(crate) fn new(url: &str, config: &Remote) -> Result<Self> {
        let wrong = |why: &str| {
            Error::invalid(format!("`{url}` is no address of a service: {why}"))
                .hint("write for example --server http://127.0.0.1:7411")
        };
        let parsed = Url::parse(url).map_err(|e| wrong(&e.to_string()))?;
        match (parsed.scheme(), is_this_machine(&parsed)) {
            ("https", _) | ("http", true) => {}
            ("http", false) => {
                return Err(Error::invalid(format!(
                    "the token would cross the network to {url} in the clear"
                ))
                .hint("use https://"));
            }
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        }
        let token = match (variable(TOKEN), &config.token_file) {
            (Some(token), _) => token,
            (None, Some(file)) => read(file)?,
            (None, None) => {
                return Err(Error::new(ErrorKind::Denied, format!("there is no token for {url}"))
                    .hint(format!("set {TOKEN} to one that `relight token create` printed there"))
                    .hint("or name a file with it: `token_file` below [remote] in relight.toml"));
            }
        };
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("relight/", env!("CARGO_PKG_VERSION")));
        if let Some(bundle) = &config.ca_bundle {
            http = http.tls_certs_merge(certificates(bundle)?);
        }
        let http = http.build().map_err(|e| Error::invalid("TLS cannot be set up").because(e))?;
        Ok(Client { url: Arc::new(parsed), token: token.into(), http })
    }

    /// Returns what follows a command to mean the same service.
    pub(crate) fn option(&self) -> String {
        format!(" --server {}", crate::format::quoted(self.url.as_str().trim_end_matches('/')))
    }

    /// Returns the time by which the service goes.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        let about = self.get(&["v1", "about"], &[]).await?;
        about["now"].as_str().and_then(|now| now.parse().ok()).ok_or_else(|| self.strange("it says no time"))
    }

    /// Asks for something that is there.
    ///
    /// # Errors
    /// `Unsent` when the service is not reached, `Denied` when the token may not, `Invalid` for what else is refused.
    pub(crate) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value> {
        self.found(path, query)
            .await?
            .ok_or_else(|| Error::invalid(format!("{} is not there", path.join("/"))))
    }

    /// Asks for something that may be there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn found(&self, path: &[&str], query: &[(&str, String)]) -> Result<Option<Value>> {
        let answer = self.send(self.request(Method::GET, path, query)?).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            _ => self.read(answer).await.map(Some),
        }
    }

    /// Asks for the content of a file that a run wrote.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn file(&self, run: &RunId, path: &str) -> Result<Vec<u8>> {
        let query = [("path", path.to_owned())];
        let answer =
            self.send(self.request(Method::GET, &["v1", "runs", run.as_str(), "file"], &query)?).await?;
        if !answer.status().is_success() {
            return Err(self.read(answer).await.err().unwrap_or_else(|| self.strange("it sends no file")));
        }
        let content = answer.bytes().await.map_err(|e| {
            Error::new(ErrorKind::Transient, format!("the file {path} broke off")).because(e.without_url())
        })?;
        Ok(content.into())
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn post(&self, path: &[&str], body: &Value) -> Result<Value> {
        let answer = self.send(self.request(Method::POST, path, &[])?.json(body)).await?;
        self.read(answer).await
    }

    /// Asks for a change that is another one each time, once: who does not hear the answer asks again, and means the same.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn post_once(&self, path: &[&str], body: &Value) -> Result<Value> {
        let key = RunId::fresh();
        again(async || {
            let request = self.request(Method::POST, path, &[])?.header(IDEMPOTENCY_KEY, key.as_str());
            self.read(self.send(request.json(body)).await?).await
        })
        .await
    }

    /// Asks for something to be taken away.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<()> {
        let answer = self.send(self.request(Method::DELETE, path, &[])?).await?;
        match answer.status() {
            StatusCode::NO_CONTENT => Ok(()),
            _ => self.read(answer).await.map(drop),
        }
    }

    /// Starts a run as a request says, once: who does not hear the answer asks again, and means the same run.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn start(&self, request: Value) -> Result<RunId> {
        let id = RunId::fresh();
        let mut body = request;
        body["id"] = Value::from(id.as_str());
        again(async || self.post(&["v1", "runs"], &body).await).await.map(|_| id)
    }

    /// Asks what receivers were told, and are to be told.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn notifications(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>> {
        let mut query = vec![("limit", filter.limit.clamp(1, MOST).to_string())];
        query.extend(filter.receiver.clone().map(|receiver| ("receiver", receiver)));
        query.extend(filter.state.map(|state| ("state", state.as_str().to_owned())));
        let mut answer = self.get(&["v1", "notifications"], &query).await?;
        serde_json::from_value(answer["notifications"].take())
            .map_err(|e| self.strange("it sends notifications that cannot be read").because(e))
    }

    /// Follows the events of a run from behind one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn follow(&self, run: &RunId, after: u64) -> Result<Followed> {
        let path = ["v1", "runs", run.as_str(), "events"];
        let answer = self.send(self.request(Method::GET, &path, &[("after", after.to_string())])?).await?;
        match answer.status() {
            StatusCode::OK => Ok(Followed { answer, text: Vec::new() }),
            _ => Err(self.read(answer).await.err().unwrap_or_else(|| self.strange("it sends no events"))),
        }
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Result<RequestBuilder> {
        let mut url = (*self.url).clone();
        url.path_segments_mut()
            .map_err(|()| self.strange("its address has no path"))?
            .pop_if_empty()
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.http.request(method, url).bearer_auth(&self.token))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        request.send().await.map_err(|e| {
            let kind = if e.is_connect() { ErrorKind::Unsent } else { ErrorKind::Transient };
            Error::new(kind, format!("the service at {} does not answer", self.url))
                .because(e.without_url())
                .hint("does it run there? `relight serve --listen ..` says where it listens")
        })
    }

    async fn read(&self, answer: Response) -> Result<Value> {
        let status = answer.status();
        let body: Value = answer
            .json()
            .await
            .map_err(|e| self.strange("it sends what is no JSON").because(e.without_url()))?;
        if status.is_success() {
            return Ok(body);
        }
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
            status if status.is_client_error() => ErrorKind::Invalid,
            _ => ErrorKind::Transient,
        };
        let told = &body["error"];
        let message = told["message"].as_str().unwrap_or("the service refuses").to_owned();
        let hints = told["hints"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Err(hints.fold(Error::new(kind, message), |error, hint| error.hint(hint)))
    }

    fn strange(&self, why: &str) -> Error {
        Error::rejected(format!("what answers at {} is no relight service: {why}", self.url))
    }
}

/// The events of a run as they come.
pub(crate) struct Followed {
    answer: Response,
    text: Vec<u8>,
}

impl Followed {
    /// Returns the next event; nothing when the stream has ended, which it also does when the service ends.
    ///
    /// # Errors
    /// `Transient` when it broke off.
    pub(crate) async fn next(&mut self, run: &RunId) -> Result<Option<Notice>> {
        loop {
            while let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let one: Vec<u8> = self.text.drain(..end + 2).collect();
                let one = String::from_utf8_lossy(&one);
                let data = one.lines().find_map(|line| line.strip_prefix("data: "));
                if let Some(notice) = data.and_then(|data| notice(run, data)) {
                    return Ok(Some(notice));
                }
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.text.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(e) => {
                    return Err(
                        Error::new(ErrorKind::Transient, "the events broke off").because(e.without_url())
                    );
                }
            }
        }
    }
}

/// Asks again, once, for what means the same each time, when nobody knows whether it has come through.
async fn again<T>(ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    match ask().await {
        Err(error) if error.kind().is_retryable() => ask().await,
        answer => answer,
    }
}

/// Reads a line that tells of an event. One that a later version has added is passed over.
fn notice(run: &RunId, line: &str) -> Option<Notice> {
    let (seq, at, event) = event(serde_json::from_str(line).ok()?)?;
    // As the journal reads it: what reads an event from anything but text would be compiled a second time.
    let event: Event = serde_json::from_str(&event.to_string()).ok()?;
    Some(Notice::new(run.clone(), seq, at, event))
}

/// Takes a line apart: the number, the time, and the event as the journal keeps it.
pub(super) fn event(line: Value) -> Option<(Option<u64>, Timestamp, Value)> {
    let Value::Object(mut line) = line else { return None };
    line.remove("run");
    let seq = line.remove("seq").and_then(|seq| seq.as_u64());
    let at = line.remove("time")?.as_str()?.parse().ok()?;
    Some((seq, at, Value::Object(line)))
}

fn read(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).map_err(|e| {
        Error::new(ErrorKind::Denied, format!("the token in {} cannot be read", file.display())).because(e)
    })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_crosses_no_network_in_the_clear() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "rlt_1\n").unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Remote { token_file: Some(file), ca_bundle: None };
        for good in
            ["http://127.0.0.1:1", "http://localhost:1/", "http://[::1]:1", "https://example.com/relight"]
        {
            assert!(Client::new(good, &config).is_ok(), "{good}");
        }
        for wrong in
            ["http://example.com", "http://127.0.0.1.example.com", "ftp://localhost", "localhost:1", ""]
        {
            assert!(Client::new(wrong, &config).is_err(), "{wrong}");
        }
    }
}
