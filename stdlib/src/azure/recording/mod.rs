//! What was said between Azure Resource Manager and us, as a file that can be handed on and replayed.
//!
//! ```text
//! exchange ──► Scrubber: names and ids become others, what is secret becomes `masked` ──► Recorder: one more in the file
//! ```
//!
//! A file says nothing about whose machines these are, and still replays: the same id is the same other id everywhere, so the
//! address in a header is the one that is asked next.

mod replay;
mod scrub;
mod words;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use replay::Replayed;
pub use scrub::Scrubber;

use super::client::Exchange;

/// A recording, as its file holds it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Recording {
    /// Who made it.
    pub source: String,
    /// What was said, in the order of the answers.
    pub exchanges: Vec<Recorded>,
}

/// A request and its answer.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Recorded {
    /// The method.
    pub method: String,
    /// The whole address, as that of the public cloud.
    pub url: String,
    /// The body that was sent; `null` for none.
    #[serde(default)]
    pub request: Value,
    /// The HTTP status.
    pub status: u16,
    /// The headers that decide something, by their names in lower case.
    pub headers: Map<String, Value>,
    /// The body that came back, as JSON; a text when it was none.
    pub body: Value,
}

/// Takes exchanges down as they come.
#[derive(Debug)]
pub struct Recorder {
    scrubber: Scrubber,
    /// The file but for its end.
    text: String,
    is_empty: bool,
}

impl Recorder {
    /// Begins a recording; `source` says who makes it.
    pub fn new(source: &str) -> Self {
        let text = format!("{{\n\"source\": {},\n\"exchanges\": [", Value::from(source));
        Recorder { scrubber: Scrubber::default(), text, is_empty: true }
    }

    /// Takes an exchange down.
    pub fn add(&mut self, exchange: &Exchange<'_>) {
        let recorded = self.scrubber.exchange(exchange);
        // Texts, numbers and names alone: nothing of it can fail to be written.
        let Ok(line) = serde_json::to_string(&recorded) else { return };
        self.text.push_str(if self.is_empty { "\n" } else { ",\n" });
        self.text.push_str(&line);
        self.is_empty = false;
    }

    /// Returns the file as it is by now: whole, whatever follows.
    pub fn text(&self) -> String {
        format!("{}\n]\n}}\n", self.text)
    }
}

/// Returns an address in the place where every recording stands, whichever cloud it is of.
fn in_public_cloud(url: &Url) -> Url {
    let mut url = url.clone();
    // Neither fails for an https address.
    let _ = url.set_host(Some("management.azure.com"));
    let _ = url.set_port(None);
    url
}
