//! Network security groups and their rules: one change at a time, priorities that are taken once.

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::{Address, Cx, GROUPS, Reply, etag, names, pages};
use crate::{
    arm::{body::Fields, operations},
    arm_error::ArmError,
    faults::Work,
    world::{Rule, RuleProperties, SecurityGroup, Shape},
};

/// `Retry-After` of what changes a rule.
const PACE: &str = "10";

/// The name in the singular and in the plural of each list of a rule.
const LISTS: [[&str; 2]; 4] = [
    ["sourceAddressPrefix", "sourceAddressPrefixes"],
    ["sourcePortRange", "sourcePortRanges"],
    ["destinationAddressPrefix", "destinationAddressPrefixes"],
    ["destinationPortRange", "destinationPortRanges"],
];

pub(in crate::arm) fn answer(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    let (group, owner, name) = (at.group().to_owned(), at.name(0, 0).to_owned(), at.name(0, 1).to_owned());
    let kind = format!("{GROUPS}/securityRules");
    let found = cx.world.security_group(&group, &owner).cloned();
    let security_group = found.ok_or_else(|| ArmError::resource_not_found(GROUPS, &owner, &group))?;
    cx.only_query(&["$skiptoken"])?;
    if at.is_collection() {
        cx.read_only()?;
        let all = security_group.rules.iter().map(|rule| show(cx, &security_group, rule)).collect();
        return Ok(pages::page(cx, all, 100));
    }
    let missing = || ArmError::resource_not_found(&kind, &format!("{owner}/{name}"), &group);
    match cx.call.method.as_str() {
        "GET" | "HEAD" => {
            let rule = security_group.rule(&name).ok_or_else(missing)?;
            Ok(Reply::json(200, show(cx, &security_group, rule)))
        }
        "PUT" => put(cx, &security_group, &name),
        "DELETE" => delete(cx, &security_group, &name),
        method => Err(ArmError::not_allowed(method)),
    }
}

/// Answers for the rules that every group has.
pub(in crate::arm) fn defaults(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    cx.read_only()?;
    cx.only_query(&["$skiptoken"])?;
    let (group, owner, name) = (at.group(), at.name(0, 0), at.name(0, 1));
    let found = cx.world.security_group(group, owner);
    let found = found.ok_or_else(|| ArmError::resource_not_found(GROUPS, owner, group))?;
    let mut all = show_defaults(cx, found);
    if at.is_collection() {
        return Ok(pages::page(cx, all, 100));
    }
    all.retain(|it| it["name"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(name)));
    let kind = format!("{GROUPS}/defaultSecurityRules");
    all.pop().map(|it| Reply::json(200, it)).ok_or_else(|| ArmError::resource_not_found(&kind, name, group))
}

fn put(cx: &mut Cx<'_>, group: &SecurityGroup, name: &str) -> Result<Reply, ArmError> {
    let body = cx.json_body()?;
    let is = read(&body)?;
    check_free(cx, group)?;
    let clash = group.rules.iter().find(|rule| {
        !rule.name.eq_ignore_ascii_case(name)
            && rule.is.inbound == is.inbound
            && rule.is.priority == is.priority
    });
    if let Some(other) = clash {
        let message = format!(
            "Security rule {name} conflicts with rule {}. Rules cannot have the same Priority and Direction.",
            other.name
        );
        return Err(ArmError::service(400, "SecurityRuleConflict", message));
    }
    let known = group.rule(name).cloned();
    let is_new = known.is_none();
    let writes = known.map_or(0, |rule| rule.writes) + 1;
    let (done, told) = begin(cx, group);
    let rule = Rule { name: name.to_owned(), is, holds: done, gone: None, writes };
    if let Some(it) = group_mut(cx, group) {
        it.rules.retain(|rule| !rule.name.eq_ignore_ascii_case(name));
        it.rules.push(rule.clone());
    }
    let shown = show(cx, group, &rule);
    let id = format!("{}/securityRules/{name}", names::security_group(cx, group));
    let operation = operations::start(cx, Shape::Network, &id, "InProgress", told, None);
    Ok(Reply::json(if is_new { 201 } else { 200 }, shown)
        .with("Azure-AsyncOperation", operations::address(cx, &operation, false))
        .with("azure-asyncnotification", "Enabled")
        .with("Retry-After", PACE))
}

