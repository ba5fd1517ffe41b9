//! A server of a test's own at the other end of a tunnel.

use std::sync::Arc;

use relight_engine::Secret;
use russh::keys::key::safe_rng;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Handler};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Login, Proof, Session, Trust};
use crate::relay::Tunnel;
use crate::road::Connection;

/// A server, and the way to it. The server ends with this.
pub(super) struct Served {
    pub(super) tunnel: Connection,
    pub(super) trust: Trust,
    pub(super) serving: Serving,
}

/// A task that ends with its value.
pub(super) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a server.
pub(super) async fn connect<H: Handler<Error = russh::Error> + Send + 'static>(handler: H) -> Served {
    let (here, there) = tokio::io::duplex(1 << 16);
    let tunnel = Tunnel::over(WebSocketStream::from_raw_socket(here, Role::Client, None).await);
    let far = Tunnel::over(WebSocketStream::from_raw_socket(there, Role::Server, None).await);
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    let trust = Trust::Only(vec![key.public_key().clone()]);
    let config = Arc::new(server::Config { keys: vec![key], ..server::Config::default() });
    let serving = Serving(tokio::spawn(async move {
        if let Ok(session) = server::run_stream(config, far, handler).await {
            let _ = session.await;
        }
    }));
    Served { tunnel: Connection::through(tunnel), trust, serving }
}

impl Served {
    /// Signs in with a password that the server takes.
    pub(super) async fn session(self, user: &str) -> Session {
        let Served { tunnel, trust, serving } = self;
        // It ends with the tunnel.
        std::mem::forget(serving);
        let login = Login { user: user.to_owned(), by: vec![Proof::Password(Secret::new("correct horse"))] };
        Session::open(tunnel, "db-01", &login, trust).await.unwrap()
    }
}
