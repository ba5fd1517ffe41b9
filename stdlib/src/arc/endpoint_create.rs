//! `arc::endpoint_create`: lets an Arc machine be reached through its agent.

use super::endpoint::{Endpoint, endpoint_of};
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};
use crate::relay::ENDPOINTS;

/// Creates the endpoint of an Arc machine, through which its services are reached. Nothing is sent when it is there: written
/// again it would cut off, for a while, who comes in through it. Lets nobody in by itself: see arc::service_configure.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// Resource group of the machine. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// `arc::endpoint_create`.
pub(crate) struct EndpointCreate(pub(crate) Azure);

impl DesiredState for EndpointCreate {
    type Args = Args;
    type Target = ResourceId;
    type Value = Endpoint;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, _args: &Args, id: &ResourceId, known: Known) -> Result<Look<Endpoint>> {
        Ok(match self.0.has_endpoint(cx, id).await? {
            true => Look::Reached(Endpoint { id: id.clone(), changed: known.sent }),
            false => Look::Away,
        })
    }

    fn doing(&self, _id: &ResourceId) -> String {
        "creating the endpoint".to_owned()
    }

    fn request<'a>(&self, _args: &'a Args, id: &'a ResourceId) -> Request<'a> {
        let body = json!({ "properties": { "type": "default" } });
        Request::new(Method::Put, id.to_string(), ENDPOINTS).body(body)
    }
}

impl ResourceOperation for EndpointCreate {
    const NAME: &'static str = "arc::endpoint_create";
    const SUMMARY: &'static str = "Creates the endpoint through which an Arc machine is reached.";
    const WITHIN: Duration = Duration::from_secs(5 * 60);

    fn examples() -> Vec<Example> {
        let script = r#"
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create("db-01").changed
        "#;
        vec![Example::new("Let a machine be reached.", script).on("edge").gives(json!(true))]
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<ResourceId> {
        endpoint_of(&self.0.find_machine(cx, &args.machine, args.group.as_deref()).await?.id)
    }
}
