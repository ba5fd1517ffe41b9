//! Requests and responses as plain values, so that everything above them can be tested without a socket.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The shortest pause that a service's own word is taken for: a `Retry-After: 0` must not make us ask without one.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest text of an answer that an error or a log shows.
const EXCERPT: usize = 400;

/// An HTTP method that Azure Resource Manager knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Put,
    Patch,
    Post,
    Delete,
}

impl Method {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }

    /// Returns the method of a word on the wire.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Method::Get, Method::Head, Method::Put, Method::Patch, Method::Post, Method::Delete];
        all.into_iter().find(|method| method.as_str() == word)
    }

    /// Returns whether the method asks without changing anything.
    pub fn is_read(self) -> bool {
        matches!(self, Method::Get | Method::Head)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to send, without the headers that every request carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole address.
    pub url: Url,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    headers: BTreeMap<String, String>,
    body: Body,
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq)]
enum Body {
    Json(Value),
    /// Not JSON: a proxy's web page, a plain word, half an answer. Only its beginning is kept.
    Text(String),
}

impl Response {
    /// Makes a response from what came over the wire. Header names are compared without case.
    pub fn new<N, V>(status: u16, headers: impl IntoIterator<Item = (N, V)>, body: &[u8]) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let body = if body.iter().all(u8::is_ascii_whitespace) {
            Body::Json(Value::Null)
        } else {
            serde_json::from_slice(body)
                .map_or_else(|_| Body::Text(excerpt(&String::from_utf8_lossy(body))), Body::Json)
        };
        let headers = headers.into_iter().map(|(n, v)| (n.into().to_ascii_lowercase(), v.into())).collect();
        Response { status, headers, body }
    }

    /// Returns a header, named in lower case. An empty one counts as absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    /// Returns every header, with names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the body as JSON; `null` when it is empty or something else.
    pub fn json(&self) -> &Value {
        match &self.body {
            Body::Json(value) => value,
            Body::Text(_) => &Value::Null,
        }
    }

    /// Returns the body as JSON by value; `null` when it is empty or something else.
    pub fn into_json(self) -> Value {
        match self.body {
            Body::Json(value) => value,
            Body::Text(_) => Value::Null,
        }
    }

    /// Returns the beginning of a body that is not JSON.
    pub fn text(&self) -> Option<&str> {
        match &self.body {
            Body::Json(_) => None,
            Body::Text(text) => Some(text),
        }
    }

    /// Returns whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns whether the status says "ask again later", without a word about the operation asked about.
    pub fn is_passing_trouble(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504)
    }

    /// Returns the service's id of the request, for a support case.
    pub fn request_id(&self) -> Option<&str> {
        self.header("x-ms-request-id").or_else(|| self.header("x-ms-correlation-request-id"))
    }

    /// Returns how long the service wants us to wait (milliseconds, seconds or a date), but at least a second.
    ///
    /// A date is measured against the answer's own `Date`, so no clock is needed.
    pub fn retry_after(&self) -> Option<Duration> {
        self.asked_pause().map(|pause| pause.max(SHORTEST_PAUSE))
    }

    fn asked_pause(&self) -> Option<Duration> {
        for name in ["retry-after-ms", "x-ms-retry-after-ms"] {
            if let Some(ms) = self.header(name).and_then(|v| v.parse().ok()) {
                return Some(Duration::from_millis(ms));
            }
        }
        let text = self.header("retry-after")?;
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let (until, now) = (http_date(text)?, http_date(self.header("date")?)?);
        Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
    }
}

/// Reads an RFC 1123 date such as `Fri, 20 Nov 2026 10:00:00 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()
}

/// Returns the beginning of a text on one line: what a log or an error may show of something unbounded.
pub fn excerpt(text: &str) -> String {
    shortened(text, EXCERPT)
}

/// Returns at most `limit` characters of a text, on one line.
pub fn shortened(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (count, word) in text.split_whitespace().enumerate() {
        if count > 0 {
            out.push(' ');
        }
        out.push_str(word);
        if out.len() > limit {
            let end = (0..=limit).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
            out.truncate(end);
            out.push('…');
            return out;
        }
    }
    out
}

/// Returns a URL without its query: poll URLs carry signatures that work like passwords.
pub fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    shortened(url.as_str(), EXCERPT)
}

/// Returns whether two URLs have the same scheme, host and port. The default port may be written out.
pub fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&str, &str)]) -> Response {
        Response::new(200, headers.iter().copied(), b"")
    }

    #[test]
    fn every_way_to_ask_for_a_pause_is_understood() {
        for (headers, expected) in [
            (vec![], None),
            (vec![("Retry-After", "15")], Some(15_000)),
            (vec![("Retry-After", "")], None),
            (vec![("Retry-After", "soon")], None),
            (vec![("retry-after-ms", "2500"), ("Retry-After", "15")], Some(2500)),
            (vec![("x-ms-retry-after-ms", "4000"), ("Retry-After", "15")], Some(4000)),
            (vec![("retry-after-ms", "40")], Some(1000)),
            (vec![("Retry-After", "0")], Some(1000)),
            (
                vec![
                    ("Retry-After", "Fri, 20 Nov 2026 10:01:30 GMT"),
                    ("Date", "Fri, 20 Nov 2026 10:00:00 GMT"),
                ],
                Some(90_000),
            ),
            (
                vec![
                    ("Retry-After", "Fri, 20 Nov 2026 09:00:00 GMT"),
                    ("Date", "Fri, 20 Nov 2026 10:00:00 GMT"),
                ],
                Some(1000),
            ),
            (vec![("Retry-After", "Fri, 20 Nov 2026 10:01:30 GMT")], None),
        ] {
            assert_eq!(with(&headers).retry_after(), expected.map(Duration::from_millis), "{headers:?}");
        }
    }

    #[test]
    fn bodies_that_are_not_json_are_kept_short() {
        let page = format!("<html>{}</html>", "x".repeat(100_000));
        let response = Response::new(200, [("a", "b")], page.as_bytes());
        assert!(response.json().is_null());
        assert!(response.text().unwrap().len() < 500);
        assert!(Response::new(200, [("a", "b")], b" \r\n").json().is_null());
        assert_eq!(shortened("ä ö ü", 3), "ä …");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let arm: Url = "https://management.azure.com".parse().unwrap();
        for (other, same) in [
            ("https://management.azure.com:443/x", true),
            ("https://MANAGEMENT.azure.com/x", true),
            ("http://management.azure.com/x", false),
            ("https://management.azure.com:444/x", false),
            ("https://management.azure.com.evil.example/x", false),
            ("https://management.azure.com@evil.example/x", false),
        ] {
            assert_eq!(same_origin(&arm, &other.parse().unwrap()), same, "{other}");
        }
    }
}
