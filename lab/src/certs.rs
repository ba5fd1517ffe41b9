//! The lab's own certificate authority and the server certificate it signs.
//!
//! The authority's key is thrown away once it has signed: nothing needs it again, and what is not kept cannot leak.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::{Deserialize, Serialize};

use crate::LabError;

/// What must survive a restart so that clients go on trusting the lab.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Certificates {
    pub(crate) ca_pem: String,
    server_pem: String,
    server_key_pem: String,
}

impl Certificates {
    /// Makes a new authority and a certificate for `127.0.0.1`, `localhost` and the vaults.
    pub(crate) fn generate() -> Result<Self, LabError> {
        Self::try_generate().map_err(|e| LabError::Certificates(e.to_string()))
    }

    fn try_generate() -> Result<Self, rcgen::Error> {
        let ca_key = KeyPair::generate()?;
        let mut ca = params("Relight lab authority", Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_cert = ca.self_signed(&ca_key)?;

        let server_key = KeyPair::generate()?;
        let names = ["127.0.0.1", "localhost", "*.vault.localhost"].map(str::to_owned).to_vec();
        let mut server = params("Relight lab", names)?;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python's strict mode, on by default in its newer releases, refuses a leaf without this extension.
        server.use_authority_key_identifier_extension = true;
        let server_cert = server.signed_by(&server_key, &Issuer::new(ca, ca_key))?;

        Ok(Self {
            ca_pem: ca_cert.pem(),
            server_pem: server_cert.pem(),
            server_key_pem: server_key.serialize_pem(),
        })
    }

    /// Returns the TLS side of the listener.
    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>, LabError> {
        let failed = |e: &dyn std::fmt::Display| LabError::Certificates(e.to_string());
        let cert = CertificateDer::from_pem_slice(self.server_pem.as_bytes()).map_err(|e| failed(&e))?;
        let key = PrivateKeyDer::from_pem_slice(self.server_key_pem.as_bytes()).map_err(|e| failed(&e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&e))?
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .map_err(|e| failed(&e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn params(name: &str, alternatives: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(alternatives)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    Ok(params)
}
