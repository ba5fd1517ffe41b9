//! `extension_remove`: removes an extension from a machine.

use std::marker::PhantomData;

use super::Host;
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Removed, Request, ResourceOperation};

/// Removes an extension from a machine and waits until it is gone. One that is gone already counts as removed, and one
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

/// `extension_remove`.
pub(super) struct ExtensionRemove<H>(Azure, PhantomData<H>);

impl<H> ExtensionRemove<H> {
    pub(super) fn new(azure: &Azure) -> Self {
        ExtensionRemove(azure.clone(), PhantomData)
    }
}

impl<H: Host> DesiredState for ExtensionRemove<H> {
    type Args = Args;
    type Target = ResourceId;
    type Value = Removed;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, _args: &Args, id: &ResourceId, known: Known) -> Result<Look<Removed>> {
        Ok(match self.0.find_extension::<H>(cx, id).await? {
            None => Look::Reached(Removed { id: id.clone(), changed: known.sent }),
            Some(found) if found.is_changing() => Look::Moving(found.to_string(), None),
            Some(found) if found.is("Failed") && known.is_concluded() => return Err(found.failure::<H>()),
            Some(_) => Look::Away,
        })
    }

    fn doing(&self, id: &ResourceId) -> String {
        format!("removing {}", id.name())
    }

    fn request<'a>(&self, _args: &'a Args, id: &'a ResourceId) -> Request<'a> {
        Request::new(Method::Delete, id.to_string(), H::EXTENSIONS)
    }
}

impl<H: Host> ResourceOperation for ExtensionRemove<H> {
    const NAME: &'static str = H::REMOVE.name;
    const SUMMARY: &'static str = H::REMOVE.summary;
    const WITHIN: Duration = Duration::from_secs(30 * 60);

    fn examples() -> Vec<Example> {
        H::REMOVE.examples()
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<ResourceId> {
        let machine = H::find(&self.0, cx, &args.machine, args.group.as_deref()).await?;
        Ok(machine.extension(&args.name)?.id)
    }
}
