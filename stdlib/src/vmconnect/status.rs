//! `vmconnect::status`: says whether a VM's console is open, who owes its closing, and what Azure's jobs say.

use super::job::{Kind, jobs_of};
use crate::local::find::machine_id;
use crate::prelude::*;

/// Shows the leases on a VM's console and the jobs that opened or closed it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id` or a `vm`.
    vm: Ref,
    /// Azure Local instance. Found from the VM's host when left out.
    #[serde(default)]
    cluster: Option<Ref>,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// The state of a VM's console.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ConsoleState {
    /// Resource id of the VM.
    vm: ResourceId,
    /// Whether a lease is open.
    leased: bool,
    /// Node that runs the VM.
    host: Option<String>,
    /// Open leases.
    leases: Vec<OpenLease>,
    /// Jobs of VM Connect that name the VM.
    jobs: Vec<KnownJob>,
}

/// An open lease on the VM's console.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct OpenLease {
    /// Id of the lease, by which an operator closes it.
    id: String,
    /// What is open, for a person.
    title: String,
    /// Run that opened it.
    run: String,
    /// When it is closed at the latest.
    #[schemars(extend("format" = "date-time"))]
    deadline: String,
}

/// A job of VM Connect.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct KnownJob {
    /// Name of the job.
    name: String,
    /// `open` or `close`.
    does: String,
    /// Nodes it was sent for.
    nodes: Vec<String>,
    /// running, succeeded, failed or deleting.
    state: String,
    /// When it ended.
    #[schemars(extend("format" = "date-time"))]
    ended: Option<String>,
}

/// `vmconnect::status`.
pub(crate) struct Status(pub(crate) Azure);

impl Operation for Status {
    type Args = Args;
    type Output = ConsoleState;

    const NAME: &'static str = "vmconnect::status";
    const SUMMARY: &'static str =
        "Says whether the console of a VM is leased, and what Azure's jobs say about it.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "See who has a console open.",
                r#"vmconnect::enable("web-01"); vmconnect::status("web-01").leases.len()"#,
            )
            .on("edge")
            .gives(json!(1)),
            Example::new("Nobody has.", r#"vmconnect::status("db-01").leased"#)
                .on("edge")
                .gives(json!(false)),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<ConsoleState>> {
        let vm = self.0.find_vm(cx, &args.vm, args.group.as_deref()).await?;
        let machine = machine_id(&vm.id)?;
        let cluster = match &args.cluster {
            Some(cluster) => self.0.find_cluster(cx, cluster, &[&vm.group]).await?,
            None => self.0.cluster_of(cx, &vm).await?,
        };
        let jobs = jobs_of(&self.0, cx, &cluster.id, &machine).await?;
        let leases = cx.leases_for(&machine.key()).await?;
        Ok(Outcome::done(ConsoleState {
            vm: machine,
            leased: !leases.is_empty(),
            host: vm.host,
            leases: leases
                .into_iter()
                .map(|lease| OpenLease {
                    id: lease.id,
                    title: lease.title,
                    run: lease.run.to_string(),
                    deadline: format!("{:.0}", lease.deadline),
                })
                .collect(),
            jobs: jobs
                .into_iter()
                .map(|job| KnownJob {
                    does: if job.kind == Some(Kind::Provision) { "open" } else { "close" }.to_owned(),
                    nodes: job.targets.into_iter().filter_map(|target| target.node).collect(),
                    state: job.state.as_str().to_owned(),
                    ended: job.ended.map(|at| at.to_string()),
                    name: job.name,
                })
                .collect(),
        }))
    }
}
