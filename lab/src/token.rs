//! Access tokens: shaped like JWTs because clients look inside, signed with a key only this lab has.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How long a token is good for, in seconds of whoever asks for it.
pub(crate) const LIFETIME: i64 = 3600;

/// For whom a token is that a key vault takes.
pub(crate) const VAULTS: &str = "https://vault.localhost";

/// Signs and checks tokens.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct TokenKey(String);

/// What the lab reads back out of a token it signed.
pub(crate) struct Claims {
    /// The token's own id.
    pub(crate) id: String,
    /// For whom it is.
    pub(crate) audience: String,
    /// When it ends.
    pub(crate) expires: Timestamp,
    /// Whether the token was asked for with the claims of a challenge.
    pub(crate) answers_challenge: bool,
}

/// Whom a token is for.
pub(crate) struct Subject<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) object_id: &'a str,
    pub(crate) client_id: &'a str,
    /// The name of a person; a program has none.
    pub(crate) principal: Option<&'a str>,
    pub(crate) audience: &'a str,
    pub(crate) issuer: &'a str,
    pub(crate) answers_challenge: bool,
    /// How long the token is good for, in seconds of the lab.
    pub(crate) life: i64,
}

impl TokenKey {
    /// Makes a new random key.
    pub(crate) fn generate() -> Self {
        Self(format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()))
    }

    /// Returns a signed token.
    pub(crate) fn issue(&self, subject: &Subject<'_>, now: Timestamp) -> String {
        let issued = now.as_second();
        self.seal(&json!({
            "aud": subject.audience,
            "iss": subject.issuer,
            "iat": issued,
            "nbf": issued,
            "exp": issued.saturating_add(subject.life),
            "appid": subject.client_id,
            "idtyp": if subject.principal.is_some() { "user" } else { "app" },
            "upn": subject.principal,
            // Tokens of people tell from where they signed in.
            "ipaddr": subject.principal.map(|_| "127.0.0.1"),
            "oid": subject.object_id,
            "sub": subject.object_id,
            "tid": subject.tenant,
            "uti": crate::seed::random_uuid(),
            "ver": "1.0",
            "lab_answers_challenge": subject.answers_challenge,
        }))
    }

    /// Returns a signed token of any claims.
    pub(crate) fn seal(&self, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": "HS256", "kid": "lab"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.sign(&signed);
        format!("{signed}.{signature}")
    }

    /// Returns the claims of a token that this key signed.
    pub(crate) fn open(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        if self.sign(signed) != signature {
            return None;
        }
        let (_, payload) = signed.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    /// Returns the claims of a token that this key signed, whether or not its time has passed.
    pub(crate) fn read(&self, token: &str) -> Option<Claims> {
        let payload = self.open(token)?;
        Some(Claims {
            id: payload["uti"].as_str()?.to_owned(),
            audience: payload["aud"].as_str()?.to_owned(),
            expires: Timestamp::from_second(payload["exp"].as_i64()?).ok()?,
            answers_challenge: payload["lab_answers_challenge"].as_bool()?,
        })
    }

    /// HMAC-SHA256 as in RFC 2104; the key is 64 bytes, exactly one block.
    pub(crate) fn sign(&self, text: &str) -> String {
        let pad = |with: u8| self.0.bytes().map(|byte| byte ^ with).collect::<Vec<u8>>();
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
        let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
        URL_SAFE_NO_PAD.encode(outer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_untouched_tokens_are_read() {
        let key = TokenKey::generate();
        let subject = Subject {
            tenant: "t",
            object_id: "o",
            client_id: "c",
            principal: None,
            audience: "a",
            issuer: "i",
            answers_challenge: false,
            life: LIFETIME,
        };
        let token = key.issue(&subject, Timestamp::UNIX_EPOCH);
        assert_eq!(key.read(&token).map(|c| c.expires.as_second()), Some(LIFETIME));
        assert!(TokenKey::generate().read(&token).is_none());
        assert!(key.read(&token.replacen('.', ".A", 1)).is_none());
        assert!(key.read("not a token").is_none());
    }
}
