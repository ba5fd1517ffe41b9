//! Azure Resource Manager: the order in which a request is looked at, and the manners every answer has.
//!
//! ```text
//! connection ─► token ─► named faults ─► buckets ─► api-version ─► query ─► role ─► the resource's own file ─► way out
//! ```

mod address;
mod body;
mod catalogue;
mod clusters;
mod compute;
mod endpoints;
mod extensions;
mod groups;
mod host;
mod instances;
mod inventory;
mod jobs;
mod machines;
mod names;
mod network;
mod operations;
mod pages;
mod permissions;
mod polls;
mod run_commands;
mod subscriptions;
mod tags;
mod versions;

pub(crate) use compute::{blob, path_of_blob};
pub(crate) use machines::is_agent_connected;

use jiff::Timestamp;

use address::Address;

use crate::{
    arm_error::ArmError,
    faults::{Faults, Injected},
    http::{Body, Call, Outcome, Reply},
    seed::random_uuid,
    state::State,
    throttle::Budget,
    token::TokenKey,
    world::World,
};

/// What a resource's own file gets to see and change.
pub(crate) struct Cx<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) faults: &'a mut Faults,
    pub(crate) violations: &'a mut Vec<String>,
    pub(crate) call: &'a Call,
    pub(crate) now: Timestamp,
    /// The checked api-version.
    pub(crate) version: String,
    /// `https://127.0.0.1:port`, for absolute addresses.
    pub(crate) base: &'a str,
    /// Signs what the lab hands out.
    pub(crate) key: &'a TokenKey,
    /// Set by whoever changes the world.
    pub(crate) effect: bool,
}

/// An answered ARM request.
pub(crate) struct Answered {
    pub(crate) outcome: Outcome,
    pub(crate) status: u16,
    pub(crate) effect: bool,
    pub(crate) correlation_id: String,
}

/// Answers one request. The world has already been moved to `now`.
pub(crate) fn answer(state: &mut State, call: &Call, now: Timestamp) -> Answered {
    let correlation_id = call.header("x-ms-correlation-request-id").map_or_else(random_uuid, str::to_owned);
    if state.faults.refuses_connection(call) {
        return Answered { outcome: Outcome::HangUp, status: 0, effect: false, correlation_id };
    }

    let mut effect = false;
    let reply = checked(state, call, now, &mut effect).unwrap_or_else(ArmError::into_reply);
    let status = reply.status;
    let outcome = match state.faults.on_the_way_out(call, reply, effect) {
        Outcome::Answer(reply) => Outcome::Answer(with_manners(reply, call, &correlation_id, now)),
        Outcome::HangUp => Outcome::HangUp,
    };
    Answered { outcome, status, effect, correlation_id }
}

fn checked(state: &mut State, call: &Call, now: Timestamp, effect: &mut bool) -> Result<Reply, ArmError> {
    if let Err(refusal) = state.check_token(call, now) {
        return Ok(refusal);
    }
    match state.faults.instead(call, &state.world.subscription, now) {
        Some(Injected::Answer(reply)) => return Ok(reply),
        Some(Injected::Expire) => return Ok(state.expire_token(call, now)),
        Some(Injected::Challenge { claims }) => return Ok(state.challenge(call, claims, now)),
        None => {}
    }
    let budget = Budget::of(&call.method);
    let left = match state.buckets.take(budget, now) {
        Ok(left) => left,
        Err(seconds) => return Ok(out_of_budget(call, &state.world.subscription, seconds)),
    };

    let State { world, faults, violations, base, identity, .. } = state;
    let key = &identity.token_key;
    let mut cx =
        Cx { world, faults, violations, call, now, version: String::new(), base, key, effect: false };
    let result = route(&mut cx);
    *effect = cx.effect;
    let reply = result.unwrap_or_else(ArmError::into_reply);
    let word = budget.word();
    Ok(reply
        .with(format!("x-ms-ratelimit-remaining-subscription-{word}"), left.to_string())
        .with(format!("x-ms-ratelimit-remaining-subscription-global-{word}"), (left * 15).to_string()))
}

