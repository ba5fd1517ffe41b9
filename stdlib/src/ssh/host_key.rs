//! `ssh::host_key`: the host key that a machine shows.

use super::known_hosts::{HostName, Standing, fingerprint};
use super::session::Session;
use super::target::{PORT, Reach};
use crate::prelude::*;

/// Connects to the SSH server of a machine and reads the host key that it shows, without signing in. What is shown on this
/// way proves nothing by itself: compare it with what the machine says on another one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// Port of the SSH server on the machine; 22 when left out.
    #[serde(default)]
    port: Option<u16>,
    /// Whether a virtual machine in Azure is reached at its private addresses alone, such as over a VPN; no when left out.
    #[serde(default)]
    private_address: bool,
    /// How long to wait for the machine's agent to listen; 2 minutes when left out.
    #[serde(default)]
    within: Option<Span>,
    /// Resource group of the machine. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// A host key that was shown.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HostKey {
    /// Resource id of the machine.
    id: ResourceId,
    /// Its algorithm, such as ssh-ed25519.
    algorithm: String,
    /// Its fingerprint, as OpenSSH shows it.
    fingerprint: String,
    /// The public key itself.
    key: String,
    /// What is known about it: known, unknown or changed.
    standing: String,
}

/// `ssh::host_key`.
pub(crate) struct ReadHostKey(pub(crate) Azure);

impl Operation for ReadHostKey {
    type Args = Args;
    type Output = HostKey;

    const NAME: &'static str = "ssh::host_key";
    const SUMMARY: &'static str = "Reads the host key that a machine shows, without signing in.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::NetProbe];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] =
        &[ErrorCode::NOT_FOUND, ErrorCode::OFF, ErrorCode::OUT_OF_TOUCH, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        let script = r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create(app);
            arc::service_configure(app);
            ssh::host_key(app).standing
        "#;
        vec![Example::new("See whether a host key is known.", script).on("edge").gives(json!("unknown"))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<HostKey>> {
        let id = self.0.locate(&cx.into(), &args.machine, args.group.as_deref()).await?.id;
        let port = args.port.unwrap_or(PORT);
        let (known, host) = (&self.0.known_hosts, HostName::of(&id, port));
        let reach = Reach { port, within: args.within, private: args.private_address };
        let tunnel = self.0.ssh_connection(cx, &id, reach).await?;
        let key = Session::look_at_host_key(tunnel, id.name(), &known.keys(&host)?).await?;
        let standing = match known.check(&host, &key)? {
            Standing::Known => "known",
            Standing::Unknown => "unknown",
            Standing::Changed { .. } => "changed",
        };
        let text =
            key.to_openssh().map_err(|e| Error::rejected("the host key cannot be written").because(e))?;
        Ok(Outcome::done(HostKey {
            id,
            algorithm: key.algorithm().to_string(),
            fingerprint: fingerprint(&key),
            key: text.trim_end().to_owned(),
            standing: standing.to_owned(),
        }))
    }
}
