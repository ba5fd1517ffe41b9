//! `local::vm`: reads one Azure Local VM.

use crate::prelude::*;

/// What is known about an Azure Local VM.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Vm {
    /// Resource id of its Arc machine: what other operations take.
    pub(crate) id: ResourceId,
    /// Name.
    pub(crate) name: String,
    /// Resource group.
    pub(crate) group: String,
    /// Running, Starting, Stopped, Stopping, Paused, Saved or Unknown. Running does not mean that the guest boots.
    pub(crate) power_state: String,
    /// State of the last change made through Azure: Succeeded, Failed, InProgress and others.
    pub(crate) provisioning_state: String,
    /// One line for a person: where it runs, whether its agent answers, and Azure's last error.
    pub(crate) status: String,
    /// Node that runs it.
    pub(crate) host: Option<String>,
    /// Address of that node, as Azure reports it. It may be one that cannot be reached from here.
    pub(crate) host_address: Option<String>,
    /// Id by which Hyper-V knows it.
    pub(crate) hyperv_id: Option<String>,
    /// Connected, Connecting, Disconnected or Unknown: whether the agent inside the guest answers.
    pub(crate) agent: String,
    /// Resource id of the custom location it was made in.
    pub(crate) custom_location: Option<String>,
}

impl Vm {
    /// Reads the answer of Azure.
    pub(crate) fn read(machine: &ResourceId, body: &Value) -> Self {
        // Azure's own spelling of the id, when it fits.
        let spelled = text(body, "/id").and_then(|id| ResourceId::parse(id).ok()).and_then(|id| id.parent());
        let id = spelled.filter(|id| id == machine).unwrap_or_else(|| machine.clone());
        let owned = |pointer| text(body, pointer).map(str::to_owned);
        let mut vm = Vm {
            name: id.name().to_owned(),
            group: id.group().unwrap_or_default().to_owned(),
            power_state: owned("/properties/status/powerState").unwrap_or_else(|| "Unknown".into()),
            provisioning_state: owned("/properties/provisioningState").unwrap_or_else(|| "Unknown".into()),
            status: String::new(),
            host: owned("/properties/hostNodeName"),
            host_address: owned("/properties/hostNodeIpAddress"),
            hyperv_id: owned("/properties/hyperVVmId").map(|id| id.trim_matches(['{', '}']).to_owned()),
            agent: agent(body),
            custom_location: owned("/extendedLocation/name"),
            id,
        };
        vm.status = vm.sentence(text(body, "/properties/status/errorMessage"));
        vm
    }

    fn sentence(&self, error: Option<&str>) -> String {
        let mut line = self.power_state.clone();
        if let Some(host) = &self.host {
            line += &format!(" on {host}");
        }
        if self.is("Running") && !self.agent.eq_ignore_ascii_case("Connected") {
            line += "; the agent in the guest does not answer";
        }
        if let Some(error) = error {
            line += &format!("; {}", crate::azure::wire::shortened(error, 300));
        }
        line
    }

    /// Returns whether the power state is this word.
    pub(crate) fn is(&self, power_state: &str) -> bool {
        self.power_state.eq_ignore_ascii_case(power_state)
    }

    /// Returns whether Azure is still carrying out a change.
    pub(crate) fn is_changing(&self) -> bool {
        !["Succeeded", "Failed", "Canceled", "Cancelled", "Unknown"]
            .iter()
            .any(|s| self.provisioning_state.eq_ignore_ascii_case(s))
    }
}

/// Returns the last word of the agent inside the guest.
fn agent(body: &Value) -> String {
    let statuses = items(body, "/properties/instanceView/vmAgent/statuses");
    let last = statuses.filter_map(|status| text(status, "/displayStatus")).last();
    last.or_else(|| text(body, "/properties/guestAgentInstallStatus/status")).unwrap_or("Unknown").to_owned()
}

/// Reads one VM of Azure Local: where it runs, its power state, and whether its agent answers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    vm: Ref,
    /// Resource group of the VM. The configured group when left out; the whole subscription when there is none.
    #[serde(default)]
    group: Option<String>,
}

/// `local::vm`.
pub(crate) struct ReadVm(pub(crate) Azure);

impl Operation for ReadVm {
    type Args = Args;
    type Output = Vm;

    const NAME: &'static str = "local::vm";
    const SUMMARY: &'static str = "Reads one VM of Azure Local.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new("See where a VM runs.", r#"local::vm("web-01").host"#)
                .on("edge")
                .gives(json!("hq-node2")),
            Example::new(
                "Look in another resource group.",
                r#"local::vm("app-01", #{ group: "rg-apps" }).power_state"#,
            )
            .on("edge")
            .gives(json!("Running")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Vm>> {
        Ok(Outcome::done(self.0.find_vm(cx, &args.vm, args.group.as_deref()).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> ResourceId {
        "/subscriptions/s/resourceGroups/rg/providers/Microsoft.HybridCompute/machines/web-01"
            .parse()
            .unwrap()
    }

    #[test]
    fn an_answer_is_read() {
        let body = json!({
            "id": "/subscriptions/s/resourcegroups/RG/providers/microsoft.hybridcompute/machines/WEB-01/providers/Microsoft.AzureStackHCI/virtualMachineInstances/default",
            "properties": {
                "provisioningState": "Succeeded",
                "status": {"powerState": "Running", "errorCode": "", "errorMessage": ""},
                "hyperVVmId": "{0-1}", "hostNodeName": "hq-node2", "hostNodeIpAddress": "",
                "instanceView": {"vmAgent": {"statuses": [{"displayStatus": "Connecting"}]}}
            }
        });
        let vm = Vm::read(&machine(), &body);
        assert_eq!((vm.name.as_str(), vm.group.as_str()), ("WEB-01", "RG"));
        assert_eq!((vm.hyperv_id.as_deref(), vm.host_address.as_deref()), (Some("0-1"), None));
        assert_eq!(vm.status, "Running on hq-node2; the agent in the guest does not answer");
        assert!(!vm.is_changing());
    }

    #[test]
    fn whatever_comes_back_is_a_vm_without_details() {
        for body in [
            json!({}),
            json!({"id": 7, "properties": []}),
            json!({"id": "/subscriptions/x", "properties": {"status": null}}),
        ] {
            let vm = Vm::read(&machine(), &body);
            assert_eq!((vm.id, vm.power_state.as_str(), vm.host), (machine(), "Unknown", None), "{body}");
        }
    }
}