fn route(cx: &mut Cx<'_>) -> Result<Reply, ArmError> {
    let segments = cx.call.segments();
    let lower: Vec<String> = segments.iter().map(|s| s.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();

    if let [first, id, ..] = lower.as_slice()
        && *first == "subscriptions"
        && !cx.world.subscription.eq_ignore_ascii_case(id)
    {
        return Err(ArmError::subscription_not_found(&segments[1]));
    }
    if let Some(place) =
        lower.iter().position(|s| matches!(*s, "operationstatuses" | "operationstatus" | "operationresults"))
        && let Some(id) = segments.get(place + 1)
    {
        return polls::poll(cx, id, lower[place] == "operationresults");
    }
    if let [.., "locations", _, "operations", id] = lower.as_slice() {
        return polls::poll(cx, id, cx.call.query("monitor").is_some());
    }
    permissions::check(cx, &segments)?;
    match lower.as_slice() {
        ["subscriptions", _, "resourcegroups"] => groups::list(cx),
        ["subscriptions", _, "resourcegroups", _] => groups::one(cx, &segments[3]),
        ["subscriptions", _, "resources"] => inventory::list(cx, None),
        ["subscriptions", _, "resourcegroups", _, "resources"] => inventory::list(cx, Some(&segments[3])),
        [.., "providers", "microsoft.authorization", "permissions"] => permissions::list(cx, &segments),
        [.., "providers", "microsoft.authorization", "denyassignments"] => permissions::denials(cx),
        ["tenants"] => subscriptions::tenants(cx),
        ["subscriptions"] => subscriptions::list(cx),
        ["subscriptions", _] => subscriptions::one(cx),
        ["subscriptions", _, "locations"] => subscriptions::locations(cx),
        ["subscriptions", _, "providers"] => subscriptions::providers(cx),
        ["subscriptions", _, "providers", _] => subscriptions::provider(cx, &segments[3]),
        ["subscriptions", _, "providers", _, "register"] => subscriptions::register(cx, &segments[3]),
        _ => resource(cx, &segments),
    }
}

fn resource(cx: &mut Cx<'_>, segments: &[String]) -> Result<Reply, ArmError> {
    let Some(address) = Address::parse(segments) else {
        let message = "The request path does not name a resource, a collection or an action.";
        return Err(ArmError::gateway(404, "NotFound", message));
    };
    let (namespace, mut kind) = address.kind();
    let mut action = None;
    if cx.call.method == "POST"
        && address.is_collection()
        && let Some((owner, last)) = kind.clone().rsplit_once('/')
    {
        kind = owner.to_owned();
        action = Some(last.to_owned());
    }
    let (found, version) = versions::check_type(
        &namespace,
        &kind,
        cx.call.query("api-version"),
        &cx.world.location,
        cx.faults.job_versions(),
    )?;
    cx.version = version;
    if cx.world.registration(found.namespace, cx.now) != "Registered" {
        return Err(ArmError::not_registered(found.namespace));
    }
    if let Some(group) = &address.group
        && cx.world.group(group).is_none()
    {
        return Err(ArmError::group_not_found(group));
    }
    match found.name {
        "clusters" => clusters::answer(cx, &address),
        "clusters/arcSettings" => clusters::arc_settings(cx, &address),
        "clusters/deploymentSettings" => clusters::deployment_settings(cx, &address),
        "clusters/jobs" => jobs::answer(cx, &address),
        "edgeDevices" => machines::edge_devices(cx, &address),
        "virtualMachineInstances" => instances::answer(cx, &address, action.as_deref()),
        "machines" => machines::answer(cx, &address),
        "machines/extensions" | "virtualMachines/extensions" => extensions::answer(cx, &address),
        "machines/runCommands" | "virtualMachines/runCommands" => run_commands::answer(cx, &address),
        "virtualMachines" => compute::answer(cx, &address, action.as_deref()),
        "locations/publishers"
        | "locations/publishers/artifacttypes/types"
        | "locations/publishers/artifacttypes/types/versions" => catalogue::answer(cx, &address),
        "virtualMachines/instanceView" => compute::instance_view(cx, &address),
        "publicIPAddresses" => network::addresses(cx, &address),
        "virtualNetworks" => network::networks(cx, &address),
        "virtualNetworks/subnets" => network::subnets(cx, &address),
        "networkSecurityGroups" => network::groups(cx, &address),
        "networkSecurityGroups/securityRules" => network::rules(cx, &address),
        "networkSecurityGroups/defaultSecurityRules" => network::default_rules(cx, &address),
        "networkInterfaces" if namespace == "microsoft.network" => {
            network::nics(cx, &address, action.as_deref())
        }
        "endpoints" => endpoints::answer(cx, &address, action.as_deref()),
        "endpoints/serviceConfigurations" => endpoints::services(cx, &address),
        "logicalNetworks" | "networkInterfaces" | "virtualHardDisks" => {
            inventory::guest_part(cx, &address, found.name)
        }
        _ => Err(ArmError::not_allowed(&cx.call.method)),
    }
}

impl Cx<'_> {
    /// Refuses every method but GET and HEAD.
    pub(crate) fn read_only(&self) -> Result<(), ArmError> {
        if self.call.is_read() { Ok(()) } else { Err(ArmError::not_allowed(&self.call.method)) }
    }

    /// Checks the api-version of a call on `Microsoft.Resources` itself.
    pub(crate) fn check_resources_version(&mut self) -> Result<(), ArmError> {
        self.version = versions::check_resources(self.call.query("api-version"))?;
        Ok(())
    }

    /// Refuses query parameters that are not documented for this call. Azure ignores most of them, and a typo with them.
    pub(crate) fn only_query(&mut self, known: &[&str]) -> Result<(), ArmError> {
        let odd = self.call.query.iter().map(|(name, _)| name).find(|name| {
            !name.eq_ignore_ascii_case("api-version")
                && !known.iter().any(|known| known.eq_ignore_ascii_case(name))
        });
        let Some(name) = odd else { return Ok(()) };
        self.violations.push(format!(
            "undocumented query parameter `{name}` on {} {}",
            self.call.method, self.call.path
        ));
        Err(ArmError::undocumented("a documented query parameter", name))
    }

    /// Returns the id of a resource group.
    pub(crate) fn group_id(&self, group: &str) -> String {
        format!("/subscriptions/{}/resourceGroups/{group}", self.world.subscription)
    }
}

