//! `extension_install`: has the agent of a machine install an extension.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use relight_engine::SecretRef;
use serde_json::Map;

use super::extension::{Desired, Extension, OnMachine, Unseen};
use super::{Host, Wanted};
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};

/// Installs an extension on a machine, or changes the one of that type, and waits until it works. Nothing is sent when
/// it is there with this version and these settings, unless it shall run again or is given what nobody can read back. Inferred: 3.0.1.0 is the
/// version asked for when that is 3.0, and settings are read back as sent. A VM in Azure is told two parts, of the newest when none is named.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// Who publishes the extension, such as Microsoft.Azure.Monitor.
    publisher: String,
    /// Which extension of the publisher, such as AzureMonitorLinuxAgent.
    r#type: String,
    /// Name to install it under; when left out that of the one of its type that is there, else its type.
    name: Option<String>,
    /// Version, of which the first parts are enough; any when left out.
    version: Option<String>,
    /// Public settings.
    settings: Option<Value>,
    /// Settings that Azure shows to nobody. With them it runs again in any case.
    #[serde(default)]
    secrets: BTreeMap<String, SecretRef>,
    /// What stands beside them and is no secret, such as a user's name. With it, too, it runs again in any case.
    #[serde(default)]
    protected_settings: Map<String, Value>,
    /// Whether it runs again where it is as wished already; no when left out.
    #[serde(default)]
    again: bool,
    /// Resource group of the machine. The configured group when left out.
    group: Option<String>,
}

/// `extension_install`.
pub(super) struct ExtensionInstall<H>(Azure, PhantomData<H>);

impl<H> ExtensionInstall<H> {
    pub(super) fn new(azure: &Azure) -> Self {
        ExtensionInstall(azure.clone(), PhantomData)
    }
}

impl<H: Host> DesiredState for ExtensionInstall<H> {
    type Args = Args;
    type Target = OnMachine;
    type Value = Extension;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, args: &Args, at: &OnMachine, known: Known) -> Result<Look<Extension>> {
        Ok(match self.0.find_extension::<H>(cx, &at.id).await? {
            Some(it) if it.is_changing() => Look::Moving(it.to_string(), None),
            Some(it) if it.is("Failed") && known.is_concluded() => return Err(it.failure::<H>()),
            Some(it) if it.is("Succeeded") && it.meets(&desired(args, at)) => Look::Reached(it),
            _ if known.sent => Look::Away,
            _ => H::check_takes_work(&self.0, cx, &at.machine).await.map(|()| Look::Away)?,
        })
    }

    fn doing(&self, at: &OnMachine) -> String {
        format!("installing {}", at.id.name())
    }

    fn request<'a>(&self, args: &'a Args, at: &'a OnMachine) -> Request<'a> {
        let body = json!({ "location": at.location, "properties": desired(args, at) });
        Request::new(Method::Put, at.id.to_string(), H::EXTENSIONS).body(body)
    }
}

impl<H: Host> ResourceOperation for ExtensionInstall<H> {
    const NAME: &'static str = H::INSTALL.name;
    const SUMMARY: &'static str = H::INSTALL.summary;
    const CODES: &'static [ErrorCode] = H::INSTALL_CODES;
    const WITHIN: Duration = Duration::from_secs(30 * 60);

    fn examples() -> Vec<Example> {
        H::INSTALL.examples()
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<OnMachine> {
        let Args { publisher, r#type: kind, secrets, protected_settings, .. } = args;
        let unseen = Unseen::of(protected_settings, secrets)?;
        let machine = H::find(&self.0, cx, &args.machine, args.group.as_deref()).await?;
        let wanted = Wanted { publisher, kind, version: args.version.as_deref() };
        let at = self.0.place_of::<H>(cx, machine, args.name.as_deref(), &wanted).await?;
        // The same in every process that carries this step on.
        let tag = (args.again || !unseen.is_empty()).then(|| cx.key(16));
        Ok(OnMachine { tag, ..at })
    }
}

fn desired<'a>(args: &'a Args, at: &'a OnMachine) -> Desired<'a> {
    let Args { publisher, r#type: kind, settings, secrets, protected_settings: plain, .. } = args;
    let (version, upgrades) = (at.version.as_deref().or(args.version.as_deref()), at.upgrades());
    let (settings, unseen, tag) = (settings.as_ref(), Unseen { plain, secrets }, at.tag.as_deref());
    Desired { publisher, kind, version, upgrades, settings, unseen, tag }
}
