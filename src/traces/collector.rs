//! One request to a collector, as OTLP over HTTP wants it. Neither its address nor what lets one in is ever in what is said about it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::{Result, Secret, SecretSource};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};
use serde_json::Value;

use crate::config::{Header, Traces};
use crate::outgoing::{client, reason, retry_after};

/// How much of an answer is read.
const ANSWER: usize = 64 * 1024;

/// Who takes spans.
pub(super) struct Collector {
    http: Client,
    url: Url,
    headers: Vec<(HeaderName, Header)>,
    secrets: Arc<dyn SecretSource>,
}

/// What a collector made of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// It has the spans, but for so many.
    Taken {
        /// How many it refused.
        refused: u64,
    },
    /// Not now; perhaps later.
    NotNow {
        /// Why, without any secret.
        because: String,
        /// The pause that it asks for.
        asked: Option<Duration>,
        /// Whether it did not answer at all.
        is_away: bool,
    },
    /// Never, as they are.
    Refused {
        /// Why, without any secret.
        because: String,
    },
}

impl Collector {
    /// Makes one. Nothing is sent yet, and no secret is asked for.
    ///
    /// # Errors
    /// `Invalid` when its certificates cannot be used.
    pub(super) fn new(traces: &Traces, secrets: Arc<dyn SecretSource>) -> Result<Self> {
        let http = client(traces.ca_bundle.as_deref())?;
        Ok(Collector { http, url: traces.url.clone(), headers: traces.headers.clone(), secrets })
    }

    /// Sends a body.
    pub(super) async fn send(&self, body: String) -> Answer {
        let headers = match self.headers().await {
            Ok(headers) => headers,
            Err(because) => return Answer::NotNow { because, asked: None, is_away: true },
        };
        let request = self.http.post(self.url.clone()).headers(headers);
        match request.header(CONTENT_TYPE, "application/json").body(body).send().await {
            Ok(response) => read(response).await,
            Err(error) => Answer::NotNow { because: reason(&error), asked: None, is_away: true },
        }
    }

    async fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let value = match value {
                Header::Plain(value) => value.clone(),
                Header::Named(secret) => {
                    self.secrets.reveal(secret).await.map_err(|error| error.message().to_owned())?
                }
            };
            headers.insert(
                name,
                delicate(&value).ok_or_else(|| format!("no header `{name}` can hold its secret"))?,
            );
        }
        Ok(headers)
    }
}

fn delicate(value: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value.expose().trim()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn read(mut response: Response) -> Answer {
    let status = response.status().as_u16();
    let asked = retry_after(&response, Timestamp::now());
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER {
            break;
        }
    }
    answer(status, &body, asked)
}

/// Returns what an answer says. Only these four may be sent again, says the protocol.
fn answer(status: u16, body: &[u8], asked: Option<Duration>) -> Answer {
    let because = format!("it answered {status}");
    match status {
        200..=299 => Answer::Taken { refused: refused(body) },
        429 | 502 | 503 | 504 => Answer::NotNow { because, asked, is_away: false },
        300..=399 => Answer::Refused {
            because: format!("{because}: it wants the spans elsewhere, which is not followed"),
        },
        _ => Answer::Refused { because },
    }
}

/// Returns how many spans a success has refused: a whole number of 64 bits, as a string or not.
fn refused(body: &[u8]) -> u64 {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let refused = &body["partialSuccess"]["rejectedSpans"];
    refused.as_u64().or_else(|| refused.as_str()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means_is_as_the_protocol_has_it() {
        for (status, body, expected) in [
            (200, "{}", 0),
            (200, "", 0),
            (204, "", 0),
            (200, r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#, 3),
            (200, r#"{"partialSuccess":{"rejectedSpans":2}}"#, 2),
            (200, r#"{"partialSuccess":{"errorMessage":"a word of advice"}}"#, 0),
        ] {
            let answer = answer(status, body.as_bytes(), None);
            assert!(matches!(answer, Answer::Taken { refused } if refused == expected), "{body}: {answer:?}");
        }
        for status in [429, 502, 503, 504] {
            let asked = Some(Duration::from_secs(7));
            let answer = answer(status, b"", asked);
            assert!(matches!(&answer, Answer::NotNow { asked: Some(_), is_away: false, .. }), "{answer:?}");
        }
        for status in [301, 400, 401, 403, 404, 408, 413, 500, 501] {
            let answer = answer(status, b"", None);
            assert!(matches!(&answer, Answer::Refused { .. }), "{status}: {answer:?}");
        }
    }
}
