//! Which roads into a machine work now, what blocks the others, and what mends them. Nothing is changed.
//!
//! ```text
//! facts (requests, all at once, within a deadline) ──► checks (a verdict each) ──► roads (a list of checks each)
//! ```
//!
//! A check that needs another one is not blamed for what that one found: the cause is named, never its consequence. What
//! was seen to work outranks what could not be looked at. Beside reads there is one POST, `listCredentials`: it changes
//! nothing, and nobody gets to the relay without it. The SSH server of the machine sees a visitor who asks for its host
//! key and leaves.

mod arc;
mod check;
mod cloud;
mod console;
pub(crate) mod diagnose;
mod fact;
mod facts;
mod found;
mod rights;
mod subject;
pub mod wire;

use std::time::Duration;

use relight_engine::{NextStep, Result};
use schemars::JsonSchema;
use serde::Serialize;

pub use check::{By, Check, Next, Verdict};

use crate::azure::{Origin, ResourceId};
use crate::{Azure, Ref};
use check::Judged;
use found::Found;

/// The machine that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Patient<'a> {
    /// Its name or its id.
    pub machine: &'a Ref,
    /// The resource group in which the name is looked up; the configured one when left out.
    pub group: Option<&'a str>,
    /// The port of its SSH server; the one that is let in when left out.
    pub port: Option<u16>,
}

/// What came of looking at a machine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Diagnosis {
    /// Resource id of the machine.
    pub machine: ResourceId,
    /// What it is, as far as that could be read.
    pub about: String,
    /// The roads, the first to try before the others.
    pub roads: Vec<Road>,
}

/// A way to get something done on a machine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Road {
    /// Its name: `ssh`, `rdp`, `run_command`, `vm_connect`, `serial_log`.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Whether it works.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What was looked at, each after what it needs.
    pub checks: Vec<Check>,
}

/// What a road is made of.
struct Plan {
    name: &'static str,
    title: &'static str,
    /// The checks by name, in the order in which one needs the other.
    checks: &'static [&'static str],
    /// The check that shows that the road works, whatever the others say.
    proof: Option<&'static str>,
}

const WAY_IN: [&str; 3] = ["sign-in", "azure", "machine"];

/// The roads to an Arc machine.
const ARC: [Plan; 3] = [
    Plan {
        name: "ssh",
        title: "SSH over Arc",
        checks: &[
            "sign-in",
            "azure",
            "machine",
            "power",
            "agent",
            "right to connect",
            "provider",
            "endpoint",
            "service",
            "relay",
            "extension",
            "SSH server",
            "host key",
        ],
        proof: Some("host key"),
    },
    Plan {
        name: "run_command",
        title: "run command",
        checks: &["sign-in", "azure", "machine", "power", "agent", "right to run commands"],
        proof: None,
    },
    Plan {
        name: "rdp",
        title: "RDP over SSH",
        checks: &[
            "sign-in",
            "azure",
            "machine",
            "power",
            "agent",
            "right to connect",
            "provider",
            "endpoint",
            "service",
            "relay",
            "extension",
            "SSH server",
            "host key",
            "desktop",
        ],
        proof: None,
    },
];
/// The road that a VM of Azure Local has besides.
const CONSOLE: Plan = Plan {
    name: "vm_connect",
    title: "VM Connect",
    checks: &[
        "sign-in",
        "azure",
        "machine",
        "power",
        "host",
        "instance",
        "node",
        "VM Connect",
        "right to open",
        "line of sight",
    ],
    proof: None,
};

impl Azure {
    /// Looks at every road into an Arc machine, a VM of Azure Local or a VM in Azure, and changes nothing. All of it takes `within` at
    /// most: what gave no answer by then is unknown.
    ///
    /// # Errors
    /// What keeps a name from being looked up. Whatever else is wrong with Azure is in the diagnosis.
    pub async fn diagnose(&self, machine: &Patient<'_>, within: Duration) -> Result<Diagnosis> {
        Ok(match Found::gather(self, &Origin::outside_runs(), machine, within).await? {
            Found::Arc(facts) => {
                let judged = facts.judge(self);
                let plans = ARC.iter().chain(facts.is_local_vm().then_some(&CONSOLE));
                let roads = plans.map(|plan| plan.road(&judged)).collect();
                Diagnosis { about: facts.about(), machine: facts.on.id, roads }
            }
            Found::Azure(facts) => {
                let judged = facts.judge(self);
                let roads = cloud::ROADS.iter().map(|plan| plan.road(&judged)).collect();
                Diagnosis { about: facts.about(), machine: facts.on.id, roads }
            }
        })
    }
}

impl Diagnosis {
    /// Returns whether nothing is known to block any road.
    pub fn is_open(&self) -> bool {
        self.roads.iter().all(|road| !matches!(road.verdict, Verdict::Blocked { .. }))
    }
}

impl Plan {
    /// Says how a road stands: by what shows that it works, else by the first thing that is in the way.
    fn road(&self, judged: &Judged) -> Road {
        let checks: Vec<Check> = self.checks.iter().filter_map(|name| judged.get(name)).collect();
        let named = |name: &str| checks.iter().find(|check| check.name == name);
        let proof = self.proof.and_then(named).filter(|check| check.verdict.is_ok());
        let first = |is: fn(&Verdict) -> bool| checks.iter().map(|check| &check.verdict).find(|it| is(it));
        let verdict = match proof {
            Some(proof) => proof.verdict.clone(),
            None => first(Verdict::is_blocked)
                .or_else(|| first(Verdict::is_unknown))
                .or_else(|| checks.last().map(|check| &check.verdict))
                .cloned()
                .unwrap_or(Verdict::Unknown { why: "nothing could be looked at".to_owned(), next: None }),
        };
        Road { name: self.name, title: self.title, verdict, checks }
    }
}

/// Returns the step that runs a runbook for a machine, which its parameter `of` names: as short as it can be.
fn run(
    azure: &Azure,
    runbook: &str,
    (of, machine): (&str, &ResourceId),
    others: &[(&str, String)],
) -> NextStep {
    let is_same = |own: Option<&str>, its: Option<&str>| {
        own.zip(its).is_some_and(|(own, its)| own.eq_ignore_ascii_case(its))
    };
    let mut params = Vec::new();
    if is_same(azure.subscription.as_deref(), machine.subscription()) {
        params.push((of, machine.name().to_owned()));
        if !is_same(azure.group.as_deref(), machine.group()) {
            params.push(("group", machine.group().unwrap_or_default().to_owned()));
        }
    } else {
        params.push((of, machine.to_string()));
    }
    params.extend(others.iter().cloned());
    let params = params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    NextStep::RunWith { runbook: runbook.to_owned(), params }
}
