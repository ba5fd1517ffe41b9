//! Drives runs from an HTTP handler. Kill it at any moment, start it again, and every order goes on where it was.
//!
//! ```text
//! curl -X POST localhost:PORT/orders/4711 -d lamp     # places the order, however often it is sent
//! curl localhost:PORT/orders/4711                     # says how it stands
//! ```

use std::convert::Infallible;
use std::error::Error;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use relight_engine::worker::Worker;
use relight_engine::{Cx, Effect, Engine, Library, Operation, Outcome, Redo, RunId, RunRequest};

const ORDER: &str = r#"/*---
title = "Order"
[params.item]
max = 100
---*/
shop::ship(params.item);
wait("2s");
shop::ship(`the bill for ${params.item}`);
"#;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Item {
    item: String,
}

struct Ship;

impl Operation for Ship {
    type Args = Item;
    type Output = ();
    const NAME: &'static str = "shop::ship";
    const SUMMARY: &'static str = "Ships an item.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Ask;

    async fn begin(&self, _: &Cx, args: &Item) -> relight_engine::Result<Outcome<()>> {
        println!("shipped {}", args.item);
        Ok(Outcome::done(()))
    }
}

/// Writes the run down. The worker drives it, so the answer need not wait for it.
async fn place(engine: &Engine, id: &RunId, body: Incoming) -> Result<(), Box<dyn Error + Send + Sync>> {
    let body = Limited::new(body, 1024).collect().await?.to_bytes();
    let item = str::from_utf8(&body)?;
    engine.prepare(&RunRequest::new("order").param("item", item).id(id.clone())).await?;
    Ok(())
}

async fn handle(engine: Engine, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.method().clone();
    let Some(id) = request.uri().path().strip_prefix("/orders/").map(RunId::from) else {
        return Ok(reply(StatusCode::NOT_FOUND, "orders are below /orders/"));
    };
    if method == Method::POST
        && let Err(error) = place(&engine, &id, request.into_body()).await
    {
        return Ok(reply(StatusCode::BAD_REQUEST, &error.to_string()));
    }
    Ok(match engine.journal().run(&id).await {
        Ok(Some(run)) if method == Method::POST => reply(StatusCode::ACCEPTED, run.status.as_str()),
        Ok(Some(run)) => reply(StatusCode::OK, run.status.as_str()),
        Ok(None) => reply(StatusCode::NOT_FOUND, "there is no such order"),
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    })
}

fn reply(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let library = Library::new().ship("order", ORDER);
    let engine = Engine::open("orders.db")?.operation(Ship).library(library).build()?;
    let mut worker = Worker::new(&engine, |what, error| eprintln!("{what}: {error}"));
    tokio::spawn(async move { worker.run().await });

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let engine = engine.clone();
        let handler = service_fn(move |request| handle(engine.clone(), request));
        // A connection that fails is its client's affair.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), handler));
    }
}
