//! The sockets: where the service listens, with or without TLS, and how much of it one client can take.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use relight_engine::{Engine, Error, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::router::Router;

/// How many connections there are at once. Others wait until one of them ends.
const CONNECTIONS: usize = 512;
/// How long the head of a request may take, and a connection be silent between two of them.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The largest head of a request.
const LARGEST_HEAD: usize = 32 << 10;
/// How long requests may take to end once the service does.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// The files of a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// The certificate and those between it and its authority, as PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, as PEM.
    pub(crate) key: PathBuf,
}

/// A socket that listens.
pub(super) struct Listener {
    socket: TcpListener,
    certificate: Option<Arc<Certificate>>,
    pub(super) address: SocketAddr,
}

/// Reads where to listen.
///
/// # Errors
/// `Invalid` when it is no address with a port.
pub(crate) fn address(text: &str) -> Result<SocketAddr> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok());
    match (local, text.parse()) {
        (Some(port), _) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        (None, Ok(address)) => Ok(address),
        (None, Err(_)) => Err(Error::invalid(format!("`{text}` is no address to listen at"))
            .hint("write an address of this machine and a port, such as 127.0.0.1:7411")),
    }
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// `Invalid` when others than this machine could come and there is no TLS, or the address or the certificate cannot be used.
    pub(super) async fn bind(address: SocketAddr, tls: Option<Tls>) -> Result<Self> {
        if !address.ip().is_loopback() && tls.is_none() {
            return Err(Error::invalid(format!(
                "{address} can be reached from elsewhere, and tokens would cross the network in the clear"
            ))
            .hint("give a certificate with --tls-cert and --tls-key")
            .hint("or listen at 127.0.0.1, behind a proxy that speaks TLS"));
        }
        let certificate = match tls {
            Some(tls) => Some(Arc::new(Certificate::read(tls)?)),
            None => None,
        };
        let unusable =
            |e| Error::invalid(format!("cannot listen at {address}")).because(e).hint("choose another port");
        let socket = TcpListener::bind(address).await.map_err(unusable)?;
        let address = socket.local_addr().map_err(unusable)?;
        Ok(Listener { socket, certificate, address })
    }

    /// Returns with what an address of the service begins.
    pub(super) fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }

    /// Serves until the engine is halted. Then nobody new is let in, streams end, and requests under way get their answers.
    pub(super) async fn serve(self, router: Arc<Router>, engine: Engine) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let place = places.clone().acquire_owned();
            let accepted = tokio::select! {
                () = engine.halted() => break,
                Some(_) = connections.join_next() => continue,
                accepted = async {
                    // The semaphore is never closed.
                    let place = place.await.ok();
                    (place, self.socket.accept().await)
                } => accepted,
            };
            match accepted {
                (Some(place), Ok((stream, _))) => {
                    let connection =
                        connection(stream, self.certificate.clone(), router.clone(), engine.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                // Running out of file handles passes; spinning on it does not help.
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        drop(self.socket);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ANSWERS, ended).await.is_err() {
            tracing::warn!("requests that were under way are left without an answer");
        }
    }
}

async fn connection(
    stream: TcpStream,
    certificate: Option<Arc<Certificate>>,
    router: Arc<Router>,
    engine: Engine,
) {
    // Answers are small and wait for nobody.
    let _ = stream.set_nodelay(true);
    match certificate {
        None => answer(stream, router, engine).await,
        Some(certificate) => {
            let handshake = TlsAcceptor::from(certificate.now()).accept(stream);
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
                answer(stream, router, engine).await;
            }
        }
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Arc<Router>,
    engine: Engine,
) {
    let service = service_fn(move |request| {
        let router = router.clone();
        async move { Ok::<_, std::convert::Infallible>(router.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // What goes wrong here is a client that went away, or was too slow.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = engine.halted() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A certificate that is read again when its files change: it lasts for less than the service does.
struct Certificate {
    files: Tls,
    current: Mutex<(Stamp, Arc<ServerConfig>)>,
}

/// When the files were written.
type Stamp = [Option<SystemTime>; 2];

impl Certificate {
    fn read(files: Tls) -> Result<Self> {
        let current = Mutex::new((stamp(&files), Arc::new(config(&files)?)));
        Ok(Certificate { files, current })
    }

    /// Returns what to greet the next client with.
    fn now(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.files);
        if current.0 != stamp {
            match config(&self.files) {
                Ok(config) => {
                    tracing::info!("the certificate was read again");
                    *current = (stamp, Arc::new(config));
                }
                // One of two files may have been written; the other follows.
                Err(error) => tracing::warn!("the certificate that was read before is used: {error:?}"),
            }
        }
        current.1.clone()
    }
}

fn stamp(files: &Tls) -> Stamp {
    [&files.certificate, &files.key].map(|file| fs::metadata(file).and_then(|file| file.modified()).ok())
}

fn config(files: &Tls) -> Result<ServerConfig> {
    let unreadable = |file: &Path, e: Box<dyn std::error::Error + Send + Sync>| {
        Error::invalid(format!("{} cannot be used", file.display())).because(e)
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|e| unreadable(&files.certificate, e.into()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| unreadable(&files.key, e.into()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|e| unreadable(&files.certificate, e.into()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port() {
        for (text, expected) in
            [("127.0.0.1:7411", "127.0.0.1:7411"), ("[::1]:0", "[::1]:0"), ("localhost:80", "127.0.0.1:80")]
        {
            assert_eq!(address(text).unwrap().to_string(), expected);
        }
        for wrong in ["", "127.0.0.1", "7411", "example.com:80", "localhost:", "localhost:99999"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
