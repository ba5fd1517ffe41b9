//! `vmconnect::enable`: opens the console port on the node that runs a VM.
//!
//! ```text
//! begin (only reads) ──► Clear ◄──► Clearing
//!                          │ the lease is opened together with this step
//!                          ▼
//!                        Open ──► moved? ──► Leave (close the old node) ──► Clear
//!                          └────► Done
//! ```

use super::job::{Job, JobRun, Kind, Order, State, advance, jobs_of};
use super::{OPEN, OPEN_FOR, PORT, ROLE, check_cluster, endpoint};
use crate::local::find::machine_id;
use crate::local::{Cluster, Node, Vm, api};
use crate::prelude::*;
use crate::reconcile::Advanced;

/// How long the whole may take before a person is asked. The service names ten minutes.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// How often somebody else's job is looked at.
const LOOK: Duration = Duration::from_secs(15);
/// What it means that no version of the service is there for it.
pub(crate) const NOT_OFFERED: &str =
    "VM Connect is a preview: the region of the instance may not offer it yet";
/// How often a VM may move while its console is being opened.
const MOST_MOVES: u32 = 3;

/// Opens the console port (2179) of the node that runs a VM, so that the console can be reached with Remote Desktop
/// even when the guest does not boot. The port is leased: it is closed when `open_for` is over, and tried again until it is.
/// Whoever needs it for longer extends the lease, up to eight hours in all.
///
/// The identity needs the role "Azure Stack HCI Administrator" on the VM and the instance. The request is a cluster job
/// under a name that only this step uses; beginning again only reads, and a job that was already sent is adopted.
/// Inferred: that the record of an older job for the VM is deleted first (Azure's own command does so), and that the
/// service closes the port by itself after eight hours.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    vm: Ref,
    /// Azure Local instance: its name, its resource id, or a value with an `id`. Found from the VM's host when left out.
    #[serde(default)]
    cluster: Option<Ref>,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
    /// How long the console stays open once it is; `8h` when left out, and at most. It is closed then, whatever becomes
    /// of this run.
    #[serde(default)]
    open_for: Option<Span>,
}

/// An open console: what `rdp::write` and `net::first_reachable` take.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Console {
    /// Resource id of the VM.
    vm: ResourceId,
    /// Name of the VM.
    name: String,
    /// Id by which Hyper-V knows the VM; it stands in the RDP file.
    vm_id: String,
    /// Node whose port is open.
    host: String,
    /// Resource id of the Azure Local instance.
    cluster: ResourceId,
    /// Addresses of the node, most likely first. Not each can be reached from everywhere.
    addresses: Vec<String>,
    /// Port: 2179.
    port: u16,
    /// When it is closed, unless somebody extends that.
    #[schemars(extend("format" = "date-time"))]
    closes_at: String,
    /// Id of the lease that closes it.
    lease: String,
}

/// What is stored while the port is being opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Opening {
    vm: ResourceId,
    vm_id: String,
    cluster: ResourceId,
    node: String,
    /// How often the VM has moved since.
    moves: u32,
    /// When the lease ends. While the port is being opened that includes the time for opening it.
    closes_at: Timestamp,
    phase: Phase,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// Before older jobs of this VM are deleted.
    Clear,
    /// One of them is being deleted.
    Clearing(Box<Lro>),
    /// The lease is open, and the job is sent or will be.
    Open(JobRun),
    /// The VM moved: the port of the node it left is being closed.
    Leave(JobRun),
}

/// `vmconnect::enable`.
pub(crate) struct Enable(pub(crate) Azure);

impl Operation for Enable {
    type Args = Args;
    type Output = Console;

