//! `network::port_check`: whether a port of a virtual machine in Azure is open, and which rule decides.

use super::api::{SECURITY_GROUPS, SUBNETS};
use super::rules::{Layer, Rule, Source};
use crate::azure::Origin;
use crate::compute::INTERFACES;
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation};

/// The action that tells the rules before a network interface.
pub(crate) const EFFECTIVE_RULES: &str = "effectiveNetworkSecurityGroups";

/// How long the effective rules are waited for: Azure takes seconds.
const EFFECTIVE: Duration = Duration::from_secs(3 * 60);

/// Asks whether the networks let a connection through to a port of a virtual machine in Azure: by the rules that are in effect
/// before its network interface while it runs, else by those of the security groups of its subnet and of the interface.
/// That the rules let somebody through does not mean that something listens there. Inferred: where no security group stands in the way,
/// a public address of the standard kind lets nobody in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    vm: Ref,
    /// Port; 22 when left out.
    #[serde(default)]
    port: Option<u16>,
    /// From where: an address, or Internet for anywhere, which is meant when left out.
    #[serde(default)]
    source: Option<String>,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// What the rules say about a port.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Checked {
    /// Whether all of them let the connection through.
    pub(crate) open: bool,
    /// Port.
    pub(crate) port: u16,
    /// The rule that keeps it out, when there is one.
    pub(crate) blocked_by: Option<Rule>,
    /// The rules that decide, one for each place in the way.
    pub(crate) decided_by: Vec<Rule>,
    /// One line for a person.
    pub(crate) said: String,
}

/// Whose rules are asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    vm: String,
    nic: ResourceId,
    runs: bool,
    /// Until when the effective rules are waited for.
    until: Timestamp,
}

/// `network::port_check`.
pub(super) struct PortCheck(pub(super) Azure);

impl Args {
    fn read(&self) -> Result<(Source, u16)> {
        Ok((Source::read(self.source.as_deref().unwrap_or("Internet"))?, self.port.unwrap_or(22)))
    }
}

impl DesiredState for PortCheck {
    type Args = Args;
    type Target = Target;
    type Value = Checked;

    /// It changes nothing, although it is asked for with a request of that kind.
    const REDO: Redo = Redo::Resend;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, args: &Args, at: &Target, known: Known) -> Result<Look<Checked>> {
        let (source, port) = args.read()?;
        let layers = match &known.result {
            Some(effective) => Layer::of_effective(effective)?,
            // Where Azure does not come to an end with it, what the groups say is better than nothing.
            None if !at.runs || cx.now() >= at.until => self.0.layers_before(&cx.into(), &at.nic).await?,
            None if known.sent => return Ok(Look::Blind),
            None => return Ok(Look::Away),
        };
        Ok(Look::Reached(Checked::of(&layers, &at.vm, &source, port)))
    }

    fn doing(&self, at: &Target) -> String {
        format!("the rules before {}", at.vm)
    }

    fn request<'a>(&self, _: &'a Args, at: &'a Target) -> Request<'a> {
        let path = format!("{}/{EFFECTIVE_RULES}", at.nic);
        Request::new(Method::Post, path, INTERFACES).finish(FinalState::Location)
    }
}

impl ResourceOperation for PortCheck {
    const NAME: &'static str = "network::port_check";
    const SUMMARY: &'static str = "Says whether the networks let anybody through to a port of a virtual machine in Azure, and which rule decides.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const WITHIN: Duration = Duration::from_secs(10 * 60);

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "See which rule blocks SSH.",
                r#"let it = network::port_check("api-01", #{ group: "rg-cloud" }); [it.open, it.blocked_by.name]"#,
            )
            .on("edge")
            .gives(json!([false, "deny-admin"])),
            Example::new(
                "A port that is open.",
                r#"network::port_check("jump-01", #{ source: "203.0.113.7", group: "rg-cloud" }).open"#,
            )
            .on("edge")
            .gives(json!(true)),
        ]
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<Target> {
        args.read()?;
        let vm = self.0.find_azure_vm(cx, &args.vm, args.group.as_deref()).await?;
        let runs = vm.is("running");
        Ok(Target { nic: primary(&vm)?, vm: vm.name, runs, until: cx.after(EFFECTIVE) })
    }
}

/// Returns the network interface by which a VM is reached.
pub(super) fn primary(vm: &crate::compute::Vm) -> Result<ResourceId> {
    vm.network_interfaces.first().cloned().ok_or_else(|| {
        Error::rejected(format!("`{}` has no network interface", vm.name)).code(ErrorCode::NOT_FOUND)
    })
}

impl Checked {
    pub(crate) fn of(layers: &[Layer], vm: &str, source: &Source, port: u16) -> Self {
        let mut decided_by = Vec::new();
        let mut blocked_by = None;
        for layer in layers {
            let Some(rule) = layer.decides(source, port) else { continue };
            decided_by.push(rule.clone());
            // Who manages all networks can also let in whatever the groups say.
            if rule.access.eq_ignore_ascii_case("AlwaysAllow") {
                break;
            }
            if !rule.allows() && blocked_by.is_none() {
                blocked_by = Some(rule.clone());
            }
        }
        let is_guarded = layers.iter().any(|layer| layer.before != "all networks");
        let open = blocked_by.is_none() && is_guarded;
        let said = match &blocked_by {
            Some(rule) => format!(
                "port {port} of {vm} is shut by the rule {} (priority {}) before {}",
                rule.name, rule.priority, rule.before
            ),
            None if is_guarded => format!("port {port} of {vm} is open"),
            None => format!("no security group stands before {vm}: its public address lets nobody in"),
        };
        Checked { open, port, blocked_by, decided_by, said }
    }
}

impl Azure {
    /// Reads the rules of the security groups in the way to a network interface: its subnet's first, then its own.
    pub(crate) async fn layers_before(&self, origin: &Origin, nic: &ResourceId) -> Result<Vec<Layer>> {
        let gone = || Error::rejected(format!("`{}` is gone", nic.name())).code(ErrorCode::NOT_FOUND);
        let body = self.arm.find_as(origin, nic.as_str(), INTERFACES).await?.ok_or_else(gone)?;
        let mut groups: Vec<(String, &str)> = Vec::new();
        for ip in items(&body, "/properties/ipConfigurations") {
            let Some(subnet) = text(ip, "/properties/subnet/id") else { continue };
            let subnet = self.arm.find_as(origin, ResourceId::parse(subnet)?.as_str(), SUBNETS).await?;
            let group = subnet.as_ref().and_then(|body| text(body, "/properties/networkSecurityGroup/id"));
            groups.extend(group.map(|id| (id.to_owned(), "the subnet")));
        }
        let own = text(&body, "/properties/networkSecurityGroup/id");
        groups.extend(own.map(|id| (id.to_owned(), "the network interface")));
        groups.dedup();
        let mut layers = Vec::new();
        for (id, before) in groups {
            let group = self.arm.find_as(origin, ResourceId::parse(&id)?.as_str(), SECURITY_GROUPS).await?;
            layers.extend(group.map(|group| Layer::of_group(&group, before)));
        }
        Ok(layers)
    }
}
