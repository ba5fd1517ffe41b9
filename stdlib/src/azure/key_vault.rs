//! Azure Key Vault: secrets that are kept there, read when they are needed.
//!
//! ```text
//! GET https://{vault}.vault.azure.net/secrets/{name}[/{version}]?api-version=7.4
//! ```
//!
//! Confirmed (Microsoft's documentation): the address, the answer, the codes of refusals. The tests run against a simulated
//! vault that follows it.

use std::fmt;
use std::str::FromStr;

use relight_engine::{Error, ErrorKind, Result, Secret};
use reqwest::Url;

use super::client::Arm;
use super::wire::shortened;

/// The api-version, which every cloud offers.
const API_VERSION: &str = "7.4";

/// Which secret of which vault: `VAULT/NAME`, or `VAULT/NAME/VERSION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSecret {
    vault: String,
    name: String,
    version: Option<String>,
}

impl FromStr for VaultSecret {
    type Err = Error;

    /// Reads `VAULT/NAME[/VERSION]`. What names a vault becomes part of an address, so nothing but a name is taken.
    fn from_str(text: &str) -> Result<Self> {
        let is_name = |part: &str, longest: usize| {
            (1..=longest).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (vault, name, version) = match parts.as_slice() {
            [vault, name] => (*vault, *name, None),
            [vault, name, version] if is_name(version, 127) => (*vault, *name, Some((*version).to_owned())),
            _ => ("", "", None),
        };
        if !is_name(vault, 24) || !is_name(name, 127) {
            return Err(Error::new(ErrorKind::Denied, "this names no secret of a key vault")
                .hint("name it as VAULT/NAME, or VAULT/NAME/VERSION"));
        }
        Ok(VaultSecret { vault: vault.to_owned(), name: name.to_owned(), version })
    }
}

impl fmt::Display for VaultSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vault, self.name)?;
        self.version.iter().try_for_each(|version| write!(f, "/{version}"))
    }
}

impl Arm {
    /// Reads a secret from a key vault, as whoever signs in here.
    ///
    /// # Errors
    /// `Denied` when there is none or it must not be read; `Unsent` or `Transient` when the vault gives no answer.
    pub async fn vault_secret(&self, secret: &VaultSecret) -> Result<Secret> {
        let cloud = self.cloud();
        let VaultSecret { vault, name, version } = secret;
        let version = version.as_deref().map(|version| format!("/{version}")).unwrap_or_default();
        let address =
            format!("https://{vault}.{}/secrets/{name}{version}?api-version={API_VERSION}", cloud.vault_dns);
        let url: Url =
            address.parse().map_err(|e| Error::invalid(format!("`{address}` is no address")).because(e))?;
        let answer =
            self.read_elsewhere(&url, &cloud.vault_scope()).await.map_err(|error| match error.kind() {
                // Nobody signed in.
                ErrorKind::Denied => error,
                _ => error
                    .hint(format!("is there a vault `{vault}`, and does its firewall let this machine in?")),
            })?;
        if answer.is_success()
            && let Some(value) = answer.json().get("value").and_then(|value| value.as_str())
        {
            return Ok(Secret::new(value));
        }
        let error = answer.json().get("error");
        let text = |name: &str| error.and_then(|error| error.get(name)?.as_str()).unwrap_or_default();
        let inner = error.and_then(|error| error.get("innererror")?.get("code")?.as_str());
        let code = inner.unwrap_or_else(|| text("code"));
        let kind = match answer.status {
            408 | 429 | 500.. => ErrorKind::Transient,
            _ => ErrorKind::Denied,
        };
        let refused = Error::new(kind, format!("the key vault `{vault}` does not give out `{name}`"))
            .because(format!("{} {code}: {}", answer.status, shortened(text("message"), 300)));
        Err(match (answer.status, code) {
            (_, "SecretDisabled") => refused.hint("enable the secret, or name another one"),
            (_, "ForbiddenByFirewall") => refused.hint("let this machine through the vault's firewall"),
            (401 | 403, _) => refused.hint(format!(
                "{} needs the role Key Vault Secrets User there, or the permission `get` in the vault's access policies",
                self.credential().describe()
            )),
            (404, _) => refused.hint(format!("look at its secrets: az keyvault secret list --vault-name {vault}")),
            _ => refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_become_part_of_an_address() {
        for good in ["kv-edge/app-password", "kv/a/0123456789abcdef0123456789abcdef"] {
            assert_eq!(good.parse::<VaultSecret>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "kv",
            "kv/",
            "/a",
            "kv.evil.example/a",
            "kv/a/b/c",
            "kv/../a",
            "kv@evil/a",
            "kv/a?x=y",
            "kv/a/",
        ] {
            let error = bad.parse::<VaultSecret>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{bad}");
        }
    }
}
