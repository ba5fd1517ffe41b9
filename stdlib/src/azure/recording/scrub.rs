//! Takes out of an exchange what says whose it is.
//!
//! What is known to say nothing stays: the words of Azure, states, types, versions, moments, numbers. Everything else gets
//! another name, the same one each time. So a text of which nobody thought is replaced, and not kept.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;
use serde_json::{Map, Value};

use super::words::{
    address, is_common, is_field, is_letters, is_moment, is_namespace, is_open, is_plain, is_region,
    is_secret, is_spoken, is_uuid, is_version,
};
use super::{Recorded, in_public_cloud};
use crate::azure::client::Exchange;
use crate::azure::wire::{Method, same_origin};

/// What stands in the place of a secret.
const MASKED: &str = "masked";
/// The headers that decide something.
const HEADERS: [&str; 9] = [
    "azure-asyncoperation",
    "content-type",
    "date",
    "location",
    "retry-after",
    "retry-after-ms",
    "x-ms-error-code",
    "x-ms-failure-cause",
    "x-ms-retry-after-ms",
];
/// Parameters of an address of which Azure says what they may be.
const ASKED: [&str; 9] = [
    "api-version",
    "$expand",
    "$filter",
    "$orderby",
    "$top",
    "expiresin",
    "isasync",
    "monitor",
    "sasuriexpirationtimeinminutes",
];
/// Signs between which the words of a sentence stand.
const BETWEEN: &[char] = &['\'', '"', '`', '(', ')', '[', ']', '{', '}', '<', '>', ',', ';', '|', '='];

/// Gives names, ids, addresses and whatever else is somebody's own another name: the same text the same one, however its
/// letters are written.
#[derive(Default)]
pub struct Scrubber {
    /// What names are called, by the name in lower case. They are looked for in sentences, too.
    names: HashMap<String, String>,
    /// What other texts are called: whole texts, not words.
    texts: HashMap<String, String>,
    counts: HashMap<String, usize>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It knows what everything is really called.
        f.write_str("Scrubber(..)")
    }
}

impl Scrubber {
    /// Returns a sentence of Azure's without what is somebody's own.
    pub fn sentence(&mut self, text: &str) -> String {
        Pass { others: self, arm: None, is_known_secret: &|_| false }.sentence(text)
    }

    /// Returns an exchange as it can be handed on.
    pub(super) fn exchange(&mut self, exchange: &Exchange<'_>) -> Recorded {
        let is_known_secret = |text: &str| exchange.holds_secret(text);
        let mut pass = Pass { others: self, arm: Some(exchange.url), is_known_secret: &is_known_secret };
        // First the address: what stands in it is a name wherever else it is met.
        let url = pass.url(exchange.url);
        let request = exchange.request.map_or(Value::Null, |body| pass.value(body, Place::default()));
        let answer = exchange.answer;
        let headers = answer
            .headers()
            .filter(|(name, _)| HEADERS.contains(name) || name.starts_with("x-ms-ratelimit-remaining-"))
            .map(|(name, value)| (name.to_owned(), Value::from(pass.header(name, value))))
            .collect();
        let gives = exchange.method == Method::Post && gives_credentials(exchange.url.path());
        let body = match answer.text() {
            None => pass.value(answer.json(), Place { is_secret: gives, ..Place::default() }),
            Some(_) => Value::from("no JSON"),
        };
        Recorded { method: exchange.method.to_string(), url, request, status: answer.status, headers, body }
    }

    /// Returns what a text is called, if that is settled.
    fn known(&self, text: &str) -> Option<String> {
        let key = text.to_lowercase();
        self.names.get(&key).or_else(|| self.texts.get(&key)).cloned()
    }

    /// Returns what a text is called in its place.
    fn other(&mut self, text: &str, kind: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        if let Some(known) = self.known(text) {
            return known;
        }
        let count = self.counts.entry(kind.to_owned()).or_default();
        *count += 1;
        let other = match kind {
            "uuid" => format!("00000000-0000-0000-0000-{count:012}"),
            // A range of documentation or of measurements for each: nobody's own.
            "private" => format!("10.{}.{}.{}", *count >> 16 & 255, *count >> 8 & 255, *count & 255),
            "public" => format!("198.18.{}.{}", *count >> 8 & 255, *count & 255),
            "ipv6" => format!("2001:db8::{count:x}"),
            "host" => format!("host-{count}.example"),
            kind => format!("{kind}-{count}"),
        };
        let map = match kind {
            "text" | "query" | "part" | "field" => &mut self.texts,
            _ => &mut self.names,
        };
        map.insert(text.to_lowercase(), other.clone());
        other
    }
}

