//! `vmconnect::disable`: closes the console port that was opened for a VM.
//!
//! The port is closed on the node where it was opened, which the lease remembers; the VM may be elsewhere by now. While
//! another VM's lease shares the node the port stays open: only this VM's lease is given back, and the last one closes.
//!
//! What is leased is closed by the one run that closes the lease, whoever asks: in any other run this operation hands
//! over to it, and waits.

use super::job::{Job, JobRun, Kind, Order, State, advance, jobs_of};
use super::{OPEN_FOR, endpoint, parse_endpoint};
use crate::azure::wire::shortened;
use crate::local::Vm;
use crate::local::find::machine_id;
use crate::prelude::*;
use crate::reconcile::Advanced;

/// How long the whole may take. The service names minutes; a closing that takes longer than this is begun anew.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Closes the console port that was opened for a VM, and ends its leases. The port belongs to the whole node: while
/// another VM's lease shares it, it stays open until that one ends. When nothing is known to be open, it says so.
///
/// Beginning again only reads; the closing job has a name that only this step uses, and one that was already sent is
/// adopted. Inferred: that a closing job for one VM closes the port for every VM of the node.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id` or a `vm`.
    vm: Ref,
    /// Azure Local instance. What the lease says when left out, else found from the VM's host.
    #[serde(default)]
    cluster: Option<Ref>,
    /// Node whose port is closed when no lease is known.
    #[serde(default)]
    node: Option<String>,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// What became of the port.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Closed {
    /// Resource id of the VM.
    vm: ResourceId,
    /// Whether a port was closed.
    closed: bool,
    /// Nodes whose port was closed.
    hosts: Vec<String>,
    /// What happened, for a person.
    note: String,
}

/// What is stored while ports are being closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Closing {
    vm: ResourceId,
    /// Jobs still to be done, the current one first.
    jobs: Vec<JobRun>,
    /// Leases that end with the last job.
    leases: Vec<String>,
    closed: Vec<String>,
    /// Ports that other leases still need.
    shared: Vec<Place>,
    /// Whether the leases are over, and the shared ports were looked at again since.
    #[serde(default)]
    given_back: bool,
    /// Which attempt this is: a job that failed is not adopted by the next.
    #[serde(default)]
    attempt: u32,
}

/// What is stored while the leases' own runs do the closing.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    vm: ResourceId,
    /// The ports that the leases named.
    places: Vec<Place>,
    closed: Vec<String>,
}

/// One node's port.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    cluster: ResourceId,
    node: String,
}

/// `vmconnect::disable`.
pub(crate) struct Disable(pub(crate) Azure);

impl Operation for Disable {
    type Args = Args;
    type Output = Closed;

    const NAME: &'static str = "vmconnect::disable";
    const SUMMARY: &'static str =
        "Closes the console of a VM, unless another VM's lease shares the port of its host.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Close what was opened.",
                r#"let c = vmconnect::enable("web-01"); vmconnect::disable(c).hosts"#,
            )
            .on("edge")
            .gives(json!(["hq-node2"])),
            Example::new("Nothing is open, and that is fine.", r#"vmconnect::disable("db-01").closed"#)
                .on("edge")
                .gives(json!(false)),
            Example::new(
                "The last of two VMs on one host closes the port.",
                r#"vmconnect::enable("db-01"); vmconnect::enable("lin-02");
                   [vmconnect::disable("db-01").closed, vmconnect::disable("lin-02").closed]"#,
            )
            .on("edge")
            .gives(json!([false, true])),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Closed>> {
        // A lease can be closed for a VM that no longer exists: its id is enough.
        let (vm, seen) = match &args.vm {
            Ref::Id(id) => (machine_id(id)?, None),
            Ref::Name(_) => {
                let vm = self.0.find_vm(cx, &args.vm, args.group.as_deref()).await?;
                (machine_id(&vm.id)?, Some(vm))
            }
        };
        let leases = cx.leases_for(&vm.key()).await?;
        let mut closing = Closing::of(vm, cx.attempt());
        match (cx.closes(), leases.first()) {
            (Some(own), _) => closing.plan_lease(cx, &leases, own).await?,
            (None, Some(lease)) => return Waiting::of(closing.vm, &leases).hand_over(lease),
            (None, None) => self.plan_without_lease(cx, args, seen, &mut closing).await?,
        }
        closing.next()
    }

    async fn resume(&self, cx: &Cx, _args: &Args, at: &Value) -> Result<Outcome<Closed>> {
        if let Ok(back) = serde_json::from_value::<HandedBack>(at.clone()) {
            return self.handed_back(cx, back).await;
        }
        let mut closing: Closing = restored(Self::NAME, at)?;
        if closing.jobs.is_empty() {
            // Two VMs may have given back at the same moment, each because of the other. Now that our lease is over,
            // whoever looks last sees nobody else and closes.
            for place in std::mem::take(&mut closing.shared) {
                closing.plan(cx, place).await?;
            }
            return closing.next();
        }
        let run = closing.jobs[0].clone();
        // A lease that somebody took on this port since keeps it open.
        let Order { cluster, node, .. } = run.target();
        if !run.is_begun() && closing.is_shared(cx, cluster, node).await? {
            closing.shared.push(Place { cluster: cluster.clone(), node: node.clone() });
            closing.jobs.remove(0);
            return closing.next();
        }
        match advance(run, &self.0, cx).await? {
            Advanced::Reached(()) => {
                closing.closed.push(closing.jobs.remove(0).target().node.clone());
                closing.next()
            }
            Advanced::Wait { change: run, wait, said, percent } => {
                closing.jobs[0] = run;
                Ok(Outcome::pending(&closing, wait)?.within(LIMIT).saying(said, percent))
            }
        }
    }
}

