//! `Microsoft.HybridConnectivity`: the endpoint of an Arc machine, its services, and who may connect for how long.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Cx, address::Address, body::Fields, machines};
use crate::{
    arm_error::ArmError,
    http::Reply,
    relay_pass::Pass,
    world::{Endpoint, Service},
};

const ENDPOINTS: &str = "Microsoft.HybridConnectivity/endpoints";
const SERVICES: &str = "Microsoft.HybridConnectivity/endpoints/serviceConfigurations";

/// The shortest and the longest life of credentials, in seconds. The longest is what is given when none is asked for.
const LIVES: std::ops::RangeInclusive<i64> = 600..=10_800;

/// Answers `endpoints` and `listCredentials`.
pub(super) fn answer(cx: &mut Cx<'_>, at: &Address, action: Option<&str>) -> Result<Reply, ArmError> {
    let (group, machine, id) = machine(cx, at)?;
    if at.is_collection() && action.is_none() {
        cx.read_only()?;
        cx.only_query(&[])?;
        let found = find(cx, &group, &machine).map(|_| show(&id));
        return Ok(Reply::json(200, json!({"value": found.into_iter().collect::<Vec<_>>()})));
    }
    check_default(at, &group)?;
    match (cx.call.method.as_str(), action) {
        ("POST", Some("listcredentials")) => credentials(cx, &group, &machine),
        ("GET" | "HEAD", None) => {
            cx.only_query(&[])?;
            find(cx, &group, &machine)
                .map(|_| Reply::json(200, show(&id)))
                .ok_or_else(|| none(&machine, &group))
        }
        ("PUT", None) => {
            cx.only_query(&[])?;
            check_endpoint(&cx.json_body()?)?;
            let listens = registered(cx, &machine);
            match cx.world.endpoints.iter_mut().find(|endpoint| endpoint.is_on(&group, &machine)) {
                Some(endpoint) => endpoint.listens = listens,
                None => cx.world.endpoints.push(Endpoint { machine, group, services: Vec::new(), listens }),
            }
            cx.effect = true;
            Ok(Reply::json(200, show(&id)))
        }
        ("DELETE", None) => {
            cx.only_query(&[])?;
            cx.no_body()?;
            let before = cx.world.endpoints.len();
            cx.world.endpoints.retain(|endpoint| !endpoint.is_on(&group, &machine));
            cx.effect = cx.world.endpoints.len() < before;
            Ok(Reply::empty(if cx.effect { 200 } else { 204 }))
        }
        (method, _) => Err(ArmError::not_allowed(method)),
    }
}

/// Answers `endpoints/default/serviceConfigurations`.
pub(super) fn services(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    let (group, machine, id) = machine(cx, at)?;
    check_default(at, &group)?;
    cx.only_query(&[])?;
    let Some(endpoint) = find(cx, &group, &machine).cloned() else {
        return Err(none(&machine, &group));
    };
    if at.is_collection() {
        cx.read_only()?;
        let all: Vec<Value> = endpoint.services.iter().map(|service| show_service(&id, service)).collect();
        return Ok(Reply::json(200, json!({"value": all})));
    }
    let name = at.name(1, 1).to_owned();
    let found = endpoint.service(&name).cloned();
    match (cx.call.method.as_str(), found) {
        ("GET" | "HEAD", Some(service)) => Ok(Reply::json(200, show_service(&id, &service))),
        ("GET" | "HEAD", None) => Err(ArmError::resource_not_found(SERVICES, &name, &group)),
        ("PUT", found) => {
            let service = desired(&cx.json_body()?, &name)?;
            let listens = registered(cx, &machine);
            if let Some(endpoint) = cx.world.endpoints.iter_mut().find(|it| it.is_on(&group, &machine)) {
                endpoint.services.retain(|known| !known.name.eq_ignore_ascii_case(&name));
                endpoint.services.push(service.clone());
                endpoint.listens = listens;
            }
            cx.effect = true;
            Ok(Reply::json(if found.is_some() { 200 } else { 201 }, show_service(&id, &service)))
        }
        ("DELETE", found) => {
            cx.no_body()?;
            if let Some(endpoint) = cx.world.endpoints.iter_mut().find(|it| it.is_on(&group, &machine)) {
                endpoint.services.retain(|known| !known.name.eq_ignore_ascii_case(&name));
            }
            cx.effect = found.is_some();
            Ok(Reply::empty(if cx.effect { 200 } else { 204 }))
        }
        (method, _) => Err(ArmError::not_allowed(method)),
    }
}

