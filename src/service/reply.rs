//! What requests are answered with: JSON, plain text, nothing, or events as they happen.

use std::convert::Infallible;

use futures::Stream;
use futures::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

/// An answer on its way.
pub(super) type Reply = Response<BoxBody<Bytes, Infallible>>;

/// What an endpoint answers with, and how that is described.
pub(super) trait Answer: Send + 'static {
    /// Its media type; nothing when there is no body.
    const MEDIA: Option<&'static str>;

    /// Returns its schema.
    fn schema(generator: &mut SchemaGenerator) -> Schema;

    /// Returns it as it is sent, with the status that is usual for the endpoint.
    fn reply(self, status: StatusCode) -> Reply;
}

/// An answer in JSON.
#[derive(Debug)]
pub(super) struct Json<T> {
    body: T,
    status: Option<StatusCode>,
    location: Option<String>,
}

impl<T> Json<T> {
    /// Answers with what is usual for the endpoint.
    pub(super) fn new(body: T) -> Self {
        Json { body, status: None, location: None }
    }

    /// Answers with another status.
    pub(super) fn with(self, status: StatusCode) -> Self {
        Json { status: Some(status), ..self }
    }

    /// Says where what was made is found.
    pub(super) fn at(self, location: String) -> Self {
        Json { location: Some(location), ..self }
    }
}

impl<T: Serialize + JsonSchema + Send + 'static> Answer for Json<T> {
    const MEDIA: Option<&'static str> = Some("application/json");

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }

    fn reply(self, status: StatusCode) -> Reply {
        let mut reply = json(self.status.unwrap_or(status), &self.body);
        if let Some(location) = self.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            reply.headers_mut().insert(LOCATION, location);
        }
        reply
    }
}

/// Nothing but a status.
#[derive(Debug)]
pub(super) struct Nothing;

impl Answer for Nothing {
    const MEDIA: Option<&'static str> = None;

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }

    fn reply(self, status: StatusCode) -> Reply {
        let mut reply = Response::new(BoxBody::new(Full::default()));
        *reply.status_mut() = status;
        reply
    }
}

/// Plain text, with another status when need be.
#[derive(Debug)]
pub(super) struct Text(pub(super) String, pub(super) Option<StatusCode>);

impl Answer for Text {
    const MEDIA: Option<&'static str> = Some("text/plain");

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }

    fn reply(self, status: StatusCode) -> Reply {
        let mut reply = Response::new(BoxBody::new(Full::from(self.0)));
        *reply.status_mut() = self.1.unwrap_or(status);
        // Prometheus knows the version of its format by this.
        reply
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
        reply
    }
}

/// The bytes of a file.
#[derive(Debug)]
pub(super) struct Content(pub(super) Vec<u8>);

impl Answer for Content {
    const MEDIA: Option<&'static str> = Some("application/octet-stream");

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "binary" })
    }

    fn reply(self, status: StatusCode) -> Reply {
        let mut reply = Response::new(BoxBody::new(Full::from(self.0)));
        *reply.status_mut() = status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }
}

/// Events as they happen, in the format that browsers call server-sent events.
pub(super) struct Events(pub(super) futures::stream::BoxStream<'static, Bytes>);

impl Events {
    /// Answers with what a stream yields.
    pub(super) fn new(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Events(stream.boxed())
    }
}

impl Answer for Events {
    const MEDIA: Option<&'static str> = Some("text/event-stream");

    /// That of one event, which is how tools read it.
    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "id": { "type": "string", "description": "The number of the event." },
                "event": { "type": "string", "description": "Its word, or `end` when the run is over." },
                "data": { "type": "string", "description": "A line of JSON." },
            },
        })
    }

    fn reply(self, status: StatusCode) -> Reply {
        let frames = self.0.map(|bytes| Ok(Frame::data(bytes)));
        // Bodies are shared between threads in type only; this one is polled by one connection.
        let body = BodyExt::boxed(StreamBody::new(sync(frames)));
        let mut reply = Response::new(body);
        *reply.status_mut() = status;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }
}

/// Makes a stream that several threads may hold: they take turns.
fn sync<S>(stream: S) -> impl Stream<Item = S::Item> + Send + Sync + Unpin
where
    S: Stream + Send + Unpin,
{
    let stream = std::sync::Mutex::new(stream);
    futures::stream::poll_fn(move |cx| match stream.lock() {
        Ok(mut stream) => stream.poll_next_unpin(cx),
        Err(poisoned) => poisoned.into_inner().poll_next_unpin(cx),
    })
}

/// Returns a value as JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    // Maps have texts for keys everywhere here, so this cannot fail.
    let text = serde_json::to_vec(body).unwrap_or_else(|_| b"{}".to_vec());
    let mut reply = Response::new(BoxBody::new(Full::from(text)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
