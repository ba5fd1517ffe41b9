//! One request to an address. Nothing of the address or of the secret that signs is ever in what is said about it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use relight_engine::{Result, SecretSource};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response};

use super::answer::Answer;
use super::message::Message;
use super::signature;
use crate::config::{Address, Form, parse_address};
use crate::outgoing::{client, reason, retry_after};

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
        let http = client(ca_bundle)?;
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
    let asked = retry_after(&response, Timestamp::now());
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
