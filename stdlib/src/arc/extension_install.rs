//! `arc::extension_install`: has the agent of an Arc machine install an extension.

use super::extension::{Desired, EXTENSIONS, Extension, OnMachine};
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};

/// Installs an extension on an Arc machine, or changes the one of that name, and waits until it works. Nothing is sent when
/// it is there with this version and these settings. Inferred: 3.0.1.0 is
/// the version asked for when that is 3.0, and settings are read back as they were sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// Who publishes the extension, such as Microsoft.Azure.Monitor.
    publisher: String,
    /// Which extension of the publisher, such as AzureMonitorLinuxAgent.
    r#type: String,
    /// Name to install it under; its type when left out.
    name: Option<String>,
    /// Version, of which the first parts are enough; any when left out.
    version: Option<String>,
    /// Public settings.
    settings: Option<Value>,
    /// Resource group of the machine. The configured group when left out.
    group: Option<String>,
}

/// `arc::extension_install`.
pub(crate) struct ExtensionInstall(pub(crate) Azure);

impl DesiredState for ExtensionInstall {
    type Args = Args;
    type Target = OnMachine;
    type Value = Extension;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, args: &Args, at: &OnMachine, known: Known) -> Result<Look<Extension>> {
        Ok(match self.0.find_extension(cx, &at.id).await? {
            Some(it) if it.is_changing() => Look::Moving(it.to_string(), None),
            Some(it) if it.is("Failed") && known.is_concluded() => return Err(it.failure()),
            Some(it) if it.is("Succeeded") && it.meets(&desired(args)) => Look::Reached(it),
            _ if known.sent => Look::Away,
            _ => self.0.check_in_touch(cx, &at.machine).await.map(|()| Look::Away)?,
        })
    }

    fn doing(&self, at: &OnMachine) -> String {
        format!("installing {}", at.id.name())
    }

    fn request<'a>(&self, args: &'a Args, at: &'a OnMachine) -> Request<'a> {
        let body = json!({ "location": at.location, "properties": desired(args) });
        Request::new(Method::Put, at.id.to_string(), EXTENSIONS).body(body)
    }
}

impl ResourceOperation for ExtensionInstall {
    const NAME: &'static str = "arc::extension_install";
    const SUMMARY: &'static str = "Installs an extension on an Arc machine and waits until it works.";
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OUT_OF_TOUCH];
    const WITHIN: Duration = Duration::from_secs(30 * 60);

    fn examples() -> Vec<Example> {
        let script = r#"arc::extension_install("db-01", "Microsoft.Azure.OpenSSH", "WindowsOpenSSH").state"#;
        vec![Example::new("Have SSH installed.", script).on("edge").gives(json!("Succeeded"))]
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<OnMachine> {
        let name = args.name.as_ref().unwrap_or(&args.r#type);
        self.0.find_machine(cx, &args.machine, args.group.as_deref()).await?.extension(name)
    }
}

fn desired(Args { publisher, r#type, version, settings, .. }: &Args) -> Desired<'_> {
    Desired { publisher, kind: r#type, version: version.as_deref(), settings: settings.as_ref() }
}
