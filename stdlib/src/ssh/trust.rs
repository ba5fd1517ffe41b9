//! `ssh::trust`: makes the host keys of a machine known.

use russh::keys::PublicKey;

use super::fingerprint;
use super::known_hosts::HostName;
use super::target::PORT;
use crate::prelude::*;

/// Takes a machine for the one that shows one of these host keys, from now on and in every run of whoever drives this one. Keys
/// by which it was known before are forgotten.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// Public host keys, such as `ssh-ed25519 AAAA..`.
    keys: Vec<String>,
    /// Port of the SSH server on the machine; 22 when left out.
    #[serde(default)]
    port: Option<u16>,
    /// Resource group of the machine. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// The keys by which a machine is known.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Trusted {
    /// Resource id of the machine.
    id: ResourceId,
    /// Their fingerprints.
    fingerprints: Vec<String>,
}

/// `ssh::trust`.
pub(crate) struct TrustHostKey(pub(crate) Azure);

/// Reads a public key.
///
/// # Errors
/// `Invalid` when it is none.
pub(super) fn read_key(text: &str) -> Result<PublicKey> {
    PublicKey::from_openssh(text.trim()).map_err(|e| {
        Error::invalid(format!("`{text}` is no public key")).because(e).hint("one reads `ssh-ed25519 AAAA..`")
    })
}

impl Operation for TrustHostKey {
    type Args = Args;
    type Output = Trusted;

    const NAME: &'static str = "ssh::trust";
    const SUMMARY: &'static str = "Takes a machine for the one that shows one of these host keys.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::Ssh];
    // Trusting the same keys twice is trusting them once.
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        let script = r#"
            let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
            ssh::trust("db-01", [key]).fingerprints
        "#;
        let gives = json!(["SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ"]);
        vec![Example::new("Make a host key known.", script).on("edge").gives(gives)]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Trusted>> {
        let keys = args.keys.iter().map(|key| read_key(key)).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(Error::invalid("a machine cannot be known by no key"));
        }
        let id = self.0.locate(&cx.into(), &args.machine, args.group.as_deref()).await?.id;
        self.0.known_hosts.trust(&HostName::of(&id, args.port.unwrap_or(PORT)), &keys)?;
        Ok(Outcome::done(Trusted { id, fingerprints: keys.iter().map(fingerprint).collect() }))
    }
}