    const NAME: &'static str = "vmconnect::enable";
    const SUMMARY: &'static str =
        "Opens the console of a VM on its host, and leases it so that it is closed again.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] =
        &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OFF, ErrorCode::OUT_OF_TOUCH];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Open the console of a VM.",
                r#"vmconnect::enable("web-01").host"#,
            )
            .on("edge")
            .gives(json!("hq-node2")),
            Example::new(
                "Name the instance, and see every address of the host.",
                r#"let vm = local::vm("db-01"); vmconnect::enable(vm, #{ cluster: "hq" }).port"#,
            )
            .on("edge")
            .gives(json!(2179)),
            Example::new(
                "Say when it is closed again.",
                r#"let c = vmconnect::enable("web-01", #{ open_for: "30m" }); vmconnect::status(c).leases[0].deadline == c.closes_at"#,
            )
            .on("edge")
            .gives(json!(true)),
            Example::new(
                "An instance that is too old says so.",
                r#"let kind = "open"; try { vmconnect::enable("pos-01"); } catch (e) { kind = e.kind; } kind"#,
            )
            .on("edge")
            .gives(json!("rejected")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Console>> {
        args.check()?;
        let vm = self.0.find_vm(cx, &args.vm, args.group.as_deref()).await?;
        check_vm(&vm)?;
        let cluster = match &args.cluster {
            Some(cluster) => self.0.find_cluster(cx, cluster, &[&vm.group]).await?,
            None => self.0.cluster_of(cx, &vm).await?,
        };
        check_cluster(&cluster)?;
        let (vm_id, node) = (hyperv_id(&vm)?, node_of(&vm, &cluster)?);
        let host = self.0.read_node(cx, &cluster, &node).await?;
        check_node(&vm, &host)?;
        let opening = Opening {
            vm: machine_id(&vm.id)?,
            vm_id,
            cluster: cluster.id,
            node,
            moves: 0,
            closes_at: cx.after(args.lasting()),
            phase: Phase::Clear,
        };
        opening.pending(Duration::ZERO)
    }

    async fn resume(&self, cx: &Cx, args: &Args, at: &Value) -> Result<Outcome<Console>> {
        let mut opening: Opening = restored(Self::NAME, at)?;
        match opening.phase.clone() {
            Phase::Clear => self.clear(cx, args, opening).await,
            Phase::Clearing(lro) => match self.0.arm.follow(cx, *lro).await? {
                Advance::Done(_) => opening.at(Phase::Clear).pending(Duration::ZERO),
                // The status alone is not trusted: a record that is gone is gone.
                Advance::Wait(..) if self.is_clear(cx, &opening).await? => {
                    opening.at(Phase::Clear).pending(Duration::ZERO)
                }
                Advance::Wait(lro, wait, _) => opening.at(Phase::Clearing(lro)).pending(wait),
            },
            // The run was put away past its deadline, and a worker closed the port: begin anew, under a new
            // name, with a new duty to close it.
            Phase::Open(_) if !self.holds_lease(cx, &opening).await? => {
                opening.moves += 1;
                opening.closes_at = cx.after(args.lasting());
                opening.at(Phase::Clear).pending(Duration::ZERO)
            }
            Phase::Open(run) => match advance(run, &self.0, cx).await.map_err(|e| opening.explain(e))? {
                Advanced::Reached(()) => self.confirm(cx, args, opening).await,
                Advanced::Wait { change: run, wait, said, percent } => {
                    Ok(opening.at(Phase::Open(run)).pending(wait)?.saying(said, percent))
                }
            },
            Phase::Leave(run) => match advance(run, &self.0, cx).await? {
                Advanced::Reached(()) => {
                    opening.node = self.current_node(cx, &opening).await?;
                    opening.at(Phase::Clear).pending(Duration::ZERO)
                }
                Advanced::Wait { change: run, wait, said, percent } => {
                    Ok(opening.at(Phase::Leave(run)).pending(wait)?.saying(said, percent))
                }
            },
        }
    }
}

impl Enable {
    /// Returns whether the duty to close what this step opens is still there.
    async fn holds_lease(&self, cx: &Cx, opening: &Opening) -> Result<bool> {
        let id = cx.lease_id();
        Ok(cx.leases_for(&opening.vm.key()).await?.iter().any(|lease| lease.id == id))
    }

    /// Returns whether no older job for this VM is left.
    async fn is_clear(&self, cx: &Cx, opening: &Opening) -> Result<bool> {
        let name = Kind::Provision.job_name(cx, opening.moves);
        let jobs = jobs_of(&self.0, cx, &opening.cluster, &opening.vm).await?;
        let is_older = |job: &Job| job.kind == Some(Kind::Provision) && !job.name.eq_ignore_ascii_case(&name);
        Ok(!jobs.iter().any(is_older))
    }