fn delete(cx: &mut Cx<'_>, group: &SecurityGroup, name: &str) -> Result<Reply, ArmError> {
    cx.no_body()?;
    if group.rule(name).is_none() {
        return Ok(Reply::empty(204));
    }
    check_free(cx, group)?;
    let (done, told) = begin(cx, group);
    if let Some(it) = group_mut(cx, group)
        && let Some(rule) = it.rules.iter_mut().find(|rule| rule.name.eq_ignore_ascii_case(name))
    {
        rule.gone = done;
    }
    let id = format!("{}/securityRules/{name}", names::security_group(cx, group));
    let operation = operations::start(cx, Shape::Network, &id, "InProgress", told, None);
    Ok(Reply::empty(202)
        .with("Azure-AsyncOperation", operations::address(cx, &operation, false))
        .with("Location", operations::address(cx, &operation, true))
        .with("Retry-After", PACE))
}

/// Takes the group for a change, and returns when that is done and when it is told.
fn begin(cx: &mut Cx<'_>, group: &SecurityGroup) -> (Option<jiff::Timestamp>, Option<jiff::Timestamp>) {
    let label = cx.world.next_label("security rule");
    let takes: SignedDuration = cx.world.seed().seconds(&label, 6, 12);
    let timing = cx.faults.timing(Work::Other, cx.now, takes);
    if let Some(it) = group_mut(cx, group) {
        it.busy = timing.done;
        it.edits += 1;
    }
    cx.effect = true;
    (timing.done, timing.told)
}

fn group_mut<'a>(cx: &'a mut Cx<'_>, group: &SecurityGroup) -> Option<&'a mut SecurityGroup> {
    cx.world.networks.groups.iter_mut().find(|it| it.is(&group.group, &group.name))
}

/// Refuses a change while another one is made.
fn check_free(cx: &Cx<'_>, group: &SecurityGroup) -> Result<(), ArmError> {
    if group.busy.is_none_or(|until| until <= cx.now) {
        return Ok(());
    }
    let message = format!(
        "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: {}.",
        names::security_group(cx, group)
    );
    Err(ArmError::service(409, "AnotherOperationInProgress", message))
}

fn read(body: &Value) -> Result<RuleProperties, ArmError> {
    let outer = Fields::of(body, "", &["id", "name", "etag", "type", "properties"])?;
    let properties = outer.value("properties").ok_or_else(|| outer.wrong("properties", "is required"))?;
    let mut known = vec!["description", "protocol", "access", "direction", "priority", "provisioningState"];
    known.extend(LISTS.iter().flatten());
    let fields = Fields::of(properties, "properties", &known)?;
    let one_of = |name: &'static str, words: &[&'static str]| -> Result<&'static str, ArmError> {
        let text = fields.required_text(name)?;
        let word = words.iter().find(|word| word.eq_ignore_ascii_case(text)).copied();
        word.ok_or_else(|| fields.wrong(name, &format!("must be one of {}", words.join(", "))))
    };
    let protocol = one_of("protocol", &["Tcp", "Udp", "Icmp", "Esp", "Ah", "*"])?;
    let allows = one_of("access", &["Allow", "Deny"])? == "Allow";
    let inbound = one_of("direction", &["Inbound", "Outbound"])? == "Inbound";
    let priority = fields.value("priority").and_then(Value::as_u64).filter(|it| (100..=4096).contains(it));
    let priority = priority.ok_or_else(|| fields.wrong("priority", "must be a number from 100 to 4096"))?;
    let mut lists = [const { Vec::new() }; 4];
    let mut is_list = [false; 4];
    for (n, [single, plural]) in LISTS.iter().enumerate() {
        let many = match fields.value(plural) {
            None => Vec::new(),
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(_) => return Err(fields.wrong(plural, "must be a list of strings")),
        };
        is_list[n] = !many.is_empty();
        let one = fields.text(single)?.map(str::to_owned);
        lists[n] = many.into_iter().chain(one).collect();
        if lists[n].is_empty() {
            return Err(fields.wrong(single, "is required"));
        }
    }
    let [sources, source_ports, destinations, ports] = lists;
    let description = fields.text("description")?.map(str::to_owned);
    if description.as_ref().is_some_and(|it| it.chars().count() > 140) {
        return Err(fields.wrong("description", "is longer than 140 characters"));
    }
    let priority = priority as u32;
    Ok(RuleProperties {
        description,
        protocol: protocol.to_owned(),
        allows,
        inbound,
        priority,
        sources,
        source_ports,
        destinations,
        ports,
        is_list,
    })
}

