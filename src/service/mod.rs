//! What people and programs talk to while `relight serve` runs: an HTTP API.
//!
//! ```text
//!  listener ──► router ──► endpoints, each declared once ──► engine
//!  sockets,      │   │              └──► openapi
//!  TLS           │   └──► audit: every request
//!                └──► tokens: who may
//! ```
//!
//! Owns: who may ask for what, and how it is said. Does not own: what comes of it, which is the engine's; runs that are started here are
//! driven by the worker that `serve` runs.

mod audit;
mod call;
mod endpoint;
mod endpoints;
mod fields;
mod health;
mod listener;
mod metrics;
mod openapi;
mod refusal;
mod reply;
mod router;
mod sse;
mod store;
mod tokens;
mod views;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relight_engine::{Engine, Result};
use tokio::task::JoinHandle;

pub(crate) use self::audit::{Entry, Which, read as read_audit};
use self::call::Shared;
pub(crate) use self::health::Health;
use self::listener::Listener;
pub(crate) use self::listener::{Tls, address};
use self::router::Router;
pub(crate) use self::tokens::{Grant, Role, Tokens};

/// How long a run that somebody asked to go on may wait before the worker takes it up again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where to listen, and what callers may do.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where.
    pub(crate) address: SocketAddr,
    /// With which certificate.
    pub(crate) tls: Option<Tls>,
    /// The secrets that tokens below `admin` may name.
    pub(crate) secrets: Vec<String>,
}

/// A service that listens.
pub(crate) struct Server(JoinHandle<()>);

impl Server {
    /// Begins to listen. Ends with the engine.
    ///
    /// # Errors
    /// `Invalid` when it may not or cannot listen there, `Storage` when its database cannot be used.
    pub(crate) async fn start(
        engine: &Engine,
        state: PathBuf,
        options: Options,
        health: Arc<Health>,
    ) -> Result<Self> {
        let shared = Shared::new(engine.clone(), state, options.secrets, health)?;
        let listener = Listener::bind(options.address, options.tls).await?;
        tracing::info!("listening at {}://{}", listener.scheme(), listener.address);
        let router = Arc::new(Router::new(Arc::new(shared)));
        Ok(Server(tokio::spawn(listener.serve(router, engine.clone()))))
    }

    /// Waits until requests under way have their answers. The engine is halted before.
    pub(crate) async fn end(self) {
        let _ = self.0.await;
    }
}