    /// Deletes older jobs for this VM, one at a time; when none is left, opens the lease and goes on to the job.
    async fn clear(&self, cx: &Cx, args: &Args, opening: Opening) -> Result<Outcome<Console>> {
        let name = Kind::Provision.job_name(cx, opening.moves);
        let jobs =
            jobs_of(&self.0, cx, &opening.cluster, &opening.vm).await.map_err(|e| opening.explain(e))?;
        let mut provisions = jobs.iter().filter(|job| job.kind == Some(Kind::Provision));
        if let Some(job) = provisions.find(|job| !job.name.eq_ignore_ascii_case(&name)) {
            if matches!(job.state, State::Running | State::Deleting) {
                let said = format!("waiting for job {} ({})", job.name, job.state.as_str());
                return Ok(opening.pending(LOOK)?.saying(said, None));
            }
            let path = format!("{}/jobs/{}", opening.cluster, job.name);
            let write = Write {
                method: Method::Delete,
                path: &path,
                api: api::VM_CONNECT_JOBS,
                body: None,
                finish: FinalState::Location,
            };
            return match self.0.arm.write(cx, write).await.map_err(|e| opening.explain(e))? {
                Started::Done(_) => opening.pending(Duration::ZERO),
                Started::Pending(lro, wait) => opening.at(Phase::Clearing(lro)).pending(wait),
            };
        }
        let lease = opening.lease(cx, args);
        let (vm, cluster, node) = (opening.vm.clone(), opening.cluster.clone(), opening.node.clone());
        let run = JobRun::of(Order { kind: Kind::Provision, name, cluster, node, vm });
        // The duty to close is durable before the request to open leaves.
        Ok(opening.at(Phase::Open(run)).pending(Duration::ZERO)?.with(Effected::LeaseOpened(lease)))
    }

    /// The port is open: is the VM still there?
    async fn confirm(&self, cx: &Cx, args: &Args, mut opening: Opening) -> Result<Outcome<Console>> {
        if cx.now() >= opening.closes_at {
            return Err(Error::rejected(format!(
                "the console of `{}` was opened, and closed again at {} before this run went on",
                opening.vm.name(),
                opening.closes_at
            ))
            .hint("run the runbook again"));
        }
        let vm = self.read(cx, &opening).await?;
        let cluster = self.0.read_cluster(cx, &opening.cluster).await?;
        let node = node_of(&vm, &cluster)?;
        if node.eq_ignore_ascii_case(&opening.node) {
            return self.done(cx, args, opening, &vm, &cluster).await;
        }
        opening.moves += 1;
        if opening.moves > MOST_MOVES {
            return Err(Error::rejected(format!("`{}` keeps moving from node to node", vm.name))
                .hint("pause live migration of the VM, then enable VM Connect again"));
        }
        let others = cx.leases_on(&endpoint(&opening.cluster, &opening.node)).await?;
        let is_shared = others.iter().any(|lease| !lease.subject.eq_ignore_ascii_case(&opening.vm.key()));
        let said = format!("{} moved from {} to {node}", vm.name, opening.node);
        let phase = if is_shared {
            opening.node = node;
            Phase::Clear
        } else {
            let name = Kind::Remove.job_name(cx, opening.moves);
            let (vm, cluster, old) = (opening.vm.clone(), opening.cluster.clone(), opening.node.clone());
            Phase::Leave(JobRun::of(Order { kind: Kind::Remove, name, cluster, node: old, vm }))
        };
        Ok(opening.at(phase).pending(Duration::ZERO)?.saying(said, None))
    }

    async fn done(
        &self,
        cx: &Cx,
        args: &Args,
        mut opening: Opening,
        vm: &Vm,
        cluster: &Cluster,
    ) -> Result<Outcome<Console>> {
        let host = self.0.read_node(cx, cluster, &opening.node).await?;
        let addresses = crate::local::addresses(vm.host_address.as_deref(), host.addresses);
        // From now on the promise counts: the time for opening is left out of it.
        let taken = opening.lease(cx, args);
        opening.closes_at = opening.closes_at.min(cx.after(args.open_for()));
        let mut lease = taken;
        lease.deadline = opening.closes_at;
        Ok(Outcome::done(Console {
            name: opening.vm.name().to_owned(),
            vm: opening.vm,
            vm_id: hyperv_id(vm).unwrap_or(opening.vm_id),
            host: opening.node,
            cluster: opening.cluster,
            addresses,
            port: PORT,
            closes_at: format!("{:.0}", opening.closes_at),
            lease: cx.lease_id(),
        })
        .with(Effected::LeaseOpened(lease)))
    }

    async fn read(&self, cx: &Cx, opening: &Opening) -> Result<Vm> {
        let gone = || Error::rejected(format!("`{}` is gone", opening.vm.name())).code(ErrorCode::NOT_FOUND);
        self.0.read_vm(cx, &opening.vm).await?.ok_or_else(gone)
    }

    async fn current_node(&self, cx: &Cx, opening: &Opening) -> Result<String> {
        let vm = self.read(cx, opening).await?;
        node_of(&vm, &self.0.read_cluster(cx, &opening.cluster).await?)
    }
}

impl Args {
    fn check(&self) -> Result<()> {
        match self.open_for.map(Span::get) {
            Some(length) if length.is_zero() || length > OPEN_FOR => {
                Err(Error::invalid("`open_for` is longer than nothing and at most 8h")
                    .hint("the service closes the port by itself after eight hours"))
            }
            _ => Ok(()),
        }
    }

