//! `[traces]`: where traces of runs go, by the file or by the variables that OpenTelemetry defines.
//!
//! ```toml
//! [traces]
//! endpoint = "http://127.0.0.1:4318"            # a collector; /v1/traces is added
//! headers = { authorization = "env:OTLP_AUTH" } # their values are secrets, and are named as such
//! service = "relight"                           # the name of the service
//! ca_bundle = "root.pem"                        # trusted besides the system's certificates
//! ```
//!
//! The environment goes before the file. An address there comes without the file's headers, which are meant for another one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use relight_engine::{Error, Result, Secret};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use toml::Spanned;

use super::receiver::parse;
use super::wrong::{Wrong, is_secret, wrong};

/// What the service is called where nobody says otherwise.
const SERVICE: &str = "relight";

/// The section as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    endpoint: Spanned<String>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    service: Option<String>,
    ca_bundle: Option<PathBuf>,
}

/// Where traces go.
#[derive(Clone, Debug)]
pub(crate) struct Traces {
    /// The address that takes them.
    pub(crate) url: Url,
    /// What is sent along to be let in.
    pub(crate) headers: Vec<(HeaderName, Header)>,
    /// What the service is called.
    pub(crate) service: String,
    /// Certificates that are trusted besides the system's.
    pub(crate) ca_bundle: Option<PathBuf>,
}

/// The value of a header.
#[derive(Clone, Debug)]
pub(crate) enum Header {
    /// The value itself, from the environment.
    Plain(Secret),
    /// The name of the secret that is the value.
    Named(String),
}

/// Returns what may be a secret that somebody wrote into the section.
pub(super) fn delicate(written: &Written) -> impl Iterator<Item = &Spanned<String>> {
    let endpoint = Some(&written.endpoint).filter(|endpoint| endpoint.get_ref().contains(['@', '?']));
    endpoint.into_iter().chain(written.headers.values())
}

impl Written {
    /// Reads the section; paths lie beside the file, which is in the folder `here`.
    pub(super) fn read(&self, here: &Path) -> Result<Traces, Wrong> {
        let base = parse(self.endpoint.get_ref()).map_err(|why| wrong(&self.endpoint, why))?;
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let Ok(name) = HeaderName::try_from(name.as_str()) else {
                return Err(wrong(value, "no header can have this name"));
            };
            if !is_secret(value.get_ref()) {
                let why = "name where the value is kept, such as env:NAME or keyvault:VAULT/NAME";
                return Err(wrong(value, why));
            }
            headers.push((name, Header::Named(value.get_ref().clone())));
        }
        Ok(Traces {
            url: with_path(base),
            headers,
            service: self.service.clone().unwrap_or_else(|| SERVICE.to_owned()),
            ca_bundle: self.ca_bundle.as_ref().map(|path| here.join(path)),
        })
    }
}

impl Traces {
    /// Returns the names of the secrets that let one in.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().filter_map(|(_, value)| match value {
            Header::Named(name) => Some(name.as_str()),
            Header::Plain(_) => None,
        })
    }

    /// Returns where traces go: by the environment, else by the file; nowhere when neither says so.
    ///
    /// # Errors
    /// `Invalid` when a variable cannot be used.
    pub(crate) fn chosen(
        file: Option<&Traces>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Traces>> {
        let is = |name: &str, value: &str| variable(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let first =
            |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, variable(name)?)));
        let own = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let protocol = first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
        let named = match (first(own), protocol) {
            // That address is for other programs.
            (Some((name, _)), Some((protocol, value))) if value.eq_ignore_ascii_case("grpc") => {
                tracing::warn!("{name} is left alone: {protocol} is grpc, and traces go by HTTP only");
                None
            }
            (named, _) => named,
        };
        let mut traces = match named {
            Some((name, text)) => {
                let url = parse(text.trim()).map_err(|why| unusable(name, why))?;
                let certificate = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
                Traces {
                    url: if name == own[0] { url } else { with_path(url) },
                    headers: Vec::new(),
                    service: file.map_or_else(|| SERVICE.to_owned(), |file| file.service.clone()),
                    ca_bundle: first(certificate).map(|(_, path)| PathBuf::from(path)),
                }
            }
            None => match file {
                Some(file) => file.clone(),
                None => return Ok(None),
            },
        };
        // Those for traces go before those for everything.
        for name in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
            let Some(text) = variable(name) else { continue };
            for (header, value) in pairs(&text).map_err(|why| unusable(name, why))? {
                traces.headers.retain(|(known, _)| *known != header);
                traces.headers.push((header, Header::Plain(value)));
            }
        }
        if let Some(service) = variable("OTEL_SERVICE_NAME") {
            traces.service = service;
        }
        Ok(Some(traces))
    }
}

/// Returns the address for traces below that of a collector.
fn with_path(mut base: Url) -> Url {
    let path = format!("{}/v1/traces", base.path().trim_end_matches('/'));
    base.set_path(&path);
    base
}

/// Reads `name=value,name=value`, with values as they are in an address.
fn pairs(text: &str) -> Result<Vec<(HeaderName, Secret)>, &'static str> {
    let mut pairs = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("it reads name=value,name=value")?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| "no header can have such a name")?;
        let value = decoded(value.trim()).filter(|value| HeaderValue::from_str(value).is_ok());
        pairs.push((name, Secret::new(value.ok_or("no header can have such a value")?)));
    }
    Ok(pairs)
}