impl Disable {
    /// The run to which a closing was handed over has ended.
    async fn handed_back(&self, cx: &Cx, back: HandedBack) -> Result<Outcome<Closed>> {
        let mut waiting: Waiting = restored(Self::NAME, &back.then)?;
        let closed = back.closed.and_then(|value| serde_json::from_value::<Closed>(value).ok());
        if let Some(closed) = closed.filter(|closed| closed.vm == waiting.vm) {
            waiting.closed.extend(closed.hosts);
        }
        if let Some(lease) = cx.leases_for(&waiting.vm.key()).await?.first() {
            return waiting.hand_over(lease);
        }
        let mut shared = Vec::new();
        for place in waiting.places {
            let is_open = !cx.leases_on(&endpoint(&place.cluster, &place.node)).await?.is_empty();
            if is_open && !waiting.closed.iter().any(|node| node.eq_ignore_ascii_case(&place.node)) {
                shared.push(place.node);
            }
        }
        let note = note(&waiting.closed, &shared, "the lease is over; nothing was left to close");
        let closed = !waiting.closed.is_empty();
        Ok(Outcome::done(Closed { vm: waiting.vm, closed, hosts: waiting.closed, note }))
    }

    /// No lease is known here: what was opened by somebody else shows in Azure's list of jobs.
    async fn plan_without_lease(
        &self,
        cx: &Cx,
        args: &Args,
        seen: Option<Vm>,
        closing: &mut Closing,
    ) -> Result<()> {
        let vm = match seen {
            Some(vm) => Some(vm),
            None => self.0.read_vm(cx, &closing.vm).await?,
        };
        let group = closing.vm.group().map(str::to_owned);
        let cluster = match (&args.cluster, &vm) {
            (Some(Ref::Id(id)), _) => id.clone(),
            (Some(cluster), _) => {
                let groups = group.as_deref();
                self.0.find_cluster(cx, cluster, groups.as_slice()).await?.id
            }
            (None, Some(vm)) if vm.host.is_some() => self.0.cluster_of(cx, vm).await?.id,
            // Without a host nobody can say which instance to ask.
            (None, _) => return Ok(()),
        };
        let jobs = match jobs_of(&self.0, cx, &cluster, &closing.vm).await {
            Ok(jobs) => jobs,
            // An instance without VM Connect has nothing open.
            Err(error) if is_without_vm_connect(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let is_meant = |node: &str| args.node.as_deref().is_none_or(|named| named.eq_ignore_ascii_case(node));
        for node in open_nodes(&jobs, cx.now()).into_iter().filter(|node| is_meant(node)) {
            let cluster = cluster.clone();
            closing.plan(cx, Place { cluster, node }).await?;
        }
        Ok(())
    }
}

impl Waiting {
    fn of(vm: ResourceId, leases: &[Lease]) -> Self {
        Waiting { vm, places: leases.iter().filter_map(place).collect(), closed: Vec::new() }
    }

    fn hand_over(&self, lease: &Lease) -> Result<Outcome<Closed>> {
        let then = serde_json::to_value(self)
            .map_err(|e| Error::invalid("failed to write the state of a waiting operation").because(e))?;
        Ok(Outcome::Close { lease: lease.id.clone(), then })
    }
}

impl Closing {
    fn of(vm: ResourceId, attempt: u32) -> Self {
        Closing {
            vm,
            jobs: Vec::new(),
            leases: Vec::new(),
            closed: Vec::new(),
            shared: Vec::new(),
            given_back: false,
            attempt,
        }
    }

    /// Adds the closing of the endpoint of the run's own lease, for which all leases of the VM on that endpoint end.
    async fn plan_lease(&mut self, cx: &Cx, leases: &[Lease], own: &str) -> Result<()> {
        // Somebody may have closed or forgotten it since.
        let Some(own) = leases.iter().find(|lease| lease.id == own) else { return Ok(()) };
        let same = leases.iter().filter(|lease| lease.door.eq_ignore_ascii_case(&own.door));
        self.leases = same.map(|lease| lease.id.clone()).collect();
        match place(own) {
            Some(place) => self.plan(cx, place).await,
            None => Ok(()),
        }
    }

    /// Adds the closing of one node's port, unless others still need it.
    async fn plan(&mut self, cx: &Cx, place: Place) -> Result<()> {
        let Place { cluster, node } = place;
        if self.jobs.iter().any(|job| job.target().is_at(&cluster, &node)) {
            return Ok(());
        }
        if self.is_shared(cx, &cluster, &node).await? {
            self.shared.push(Place { cluster, node });
            return Ok(());
        }
        let nth = u32::try_from(self.jobs.len() + self.closed.len()).unwrap_or_default();
        let name = Kind::Remove.job_name(cx, nth + 1000 * self.attempt.saturating_sub(1));
        let vm = self.vm.clone();
        self.jobs.push(JobRun::of(Order { kind: Kind::Remove, name, cluster, node, vm }));
        Ok(())
    }

    async fn is_shared(&self, cx: &Cx, cluster: &ResourceId, node: &str) -> Result<bool> {
        let all = cx.leases_on(&endpoint(cluster, node)).await?;
        // A lease of the same VM that is younger than this closing counts, too.
        Ok(all.iter().any(|lease| !self.leases.contains(&lease.id)))
    }

    /// Goes on with the next job, or ends.
    fn next(mut self) -> Result<Outcome<Closed>> {
        if !self.jobs.is_empty() {
            return Ok(Outcome::pending(&self, Duration::ZERO)?.within(LIMIT));
        }
        // A lease ends once: with the first of these outcomes.
        let leases = if self.given_back { Vec::new() } else { self.leases.clone() };
        let ends = leases.into_iter().map(|id| Effected::LeaseClosed { id });
        if !self.shared.is_empty() && !self.given_back {
            self.given_back = true;
            let pending = Outcome::pending(&self, Duration::ZERO)?.within(LIMIT);
            return Ok(ends.fold(pending, Outcome::with));
        }
        let note = self.note();
        let value = Closed { vm: self.vm, closed: !self.closed.is_empty(), hosts: self.closed, note };
        Ok(ends.fold(Outcome::done(value), Outcome::with))
    }

    fn note(&self) -> String {
        let shared: Vec<String> = self.shared.iter().map(|place| place.node.clone()).collect();
        let nothing = match self.leases.is_empty() {
            true => "nothing was known to be open",
            false => "the lease is given back; it named no port",
        };
        note(&self.closed, &shared, nothing)
    }
}

/// Says what was closed and what stays open, for a person; `nothing` when neither is the case.
fn note(closed: &[String], shared: &[String], nothing: &str) -> String {
    let stays = format!(
        "{} stays open for another VM: 2179 is host-wide, and the last lease closes it",
        shared.join(", ")
    );
    let closed = (!closed.is_empty()).then(|| format!("closed on {}", closed.join(", ")));
    let note = match (closed, shared.is_empty()) {
        (None, true) => nothing.to_owned(),
        (None, false) => stays,
        (Some(closed), true) => closed,
        (Some(closed), false) => format!("{closed}; {stays}"),
    };
    shortened(&note, 400)
}

/// Returns where a lease's port is: as its closing call says, else as its endpoint says.
fn place(lease: &Lease) -> Option<Place> {
    let args = &lease.close.args;
    let cluster = text(args, "/cluster").and_then(|id| ResourceId::parse(id).ok());
    match (cluster, text(args, "/node")) {
        (Some(cluster), Some(node)) => Some(Place { cluster, node: node.to_owned() }),
        _ => parse_endpoint(&lease.door).map(|(cluster, node)| Place { cluster, node: node.to_owned() }),
    }
}

/// Returns the nodes on which the jobs of a VM left a port open: the last word about a node was to open it, and that is
/// not longer ago than the service leaves it open.
fn open_nodes(jobs: &[Job], now: Timestamp) -> Vec<String> {
    let since = now.saturating_sub(OPEN_FOR).unwrap_or(Timestamp::MIN);
    let mut done: Vec<(&Job, Timestamp)> = jobs
        .iter()
        .filter(|job| job.state == State::Succeeded)
        .filter_map(|job| Some((job, job.ended.or(job.started)?)))
        .filter(|(_, at)| *at > since)
        .collect();
    done.sort_by_key(|(_, at)| *at);
    let mut open: Vec<String> = Vec::new();
    for (job, _) in done {
        for node in job.targets.iter().filter_map(|target| target.node.as_ref()) {
            open.retain(|other| !other.eq_ignore_ascii_case(node));
            if job.kind == Some(Kind::Provision) {
                open.push(node.clone());
            }
        }
    }
    open
}

fn is_without_vm_connect(error: &Error) -> bool {
    error.service_code() == Some("NoRegisteredProviderFound") || error.status() == Some(404)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(kind: &str, node: &str, at: &str, state: &str) -> Job {
        let details = if kind == "VmConnectRemove" {
            "vmConnectRemoveJobDetails"
        } else {
            "vmConnectProvisionJobDetails"
        };
        Job::read(
            &json!({"name": "x", "properties": {"jobType": kind, "provisioningState": state, "status": state,
            "endTimeUtc": at, details: [{"vmName": "web-01", "nodeName": node}]}}),
        )
    }

    /// Two VMs that give back at the same moment must both end their lease before either looks whether it was the last.
    #[test]
    fn a_shared_port_is_looked_at_again_once_the_lease_is_over() {
        let cluster =
            ResourceId::of_group("s", "g").unwrap().resource(crate::local::api::CLUSTER, "hq").unwrap();
        let vm =
            ResourceId::of_group("s", "g").unwrap().resource(crate::local::api::MACHINE, "db-01").unwrap();
        let mut closing = Closing::of(vm, 1);
        closing.leases.push("run-1".into());
        closing.shared.push(Place { cluster, node: "hq-node1".into() });
        let Outcome::Pending(pending) = closing.next().unwrap() else { panic!("it must look again") };
        assert_eq!(pending.effected, [Effected::LeaseClosed { id: "run-1".into() }]);
        let closing: Closing = serde_json::from_value(pending.continuation).unwrap();
        let Outcome::Done(done) = closing.next().unwrap() else { panic!("nothing is left to do") };
        assert!(done.effected.is_empty() && !done.value.closed);
        assert!(done.value.note.contains("host-wide"), "{}", done.value.note);
    }

    #[test]
    fn the_last_word_about_a_node_counts_for_eight_hours() {
        let now: Timestamp = "2026-11-20T20:00:00Z".parse().unwrap();
        let (open, close) = ("VmConnectProvision", "VmConnectRemove");
        for (jobs, expected) in [
            (vec![], vec![]),
            (vec![job(open, "n1", "2026-11-20T19:00:00", "Succeeded")], vec!["n1"]),
            (vec![job(open, "n1", "2026-11-20T11:59:00", "Succeeded")], vec![]),
            (vec![job(open, "n1", "2026-11-20T19:00:00Z", "Failed")], vec![]),
            (
                vec![
                    job(close, "N1", "2026-11-20T19:30:00Z", "Succeeded"),
                    job(open, "n1", "2026-11-20T19:00:00Z", "Succeeded"),
                ],
                vec![],
            ),
            (
                vec![
                    job(close, "n1", "2026-11-20T18:30:00Z", "Succeeded"),
                    job(open, "n1", "2026-11-20T19:00:00Z", "Succeeded"),
                ],
                vec!["n1"],
            ),
            (
                vec![
                    job(open, "n1", "2026-11-20T18:30:00Z", "Succeeded"),
                    job(open, "n2", "2026-11-20T19:00:00Z", "Succeeded"),
                ],
                vec!["n1", "n2"],
            ),
        ] {
            assert_eq!(open_nodes(&jobs, now), expected);
        }
    }
}