fn out_of_budget(call: &Call, subscription: &str, seconds: u32) -> Reply {
    let message = format!(
        "Number of requests for subscription '{subscription}' and operation '{}/SUBSCRIPTIONS' exceeded the backend \
         storage limit. Please try again after '{seconds}' seconds.",
        call.method,
    );
    ArmError::gateway(429, "SubscriptionRequestsThrottled", message)
        .into_reply()
        .with("Retry-After", seconds.to_string())
}

fn with_manners(mut reply: Reply, call: &Call, correlation_id: &str, now: Timestamp) -> Reply {
    let request_id = random_uuid();
    let routing = format!("EASTUS:{}:{request_id}", now.strftime("%Y%m%dT%H%M%SZ"));
    reply = reply
        .with("x-ms-request-id", request_id)
        .with("x-ms-correlation-request-id", correlation_id)
        .with("x-ms-routing-request-id", routing)
        .with("Cache-Control", "no-cache")
        .with("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
        .with("X-Content-Type-Options", "nosniff");
    if call.header("x-ms-return-client-request-id").is_some_and(|wanted| wanted.eq_ignore_ascii_case("true"))
        && let Some(id) = call.header("x-ms-client-request-id")
    {
        reply = reply.with("x-ms-client-request-id", id);
    }
    if call.method == "HEAD" {
        reply.body = Body::Empty;
        // Whether a thing exists is answered without content.
        if reply.status == 200 {
            reply.status = 204;
        }
    }
    reply
}
