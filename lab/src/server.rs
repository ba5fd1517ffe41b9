//! The socket side: TLS, HTTP/1.1, and turning hyper's requests into plain values and back.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, net::TcpStream, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::{
    dispatch::Dispatch,
    http::{Body, Call, Outcome, Reply, parse_form},
    relay,
};

/// ARM takes no more than this.
const BODY_LIMIT: usize = 4 << 20;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Serves until dropped; all connections end with it.
pub(crate) async fn serve(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Dispatch>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, tls.clone(), Arc::clone(&shared)))),
                // Running out of file handles passes; spinning on it does not help.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Dispatch>) {
    // Answers are small and wait for nobody: Nagle's algorithm would only delay them.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await else {
        return;
    };
    let service = service_fn(|request| answer(request, &shared));
    // An error here is a client that went away or a fault that closed the connection; both are as they should be.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

/// The connection is to be closed without an answer. hyper does that when a service fails.
#[derive(Debug)]
struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for HangUp {}

async fn answer(request: Request<Incoming>, shared: &Arc<Dispatch>) -> Result<Response<Full<Bytes>>, HangUp> {
    if request.uri().path().starts_with(relay::PREFIX) {
        let call = call(&request, Vec::new());
        return Ok(shared.connect(request, &call).await);
    }
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| HangUp)?.to_bytes();
    let call = call(&Request::from_parts(head, ()), body.to_vec());
    match shared.answer(&call).await {
        Outcome::Answer(reply) => Ok(into_response(reply)),
        Outcome::HangUp => Err(HangUp),
    }
}

fn call<B>(request: &Request<B>, body: Vec<u8>) -> Call {
    let headers = request.headers().iter();
    Call {
        method: request.method().as_str().to_owned(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(parse_form).unwrap_or_default(),
        headers: headers
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect(),
        body,
    }
}

fn into_response(reply: Reply) -> Response<Full<Bytes>> {
    let (media, body) = match reply.body {
        Body::Empty => (None, Bytes::new()),
        Body::Json(value) => (Some("application/json; charset=utf-8"), Bytes::from(value.to_string())),
        Body::Raw(media, text) => (Some(media), Bytes::from(text)),
        Body::Bytes(media, bytes) => (Some(media), Bytes::from(bytes)),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = hyper::StatusCode::from_u16(reply.status).unwrap_or_default();
    let headers = response.headers_mut();
    if let Some(media) = media {
        headers.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static(media));
    }
    for (name, value) in reply.headers {
        // A value echoed from the client may hold bytes that no header can; such a header is left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_ref()), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    response
}