/// Returns the properties of a rule as they are told.
fn told(is: &RuleProperties, state: &str) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("provisioningState".into(), json!(state));
    if let Some(description) = &is.description {
        all.insert("description".into(), json!(description));
    }
    all.insert("protocol".into(), json!(is.protocol));
    let values = [&is.sources, &is.source_ports, &is.destinations, &is.ports];
    for (n, [single, plural]) in LISTS.iter().enumerate() {
        match is.is_list[n] {
            true => all.insert((*plural).to_owned(), json!(values[n])),
            false => all.insert((*single).to_owned(), json!(values[n].first())),
        };
        if !is.is_list[n] {
            all.insert((*plural).to_owned(), json!([]));
        }
    }
    all.insert("access".into(), json!(if is.allows { "Allow" } else { "Deny" }));
    all.insert("priority".into(), json!(is.priority));
    all.insert("direction".into(), json!(if is.inbound { "Inbound" } else { "Outbound" }));
    all
}

fn show(cx: &Cx<'_>, group: &SecurityGroup, rule: &Rule) -> Value {
    let id = format!("{}/securityRules/{}", names::security_group(cx, group), rule.name);
    let state = match rule {
        Rule { gone: Some(_), .. } => "Deleting",
        Rule { holds: Some(at), .. } if *at <= cx.now => "Succeeded",
        _ => "Updating",
    };
    json!({
        "name": rule.name,
        "id": id,
        "etag": etag(cx, &id, rule.writes),
        "type": format!("{GROUPS}/securityRules"),
        "properties": told(&rule.is, state),
    })
}

fn show_defaults(cx: &Cx<'_>, group: &SecurityGroup) -> Vec<Value> {
    let show = |(name, is): &(&str, RuleProperties)| {
        let id = format!("{}/defaultSecurityRules/{name}", names::security_group(cx, group));
        json!({
            "name": name,
            "id": id,
            "etag": etag(cx, &id, 0),
            "type": format!("{GROUPS}/defaultSecurityRules"),
            "properties": told(is, "Succeeded"),
        })
    };
    RuleProperties::defaults().iter().map(show).collect()
}

pub(super) fn show_group(cx: &Cx<'_>, group: &SecurityGroup) -> Value {
    let id = names::security_group(cx, group);
    let is_busy = group.busy.is_some_and(|until| until > cx.now);
    json!({
        "name": group.name,
        "id": id,
        "etag": etag(cx, &id, group.edits),
        "type": GROUPS,
        "location": cx.world.location,
        "tags": group.tags,
        "properties": {
            "provisioningState": if is_busy { "Updating" } else { "Succeeded" },
            "securityRules": group.rules.iter().map(|rule| show(cx, group, rule)).collect::<Vec<_>>(),
            "defaultSecurityRules": show_defaults(cx, group),
        },
    })
}
