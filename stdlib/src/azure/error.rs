//! Azure's refusals and failures as this project's errors: what happened, may it be tried again, who acts next.
//!
//! Owns the reading of every error body that Azure is known to send, and the table that sorts them. Texts are
//! bounded, and the query of a URL is never shown: in a poll URL it works like a password.

use std::time::Duration;

use jiff::Timestamp;
use relight_engine::{Error, ErrorCode, ErrorKind, NextStep, ServiceError};
use reqwest::Url;
use serde_json::{Map, Value};

use super::inner::{InnerErrors, Outer, field, word};
use super::wire::{Method, Response, shortened, without_query};

/// The longest message of Azure's that is shown.
const MESSAGE: usize = 800;
/// The longest text anywhere inside `details`.
const DETAIL: usize = 1000;
/// How many `details` are kept.
const DETAILS: usize = 10;
/// How long to wait for another write on the same resource, when Azure does not say.
const BUSY: Duration = Duration::from_secs(60);
/// The longest pause that is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// One error of Azure's in any of the envelopes that services use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmError {
    /// The code, as text even when a service sent a number.
    pub code: Option<String>,
    /// The message, bounded.
    pub message: Option<String>,
    /// What it is about.
    pub target: Option<String>,
    /// Nested errors. JSON that was hidden in a message stands beside it as `error`.
    pub details: Vec<Value>,
    /// What a policy or a lock added, and the service's inner error.
    pub extra: Vec<Value>,
}

impl ArmError {
    /// Returns the innermost errors, unless they only repeat this one.
    pub(super) fn inner(&self) -> Option<InnerErrors> {
        let outer = Outer { code: self.code.as_deref(), message: self.message.as_deref() };
        InnerErrors::of(outer, self.details.iter().chain(&self.extra))
    }

    /// Reads an error out of a body, when there is one.
    pub fn read(body: &Value) -> Option<Self> {
        let map = body.as_object()?;
        let inner = field(map, "error").and_then(Value::as_object).unwrap_or(map);
        let error = ArmError {
            code: field(inner, "code").and_then(word),
            message: field(inner, "message").and_then(word).map(|m| shortened(&m, MESSAGE)),
            target: field(inner, "target").and_then(word).map(|t| shortened(&t, DETAIL)),
            details: list(inner, "details"),
            extra: list(inner, "additionalInfo")
                .into_iter()
                .chain(field(inner, "innererror").map(|v| bounded(v, 0)))
                .collect(),
        };
        (error.code.is_some() || error.message.is_some()).then_some(error)
    }

    /// Returns whether this error or one nested directly in it has one of these codes.
    pub fn has_code(&self, codes: &[&str]) -> bool {
        let nested = self.details.iter().filter_map(|d| field(d.as_object()?, "code")?.as_str());
        self.code
            .as_deref()
            .into_iter()
            .chain(nested)
            .any(|code| codes.iter().any(|c| c.eq_ignore_ascii_case(code)))
    }

    /// Returns every text in which Azure may have hidden a number of seconds.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let nested = self.details.iter().filter_map(|d| field(d.as_object()?, "message")?.as_str());
        self.message.as_deref().into_iter().chain(nested)
    }

    /// Returns code and message in one line.
    fn line(&self) -> Option<String> {
        match (&self.code, &self.message) {
            (Some(code), Some(message)) => Some(format!("{code}: {message}")),
            (code, message) => code.as_ref().or(message.as_ref()).cloned(),
        }
    }
}

