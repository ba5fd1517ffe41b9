//! What an endpoint declares, and the same behind one type: a row of the table.
//!
//! Everything is said once. The path, the types of the query, the body and the answer, and who may ask are what the router goes by and
//! what the description is made of ([`openapi`](super::openapi)), so that the two cannot differ.

use async_trait::async_trait;
use futures::future::BoxFuture;
use hyper::{Method, StatusCode};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::call::{About, Call};
use super::fields;
use super::refusal::{Outcome, Refusal};
use super::reply::{Answer, Reply};
use super::tokens::Role;

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Anybody.
    Nothing,
    /// Whoever has a token of this role or a higher one.
    Role(Role),
    /// The same, unless the token is limited to runbooks: the answer is about all of them.
    WholeRole(Role),
}

/// What is written down about requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audited {
    /// Every one.
    Always,
    /// Those that were refused. For what a program asks every few seconds and nobody learns anything by.
    Refused,
}

/// A header that an endpoint reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) name: &'static str,
    /// A sentence about it.
    pub(super) says: &'static str,
    /// What it looks like, as a regular expression for whoever reads the description.
    pub(super) pattern: &'static str,
    /// Whether a value looks so.
    pub(super) fits: fn(&str) -> bool,
}

/// The header that makes asking again asking for the same.
pub(super) const IDEMPOTENCY_KEY: Header = Header {
    name: "Idempotency-Key",
    says: "Fixes the run's id, for this token, unless `id` does: whoever does not know whether a request has come through asks again.",
    pattern: "^[!-~]{1,200}$",
    fits: |key| (1..=200).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()),
};

/// A query without parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

/// No body, or one that is not read.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NoBody {}

/// One thing that can be asked of the service.
#[async_trait]
pub(super) trait Endpoint: Send + Sync + 'static {
    /// Its name: of the operation in the description, and in the metrics.
    const NAME: &'static str;
    /// Its method.
    const METHOD: Method;
    /// Its path, with `{places}`.
    const PATH: &'static str;
    /// One sentence about it.
    const SUMMARY: &'static str;
    /// Who may ask.
    const NEEDS: Needs;
    /// Whether it changes something: its row in the audit journal is on the disk before that.
    const CHANGES: bool = false;
    /// What is written down about it.
    const AUDITED: Audited = Audited::Always;
    /// Whether it takes a body.
    const TAKES_BODY: bool = false;
    /// The statuses with which it answers when all is well, the usual one first, and what each says.
    const GRANTED: &'static [(u16, &'static str)];
    /// The statuses of refusals that not every endpoint has.
    const REFUSED: &'static [u16] = &[];
    /// Headers that it reads.
    const HEADERS: &'static [Header] = &[];

    /// What may stand behind the path.
    type Query: DeserializeOwned + JsonSchema + Send;
    /// What the body says.
    type Body: DeserializeOwned + JsonSchema + Send;
    /// What is answered.
    type Answer: Answer;

    /// Says what a request is about, before anything is done for it.
    fn about(call: &Call, _: &Self::Body) -> About {
        let place = |name: &str| Some(call.place(name).to_owned()).filter(|value| !value.is_empty());
        About { runbook: place("runbook"), run: place("run") }
    }

    /// Answers.
    ///
    /// # Errors
    /// Why it is not granted.
    async fn answer(call: &Call, query: Self::Query, body: Self::Body) -> Outcome<Self::Answer>;
}

/// A request as it is read, before anything is done for it.
type Ready<'a> = (About, BoxFuture<'a, Outcome<Reply>>);
/// Reads a query and a body.
type Read = Box<dyn for<'a> Fn(&'a Call, Option<&str>, &[u8]) -> Outcome<Ready<'a>> + Send + Sync>;

/// An endpoint as a row of the table.
pub(super) struct Route {
    pub(super) name: &'static str,
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) needs: Needs,
    pub(super) changes: bool,
    pub(super) audited: Audited,
    pub(super) takes_body: bool,
    pub(super) granted: &'static [(u16, &'static str)],
    pub(super) refused: &'static [u16],
    pub(super) headers: &'static [Header],
    pub(super) media: Option<&'static str>,
    /// The schema of the query, without references.
    pub(super) query: Value,
    /// The schema of the body, without references.
    pub(super) body: Value,
    /// Makes the schema of the answer.
    pub(super) answer: fn(&mut SchemaGenerator) -> Schema,
    read: Read,
}

