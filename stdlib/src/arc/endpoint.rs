//! How the agent of an Arc machine lets others in: its endpoint, and the services that may be reached through it.

use crate::azure::Origin;
use crate::prelude::*;
use crate::relay;

/// Known versions of a service configuration; all have the same paths and bodies.
pub(crate) const SERVICES: Api<'static> = Api {
    kind: "Microsoft.HybridConnectivity/endpoints/serviceConfigurations",
    versions: relay::ENDPOINTS.versions,
};

/// The endpoint of an Arc machine.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Endpoint {
    /// Resource id.
    pub(crate) id: ResourceId,
    /// Whether a request was sent. False when it was there already.
    pub(crate) changed: bool,
}

/// A service of an Arc machine that may be reached through its endpoint.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Service {
    /// Resource id.
    pub(crate) id: ResourceId,
    /// SSH or WAC.
    pub(crate) service: String,
    /// Port on the machine that is let in.
    pub(crate) port: u16,
    /// Whether a request was sent. False when it was so already.
    pub(crate) changed: bool,
}

/// Returns the endpoint of a machine.
pub(crate) fn endpoint_of(machine: &ResourceId) -> Result<ResourceId> {
    ResourceId::parse(&format!("{machine}/providers/Microsoft.HybridConnectivity/endpoints/default"))
}

/// Returns the configuration of a service of a machine.
pub(crate) fn service_of(machine: &ResourceId, service: &str) -> Result<ResourceId> {
    endpoint_of(machine)?.child("serviceConfigurations", service)
}

impl Azure {
    /// Returns whether an endpoint is there.
    pub(crate) async fn has_endpoint(&self, on: impl Into<Origin>, id: &ResourceId) -> Result<bool> {
        Ok(self.arm.find_as(&on.into(), id.as_str(), relay::ENDPOINTS).await?.is_some())
    }

    /// Returns the port that is let in for a service, if there is one.
    pub(crate) async fn port_of_service(
        &self,
        on: impl Into<Origin>,
        id: &ResourceId,
    ) -> Result<Option<u16>> {
        let body = self.arm.find_as(&on.into(), id.as_str(), SERVICES).await?;
        let port = body.as_ref().and_then(|body| body.pointer("/properties/port")?.as_u64());
        Ok(port.and_then(|port| u16::try_from(port).ok()))
    }
}

/// Describes a request about a service configuration.
pub(super) fn about_service(method: Method, id: &ResourceId) -> crate::reconcile::Request<'static> {
    crate::reconcile::Request::new(method, id.to_string(), SERVICES)
}
