//! What opens the relay to one service of a machine.

use std::time::Duration;

use jiff::Timestamp;
use relight_engine::{Error, Result, Secret};
use serde_json::Value;

use crate::azure::Api;
use crate::prelude::text;

/// Where credentials are asked for, below a machine.
pub(crate) const CREDENTIALS: &str =
    "providers/Microsoft.HybridConnectivity/endpoints/default/listCredentials";

/// Known versions; all have the same paths and bodies.
pub(crate) const ENDPOINTS: Api<'static> = Api {
    kind: "Microsoft.HybridConnectivity/endpoints",
    versions: &["2027-01-01", "2024-12-01", "2023-03-15"],
};

/// How long credentials are good for: what Microsoft's own client asks for. They are used at once.
pub(super) const LIFE: Duration = Duration::from_secs(3600);

/// What opens the relay to one service of a machine, for a while.
///
/// The signature is complete when it comes: nothing is signed here.
pub struct Access {
    /// Where the relay is.
    pub(super) host: String,
    /// The hybrid connection of the machine.
    pub(super) path: String,
    pub(super) signature: Secret,
    /// What the agent on the machine wants to see.
    pub(super) token: Secret,
    /// When the signature is over.
    pub expires: Timestamp,
}

impl Access {
    /// Reads the answer of Azure.
    ///
    /// # Errors
    /// `Rejected` when it lacks something, or names a host that is none.
    pub fn read(body: &Value) -> Result<Self> {
        let wanted = |name: &str| {
            let found = text(body, &format!("/relay/{name}")).map(str::to_owned);
            found.ok_or_else(|| Error::rejected(format!("the relay's credentials have no `{name}`")))
        };
        let host = format!("{}.{}", wanted("namespaceName")?, wanted("namespaceNameSuffix")?);
        let path = wanted("hybridConnectionName")?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':');
        if !host.chars().all(|c| is_plain(c) && c != '/') || !path.chars().all(is_plain) {
            return Err(Error::rejected("the relay's credentials name a place that is none"));
        }
        let expires = body.pointer("/relay/expiresOn").and_then(Value::as_i64);
        let expires = expires.and_then(|at| Timestamp::from_second(at).ok());
        Ok(Access {
            host,
            path,
            signature: Secret::new(wanted("accessKey")?),
            token: Secret::new(wanted("serviceConfigurationToken")?),
            expires: expires
                .ok_or_else(|| Error::rejected("the relay's credentials do not say their end"))?,
        })
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("host", &self.host)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given() -> Value {
        json!({"relay": {
            "namespaceName": "azgnrelay-eastus-l1",
            "namespaceNameSuffix": "servicebus.windows.net",
            "hybridConnectionName": "microsoft.hybridcompute/machines/abc/1635",
            "accessKey": "SharedAccessSignature sr=http%3A%2F%2Fx&sig=shh&se=1620000256&skn=send",
            "expiresOn": 1_620_000_256,
            "serviceConfigurationToken": "eyJ",
        }})
    }

    #[test]
    fn credentials_are_read_and_not_shown() {
        let access = Access::read(&given()).unwrap();
        assert_eq!(access.host, "azgnrelay-eastus-l1.servicebus.windows.net");
        assert_eq!(access.expires.to_string(), "2021-05-03T00:04:16Z");
        let shown = format!("{access:?}");
        assert!(!shown.contains("shh") && !shown.contains("eyJ"), "{shown}");
    }

    #[test]
    fn what_is_missing_or_leads_elsewhere_is_refused() {
        for name in ["namespaceName", "hybridConnectionName", "accessKey", "expiresOn"] {
            let mut body = given();
            body["relay"][name] = Value::Null;
            assert!(Access::read(&body).is_err(), "{name}");
        }
        for (name, value) in [
            ("namespaceName", "evil.example/"),
            ("namespaceNameSuffix", "x@evil.example"),
            ("hybridConnectionName", "a?b=c"),
            ("hybridConnectionName", "a#b"),
        ] {
            let mut body = given();
            body["relay"][name] = json!(value);
            assert!(Access::read(&body).is_err(), "{name} {value}");
        }
    }
}
