//! `network::close_port`: removes the rules that `network::open_port` made.
//!
//! What is leased is closed by the one run that closes the lease, whoever asks: in any other run this operation hands
//! over to it, and waits.

use super::MARK;
use super::api::RULES;
use crate::prelude::*;
use crate::reconcile::{Advanced, Change, DesiredState, Known, Look, Request};

/// How long the whole may take. A closing that takes longer than this is begun anew.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Shuts a port of a virtual machine in Azure that `network::open_port` opened: removes the rules that it made, and ends their leases.
/// A rule of that name that somebody else wrote since stays, and so do all other rules: a port that was open before stays open.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id` or a `vm`.
    vm: Ref,
    /// Port; 22 when left out.
    #[serde(default)]
    port: Option<u16>,
    /// Resource ids of the rules; those of the lease when left out.
    #[serde(default)]
    rules: Vec<ResourceId>,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// What became of the rules.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Closed {
    /// Whether a rule was removed.
    closed: bool,
    /// Resource ids of the rules that were removed.
    rules: Vec<ResourceId>,
    /// Resource ids of those that somebody else has written since, and that were left alone.
    kept: Vec<ResourceId>,
    /// Resource ids of those that were gone already: removed by somebody, or with their security group.
    #[serde(default)]
    gone: Vec<ResourceId>,
}

/// What is stored while rules are removed.
#[derive(Serialize, Deserialize)]
struct Closing {
    rules: Vec<Change<ResourceId>>,
    leases: Vec<String>,
    removed: Vec<ResourceId>,
    kept: Vec<ResourceId>,
    #[serde(default)]
    gone: Vec<ResourceId>,
}

/// What is stored while the leases' own runs do it.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    vm: ResourceId,
    port: u16,
    closed: Closed,
}

/// `network::close_port`.
pub(super) struct ClosePort(pub(super) Azure);

impl Operation for ClosePort {
    type Args = Args;
    type Output = Closed;

