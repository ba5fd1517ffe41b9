//! `arm::post`: has anything do something.

use super::{Asked, RawWrite};
use crate::prelude::*;

/// Sends an action. When a crash leaves it unclear whether it was done, a person is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Path below Azure Resource Manager: a resource id, perhaps with `?name=value` behind it.
    path: String,
    /// Version of the API.
    api_version: String,
    /// Body of the request. `secret("..")` may stand in it.
    #[serde(default)]
    body: Option<Value>,
    /// How long the operation may take before a person is asked; one hour when left out.
    #[serde(default)]
    wait: Option<Span>,
}

/// `arm::post`.
pub(crate) struct Post;

impl RawWrite for Post {
    type Args = Args;

    const NAME: &'static str = "arm::post";
    const SUMMARY: &'static str = "Has a resource do something and waits until that is done.";
    const METHOD: Method = Method::Post;
    const REDO: Redo = Redo::Ask;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Start a VM by hand.",
                r#"let vm = local::vm("file-01");
                   arm::post(vm.id + "/providers/Microsoft.AzureStackHCI/virtualMachineInstances/default/start", "2026-04-01-preview");
                   local::vm("file-01").power_state"#,
            )
            .on("edge")
            .gives(json!("Running")),
        ]
    }

    fn asked(args: &Args) -> Asked<'_> {
        Asked { path: &args.path, version: &args.api_version, body: args.body.as_ref(), wait: args.wait }
    }
}
