//! Resource groups: the simplest thing that can be written and deleted.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Cx, body::Fields, operations, pages, tags};
use crate::{
    arm_error::ArmError,
    faults::Work,
    http::Reply,
    world::{Group, Shape},
};

/// How long a group takes to go away.
const DELETION: SignedDuration = SignedDuration::from_secs(40);

pub(super) fn list(cx: &mut Cx<'_>) -> Result<Reply, ArmError> {
    cx.check_resources_version()?;
    cx.read_only()?;
    cx.only_query(&["$top", "$skiptoken"])?;
    let groups: Vec<Value> = cx.world.groups.iter().map(|group| show(cx, group)).collect();
    let size = pages::top(cx)?.unwrap_or(1000);
    Ok(pages::page(cx, groups, size))
}

pub(super) fn one(cx: &mut Cx<'_>, name: &str) -> Result<Reply, ArmError> {
    cx.check_resources_version()?;
    cx.only_query(&[])?;
    match cx.call.method.as_str() {
        "GET" => Ok(Reply::json(200, show(cx, existing(cx, name)?))),
        "HEAD" => existing(cx, name).map(|_| Reply::empty(204)),
        "PUT" => put(cx, name),
        "PATCH" => patch(cx, name),
        "DELETE" => delete(cx, name),
        method => Err(ArmError::not_allowed(method)),
    }
}

fn existing<'a>(cx: &'a Cx<'_>, name: &str) -> Result<&'a Group, ArmError> {
    cx.world.group(name).ok_or_else(|| ArmError::group_not_found(name))
}

fn put(cx: &mut Cx<'_>, name: &str) -> Result<Reply, ArmError> {
    let body = cx.json_body()?;
    let fields = Fields::of(&body, "", &["location", "tags", "properties", "managedBy"])?;
    let location = fields.required_text("location")?.replace(' ', "").to_ascii_lowercase();
    let tags = tags::read(&fields)?.unwrap_or_default();
    let created = match cx.world.group_mut(name) {
        Some(group) if group.gone.is_some() => return Err(being_deleted(name)),
        Some(group) if group.location != location => {
            let message = format!(
                "Invalid resource group location '{location}'. The Resource group already exists in location '{}'.",
                group.location
            );
            return Err(ArmError::gateway(409, "InvalidResourceGroupLocation", message));
        }
        Some(group) => {
            cx.effect = group.tags != tags;
            group.tags = tags;
            false
        }
        None => {
            cx.world.groups.push(Group { name: name.to_owned(), location, tags, gone: None });
            cx.effect = true;
            true
        }
    };
    Ok(Reply::json(if created { 201 } else { 200 }, show(cx, existing(cx, name)?)))
}

fn patch(cx: &mut Cx<'_>, name: &str) -> Result<Reply, ArmError> {
    let body = cx.json_body()?;
    let tags = tags::read(&Fields::of(&body, "", &["tags"])?)?;
    let group = cx.world.group_mut(name).ok_or_else(|| ArmError::group_not_found(name))?;
    if group.gone.is_some() {
        return Err(being_deleted(name));
    }
    if let Some(tags) = tags.filter(|tags| *tags != group.tags) {
        group.tags = tags;
        cx.effect = true;
    }
    Ok(Reply::json(200, show(cx, existing(cx, name)?)))
}

fn delete(cx: &mut Cx<'_>, name: &str) -> Result<Reply, ArmError> {
    cx.no_body()?;
    let group = existing(cx, name)?;
    if group.gone.is_some() {
        return Err(being_deleted(name));
    }
    let id = cx.group_id(&group.name);
    let members = cx.world.members(name);
    if !members.is_empty() {
        // Azure would delete them all. Nobody wants to find that out by a typo in a rehearsal.
        let message =
            format!("Deletion of resource group '{name}' failed as it still holds '{}'.", members.join(", "));
        return Err(ArmError::gateway(409, "ResourceGroupDeletionBlocked", message));
    }
    let timing = cx.faults.timing(Work::Other, cx.now, DELETION);
    if let Some(group) = cx.world.group_mut(name) {
        // A group that never goes away still says so.
        group.gone = Some(timing.done.unwrap_or(jiff::Timestamp::MAX));
    }
    cx.effect = true;
    let operation = operations::start(cx, Shape::Group, &id, "Deleting", timing.told, None);
    Ok(Reply::empty(202)
        .with("Location", operations::address(cx, &operation, true))
        .with("Retry-After", "15"))
}

fn being_deleted(name: &str) -> ArmError {
    let message =
        format!("The resource group '{name}' is in deprovisioning state and cannot perform this operation.");
    ArmError::gateway(409, "ResourceGroupBeingDeleted", message)
}

fn show(cx: &Cx<'_>, group: &Group) -> Value {
    let state = if group.gone.is_some() { "Deleting" } else { "Succeeded" };
    json!({
        "id": cx.group_id(&group.name),
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": group.tags,
        "properties": {"provisioningState": state},
    })
}