    const NAME: &'static str = "network::close_port";
    const SUMMARY: &'static str = "Removes the rules that `network::open_port` made, and no others.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        let script = r#"
            let vm = compute::vm("api-01", #{ group: "rg-cloud" });
            let port = network::open_port(vm, #{ source: "203.0.113.7" });
            [network::close_port(port).closed, network::port_check(vm).open]
        "#;
        vec![Example::new("Shut what was opened.", script).on("edge").gives(json!([true, false]))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Closed>> {
        let port = args.port.unwrap_or(22);
        // A lease can be closed for a VM that no longer exists: its id is enough.
        let vm = self.0.named(&cx.into(), crate::compute::AZURE_VM, &args.vm, args.group.as_deref()).await?;
        let leases = leases(cx, &vm, port).await?;
        match (cx.closes(), leases.first()) {
            (Some(own), _) => {
                // Somebody may have closed or forgotten it since.
                let lease = leases.iter().find(|lease| lease.id == own);
                let rules = lease.map(rules_of).unwrap_or_default();
                let leases = lease.map(|lease| lease.id.clone()).into_iter().collect();
                self.close(cx, rules, leases).await
            }
            (None, Some(lease)) => Waiting { vm, port, closed: Closed::default() }.hand_over(lease),
            (None, None) => self.close(cx, args.rules.clone(), Vec::new()).await,
        }
    }

    async fn resume(&self, cx: &Cx, args: &Args, at: &Value) -> Result<Outcome<Closed>> {
        if let Ok(back) = serde_json::from_value::<HandedBack>(at.clone()) {
            return Self::handed_back(cx, back).await;
        }
        let mut closing: Closing = restored(Self::NAME, at)?;
        let Some(change) = closing.rules.first().cloned() else { return Ok(closing.done()) };
        let id = change.target().clone();
        match change.advance(&RemoveRule(self.0.clone()), cx, args).await? {
            // It was there when this began.
            Advanced::Reached(()) => {
                closing.rules.remove(0);
                closing.removed.push(id);
                closing.next()
            }
            Advanced::Wait { change, wait, said, percent } => {
                closing.rules[0] = change;
                Ok(Outcome::pending(&closing, wait)?.within(LIMIT).saying(said, percent))
            }
        }
    }
}

impl ClosePort {
    /// Begins to remove those rules that are still ours.
    async fn close(&self, cx: &Cx, rules: Vec<ResourceId>, leases: Vec<String>) -> Result<Outcome<Closed>> {
        let (removed, kept, gone) = (Vec::new(), Vec::new(), Vec::new());
        let mut closing = Closing { rules: Vec::new(), leases, removed, kept, gone };
        for id in rules {
            let Some(body) = self.0.arm.find(cx, id.as_str(), RULES).await? else {
                closing.gone.push(id);
                continue;
            };
            let is_ours = text(&body, "/properties/description").is_some_and(|it| it.starts_with(MARK));
            match is_ours && id.name().starts_with("relight-") {
                true => closing.rules.push(Change::of(id)),
                false => closing.kept.push(id),
            }
        }
        closing.next()
    }

    /// The run to which the closing was handed over has ended.
    async fn handed_back(cx: &Cx, back: HandedBack) -> Result<Outcome<Closed>> {
        let mut waiting: Waiting = restored(Self::NAME, &back.then)?;
        if let Some(closed) = back.closed.and_then(|value| serde_json::from_value::<Closed>(value).ok()) {
            waiting.closed.closed |= closed.closed;
            waiting.closed.rules.extend(closed.rules);
            waiting.closed.kept.extend(closed.kept);
            waiting.closed.gone.extend(closed.gone);
        }
        match leases(cx, &waiting.vm, waiting.port).await?.first() {
            Some(lease) => waiting.hand_over(lease),
            None => Ok(Outcome::done(waiting.closed)),
        }
    }
}

/// Returns the leases on a port of a VM.
async fn leases(cx: &Cx, vm: &ResourceId, port: u16) -> Result<Vec<Lease>> {
    let mut leases = cx.leases_for(&vm.key()).await?;
    let is_it = |lease: &Lease| {
        lease.close.operation == ClosePort::NAME
            && lease.close.args.get("port").and_then(Value::as_u64) == Some(u64::from(port))
    };
    leases.retain(is_it);
    Ok(leases)
}

fn rules_of(lease: &Lease) -> Vec<ResourceId> {
    items(&lease.close.args, "/rules").filter_map(|id| ResourceId::parse(id.as_str()?).ok()).collect()
}

impl Waiting {
    fn hand_over(&self, lease: &Lease) -> Result<Outcome<Closed>> {
        let then = serde_json::to_value(self)
            .map_err(|e| Error::invalid("failed to write the state of a waiting operation").because(e))?;
        Ok(Outcome::Close { lease: lease.id.clone(), then })
    }
}

impl Closing {
    fn next(self) -> Result<Outcome<Closed>> {
        match self.rules.is_empty() {
            true => Ok(self.done()),
            false => Ok(Outcome::pending(&self, Duration::ZERO)?.within(LIMIT)),
        }
    }

    fn done(self) -> Outcome<Closed> {
        let Closing { leases, removed, kept, gone, .. } = self;
        let ends = leases.into_iter().map(|id| Effected::LeaseClosed { id });
        let closed = Closed { closed: !removed.is_empty(), rules: removed, kept, gone };
        ends.fold(Outcome::done(closed), Outcome::with)
    }
}

/// The removal of one rule.
struct RemoveRule(Azure);

impl DesiredState for RemoveRule {
    type Args = Args;
    type Target = ResourceId;
    type Value = ();

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, _: &Args, id: &ResourceId, _: Known) -> Result<Look<()>> {
        Ok(match self.0.arm.find(cx, id.as_str(), RULES).await? {
            None => Look::Reached(()),
            Some(body) => {
                let state = text(&body, "/properties/provisioningState").unwrap_or_default();
                match ["Deleting", "Updating"].iter().any(|it| it.eq_ignore_ascii_case(state)) {
                    true => Look::Moving(format!("{} is being removed", id.name()), None),
                    false => Look::Away,
                }
            }
        })
    }

    fn doing(&self, id: &ResourceId) -> String {
        format!("removing {}", id.name())
    }

    fn request<'a>(&self, _: &'a Args, id: &'a ResourceId) -> Request<'a> {
        Request::new(Method::Delete, id.to_string(), RULES)
    }
}
