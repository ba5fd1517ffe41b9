//! What one answer says about one fact.

use serde_json::Value;

use super::answers::{Answers, Asked, region};
use crate::agent::Host;
use crate::arc::{ArcHost, SERVICES};
use crate::azure::Api;
use crate::compute::{AzureHost, INTERFACES, VMS};
use crate::doctor::rights::Rights;
use crate::local::api;
use crate::network::{RULES, SECURITY_GROUPS};
use crate::prelude::{items, text};
use crate::relay::ENDPOINTS;

/// Nothing, that it is so, or that it is otherwise.
type Seen = Option<Result<String, String>>;

/// The words of `provisioningState` that mean something to us; any other one counts as under way.
const STATES: [&str; 12] = [
    "Accepted",
    "Canceled",
    "Creating",
    "Deleting",
    "Failed",
    "InProgress",
    "NotSpecified",
    "Provisioning",
    "Running",
    "Succeeded",
    "Updating",
    "PartiallySucceeded",
];

fn known(word: &str, words: &[&str]) -> Result<String, String> {
    match words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
        true => Ok(word.to_owned()),
        false => Err(word.to_owned()),
    }
}

/// Looks for a word in a field.
fn word(body: &Value, pointer: &str, words: &[&str]) -> Result<String, String> {
    match text(body, pointer) {
        Some(found) => known(found, words),
        None => Err(format!("no {}", pointer.rsplit('/').next().unwrap_or_default())),
    }
}

/// Compares what a provider offers with what we know: the newest version in common, of each type.
fn versions(answers: &Answers, provider: &Value, types: &[Api<'_>]) -> Seen {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for api in types {
        let (namespace, name) = api.kind.split_once('/').unwrap_or(("", api.kind));
        let is_it =
            |it: &&Value| text(it, "/resourceType").is_some_and(|kind| kind.eq_ignore_ascii_case(name));
        let Some(offered) = items(provider, "/resourceTypes").find(is_it) else {
            missing.push(format!("{name} is not offered"));
            continue;
        };
        let all: Vec<&str> = items(offered, "/apiVersions").filter_map(Value::as_str).collect();
        let common = api.versions.iter().find(|known| all.iter().any(|it| it.eq_ignore_ascii_case(known)));
        let places: Vec<String> =
            items(offered, "/locations").filter_map(Value::as_str).map(region).collect();
        let elsewhere = answers.regions(namespace).find(|here| !places.iter().any(|place| place == here));
        let elsewhere = elsewhere.filter(|_| !places.is_empty());
        match (common, elsewhere) {
            (Some(version), None) => found.push(format!("{name} {version}")),
            (Some(_), Some(here)) => missing.push(format!("{name} is not offered in {here}")),
            (None, _) => missing.push(format!("{name} is offered with {}", all.join(", "))),
        }
    }
    Some(if missing.is_empty() { Ok(found.join(", ")) } else { Err(missing.join("; ")) })
}

pub(super) fn job_versions(answers: &Answers, provider: &Value) -> Seen {
    versions(answers, provider, &[api::VM_CONNECT_JOBS])
}

pub(super) fn azure_local_versions(answers: &Answers, provider: &Value) -> Seen {
    let types = [api::CLUSTERS, api::ARC_SETTINGS, api::EDGE_DEVICES, api::INSTANCES];
    versions(answers, provider, &types)
}

pub(super) fn arc_versions(answers: &Answers, provider: &Value) -> Seen {
    versions(answers, provider, &[api::MACHINES, ArcHost::EXTENSIONS, ArcHost::RUN_COMMANDS])
}

pub(super) fn connectivity_versions(answers: &Answers, provider: &Value) -> Seen {
    versions(answers, provider, &[ENDPOINTS, SERVICES])
}

pub(super) fn compute_versions(answers: &Answers, provider: &Value) -> Seen {
    versions(answers, provider, &[VMS, AzureHost::EXTENSIONS, AzureHost::RUN_COMMANDS])
}

pub(super) fn network_versions(answers: &Answers, provider: &Value) -> Seen {
    versions(answers, provider, &[INTERFACES, SECURITY_GROUPS, RULES])
}

pub(super) fn job_words(_: &Answers, job: &Value) -> Seen {
    if text(job, "/properties/jobType").is_none() {
        return Some(Err("no jobType".to_owned()));
    }
    Some(word(job, "/properties/provisioningState", &STATES))
}

