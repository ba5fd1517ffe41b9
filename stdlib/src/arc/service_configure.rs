//! `arc::service_configure`: lets one service of an Arc machine in.

use super::endpoint::{Service, about_service, endpoint_of, service_of};
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};
use crate::relay::SSH;

/// Lets a service of an Arc machine in through its endpoint, on one port. Nothing is sent when that is so already: written
/// again it would cut off, for a while, who comes in. The agent listens within 90 s after a change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// SSH or WAC (Windows Admin Center); SSH when left out.
    service: Option<String>,
    /// Port on the machine; 22 when left out.
    port: Option<u16>,
    /// Resource group of the machine. The configured group when left out.
    group: Option<String>,
}

impl Args {
    fn service(&self) -> &str {
        self.service.as_deref().unwrap_or(SSH)
    }

    fn port(&self) -> u16 {
        self.port.unwrap_or(22)
    }
}

/// `arc::service_configure`.
pub(crate) struct ServiceConfigure(pub(crate) Azure);

impl DesiredState for ServiceConfigure {
    type Args = Args;
    type Target = ResourceId;
    type Value = Service;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, args: &Args, id: &ResourceId, known: Known) -> Result<Look<Service>> {
        let (service, port) = (args.service().to_owned(), args.port());
        Ok(match self.0.port_of_service(cx, id).await? {
            Some(found) if found == port => {
                Look::Reached(Service { id: id.clone(), service, port, changed: known.sent })
            }
            _ => Look::Away,
        })
    }

    fn doing(&self, id: &ResourceId) -> String {
        format!("letting {} in", id.name())
    }

    fn request<'a>(&self, args: &'a Args, id: &'a ResourceId) -> Request<'a> {
        let body = json!({ "properties": { "serviceName": args.service(), "port": args.port() } });
        about_service(Method::Put, id).body(body)
    }
}

impl ResourceOperation for ServiceConfigure {
    const NAME: &'static str = "arc::service_configure";
    const SUMMARY: &'static str = "Lets one service of an Arc machine in through its endpoint.";
    const WITHIN: Duration = Duration::from_secs(5 * 60);

    fn examples() -> Vec<Example> {
        let script = r#"
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create("db-01");
            arc::service_configure("db-01").port
        "#;
        vec![Example::new("Let SSH in.", script).on("edge").gives(json!(22))]
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<ResourceId> {
        let machine = self.0.find_machine(cx, &args.machine, args.group.as_deref()).await?;
        if !self.0.has_endpoint(cx, &endpoint_of(&machine.id)?).await? {
            return Err(Error::rejected(format!("`{}` has no endpoint", machine.name))
                .code(ErrorCode::NOT_FOUND)
                .hint("arc::endpoint_create makes it"));
        }
        service_of(&machine.id, args.service())
    }
}
