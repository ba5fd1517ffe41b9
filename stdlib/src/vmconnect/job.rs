//! One cluster job of VM Connect: what it says, and driving one to its end exactly once.
//!
//! A job is a PUT under a name that the step fixes. Whoever stands before the PUT looks for the name first: when an
//! earlier process already sent it, its job is adopted and followed by its own state ([`reconcile`](crate::reconcile)).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use relight_engine::event::digest;

use crate::azure::error::{ArmError, told};
use crate::azure::wire::shortened;
use crate::local::api;
use crate::prelude::*;
use crate::reconcile::{Advanced, Change, DesiredState, Known, Look, Request};

/// What a job of VM Connect does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Opens the port.
    Provision,
    /// Closes the port.
    Remove,
}

impl Kind {
    fn job_type(self) -> &'static str {
        match self {
            Kind::Provision => "VmConnectProvision",
            Kind::Remove => "VmConnectRemove",
        }
    }

    fn details(self) -> &'static str {
        match self {
            Kind::Provision => "vmConnectProvisionJobDetails",
            Kind::Remove => "vmConnectRemoveJobDetails",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Kind::Provision => "vmc-p-",
            Kind::Remove => "vmc-r-",
        }
    }

    /// Returns the name of the job that this step sends: the same in every attempt and every process. `nth` tells the
    /// jobs of one step apart. At most 24 letters, as early versions allow no more.
    pub(super) fn job_name(self, cx: &Cx, nth: u32) -> String {
        format!("{}{}", self.prefix(), &digest(&[&cx.key(64), self.job_type(), &nth.to_string()])[..12])
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Succeeded,
    Failed,
    Deleting,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Deleting => "deleting",
        }
    }
}

/// A job as the cluster reports it.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) name: String,
    /// Nothing for jobs that have nothing to do with VM Connect.
    pub(super) kind: Option<Kind>,
    /// The VMs it names, each with its resource group when that is said, and its node.
    pub(super) targets: Vec<Target>,
    pub(super) state: State,
    /// What it says about itself, for people.
    said: String,
    percent: Option<f64>,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    body: Value,
}

/// One VM of a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    vm: String,
    group: Option<String>,
    pub(super) node: Option<String>,
}

impl Job {
    /// Reads a job. Whatever is missing or unknown means that it still runs.
    pub(super) fn read(body: &Value) -> Self {
        let kind = [Kind::Provision, Kind::Remove].into_iter().find(|kind| {
            text(body, "/properties/jobType").is_some_and(|t| t.eq_ignore_ascii_case(kind.job_type()))
        });
        let owned = |value: &Value, pointer| text(value, pointer).map(str::to_owned);
        let targets = kind.map_or_else(Vec::new, |kind| {
            items(body, &format!("/properties/{}", kind.details()))
                .filter_map(|target| {
                    Some(Target {
                        vm: owned(target, "/vmName")?,
                        group: owned(target, "/vmResourceGroupName"),
                        node: owned(target, "/nodeName"),
                    })
                })
                .collect()
        });
        let status = text(body, "/properties/status").unwrap_or_default();
        let provisioning = text(body, "/properties/provisioningState").unwrap_or_default();
        Job {
            name: text(body, "/name").unwrap_or_default().to_owned(),
            kind,
            targets,
            state: state(provisioning, status),
            said: shortened(if status.is_empty() { provisioning } else { status }, 60),
            percent: body.pointer("/properties/reportedProperties/percentComplete").and_then(Value::as_f64),
            started: text(body, "/properties/startTimeUtc").and_then(time),
            ended: text(body, "/properties/endTimeUtc").and_then(time),
            body: body.clone(),
        }
    }

    /// Returns whether the job names a VM. A job that names no group means VMs in the cluster's own.
    pub(super) fn names(&self, vm: &ResourceId, cluster: &ResourceId) -> bool {
        self.targets.iter().any(|target| {
            let group = target.group.as_deref().or(cluster.group()).unwrap_or_default();
            target.vm.eq_ignore_ascii_case(vm.name())
                && vm.group().is_some_and(|g| g.eq_ignore_ascii_case(group))
        })
    }

    /// Returns why the job failed: the first failed step, and what it recommends.
    fn failure(&self) -> Error {
        let step = failed_step(self.body.pointer("/properties/reportedProperties").unwrap_or(&Value::Null));
        let step = step.unwrap_or(&Value::Null);
        let said = |of: &Value, at: &str| of.pointer(at).and_then(ArmError::read);
        let arm = said(step, "/error").or_else(|| said(&self.body, "/properties/error")).unwrap_or_default();
        let exception = || items(step, "/exception").find_map(Value::as_str);
        let message = arm.message.as_deref().or_else(exception).unwrap_or("no reason given");
        let named = text(step, "/name")
            .map_or_else(String::new, |name| format!(" in step \"{}\"", shortened(name, 80)));
        let message = format!("job `{}` failed{named}: {}", self.name, shortened(message, 600));
        let error = told(Error::rejected(message), &arm, None, None);
        let advice = items(step, "/recommendedSteps").filter_map(Value::as_str).take(5);
        advice.fold(error, |error, advice| error.hint(shortened(advice, 300)))
    }
}

