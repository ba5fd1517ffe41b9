//! The driver against a server with fixed answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use relight_engine::clock::SteppedClock;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const API: Api<'static> = Api { kind: "Microsoft.X/things", versions: &["3", "2", "1"] };
const THING: &str = "/subscriptions/s/providers/Microsoft.X/things/t";

#[derive(Debug, Default)]
struct Numbered(AtomicUsize);

#[async_trait::async_trait]
impl TokenCredential for Numbered {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        let expires = azure_core::time::OffsetDateTime::now_utc() + azure_core::time::Duration::HOUR;
        Ok(AccessToken::new(format!("token{number}"), expires))
    }
}

/// A server that gives fixed answers and keeps what it was asked.
struct Fixed {
    arm: Arm,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fixed {
    /// An empty answer closes the connection without one.
    async fn new(answers: Vec<(u16, &'static str, Value)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        tokio::spawn(async move {
            for (status, headers, body) in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 16 * 1024];
                let read = socket.read(&mut request).await.unwrap();
                lock(&seen).push(String::from_utf8_lossy(&request[..read]).into_owned());
                if status > 0 {
                    let body = body.to_string();
                    let head = format!(
                        "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                }
            }
        });
        let cloud = Cloud { arm: base.clone(), login: base, ..Cloud::public() };
        let clock = SteppedClock::jumping("2026-11-20T10:00:00Z".parse().unwrap());
        let arm = Arm::builder(cloud, Credential::Custom(Arc::new(Numbered::default())))
            .clock(Arc::new(clock))
            .build()
            .unwrap();
        Fixed { arm, asked }
    }

    async fn send(&self, method: Method) -> Result<(Url, Response)> {
        self.arm.exchange(&origin(1), method, THING, API, None).await
    }

    /// Returns what was asked, as `token1 GET /path?query`.
    fn asked(&self) -> Vec<String> {
        let words = |request: &String| {
            let line = request.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
            let token = request.split("Bearer ").nth(1).and_then(|rest| rest.lines().next());
            format!("{} {line}", token.unwrap_or_default())
        };
        lock(&self.asked).iter().map(words).collect()
    }
}

fn origin(attempt: u32) -> Origin {
    Origin { run: "run".into(), key: "0".repeat(64), attempt, step: None, only_asks: false }
}

fn unregistered(supported: &str) -> (u16, &'static str, Value) {
    let message = format!(
        "No registered resource provider found for type 'things'. The supported api-versions are '{supported}'. The supported locations are 'x'."
    );
    (400, "", json!({"error": {"code": "NoRegisteredProviderFound", "message": message}}))
}

#[tokio::test]
async fn the_newest_version_that_both_know_is_found_and_remembered() {
    let server = Fixed::new(vec![
        unregistered("0, 2, 1"),
        unregistered("0, 2, 1"),
        (200, "", json!({})),
        (200, "", json!({})),
    ])
    .await;
    server.send(Method::Get).await.unwrap();
    server.send(Method::Get).await.unwrap();
    let versions: Vec<_> = server.asked().iter().map(|a| a.rsplit('=').next().unwrap().to_owned()).collect();
    assert_eq!(versions, ["3", "3", "2", "2"]);
}

#[tokio::test]
async fn a_version_that_is_refused_for_a_moment_is_kept() {
    let server = Fixed::new(vec![unregistered("3"), (200, "", json!({}))]).await;
    server.send(Method::Put).await.unwrap();
    assert!(server.asked().iter().all(|a| a.ends_with("api-version=3")));
}

