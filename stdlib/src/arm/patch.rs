//! `arm::patch`: changes a part of anything.

use super::{Asked, RawWrite};
use crate::prelude::*;

/// Changes a part of any resource. Not every change is the same when made twice, so when a crash leaves it unclear
/// whether it was made, a person is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Path below Azure Resource Manager: a resource id, perhaps with `?name=value` behind it.
    path: String,
    /// Version of the API.
    api_version: String,
    /// Body of the request. `secret("..")` may stand in it.
    body: Value,
    /// How long the operation may take before a person is asked; one hour when left out.
    #[serde(default)]
    wait: Option<Span>,
}

/// `arm::patch`.
pub(crate) struct Patch;

impl RawWrite for Patch {
    type Args = Args;

    const NAME: &'static str = "arm::patch";
    const SUMMARY: &'static str = "Changes a part of a resource and waits until that is done.";
    const METHOD: Method = Method::Patch;
    const REDO: Redo = Redo::Ask;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Put a tag on a resource group and keep the others.",
                r#"let group = "/subscriptions/" + local::vm("web-01").id.split("/")[2] + "/resourceGroups/rg-edge";
                   arm::patch(group, "2022-09-01", #{ tags: #{ watched: "yes" } }).tags.watched"#,
            )
            .on("edge")
            .gives(json!("yes")),
        ]
    }

    fn asked(args: &Args) -> Asked<'_> {
        Asked { path: &args.path, version: &args.api_version, body: Some(&args.body), wait: args.wait }
    }
}