/// Returns the error that a refused request stands for.
pub fn refused(method: Method, url: &Url, response: &Response) -> Error {
    let arm = ArmError::read(response.json()).unwrap_or_default();
    let verdict = sort(response.status, &arm);
    let said =
        arm.line().or_else(|| response.text().map(str::to_owned)).unwrap_or_else(|| "no reason given".into());
    let message = format!("{method} {} was refused with {}: {said}", shown(url), response.status);
    let mut error =
        told(Error::new(verdict.kind, message), &arm, Some(response.status), response.request_id());
    if verdict.kind.is_retryable() {
        let asked = response.retry_after().or_else(|| pause_in(&arm, response));
        error = error.retry_after(asked.or(verdict.pause).map(|pause| pause.min(LONGEST_PAUSE)));
    }
    verdict.hints.into_iter().fold(error, Error::hint)
}

/// Adds what Azure said to an error: for scripts as data, for people the innermost errors as its cause.
pub fn told(error: Error, arm: &ArmError, status: Option<u16>, request_id: Option<&str>) -> Error {
    let mut service = ServiceError::default();
    service.code.clone_from(&arm.code);
    service.status = status;
    service.target.clone_from(&arm.target);
    service.details = arm.details.iter().chain(&arm.extra).cloned().collect();
    service.request_id = request_id.map(str::to_owned);
    let error = error.service(service);
    let error = match arm.inner() {
        Some(inner) => error.because(inner),
        None => error,
    };
    match code(status, arm) {
        Some(code) => error.code(code),
        None => error,
    }
}

/// Returns the stable code of what Azure said. Its own codes differ from service to service.
fn code(status: Option<u16>, arm: &ArmError) -> Option<ErrorCode> {
    match status {
        Some(404) => Some(ErrorCode::NOT_FOUND),
        Some(429) => Some(ErrorCode::BUSY),
        Some(409) if arm.has_code(&BUSY_CODES) => Some(ErrorCode::BUSY),
        _ => None,
    }
}

/// Returns the error of an operation that was accepted and then ended in failure.
pub fn failed(method: Method, url: &Url, state: &str, body: &Value, request_id: Option<&str>) -> Error {
    let arm = ArmError::read(body).unwrap_or_default();
    let said = arm.line().unwrap_or_else(|| "no reason given".into());
    let message =
        format!("{method} {} was accepted and ended as {}: {said}", shown(url), shortened(state, 40));
    let error = told(Error::rejected(message), &arm, None, request_id);
    // A failed operation is never `Unsent` or `Transient`: asking for its outcome again gives the same answer.
    sort(0, &arm).hints.into_iter().fold(error, Error::hint)
}

/// Returns the error of a resource that stands as failed after a request was accepted.
///
/// A new or replaced resource that failed did so now. One that was changed in part may have failed long before.
pub fn ended(method: Method, url: &Url, state: &str, body: &Value, request_id: Option<&str>) -> Error {
    let error = failed(method, url, state, body, request_id);
    if method != Method::Patch || ArmError::read(body).is_some() {
        return error;
    }
    let message = format!(
        "{method} {} was accepted; the resource's provisioning state is {}",
        shown(url),
        shortened(state, 40)
    );
    let service = error.service_error().cloned().unwrap_or_default();
    Error::rejected(message)
        .service(service)
        .hint("the state may be that of an earlier change: read the resource to see whether this one holds")
}

/// Returns the error of a request that was accepted with an address that must not be asked.
pub fn unfollowed(method: Method, url: &Url, why: &str) -> Error {
    let message = format!(
        "{method} {} was accepted, and its status is at {why}; the sign-in token is not sent there",
        shown(url)
    );
    Error::new(ErrorKind::Transient, message)
        .hint("this is not how Azure answers: check that nothing stands between this machine and Azure")
}

/// Returns the error of a request that was accepted and whose status nobody gives. A missing role stays one.
pub fn undecided(method: Method, url: &Url, refusal: Error) -> Error {
    if refusal.kind() == ErrorKind::Denied {
        return refusal;
    }
    let message = format!("{method} {} was accepted, and how it stands cannot be read", shown(url));
    let service = refusal.service_error().cloned().unwrap_or_default();
    let pause = refusal.pause();
    Error::new(ErrorKind::Transient, message).service(service).retry_after(pause).because(refusal)
}

