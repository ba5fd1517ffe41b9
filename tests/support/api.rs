//! A `relight serve` that listens, beside the tests: started, asked, killed and started again.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::sealed::{Running, Sealed};
use super::world::speak_tls;

/// The longest that an answer or a state is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service in a sealed world, over the lab.
pub(crate) struct Served<'a> {
    pub(crate) running: Running<'a>,
    pub(crate) url: String,
    http: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answered {
    pub(crate) async fn read(response: Response) -> Self {
        let status = response.status().as_u16();
        Answered { status, text: response.text().await.expect("an answer") }
    }

    /// The answer as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The answer as JSON, after a certain status.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }
}

impl<'a> Served<'a> {
    /// Starts `relight serve --lab` at a free port of this machine.
    pub(crate) fn start(world: &'a Sealed) -> Self {
        Served::with(world, &[], &[])
    }

    /// Starts it with more arguments and variables.
    pub(crate) fn with(world: &'a Sealed, args: &[&str], variables: &[(&str, &str)]) -> Self {
        speak_tls();
        let mut serve = world.in_lab(["serve", "--listen", "127.0.0.1:0"]).args(args);
        for (name, value) in variables {
            serve = serve.env(name, value);
        }
        let mut running = serve.spawn();
        let line = running.wait_for("listening at");
        let (_, url) = line.split_once("listening at ").expect("an address");
        let http = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        Served { running, url: url.trim().to_owned(), http }
    }

    /// A request that is not sent yet.
    pub(crate) fn request(&self, token: &str, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.url));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answered {
        Answered::read(self.request(token, "GET", path).send().await.expect("an answer")).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Answered {
        let request = self.request(token, "POST", path).json(&body);
        Answered::read(request.send().await.expect("an answer")).await
    }

    /// Starts a run and returns its id.
    pub(crate) async fn begin(&self, token: &str, runbook: &str) -> String {
        let run = self.post(token, "/v1/runs", json!({ "runbook": runbook })).await.is(201);
        run["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until a run is in a state.
    pub(crate) async fn until(&self, token: &str, run: &str, state: &str) -> Value {
        let began = std::time::Instant::now();
        loop {
            let shown = self.get(token, &format!("/v1/runs/{run}")).await.is(200);
            if shown["status"] == state {
                return shown;
            }
            assert!(began.elapsed() < PATIENCE, "run {run} is not {state}: {shown:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The description of the API.
    pub(crate) async fn description(&self, token: &str) -> Value {
        self.get(token, "/v1/openapi.json").await.is(200)
    }
}

/// Makes a token.
pub(crate) fn token(world: &Sealed, args: &[&str]) -> String {
    world.in_lab(["token", "create"]).args(args).run().succeeds().trim().to_owned()
}

/// The operations of a description: method, path, and the rest.
pub(crate) fn operations(description: &Value) -> Vec<(String, String, &Value)> {
    let paths = description["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods");
        methods.iter().map(move |(method, about)| (method.to_uppercase(), path.clone(), about))
    });
    all.collect()
}

/// Server-sent events as they were sent: id, event, data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) id: Option<u64>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

/// Reads events until `is_enough` says so, or the stream ends.
pub(crate) async fn events(mut response: Response, mut is_enough: impl FnMut(&Sent) -> bool) -> Vec<Sent> {
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut text, mut all) = (String::new(), Vec::new());
    while let Some(chunk) = response.chunk().await.expect("events") {
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
        while let Some((one, rest)) = text.split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())) {
            text = rest;
            let field = |name: &str| one.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let (Some(event), Some(data)) = (field("event"), field("data")) else { continue };
            let id = field("id").map(|id| id.parse().expect("a number"));
            let data = serde_json::from_str(data).expect("JSON");
            let sent = Sent { id, event: event.to_owned(), data };
            let ends = is_enough(&sent);
            all.push(sent);
            if ends {
                return all;
            }
        }
    }
    all
}
