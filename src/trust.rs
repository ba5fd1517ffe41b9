//! Certificates that are trusted besides the system's.

use std::path::Path;

use relight_engine::{Error, Result};
use reqwest::Certificate;

/// Reads the certificates of a file.
///
/// # Errors
/// `Invalid` when the file cannot be read or has no certificates.
pub(crate) fn certificates(bundle: &Path) -> Result<Vec<Certificate>> {
    let unusable = |e: Box<dyn std::error::Error + Send + Sync>| {
        Error::invalid(format!("the certificates in {} cannot be used", bundle.display())).because(e)
    };
    let text = std::fs::read(bundle).map_err(|e| unusable(e.into()))?;
    Certificate::from_pem_bundle(&text).map_err(|e| unusable(e.into()))
}
