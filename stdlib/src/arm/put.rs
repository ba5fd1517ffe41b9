//! `arm::put`: makes or replaces anything.

use super::{Asked, RawWrite};
use crate::prelude::*;

/// Makes or replaces any resource. A PUT replaces the whole resource: read it first and send all of it back. Sent again
/// after a crash, as it says the same; where doing so would repeat an effect (a run command), give each attempt its own
/// name.
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

/// `arm::put`.
pub(crate) struct Put;

impl RawWrite for Put {
    type Args = Args;

    const NAME: &'static str = "arm::put";
    const SUMMARY: &'static str = "Makes or replaces a resource and waits until that is done.";
    const METHOD: Method = Method::Put;
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Put a tag on a resource group.",
                r#"let group = "/subscriptions/" + local::vm("web-01").id.split("/")[2] + "/resourceGroups/rg-edge";
                   arm::put(group, "2022-09-01", #{ location: "eastus", tags: #{ watched: "yes" } }).tags.watched"#,
            )
            .on("edge")
            .gives(json!("yes")),
        ]
    }

    fn asked(args: &Args) -> Asked<'_> {
        Asked { path: &args.path, version: &args.api_version, body: Some(&args.body), wait: args.wait }
    }
}
