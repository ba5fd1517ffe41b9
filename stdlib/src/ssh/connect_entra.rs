//! `ssh::connect_entra`: a session on a machine by the identity that Azure knows, for the rest of the run.

use relight_engine::Attached;

use super::connect::Connected;
use super::line::Line;
use super::login::By;
use super::session::{HOST_KEY_CHANGED, HOST_KEY_UNKNOWN};
use super::target::{PORT, Reach};
use super::way::Way;
use crate::prelude::*;

/// Signs in on an Arc machine as whoever is signed in to Azure: a person or a service principal, by an SSH certificate of
/// Entra ID that is asked for with every connection. There is no password, and no key to spread. The machine runs Linux, with the extension
/// AADSSHLoginForLinux (`arc::extension_install`); whoever signs in has the role Virtual Machine Administrator Login there, or Virtual Machine
/// User Login. Managed identities get no certificates. Else it is as `ssh::connect`. Inferred: the name of a service principal on the machine,
/// which is what its certificate says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// User on the machine, where that is another than the certificate names.
    #[serde(default)]
    user: Option<String>,
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

/// `ssh::connect_entra`.
pub(crate) struct ConnectEntra(pub(crate) Azure);

impl Attached for ConnectEntra {
    type Args = Args;
    type Recipe = Connected;
    type Live = Line;

    const NAME: &'static str = "ssh::connect_entra";
    const SUMMARY: &'static str =
        "Signs in on a machine through Azure Arc as whoever is signed in to Azure, for the rest of the run.";
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
            arc::extension_install(app, "Microsoft.Azure.ActiveDirectory", "AADSSHLoginForLinux", #{ name: "AADSSHLogin" });
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create(app);
            arc::service_configure(app);
            ssh::trust(app, [ssh::host_key(app).key]);
            let session = ssh::connect_entra(app);
            ssh::exec(session, "hostname").stdout
        "#;
        vec![
            Example::new("Ask a machine for its name, as oneself.", script)
                .on("edge")
                .gives(json!("app-01\n")),
        ]
    }

    async fn open(&self, cx: &Cx, args: &Args, again: Option<&Connected>) -> Result<(Connected, Line)> {
        let id = match again {
            Some(recipe) => recipe.id.clone(),
            None => self.0.locate(&cx.into(), &args.machine, args.group.as_deref()).await?.for_entra()?,
        };
        let port = args.port.unwrap_or(PORT);
        let trust = self.0.trust(&id, port, args.host_keys.as_deref())?;
        let by = By::Entra { user: args.user.clone() };
        let user = by.login(&self.0.arm).await?.user;
        let recipe = Connected { machine: id.name().to_owned(), id: id.clone(), user, port };
        let reach = Reach { port, within: args.within, private: args.private_address };
        let way = Way { azure: self.0.clone(), cx: cx.clone(), id, reach, by, trust };
        Ok((recipe, way.line().await?))
    }

    async fn close(&self, _: &Cx, line: &Line) {
        line.close().await;
    }
}