/// Hands out what opens the relay. Changes nothing.
fn credentials(cx: &mut Cx<'_>, group: &str, machine: &str) -> Result<Reply, ArmError> {
    cx.only_query(&["expiresin"])?;
    let life = match cx.call.query("expiresin") {
        None => *LIVES.end(),
        Some(text) => text.parse().ok().filter(|life| LIVES.contains(life)).ok_or_else(|| {
            let message = format!("The value '{text}' of 'expiresin' must be between 600 and 10800.");
            ArmError::service(400, "InvalidParameter", message).at("expiresin")
        })?,
    };
    let wanted = match cx.call.body.trim_ascii().is_empty() {
        true => None,
        false => {
            let body = cx.json_body()?;
            Fields::of(&body, "", &["serviceName"])?.text("serviceName")?.map(str::to_owned)
        }
    };
    let endpoint = find(cx, group, machine).ok_or_else(|| none(machine, group))?;
    let service = match &wanted {
        None => None,
        // Microsoft's own client goes by the status alone; the words are inferred.
        Some(name) => Some(endpoint.service(name).cloned().ok_or_else(|| {
            let message =
                format!("Precondition Failed: the service configuration for '{name}' does not exist.");
            ArmError::service(412, "PreconditionFailed", message)
        })?),
    };
    let path = Pass::path_of(cx.world, group, machine);
    let expires = cx.now + SignedDuration::from_secs(life);
    let pass = Pass { path: path.clone(), service, expires };
    let (namespace, suffix) = relay_host(cx.base);
    let mut relay = json!({
        "namespaceName": namespace,
        "namespaceNameSuffix": suffix,
        "hybridConnectionName": path,
        "accessKey": pass.access_key(cx.base, cx.key),
        "expiresOn": expires.as_second(),
    });
    if pass.service.is_some() {
        relay["serviceConfigurationToken"] = json!(pass.token(cx.key));
    }
    Ok(Reply::json(200, json!({"relay": relay})))
}

/// Returns the lab's own address in the two parts that a client joins with a dot.
fn relay_host(base: &str) -> (&str, &str) {
    base.trim_start_matches("https://").split_once('.').unwrap_or((base, ""))
}

/// Returns when the agent listens again after a change. Documented for the first time: 30 to 90 seconds.
fn registered(cx: &mut Cx<'_>, machine: &str) -> jiff::Timestamp {
    let label = cx.world.next_label("listener");
    cx.now + cx.world.seed().seconds(&label, 30, 90) + cx.faults.listener_delay(machine)
}

fn machine(cx: &Cx<'_>, at: &Address) -> Result<(String, String, String), ArmError> {
    let (group, machine) = (at.group().to_owned(), at.name(0, 0).to_owned());
    let is_below_machine =
        at.links.len() == 2 && at.links[0].namespace.eq_ignore_ascii_case("Microsoft.HybridCompute");
    match machines::id_of(cx, &group, &machine).filter(|_| is_below_machine) {
        Some(id) => Ok((group, machine, id)),
        None => Err(ArmError::resource_not_found("Microsoft.HybridCompute/machines", &machine, &group)),
    }
}

fn find<'a>(cx: &'a Cx<'_>, group: &str, machine: &str) -> Option<&'a Endpoint> {
    cx.world.endpoints.iter().find(|endpoint| endpoint.is_on(group, machine))
}

fn none(machine: &str, group: &str) -> ArmError {
    ArmError::resource_not_found(ENDPOINTS, &format!("{machine}/default"), group)
}

fn check_default(at: &Address, group: &str) -> Result<(), ArmError> {
    match at.name(1, 0).eq_ignore_ascii_case("default") {
        true => Ok(()),
        false => Err(ArmError::resource_not_found(ENDPOINTS, at.name(1, 0), group)),
    }
}

fn check_endpoint(body: &Value) -> Result<(), ArmError> {
    let outer = Fields::of(body, "", &["properties"])?;
    let properties = outer.value("properties").ok_or_else(|| outer.wrong("properties", "is required"))?;
    let fields = Fields::of(properties, "properties", &["type", "resourceId"])?;
    match fields.required_text("type")? {
        "default" => Ok(()),
        _ => Err(fields.wrong("type", "must be `default` for the endpoint `default`")),
    }
}

fn desired(body: &Value, name: &str) -> Result<Service, ArmError> {
    let outer = Fields::of(body, "", &["properties"])?;
    let properties = outer.value("properties").ok_or_else(|| outer.wrong("properties", "is required"))?;
    let fields = Fields::of(properties, "properties", &["serviceName", "resourceId", "port"])?;
    let service = fields.required_text("serviceName")?;
    if !["SSH", "WAC"].contains(&service) || !service.eq_ignore_ascii_case(name) {
        return Err(fields.wrong("serviceName", "must be SSH or WAC, and the name of the resource"));
    }
    let port = fields.value("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let port = port.filter(|port| *port > 0).ok_or_else(|| fields.wrong("port", "must be a port"))?;
    Ok(Service { name: service.to_owned(), port })
}

fn show(machine_id: &str) -> Value {
    json!({
        "id": format!("{machine_id}/providers/{ENDPOINTS}/default"),
        "name": "default",
        "type": ENDPOINTS,
        "properties": {"type": "default", "provisioningState": "Succeeded"},
    })
}

fn show_service(machine_id: &str, service: &Service) -> Value {
    json!({
        "id": format!("{machine_id}/providers/{ENDPOINTS}/default/serviceConfigurations/{}", service.name),
        "name": service.name,
        "type": SERVICES,
        "properties":
            {"serviceName": service.name, "port": service.port, "provisioningState": "Succeeded"},
    })
}
