//! Cluster jobs: how VM Connect opens and closes the console port of a node.
//!
//! Owns what a request does. What it asks for, and whether that can come true, is in `request`; how a job looks is in
//! `view`.

mod request;
mod view;

use serde_json::{Value, json};

use super::{Cx, address::Address, clusters, operations, versions};
use crate::{
    arm_error::ArmError,
    faults::Work,
    http::Reply,
    world::{Cluster, Job, JobKind, Shape},
};

use request::{JobRequest, parse_request, target, verdict};
use view::show;

const JOBS: &str = "Microsoft.AzureStackHCI/clusters/jobs";

/// `Retry-After` of everything about jobs.
const PACE: &str = "15";

pub(super) fn answer(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    cx.only_query(&[])?;
    let cluster = clusters::parent(cx, at, JOBS)?;
    if at.is_collection() {
        cx.read_only()?;
        let jobs: Vec<Value> = cluster.jobs.iter().map(|job| show(cx, cluster, job)).collect();
        return Ok(Reply::json(200, json!({"value": jobs})));
    }
    let name = at.name(0, 1);
    match cx.call.method.as_str() {
        "GET" | "HEAD" => match cluster.job(name) {
            Some(job) => Ok(Reply::json(200, show(cx, cluster, job))),
            None => Err(ArmError::resource_not_found(JOBS, &format!("{}/{name}", cluster.name), at.group())),
        },
        "PUT" => put(cx, at, name),
        "DELETE" => delete(cx, at, name),
        method => Err(ArmError::not_allowed(method)),
    }
}

fn put(cx: &mut Cx<'_>, at: &Address, name: &str) -> Result<Reply, ArmError> {
    check_name(name)?;
    let body = cx.json_body()?;
    let asked = parse_request(&body)?;
    let cluster = clusters::parent(cx, at, JOBS)?;
    if !versions::has_vm_connect(&cx.version) {
        let message = format!(
            "The value '{:?}' of property 'jobType' is not known to api-version '{}'.",
            asked.kind, cx.version
        );
        return Err(ArmError::service(400, "InvalidParameter", message).at("properties.jobType"));
    }
    if !cluster.knows_vm_connect() {
        let message = format!(
            "Property 'jobType' with value '{:?}' isn't supported for this operation on your Azure Local cluster \
             version '{}'. Update the cluster to 2601 or later.",
            asked.kind, cluster.version,
        );
        return Err(ArmError::service(400, "PropertyNotSupported", message).at("properties.jobType"));
    }
    if let Some(job) = cluster.job(name) {
        return again(cx, cluster, job, &asked);
    }

    let failure = verdict(cx, cluster, &asked);
    let targets = asked.details.iter().map(|detail| target(cluster, detail)).collect();
    let (group, cluster_name) = (cluster.group.clone(), cluster.name.clone());
    let job_id = format!("{}/jobs/{name}", clusters::id(cx, cluster));

    let label = cx.world.next_label("job");
    let (from, to) = if failure.as_ref().is_some_and(|f| f.in_validation) { (20, 35) } else { (210, 270) };
    let duration = cx.world.seed().seconds(&label, from, to);
    let timing = cx.faults.timing(Work::Job, cx.now, duration);
    let moves = failure.is_none() && asked.kind == JobKind::VmConnectProvision && cx.faults.moves_host();
    let job = Job {
        name: name.to_owned(),
        id: cx.world.seed().uuid(&label),
        kind: asked.kind,
        mode: asked.mode,
        targets,
        started: cx.now,
        ends: timing.done,
        ended: None,
        failure: failure.clone(),
        moves_host: timing.done.filter(|_| moves).map(|_| cx.now + duration / 2),
        gone: None,
    };
    if let Some(cluster) = cx.world.cluster_mut(&group, &cluster_name) {
        cluster.jobs.push(job);
    }
    cx.effect = true;
    let operation = operations::start(cx, Shape::ClusterStatus, &job_id, "InProgress", timing.told, failure);
    let cluster = clusters::parent(cx, at, JOBS)?;
    let shown = cluster.job(name).map_or(Value::Null, |job| show(cx, cluster, job));
    Ok(Reply::json(201, shown)
        .with("Azure-AsyncOperation", operations::address(cx, &operation, false))
        .with("Retry-After", PACE))
}

/// Answers a PUT on a name that is taken. What Azure does here is not documented, but its own client deletes a finished
/// job before it asks again; so the lab never runs a job twice under one name.
fn again(cx: &Cx<'_>, cluster: &Cluster, job: &Job, asked: &JobRequest<'_>) -> Result<Reply, ArmError> {
    let id = format!("{}/jobs/{}", clusters::id(cx, cluster), job.name);
    if job.is_busy() {
        return Err(ArmError::conflicting_operation(&id));
    }
    let same_details = job.targets.iter().map(|t| &t.sent).eq(asked.details.iter().map(|d| d.sent));
    if job.kind == asked.kind && job.mode == asked.mode && same_details {
        return Ok(Reply::json(200, show(cx, cluster, job)));
    }
    let message = format!("A job '{id}' with other content exists already. Delete it first.");
    Err(ArmError::service(409, "Conflict", message))
}

fn delete(cx: &mut Cx<'_>, at: &Address, name: &str) -> Result<Reply, ArmError> {
    cx.no_body()?;
    let cluster = clusters::parent(cx, at, JOBS)?;
    let Some(job) = cluster.job(name) else {
        return Ok(Reply::empty(204));
    };
    let id = format!("{}/jobs/{}", clusters::id(cx, cluster), job.name);
    if job.is_busy() {
        return Err(ArmError::conflicting_operation(&id));
    }
    let (group, cluster_name, name) = (cluster.group.clone(), cluster.name.clone(), job.name.clone());
    let label = cx.world.next_label("job record");
    let duration = cx.world.seed().seconds(&label, 6, 12);
    let timing = cx.faults.timing(Work::Other, cx.now, duration);
    if let Some(cluster) = cx.world.cluster_mut(&group, &cluster_name)
        && let Some(job) = cluster.jobs.iter_mut().find(|job| job.name == name)
    {
        job.gone = timing.done;
    }
    cx.effect = true;
    let operation = operations::start(cx, Shape::ClusterResult, &id, "Deleting", timing.told, None);
    Ok(Reply::empty(202)
        .with("Location", operations::address(cx, &operation, true))
        .with("Retry-After", PACE))
}

/// Early drafts of the API allow 24 characters, the final one 64; the lab holds everyone to the shorter limit.
fn check_name(name: &str) -> Result<(), ArmError> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain && (3..=24).contains(&name.len()) {
        return Ok(());
    }
    let message = format!("The job name '{name}' does not match the pattern '^[a-zA-Z0-9-]{{3,24}}$'.");
    Err(ArmError::service(400, "InvalidResourceName", message).at("jobsName"))
}
