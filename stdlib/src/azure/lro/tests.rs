//! The state machine against everything that services are known to send.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const RESOURCE: &str = "https://management.azure.com/subscriptions/s/providers/N/t/x?api-version=1";
const STATUS: &str =
    "https://management.azure.com/subscriptions/s/providers/N/locations/l/operationStatuses/1?s=2";
const RESULT: &str =
    "https://management.azure.com/subscriptions/s/providers/N/locations/l/operationResults/1?s=2";

fn url() -> Url {
    RESOURCE.parse().unwrap()
}

fn answer(status: u16, headers: &[(&str, &str)], body: Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Response::new(status, headers.iter().copied(), body.as_bytes())
}

fn start(method: Method, status: u16, headers: &[(&str, &str)], body: Value) -> Started {
    Lro::start(method, &url(), FinalState::Unset, &answer(status, headers, body), None).expect("trusted")
}

fn pending(started: Started) -> (Lro, Duration) {
    match started {
        Started::Pending(lro, wait) => (*lro, wait),
        Started::Done(value) => panic!("done with {value}"),
    }
}

/// Feeds answers and returns each address asked and the end.
fn follow(mut lro: Lro, answers: &[Response]) -> (Vec<String>, Result<Value, String>) {
    let mut asked = Vec::new();
    for answer in answers {
        asked.push(lro.next_request().url.to_string());
        // A restart between any two answers changes nothing.
        let stored = serde_json::to_string(&lro).unwrap();
        lro = serde_json::from_str(&stored).unwrap();
        match lro.handle_response(answer) {
            Step::Wait(next, ..) | Step::Final(next) => lro = *next,
            Step::Done(value) => return (asked, Ok(value)),
            Step::Failed(error) => return (asked, Err(error.message().to_owned())),
        }
    }
    (asked, Err("still running".into()))
}

fn state(word: &str) -> Value {
    json!({"name": "x", "properties": {"provisioningState": word}})
}

#[test]
fn first_answers_are_sorted() {
    use Method::{Delete, Patch, Post, Put};
    let asynchronous = [("Azure-AsyncOperation", STATUS), ("Location", RESULT)];
    let own = [("Location", RESOURCE)];
    for (name, method, status, headers, body, polls) in [
        ("put done", Put, 200, &[][..], state("Succeeded"), None),
        ("put without a state", Put, 201, &[], json!({"name": "x"}), None),
        ("put creating", Put, 201, &[], state("Creating"), Some(RESOURCE)),
        ("put 202 empty with both headers", Put, 202, &asynchronous, Value::Null, Some(STATUS)),
        ("put 202 with {}", Put, 202, &[], json!({}), Some(RESOURCE)),
        (
            "put 201 async succeeded is still checked",
            Put,
            201,
            &asynchronous[..1],
            state("Succeeded"),
            Some(STATUS),
        ),
        ("put 201, Location is the resource", Put, 201, &own, json!({"name": "x"}), None),
        (
            "put 201, relative Location",
            Put,
            201,
            &[("Location", "/subscriptions/s/providers/N/t/x")],
            json!({}),
            None,
        ),
        ("put 201, Location elsewhere", Put, 201, &asynchronous[1..], state("Creating"), Some(RESULT)),
        ("put 201, Location elsewhere and done", Put, 201, &asynchronous[1..], state("Succeeded"), None),
        (
            "put 201, Location on another host",
            Put,
            201,
            &[("Location", "https://graph.example/x")],
            json!({}),
            None,
        ),
        ("patch 200 async", Patch, 200, &asynchronous[..1], state("Updating"), Some(STATUS)),
        ("patch 202 Location", Patch, 202, &asynchronous[1..], Value::Null, Some(RESULT)),
        ("delete 204", Delete, 204, &[], Value::Null, None),
        ("delete 200", Delete, 200, &[], Value::Null, None),
        ("delete 202 without a header", Delete, 202, &[], Value::Null, Some(RESOURCE)),
        ("post 200", Post, 200, &[], json!({"a": 1}), None),
        ("post 200 while the resource updates", Post, 200, &[], state("Updating"), None),
        ("post 202 null", Post, 202, &asynchronous, json!(null), Some(STATUS)),
        ("post 202 Location only", Post, 202, &asynchronous[1..], Value::Null, Some(RESULT)),
        ("operation-location", Put, 200, &[("Operation-Location", STATUS)], json!({}), Some(STATUS)),
    ] {
        match start(method, status, headers, body) {
            Started::Done(_) => assert_eq!(polls, None, "{name}"),
            Started::Pending(lro, _) => assert_eq!(Some(lro.poll.as_str()), polls, "{name}"),
        }
    }
}

