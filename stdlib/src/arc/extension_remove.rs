//! `arc::extension_remove`: removes an extension from an Arc machine.

use super::extension::EXTENSIONS;
use super::removed::Removed;
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};

/// Removes an extension from an Arc machine and waits until it is gone. One that is gone already counts as removed, and one
/// on which something else is being done is waited for first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// Name of the extension.
    name: String,
    /// Resource group of the machine. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// `arc::extension_remove`.
pub(crate) struct ExtensionRemove(pub(crate) Azure);

impl DesiredState for ExtensionRemove {
    type Args = Args;
    type Target = ResourceId;
    type Value = Removed;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, _args: &Args, id: &ResourceId, known: Known) -> Result<Look<Removed>> {
        Ok(match self.0.find_extension(cx, id).await? {
            None => Look::Reached(Removed { id: id.clone(), changed: known.sent }),
            Some(found) if found.is_changing() => Look::Moving(found.to_string(), None),
            Some(found) if found.is("Failed") && known.is_concluded() => return Err(found.failure()),
            Some(_) => Look::Away,
        })
    }

    fn doing(&self, id: &ResourceId) -> String {
        format!("removing {}", id.name())
    }

    fn request<'a>(&self, _args: &'a Args, id: &'a ResourceId) -> Request<'a> {
        Request::new(Method::Delete, id.to_string(), EXTENSIONS)
    }
}

impl ResourceOperation for ExtensionRemove {
    const NAME: &'static str = "arc::extension_remove";
    const SUMMARY: &'static str = "Removes an extension from an Arc machine and waits until it is gone.";
    const WITHIN: Duration = Duration::from_secs(30 * 60);

    fn examples() -> Vec<Example> {
        let script = r#"arc::extension_remove("db-01", "AzureMonitorWindowsAgent").changed"#;
        vec![Example::new("Remove an extension.", script).on("edge").gives(json!(true))]
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<ResourceId> {
        let machine = self.0.find_machine(cx, &args.machine, args.group.as_deref()).await?;
        Ok(machine.extension(&args.name)?.id)
    }
}
