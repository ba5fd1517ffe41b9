//! Which Azure is meant: where it is, where one signs in, for whom a token is asked, whom TLS trusts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use relight_engine::{Error, ErrorKind, Result};
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use serde_json::Value;

use super::error;
use super::wire::{Method, Response, excerpt};

/// The api-version of the endpoint that describes a cloud.
const ENDPOINTS: &str = "2022-09-01";
/// How long to try to connect.
const CONNECT: Duration = Duration::from_secs(15);
/// How long one attempt of a request may take. Azure gives up on its providers after 60 s.
const ATTEMPT: Duration = Duration::from_secs(100);

/// One Azure: public, sovereign, disconnected, or the lab.
///
/// Reads nothing from the environment: an embedder passes values.
#[derive(Clone)]
pub struct Cloud {
    /// The name shown to people.
    pub name: String,
    /// The address of Azure Resource Manager.
    pub arm: Url,
    /// For whom a token is asked.
    pub audience: String,
    /// Where one signs in.
    pub login: Url,
    /// Certificates (PEM) that are trusted besides those of the operating system.
    pub ca_bundle: Option<Arc<[u8]>>,
}

impl Cloud {
    /// Returns the public cloud.
    pub fn public() -> Self {
        Cloud::known("AzureCloud", "https://management.azure.com", "https://login.microsoftonline.com")
    }

    /// Returns the cloud of the US government.
    pub fn us_government() -> Self {
        Cloud::known(
            "AzureUSGovernment",
            "https://management.usgovcloudapi.net",
            "https://login.microsoftonline.us",
        )
    }

    /// Returns the cloud in China.
    pub fn china() -> Self {
        Cloud::known(
            "AzureChinaCloud",
            "https://management.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
        )
    }

    fn known(name: &str, arm: &str, login: &str) -> Self {
        Cloud {
            name: name.to_owned(),
            arm: Url::parse(arm).expect("a constant that is an address"),
            audience: arm.to_owned(),
            login: Url::parse(login).expect("a constant that is an address"),
            ca_bundle: None,
        }
    }

