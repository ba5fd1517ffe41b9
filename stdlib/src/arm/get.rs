//! `arm::get`: reads anything.

use crate::prelude::*;

/// Reads any resource or list of Azure Resource Manager. Lists come whole, all pages of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Path below Azure Resource Manager: a resource id, perhaps with `?name=value` behind it.
    path: String,
    /// Version of the API.
    api_version: String,
}

/// `arm::get`.
pub(crate) struct Get(pub(crate) Azure);

impl Operation for Get {
    type Args = Args;
    type Output = Value;

    const NAME: &'static str = "arm::get";
    const SUMMARY: &'static str = "Reads any resource or list from Azure Resource Manager.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Read an Arc machine.", r#"arm::get(local::vm("web-01").id, "2025-01-13").kind"#)
                .on("edge")
                .gives(json!("HCI")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Value>> {
        let versions = [args.api_version.as_str()];
        let api = Api { kind: &args.path, versions: &versions };
        let mut value = self.0.arm.get(cx, &args.path, api).await?;
        let continues = value.get("nextLink").and_then(Value::as_str).is_some_and(|link| !link.is_empty());
        if continues && value.get("value").is_some_and(Value::is_array) {
            let all = self.0.arm.list(cx, &args.path, api).await?;
            value = json!({ "value": all });
        }
        Ok(Outcome::done(value))
    }
}
