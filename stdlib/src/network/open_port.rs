//! `network::open_port`: lets one address through to a port of a virtual machine in Azure, for a while.
//!
//! ```text
//! begin (only reads) ──► the lease is opened together with the plan ──► one rule after the other ──► open
//!                                                          priority taken meanwhile ──► another one ┘
//! ```
//!
//! Each rule is of this step alone: its name says which step made it, and nobody else's rule is read, changed or moved.

use super::api::RULES;
use super::check::{Checked, primary};
use super::rules::{Layer, Source};
use super::{MARK, door};
use crate::prelude::*;
use crate::reconcile::{Advanced, Change, DesiredState, Known, Look, Request};

/// How long a port is open when nothing is said, and at most.
const OPEN_FOR: Duration = Duration::from_secs(60 * 60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the whole may take before a person is asked.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// How often another priority is tried, when somebody else takes ours.
const MOST_TRIES: u32 = 5;

/// Lets one address through to a port of a virtual machine in Azure: a rule in each security group that keeps it out, before the
/// rule that does. They are leased: removed when `open_for` is over, and tried again until they are. Nothing is done where
/// the port is open already, and the rules of others are never touched. What whoever manages all networks denies cannot be opened here.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    vm: Ref,
    /// Port; 22 when left out.
    #[serde(default)]
    port: Option<u16>,
    /// Who is let through: one address, or Internet for everybody. The address from which you signed in when left out.
    #[serde(default)]
    source: Option<String>,
    /// How long the port is open; 1h when left out, and 24h at most.
    #[serde(default)]
    open_for: Option<Span>,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// An open port.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Opened {
    /// Resource id of the VM.
    vm: ResourceId,
    /// Port.
    port: u16,
    /// Who is let through.
    source: String,
    /// Whether a rule was made. False when the port was open already.
    changed: bool,
    /// Resource ids of the rules that were made.
    rules: Vec<ResourceId>,
    /// When they are removed.
    #[schemars(extend("format" = "date-time"))]
    closes_at: Option<String>,
    /// Id of the lease that removes them. Nothing where the port was open already.
    #[serde(default)]
    lease: Option<String>,
}

/// A rule that was or will be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    id: ResourceId,
    priority: u64,
    /// The priority of the rule that it must come before.
    before: u64,
    port: u16,
    source: String,
    description: String,
}

/// What is stored while rules are being made.
#[derive(Serialize, Deserialize)]
struct Opening {
    vm: ResourceId,
    port: u16,
    source: String,
    closes_at: Timestamp,
    rules: Vec<Change<Plan>>,
    made: Vec<ResourceId>,
    tries: u32,
}

/// `network::open_port`.
pub(super) struct OpenPort(pub(super) Azure);

impl Operation for OpenPort {
    type Args = Args;
    type Output = Opened;