#[tokio::test]
async fn no_common_version_shows_both_lists() {
    let server = Fixed::new(vec![unregistered("9, 8"), unregistered("9, 8")]).await;
    let error = server.send(Method::Get).await.expect_err("nothing in common");
    assert_eq!(
        (error.kind(), error.service_code()),
        (ErrorKind::Rejected, Some("NoRegisteredProviderFound"))
    );
    assert!(error.message().contains("3, 2, 1") && error.message().contains("9, 8"), "{error}");
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let expired = || (401, "", json!({"error": {"code": "ExpiredAuthenticationToken", "message": "m"}}));
    let server = Fixed::new(vec![expired(), (200, "", json!({})), expired(), expired()]).await;
    server.send(Method::Put).await.unwrap();
    let error = server.send(Method::Put).await.expect_err("refused twice");
    assert_eq!(error.kind(), ErrorKind::Denied);
    let tokens: Vec<_> = server.asked().iter().map(|a| a.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(tokens, ["token1", "token2", "token2", "token3"]);
}

#[tokio::test]
async fn attempts_of_one_write_are_recognised_and_runs_are_tied_together() {
    let server = Fixed::new(vec![(200, "", json!({}))]).await;
    server.send(Method::Put).await.unwrap();
    let request = lock(&server.asked).join("");
    for header in
        ["x-ms-return-client-request-id: true", "x-ms-correlation-request-id: ", "content-length: 0"]
    {
        assert!(request.to_ascii_lowercase().contains(header), "{request}");
    }
    let id = |attempt| origin(attempt).request_id(Method::Put, THING);
    assert_eq!(id(1), id(1));
    assert_ne!(id(1), id(2));
    assert_eq!(id(1)[..23], id(2)[..23]);
    assert_ne!(id(1)[..23], origin(1).request_id(Method::Put, "/other")[..23]);
    assert_ne!(origin(1).request_id(Method::Get, THING), origin(1).request_id(Method::Get, THING));
}

#[tokio::test]
async fn lost_answers_are_unclear_and_lost_connections_are_not() {
    let server = Fixed::new(vec![(0, "", json!(null))]).await;
    let error = server.send(Method::Put).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Transient);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let cloud = Cloud { arm: base.clone(), login: base, ..Cloud::public() };
    let arm = Arm::builder(cloud, Credential::Custom(Arc::new(Numbered::default()))).build().unwrap();
    let error = arm.exchange(&origin(1), Method::Put, THING, API, None).await.expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Unsent);
}

#[tokio::test]
async fn pages_are_followed_and_circles_are_not() {
    let page = |next: &str| (200, "", json!({"value": [{}], "nextLink": next}));
    let server =
        Fixed::new(vec![page("/a?x=1"), (200, "", json!({"value": [], "nextLink": "/b"})), page("")]).await;
    assert_eq!(server.arm.list_as(&origin(1), THING, API).await.unwrap().len(), 2);
    assert_eq!(server.asked()[1], "token1 GET /a?x=1", "an opaque link is used as it is");

    let server = Fixed::new(vec![page("/a"), page("/a")]).await;
    let error = server.arm.list_as(&origin(1), THING, API).await.expect_err("a circle");
    assert!(error.message().contains("does not end"), "{error}");

    let server = Fixed::new(vec![page("https://evil.example/a")]).await;
    let error = server.arm.list_as(&origin(1), THING, API).await.expect_err("another host");
    assert!(error.message().contains("not sent there"), "{error}");
}