#[test]
fn the_explicit_port_is_the_same_host() {
    let explicit = STATUS.replace("azure.com/", "azure.com:443/");
    let (lro, _) = pending(start(Method::Put, 202, &[("Azure-AsyncOperation", &explicit)], json!({})));
    assert_eq!(lro.poll.as_str(), STATUS);
}

#[test]
fn raw_spaces_and_stars_are_taken_as_they_come() {
    let raw = "https://management.azure.com/providers/N/locations/West US2/operationStatuses/1*2";
    let (lro, _) = pending(start(Method::Put, 202, &[("Azure-AsyncOperation", raw)], json!({})));
    assert!(lro.poll.as_str().ends_with("/West%20US2/operationStatuses/1*2"), "{}", lro.poll);
}

#[test]
fn a_foreign_address_is_never_asked() {
    for target in [
        "https://evil.example/operationStatuses/1",
        "http://management.azure.com/operationStatuses/1",
        "https://management.azure.com:8443/operationStatuses/1",
        "//evil.example/x",
        "https://management.azure.com@evil.example/",
        "https://user:secret@management.azure.com/",
    ] {
        let refused = Lro::start(
            Method::Put,
            &url(),
            FinalState::Unset,
            &answer(202, &[("Azure-AsyncOperation", target)], json!({})),
            None,
        );
        // It was accepted all the same: what became of it is unclear, not refused.
        assert_eq!(refused.expect_err(target).kind(), relight_engine::ErrorKind::Transient);
        let refused = Lro::start(
            Method::Post,
            &url(),
            FinalState::Unset,
            &answer(202, &[("Location", target)], json!({})),
            None,
        );
        assert!(refused.is_err(), "{target}");
    }
}

#[test]
fn the_wait_is_what_the_answer_says() {
    let (_, wait) = pending(start(
        Method::Put,
        202,
        &[("Azure-AsyncOperation", STATUS), ("Retry-After", "97")],
        json!({}),
    ));
    assert_eq!(wait, Duration::from_secs(97));
    let (_, wait) = pending(start(Method::Put, 202, &[("Azure-AsyncOperation", STATUS)], json!({})));
    assert_eq!(wait, DEFAULT_WAIT);
    let (_, wait) = pending(start(Method::Put, 201, &[("Azure-AsyncOperation", STATUS)], state("Succeeded")));
    assert_eq!(wait, Duration::ZERO);
}

#[test]
fn azure_local_polls_with_202_and_one_address_for_both() {
    let headers = [("Azure-AsyncOperation", STATUS), ("Location", STATUS)];
    let (lro, _) = pending(start(Method::Post, 202, &headers, json!(null)));
    let moved = STATUS.replace("operationStatuses", "operationstatuses");
    let (asked, end) = follow(
        lro,
        &[
            answer(
                202,
                &[("Azure-AsyncOperation", &moved), ("Location", &moved)],
                json!({"status": "Accepted"}),
            ),
            answer(202, &[], json!({"status": "Deleting"})),
            answer(200, &[], json!({"status": "Succeeded", "properties": null})),
        ],
    );
    assert_eq!(end, Ok(Value::Null));
    assert_eq!(asked, [STATUS; 3], "the first address stays good");
}

