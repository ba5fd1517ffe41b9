//! `arm::register`: lets a subscription use a resource provider.

use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};

/// Known versions; the same in all of them.
const PROVIDERS: Api<'static> =
    Api { kind: "Microsoft.Resources/providers", versions: &["2025-04-01", "2021-04-01"] };

/// Registers a resource provider for the subscription and waits until it is registered, which takes minutes. Nothing is sent
/// when it is so already. Once for a subscription; it needs a right of its own there (`*/register/action`).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Namespace of the provider, such as Microsoft.HybridConnectivity.
    namespace: String,
    /// Subscription. The configured one when left out.
    subscription: Option<String>,
}

/// A provider that is registered.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Provider {
    /// Namespace.
    namespace: String,
    /// Whether a request was sent. False when it was registered already.
    changed: bool,
}

/// `arm::register`.
pub(crate) struct Register(pub(crate) Azure);

impl DesiredState for Register {
    type Args = Args;
    type Target = String;
    type Value = Provider;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, args: &Args, at: &String, known: Known) -> Result<Look<Provider>> {
        let body = self.0.arm.get(cx, at, PROVIDERS).await?;
        Ok(match text(&body, "/registrationState").unwrap_or_default() {
            "Registered" => {
                Look::Reached(Provider { namespace: args.namespace.clone(), changed: known.sent })
            }
            state @ ("Registering" | "Unregistering") => Look::Moving(format!("it is {state}"), None),
            _ => Look::Away,
        })
    }

    fn doing(&self, _at: &String) -> String {
        "registering the provider".to_owned()
    }

    fn request<'a>(&self, _args: &'a Args, at: &'a String) -> Request<'a> {
        Request::new(Method::Post, format!("{at}/register"), PROVIDERS)
    }
}

impl ResourceOperation for Register {
    const NAME: &'static str = "arm::register";
    const SUMMARY: &'static str = "Registers a resource provider for the subscription.";
    const WITHIN: Duration = Duration::from_secs(20 * 60);

    fn examples() -> Vec<Example> {
        let script = r#"arm::register("Microsoft.HybridConnectivity").changed"#;
        vec![Example::new("Let the subscription use a provider.", script).on("edge").gives(json!(true))]
    }

    async fn target(&self, _cx: &Cx, args: &Args) -> Result<String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '.';
        if args.namespace.is_empty() || !args.namespace.chars().all(is_word) {
            return Err(Error::invalid(format!("`{}` is not the namespace of a provider", args.namespace)));
        }
        let subscription = match &args.subscription {
            Some(named) => named,
            None => self.0.subscription()?,
        };
        Ok(format!("/subscriptions/{subscription}/providers/{}", args.namespace))
    }
}