    fn open_for(&self) -> Duration {
        self.open_for.map_or(OPEN_FOR, Span::get)
    }

    /// Returns how long the lease lasts when it is taken: opening takes its time, too.
    fn lasting(&self) -> Duration {
        self.open_for().saturating_add(LIMIT).min(OPEN_FOR)
    }
}

impl Opening {
    fn at(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    fn pending(self, wait: Duration) -> Result<Outcome<Console>> {
        Ok(Outcome::pending(&self, wait)?.within(LIMIT))
    }

    /// The duty to close what this step opens. Opened again after a move, it replaces itself.
    fn lease(&self, cx: &Cx, args: &Args) -> Lease {
        let close = Call::new(
            "vmconnect::disable",
            json!({ "vm": self.vm, "cluster": self.cluster, "node": self.node }),
        );
        let mut lease = cx.lease(self.closes_at, close);
        lease.opened = self.closes_at.saturating_sub(args.lasting()).unwrap_or(Timestamp::MIN);
        // The service closes the port by itself then.
        let latest = lease.opened.saturating_add(OPEN_FOR).unwrap_or(Timestamp::MAX);
        lease
            .latest(latest)
            .titled(format!("VM Connect to {} on {}", self.vm.name(), self.node))
            .subject(self.vm.key())
            .door(endpoint(&self.cluster, &self.node))
    }

    /// Adds the next steps that only this operation knows.
    fn explain(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Denied => error.hint(format!(
                "VM Connect needs the role \"{ROLE}\" on the instance {} and on the VM ({OPEN})",
                self.cluster
            )),
            ErrorKind::Rejected if error.service_code() == Some("NoRegisteredProviderFound") => {
                error.hint(NOT_OFFERED)
            }
            ErrorKind::Rejected if self.is_across_groups() => error.hint(format!(
                "the VM is in `{}` and the instance in `{}`: older instances open consoles only within their own resource group",
                self.vm.group().unwrap_or_default(),
                self.cluster.group().unwrap_or_default()
            )),
            _ => error,
        }
    }

    fn is_across_groups(&self) -> bool {
        let (vm, cluster) = (self.vm.group().unwrap_or_default(), self.cluster.group().unwrap_or_default());
        !vm.eq_ignore_ascii_case(cluster)
    }
}

/// Says why a VM has no console to open, if it has none.
pub(crate) fn check_vm(vm: &Vm) -> Result<()> {
    let is_off =
        ["Stopped", "Stopping", "Saved", "Deallocated", "Deallocating"].iter().any(|state| vm.is(state));
    if is_off {
        return Err(Error::rejected(format!(
            "`{}` is {} and has no console to show",
            vm.name,
            vm.power_state.to_lowercase()
        ))
        .code(ErrorCode::OFF)
        .hint(format!("start it first: local::start(\"{}\")", vm.name)));
    }
    Ok(())
}

/// Says why a node opens no console, if it opens none.
pub(crate) fn check_node(vm: &Vm, node: &Node) -> Result<()> {
    if node.state.eq_ignore_ascii_case("Disconnected") {
        return Err(Error::rejected(format!(
            "`{}`, which runs `{}`, is out of touch with Azure",
            node.name, vm.name
        ))
        .code(ErrorCode::OUT_OF_TOUCH)
        .hint("check the Arc agent of the node (azcmagent check), or open the console on the host itself"));
    }
    Ok(())
}

fn hyperv_id(vm: &Vm) -> Result<String> {
    vm.hyperv_id.clone().ok_or_else(|| {
        Error::rejected(format!("Azure does not say by which id Hyper-V knows `{}`", vm.name))
            .hint("the instance may be too old, or the VM was made moments ago: try again in a few minutes")
    })
}

/// Returns the node that runs a VM, in the cluster's own spelling.
pub(crate) fn node_of(vm: &Vm, cluster: &Cluster) -> Result<String> {
    let host = vm.host.as_deref().ok_or_else(|| {
        Error::rejected(format!("Azure does not say on which host `{}` runs", vm.name))
            .hint("it may be moving: try again in a minute")
    })?;
    // A cluster that lists no nodes cannot contradict.
    if cluster.nodes.is_empty() {
        return Ok(host.split('.').next().unwrap_or(host).to_owned());
    }
    cluster.node(host).map(str::to_owned).ok_or_else(|| {
        Error::rejected(format!("`{}` runs on `{host}`, which is no node of `{}`", vm.name, cluster.name))
            .hint(format!(
                "its nodes are {}; leave `cluster` out to find the right instance",
                cluster.nodes.join(", ")
            ))
    })
}
