//! Azure Relay: the way to a machine without a public address, through the agent that Azure Arc has there.
//!
//! ```text
//! Azure Resource Manager ──► credentials for one service of one machine, for some hours
//! the relay ◄── one WebSocket upgrade with three headers ── here
//! the agent ──► localhost:22 on its machine; from then on bytes, both ways
//! ```
//!
//! The headers and that no first frame follows are inferred from one independent client and from the relay's
//! documentation; see `docs/wire.md`. Nothing here changes anything in Azure.

mod access;
mod agent;
mod refusal;
mod tunnel;
mod upgrade;

use std::time::Duration;

use relight_engine::clock::Clock;
use relight_engine::{Error, ErrorCode, ErrorKind, Result};

pub use access::Access;
pub(crate) use access::{CREDENTIALS, ENDPOINTS};
pub use tunnel::{Lost, Tunnel};

use crate::Azure;
use crate::azure::{Origin, ResourceId};
use crate::local::api::MACHINES;
use agent::Agent;
pub(crate) use agent::is_old;
pub(crate) use refusal::Refusal;

/// The service by which SSH is let in.
pub const SSH: &str = "SSH";

/// How long to pause between attempts; the last one again and again.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(5)];

/// Which port of which machine is meant, and how long it may take to get there.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// On whose behalf.
    pub origin: &'a Origin,
    /// The Arc machine.
    pub machine: &'a ResourceId,
    /// The port, as the machine itself sees it.
    pub port: u16,
    /// How long to wait for the machine's agent to listen.
    pub within: Duration,
    /// Whether a virtual machine in Azure is reached at its private addresses alone.
    pub private: bool,
    /// By which that is measured.
    pub clock: &'a dyn Clock,
}

impl Azure {
    /// Connects to a port of an Arc machine through the relay: at once, or as soon as its agent listens there, which
    /// takes up to 90 s after something was changed about it. `waiting` hears why it is waited. A machine whose agent
    /// is known to be out of touch is not waited for.
    ///
    /// Credentials are asked for with every connection, and once more when the relay says that they are over.
    ///
    /// # Errors
    /// What keeps the connection from being made, each with what to do about it. `OutOfTouch` when nobody listens at
    /// the relay; `Off` when nothing listens on the machine.
    pub async fn connect_through_arc(&self, to: &Target<'_>, waiting: impl Fn(&Error)) -> Result<Tunnel> {
        let began = to.clock.elapsed();
        let mut access = self.relay_access(to.origin, to.machine, SSH).await?;
        let (mut is_renewed, mut is_looked_at) = (false, false);
        let mut pauses = PAUSES.iter().copied().chain(std::iter::repeat(PAUSES[PAUSES.len() - 1]));
        loop {
            let refusal = match upgrade::upgrade(&self.arm, &access, to.port).await {
                Ok(socket) => return Ok(Tunnel::over(socket)),
                Err(refusal) => refusal,
            };
            if matches!(refusal, Refusal::Credentials(_)) && !is_renewed {
                is_renewed = true;
                access = self.relay_access(to.origin, to.machine, SSH).await?;
                continue;
            }
            let mut error = refusal.error(to.machine.name(), to.port);
            if refusal.is_by_the_agent() && !is_looked_at {
                is_looked_at = true;
                let agent = self.agent(to).await;
                error = agent.explain(error);
                if matches!(refusal, Refusal::NobodyListens(_)) && agent.is_out_of_touch() {
                    return Err(error);
                }
            }
            let pause = pauses.next().unwrap_or_default();
            let is_over = to.clock.elapsed().saturating_sub(began) + pause > to.within;
            if !refusal.may_pass() || is_over {
                return Err(error);
            }
            waiting(&error);
            to.clock.sleep(pause).await;
        }
    }

    /// Asks once for a connection with credentials that were asked for before.
    ///
    /// # Errors
    /// How the relay, or the agent behind it, refuses.
    pub(crate) async fn try_relay(&self, access: &Access, port: u16) -> std::result::Result<Tunnel, Refusal> {
        upgrade::upgrade(&self.arm, access, port).await.map(Tunnel::over)
    }

    /// Reads what Azure knows about the agent of a machine: nothing, when that cannot be read.
    async fn agent(&self, to: &Target<'_>) -> Agent {
        let body = self.arm.find_as(to.origin, to.machine.as_str(), MACHINES).await.ok().flatten();
        Agent::read(&body.unwrap_or_default())
    }

    /// Asks for what opens the relay to a service of a machine. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` when the machine lets nobody in, or not to this service; whatever else Azure says.
    pub async fn relay_access(&self, origin: &Origin, machine: &ResourceId, service: &str) -> Result<Access> {
        let path = format!("{machine}/{}?expiresin={}", access::CREDENTIALS, access::LIFE.as_secs());
        let body = serde_json::json!({ "serviceName": service });
        match self.arm.ask(origin, &path, access::ENDPOINTS, Some(&body)).await {
            Ok(body) => Access::read(&body),
            Err(error) => Err(refused(machine, service, error)),
        }
    }
}

/// Says what it means that no credentials are given. Microsoft's own client goes by the same two states.
fn refused(machine: &ResourceId, service: &str, error: Error) -> Error {
    let name = machine.name();
    match error.status() {
        Some(404 | 412) => Error::rejected(format!("`{name}` does not let {service} in through Azure Arc"))
            .code(ErrorCode::NOT_FOUND)
            .hint("arc::endpoint_create and arc::service_configure let it in; that is done once for a machine")
            .because(error),
        Some(409) if error.service_code() == Some("MissingSubscriptionRegistration") => {
            Error::rejected(format!("`{name}` does not let {service} in through Azure Arc"))
                .code(ErrorCode::NOT_FOUND)
                .hint("the subscription does not know it yet: arm::register(\"Microsoft.HybridConnectivity\")")
                .because(error)
        }
        Some(403) if error.kind() == ErrorKind::Denied => error.hint(
            "Microsoft.HybridConnectivity/endpoints/listCredentials/action is part of the roles Virtual Machine \
             Local User Login, Virtual Machine User Login and Virtual Machine Administrator Login",
        ),
        _ => error,
    }
}
