//! The HTTP client: whom TLS trusts, how long a request may take, how much of an answer is read.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use relight_engine::{Error, Result};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;

use super::error;
use super::wire::{Method, Response};

/// How long to try to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request that asks may take, from connecting to the last byte. Azure gives up on its providers after 60 s.
const READ: Duration = Duration::from_secs(100);
/// How long a request that changes something may take, from connecting to the last byte.
///
/// Whoever finds such a request undecided waits out the engine's margin (60 s after its maker had to stop sending)
/// before it looks at what became of it. By then this process must have given up, with room for clocks that disagree.
const WRITE: Duration = Duration::from_secs(40);
const _: () =
    assert!(WRITE.as_secs() < 45, "a request that changes something ends well within the engine's margin");

/// The largest answer that is read: Azure's own limit is 8 MB.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// Returns how long one request may take.
pub(super) fn limit(method: Method) -> Duration {
    if method.is_read() { READ } else { WRITE }
}

/// A client that is made when the first request needs it: reading the system's certificates takes milliseconds that a
/// command without requests does not spend. Cheap to clone; every clone shares the connections.
#[derive(Clone)]
pub(super) struct Http(Arc<Lazy>);

struct Lazy {
    /// Trusted besides the system's; alone where nothing leaves this machine.
    roots: Vec<CertificateDer<'static>>,
    /// Whether requests leave this machine, perhaps through a proxy.
    leaves: bool,
    /// Speaks HTTP/1.1 alone, and writes the names of headers in title case.
    upgrades: bool,
    client: OnceLock<reqwest::Client>,
}

impl Http {
    /// Describes a client for the addresses of a cloud. A proxy is never used for this machine itself.
    ///
    /// # Errors
    /// `Invalid` when the bundle `ca` holds no certificates.
    pub(super) fn new(base: &Url, ca: Option<&[u8]>) -> Result<Self> {
        let mut roots = Vec::new();
        for certificate in ca.map(CertificateDer::pem_slice_iter).into_iter().flatten() {
            let certificate = certificate
                .map_err(|e| Error::invalid("the certificate bundle is not PEM").because(e.to_string()))?;
            roots.push(certificate);
        }
        if ca.is_some() && roots.is_empty() {
            return Err(Error::invalid("the certificate bundle holds no certificate"));
        }
        Ok(Http(Arc::new(Lazy {
            roots,
            leaves: !is_loopback(base),
            upgrades: false,
            client: OnceLock::new(),
        })))
    }

    /// Describes a client for upgrades, which sees to its own time limits.
    pub(super) fn for_upgrades(&self) -> Self {
        let Lazy { roots, leaves, .. } = &*self.0;
        Http(Arc::new(Lazy {
            roots: roots.clone(),
            leaves: *leaves,
            upgrades: true,
            client: OnceLock::new(),
        }))
    }

    /// Returns the client; makes it first when this is the first time.
    ///
    /// # Errors
    /// `Invalid` when TLS cannot be set up.
    pub(super) fn client(&self) -> Result<&reqwest::Client> {
        if let Some(client) = self.0.client.get() {
            return Ok(client);
        }
        let made = self.0.make()?;
        Ok(self.0.client.get_or_init(|| made))
    }
}

impl Lazy {
    /// Makes a client that trusts the operating system and the extra roots, follows no redirect, and needs no global
    /// state.
    fn make(&self) -> Result<reqwest::Client> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let broken = |e: rustls::Error| Error::invalid("TLS cannot be set up").because(e);
        let verifier = self.verifier(&provider).map_err(broken)?;
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(broken)?
            .dangerous() // Rustls' word for any verifier that is chosen.
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        tls.alpn_protocols = match self.upgrades {
            true => vec![b"http/1.1".to_vec()],
            false => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .user_agent(concat!("relight/", env!("CARGO_PKG_VERSION")));
        builder = match self.upgrades {
            true => builder.http1_only().http1_title_case_headers().pool_max_idle_per_host(0),
            false => builder.timeout(READ),
        };
        if !self.leaves {
            builder = builder.no_proxy().dns_resolver(Arc::new(Loopback));
        }
        builder.build().map_err(|e| Error::invalid("TLS cannot be set up").because(e))
    }
}

impl Lazy {
    /// Returns who decides whom to trust: the operating system, with the extra roots. A lab has nobody but its own.
    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
        let roots = self.roots.iter().cloned();
        if self.roots.is_empty() {
            return Ok(Arc::new(Verifier::new(provider.clone())?));
        }
        if self.leaves {
            return Ok(Arc::new(Verifier::new_with_extra_roots(roots, provider.clone())?));
        }
        let mut own = RootCertStore::empty();
        for root in roots {
            own.add(root)?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(own), provider.clone()).build();
        Ok(verifier.map_err(|e| rustls::Error::General(e.to_string()))?)
    }
}

/// Names below `localhost` are this machine (RFC 6761, section 6.3); not every system's resolver knows.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = if name.as_str().ends_with(".localhost") { "localhost" } else { name.as_str() };
            let found: Vec<_> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Sends a request and reads the whole answer, up to a limit.
pub(super) async fn receive(request: reqwest::RequestBuilder, method: Method, url: &Url) -> Result<Response> {
    let lost = |e| error::unanswered(method, url, e);
    let mut answer = request.send().await.map_err(lost)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err(error::oversized(method, url, LARGEST_BODY));
        }
        body.extend_from_slice(&chunk);
    }
    let headers = answer.headers().iter().filter_map(|(n, v)| Some((n.as_str(), v.to_str().ok()?)));
    Ok(Response::new(answer.status().as_u16(), headers, &body))
}

/// Downloads what lies behind a signed address, of which nothing is shown but the host. Nothing is there yet when it is not found.
pub(super) async fn download(client: &reqwest::Client, url: &Url, most: usize) -> Result<Option<Vec<u8>>> {
    let host = url.host_str().unwrap_or_default();
    let lost = |e: reqwest::Error| {
        Error::new(relight_engine::ErrorKind::Transient, format!("{host} does not answer"))
            .because(e.without_url())
    };
    let mut answer = client.get(url.clone()).send().await.map_err(lost)?;
    let status = answer.status().as_u16();
    match status {
        200 => {}
        404 => return Ok(None),
        429 | 500.. => {
            return Err(Error::new(
                relight_engine::ErrorKind::Transient,
                format!("{host} answered with {status}"),
            ));
        }
        _ => return Err(Error::rejected(format!("{host} refused a signed address with {status}"))),
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > most {
            return Err(Error::rejected(format!("what {host} has is larger than {most} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Returns whether an address is on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_with_the_first_request_and_once() {
        let http = Http::new(&"https://management.azure.com".parse().unwrap(), None).unwrap();
        let other = http.clone();
        assert!(http.0.client.get().is_none(), "nothing is read before");
        http.client().unwrap();
        assert!(other.0.client.get().is_some(), "every clone shares it");
    }

    #[test]
    fn what_changes_something_gives_up_before_anybody_else_looks() {
        for method in [Method::Put, Method::Patch, Method::Post, Method::Delete] {
            assert!(limit(method) < Duration::from_secs(45), "{method}");
        }
        assert!(CONNECT < WRITE && limit(Method::Get) > limit(Method::Put));
    }
}
