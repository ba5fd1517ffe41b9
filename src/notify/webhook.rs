//! One request to an address. Nothing of the address or of the secret that signs is ever in what is said about it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::{Error, Result, SecretSource};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response};

use super::answer::{Answer, retry_after};
use super::message::Message;
use super::signature;
use crate::config::{Address, Form, parse_address};
use crate::trust::certificates;

/// How long it may take to be connected.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a request may take in all.
const REQUEST: Duration = Duration::from_secs(10);
/// How much of an answer is read: a word that says what was wrong.
const WORD: usize = 64;

/// An address that takes requests.
pub(super) struct Webhook {
    http: Client,
    address: Address,
    form: Form,
    secrets: Arc<dyn SecretSource>,
}

impl Webhook {
    /// Makes one. Nothing is sent yet, and no secret is asked for.
    ///
    /// # Errors
    /// `Invalid` when the certificates cannot be used.
    pub(super) fn new(
        address: &Address,
        form: &Form,
        ca_bundle: Option<&Path>,
        secrets: Arc<dyn SecretSource>,
    ) -> Result<Self> {
        let mut http = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("relight/", env!("CARGO_PKG_VERSION")));
        if let Some(bundle) = ca_bundle {
            http = http.tls_certs_merge(certificates(bundle)?);
        }
        let http = http.build().map_err(|e| Error::invalid("TLS cannot be set up").because(e))?;
        Ok(Webhook { http, address: address.clone(), form: form.clone(), secrets })
    }

    /// Sends a message.
    pub(super) async fn send(&self, message: &Message) -> Answer {
        let url = match &self.address {
            Address::Plain(url) => url.clone(),
            Address::Secret(name) => match self.secrets.reveal(name).await {
                Err(error) => return Answer::not_now(error.message()),
                Ok(secret) => match parse_address(secret.expose().trim()) {
                    Ok(url) => url,
                    Err(why) => return Answer::not_now(format!("the secret {name} cannot be used: {why}")),
                },
            },
        };
        let body = match self.form {
            Form::Teams => message.teams(),
            Form::Slack => message.slack(),
            Form::Signed(_) => message.payload(),
        };
        let body = body.to_string();
        let mut request = self.http.post(url).header(CONTENT_TYPE, "application/json");
        if let Form::Signed(name) = &self.form {
            let key = match self.secrets.reveal(name).await {
                Err(error) => return Answer::not_now(error.message()),
                Ok(secret) => signature::key(secret.expose().trim()),
            };
            let key = match key {
                Ok(key) => key,
                Err(why) => return Answer::not_now(format!("the secret {name} cannot be used: {why}")),
            };
            // The time of the attempt, by which whoever checks it knows that it is no old one.
            let now = Timestamp::now();
            request = request
                .header("webhook-id", message.id())
                .header("webhook-timestamp", now.as_second().to_string())
                .header("webhook-signature", signature::sign(&key, message.id(), now, body.as_bytes()));
        }
        match request.body(body).send().await {
            Ok(response) => read(response).await,
            Err(error) => Answer::not_now(reason(&error)),
        }
    }
}

async fn read(mut response: Response) -> Answer {
    let status = response.status().as_u16();
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let asked = asked.and_then(|text| retry_after(text, Timestamp::now()));
    // Of a success nothing is read.
    let word = match response.status().is_success() {
        true => None,
        false => word(&mut response).await,
    };
    Answer::of_status(status, word.as_deref(), asked)
}

/// Returns the word with which Slack says what is wrong, such as `invalid_blocks`. What else an answer says may hold anything, the
/// address with its secret among that, and is not read.
async fn word(response: &mut Response) -> Option<String> {
    let chunk = response.chunk().await.ok()??;
    let text = std::str::from_utf8(chunk.get(..chunk.len().min(WORD + 1))?).ok()?.trim();
    let is_word = (3..=WORD).contains(&text.len())
        && text.contains('_')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && !response.url().as_str().contains(text);
    is_word.then(|| text.to_owned())
}

/// Says what went wrong with a request, without the address.
fn reason(error: &reqwest::Error) -> String {
    let what = match () {
        () if error.is_timeout() => "no answer came in time",
        () if error.is_connect() => "it cannot be reached",
        () => "the request came to no answer",
    };
    // The innermost cause is the system's, or that of TLS; addresses are in those around it.
    let mut cause = std::error::Error::source(error);
    let mut said = None;
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            said = Some(io.kind().to_string());
        }
        cause = inner.source();
    }
    match said.filter(|_| !error.is_timeout()) {
        Some(said) => format!("{what}: {said}"),
        None => what.to_owned(),
    }
}
