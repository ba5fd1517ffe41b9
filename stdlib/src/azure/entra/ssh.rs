//! SSH certificates: Entra ID's word for a key, for an hour, which machines with `AADSSHLogin` take.
//!
//! Confirmed (the `ssh` extension of the Azure CLI, MSAL's test data): the form, the answer, what stands in a
//! certificate. Inferred: the principal of a service principal, which is read from the certificate here, and not assumed.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use relight_engine::{Error, Result, Secret};
use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::private::{KeypairData, RsaKeypair};
use russh::keys::{Certificate, PrivateKey};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Granted;

/// The size of a key: what Microsoft's own tools ask certificates for.
const BITS: usize = 2048;
/// The only algorithm for which certificates are given.
const ALGORITHM: &str = "ssh-rsa-cert-v01@openssh.com";

/// A key, described for the service that is to sign it.
pub(in crate::azure) struct Confirmed {
    pub(super) req_cnf: String,
    pub(super) id: String,
}

/// A private key and the certificate for it. The key never leaves the memory.
#[derive(Clone)]
pub struct SshPass {
    key: Arc<PrivateKey>,
    certificate: Arc<Certificate>,
}

impl std::fmt::Debug for SshPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SshPass").field(&self.principal()).finish()
    }
}

impl SshPass {
    /// Returns the private key.
    pub fn key(&self) -> &Arc<PrivateKey> {
        &self.key
    }

    /// Returns the certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns the user on a machine, as the certificate names it: in lower case.
    pub fn principal(&self) -> String {
        self.certificate.valid_principals().first().map(|name| name.to_lowercase()).unwrap_or_default()
    }

    /// Returns both as OpenSSH's files hold them: the private key, and the certificate with a comment.
    ///
    /// # Errors
    /// `Rejected` when they cannot be written that way.
    pub fn to_openssh(&self, comment: &str) -> Result<(Secret, String)> {
        let failed = |e: russh::keys::ssh_key::Error| Error::rejected("the key cannot be written").because(e);
        let key = self.key.to_openssh(LineEnding::LF).map_err(failed)?;
        let mut certificate = self.certificate().clone();
        certificate.set_comment(comment);
        Ok((Secret::new(key.as_str()), format!("{}\n", certificate.to_openssh().map_err(failed)?)))
    }

    /// Returns the principal of a certificate that was written with this comment, when it is good until `soon` at least.
    pub fn principal_of(certificate: &str, comment: &str, soon: SystemTime) -> Option<String> {
        let certificate = Certificate::from_openssh(certificate.trim()).ok()?;
        let is_good = certificate.valid_before_time().is_some_and(|ends| ends > soon)
            && certificate.comment() == comment;
        certificate.valid_principals().first().filter(|_| is_good).map(|name| name.to_lowercase())
    }

    /// Reads what came back for a key.
    ///
    /// # Errors
    /// `Rejected` when it is no certificate for this key.
    pub(in crate::azure) fn read(key: &Arc<PrivateKey>, granted: &Granted) -> Result<Self> {
        let wrong = |what: &str| {
            Error::rejected(format!("Entra ID gave an SSH certificate that {what}"))
                .hint("sign in again; if that does not help, the answer was not Entra ID's own")
        };
        let certificate = Certificate::from_openssh(&format!("{ALGORITHM} {}", granted.token.expose()))
            .map_err(|e| wrong("cannot be read").because(e))?;
        let is_for_user = certificate.cert_type() == CertType::User;
        if certificate.public_key() != key.public_key().key_data() || !is_for_user {
            return Err(wrong("is for another key"));
        }
        if certificate.valid_principals().is_empty() {
            return Err(wrong("is for nobody"));
        }
        Ok(SshPass { key: key.clone(), certificate: Arc::new(certificate) })
    }
}

/// Makes a key to ask certificates for.
///
/// # Errors
/// `Rejected` when this machine cannot make one.
pub(in crate::azure) async fn new_key() -> Result<Arc<PrivateKey>> {
    let made = tokio::task::spawn_blocking(|| {
        let pair = RsaKeypair::random(&mut safe_rng(), BITS)?;
        PrivateKey::new(KeypairData::Rsa(pair), "")
    });
    let failed = |why: String| Error::rejected("failed to make a key").because(why);
    let made = made.await.map_err(|e| failed(e.to_string()))?;
    made.map(Arc::new).map_err(|e| failed(e.to_string()))
}

impl Confirmed {
    /// Describes a key. The numbers are as SSH writes them, with the leading zero, as Microsoft's tools do.
    ///
    /// # Errors
    /// `Rejected` when it is no RSA key.
    pub(in crate::azure) fn of(key: &PrivateKey) -> Result<Self> {
        let public = key.public_key().key_data().rsa();
        let public = public.ok_or_else(|| Error::rejected("only RSA keys get a certificate"))?;
        let [n, e] = [public.n(), public.e()].map(|number| URL_SAFE.encode(number.as_bytes()));
        let digest = Sha256::digest(format!("{n}{e}"));
        let id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let req_cnf = json!({ "kty": "RSA", "n": n, "e": e, "kid": id }).to_string();
        Ok(Confirmed { req_cnf, id })
    }
}
