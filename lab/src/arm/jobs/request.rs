//! What a job is asked to do, and whether that can come true.

use serde_json::Value;

use crate::{
    arm::{Cx, body::Fields},
    arm_error::ArmError,
    world::{Cluster, Failure, JobKind, Mode, Target},
};

/// A job as asked for.
pub(super) struct JobRequest<'a> {
    pub(super) kind: JobKind,
    pub(super) mode: Mode,
    pub(super) details: Vec<Detail<'a>>,
}

/// One VM of a job.
pub(super) struct Detail<'a> {
    pub(super) vm: &'a str,
    pub(super) node: &'a str,
    pub(super) group: Option<&'a str>,
    pub(super) sent: &'a Value,
}

pub(super) fn parse_request(body: &Value) -> Result<JobRequest<'_>, ArmError> {
    let outer = Fields::of(body, "", &["properties"])?;
    let properties = outer.value("properties").ok_or_else(|| outer.wrong("properties", "is required"))?;
    let kind = properties.get("jobType").and_then(Value::as_str).unwrap_or_default();
    let (kind, list) = match kind {
        "VmConnectProvision" => (JobKind::VmConnectProvision, "vmConnectProvisionJobDetails"),
        "VmConnectRemove" => (JobKind::VmConnectRemove, "vmConnectRemoveJobDetails"),
        _ => {
            return Err(
                outer.wrong("properties.jobType", "must be VmConnectProvision or VmConnectRemove here")
            );
        }
    };
    let fields = Fields::of(properties, "properties", &["jobType", "deploymentMode", list])?;
    let mode = match fields.text("deploymentMode")? {
        None | Some("Deploy") => Mode::Deploy,
        Some("Validate") => Mode::Validate,
        Some(_) => return Err(fields.wrong("deploymentMode", "must be Validate or Deploy")),
    };
    let mut details = Vec::new();
    for sent in fields.required_list(list)? {
        let place = format!("properties.{list}[{}]", details.len());
        let detail = Fields::of(sent, &place, &["vmName", "nodeName", "vmResourceGroupName"])?;
        details.push(Detail {
            vm: detail.required_text("vmName")?,
            // Optional in the type, but what the service then does is not known.
            node: detail.required_text("nodeName")?,
            group: detail.text("vmResourceGroupName")?,
            sent,
        });
    }
    Ok(JobRequest { kind, mode, details })
}

pub(super) fn target(cluster: &Cluster, detail: &Detail<'_>) -> Target {
    Target {
        vm: detail.vm.to_owned(),
        group: detail.group.unwrap_or(&cluster.group).to_owned(),
        node: cluster.node(detail.node).map_or(detail.node, |node| &node.name).to_owned(),
        sent: detail.sent.clone(),
    }
}

/// Decides what a job will fail with, if it will.
pub(super) fn verdict(cx: &Cx<'_>, cluster: &Cluster, asked: &JobRequest<'_>) -> Option<Failure> {
    let invalid = |code: &str, message: String, advice: &str| {
        Some(Failure { code: code.to_owned(), message, advice: advice.to_owned(), in_validation: true })
    };
    for Detail { vm: name, node, group, .. } in &asked.details {
        let Some(node) = cluster.node(node) else {
            let message = format!("Node '{node}' was not found in cluster '{}'.", cluster.name);
            return invalid("NodeNotFound", message, "Use the node's name as the cluster reports it.");
        };
        let group = group.unwrap_or(&cluster.group);
        let vm = cx.world.vm(group, name).filter(|vm| vm.cluster == cluster.name);
        let Some(vm) = vm else {
            let message = format!(
                "Virtual machine '{name}' was not found in resource group '{group}' on this cluster."
            );
            return invalid(
                "VirtualMachineNotFound",
                message,
                "Name the VM's resource group in vmResourceGroupName.",
            );
        };
        if asked.kind == JobKind::VmConnectRemove {
            continue;
        }
        if vm.node != node.name {
            let message = format!("Virtual machine '{name}' is not on node '{}'.", node.name);
            return invalid("VirtualMachineNotOnNode", message, "Read the VM's hostNodeName and ask again.");
        }
        if vm.power_word() != "Running" {
            let message = format!("Virtual machine '{name}' is {}.", vm.power_word());
            return invalid("VirtualMachineNotRunning", message, "Start the VM first.");
        }
    }
    if asked.kind == JobKind::VmConnectProvision && cx.faults.fails_jobs() {
        return Some(Failure {
            code: "VmConnectProvisionFailed".to_owned(),
            message: "Failed to open port 2179 on the host: the firewall rule could not be created."
                .to_owned(),
            advice: "Check the Windows Defender Firewall service on the node and try again.".to_owned(),
            in_validation: false,
        });
    }
    None
}
