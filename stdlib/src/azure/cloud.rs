//! Which Azure is meant: where it is, where one signs in, for whom a token is asked, whom TLS trusts.

use std::fmt;
use std::sync::Arc;

use relight_engine::{Error, Result};
use reqwest::Url;
use serde_json::Value;

use super::error;
use super::http::{Http, is_loopback, receive};
use super::wire::{Method, excerpt};

/// The api-version of the endpoint that describes a cloud.
const ENDPOINTS: &str = "2022-09-01";
/// What follows the name of a key vault of the public cloud.
const VAULT: &str = "vault.azure.net";

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
    /// What follows a key vault's name in its address, such as `vault.azure.net`; a port may follow.
    pub vault_dns: String,
    /// Certificates (PEM) that are trusted besides those of the operating system.
    pub ca_bundle: Option<Arc<[u8]>>,
}

impl Cloud {
    /// Returns the public cloud.
    pub fn public() -> Self {
        Cloud::known("AzureCloud", "https://management.azure.com", "https://login.microsoftonline.com", VAULT)
    }

    /// Returns the cloud of the US government.
    pub fn us_government() -> Self {
        Cloud::known(
            "AzureUSGovernment",
            "https://management.usgovcloudapi.net",
            "https://login.microsoftonline.us",
            "vault.usgovcloudapi.net",
        )
    }

    /// Returns the cloud in China.
    pub fn china() -> Self {
        Cloud::known(
            "AzureChinaCloud",
            "https://management.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
            "vault.azure.cn",
        )
    }

    fn known(name: &str, arm: &str, login: &str, vault_dns: &str) -> Self {
        Cloud {
            name: name.to_owned(),
            arm: Url::parse(arm).expect("a constant that is an address"),
            audience: arm.to_owned(),
            login: Url::parse(login).expect("a constant that is an address"),
            vault_dns: vault_dns.to_owned(),
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
        let http = Http::new(&base, ca_bundle.as_deref())?;
        let mut url = base.clone();
        url.set_path("/metadata/endpoints");
        url.set_query(Some(&format!("api-version={ENDPOINTS}")));
        let response = receive(http.client()?.get(url.clone()), Method::Get, &url).await?;
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
        let vault_dns = body.get("suffixes").and_then(|suffixes| suffixes.get("keyVaultDns")?.as_str());
        let vault_dns = vault_dns.map_or(VAULT, |dns| dns.trim_start_matches('.')).to_owned();
        let (name, audience) = (name.to_owned(), audience.to_owned());
        Ok(Cloud { name, arm, audience, login, vault_dns, ca_bundle: None })
    }

    /// Adds certificates (PEM) that are trusted besides those of the operating system.
    #[must_use]
    pub fn with_ca_bundle(mut self, pem: impl Into<Arc<[u8]>>) -> Self {
        self.ca_bundle = Some(pem.into());
        self
    }

    /// Returns the host where one signs in, with its port where that is not the usual one.
    pub fn authority(&self) -> String {
        let port = self.login.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.login.host_str().unwrap_or_default())
    }

    /// Returns the scope to ask a token for. An audience keeps its final slash, as its tokens carry it.
    pub fn scope(&self) -> String {
        format!("{}/.default", self.audience)
    }

    /// Returns the scope to ask an SSH certificate for. Confirmed for the known clouds (the `ssh` extension of the Azure CLI);
    /// inferred for others, which are asked as the public one.
    pub fn ssh_scope(&self) -> &'static str {
        match self.login.host_str() {
            Some("login.microsoftonline.us") => {
                "https://pasff.usgovcloudapi.net/CheckMyAccess/Linux/.default"
            }
            Some("login.chinacloudapi.cn") => "https://pas.chinacloudapi.cn/CheckMyAccess/Linux/.default",
            _ => "https://pas.windows.net/CheckMyAccess/Linux/.default",
        }
    }

    /// Returns the scope to ask a token for that a key vault takes. The port of one that is not Azure's own is no part of it.
    pub fn vault_scope(&self) -> String {
        let host = self.vault_dns.split(':').next().unwrap_or_default();
        format!("https://{host}/.default")
    }

    /// Returns whether one signs in at AD FS rather than at Entra ID, as disconnected operations do.
    pub fn is_adfs(&self) -> bool {
        self.login.path().trim_end_matches('/').eq_ignore_ascii_case("/adfs")
    }

    /// Returns a client for this cloud's addresses.
    ///
    /// # Errors
    /// `Invalid` when the bundle holds no certificates.
    pub(super) fn http(&self) -> Result<Http> {
        Http::new(&self.arm, self.ca_bundle.as_deref())
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
        assert!(Cloud::public().http().and_then(|http| http.client().map(drop)).is_ok());
        for wrong in [&b""[..], b"no pem", b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
            let error = Cloud::public().with_ca_bundle(wrong).http().map(drop).expect_err("refused");
            assert_eq!(error.kind(), relight_engine::ErrorKind::Invalid);
        }
    }
}
