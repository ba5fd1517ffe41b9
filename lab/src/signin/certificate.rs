//! SSH certificates in place of tokens: signed by an authority of the lab's own, which real servers can trust.

use std::sync::OnceLock;

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jiff::Timestamp;
use russh::keys::{
    Certificate, HashAlg,
    signature::{self, Signer},
    ssh_key::{
        Mpint, Signature,
        certificate::{Builder, CertType},
        private::RsaKeypair,
        public::{KeyData, RsaPublicKey},
    },
};
use serde_json::Value;

use super::Refusal;
use crate::{chance::Chance, seed::Seed};

/// For whom certificates are.
pub(crate) const SCOPES: [&str; 2] =
    ["https://pas.windows.net/CheckMyAccess/Linux/.default", "ce6ff14a-7fdc-4685-bbe0-f6afdfcfa8e0/.default"];

/// How long before and after the moment of its making a certificate is good, in seconds: 65 minutes in all.
const BEFORE: u64 = 300;
const AFTER: u64 = 3600;

/// The authority that signs certificates. Its key follows from the seed, and is made when it is first needed.
#[derive(Default)]
pub(crate) struct Authority(OnceLock<Option<RsaKeypair>>);

/// For whom a certificate is.
pub(crate) struct Bearer<'a> {
    pub(crate) object_id: &'a str,
    pub(crate) tenant: &'a str,
    pub(crate) name: &'a str,
    pub(crate) principal: &'a str,
}

/// Signs as Entra does: RSA with SHA-256.
struct Signs<'a>(&'a RsaKeypair);

impl Signer<Signature> for Signs<'_> {
    fn try_sign(&self, message: &[u8]) -> signature::Result<Signature> {
        (self.0, Some(HashAlg::Sha256)).try_sign(message)
    }
}

impl From<&Signs<'_>> for KeyData {
    fn from(signs: &Signs<'_>) -> Self {
        KeyData::Rsa(RsaPublicKey::from(signs.0))
    }
}

impl Authority {
    fn key(&self, seed: Seed) -> Option<&RsaKeypair> {
        let make = || RsaKeypair::random(&mut Chance::new(seed, "ssh authority".to_owned()), 2048).ok();
        self.0.get_or_init(make).as_ref()
    }

    /// Returns the public half.
    pub(crate) fn public(&self, seed: Seed) -> Option<KeyData> {
        self.key(seed).map(|key| KeyData::Rsa(RsaPublicKey::from(key)))
    }

    /// Signs a certificate. It is good by the lab's time and by the wall clock, which other people's servers go by.
    pub(crate) fn sign(
        &self,
        seed: Seed,
        key: RsaPublicKey,
        bearer: &Bearer<'_>,
        now: Timestamp,
    ) -> Option<Certificate> {
        let seconds = |at: Timestamp| u64::try_from(at.as_second()).unwrap_or_default();
        let (lab, wall) = (seconds(now), seconds(Timestamp::now()));
        let (from, to) = (lab.min(wall).saturating_sub(BEFORE), lab.max(wall) + AFTER);
        let nonce = Chance::new(seed, format!("nonce {} {lab}", bearer.object_id)).array::<32>();
        let Bearer { object_id, tenant, name, principal } = bearer;
        let signed = || {
            let mut builder = Builder::new(nonce, KeyData::Rsa(key), from, to)?;
            builder
                .cert_type(CertType::User)?
                .key_id(format!("{object_id}@{tenant}"))?
                .valid_principal(*principal)?;
            for (extension, value) in [
                ("displayname@sshservice.azure.net", *name),
                ("oid@sshservice.azure.net", object_id),
                ("permit-X11-forwarding", ""),
                ("permit-agent-forwarding", ""),
                ("permit-port-forwarding", ""),
                ("permit-pty", ""),
                ("permit-user-rc", ""),
                ("tid@sshservice.azure.net", tenant),
            ] {
                builder.extension(extension, value)?;
            }
            builder.sign(&Signs(self.key(seed).ok_or(russh::keys::ssh_key::Error::Crypto)?))
        };
        signed().ok()
    }
}

/// Reads the key that a certificate is asked for.
pub(crate) fn confirmed_key(text: &str) -> Result<RsaPublicKey, Refusal> {
    let refused = |what: &str| {
        Refusal::new(
            400,
            "invalid_request",
            900_144,
            format!("The parameter 'req_cnf' is not valid: {what}."),
        )
    };
    let claims: Value = serde_json::from_str(text).map_err(|_| refused("it is no JSON"))?;
    if claims["kty"] != "RSA" {
        return Err(refused("only RSA keys are signed"));
    }
    if claims["kid"].as_str().is_none_or(str::is_empty) {
        return Err(refused("the kid is missing"));
    }
    // With and without the signs that fill it up, as clients differ.
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let number = |name: &str| {
        let bytes =
            claims[name].as_str().and_then(|text| GeneralPurpose::new(&URL_SAFE, config).decode(text).ok());
        bytes.map(|bytes| Mpint::from_positive_bytes(&bytes)).ok_or_else(|| refused(name))
    };
    let key = RsaPublicKey::new(number("e")?, number("n")?).map_err(|_| refused("it is no key"))?;
    if key.key_size() < 2048 { Err(refused("the key is too short")) } else { Ok(key) }
}
