//! The way to the sign-in service: an answer has a largest size, and a token a longest life.
//!
//! What speaks the protocol reads answers whole and adds what they say to the time, without a limit.

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind, Result};
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use futures::StreamExt;
use serde_json::Value;

/// The largest answer that is read. Tokens with many groups have some ten thousand bytes.
const LARGEST: usize = 1024 * 1024;
/// The longest life of a token that is believed, in seconds. The longest of Azure's own is 28 hours.
const LONGEST_LIFE: i64 = 48 * 3600;

/// Sends what signing in needs.
#[derive(Debug)]
pub(super) struct SignInTransport(pub(super) reqwest::Client);

#[async_trait]
impl HttpClient for SignInTransport {
    async fn execute_request(&self, request: &Request) -> Result<AsyncRawResponse> {
        let (status, headers, mut body) = self.0.execute_request(request).await?.deconstruct();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            if bytes.len() + chunk.len() > LARGEST {
                // Not a trouble of the network: asking again would bring the same.
                let message = format!("the sign-in service's answer has more than {LARGEST} bytes");
                return Err(Error::with_message(ErrorKind::DataConversion, message));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(AsyncRawResponse::from_bytes(status, headers, believed(bytes)))
    }
}

/// Returns an answer in which a token's life is one that can be added to the time.
fn believed(answer: Vec<u8>) -> Vec<u8> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(&answer) else { return answer };
    let mut changed = false;
    for name in ["expires_in", "ext_expires_in"] {
        // Some services write the number as a text.
        let told = fields.get(name).and_then(|life| life.as_f64().or_else(|| life.as_str()?.parse().ok()));
        if let Some(life) = told.filter(|life| !(0.0..=LONGEST_LIFE as f64).contains(life)) {
            let within = if life > 0.0 { LONGEST_LIFE } else { 0 };
            let was_text = fields.get(name).is_some_and(Value::is_string);
            let life = if was_text { Value::from(within.to_string()) } else { Value::from(within) };
            changed |= fields.insert(name.to_owned(), life).is_some();
        }
    }
    if changed { Value::Object(fields).to_string().into_bytes() } else { answer }
}

#[cfg(test)]
mod tests {
    use azure_core::http::Method;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_life_of_any_length_does_no_harm() {
        for (told, believed_is) in [
            (json!(3599), json!(3599)),
            (json!("3599"), json!("3599")),
            (json!(i64::MAX), json!(LONGEST_LIFE)),
            (json!(u64::MAX), json!(LONGEST_LIFE)),
            (json!(1e300), json!(LONGEST_LIFE)),
            (json!(i64::MIN), json!(0)),
            (json!("9223372036854775807"), json!(LONGEST_LIFE.to_string())),
            (json!("soon"), json!("soon")),
        ] {
            let answer = json!({ "access_token": "x", "expires_in": told }).to_string().into_bytes();
            let answer: Value = serde_json::from_slice(&believed(answer)).unwrap();
            assert_eq!(answer, json!({ "access_token": "x", "expires_in": believed_is }), "{told}");
            let seconds = answer["expires_in"].as_i64().unwrap_or_default();
            // What the protocol's implementation does with it; it panics beyond the calendar.
            let _ =
                azure_core::time::OffsetDateTime::now_utc() + azure_core::time::Duration::seconds(seconds);
        }
        assert_eq!(believed(b"no json".to_vec()), b"no json");
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
            let (part, mut sent) = (vec![b' '; 64 * 1024], 0usize);
            while sent < 1 << 30 && socket.write_all(&part).await.is_ok() {
                sent += part.len();
            }
            sent
        });
        let client = super::super::cloud::Cloud::public().http().unwrap().client().unwrap().clone();
        let request = Request::new(url.parse().unwrap(), Method::Get);
        let error = SignInTransport(client).execute_request(&request).await.expect_err("too large");
        assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
        assert!(served.await.unwrap() < 64 << 20);
    }
}
