//! How a job looks at a moment, with the traps that Azure's own answers hold for parsers.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::JOBS;
use crate::{
    arm::{Cx, clusters},
    world::{Cluster, Failure, Job, JobKind},
};

/// When a job stops being only accepted, and when validation has passed.
const ACCEPTED: SignedDuration = SignedDuration::from_secs(10);
const VALIDATED: SignedDuration = SignedDuration::from_secs(40);

/// How a job looks at a moment.
struct Phase {
    provisioning: &'static str,
    status: &'static str,
    validation: &'static str,
    deployment: &'static str,
    percent: u32,
}

fn phase(job: &Job, now: Timestamp) -> Phase {
    let passed = now.duration_since(job.started);
    let failed_in_validation = job.failure.as_ref().is_some_and(|failure| failure.in_validation);
    let (provisioning, status, validation, deployment, percent) = match (job.ended.is_some(), &job.failure) {
        (true, None) => ("Succeeded", "Succeeded", "Success", "Success", 100),
        (true, Some(_)) if failed_in_validation => ("Failed", "ValidationFailed", "Failed", "NotStarted", 0),
        (true, Some(_)) => ("Failed", "DeploymentFailed", "Success", "Failed", 50),
        (false, _) if passed < ACCEPTED => ("Accepted", "NotSpecified", "NotStarted", "NotStarted", 0),
        (false, _) if passed < VALIDATED => {
            ("InProgress", "ValidationInProgress", "InProgress", "NotStarted", 10)
        }
        (false, _) => ("InProgress", "DeploymentInProgress", "Success", "InProgress", 50),
    };
    let provisioning = if job.gone.is_some() { "Deleting" } else { provisioning };
    Phase { provisioning, status, validation, deployment, percent }
}

/// Returns the job resource.
pub(super) fn show(cx: &Cx<'_>, cluster: &Cluster, job: &Job) -> Value {
    let phase = phase(job, cx.now);
    let (list, step, description) = match job.kind {
        JobKind::VmConnectProvision => (
            "vmConnectProvisionJobDetails",
            "VM Connect Provision Deployment",
            "Open port to enable RDP Connection.",
        ),
        JobKind::VmConnectRemove => (
            "vmConnectRemoveJobDetails",
            "VM Connect Remove Deployment",
            "Close port to disable RDP Connection.",
        ),
    };
    // Times of steps come without a zone, and what has not happened has the year 1: both are Azure's own habits.
    let unset = "0001-01-01T00:00:00Z".to_owned();
    let zoneless = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let ended = job.ended.map_or_else(|| unset.clone(), zoneless);
    let make_step = |name: &str, description: &str, status: &str, failure: Option<&Failure>| {
        let mut step = json!({
            "fullStepIndex": "0",
            "name": name,
            "description": description,
            "startTimeUtc": zoneless(job.started),
            "endTimeUtc": ended,
            "status": status,
            "steps": [],
        });
        if let Some(failure) = failure {
            step["exception"] = json!([failure.message]);
            step["error"] = json!({"code": failure.code, "message": failure.message, "target": job.name});
            step["recommendedSteps"] = json!([failure.advice]);
        }
        step
    };
    let failure = job.failure.as_ref().filter(|_| job.ended.is_some());
    let validation = make_step(
        "VM Connect Validation",
        "Checks the VM and its host.",
        phase.validation,
        failure.filter(|f| f.in_validation),
    );
    let deployment = make_step(step, description, phase.deployment, failure.filter(|f| !f.in_validation));
    let deployment_steps = if phase.deployment == "NotStarted" { json!([]) } else { json!([deployment]) };
    let mut body = json!({
        "id": format!("{}/jobs/{}", clusters::id(cx, cluster), job.name),
        "name": job.name,
        "type": JOBS,
        "systemData": {},
        "properties": {
            "jobType": job.kind,
            "deploymentMode": job.mode,
            "jobId": job.id,
            "startTimeUtc": job.started.to_string(),
            "endTimeUtc": job.ended.map_or(unset, |at| at.to_string()),
            "provisioningState": phase.provisioning,
            "status": phase.status,
            "reportedProperties": {
                "percentComplete": phase.percent,
                "validationStatus": {"status": phase.validation, "steps": [validation]},
                "deploymentStatus": {"status": phase.deployment, "steps": deployment_steps},
            },
        },
    });
    body["properties"][list] = job.targets.iter().map(|target| target.sent.clone()).collect();
    body
}