/// Sorts the two words of a job. Either may say that it failed; both must agree that it succeeded.
fn state(provisioning: &str, status: &str) -> State {
    let is = |word: &str, words: &[&str]| words.iter().any(|w| word.eq_ignore_ascii_case(w));
    let failed = status.to_ascii_lowercase().ends_with("failed") || is(status, &["Canceled", "Cancelled"]);
    if is(provisioning, &["Deleting", "Deleted"]) {
        State::Deleting
    } else if failed || is(provisioning, &["Failed", "Canceled", "Cancelled", "Error", "PartiallySucceeded"])
    {
        State::Failed
    } else if is(provisioning, &["Succeeded"])
        && is(status, &["", "NotSpecified", "Succeeded", "DeploymentSuccess"])
    {
        State::Succeeded
    } else {
        State::Running
    }
}

/// Returns the innermost step that failed.
fn failed_step(reported: &Value) -> Option<&Value> {
    fn search(steps: &Value, depth: u8) -> Option<&Value> {
        let step = steps.as_array()?.iter().find(|step| {
            text(step, "/status")
                .is_some_and(|s| ["failed", "error"].contains(&s.to_ascii_lowercase().as_str()))
        })?;
        let inner = step.get("steps").filter(|_| depth < 8).and_then(|steps| search(steps, depth + 1));
        inner.or(Some(step))
    }
    ["validationStatus", "deploymentStatus"]
        .iter()
        .find_map(|part| search(reported.get(part)?.get("steps")?, 0))
}

/// Reads a time that may lack its zone. The year 1 stands for "not yet".
fn time(text: &str) -> Option<Timestamp> {
    let zoned = text.parse::<Timestamp>().ok();
    let plain = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
    zoned.or_else(plain).filter(|time| *time > Timestamp::UNIX_EPOCH)
}

/// A job that this step sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) cluster: ResourceId,
    pub(super) node: String,
    pub(super) vm: ResourceId,
}

impl Order {
    /// Returns whether it is about the port of a node.
    pub(super) fn is_at(&self, cluster: &ResourceId, node: &str) -> bool {
        self.cluster == *cluster && self.node.eq_ignore_ascii_case(node)
    }

    fn gone(&self) -> Error {
        Error::rejected(format!("job `{}` is gone from `{}`", self.name, self.cluster.name()))
            .hint("somebody deleted it: look at the activity log of the instance")
    }

    fn path(&self) -> String {
        format!("{}/jobs/{}", self.cluster, self.name)
    }

    fn body(&self) -> Value {
        let target = json!({
            "vmName": self.vm.name(),
            "nodeName": self.node,
            "vmResourceGroupName": self.vm.group().unwrap_or_default(),
        });
        json!({ "properties": {
            "jobType": self.kind.job_type(),
            "deploymentMode": "Deploy",
            self.kind.details(): [target],
        } })
    }
}

/// A job on its way.
pub(super) type JobRun = Change<Order>;

/// Sends a job if nobody has, else looks at it.
///
/// # Errors
/// `Rejected` with the failed step when the job failed, and whatever else Azure says.
pub(super) async fn advance(run: JobRun, azure: &Azure, cx: &Cx) -> Result<Advanced<Order, ()>> {
    run.advance(&Finished(azure.clone()), cx, &()).await
}

/// A job that was ordered and has succeeded. Its name is the step's own, so that one that is seen was sent by this step.
struct Finished(Azure);

impl DesiredState for Finished {
    type Args = ();
    type Target = Order;
    type Value = ();

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, (): &(), order: &Order, known: Known) -> Result<Look<()>> {
        let Some(job) = self.find(cx, order).await? else {
            // Young jobs may not be seen yet.
            let was_seen = known.over || known.moved && !known.sent;
            return if was_seen { Err(order.gone()) } else { Ok(Look::Away) };
        };
        match job.state {
            State::Succeeded => Ok(Look::Reached(())),
            State::Failed => Err(job.failure()),
            State::Running | State::Deleting => {
                Ok(Look::Moving(format!("{}: {}", self.doing(order), job.said), job.percent))
            }
        }
    }

    fn doing(&self, order: &Order) -> String {
        let what = match order.kind {
            Kind::Provision => "opening",
            Kind::Remove => "closing",
        };
        format!("{what} the console port of {}", order.node)
    }

    fn request<'a>(&self, (): &'a (), order: &'a Order) -> Request<'a> {
        Request::new(Method::Put, order.path(), api::VM_CONNECT_JOBS).body(order.body())
    }
}

impl Finished {
    async fn find(&self, cx: &Cx, order: &Order) -> Result<Option<Job>> {
        Ok(self.0.arm.find(cx, &order.path(), api::VM_CONNECT_JOBS).await?.map(|body| Job::read(&body)))
    }
}

