//! What opens the relay: a shared access signature for the path, and a token for the agent behind it.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    token::TokenKey,
    world::{Service, World},
};

/// How large a token for the agent is in Azure, about.
const TOKEN_BULK: usize = 2000;

/// The right to connect to one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// The hybrid connection.
    pub(crate) path: String,
    /// The service that the agent lets in. None is named when none was asked for.
    pub(crate) service: Option<Service>,
    pub(crate) expires: Timestamp,
}

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Malformed,
    Forged,
    Expired,
    Elsewhere,
}

impl Pass {
    /// Returns the hybrid connection of a machine.
    pub(crate) fn path_of(world: &World, group: &str, machine: &str) -> String {
        let name = format!("hybrid connection {group} {machine}").to_ascii_lowercase();
        let seed = world.seed();
        let number = seed.below(&name, 1_000_000_000_000);
        format!("microsoft.hybridcompute/machines/{}/{number}", seed.hex(&name).to_ascii_lowercase())
    }

    /// Returns the signature as a client sends it, verbatim.
    pub(crate) fn access_key(&self, base: &str, key: &TokenKey) -> String {
        let resource = escaped(&format!("{}/{}/", base.replacen("https", "http", 1), self.path));
        let expires = self.expires.as_second();
        let signature = escaped(&STANDARD.encode(key.sign(&format!("{resource}\n{expires}"))));
        format!("SharedAccessSignature sr={resource}&sig={signature}&se={expires}&skn=azgnrelay-send")
    }

    /// Checks a signature for a path.
    pub(crate) fn check(
        text: &str,
        path: &str,
        base: &str,
        key: &TokenKey,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let fields = text.strip_prefix("SharedAccessSignature ").ok_or(Refused::Malformed)?;
        let field = |name: &str| {
            let mut pairs = fields.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value).ok_or(Refused::Malformed)
        };
        let expires = field("se")?.parse().ok().and_then(|at| Timestamp::from_second(at).ok());
        let expires = expires.ok_or(Refused::Malformed)?;
        let resource = field("sr")?;
        if field("sig")?
            != escaped(&STANDARD.encode(key.sign(&format!("{resource}\n{}", expires.as_second()))))
        {
            return Err(Refused::Forged);
        }
        if expires <= now {
            return Err(Refused::Expired);
        }
        let own = escaped(&format!("{}/{path}/", base.replacen("https", "http", 1)));
        if resource == own { Ok(()) } else { Err(Refused::Elsewhere) }
    }

    /// Returns the token for the agent. It is large, as Azure's is.
    pub(crate) fn token(&self, key: &TokenKey) -> String {
        let service = self.service.as_ref();
        key.seal(&json!({
            "aud": "microsoft.guestgateway",
            "sub": self.path,
            "exp": self.expires.as_second(),
            "serviceName": service.map(|service| &service.name),
            "port": service.map(|service| service.port),
            "bulk": "x".repeat(TOKEN_BULK),
        }))
    }

    /// Returns the port that a token lets in, if it is one for the path and its time has not passed.
    pub(crate) fn port_of(token: &str, path: &str, key: &TokenKey, now: Timestamp) -> Option<u16> {
        let claims = key.open(token)?;
        let is_good = claims["sub"] == *path && claims["exp"].as_i64()? > now.as_second();
        is_good.then(|| claims["port"].as_u64()).flatten().and_then(|port| u16::try_from(port).ok())
    }
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_its_path_and_its_time() {
        let (key, now) = (TokenKey::generate(), Timestamp::UNIX_EPOCH);
        let base = "https://127.0.0.1:4444";
        let service = Some(Service { name: "SSH".into(), port: 22 });
        let pass = Pass { path: "machines/a/1".into(), service, expires: Timestamp::constant(600, 0) };
        let text = pass.access_key(base, &key);
        let check =
            |text: &str, path: &str, at| Pass::check(text, path, base, &key, Timestamp::constant(at, 0));
        assert_eq!(check(&text, "machines/a/1", 599), Ok(()));
        assert_eq!(check(&text, "machines/a/1", 600), Err(Refused::Expired));
        assert_eq!(check(&text, "machines/b/1", 0), Err(Refused::Elsewhere));
        assert_eq!(check(&text.replace("se=600", "se=900"), "machines/a/1", 0), Err(Refused::Forged));
        assert_eq!(check("SharedAccessSignature sr=x", "machines/a/1", 0), Err(Refused::Malformed));
        let token = pass.token(&key);
        assert!(token.len() > TOKEN_BULK);
        assert_eq!(Pass::port_of(&token, "machines/a/1", &key, now), Some(22));
        assert_eq!(Pass::port_of(&token, "machines/b/1", &key, now), None);
        assert_eq!(Pass::port_of(&token, "machines/a/1", &key, pass.expires), None);
    }
}
