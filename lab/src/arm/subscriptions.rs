//! Tenants, subscriptions and resource provider registrations.

use serde_json::{Value, json};

use super::{
    Cx,
    versions::{ResourceType, TYPES},
};
use crate::{arm_error::ArmError, http::Reply, world::Registration};

pub(super) fn tenants(cx: &mut Cx<'_>) -> Result<Reply, ArmError> {
    cx.check_resources_version()?;
    cx.read_only()?;
    cx.only_query(&[])?;
    let tenant = &cx.world.tenant;
    let entry = json!({"id": format!("/tenants/{tenant}"), "tenantId": tenant, "displayName": "Relight lab"});
    Ok(Reply::json(200, json!({"value": [entry]})))
}

pub(super) fn list(cx: &mut Cx<'_>) -> Result<Reply, ArmError> {
    cx.check_resources_version()?;
    cx.read_only()?;
    cx.only_query(&[])?;
    Ok(Reply::json(200, json!({"value": [show(cx)], "count": {"type": "Total", "value": 1}})))
}

pub(super) fn one(cx: &mut Cx<'_>) -> Result<Reply, ArmError> {
    cx.check_resources_version()?;
    cx.read_only()?;
    cx.only_query(&[])?;
    Ok(Reply::json(200, show(cx)))
}

fn show(cx: &Cx<'_>) -> Value {
    let id = &cx.world.subscription;
    json!({
        "id": format!("/subscriptions/{id}"),
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": id,
        "tenantId": cx.world.tenant,
        "displayName": "Relight lab",
        "state": "Enabled",
        "subscriptionPolicies":
            {"locationPlacementId": "Public_2014-09-01", "quotaId": "Lab_2014-09-01", "spendingLimit": "Off"},
    })
}

/// Lists the regions that the lab's providers name.
pub(super) fn locations(cx: &mut Cx<'_>) -> Result<Reply, ArmError> {
    cx.check_resources_version()?;
    cx.read_only()?;
    cx.only_query(&["includeExtendedLocations"])?;
    let regions = [
        ("eastus", "East US", "US", "United States", "-79.8164", "37.3719", "Virginia", "westus"),
        ("westeurope", "West Europe", "Europe", "Europe", "4.9", "52.3667", "Netherlands", "northeurope"),
    ];
    let id = |name: &str| format!("/subscriptions/{}/locations/{name}", cx.world.subscription);
    let shown = regions.map(|(name, title, group, geography, longitude, latitude, place, pair)| {
        json!({
            "id": id(name),
            "name": name,
            "type": "Region",
            "displayName": title,
            "regionalDisplayName": format!("({group}) {title}"),
            "metadata": {
                "regionType": "Physical",
                "regionCategory": "Recommended",
                "geography": geography,
                "geographyGroup": group,
                "longitude": longitude,
                "latitude": latitude,
                "physicalLocation": place,
                "pairedRegion": [{"name": pair, "id": id(pair)}],
            },
        })
    });
    Ok(Reply::json(200, json!({"value": shown})))
}

pub(super) fn providers(cx: &mut Cx<'_>) -> Result<Reply, ArmError> {
    cx.check_resources_version()?;
    cx.read_only()?;
    cx.only_query(&["$expand"])?;
    let mut namespaces: Vec<&str> = TYPES.iter().map(|t| t.namespace).collect();
    namespaces.dedup();
    let shown: Vec<Value> = namespaces.into_iter().map(|namespace| show_provider(cx, namespace)).collect();
    Ok(Reply::json(200, json!({"value": shown})))
}

pub(super) fn provider(cx: &mut Cx<'_>, namespace: &str) -> Result<Reply, ArmError> {
    cx.check_resources_version()?;
    cx.read_only()?;
    cx.only_query(&["$expand"])?;
    let namespace = known(namespace)?;
    Ok(Reply::json(200, show_provider(cx, namespace)))
}

/// Begins to register a provider. Registering again changes nothing, as in Azure.
pub(super) fn register(cx: &mut Cx<'_>, namespace: &str) -> Result<Reply, ArmError> {
    cx.check_resources_version()?;
    if cx.call.method != "POST" {
        return Err(ArmError::not_allowed(&cx.call.method));
    }
    cx.no_body()?;
    let namespace = known(namespace)?;
    let label = cx.world.next_label("registration");
    let done = cx.now + cx.world.seed().seconds(&label, 60, 120);
    let waits = |it: &&mut Registration| it.namespace == namespace && it.done.is_none();
    if let Some(registration) = cx.world.registrations.iter_mut().find(waits) {
        registration.done = Some(done);
        cx.effect = true;
    }
    Ok(Reply::json(200, show_provider(cx, namespace)))
}

fn known(namespace: &str) -> Result<&'static str, ArmError> {
    TYPES.iter().map(|t| t.namespace).find(|known| known.eq_ignore_ascii_case(namespace)).ok_or_else(|| {
        let message = format!("The resource namespace '{namespace}' is invalid.");
        ArmError::gateway(404, "InvalidResourceNamespace", message)
    })
}

fn show_provider(cx: &Cx<'_>, namespace: &str) -> Value {
    let limit = cx.faults.job_versions();
    let versions = |found: &ResourceType| match limit.filter(|_| found.name == "clusters/jobs") {
        Some(limit) => json!(limit),
        None => json!(found.versions),
    };
    let types = TYPES.iter().filter(|t| t.namespace == namespace).map(|found| {
        json!({"resourceType": found.name, "locations": ["East US", "West Europe"], "apiVersions": versions(found)})
    });
    json!({
        "id": format!("/subscriptions/{}/providers/{namespace}", cx.world.subscription),
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "resourceTypes": types.collect::<Vec<_>>(),
        "registrationState": cx.world.registration(namespace, cx.now),
    })
}