/// Returns the error of an answer that is longer than any of Azure's. A write may have had its effect.
pub fn oversized(method: Method, url: &Url, limit: usize) -> Error {
    let kind = if method.is_read() { ErrorKind::Rejected } else { ErrorKind::Transient };
    let error = Error::new(kind, format!("{method} {} got an answer of more than {limit} bytes", shown(url)));
    if method.is_read() {
        return error.hint("ask for less: fewer resources, a filter, a smaller page");
    }
    error
}

/// Returns the error of a request that got no answer.
pub fn unanswered(method: Method, url: &Url, error: reqwest::Error) -> Error {
    let host = url.host_str().unwrap_or_default();
    // Whatever fails before the connection stands (names, routes, TLS) cannot have had an effect.
    let made = if let Some(untrusted) = untrusted(host, &error) {
        untrusted
    } else if error.is_connect() || error.is_builder() {
        Error::new(ErrorKind::Unsent, format!("failed to connect to {host}")).hint(format!(
            "check the network and the proxy settings: can this machine reach https://{host} ?"
        ))
    } else if error.is_timeout() {
        Error::new(ErrorKind::Transient, format!("{method} {} got no answer in time", shown(url)))
    } else {
        Error::new(
            ErrorKind::Transient,
            format!("{method} {} lost its connection before the answer", shown(url)),
        )
    };
    made.because(error.without_url())
}

/// Returns the error of a host that showed a certificate which is not trusted, when that is what an error says.
pub fn untrusted(host: &str, error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    if !mentions(error, "certificate") {
        return None;
    }
    // TLS ends before the request begins.
    let made = Error::new(ErrorKind::Unsent, format!("the certificate of {host} is not trusted"));
    if mentions(error, "expired") || mentions(error, "not valid yet") {
        return Some(made.hint("it may have ended, or this machine's clock may be wrong"));
    }
    if mentions(error, "not valid for") {
        return Some(made.hint(format!(
            "it was made out to another name: check the address, and whether a proxy answers for {host}"
        )));
    }
    Some(made.hint(NextStep::Trust { host: host.to_owned() }))
}

/// Returns the error of an answer that cannot be what was asked for.
pub fn garbled(method: Method, url: &Url, response: &Response) -> Error {
    let body = response.text().map_or_else(|| response.json().to_string(), str::to_owned);
    let message =
        format!("{method} {} got an answer that is not the resource: {}", shown(url), shortened(&body, 120));
    let mut service = ServiceError::default();
    service.status = Some(response.status);
    service.request_id = response.request_id().map(str::to_owned);
    Error::new(ErrorKind::Transient, message).service(service)
}

struct Verdict {
    kind: ErrorKind,
    pause: Option<Duration>,
    hints: Vec<String>,
}

