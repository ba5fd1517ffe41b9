//! From a request to its answer: which endpoint is meant, who asks, whether they may, and what is written down about it.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use jiff::Timestamp;
use relight_engine::RunId;

use super::audit::Entry;
use super::call::{About, Call, Shared, bearer};
use super::endpoint::{Audited, Needs, Route};
use super::endpoints;
use super::fields::decoded;
use super::refusal::{Outcome, Refusal};
use super::reply::{Reply, json};
use super::tokens::{Grant, Role};

/// The largest body.
const LARGEST: usize = 1 << 20;
/// How much more than that is read before a connection is hung up on.
const PATIENT: usize = 16 << 20;
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(30);
/// The header that names the request, as the audit journal does.
const REQUEST: HeaderName = HeaderName::from_static("x-request-id");

/// Answers requests.
pub(super) struct Router {
    shared: Arc<Shared>,
    table: Vec<Route>,
}

/// A request whose endpoint is known and whose sender may ask.
struct Admitted {
    /// Which row of the table.
    route: usize,
    call: Call,
    query: Option<String>,
    body: Bytes,
}

impl Router {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Router { shared, table: endpoints::table() }
    }

    /// Answers a request. Whatever goes wrong is an answer, too.
    pub(super) async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let began = Instant::now();
        let mut entry = Entry {
            at: Timestamp::now(),
            request: RunId::fresh().to_string(),
            token: None,
            role: None,
            method: request.method().as_str().chars().take(20).collect(),
            path: Entry::path_of(request.uri().path()),
            runbook: None,
            run: None,
            status: None,
        };
        let id = entry.request.clone();
        let mut endpoint = "unknown";
        let admitted = self.admit(request, &mut entry, &mut endpoint).await;
        let reply = match admitted {
            Ok(admitted) => {
                let router = self.clone();
                // Whoever asked may go away; what was begun is done all the same, and written down.
                let done = tokio::spawn(async move { router.perform(admitted, entry).await }).await;
                done.unwrap_or_else(|_| refused(internal(), &id))
            }
            Err(refusal) => {
                entry.status = Some(refusal.status.as_u16());
                match self.shared.audit.note(&entry).await {
                    Ok(()) => refused(refusal, &id),
                    Err(error) => refused(error.into(), &id),
                }
            }
        };
        self.shared.metrics.count(endpoint, reply.status().as_u16(), began.elapsed());
        reply
    }

    /// Finds out what is asked for, and lets in who may ask it.
    async fn admit<B>(
        &self,
        request: Request<B>,
        entry: &mut Entry,
        endpoint: &mut &'static str,
    ) -> Outcome<Admitted>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let segments: Option<Vec<String>> =
            head.uri.path().split('/').skip(1).map(|part| decoded(part, false)).collect();
        let fitting = |segments: &Vec<String>| {
            let rows = self.table.iter().enumerate();
            rows.filter_map(|(row, route)| Some((row, route.places(segments)?))).collect::<Vec<_>>()
        };
        let fitting = segments.as_ref().map(fitting).unwrap_or_default();
        let chosen = fitting.iter().find(|(row, _)| self.table[*row].method == head.method).cloned();
        let is_open = fitting.iter().any(|(row, _)| self.table[*row].needs == Needs::Nothing);
        if let Some((row, places)) = &chosen {
            *endpoint = self.table[*row].name;
            let place = |name| places.iter().find(|(known, _)| *known == name).map(|(_, it)| it.clone());
            (entry.run, entry.runbook) = (place("run"), place("runbook"));
        }
        // Without a token nobody learns even what there is.
        let grant = if is_open { None } else { Some(self.grant(&head.headers)?) };
        entry.token = grant.as_ref().map(|grant| grant.name.clone());
        entry.role = grant.as_ref().map(|grant| grant.role.as_str().to_owned());
        let Some((row, places)) = chosen else {
            let allowed: Vec<&str> =
                fitting.iter().map(|(row, _)| self.table[*row].method.as_str()).collect();
            return Err(match allowed.is_empty() {
                true => Refusal::not_found("there is nothing at this path")
                    .hint("GET /v1/openapi.json says what there is"),
                false => {
                    let allowed = allowed.join(", ");
                    let refusal = Refusal::new(
                        StatusCode::METHOD_NOT_ALLOWED,
                        "method_not_allowed",
                        format!("this path does not know the method {}", entry.method.escape_debug()),
                    );
                    refusal.hint(format!("it knows {allowed}")).allow(allowed)
                }
            });
        };
        let route = &self.table[row];
        if let Some(grant) = &grant {
            may(grant, route.needs)?;
        }
        let body = match route.takes_body {
            true => read_body(head.headers.get(CONTENT_TYPE), body).await?,
            false => Bytes::new(),
        };
        let query = head.uri.query().map(str::to_owned);
        let call = Call {
            shared: self.shared.clone(),
            grant,
            places,
            headers: head.headers,
            about: Mutex::default(),
        };
        Ok(Admitted { route: row, call, query, body })
    }

    fn grant(&self, headers: &hyper::HeaderMap) -> Outcome<Grant> {
        let nobody = |message: &str| Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
        let token = bearer(headers).ok_or_else(|| {
            nobody("a token is needed")
                .hint("send `Authorization: Bearer ..` with what `relight token create` printed")
        })?;
        self.shared.tokens.find(token, Timestamp::now())?.ok_or_else(|| {
            nobody("the token is worth nothing: it is unknown, has expired or was revoked")
                .hint("make one with `relight token create`")
        })
    }

    /// Does what is asked for, and writes down that it was asked.
    async fn perform(&self, admitted: Admitted, mut entry: Entry) -> Reply {
        let id = entry.request.clone();
        let Admitted { route, call, query, body } = admitted;
        let route = &self.table[route];
        let (reply, row) = match route.read(&call, query.as_deref(), &body) {
            Err(refusal) => (refused(refusal, &id), None),
            Ok((about, answer)) => {
                entry.runbook = about.runbook.map(|runbook| brief(&runbook));
                entry.run = about.run.map(|run| brief(&run));
                let row = match route.changes {
                    true => match self.shared.audit.begin(&entry).await {
                        Ok(row) => Some(row),
                        // What cannot be written down is not done.
                        Err(error) => return refused(error.into(), &id),
                    },
                    false => None,
                };
                let answered = AssertUnwindSafe(answer).catch_unwind().await;
                let reply = match answered {
                    Ok(Ok(reply)) => named(reply, &id),
                    Ok(Err(refusal)) => refused(refusal, &id),
                    Err(_) => refused(internal(), &id),
                };
                (reply, row)
            }
        };
        entry.status = Some(reply.status().as_u16());
        let About { runbook, run } = call.about.into_inner().unwrap_or_else(PoisonError::into_inner);
        entry.runbook = runbook.or(entry.runbook);
        entry.run = run.or(entry.run);
        let is_silent = route.audited == Audited::Refused && reply.status().is_success();
        let written = match row {
            Some(row) => self.shared.audit.end(row, &entry).await,
            None if is_silent => Ok(()),
            None => self.shared.audit.note(&entry).await,
        };
        match written {
            Ok(()) => reply,
            // It is done, and its row says that it was begun.
            Err(_) if row.is_some() => reply,
            Err(error) => refused(error.into(), &id),
        }
    }
}

