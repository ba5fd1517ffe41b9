//! From what a script names to the Arc machine in Azure.

use crate::azure::Origin;
use crate::local::api;
use crate::local::find::ARC_MACHINE;
use crate::prelude::*;

/// What is known about an Arc machine.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Machine {
    /// Resource id: what other operations take.
    pub(crate) id: ResourceId,
    /// Name.
    pub(crate) name: String,
    /// Resource group.
    pub(crate) group: String,
    /// Azure region, which its extensions share.
    pub(crate) location: String,
    /// What it is beside a server, such as HCI for a VM of Azure Local.
    pub(crate) kind: Option<String>,
    /// Whether its agent is in touch: Connected, Disconnected, Expired, Error or AwaitingConnection.
    pub(crate) status: String,
    /// When that changed last.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) last_status_change: Option<String>,
    /// Version of the agent.
    pub(crate) agent_version: Option<String>,
    /// The kind of operating system: windows or linux.
    pub(crate) os: Option<String>,
    /// Version of the operating system.
    pub(crate) os_version: Option<String>,
}

impl Machine {
    /// Reads the answer of Azure.
    fn read(id: ResourceId, body: &Value) -> Self {
        let owned = |pointer| text(body, pointer).map(str::to_owned);
        // Azure's own spelling of the id, when it fits.
        let spelled = text(body, "/id").and_then(|text| ResourceId::parse(text).ok());
        let id = spelled.filter(|spelled| *spelled == id).unwrap_or(id);
        Machine {
            name: id.name().to_owned(),
            group: id.group().unwrap_or_default().to_owned(),
            id,
            location: owned("/location").unwrap_or_default(),
            kind: owned("/kind"),
            status: owned("/properties/status").unwrap_or_else(|| "Unknown".into()),
            last_status_change: owned("/properties/lastStatusChange"),
            agent_version: owned("/properties/agentVersion"),
            os: owned("/properties/osType").map(|os| os.to_ascii_lowercase()),
            os_version: owned("/properties/osVersion"),
        }
    }
}

impl Machine {
    /// Makes sure that its agent has a connection to Azure.
    ///
    /// # Errors
    /// `OutOfTouch` when it has none.
    pub(crate) fn check_in_touch(&self) -> Result<()> {
        if self.status.eq_ignore_ascii_case("Connected") {
            return Ok(());
        }
        let since =
            self.last_status_change.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
        Err(Error::rejected(format!("the agent of `{}` is {}{since}", self.name, self.status))
            .code(ErrorCode::OUT_OF_TOUCH)
            .hint("on the machine: azcmagent show"))
    }
}

impl Azure {
    /// Finds and reads an Arc machine.
    pub(crate) async fn find_machine(&self, cx: &Cx, machine: &Ref, group: Option<&str>) -> Result<Machine> {
        self.read_arc_machine(&cx.into(), machine, group).await
    }

    /// The same, for whoever belongs to no run.
    pub(crate) async fn read_arc_machine(
        &self,
        origin: &Origin,
        machine: &Ref,
        group: Option<&str>,
    ) -> Result<Machine> {
        let id = self.named(origin, ARC_MACHINE, machine, group).await?;
        match self.arm.find_as(origin, id.as_str(), api::MACHINES).await? {
            Some(body) => Ok(Machine::read(id, &body)),
            None => Err(self.no_such(origin, ARC_MACHINE, &id).await),
        }
    }

    /// Makes sure that the agent of an Arc machine takes up what it is told.
    ///
    /// # Errors
    /// `OutOfTouch` when it does not: Azure would keep the work for it, for up to six hours.
    pub(crate) async fn check_in_touch(&self, cx: &Cx, machine: &ResourceId) -> Result<()> {
        self.find_machine(cx, &Ref::Id(machine.clone()), None).await?.check_in_touch()
    }
}