/// Where in a body a value stands.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    /// The field that holds it, or holds the list in which it is.
    field: &'a str,
    /// Nothing in it is written.
    is_secret: bool,
    /// Somebody's own names and texts alone are in it.
    is_open: bool,
    /// It is part of a refusal: messages are Azure's.
    is_refusal: bool,
}

/// One exchange on its way through a scrubber.
struct Pass<'a> {
    others: &'a mut Scrubber,
    /// An address of Azure Resource Manager.
    arm: Option<&'a Url>,
    is_known_secret: &'a dyn Fn(&str) -> bool,
}

impl Pass<'_> {
    fn value(&mut self, value: &Value, place: Place<'_>) -> Value {
        match value {
            Value::Null | Value::Bool(_) => value.clone(),
            Value::Number(number) => match place.is_secret || (self.is_known_secret)(&number.to_string()) {
                true => Value::from(MASKED),
                false => value.clone(),
            },
            Value::String(text) => Value::from(self.text(text, place)),
            Value::Array(items) => items.iter().map(|item| self.value(item, place)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| {
                    let inner = Place {
                        field: name,
                        is_secret: place.is_secret || is_secret(name),
                        is_open: place.is_open || is_open(name),
                        is_refusal: place.is_refusal || matches!(name.as_str(), "error" | "errors"),
                    };
                    (self.field(name, place), self.value(value, inner))
                });
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    fn field(&mut self, name: &str, place: Place<'_>) -> String {
        match is_field(name) && !place.is_open && !(self.is_known_secret)(name) {
            true => name.to_owned(),
            false => self.own(name, "field"),
        }
    }

    fn text(&mut self, text: &str, place: Place<'_>) -> String {
        let field = place.field.to_ascii_lowercase();
        if text.is_empty() {
            return String::new();
        }
        if place.is_secret || (self.is_known_secret)(text) {
            return MASKED.to_owned();
        }
        if !place.is_open {
            if field.contains("version") && is_version(text) {
                return text.to_owned();
            }
            if matches!(field.as_str(), "location" | "locations" | "region") && is_region(text) {
                return text.to_owned();
            }
            if is_spoken(&field) || (place.is_refusal && field == "message") {
                return self.sentence(text);
            }
        }
        self.own(text, if field.ends_with("name") { "name" } else { "text" })
    }

    /// Returns what stands in the place of somebody's own text. Its form is kept: an id stays an id.
    fn own(&mut self, text: &str, kind: &str) -> String {
        let lower = text.to_lowercase();
        if let Some(known) = self.others.known(text) {
            return known;
        }
        if is_common(text) || is_moment(text) {
            return text.to_owned();
        }
        if lower.starts_with("/subscriptions/") || lower.starts_with("/providers/") {
            return self.place(text);
        }
        if lower.starts_with("https://") || lower.starts_with("http://") {
            return match text.parse() {
                Ok(url) => self.url(&url),
                Err(_) => self.others.other(text, kind),
            };
        }
        if is_uuid(text) {
            return self.others.other(text, "uuid");
        }
        if let Some((address, prefix)) = address(text) {
            return self.address(address) + prefix;
        }
        self.others.other(text, if text.contains('@') { "user" } else { kind })
    }

    fn address(&mut self, address: IpAddr) -> String {
        let kind = match address {
            _ if address.is_unspecified() || address == IpAddr::V4(Ipv4Addr::LOCALHOST) => {
                return address.to_string();
            }
            IpAddr::V4(v4) if v4.is_private() => "private",
            IpAddr::V4(_) => "public",
            IpAddr::V6(_) => "ipv6",
        };
        self.others.other(&address.to_string(), kind)
    }

    /// Returns a sentence word by word: Azure's words stay.
    fn sentence(&mut self, text: &str) -> String {
        if (self.is_known_secret)(text) {
            return MASKED.to_owned();
        }
        let mut out = String::new();
        let (mut rest, mut before) = (text, ' ');
        while !rest.is_empty() {
            // An address ends where it is quoted, and not before its query.
            let is_url = rest.starts_with("https://") || rest.starts_with("http://");
            let ends = |c: char| {
                c.is_whitespace() || if is_url { "'\"`<>".contains(c) } else { BETWEEN.contains(&c) }
            };
            let end = rest.find(ends).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            let sign = behind.chars().next();
            // What alone stands in quotes is a name.
            let is_quoted = sign.is_some_and(|sign| matches!(sign, '\'' | '"' | '`') && sign == before);
            out.push_str(&self.word(word, is_quoted));
            out.extend(sign);
            before = sign.unwrap_or(' ');
            rest = &behind[sign.map_or(0, char::len_utf8)..];
        }
        out
    }

    fn word(&mut self, word: &str, is_quoted: bool) -> String {
        let bare = word.trim_end_matches(['.', ':', '!', '?']);
        let other = match self.others.names.get(&bare.to_lowercase()) {
            Some(known) => known.clone(),
            None if is_common(bare) => bare.to_owned(),
            None if is_quoted && is_letters(bare) => self.others.other(bare, "text"),
            None if bare.is_empty() || is_plain(bare) => bare.to_owned(),
            None if bare.starts_with('/') => self.place(bare),
            None => self.own(bare, "text"),
        };
        other + &word[bare.len()..]
    }

    /// Returns an address. Those of Azure Resource Manager become those of the public cloud.
    fn url(&mut self, url: &Url) -> String {
        if self.arm.is_some_and(|arm| same_origin(arm, url)) {
            let origin = in_public_cloud(url);
            let place = match url.query() {
                Some(query) => format!("{}?{query}", url.path()),
                None => url.path().to_owned(),
            };
            return format!("{}{}", origin.origin().ascii_serialization(), self.place(&place));
        }
        let host = self.others.other(url.host_str().unwrap_or_default(), "host");
        let path: String = url
            .path_segments()
            .into_iter()
            .flatten()
            .map(|part| format!("/{}", self.others.other(part, "part")))
            .collect();
        format!("https://{host}{path}{}", if url.query().is_some() { "?masked" } else { "" })
    }

    /// Returns an id or the path of an address, perhaps with a query behind it.
    fn place(&mut self, text: &str) -> String {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let path = self.path(path);
        match query {
            Some(query) => format!("{path}?{}", self.query(query)),
            None => path,
        }
    }

    /// Names stand behind the types of which they are, so that each other part is one.
    fn path(&mut self, path: &str) -> String {
        let mut parts = Vec::new();
        let mut of: Option<String> = None;
        for part in path.split('/') {
            let plain = decoded(part);
            parts.push(match of.take() {
                _ if part.is_empty() => String::new(),
                Some(kind) if kind == "providers" && is_namespace(&plain) => plain,
                Some(kind) => self.name(&plain, &kind),
                None if is_letters(&plain) && !(self.is_known_secret)(&plain) => {
                    of = Some(match plain.to_ascii_lowercase().as_str() {
                        "providers" => "providers".to_owned(),
                        _ => plain.clone(),
                    });
                    plain
                }
                None => self.others.other(&plain, "part"),
            });
        }
        parts.join("/")
    }

    fn name(&mut self, name: &str, kind: &str) -> String {
        match kind.to_ascii_lowercase().as_str() {
            _ if (self.is_known_secret)(name) => MASKED.to_owned(),
            "subscriptions" => self.others.other(name, "uuid"),
            "locations" if is_region(name) => name.to_owned(),
            _ if is_common(name) => name.to_owned(),
            _ if is_uuid(name) => self.others.other(name, "uuid"),
            _ => self.others.other(name, kind),
        }
    }

    fn query(&mut self, query: &str) -> String {
        let Ok(asked) = Url::parse(&format!("https://query/?{query}")) else { return MASKED.to_owned() };
        let mut out = asked.clone();
        let mut pairs = out.query_pairs_mut();
        pairs.clear();
        for (name, value) in asked.query_pairs() {
            let is_asked = ASKED.contains(&name.to_ascii_lowercase().as_str());
            let value = match is_asked {
                _ if value.is_empty() => String::new(),
                true => self.sentence(&value),
                false => self.others.other(&value, "query"),
            };
            let is_own = !is_asked && !is_field(&name);
            let name = if is_own { self.others.other(&name, "query") } else { name.into_owned() };
            pairs.append_pair(&name, &value);
        }
        drop(pairs);
        out.query().unwrap_or_default().replace("%24", "$")
    }

    fn header(&mut self, name: &str, value: &str) -> String {
        match name {
            "azure-asyncoperation" | "location" => match self.arm.and_then(|arm| arm.join(value).ok()) {
                Some(url) => self.url(&url),
                None => MASKED.to_owned(),
            },
            "content-type" if value.starts_with("application/json") => value.to_owned(),
            _ => self.sentence(value),
        }
    }
}

/// Returns whether an action gives out what somebody else could use: keys, credentials, signed addresses.
fn gives_credentials(path: &str) -> bool {
    let action = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    ["list", "retrieve", "generate", "regenerate", "get", "begin", "export"]
        .iter()
        .any(|verb| action.starts_with(verb))
}

/// Returns a part of a path without its escapes.
fn decoded(part: &str) -> String {
    let query = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D").replace('#', "%23");
    let url = Url::parse(&format!("https://query/?{query}"));
    url.ok()
        .and_then(|url| url.query_pairs().next().map(|(name, _)| name.into_owned()))
        .unwrap_or_else(|| part.to_owned())
}

#[cfg(test)]
mod tests;
