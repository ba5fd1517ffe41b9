//! `secret`: the name of a secret, for an operation that takes one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::operation::{Effect, Example, Operation, Outcome, Redo, Shown};
use crate::value::SecretRef;

/// Where a secret is kept.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// The place, such as `"env:WEB01_PASSWORD"`.
    name: String,
}

/// `secret(name)`.
pub(super) struct UseSecret;

impl Operation for UseSecret {
    type Args = Kept;
    type Output = SecretRef;
    const NAME: &'static str = "secret";
    const SUMMARY: &'static str =
        "Names a secret; its value is read only by the operation that uses it, and never kept.";
    const EFFECTS: &'static [Effect] = &[Effect::Secret];
    const REDO: Redo = Redo::Resend;
    const SHOWN: Shown = Shown::Silent;

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Name a password.", r#"secret("env:WEB01_PASSWORD")"#)
                .gives(json!({ "$secret": "env:WEB01_PASSWORD" })),
        ]
    }

    async fn begin(&self, _: &Cx, args: &Kept) -> Result<Outcome<SecretRef>> {
        if !args.name.contains(':') {
            return Err(Error::invalid("a secret is named, never written down")
                .hint("write where it is kept, such as secret(\"env:WEB01_PASSWORD\")"));
        }
        Ok(Outcome::done(SecretRef { name: args.name.clone() }))
    }
}
