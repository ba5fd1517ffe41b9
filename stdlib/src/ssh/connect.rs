//! `ssh::connect`: a session on a machine, for the rest of the run.

use relight_engine::{Attached, SecretRef};

use super::line::Line;
use super::session::{HOST_KEY_CHANGED, HOST_KEY_UNKNOWN};
use super::target::{PORT, Reach};
use super::way::Way;
use super::{By, Login, Proof};
use crate::prelude::*;

/// Signs in on an Arc machine through Azure, without an address of it, and holds the session open until the run is over or
/// put away. A run that goes on elsewhere signs in again there. The machine must show the host key by which it is known
/// (`ssh::trust`), or one of `host_keys`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// User on the machine.
    user: String,
    /// Password of the user.
    #[serde(default)]
    password: Option<SecretRef>,
    /// Private key in OpenSSH's format, such as `secret("file:/home/me/.ssh/id_ed25519")`.
    #[serde(default)]
    key: Option<SecretRef>,
    /// Passphrase of the private key.
    #[serde(default)]
    passphrase: Option<SecretRef>,
    /// Whether to try the keys of the SSH agent. Yes when neither a password nor a key is given.
    #[serde(default)]
    agent: Option<bool>,
    /// Port of the SSH server on the machine; 22 when left out.
    #[serde(default)]
    port: Option<u16>,
    /// Public host keys that came another way, such as those that `arc::run_command` reads on the machine; the machine must show one of them.
    #[serde(default)]
    host_keys: Option<Vec<String>>,
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

/// A session on a machine.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Connected {
    /// Resource id of the machine.
    pub(super) id: ResourceId,
    /// Name of the machine.
    pub(super) machine: String,
    /// User who is signed in.
    pub(super) user: String,
    /// Port of the SSH server.
    pub(super) port: u16,
}

/// `ssh::connect`.
pub(crate) struct Connect(pub(crate) Azure);

async fn login(cx: &Cx, args: &Args) -> Result<Login> {
    let mut by = Vec::new();
    if let Some(key) = &args.key {
        let passphrase = match &args.passphrase {
            Some(passphrase) => Some(cx.secret(passphrase).await?),
            None => None,
        };
        by.push(Proof::key(&cx.secret(key).await?, passphrase.as_ref())?);
    }
    if args.agent.unwrap_or(args.key.is_none() && args.password.is_none()) {
        by.push(Proof::Agent);
    }
    if let Some(password) = &args.password {
        by.push(Proof::Password(cx.secret(password).await?));
    }
    Ok(Login { user: args.user.clone(), by })
}

impl Attached for Connect {
    type Args = Args;
    type Recipe = Connected;
    type Live = Line;

    const NAME: &'static str = "ssh::connect";
    const SUMMARY: &'static str = "Signs in on a machine through Azure Arc, for the rest of the run.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::Ssh];
    const CODES: &'static [ErrorCode] = &[
        ErrorCode::NOT_FOUND,
        ErrorCode::OFF,
        ErrorCode::OUT_OF_TOUCH,
        ErrorCode::BUSY,
        HOST_KEY_UNKNOWN,
        HOST_KEY_CHANGED,
    ];

    fn examples() -> Vec<Example> {
        let script = r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create(app);
            arc::service_configure(app);
            ssh::trust(app, [ssh::host_key(app).key]);
            let session = ssh::connect(app, "azureuser", #{ password: secret("env:APP_PASSWORD") });
            ssh::exec(session, "hostname").stdout
        "#;
        vec![Example::new("Ask a machine for its name.", script).on("edge").gives(json!("app-01\n"))]
    }

    async fn open(&self, cx: &Cx, args: &Args, again: Option<&Connected>) -> Result<(Connected, Line)> {
        let id = match again {
            Some(recipe) => recipe.id.clone(),
            None => self.0.locate(&cx.into(), &args.machine, args.group.as_deref()).await?.id,
        };
        let port = args.port.unwrap_or(PORT);
        let trust = self.0.trust(&id, port, args.host_keys.as_deref())?;
        let recipe =
            Connected { machine: id.name().to_owned(), id: id.clone(), user: args.user.clone(), port };
        let by = By::Login(login(cx, args).await?);
        let reach = Reach { port, within: args.within, private: args.private_address };
        let way = Way { azure: self.0.clone(), cx: cx.clone(), id, reach, by, trust };
        Ok((recipe, way.line().await?))
    }

    async fn close(&self, _: &Cx, line: &Line) {
        line.close().await;
    }
}
