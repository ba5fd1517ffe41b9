//! `arm::delete`: deletes anything.

use super::{Asked, RawWrite};
use crate::prelude::*;

/// Deletes any resource. One that is gone already counts as deleted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Path below Azure Resource Manager: a resource id, perhaps with `?name=value` behind it.
    path: String,
    /// Version of the API.
    api_version: String,
    /// How long the operation may take before a person is asked; one hour when left out.
    #[serde(default)]
    wait: Option<Span>,
}

/// `arm::delete`.
pub(crate) struct Delete;

impl RawWrite for Delete {
    type Args = Args;

    const NAME: &'static str = "arm::delete";
    const SUMMARY: &'static str = "Deletes a resource and waits until it is gone.";
    const METHOD: Method = Method::Delete;
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Delete what is not there.",
                r#"let cluster = local::cluster("hq").id;
                   arm::delete(cluster + "/jobs/none-of-this-name", "2026-10-15-preview"); "gone""#,
            )
            .on("edge")
            .gives(json!("gone")),
        ]
    }

    fn asked(args: &Args) -> Asked<'_> {
        Asked { path: &args.path, version: &args.api_version, body: None, wait: args.wait }
    }
}