#[test]
fn results_are_read_where_the_method_says() {
    let headers = [("Azure-AsyncOperation", STATUS), ("Location", RESULT)];
    let done = answer(200, &[], json!({"status": "succeeded", "properties": {"output": 7}}));
    let body = answer(200, &[], json!({"a": 1}));
    for (method, finish, last, value) in [
        (Method::Put, FinalState::Unset, Some(RESOURCE), json!({"a": 1})),
        (Method::Put, FinalState::AzureAsyncOperation, Some(RESOURCE), json!({"a": 1})),
        (Method::Put, FinalState::Location, Some(RESULT), json!({"a": 1})),
        (Method::Patch, FinalState::Unset, Some(RESOURCE), json!({"a": 1})),
        (Method::Post, FinalState::Unset, Some(RESULT), json!({"a": 1})),
        (Method::Post, FinalState::OriginalUri, Some(RESOURCE), json!({"a": 1})),
        (Method::Post, FinalState::AzureAsyncOperation, None, json!({"output": 7})),
        (Method::Delete, FinalState::Location, None, json!({"output": 7})),
    ] {
        let first = answer(202, &headers, Value::Null);
        let started = Lro::start(method, &url(), finish, &first, None).unwrap();
        let (asked, end) = follow(pending(started).0, &[done.clone(), body.clone()]);
        assert_eq!((asked.get(1).map(String::as_str), end), (last, Ok(value)), "{method} {finish:?}");
    }
}