pub(super) fn job_vm_name(answers: &Answers, job: &Value) -> Seen {
    let lists = ["/properties/vmConnectProvisionJobDetails", "/properties/vmConnectRemoveJobDetails"];
    let mut named = lists.iter().flat_map(|list| items(job, list)).filter_map(|it| text(it, "/vmName"));
    let (name, machines) = (named.next()?, answers.machines.as_ref()?);
    Some(match machines.iter().any(|machine| machine.eq_ignore_ascii_case(name)) {
        true => Ok("the name of an Arc machine".to_owned()),
        false => Err("a name that no Arc machine has, or has any more".to_owned()),
    })
}

pub(super) fn host_address(answers: &Answers, instance: &Value) -> Seen {
    let host = text(instance, "/properties/hostNodeIpAddress")?;
    let adapters = "/properties/reportedProperties/networkProfile/nicDetails";
    let devices = answers.of(&Asked::Device).flat_map(|device| items(device, adapters));
    let reported: Vec<&str> = devices.filter_map(|nic| text(nic, "/ip4Address")).collect();
    match reported.contains(&host) {
        _ if reported.is_empty() => None,
        true => Some(Ok(format!("one of {} that are reported", reported.len()))),
        false => Some(Err(format!("none of {} that are reported", reported.len()))),
    }
}

pub(super) fn machine_words(_: &Answers, machine: &Value) -> Seen {
    let words = ["Connected", "Disconnected", "Error", "AwaitingConnection", "Expired"];
    Some(word(machine, "/properties/status", &words))
}

pub(super) fn extension_words(_: &Answers, extension: &Value) -> Seen {
    let words = ["Creating", "Updating", "Deleting", "Succeeded", "Failed"];
    Some(word(extension, "/properties/provisioningState", &words))
}

pub(super) fn extension_version(_: &Answers, extension: &Value) -> Seen {
    if extension.pointer("/properties/protectedSettings").is_some_and(|it| !it.is_null()) {
        return Some(Err("protected settings come back".to_owned()));
    }
    // One that is still being installed has what was sent.
    text(extension, "/properties/provisioningState").filter(|it| it.eq_ignore_ascii_case("Succeeded"))?;
    let version = text(extension, "/properties/typeHandlerVersion")?;
    Some(match version.split('.').count() {
        parts @ 3.. => Ok(format!("{parts} parts")),
        parts => Err(format!("{parts} parts")),
    })
}

pub(super) fn service_answers(_: &Answers, service: &Value) -> Seen {
    let name = text(service, "/properties/serviceName");
    let port = service.pointer("/properties/port").and_then(Value::as_u64);
    Some(match (name, port) {
        (Some(name), Some(port)) => Ok(format!("{name} on port {port}")),
        (None, _) => Err("no serviceName".to_owned()),
        (_, None) => Err("no port, or none that is a number".to_owned()),
    })
}

/// Reads how a request was refused.
fn refusal(refusal: &Value) -> (u64, String) {
    let status = refusal["status"].as_u64().unwrap_or_default();
    (status, format!("{status} {}", refusal["code"].as_str().unwrap_or("without a code")))
}

pub(super) fn credentials_refused(_: &Answers, answer: &Value) -> Seen {
    Some(match refusal(answer) {
        (412, said) => Ok(said),
        (200..=299, _) => Err("they were given".to_owned()),
        (_, said) => Err(said),
    })
}

pub(super) fn is_refused(_: &Answers, answer: &Value) -> Seen {
    Some(match refusal(answer) {
        (200..=299, _) => Err("it was granted".to_owned()),
        (_, said) => Ok(said),
    })
}

pub(super) fn permissions_answer(_: &Answers, role: &Value) -> Seen {
    let lists = ["actions", "notActions"];
    Some(match lists.iter().find(|name| !role.get(**name).is_some_and(Value::is_array)) {
        None => Ok("lists of actions".to_owned()),
        Some(name) => Err(format!("no {name}")),
    })
}