#[tokio::test]
async fn one_refusal_for_load_makes_everybody_wait() {
    let throttled =
        (429, "retry-after: 293\r\n", json!({"error": {"code": "TooManyRequests", "message": "m"}}));
    let server = Fixed::new(vec![throttled]).await;
    let error = server.send(Method::Put).await.expect_err("throttled");
    assert_eq!((error.kind(), error.pause()), (ErrorKind::Unsent, Some(Duration::from_secs(293))));
    let error = server.send(Method::Put).await.expect_err("not even sent");
    // The bucket is empty when the silence is over.
    assert_eq!((error.kind(), error.pause()), (ErrorKind::Unsent, Some(Duration::from_millis(293_100))));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_read_that_stumbles_is_sent_again_and_a_write_is_not() {
    let nothing = || (200, "", json!(null));
    let busy = || (503, "", json!({"error": {"code": "ServerTimeout", "message": "m"}}));
    let server = Fixed::new(vec![busy(), nothing(), (200, "", json!({"a": 1}))]).await;
    let (_, response) = server.send(Method::Get).await.unwrap();
    assert_eq!(response.json(), &json!({"a": 1}));

    let server = Fixed::new(vec![nothing(), nothing(), nothing()]).await;
    let (url, response) = server.send(Method::Get).await.unwrap();
    assert_eq!(resource(&url, response).expect_err("null").kind(), ErrorKind::Transient);

    let server = Fixed::new(vec![busy(), (200, "", json!({}))]).await;
    assert_eq!(server.send(Method::Put).await.expect_err("once").kind(), ErrorKind::Transient);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_refusal_without_a_pause_empties_the_bucket_too() {
    let throttled = (429, "", json!({"error": {"code": "TooManyRequests", "message": "m"}}));
    let server = Fixed::new(vec![throttled]).await;
    server.send(Method::Put).await.expect_err("throttled");
    let bucket = server.arm.bucket(Method::Put, &server.arm.url(THING, "1").unwrap());
    let turn = lock(&server.arm.0.pacer).reserve(&bucket, server.arm.0.clock.now());
    assert!(turn > Duration::ZERO, "the next request goes out at once");
}

#[tokio::test]
async fn too_long_an_answer_refuses_a_read_and_leaves_a_write_undecided() {
    let long = || (200, "", json!("x".repeat(17 * 1024 * 1024)));
    let server = Fixed::new(vec![long(), long()]).await;
    assert_eq!(server.send(Method::Get).await.expect_err("long").kind(), ErrorKind::Rejected);
    assert_eq!(server.send(Method::Put).await.expect_err("long").kind(), ErrorKind::Transient);
}

#[test]
fn paths_stay_below_azure() {
    let arm = Arm::builder(Cloud::public(), Credential::AzureCli { tenant: None }).build().unwrap();
    let url = arm.url("/subscriptions/s/x y?$expand=a", "1").unwrap();
    assert_eq!(url.as_str(), "https://management.azure.com/subscriptions/s/x%20y?$expand=a&api-version=1");
    for wrong in ["", "subscriptions/s", "https://evil.example/", "/a/../b"] {
        assert!(arm.url(wrong, "1").is_err(), "{wrong}");
    }
    let plain = Cloud { arm: "http://arm.private".parse().unwrap(), ..Cloud::public() };
    assert!(Arm::builder(plain, Credential::AzureCli { tenant: None }).build().is_err());
}

#[tokio::test]
async fn a_path_means_what_it_says() {
    let fixed = Fixed::new(vec![]).await;
    for path in [
        "subscriptions/s",
        "/subscriptions/s/../t",
        "/subscriptions/s/%2e%2e/t",
        "/subscriptions/s/%2E%2e/t",
        "/subscriptions/s/.%2e/t",
        "/subscriptions/s/%252e%252e/t",
        "/subscriptions/s%2f..%2ft",
        "/subscriptions/s/..\\..\\t",
        "/subscriptions/s\\t",
        "/subscriptions/s%5Ct",
        "/subscriptions/s#t",
        "/subscriptions/s%23t",
        "/subscriptions/s%3Ft",
        "/subscriptions/s?a=b#c",
        "/subscriptions/s/.\t./t",
        "/subscriptions/s\r\nt",
        "/subscriptions/s%0d%0at",
    ] {
        let error = fixed.arm.url(path, "1").expect_err(path);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path}");
    }
    for (path, sent) in [
        ("/subscriptions/s/resourceGroups/r%20g", "/subscriptions/s/resourceGroups/r%20g?api-version=1"),
        ("/subscriptions/s/a..b/c.d", "/subscriptions/s/a..b/c.d?api-version=1"),
        (
            "/subscriptions/s?$filter=a%20eq%20'b%2e'",
            "/subscriptions/s?$filter=a%20eq%20%27b%2e%27&api-version=1",
        ),
    ] {
        let url = fixed.arm.url(path, "1").unwrap();
        assert!(url.as_str().ends_with(sent), "{url}");
    }
}
