//! `compute::vm`: reads one virtual machine in Azure.

use crate::prelude::*;

/// What is known about a virtual machine in Azure.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Vm {
    /// Resource id: what other operations take.
    pub(crate) id: ResourceId,
    /// Name.
    pub(crate) name: String,
    /// Resource group.
    pub(crate) group: String,
    /// Azure region, which its extensions share.
    pub(crate) location: String,
    /// The kind of operating system: windows or linux.
    pub(crate) os: Option<String>,
    /// Size, such as Standard_B2s.
    pub(crate) size: Option<String>,
    /// Power state: running, stopped (off, and still paid for), deallocated, starting, stopping, deallocating or unknown.
    pub(crate) power_state: String,
    /// Azure's word for the state of its last change: Succeeded, Updating, Failed and others.
    pub(crate) provisioning_state: String,
    /// Whether the agent in it answers: Ready, Not Ready, or unknown where it has no host.
    pub(crate) agent: String,
    /// User that was made with it.
    pub(crate) user: Option<String>,
    /// Whether Azure keeps what its screen and its serial port show.
    pub(crate) has_boot_diagnostics: bool,
    /// Whether it can sign in to Azure by itself, which the sign-in with Entra ID asks for.
    pub(crate) has_identity: bool,
    /// Azure's words for the identities that it has, such as SystemAssigned; none when it has none.
    pub(crate) identity: Option<String>,
    /// Resource ids of its network interfaces, the primary one first.
    pub(crate) network_interfaces: Vec<ResourceId>,
}

impl Vm {
    /// Reads the answer of Azure.
    pub(super) fn read(id: &ResourceId, body: &Value) -> Self {
        let owned = |pointer| text(body, pointer).map(str::to_owned);
        // Azure's own spelling of the id, when it fits.
        let spelled = text(body, "/id").and_then(|text| ResourceId::parse(text).ok());
        let id = spelled.filter(|spelled| spelled == id).unwrap_or_else(|| id.clone());
        let power = items(body, "/properties/instanceView/statuses")
            .filter_map(|status| text(status, "/code"))
            .find_map(|code| {
                code.split_once('/').filter(|(kind, _)| kind.eq_ignore_ascii_case("PowerState"))
            });
        let mut interfaces: Vec<&Value> =
            items(body, "/properties/networkProfile/networkInterfaces").collect();
        let is_primary =
            |nic: &&Value| nic.pointer("/properties/primary").and_then(Value::as_bool) == Some(true);
        interfaces.sort_by_key(|nic| !is_primary(nic));
        let identity = owned("/identity/type").filter(|kind| !kind.eq_ignore_ascii_case("None"));
        Vm {
            name: id.name().to_owned(),
            group: id.group().unwrap_or_default().to_owned(),
            id,
            location: owned("/location").unwrap_or_default(),
            os: owned("/properties/storageProfile/osDisk/osType").map(|os| os.to_ascii_lowercase()),
            size: owned("/properties/hardwareProfile/vmSize"),
            power_state: power.map_or_else(|| "unknown".to_owned(), |(_, state)| state.to_ascii_lowercase()),
            provisioning_state: owned("/properties/provisioningState").unwrap_or_else(|| "Unknown".into()),
            agent: owned("/properties/instanceView/vmAgent/statuses/0/displayStatus")
                .unwrap_or_else(|| "unknown".into()),
            user: owned("/properties/osProfile/adminUsername"),
            has_boot_diagnostics: body
                .pointer("/properties/diagnosticsProfile/bootDiagnostics/enabled")
                .and_then(Value::as_bool)
                .unwrap_or_default(),
            has_identity: identity
                .as_ref()
                .is_some_and(|kind| kind.to_ascii_lowercase().contains("systemassigned")),
            identity,
            network_interfaces: interfaces
                .into_iter()
                .filter_map(|nic| ResourceId::parse(text(nic, "/id")?).ok())
                .collect(),
        }
    }

    /// Returns whether the power state is this word.
    pub(crate) fn is(&self, power_state: &str) -> bool {
        self.power_state.eq_ignore_ascii_case(power_state)
    }

    /// Returns whether it is off, or on its way there.
    pub(crate) fn is_off(&self) -> bool {
        ["stopped", "deallocated", "stopping", "deallocating"].iter().any(|state| self.is(state))
    }

    /// Returns whether Azure is still carrying out a change.
    pub(crate) fn is_changing(&self) -> bool {
        !["Succeeded", "Failed", "Canceled", "Cancelled", "Unknown"]
            .iter()
            .any(|state| self.provisioning_state.eq_ignore_ascii_case(state))
    }

    /// Returns the error of wanting something of a VM that does not run.
    pub(crate) fn is_not_running(&self) -> Error {
        Error::rejected(format!("`{}` is {}", self.name, self.power_state))
            .code(ErrorCode::OFF)
            .hint("start it: compute::start(vm)")
    }
}

/// Reads one virtual machine in Azure: its power state, and whether its agent answers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    vm: Ref,
    /// Resource group of the VM. The configured group when left out; the whole subscription when there is none.
    #[serde(default)]
    group: Option<String>,
}

/// `compute::vm`.
pub(crate) struct ReadVm(pub(crate) Azure);

impl Operation for ReadVm {
    type Args = Args;
    type Output = Vm;

    const NAME: &'static str = "compute::vm";
    const SUMMARY: &'static str = "Reads one virtual machine in Azure.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "See whether a VM runs.",
                r#"compute::vm("jump-01", #{ group: "rg-cloud" }).power_state"#,
            )
            .on("edge")
            .gives(json!("running")),
            Example::new(
                "And what answers in it.",
                r#"let vm = compute::vm("sql-01", #{ group: "rg-cloud" }); [vm.os, vm.agent]"#,
            )
            .on("edge")
            .gives(json!(["windows", "Ready"])),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Vm>> {
        Ok(Outcome::done(self.0.find_azure_vm(cx, &args.vm, args.group.as_deref()).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ResourceId {
        "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm-1".parse().unwrap()
    }

    #[test]
    fn an_answer_is_read() {
        let body = json!({
            "id": "/subscriptions/s/resourcegroups/RG/providers/microsoft.compute/virtualmachines/VM-1",
            "location": "westus",
            "identity": {"type": "SystemAssigned, UserAssigned"},
            "properties": {
                "provisioningState": "Succeeded",
                "storageProfile": {"osDisk": {"osType": "Linux"}},
                "networkProfile": {"networkInterfaces": [
                    {"id": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/networkInterfaces/b"},
                    {"id": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/networkInterfaces/a",
                     "properties": {"primary": true}},
                ]},
                "instanceView": {"statuses": [
                    {"code": "ProvisioningState/succeeded"}, {"code": "PowerState/deallocated"}]},
            },
        });
        let vm = Vm::read(&id(), &body);
        assert_eq!((vm.name.as_str(), vm.group.as_str(), vm.os.as_deref()), ("VM-1", "RG", Some("linux")));
        assert!(vm.is_off() && vm.has_identity && !vm.is_changing() && !vm.has_boot_diagnostics);
        let names: Vec<&str> = vm.network_interfaces.iter().map(ResourceId::name).collect();
        assert_eq!(names, ["a", "b"], "the primary one comes first");
    }

    #[test]
    fn whatever_comes_back_is_a_vm_without_details() {
        for body in
            [json!({}), json!({"id": 7, "properties": []}), json!({"properties": {"instanceView": null}})]
        {
            let vm = Vm::read(&id(), &body);
            assert_eq!((vm.id.clone(), vm.power_state.as_str()), (id(), "unknown"), "{body}");
        }
    }
}
