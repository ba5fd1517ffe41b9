//! `arm::delete`: deletes anything.

use super::Asked;
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
pub(crate) struct Delete(pub(crate) Azure);

impl Operation for Delete {
    type Args = Args;
    type Output = Value;

    const NAME: &'static str = "arm::delete";
    const SUMMARY: &'static str = "Deletes a resource and waits until it is gone.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
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

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Value>> {
        args.asked().begin(&self.0, cx).await
    }

    async fn resume(&self, cx: &Cx, args: &Args, at: &Value) -> Result<Outcome<Value>> {
        args.asked().resume(&self.0, cx, at).await
    }
}

impl Args {
    fn asked(&self) -> Asked<'_> {
        Asked {
            method: Method::Delete,
            path: &self.path,
            api_version: &self.api_version,
            body: None,
            wait: self.wait,
        }
    }
}