#[test]
fn later_answers_are_sorted() {
    let asynchronous = || pending(start(Method::Put, 202, &[("Azure-AsyncOperation", STATUS)], json!({}))).0;
    let location = || pending(start(Method::Post, 202, &[("Location", RESULT)], json!({}))).0;
    let body = || pending(start(Method::Put, 201, &[], state("Creating"))).0;
    let delete = || pending(start(Method::Delete, 202, &[], Value::Null)).0;
    for (name, lro, response, expected) in [
        (
            "network says only status",
            asynchronous(),
            answer(200, &[], json!({"status": "InProgress"})),
            "wait",
        ),
        ("an unknown word", asynchronous(), answer(200, &[], json!({"status": "Dequeued"})), "wait"),
        ("no status at all", asynchronous(), answer(200, &[], json!({})), "wait"),
        ("null", asynchronous(), answer(200, &[], json!(null)), "wait"),
        ("a list", asynchronous(), answer(200, &[], json!([1])), "wait"),
        ("a status that is no word", asynchronous(), answer(200, &[], json!({"status": 7})), "wait"),
        (
            "a 503 in mid-poll",
            asynchronous(),
            answer(503, &[], json!({"error": {"code": "ServerTimeout"}})),
            "wait",
        ),
        ("a 429 in mid-poll", asynchronous(), answer(429, &[], json!({})), "wait"),
        (
            "async failed",
            asynchronous(),
            answer(200, &[], json!({"status": "Failed", "error": {"code": "E"}})),
            "failed",
        ),
        ("async cancelled", asynchronous(), answer(200, &[], json!({"status": "Cancelled"})), "failed"),
        ("async completed", asynchronous(), answer(200, &[], json!({"status": "Completed"})), "final"),
        ("async 204", asynchronous(), answer(204, &[], Value::Null), "final"),
        ("async 403", asynchronous(), answer(403, &[], json!({})), "denied"),
        ("async 400", asynchronous(), answer(400, &[], json!({})), "undecided"),
        ("async 409", asynchronous(), answer(409, &[], json!({"error": {"code": "X"}})), "undecided"),
        ("async record gone", asynchronous(), answer(404, &[], json!({})), "wait"),
        ("location 202", location(), answer(202, &[], Value::Null), "wait"),
        ("location 200", location(), answer(200, &[], json!({"a": 1})), "done"),
        ("location 200 empty", location(), answer(200, &[], Value::Null), "done"),
        ("location 204", location(), answer(204, &[], Value::Null), "done"),
        ("location 200 still creating", location(), answer(200, &[], state("Creating")), "wait"),
        ("location 200 failed", location(), answer(200, &[], state("Failed")), "failed"),
        (
            "what-if says Failed about a template",
            location(),
            answer(200, &[], json!({"status": "Failed"})),
            "done",
        ),
        ("location 400", location(), answer(400, &[], json!({})), "failed"),
        ("body updating", body(), answer(200, &[], state("provisioningResources")), "wait"),
        ("body done", body(), answer(200, &[], state("Succeeded")), "done"),
        ("body without a state", body(), answer(200, &[], json!({"name": "x"})), "done"),
        ("body null", body(), answer(200, &[], json!(null)), "wait"),
        ("body not visible yet", body(), answer(404, &[], json!({})), "wait"),
        ("body 400", body(), answer(400, &[], json!({})), "undecided"),
        ("deleted", delete(), answer(404, &[], json!({})), "done"),
        ("still there", delete(), answer(200, &[], state("Succeeded")), "wait"),
    ] {
        let got = match lro.handle_response(&response) {
            Step::Wait(..) => "wait",
            Step::Final(_) => "final",
            Step::Done(_) => "done",
            Step::Failed(error) => match error.kind() {
                relight_engine::ErrorKind::Transient => "undecided",
                relight_engine::ErrorKind::Denied => "denied",
                _ => "failed",
            },
        };
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn a_status_behind_location_is_read_as_a_status() {
    let (lro, _) = pending(start(Method::Post, 202, &[("Location", STATUS)], Value::Null));
    let (asked, end) = follow(
        lro,
        &[
            answer(200, &[], json!({"status": "Accepted"})),
            answer(200, &[], json!({"status": "Succeeded", "properties": {"a": 1}})),
        ],
    );
    assert_eq!((asked.len(), end), (2, Ok(json!({"a": 1}))));
}

#[test]
fn location_follows_its_updates() {
    let (lro, _) = pending(start(Method::Delete, 202, &[("Location", RESULT)], Value::Null));
    let moved = RESULT.replace("s=2", "s=3");
    let (asked, end) =
        follow(lro, &[answer(202, &[("Location", &moved)], Value::Null), answer(204, &[], Value::Null)]);
    assert_eq!((asked[1].as_str(), end), (moved.as_str(), Ok(Value::Null)));
}

#[test]
fn a_status_that_is_missing_once_is_asked_again() {
    let done = answer(200, &[], json!({"status": "Succeeded", "properties": {"a": 1}}));
    for headers in [[("Azure-AsyncOperation", STATUS)], [("Location", STATUS)]] {
        let (lro, _) = pending(start(Method::Post, 202, &headers, Value::Null));
        let (asked, end) = follow(lro, &[answer(404, &[], json!({})), done.clone()]);
        assert_eq!((asked, end), (vec![STATUS.to_owned(); 2], Ok(json!({"a": 1}))));
    }
}

#[test]
fn a_status_that_stays_away_is_found_on_the_resource_itself_and_never_on_its_parent() {
    let headers = [("Azure-AsyncOperation", STATUS)];
    let mut answers = vec![answer(404, &[], json!({})); usize::from(PATIENCE)];
    answers.push(answer(200, &[], state("Succeeded")));

    let (lro, _) = pending(start(Method::Put, 202, &headers, Value::Null));
    let (asked, end) = follow(lro, &answers);
    assert_eq!((asked.last().map(String::as_str), end), (Some(RESOURCE), Ok(state("Succeeded"))));

    // What an action acts on was `Succeeded` before, and will be.
    let (lro, _) = pending(start(Method::Post, 202, &headers, Value::Null));
    let (asked, end) = follow(lro, &answers);
    assert_eq!(asked, vec![STATUS; usize::from(PATIENCE)]);
    assert!(end.unwrap_err().contains("cannot be read"));
}

#[test]
fn a_location_that_differs_from_the_status_only_by_its_query_is_read() {
    let monitor = format!("{STATUS}&monitor=true");
    let headers = [("Azure-AsyncOperation", STATUS), ("Location", monitor.as_str())];
    let (lro, _) = pending(start(Method::Post, 202, &headers, Value::Null));
    let (asked, end) = follow(
        lro,
        &[
            answer(200, &[], json!({"status": "Succeeded", "properties": {"output": {"value": [1]}}})),
            answer(200, &[], json!({"value": [1]})),
        ],
    );
    assert_eq!((asked, end), (vec![STATUS.to_owned(), monitor], Ok(json!({"value": [1]}))));
}

#[test]
fn a_location_that_is_the_status_signed_anew_is_not_read() {
    let signed = |ticks: &str| format!("{STATUS}&api-version=1&t={ticks}&c=MII&h=x");
    let (first, again) = (signed("1"), signed("2").replace("operationStatuses", "operationstatuses"));
    let headers = [("Azure-AsyncOperation", first.as_str()), ("Location", &first)];
    let (lro, _) = pending(start(Method::Post, 202, &headers, Value::Null));
    let (asked, end) = follow(
        lro,
        &[
            answer(202, &[("Location", &again)], json!({"status": "Accepted"})),
            answer(200, &[], json!({"status": "Succeeded", "properties": {"a": 1}})),
        ],
    );
    assert_eq!((asked.len(), end), (2, Ok(json!({"a": 1}))));
}

#[test]
fn a_synchronous_answer_keeps_its_body() {
    let body = json!({"a": 1});
    for method in [Method::Put, Method::Patch, Method::Post, Method::Delete] {
        match start(method, 200, &[("Location", RESULT)], body.clone()) {
            Started::Done(value) => assert_eq!(value, body, "{method}"),
            Started::Pending(lro, _) => panic!("{method}: waits for {}", lro.poll),
        }
    }
    // A status beside it says when, and has no result of its own.
    let (lro, _) = pending(start(Method::Post, 200, &[("Azure-AsyncOperation", STATUS)], body.clone()));
    assert_eq!(follow(lro, &[answer(200, &[], json!({"status": "Succeeded"}))]).1, Ok(body));
}

#[test]
fn paths_are_compared_without_case() {
    let own = RESOURCE.replace("/providers/N/t", "/PROVIDERS/n/T");
    match start(Method::Put, 201, &[("Location", &own)], json!({"name": "x"})) {
        Started::Done(value) => assert_eq!(value, json!({"name": "x"})),
        Started::Pending(lro, _) => panic!("waits for {}", lro.poll),
    }
}

#[test]
fn a_patch_that_was_accepted_on_a_failed_resource_says_just_that() {
    let error =
        Lro::start(Method::Patch, &url(), FinalState::Unset, &answer(200, &[], state("Failed")), None)
            .expect_err("failed");
    assert_eq!(
        error.message(),
        "PATCH /subscriptions/s/providers/N/t/x was accepted; the resource's provisioning state is Failed"
    );
    assert_eq!(
        error.hints(),
        ["the state may be that of an earlier change: read the resource to see whether this one holds"]
    );
}

#[test]
fn what_was_accepted_and_cannot_be_followed_is_undecided() {
    let long = format!("{STATUS}&s={}", "x".repeat(LONGEST_URL));
    for (method, header, target) in [
        (Method::Put, "Azure-AsyncOperation", long.as_str()),
        (Method::Post, "Location", long.as_str()),
        (Method::Post, "Azure-AsyncOperation", "https://evil.example/operationStatuses/1"),
    ] {
        let first = answer(202, &[(header, target)], Value::Null);
        let error = Lro::start(method, &url(), FinalState::Unset, &first, None).expect_err("not followed");
        assert_eq!(error.kind(), relight_engine::ErrorKind::Transient, "{error}");
        assert!(error.message().contains("was accepted"), "{error}");
    }
    // Nor is a web page that somebody put between us and Azure an answer.
    let page =
        Response::new(200, [("content-type", "text/html")], b"<html>sign in to the wireless network</html>");
    let error = Lro::start(Method::Put, &url(), FinalState::Unset, &page, None).expect_err("a page");
    assert_eq!(error.kind(), relight_engine::ErrorKind::Transient, "{error}");
}

#[test]
fn no_answer_makes_us_ask_without_a_pause() {
    let now = [("Azure-AsyncOperation", STATUS), ("Retry-After", "0")];
    let (lro, wait) = pending(start(Method::Put, 202, &now, json!({})));
    assert!(wait >= Duration::from_secs(1), "{wait:?}");
    for (status, body) in [(200, json!({"status": "Running"})), (429, json!({})), (503, json!({}))] {
        match lro.clone().handle_response(&answer(status, &[("Retry-After", "0")], body)) {
            Step::Wait(_, wait, _) => assert!(wait >= Duration::from_secs(1), "{status}: {wait:?}"),
            other => panic!("{status}: {other:?}"),
        }
    }
}

fn anything() -> impl Strategy<Value = Response> {
    let status = prop::sample::select(vec![
        200u16, 201, 202, 204, 301, 400, 401, 403, 404, 408, 409, 410, 412, 429, 500, 502, 503, 504,
    ]);
    let target = prop::sample::select(vec![
        "",
        STATUS,
        RESULT,
        RESOURCE,
        "/relative",
        "https://evil.example/x",
        "::",
        "http://[",
        "%",
    ]);
    let word = prop::sample::select(vec![
        "",
        "Succeeded",
        "FAILED",
        "canceled",
        "Cancelled",
        "Running",
        "completed",
        "?",
    ]);
    let shape = 0..7usize;
    (status, target.clone(), target, word, shape).prop_map(|(status, operation, location, word, shape)| {
        let body = match shape {
            0 => String::new(),
            1 => "null".into(),
            2 => "<html>".into(),
            3 => json!({"status": word, "percentComplete": 250, "properties": null}).to_string(),
            4 => json!({"properties": {"provisioningState": word}, "resourceLocation": location}).to_string(),
            5 => json!({"status": {"a": 1}, "properties": [1]}).to_string(),
            _ => json!({"status": word, "error": {"message": 1}}).to_string(),
        };
        Response::new(status, [("azure-asyncoperation", operation), ("location", location)], body.as_bytes())
    })
}

proptest! {
    /// Whatever comes back in whatever order: no panic, and never a request to another host.
    #[test]
    fn any_order_of_answers_ends_or_waits(
        method in prop::sample::select(vec![Method::Put, Method::Patch, Method::Post, Method::Delete]),
        finish in prop::sample::select(vec![FinalState::Unset, FinalState::Location, FinalState::AzureAsyncOperation, FinalState::OriginalUri]),
        first in anything(),
        answers in prop::collection::vec(anything(), 0..12),
    ) {
        if let Ok(Started::Pending(lro, _)) = Lro::start(method, &url(), finish, &first, Some("id")) {
            let mut lro = *lro;
            for answer in answers {
                let request = lro.next_request();
                prop_assert!(same_origin(&url(), &request.url), "{}", request.url);
                prop_assert_eq!(request.method, Method::Get);
                lro = serde_json::from_str(&serde_json::to_string(&lro).unwrap()).unwrap();
                match lro.handle_response(&answer) {
                    Step::Wait(next, wait, note) => {
                        prop_assert!(wait <= Duration::from_secs(3600));
                        prop_assert!(note.percent.is_none_or(|p| p <= 100.0));
                        lro = *next;
                    }
                    Step::Final(next) => lro = *next,
                    Step::Done(_) | Step::Failed(_) => break,
                }
            }
        }
    }
}