impl Route {
    /// Makes the row of an endpoint.
    pub(super) fn of<E: Endpoint>() -> Self {
        let query = inline(E::Query::json_schema);
        let fields = query.clone();
        let usual = E::GRANTED.first().and_then(|(code, _)| StatusCode::from_u16(*code).ok());
        let usual = usual.unwrap_or(StatusCode::OK);
        let read: Read = Box::new(move |call, query, body| {
            let query: E::Query = fields::read(query, &fields)?;
            check_headers(call, E::HEADERS)?;
            let body = object(if E::TAKES_BODY { body } else { b"{}" })?;
            let body: E::Body = serde_json::from_value(body).map_err(|e| wrong(&e))?;
            let about = E::about(call, &body);
            let answer = async move { Ok(E::answer(call, query, body).await?.reply(usual)) };
            let answer: BoxFuture<'_, Outcome<Reply>> = Box::pin(answer);
            Ok((about, answer))
        });
        Route {
            name: E::NAME,
            method: E::METHOD,
            path: E::PATH,
            summary: E::SUMMARY,
            needs: E::NEEDS,
            changes: E::CHANGES,
            audited: E::AUDITED,
            takes_body: E::TAKES_BODY,
            granted: E::GRANTED,
            refused: E::REFUSED,
            headers: E::HEADERS,
            media: E::Answer::MEDIA,
            query,
            body: inline(E::Body::json_schema),
            answer: E::Answer::schema,
            read,
        }
    }

    /// Reads a request. What it returns answers it, and has done nothing yet.
    ///
    /// # Errors
    /// 400 or 422, when the query or the body is not right.
    pub(super) fn read<'a>(&self, call: &'a Call, query: Option<&str>, body: &[u8]) -> Outcome<Ready<'a>> {
        (self.read)(call, query, body)
    }

    /// Returns what stands in the places of a path, if it is one of this endpoint.
    pub(super) fn places(&self, segments: &[String]) -> Option<Vec<(&'static str, String)>> {
        let mut places = Vec::new();
        let own = self.path.split('/').skip(1);
        if own.clone().count() != segments.len() {
            return None;
        }
        for (own, sent) in own.zip(segments) {
            match own.strip_prefix('{').and_then(|place| place.strip_suffix('}')) {
                Some(place) if !sent.is_empty() => places.push((place, sent.clone())),
                None if own == sent => {}
                _ => return None,
            }
        }
        Some(places)
    }

    /// Returns the names of the places of its path.
    pub(super) fn place_names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// Returns the schema of what is read, without references.
fn inline(of_type: fn(&mut SchemaGenerator) -> Schema) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    of_type(&mut settings.into_generator()).to_value()
}

fn check_headers(call: &Call, headers: &[Header]) -> Outcome<()> {
    for header in headers {
        let mut sent = call.headers.get_all(header.name).iter();
        if !sent.all(|value| value.to_str().is_ok_and(header.fits)) {
            return Err(Refusal::bad(format!("the header {} is not right", header.name))
                .hint(format!("it looks like {}", header.pattern)));
        }
    }
    Ok(())
}

/// Reads a body as any JSON first: serde would take a list of values for a map without names.
fn object(body: &[u8]) -> Outcome<Value> {
    let body: Value = serde_json::from_slice(body).map_err(|e| unreadable(&e))?;
    match body.is_object() {
        true => Ok(body),
        false => Err(Refusal::invalid("the body is no object").hint(DESCRIBED)),
    }
}

/// Where the shape of a body is found.
const DESCRIBED: &str = "GET /v1/openapi.json describes it";

fn unreadable(error: &serde_json::Error) -> Refusal {
    Refusal::bad("the body is no JSON").hint(format!(
        "look at line {}, column {}",
        error.line(),
        error.column()
    ))
}

fn wrong(error: &serde_json::Error) -> Refusal {
    let refusal = Refusal::invalid("the body is not as described").hint(DESCRIBED);
    let said = error.to_string();
    // Others repeat a value, which may be a secret at a wrong place.
    match said.starts_with("missing field") || said.starts_with("unknown field") {
        true => refusal.hint(said),
        false => refusal,
    }
}