/// Lists the jobs of VM Connect on a cluster that name a VM.
pub(super) async fn jobs_of(
    azure: &Azure,
    cx: &Cx,
    cluster: &ResourceId,
    vm: &ResourceId,
) -> Result<Vec<Job>> {
    let all = azure.arm.list(cx, &format!("{cluster}/jobs"), api::VM_CONNECT_JOBS).await?;
    Ok(all.iter().map(Job::read).filter(|job| job.kind.is_some() && job.names(vm, cluster)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(group: &str, name: &str) -> ResourceId {
        ResourceId::of_group("s", group).unwrap().resource(api::MACHINE, name).unwrap()
    }

    fn cluster() -> ResourceId {
        ResourceId::of_group("s", "rg-hq").unwrap().resource(api::CLUSTER, "hq").unwrap()
    }

    #[test]
    fn two_words_decide_how_far_a_job_is() {
        for (provisioning, status, expected) in [
            ("Accepted", "", State::Running),
            ("InProgress", "DeploymentInProgress", State::Running),
            ("Succeeded", "ValidationSuccess", State::Running),
            ("Succeeded", "DeploymentInProgress", State::Running),
            ("Succeeded", "Succeeded", State::Succeeded),
            ("succeeded", "deploymentsuccess", State::Succeeded),
            ("Succeeded", "", State::Succeeded),
            ("Failed", "DeploymentFailed", State::Failed),
            ("InProgress", "ValidationFailed", State::Failed),
            ("Canceled", "", State::Failed),
            ("PartiallySucceeded", "Succeeded", State::Failed),
            ("Deleting", "Succeeded", State::Deleting),
            ("", "", State::Running),
            ("Brandnew", "Unheard", State::Running),
        ] {
            assert_eq!(state(provisioning, status), expected, "{provisioning} {status}");
        }
    }

    #[test]
    fn a_failed_job_tells_which_step_and_what_to_do() {
        let job = Job::read(&json!({"name": "vmc-p-1", "properties": {
            "jobType": "VmConnectProvision", "provisioningState": "Failed", "status": "DeploymentFailed",
            "reportedProperties": {"validationStatus": {}, "deploymentStatus": {"status": "Failed", "steps": [
                {"name": "ok", "status": "Success"},
                {"name": "outer", "status": "failed", "steps": [
                    {"name": "Open port", "status": "Failed", "error": {"code": "E1", "message": "firewall"},
                     "recommendedSteps": ["look at the firewall"]}]}]}}}}));
        let error = job.failure();
        assert_eq!(error.message(), "job `vmc-p-1` failed in step \"Open port\": firewall");
        assert_eq!((error.service_code(), error.hints()), (Some("E1"), &["look at the firewall".into()][..]));
        let silent = Job::read(&json!({"properties": {"provisioningState": "Failed"}})).failure();
        assert!(silent.message().ends_with("no reason given"));
    }

    #[test]
    fn a_job_names_a_vm_by_name_and_group() {
        let job = |target: Value| {
            Job::read(
                &json!({"properties": {"jobType": "vmconnectprovision", "vmConnectProvisionJobDetails": [target]}}),
            )
        };
        let plain = job(json!({"vmName": "WEB-01"}));
        assert!(plain.names(&vm("RG-hq", "web-01"), &cluster()));
        assert!(!plain.names(&vm("rg-apps", "web-01"), &cluster()));
        let grouped = job(json!({"vmName": "web-01", "vmResourceGroupName": "rg-apps", "nodeName": "n1"}));
        assert!(grouped.names(&vm("rg-apps", "web-01"), &cluster()));
        assert_eq!(grouped.targets[0].node.as_deref(), Some("n1"));
        assert_eq!(Job::read(&json!({"properties": {"jobType": "AddServer"}})).kind, None);
    }

    #[test]
    fn times_may_lack_a_zone_and_the_year_one_is_none() {
        assert_eq!(time("2024-01-29T10:43:27"), time("2024-01-29T10:43:27Z"));
        for none in ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "", "soon"] {
            assert_eq!(time(none), None, "{none}");
        }
    }

    #[test]
    fn requests_say_who_and_where() {
        let order = Order {
            kind: Kind::Remove,
            name: "vmc-r-1".into(),
            cluster: cluster(),
            node: "hq-node2".into(),
            vm: vm("rg-apps", "web-01"),
        };
        assert!(order.path().ends_with("/clusters/hq/jobs/vmc-r-1"));
        assert_eq!(
            order.body(),
            json!({"properties": {"jobType": "VmConnectRemove", "deploymentMode": "Deploy",
            "vmConnectRemoveJobDetails": [{"vmName": "web-01", "nodeName": "hq-node2", "vmResourceGroupName": "rg-apps"}]}})
        );
        let stored = serde_json::to_value(JobRun::of(order.clone())).unwrap();
        assert_eq!(serde_json::from_value::<JobRun>(stored).unwrap().target().body(), order.body());
    }
}