/// Makes sure that a token may ask.
fn may(grant: &Grant, needs: Needs) -> Outcome<()> {
    let (role, is_whole) = match needs {
        Needs::Nothing => return Ok(()),
        Needs::Role(role) => (role, false),
        Needs::WholeRole(role) => (role, true),
    };
    if grant.role < role {
        return Err(Refusal::forbidden(format!(
            "this needs a token of the role `{}`, and this one has `{}`",
            role.as_str(),
            grant.role.as_str()
        ))
        .hint(format!("make one: relight token create NAME --role {}", Role::as_str(role))));
    }
    match is_whole && grant.runbooks.is_some() {
        true => Err(Refusal::forbidden("this is about all runbooks, and the token is limited to some")
            .hint("use a token that is not limited")),
        false => Ok(()),
    }
}

async fn read_body<B>(media: Option<&HeaderValue>, body: B) -> Outcome<Bytes>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let media = media.and_then(|media| media.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body must be JSON",
        )
        .hint("send `Content-Type: application/json`"));
    }
    let read = async {
        let (mut body, mut whole, mut bytes) = (std::pin::pin!(body), Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(|_| Refusal::bad("the body was cut short"))?;
            let data = data.into_data().unwrap_or_default();
            bytes += data.len();
            if bytes <= LARGEST {
                whole.extend_from_slice(&data);
            } else if bytes <= PATIENT {
                // Who is still writing does not read the refusal: what comes is let go of for a while.
                whole = Vec::new();
            } else {
                break;
            }
        }
        Ok((bytes, whole))
    };
    match tokio::time::timeout(BODY_TIME, read).await {
        Ok(Ok((0..=LARGEST, body))) => Ok(body.into()),
        Ok(Ok(_)) => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body has more than {LARGEST} bytes"),
        )),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => {
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body took longer than 30 seconds"))
        }
    }
}

fn internal() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed to answer")
        .hint("the log of the service says more; please report it")
}

/// Returns a text that a client chose, short enough to be kept.
fn brief(text: &str) -> String {
    Entry::path_of(text)
}

fn refused(refusal: Refusal, request: &str) -> Reply {
    let (status, allow) = (refusal.status, refusal.allow.clone());
    let mut reply = json(status, &refusal.told(request));
    let headers = reply.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(allow) = allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
        headers.insert(ALLOW, allow);
    }
    named(reply, request)
}

fn named(mut reply: Reply, request: &str) -> Reply {
    if let Ok(request) = HeaderValue::try_from(request) {
        reply.headers_mut().insert(REQUEST, request);
    }
    reply
}