impl Verdict {
    fn of(kind: ErrorKind) -> Self {
        Verdict { kind, pause: None, hints: Vec::new() }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Codes that say: refused before anything happened, because something else is still being written.
const BUSY_CODES: [&str; 6] = [
    "Conflict",
    "ConflictingOperation",
    "AnotherOperationInProgress",
    "HCRP409",
    "RetryableError",
    "RetryableErrorDueToAnotherOperation",
];

/// The table: what a status and a code mean. A failed operation has no status and is sorted by code alone.
fn sort(status: u16, arm: &ArmError) -> Verdict {
    let is = |code: &str| arm.code.as_deref().is_some_and(|c| c.eq_ignore_ascii_case(code));
    if is("MissingSubscriptionRegistration") || is("SubscriptionNotRegistered") {
        return Verdict::of(ErrorKind::Rejected).hint(register_hint(arm));
    }
    if is("RequestDisallowedByPolicy") {
        let named = policy(arm).map_or_else(String::new, |name| format!(" `{name}`"));
        return Verdict::of(ErrorKind::Rejected).hint(format!(
            "the policy assignment{named} forbids this: change the request or ask for an exemption"
        ));
    }
    if is("ScopeLocked") {
        return Verdict::of(ErrorKind::Rejected).hint("a lock protects the resource: see `az lock list`");
    }
    match status {
        // What to do about it depends on who signs in, which the client knows.
        401 => Verdict::of(ErrorKind::Denied),
        403 => denied(arm),
        429 => Verdict::of(ErrorKind::Unsent),
        408 | 500..=599 => Verdict::of(ErrorKind::Transient),
        409 if arm.has_code(&BUSY_CODES) => Verdict { pause: Some(BUSY), ..Verdict::of(ErrorKind::Unsent) },
        404 if is("SubscriptionNotFound") => Verdict::of(ErrorKind::Rejected)
            .hint("check the subscription id, and that whoever signs in has a role in the subscription"),
        _ => Verdict::of(ErrorKind::Rejected),
    }
}

fn denied(arm: &ArmError) -> Verdict {
    let message = arm.message.as_deref().unwrap_or_default();
    let quoted = |after: &str| between(message, &format!("{after} '"), "'");
    let verdict = Verdict::of(ErrorKind::Denied);
    let Some(action) = quoted("action") else {
        return verdict.hint("ask an owner of the subscription for a role that allows this");
    };
    let scope = quoted("scope").map_or("the resource", lasting);
    let role = role_for(action);
    let who = quoted("object id").map_or_else(|| "<object id>".into(), str::to_owned);
    verdict
        .hint(format!("`{action}` is not allowed over {scope}: the role \"{role}\" holds it"))
        .hint(format!(
            "az role assignment create --role \"{role}\" --scope \"{scope}\" --assignee-object-id {who}"
        ))
        .hint("a role that was just given takes up to ten minutes: resume the run then")
}

/// Returns the resource in which a scope lies: a role over one old job of an instance helps nobody.
fn lasting(scope: &str) -> &str {
    const PROVIDERS: &str = "/providers/";
    let Some(at) = scope.find(PROVIDERS) else { return scope };
    // Behind it: the namespace, the type and the name.
    let behind = at + PROVIDERS.len();
    scope[behind..].match_indices('/').nth(2).map_or(scope, |(end, _)| &scope[..behind + end])
}

/// Returns the built-in role to ask for. Inferred from the roles' published action lists.
fn role_for(action: &str) -> &'static str {
    let action = action.to_ascii_lowercase();
    if action.ends_with("/read") {
        "Reader"
    } else if action.starts_with("microsoft.azurestackhci/") {
        "Azure Stack HCI Administrator"
    } else if action.starts_with("microsoft.hybridcompute/") {
        "Azure Connected Machine Resource Administrator"
    } else {
        "Contributor"
    }
}

fn register_hint(arm: &ArmError) -> String {
    let message = arm.message.as_deref().unwrap_or_default();
    let target = arm.details.iter().find_map(|d| field(d.as_object()?, "target")?.as_str());
    let namespace = target.or_else(|| between(message, "namespace '", "'")).unwrap_or("<namespace>");
    format!(
        "register the provider once per subscription: az provider register --wait --namespace {namespace}"
    )
}

fn policy(arm: &ArmError) -> Option<&str> {
    arm.extra.iter().find_map(|extra| {
        let info = extra.get("info")?;
        info.get("policyAssignmentDisplayName").or_else(|| info.get("policyAssignmentName"))?.as_str()
    })
}

/// Returns the pause that a refusal names in its text.
fn pause_in(arm: &ArmError, response: &Response) -> Option<Duration> {
    for text in arm.texts() {
        for (before, after) in
            [("again after '", "'"), ("retried in ", " second"), ("retry after ", " second")]
        {
            if let Some(seconds) = between(text, before, after).and_then(|n| n.trim().parse().ok()) {
                return Some(Duration::from_secs(seconds));
            }
        }
    }
    arm.details.iter().find_map(|detail| until_end_time(detail, response))
}

/// Returns what is left of the time window that Compute names in a nested message.
fn until_end_time(detail: &Value, response: &Response) -> Option<Duration> {
    let window = detail.get("error")?;
    let time = |name: &str| window.get(name)?.as_str()?.parse::<Timestamp>().ok();
    let (start, end) = (time("startTime"), time("endTime")?);
    let now =
        response.header("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|z| z.timestamp());
    Duration::try_from(end.duration_since(now.or(start)?)).ok()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let start = text.find(before)? + before.len();
    let rest = &text[start..];
    rest.find(after).map(|end| &rest[..end])
}

fn list(map: &Map<String, Value>, name: &str) -> Vec<Value> {
    let items = field(map, name).and_then(Value::as_array).into_iter().flatten();
    items.take(DETAILS).map(|item| bounded(item, 0)).collect()
}

/// Copies a nested error with bounded texts, and JSON that was hidden in a message beside that message.
fn bounded(value: &Value, depth: u8) -> Value {
    match value {
        _ if depth > 6 => Value::Null,
        Value::String(text) => Value::String(shortened(text, DETAIL)),
        Value::Array(items) => items.iter().take(DETAILS).map(|item| bounded(item, depth + 1)).collect(),
        Value::Object(map) => {
            let mut out: Map<String, Value> =
                map.iter().take(50).map(|(name, item)| (name.clone(), bounded(item, depth + 1))).collect();
            let hidden = field(map, "message")
                .and_then(Value::as_str)
                .filter(|text| text.trim_start().starts_with('{'));
            if let Some(inner) = hidden.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
                let inner = inner.get("error").filter(|e| e.is_object()).unwrap_or(&inner);
                out.entry("error").or_insert_with(|| bounded(inner, depth + 1));
            }
            Value::Object(out)
        }
        plain => plain.clone(),
    }
}

fn mentions(error: &(dyn std::error::Error + 'static), what: &str) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.to_string().to_ascii_lowercase().contains(what) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Returns the path of a URL: what a person recognises, without the signature.
fn shown(url: &Url) -> String {
    let text = without_query(url);
    let path = text.find("://").and_then(|at| text[at + 3..].find('/').map(|slash| at + 3 + slash));
    path.map_or_else(|| text.clone(), |at| text[at..].to_owned())
}

#[cfg(test)]
mod tests {
    use relight_engine::Hint;
    use serde_json::json;

    use super::*;

    fn url() -> Url {
        "https://management.azure.com/subscriptions/s/providers/Microsoft.X/y?api-version=1&t=2&s=SIGNATURE"
            .parse()
            .unwrap()
    }

    fn answer(status: u16, headers: &[(&str, &str)], body: &Value) -> Error {
        refused(
            Method::Put,
            &url(),
            &Response::new(status, headers.iter().copied(), body.to_string().as_bytes()),
        )
    }

    fn coded(status: u16, code: &str) -> Error {
        answer(status, &[], &json!({"error": {"code": code, "message": "m"}}))
    }

    #[test]
    fn every_envelope_is_read() {
        for (body, code, message) in [
            (json!({"error": {"code": "A", "message": "m"}}), "A", "m"),
            (json!({"code": "A", "message": "m"}), "A", "m"),
            (json!({"code": "A", "message": "m", "details": null, "subcode": ""}), "A", "m"),
            (
                json!({"Code": "A", "Message": "m", "Target": null, "Details": [], "Innererror": null}),
                "A",
                "m",
            ),
            (json!({"Error": {"Code": "A", "Message": "m"}}), "A", "m"),
            (json!({"error": {"code": "A", "message": "m"}, "status": "Failed"}), "A", "m"),
            (json!({"error": {"code": "429", "message": "m"}}), "429", "m"),
            (json!({"error": {"code": 100026, "message": "m"}}), "100026", "m"),
            (
                json!({"error": {"code": "500 InternalServerError", "message": "m"}}),
                "500 InternalServerError",
                "m",
            ),
        ] {
            let error = ArmError::read(&body).expect("an error");
            assert_eq!(
                (error.code.as_deref(), error.message.as_deref()),
                (Some(code), Some(message)),
                "{body}"
            );
        }
        for body in [
            json!(null),
            json!({}),
            json!([]),
            json!("Forbidden"),
            json!({"error": "x"}),
            json!({"value": []}),
        ] {
            assert_eq!(ArmError::read(&body), None, "{body}");
        }
    }

    #[test]
    fn each_refusal_says_whether_it_may_be_tried_again() {
        use ErrorKind::{Denied, Rejected, Transient, Unsent};
        for (status, code, kind) in [
            (400, "NoRegisteredProviderFound", Rejected),
            (400, "BadRequest", Rejected),
            (401, "ExpiredAuthenticationToken", Denied),
            (403, "AuthorizationFailed", Denied),
            (403, "LinkedAuthorizationFailed", Denied),
            (403, "RequestDisallowedByPolicy", Rejected),
            (404, "ResourceNotFound", Rejected),
            (405, "MethodNotAllowed", Rejected),
            (408, "RequestTimeout", Transient),
            (409, "ScopeLocked", Rejected),
            (409, "Conflict", Unsent),
            (409, "ConflictingOperation", Unsent),
            (409, "AnotherOperationInProgress", Unsent),
            (409, "HCRP409", Unsent),
            (409, "MissingSubscriptionRegistration", Rejected),
            (409, "OperationNotAllowed", Rejected),
            (409, "RoleAssignmentExists", Rejected),
            (412, "PreconditionFailed", Rejected),
            (429, "TooManyRequests", Unsent),
            (429, "OperationNotAllowed", Unsent),
            (429, "RetryableError", Unsent),
            (500, "InternalServerError", Transient),
            (502, "BadGatewayConnection", Transient),
            (503, "ServerTimeout", Transient),
            (504, "GatewayTimeout", Transient),
        ] {
            assert_eq!(coded(status, code).kind(), kind, "{status} {code}");
        }
        let nested = json!({"error": {"code": "X", "message": "m", "details": [{"code": "RetryableErrorDueToAnotherOperation"}]}});
        assert_eq!(answer(409, &[], &nested).kind(), Unsent);
        let page = Response::new(503, [("content-type", "text/html")], b"<html>nginx</html>");
        assert_eq!(refused(Method::Get, &url(), &page).kind(), Transient);
    }

    #[test]
    fn a_pause_is_found_wherever_azure_put_it() {
        let said = |message: &str| json!({"error": {"code": "X", "message": message}});
        let window =
            json!({"startTime": "2026-11-20T10:00:00Z", "endTime": "2026-11-20T10:03:00Z"}).to_string();
        let compute = json!({"error": {"code": "OperationNotAllowed", "message": "m",
            "details": [{"code": "TooManyRequests", "message": window}]}});
        let network = json!({"error": {"code": "RetryableError", "message": "m",
            "details": [{"code": "RetryableErrorDueToAnotherOperation", "message": "The call can be retried in 12 seconds."}]}});
        for (headers, body, seconds) in [
            (vec![("Retry-After", "293")], said("again after '6' seconds."), Some(293)),
            (vec![], said("Please try again after '6' seconds."), Some(6)),
            (vec![], network, Some(12)),
            (vec![], compute.clone(), Some(180)),
            (vec![("Date", "Fri, 20 Nov 2026 10:02:00 GMT")], compute, Some(60)),
            (vec![], said("again after 'many' seconds."), None),
            (vec![("Retry-After", "99999999")], said("m"), Some(24 * 3600)),
        ] {
            assert_eq!(
                answer(429, &headers, &body).pause(),
                seconds.map(Duration::from_secs),
                "{headers:?} {body}"
            );
        }
        assert_eq!(coded(409, "Conflict").pause(), Some(BUSY));
        assert_eq!(coded(404, "ResourceNotFound").pause(), None);
    }

    #[test]
    fn a_missing_role_is_named() {
        let message = "The client 'a@b.c' with object id '0-1' does not have authorization to perform action \
                       'Microsoft.AzureStackHCI/clusters/jobs/write' over scope '/subscriptions/s/x' or the scope is invalid.";
        let error = answer(403, &[], &json!({"error": {"code": "AuthorizationFailed", "message": message}}));
        let hints = error.hints().iter().map(Hint::to_string).collect::<Vec<_>>().join("\n");
        for part in [
            "clusters/jobs/write",
            "/subscriptions/s/x",
            "Azure Stack HCI Administrator",
            "--assignee-object-id 0-1",
        ] {
            assert!(hints.contains(part), "{hints}");
        }
    }

    #[test]
    fn a_role_is_asked_for_where_it_lasts() {
        let hq = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.AzureStackHCI/clusters/hq";
        for (scope, expected) in [
            (format!("{hq}/jobs/vmc-p-1"), hq),
            (hq.to_owned(), hq),
            ("/subscriptions/s/resourceGroups/rg".to_owned(), "/subscriptions/s/resourceGroups/rg"),
        ] {
            assert_eq!(lasting(&scope), expected);
        }
    }

    #[test]
    fn hidden_json_is_brought_to_light() {
        let inner = r#"{"error": {"code": "Inner", "message": "the cause"}}"#;
        let error = answer(
            400,
            &[],
            &json!({"error": {"code": "A", "message": "m", "details": [{"code": "B", "message": inner}]}}),
        );
        let details = &error.service_error().unwrap().details;
        assert_eq!(details[0]["error"]["code"], "Inner");
    }

    #[test]
    fn people_read_the_inner_errors_as_the_cause() {
        let body = json!({"error": {"code": "A", "message": "See inner errors for details.",
            "details": [{"code": "B", "message": "m", "innererror": {"code": "DiskFull", "message": "no room"}}]}});
        for error in [answer(400, &[], &body), failed(Method::Put, &url(), "Failed", &body, None)] {
            assert_eq!(error.to_failure().causes, ["DiskFull: no room"], "{error:?}");
        }
        assert!(coded(400, "A").to_failure().causes.is_empty());
    }

    #[test]
    fn nothing_is_unbounded_and_no_signature_is_shown() {
        let long = "x".repeat(1_000_000);
        let details: Vec<Value> = (0..30).map(|_| json!({"code": "B", "message": long})).collect();
        let error = answer(
            400,
            &[("x-ms-request-id", "r1")],
            &json!({"error": {"code": "A", "message": long, "details": details}}),
        );
        let text = format!("{error:?} {}", serde_json::to_string(&error.to_failure()).unwrap());
        assert!(text.len() < 20_000, "{}", text.len());
        assert!(!text.contains("SIGNATURE"));
        assert_eq!(error.service_error().unwrap().request_id.as_deref(), Some("r1"));
    }

    #[test]
    fn other_hints_name_the_next_step() {
        let register = json!({"error": {"code": "MissingSubscriptionRegistration",
            "message": "The subscription is not registered to use namespace 'Microsoft.AzureStackHCI'."}});
        assert!(
            answer(409, &[], &register).hints()[0]
                .to_string()
                .ends_with("--namespace Microsoft.AzureStackHCI")
        );
        let policy = json!({"error": {"code": "RequestDisallowedByPolicy", "message": "m", "additionalInfo":
            [{"type": "PolicyViolation", "info": {"policyAssignmentDisplayName": "No jobs"}}]}});
        assert!(answer(403, &[], &policy).hints()[0].to_string().contains("`No jobs`"));
    }
}
