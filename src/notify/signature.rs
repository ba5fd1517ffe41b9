//! The signature of a webhook, as Standard Webhooks 1.0.0 has it: HMAC-SHA256 over id, time and body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// How secrets begin that are keys in base64.
const PREFIX: &str = "whsec_";
/// How many bytes a key has.
const KEY: std::ops::RangeInclusive<usize> = 24..=512;
/// How many bytes SHA-256 takes at a time.
const BLOCK: usize = 64;

/// Returns the key that a secret stands for.
///
/// # Errors
/// Says what is wrong with it, and nothing of it.
pub(super) fn key(secret: &str) -> Result<Vec<u8>, &'static str> {
    let text = secret.strip_prefix(PREFIX).ok_or("the secret that signs does not begin with whsec_")?;
    let key = STANDARD.decode(text).map_err(|_| "the secret that signs is no base64 behind whsec_")?;
    match KEY.contains(&key.len()) {
        true => Ok(key),
        false => Err("the secret that signs has fewer than 24 bytes or more than 512"),
    }
}

/// Returns what `webhook-signature` says.
pub(super) fn sign(key: &[u8], id: &str, at: Timestamp, body: &[u8]) -> String {
    let signed = [id.as_bytes(), b".", at.as_second().to_string().as_bytes(), b".", body].concat();
    format!("v1,{}", STANDARD.encode(hmac(key, &signed)))
}

/// HMAC (RFC 2104) with SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut padded = [0; BLOCK];
    if key.len() > BLOCK {
        padded[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        padded[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(padded.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use relight_engine::event::hex;

    use super::*;

    /// RFC 4231, test cases 1, 2 and 6.
    #[test]
    fn it_is_the_one_of_the_rfc() {
        for (key, message, expected) in [
            (vec![0x0b; 20], "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac(&key, message.as_bytes())), expected);
        }
    }

    #[test]
    fn a_secret_is_a_key_in_base64() {
        assert_eq!(key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap().len(), 24);
        for wrong in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_%%%", ""] {
            let why = key(wrong).unwrap_err();
            assert!(wrong.is_empty() || !why.contains(wrong), "{why}");
        }
    }
}