    /// Returns the cloud of a name that the Azure CLI uses.
    pub fn named(name: &str) -> Option<Self> {
        [Cloud::public(), Cloud::us_government(), Cloud::china()]
            .into_iter()
            .find(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// Asks a cloud to describe itself.
    ///
    /// # Errors
    /// `Unsent` or `Transient` when it gives no answer, `Rejected` when the answer describes no cloud.
    pub async fn discover(name: &str, arm: &str, ca_bundle: Option<Arc<[u8]>>) -> Result<Self> {
        let base = parse_endpoint("the address of Azure Resource Manager", arm)?;
        let http = http_client(&base, ca_bundle.as_deref())?;
        let mut url = base.clone();
        url.set_path("/metadata/endpoints");
        url.set_query(Some(&format!("api-version={ENDPOINTS}")));
        let response = receive(http.get(url.clone()), Method::Get, &url).await?;
        if !response.is_success() {
            return Err(error::refused(Method::Get, &url, &response));
        }
        let mut cloud = Cloud::from_endpoints(name, base, response.json())?;
        cloud.ca_bundle = ca_bundle;
        Ok(cloud)
    }

    /// Reads what `/metadata/endpoints` says: one description, or a list of which the first counts.
    ///
    /// # Errors
    /// `Rejected` when it names no place to sign in or no audience.
    pub fn from_endpoints(name: &str, arm: Url, body: &Value) -> Result<Self> {
        let body = body.as_array().and_then(|list| list.first()).unwrap_or(body);
        let authentication = body.get("authentication");
        let login = authentication.and_then(|a| a.get("loginEndpoint")).and_then(Value::as_str);
        let audience = authentication.and_then(|a| a.get("audiences")?.get(0)?.as_str());
        let (Some(login), Some(audience)) = (login, audience) else {
            let said = excerpt(&body.to_string());
            return Err(Error::rejected(format!("{arm} does not describe a cloud: {said}"))
                .hint("give the address of Azure Resource Manager, such as https://armmanagement.autonomous.cloud.private"));
        };
        let login = parse_endpoint("the sign-in address", login)?;
        Ok(Cloud { name: name.to_owned(), arm, audience: audience.to_owned(), login, ca_bundle: None })
    }

    /// Adds certificates (PEM) that are trusted besides those of the operating system.
    #[must_use]
    pub fn with_ca_bundle(mut self, pem: impl Into<Arc<[u8]>>) -> Self {
        self.ca_bundle = Some(pem.into());
        self
    }

    /// Returns the scope to ask a token for. An audience keeps its final slash, as its tokens carry it.
    pub fn scope(&self) -> String {
        format!("{}/.default", self.audience)
    }

    /// Returns whether one signs in at AD FS rather than at Entra ID, as disconnected operations do.
    pub fn is_adfs(&self) -> bool {
        self.login.path().trim_end_matches('/').eq_ignore_ascii_case("/adfs")
    }

    /// Returns a client for this cloud's addresses.
    ///
    /// # Errors
    /// `Invalid` when the certificates cannot be read.
    pub fn http_client(&self) -> Result<reqwest::Client> {
        http_client(&self.arm, self.ca_bundle.as_deref())
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud")
            .field("name", &self.name)
            .field("arm", &self.arm.as_str())
            .finish_non_exhaustive()
    }
}

/// Reads an address that carries tokens or secrets, and so must be https.
fn parse_endpoint(what: &str, text: &str) -> Result<Url> {
    let url = Url::parse(text)
        .map_err(|e| Error::invalid(format!("{what} `{}` is not an address", excerpt(text))).because(e))?;
    require_https(&url)?;
    Ok(url)
}

/// Checks that tokens and secrets do not travel in the clear.
pub(super) fn require_https(url: &Url) -> Result<()> {
    if url.scheme() == "https" && url.host().is_some() || is_loopback(url) {
        return Ok(());
    }
    Err(Error::invalid(format!("`{}` must start with https://", excerpt(url.as_str()))))
}

/// Makes a client that trusts the operating system and `ca`, follows no redirect, and needs no global state.
fn http_client(arm: &Url, ca: Option<&[u8]>) -> Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = Vec::new();
    for certificate in ca.map(CertificateDer::pem_slice_iter).into_iter().flatten() {
        let certificate = certificate
            .map_err(|e| Error::invalid("the certificate bundle is not PEM").because(e.to_string()))?;
        roots.push(certificate);
    }
    if ca.is_some() && roots.is_empty() {
        return Err(Error::invalid("the certificate bundle holds no certificate"));
    }
    let broken = |e: rustls::Error| Error::invalid("TLS cannot be set up").because(e);
    let verifier = Verifier::new_with_extra_roots(roots, provider.clone()).map_err(broken)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .dangerous() // Rustls' word for any verifier of one's own; this one is the operating system's.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(ATTEMPT)
        .user_agent(concat!("relight/", env!("CARGO_PKG_VERSION")));
    if is_loopback(arm) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|e| Error::invalid("TLS cannot be set up").because(e))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The largest answer that is read: Azure's own limit is 8 MB.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// Sends a request and reads the whole answer, up to a limit.
pub(super) async fn receive(request: reqwest::RequestBuilder, method: Method, url: &Url) -> Result<Response> {
    let lost = |e| error::unanswered(method, url, e);
    let mut answer = request.send().await.map_err(lost)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err(Error::new(
                ErrorKind::Rejected,
                format!("{method} gave more than {LARGEST_BODY} bytes"),
            )
            .hint("ask for less: fewer resources, a filter, a smaller page"));
        }
        body.extend_from_slice(&chunk);
    }
    let headers = answer.headers().iter().filter_map(|(n, v)| Some((n.as_str(), v.to_str().ok()?)));
    Ok(Response::new(answer.status().as_u16(), headers, &body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arm() -> Url {
        "https://arm.private".parse().unwrap()
    }

    #[test]
    fn a_cloud_describes_itself_in_two_ways() {
        let one = json!({"name": "x", "authentication": {"loginEndpoint": "https://login.private/adfs", "audiences": ["https://a/", "b"]}});
        for body in [one.clone(), json!([one])] {
            let cloud = Cloud::from_endpoints("private", arm(), &body).unwrap();
            assert_eq!((cloud.scope().as_str(), cloud.is_adfs()), ("https://a//.default", true));
        }
        for body in [
            json!(null),
            json!([]),
            json!({"authentication": {}}),
            json!({"authentication": {"loginEndpoint": "http://x", "audiences": ["a"]}}),
        ] {
            assert!(Cloud::from_endpoints("private", arm(), &body).is_err(), "{body}");
        }
    }

    #[test]
    fn known_clouds_have_names() {
        assert_eq!(Cloud::named("azurecloud").unwrap().scope(), "https://management.azure.com/.default");
        assert!(Cloud::named("moon").is_none());
    }

    #[test]
    fn certificates_must_be_readable() {
        assert!(Cloud::public().http_client().is_ok());
        for wrong in [&b""[..], b"no pem", b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
            let error = Cloud::public().with_ca_bundle(wrong).http_client().expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }
}