pub(super) fn permissions_deny(answers: &Answers, denial: &Value) -> Seen {
    let roles: Vec<Value> = answers.of(&Asked::Permission).cloned().collect();
    if roles.is_empty() {
        return None;
    }
    let rights = Rights::read(&roles);
    let denied = items(denial, "/properties/permissions").flat_map(|it| items(it, "/actions"));
    // An action that a pattern means stands for all of them.
    let action = denied.filter_map(Value::as_str).map(|it| it.replace('*', "any")).next()?;
    Some(match rights.hold(&action) {
        true => Ok("an action that is denied is among the permissions".to_owned()),
        false => Err("an action that is denied is not among the permissions".to_owned()),
    })
}

const ENDED: [&str; 4] = ["Succeeded", "Failed", "TimedOut", "Canceled"];

fn execution(command: &Value) -> Option<&str> {
    text(command, "/properties/instanceView/executionState")
}

pub(super) fn run_command_view(_: &Answers, command: &Value) -> Seen {
    let words = [&ENDED[..], &["Unknown", "Pending", "Running"]].concat();
    match command.pointer("/properties/instanceView") {
        None => Some(Err("no instanceView".to_owned())),
        Some(view) => Some(word(view, "/executionState", &words)),
    }
}

pub(super) fn run_command_exit_code(_: &Answers, command: &Value) -> Seen {
    let state = execution(command).filter(|state| ["Succeeded", "Failed"].contains(state))?;
    match command.pointer("/properties/instanceView/exitCode").and_then(Value::as_i64) {
        Some(code) => Some(Ok(format!("{state} with {code}"))),
        None => Some(Err(format!("{state} without exitCode"))),
    }
}

pub(super) fn run_command_async(_: &Answers, command: &Value) -> Seen {
    command.pointer("/properties/asyncExecution")?.as_bool().filter(|it| *it)?;
    execution(command).filter(|state| *state == "Running")?;
    let state = text(command, "/properties/provisioningState").unwrap_or_default();
    Some(known(state, &["Succeeded"]))
}

pub(super) fn run_command_output(_: &Answers, command: &Value) -> Seen {
    const KEPT: usize = 4096;
    let said = ["/output", "/error"].map(|name| {
        let text = command.pointer(&format!("/properties/instanceView{name}")).and_then(Value::as_str);
        text.unwrap_or_default().len()
    });
    let most = said.into_iter().max().unwrap_or_default();
    match most {
        // A character that would be cut is left out.
        _ if (KEPT - 3..=KEPT).contains(&most) => Some(Ok(format!("{most} bytes"))),
        _ if most > KEPT => Some(Err(format!("{most} bytes"))),
        _ => None,
    }
}

pub(super) fn vm_view(_: &Answers, vm: &Value) -> Seen {
    let codes = || items(vm, "/properties/instanceView/statuses").filter_map(|it| text(it, "/code"));
    let Some(power) = codes().find_map(|code| code.strip_prefix("PowerState/")) else {
        let seen = codes().collect::<Vec<_>>().join(", ");
        return Some(Err(if seen.is_empty() { "no statuses".to_owned() } else { seen }));
    };
    let agent =
        items(vm, "/properties/instanceView/vmAgent/statuses").find_map(|it| text(it, "/displayStatus"));
    Some(match agent {
        Some(agent) => known(agent, &["Ready", "Not Ready"]).map(|agent| format!("{power}, {agent}")),
        None if power == "running" => Ok(format!("{power}, no word about the agent")),
        None => Ok(power.to_owned()),
    })
}

pub(super) fn group_answers(_: &Answers, group: &Value) -> Seen {
    // A network interface comes before its group.
    if group.pointer("/properties/ipConfigurations").is_some() {
        return None;
    }
    let lists = ["/properties/securityRules", "/properties/defaultSecurityRules"];
    if let Some(list) = lists.iter().find(|list| !group.pointer(list).is_some_and(Value::is_array)) {
        return Some(Err(format!("no {}", list.trim_start_matches("/properties/"))));
    }
    let rules: Vec<&Value> = lists.iter().flat_map(|list| items(group, list)).collect();
    let is_whole = |rule: &&Value| {
        rule.pointer("/properties/priority").is_some_and(Value::is_u64)
            && text(rule, "/properties/direction").is_some_and(|it| ["Inbound", "Outbound"].contains(&it))
            && text(rule, "/properties/access").is_some_and(|it| ["Allow", "Deny"].contains(&it))
    };
    Some(match rules.iter().all(is_whole) {
        true => Ok(format!("{} rules", rules.len())),
        false => Err("a rule without priority, direction or access as we know them".to_owned()),
    })
}