/// Returns a text with its `%20` read as what they stand for.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

fn unusable(name: &str, why: &str) -> Error {
    Error::invalid(format!("{name} cannot be used: {why}"))
        .hint("mend the variable, or switch traces off with OTEL_SDK_DISABLED=true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        traces: Written,
    }

    fn look(text: &str) -> Result<Traces, (String, String)> {
        let text = format!("[traces]\n{text}");
        let file: File = toml::from_str(&text).map_err(|e| (String::new(), e.message().to_owned()))?;
        file.traces.read(Path::new("/etc/relight")).map_err(|(at, why)| (text[at].to_owned(), why))
    }

    fn chosen(file: Option<&Traces>, environment: &[(&str, &str)]) -> Result<Option<Traces>> {
        let variable =
            |name: &str| environment.iter().find(|(own, _)| *own == name).map(|it| it.1.to_owned());
        Traces::chosen(file, variable)
    }

    #[test]
    fn a_section_names_a_collector() {
        let traces = look("endpoint = \"https://otel.example/base/\"\nca_bundle = \"root.pem\"").unwrap();
        assert_eq!(traces.url.as_str(), "https://otel.example/base/v1/traces");
        assert_eq!(traces.ca_bundle, Some(PathBuf::from("/etc/relight/root.pem")));
        assert_eq!(traces.service, "relight");
        let local = look("endpoint = \"http://127.0.0.1:4318\"\nheaders = { x-key = \"env:K\" }").unwrap();
        assert_eq!(local.url.as_str(), "http://127.0.0.1:4318/v1/traces");
        assert!(
            matches!(&local.headers[..], [(name, Header::Named(secret))] if name == "x-key" && secret == "env:K")
        );
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let here = "endpoint = \"http://127.0.0.1:4318\"";
        for (text, at, says) in [
            (
                "endpoint = \"http://otel.example:4318\"".to_owned(),
                "\"http://otel.example:4318\"",
                "in the clear",
            ),
            ("endpoint = \"127.0.0.1:4318\"".to_owned(), "\"127.0.0.1:4318\"", "no address"),
            (
                "endpoint = \"https://a:b@otel.example\"".to_owned(),
                "\"https://a:b@otel.example\"",
                "password",
            ),
            (format!("{here}\nheaders = {{ x-key = \"abc\" }}"), "\"abc\"", "is kept"),
            (format!("{here}\nheaders = {{ \"x key\" = \"env:K\" }}"), "\"env:K\"", "name"),
            (format!("{here}\nheader = 1"), "", "unknown"),
            ("service = \"relight\"".to_owned(), "", "endpoint"),
        ] {
            let (found, why) = look(&text).expect_err(&text);
            assert_eq!(found, at, "{text}");
            assert!(why.contains(says), "{text}: {why}");
        }
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let file = look("endpoint = \"https://otel.example\"\nheaders = { x-key = \"env:K\" }").unwrap();
        let url = |traces: Option<Traces>| traces.map(|traces| traces.url.to_string());
        assert_eq!(url(chosen(None, &[]).unwrap()), None);
        assert_eq!(url(chosen(Some(&file), &[]).unwrap()).unwrap(), "https://otel.example/v1/traces");
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/");
        let other = chosen(Some(&file), &[base]).unwrap().unwrap();
        assert_eq!(other.url.as_str(), "http://localhost:4318/v1/traces");
        assert!(other.headers.is_empty(), "what lets one into one place is not sent to another");
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1]:9/in");
        assert_eq!(url(chosen(None, &[base, whole]).unwrap()).unwrap(), "http://[::1]:9/in");
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(url(chosen(Some(&file), &[base, off]).unwrap()), None);
        }
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        assert_eq!(url(chosen(None, &[base, grpc]).unwrap()), None);
        let error = chosen(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel.example:4318")]).unwrap_err();
        assert!(
            error.message().contains("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: this would cross"),
            "{error}"
        );
    }

    #[test]
    fn headers_of_the_environment_are_as_in_an_address() {
        let file = look("endpoint = \"https://otel.example\"\nheaders = { x-key = \"env:K\" }").unwrap();
        let all = ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20YTpi==, x-key=one,");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-key=two");
        let traces = chosen(Some(&file), &[all, own, ("OTEL_SERVICE_NAME", "edge")]).unwrap().unwrap();
        let shown: Vec<(&str, &str)> = traces
            .headers
            .iter()
            .map(|(name, value)| match value {
                Header::Plain(value) => (name.as_str(), value.expose()),
                Header::Named(name) => panic!("{name}"),
            })
            .collect();
        assert_eq!(shown, [("authorization", "Basic YTpi=="), ("x-key", "two")]);
        assert_eq!(traces.service, "edge");
        for wrong in ["key", "a b=c", "a=%", "a=%zz", "a=%0a"] {
            let error = chosen(Some(&file), &[("OTEL_EXPORTER_OTLP_HEADERS", wrong)]).unwrap_err();
            assert!(!error.message().contains(wrong), "{error}");
        }
    }
}
