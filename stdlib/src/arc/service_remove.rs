//! `arc::service_remove`: lets a service of an Arc machine in no more.

use super::endpoint::{about_service, service_of};
use crate::prelude::*;
use crate::reconcile::Removed;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};
use crate::relay::SSH;

/// Lets a service of an Arc machine in no more. Its endpoint stays, for other services. Who is connected may stay so: only new
/// connections are refused. Nothing is sent when the service is not let in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// SSH or WAC (Windows Admin Center); SSH when left out.
    service: Option<String>,
    /// Resource group of the machine. The configured group when left out.
    group: Option<String>,
}

/// `arc::service_remove`.
pub(crate) struct ServiceRemove(pub(crate) Azure);

impl DesiredState for ServiceRemove {
    type Args = Args;
    type Target = ResourceId;
    type Value = Removed;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, _args: &Args, id: &ResourceId, known: Known) -> Result<Look<Removed>> {
        Ok(match self.0.port_of_service(cx, id).await? {
            None => Look::Reached(Removed { id: id.clone(), changed: known.sent }),
            Some(_) => Look::Away,
        })
    }

    fn doing(&self, id: &ResourceId) -> String {
        format!("letting {} in no more", id.name())
    }

    fn request<'a>(&self, _args: &'a Args, id: &'a ResourceId) -> Request<'a> {
        about_service(Method::Delete, id)
    }
}

impl ResourceOperation for ServiceRemove {
    const NAME: &'static str = "arc::service_remove";
    const SUMMARY: &'static str = "Lets a service of an Arc machine in no more.";
    const WITHIN: Duration = Duration::from_secs(5 * 60);

    fn examples() -> Vec<Example> {
        let script = r#"
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create("db-01");
            arc::service_configure("db-01");
            arc::service_remove("db-01").changed
        "#;
        vec![Example::new("Let SSH in no more.", script).on("edge").gives(json!(true))]
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<ResourceId> {
        let machine = self.0.find_machine(cx, &args.machine, args.group.as_deref()).await?;
        service_of(&machine.id, args.service.as_deref().unwrap_or(SSH))
    }
}
