//! The upgrade: one request with three headers, and a WebSocket when the relay and the agent agree.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use reqwest::{StatusCode, Upgraded};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::access::Access;
use super::refusal::Refusal;
use crate::azure::Arm;

/// How long one attempt may take: the relay waits about 30 s for the agent.
const ATTEMPT: Duration = Duration::from_secs(35);

pub(super) type Socket = WebSocketStream<Upgraded>;

/// Asks for a connection to a port of the machine.
///
/// The names of the headers are written as the one known client writes them: the agent may look for them letter by
/// letter.
pub(super) async fn upgrade(arm: &Arm, access: &Access, port: u16) -> Result<Socket, Refusal> {
    let unanswered = |why: String| Refusal::Unanswered(why);
    let client = arm.upgrading().map_err(|e| unanswered(e.to_string()))?;
    let key = STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
    let url = format!(
        "https://{}/$hc/{}?sb-hc-action=connect&sb-hc-id={}",
        access.host,
        access.path,
        uuid::Uuid::new_v4()
    );
    let secret = |text: &str| {
        let value = HeaderValue::from_str(text);
        value.map(|mut value| {
            value.set_sensitive(true);
            value
        })
    };
    let (Ok(signature), Ok(token)) = (secret(access.signature.expose()), secret(access.token.expose()))
    else {
        return Err(Refusal::Credentials("they hold what no header can".to_owned()));
    };
    let request = client
        .get(url)
        .header(HOST, access.host.as_str())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", &key)
        .header("servicebusauthorization", signature)
        .header("service-configuration-token", token)
        .header("microsoft-guestgateway-target", format!("localhost:{port}"));
    let answer = match tokio::time::timeout(ATTEMPT, request.send()).await {
        Ok(Ok(answer)) => answer,
        // The address is that of the relay, and holds no secret.
        Ok(Err(error)) => return Err(unanswered(why(&error))),
        Err(_) => return Err(unanswered(format!("not within {} s", ATTEMPT.as_secs()))),
    };
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let phrase = answer.extensions().get::<hyper::ext::ReasonPhrase>();
        let reason = phrase.map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
        return Err(Refusal::read(answer.status().as_u16(), &reason.unwrap_or_default()));
    }
    let accepted = answer.headers().get("sec-websocket-accept").and_then(|value| value.to_str().ok());
    if accepted != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(Refusal::Other(101, "the answer is to another request".to_owned()));
    }
    let upgraded = answer.upgrade().await.map_err(|e| unanswered(why(&e)))?;
    let config = WebSocketConfig::default();
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
}

/// Returns what is behind an error of the network.
fn why(error: &reqwest::Error) -> String {
    let mut why: &dyn std::error::Error = error;
    while let Some(source) = why.source() {
        why = source;
    }
    why.to_string()
}
