//! As whom a token was given out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Who somebody is, as far as their token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The name of a person, such as `ada@contoso.com`.
    pub name: Option<String>,
    /// The directory's id.
    pub tenant: Option<String>,
    /// The id of the person, the service principal or the managed identity in its directory.
    pub object_id: Option<String>,
    /// The id of the application.
    pub application: Option<String>,
    /// The address from which Entra ID saw the sign-in come. Inferred: tokens for people have it, those for programs have not.
    pub address: Option<std::net::IpAddr>,
}

impl Identity {
    /// Reads a token. One that nobody can look into says nothing.
    pub(in crate::azure) fn read(token: &str) -> Self {
        let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let claims: Value = payload.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        let claim = |name: &str| claims[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Identity {
            name: ["upn", "unique_name", "preferred_username", "name"].into_iter().find_map(claim),
            tenant: claim("tid"),
            object_id: claim("oid"),
            application: claim("appid").or_else(|| claim("azp")),
            address: claim("ipaddr").and_then(|address| address.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_cannot_be_looked_into_says_nothing() {
        let token =
            format!("e30.{}.x", URL_SAFE_NO_PAD.encode(r#"{"tid":"t","oid":"o","upn":"ada","appid":7}"#));
        let identity = Identity::read(&token);
        assert_eq!((identity.name.as_deref(), identity.application), (Some("ada"), None));
        for opaque in ["", "opaque", "a.b.c", "e30.W10.x"] {
            assert_eq!(Identity::read(opaque), Identity::default(), "{opaque}");
        }
    }
}