    const NAME: &'static str = "network::open_port";
    const SUMMARY: &'static str =
        "Lets one address through to a port of a virtual machine in Azure, and leases that so that it ends.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Let yourself in for half an hour.",
                r#"
                    let vm = compute::vm("api-01", #{ group: "rg-cloud" });
                    network::open_port(vm, #{ source: "203.0.113.7", open_for: "30m" });
                    network::port_check(vm, #{ source: "203.0.113.7" }).open
                "#,
            )
            .on("edge")
            .gives(json!(true)),
            Example::new(
                "Where the port is open, nothing is done.",
                r#"network::open_port("jump-01", #{ source: "203.0.113.7", group: "rg-cloud" }).changed"#,
            )
            .on("edge")
            .gives(json!(false)),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Opened>> {
        let open_for = args.open_for.map_or(OPEN_FOR, Span::get);
        if open_for.is_zero() || open_for > LONGEST {
            return Err(Error::invalid("`open_for` is longer than nothing and at most 24h"));
        }
        let source = self.source(args).await?;
        let port = args.port.unwrap_or(22);
        let vm = self.0.find_azure_vm(cx, &args.vm, args.group.as_deref()).await?;
        let layers = self.0.layers_before(&cx.into(), &primary(&vm)?).await?;
        let mut opening = Opening {
            port,
            source: source.prefix(),
            closes_at: cx.after(lasting(open_for)),
            rules: Vec::new(),
            made: Vec::new(),
            tries: 0,
            vm: vm.id.clone(),
        };
        if Checked::of(&layers, &vm.name, &source, port).open {
            return Ok(Outcome::done(opening.opened(None)));
        }
        if layers.is_empty() {
            return Err(Error::rejected(format!("no security group stands before `{}`, so there is none to open", vm.name))
                .code(ErrorCode::NOT_FOUND)
                .hint("a public address of the standard kind lets nobody in without one: az network nsg create, then put it before the subnet"));
        }
        for layer in &layers {
            let Some(rule) = layer.decides(&source, port).filter(|rule| !rule.allows()) else { continue };
            let plan = opening.plan(cx, layer, rule.priority)?;
            opening.rules.push(Change::of(plan));
        }
        // The duty to remove them is durable before the first one is made.
        let lease = opening.lease(cx, open_for);
        Ok(opening.pending(Duration::ZERO)?.with(Effected::LeaseOpened(lease)))
    }

    async fn resume(&self, cx: &Cx, args: &Args, at: &Value) -> Result<Outcome<Opened>> {
        let mut opening: Opening = restored(Self::NAME, at)?;
        if !cx.leases_for(&opening.vm.key()).await?.iter().any(|lease| lease.id == cx.lease_id()) {
            return Err(Error::rejected(format!(
                "the port of `{}` was to be open until {}, and was shut before this run went on",
                opening.vm.name(),
                opening.closes_at
            ))
            .hint("run the runbook again"));
        }
        let Some(change) = opening.rules.first().cloned() else {
            // From now on the promise counts: the time for opening is left out of it.
            let open_for = args.open_for.map_or(OPEN_FOR, Span::get);
            let mut lease = opening.lease(cx, open_for);
            opening.closes_at = opening.closes_at.min(cx.after(open_for));
            lease.deadline = opening.closes_at;
            return Ok(Outcome::done(opening.opened(Some(cx.lease_id()))).with(Effected::LeaseOpened(lease)));
        };
        let plan = change.target().clone();
        match change.advance(&MakeRule(self.0.clone()), cx, args).await {
            Ok(Advanced::Reached(())) => {
                opening.rules.remove(0);
                opening.made.push(plan.id);
                opening.pending(Duration::ZERO)
            }
            Ok(Advanced::Wait { change, wait, said, percent }) => {
                opening.rules[0] = change;
                Ok(opening.pending(wait)?.saying(said, percent))
            }
            // Somebody else took the priority between our look and our request.
            Err(error)
                if error.service_code() == Some("SecurityRuleConflict") && opening.tries < MOST_TRIES =>
            {
                opening.tries += 1;
                let priority = self.free_priority(cx, &plan).await?;
                opening.rules[0] = Change::of(Plan { priority, ..plan });
                opening.pending(Duration::ZERO)
            }
            Err(error) if error.error_code() == Some(&ErrorCode::NOT_FOUND) => {
                Err(gone(&plan).because(error))
            }
            Err(error) => Err(error),
        }
    }
}

impl OpenPort {
    /// Returns who is let through.
    async fn source(&self, args: &Args) -> Result<Source> {
        if let Some(source) = &args.source {
            return Source::read(source);
        }
        match self.0.arm.identity().await?.address {
            Some(address) => Ok(Source::Address(address)),
            None => Err(Error::invalid(
                "who shall be let through is not known: your sign-in does not say from where you come",
            )
            .hint("name the address as Azure sees it: #{ source: \"203.0.113.7\" }")),
        }
    }

    async fn free_priority(&self, cx: &Cx, plan: &Plan) -> Result<u64> {
        let group = plan.id.parent().ok_or_else(|| gone(plan))?;
        let body = self.0.arm.find(cx, group.as_str(), super::api::SECURITY_GROUPS).await?;
        Layer::of_group(&body.ok_or_else(|| gone(plan))?, "").free_before(plan.before)
    }
}

/// Returns the error of a security group that somebody removed after it was looked at.
fn gone(plan: &Plan) -> Error {
    let group = plan.id.parent();
    let name = group.as_ref().map_or("", ResourceId::name);
    Error::rejected(format!(
        "the security group `{name}` was removed while port {} was being opened",
        plan.port
    ))
    .code(ErrorCode::NOT_FOUND)
    .hint("run it again: it looks anew which rules are in the way")
}

impl Opening {
    /// Plans the rule that lets the connection through, before the one that keeps it out.
    fn plan(&self, cx: &Cx, layer: &Layer, before: u64) -> Result<Plan> {
        let group = ResourceId::parse(&layer.place)?;
        Ok(Plan {
            id: group.child("securityRules", &format!("relight-{}", cx.key(16)))?,
            priority: layer.free_before(before)?,
            before,
            port: self.port,
            source: self.source.clone(),
            description: format!("{MARK} until {:.0}, by run {}", self.closes_at, cx.run()),
        })
    }

    fn pending(self, wait: Duration) -> Result<Outcome<Opened>> {
        Ok(Outcome::pending(&self, wait)?.within(LIMIT))
    }

    fn lease(&self, cx: &Cx, open_for: Duration) -> Lease {
        let planned = self.rules.iter().map(|change| change.target().id.clone());
        let rules: Vec<ResourceId> = self.made.iter().cloned().chain(planned).collect();
        let close =
            Call::new("network::close_port", json!({ "vm": self.vm, "port": self.port, "rules": rules }));
        let mut lease = cx.lease(self.closes_at, close);
        lease.opened = self.closes_at.saturating_sub(open_for).unwrap_or(Timestamp::MIN);
        let taken = self.closes_at.saturating_sub(lasting(open_for)).unwrap_or(Timestamp::MIN);
        lease
            .latest(taken.saturating_add(LONGEST).unwrap_or(Timestamp::MAX))
            .titled(format!("port {} of {} for {}", self.port, self.vm.name(), self.source))
            .subject(self.vm.key())
            .door(door(&self.vm, self.port, &cx.lease_id()))
    }

    /// Returns what became of it. `lease` is the one that ends it, where anything was changed.
    fn opened(self, lease: Option<String>) -> Opened {
        let changed = lease.is_some();
        let closes_at = changed.then(|| format!("{:.0}", self.closes_at));
        let Opening { vm, port, source, made: rules, .. } = self;
        Opened { vm, port, source, changed, rules, closes_at, lease }
    }
}

/// Returns how long the lease lasts when it is taken: opening takes its time, too.
fn lasting(open_for: Duration) -> Duration {
    open_for.saturating_add(LIMIT).min(LONGEST)
}

/// The making of one rule.
struct MakeRule(Azure);

impl DesiredState for MakeRule {
    type Args = Args;
    type Target = Plan;
    type Value = ();

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, _: &Args, plan: &Plan, _: Known) -> Result<Look<()>> {
        let Some(body) = self.0.arm.find(cx, plan.id.as_str(), RULES).await? else { return Ok(Look::Away) };
        let state = text(&body, "/properties/provisioningState").unwrap_or("being made");
        Ok(match state.to_ascii_lowercase().as_str() {
            "succeeded" => Look::Reached(()),
            "failed" => Look::Away,
            _ => Look::Moving(format!("{}: {state}", plan.id.name()), None),
        })
    }

    fn doing(&self, plan: &Plan) -> String {
        format!("letting {} through to port {}", plan.source, plan.port)
    }

    fn request<'a>(&self, _: &'a Args, plan: &'a Plan) -> Request<'a> {
        let body = json!({ "properties": {
            "description": plan.description,
            "protocol": "Tcp",
            "access": "Allow",
            "direction": "Inbound",
            "priority": plan.priority,
            "sourceAddressPrefix": plan.source,
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": plan.port.to_string(),
        }});
        Request::new(Method::Put, plan.id.to_string(), RULES).body(body)
    }
}
