//! Everything that changes while a lab runs, behind one lock: the world, what was asked of it, and who may ask.

use std::{
    collections::{BTreeSet, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{
    ConsoleVisit, Fault, Guest, LedgerEntry, Now, RequestEntry,
    arm_error::ArmError,
    faults::Faults,
    http::{Call, Reply},
    signin::{certificate::Authority, device::Devices},
    store::{Identity, Store},
    throttle::Buckets,
    token::{Claims, LIFETIME, VAULTS},
    world::{CONSOLE_PORT, Vm, World},
};

/// The state, shared by the tasks of a lab.
pub(crate) struct Site(Mutex<State>);

impl Site {
    pub(crate) fn new(state: State) -> Self {
        Site(Mutex::new(state))
    }

    /// Returns the state. A panic elsewhere does not make it unusable: every change is a single assignment or push.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The changing part of a lab.
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) faults: Faults,
    pub(crate) buckets: Buckets,
    /// `https://127.0.0.1:port`.
    pub(crate) base: String,
    pub(crate) identity: Identity,
    pub(crate) ledger: Vec<LedgerEntry>,
    pub(crate) requests: Vec<RequestEntry>,
    pub(crate) violations: Vec<String>,
    pub(crate) visits: Vec<ConsoleVisit>,
    pub(crate) guests: Vec<Guest>,
    /// By how much the ports below 1024 of VMs in Azure are moved.
    pub(crate) low_ports: u16,
    pub(crate) store: Option<Store>,
    pub(crate) now: Now,
    /// Tokens that were refused once and stay refused.
    pub(crate) dead_tokens: HashSet<String>,
    /// Refresh tokens that were used: each is good once.
    pub(crate) spent_tokens: HashSet<String>,
    pub(crate) devices: Devices,
    /// Whether device codes are confirmed as soon as they are given out.
    pub(crate) confirms_devices: bool,
    pub(crate) authority: Authority,
    /// Whether only tokens that answer the challenge are good.
    pub(crate) wants_claims: bool,
    pub(crate) token_requests: Vec<Timestamp>,
    pub(crate) token_limit: u32,
    /// How long a token is good for, in seconds of the lab.
    pub(crate) token_life: i64,
}

impl State {
    /// Notes a request.
    pub(crate) fn note_request(&mut self, call: &Call, status: u16) {
        let (method, path, at) = (call.method.clone(), call.path.clone(), (self.now)());
        self.requests.push(RequestEntry { method, path, at, status });
    }

    /// Switches a fault on. Some are something that happens to the world at that moment.
    pub(crate) fn inject(&mut self, fault: Fault) {
        match &fault {
            Fault::VmOff(vm) => self.world.turn_off(vm),
            Fault::AddressChanges(vm) => self.world.lend_addresses(vm),
            _ => {}
        }
        self.faults.inject(fault);
    }

    /// Saves the lab, if it is one that is saved.
    pub(crate) fn save(&self) -> Result<(), crate::LabError> {
        match &self.store {
            Some(store) => store.save(&self.identity, &self.world, &self.ledger),
            None => Ok(()),
        }
    }

    /// Moves the world to now and returns the addresses on which a console listens.
    pub(crate) fn open_consoles(&mut self) -> BTreeSet<SocketAddr> {
        self.world.advance((self.now)());
        let nodes = self.world.clusters.iter().flat_map(|cluster| &cluster.nodes);
        nodes
            .filter(|node| node.port.is_some())
            .flat_map(|node| {
                let addresses = self.world.addresses(node);
                (0..2)
                    .filter(|nic| self.faults.address_answers(*nic, node.answers[*nic]))
                    .map(move |nic| addresses[nic])
            })
            .map(|ip| SocketAddr::from((ip, CONSOLE_PORT)))
            .collect()
    }

    /// Returns the VM that a preconnection blob names, and what is wrong with connecting to it here, if anything.
    pub(crate) fn console_for(&mut self, ip: IpAddr, blob: &str) -> (Option<String>, Option<String>) {
        self.world.advance((self.now)());
        let mut parts = blob.split(';');
        let guid = parts.next().unwrap_or_default();
        let Some(vm) = self.world.vms.iter().find(|vm| vm.hyperv_id.eq_ignore_ascii_case(guid)) else {
            return (None, Some(format!("no VM has the Hyper-V id `{guid}`")));
        };
        let id = format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.HybridCompute/machines/{}",
            self.world.subscription, vm.group, vm.name
        );
        let problem = parts.find_map(|option| match option {
            "EnhancedMode=0" => None,
            "EnhancedMode=1" if vm.is_connected() => None,
            "EnhancedMode=1" => Some("an enhanced session needs a guest that has booted".to_owned()),
            other => Some(format!("unknown option `{other}`")),
        });
        (Some(id), problem.or_else(|| self.elsewhere(vm, ip)))
    }

    /// Returns why a VM cannot be reached on an address, if it cannot.
    fn elsewhere(&self, vm: &Vm, ip: IpAddr) -> Option<String> {
        let host = self.world.host(vm)?;
        if host.port.is_none() {
            return Some(format!("port {CONSOLE_PORT} of {} is closed", host.name));
        }
        let here = self.world.addresses(host).iter().any(|address| IpAddr::from(*address) == ip);
        (!here).then(|| format!("{} is on {}, not behind {ip}", vm.name, host.name))
    }

    /// Checks the bearer token, or returns the refusal.
    pub(crate) fn check_token(&mut self, call: &Call, now: Timestamp) -> Result<(), Reply> {
        let Some(header) = call.header("authorization") else {
            let message = "Authentication failed. The 'Authorization' header is missing.";
            return Err(self.unauthorized("AuthenticationFailed", message, "The access token is missing."));
        };
        let Some(claims) = self.claims(header) else {
            let message = "The access token is invalid.";
            return Err(self.unauthorized("InvalidAuthenticationToken", message, message));
        };
        if claims.audience == VAULTS {
            let message = "The access token has been obtained for the wrong audience or resource 'https://vault.localhost'.";
            return Err(self.unauthorized("InvalidAuthenticationTokenAudience", message, message));
        }
        if claims.expires <= now {
            return Err(self.expired(claims.expires, now));
        }
        if self.dead_tokens.contains(&claims.id) {
            self.violations.push("a token was used again after it had been refused".to_owned());
            return Err(self.expired(now - SignedDuration::from_secs(18), now));
        }
        if self.wants_claims && !claims.answers_challenge {
            return Err(self.challenge(call, true, now));
        }
        Ok(())
    }

    /// Returns whether a request carries a token that is good, and for whom it is sent to.
    pub(crate) fn holds_token_for(&self, call: &Call, audience: &str, now: Timestamp) -> bool {
        let claims = call.header("authorization").and_then(|header| self.claims(header));
        claims.is_some_and(|claims| {
            claims.audience == audience && claims.expires > now && !self.dead_tokens.contains(&claims.id)
        })
    }

    fn claims(&self, header: &str) -> Option<Claims> {
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| self.identity.token_key.read(token))?
    }

    fn kill_token(&mut self, call: &Call) {
        if let Some(claims) = call.header("authorization").and_then(|header| self.claims(header)) {
            self.dead_tokens.insert(claims.id);
        }
    }

    /// Refuses a token that was good until now, and for ever.
    pub(crate) fn expire_token(&mut self, call: &Call, now: Timestamp) -> Reply {
        self.kill_token(call);
        self.expired(now - SignedDuration::from_secs(18), now)
    }

    fn expired(&self, expiry: Timestamp, now: Timestamp) -> Reply {
        let show = |at: Timestamp| at.strftime("%-m/%-d/%Y %-I:%M:%S %p").to_string();
        let message = format!(
            "The access token expiry UTC time '{}' is earlier than current UTC time '{}'.",
            show(expiry),
            show(now)
        );
        self.unauthorized("ExpiredAuthenticationToken", &message, "The access token has expired.")
    }

    /// Refuses a token with a continuous access evaluation challenge.
    pub(crate) fn challenge(&mut self, call: &Call, claims: bool, now: Timestamp) -> Reply {
        self.kill_token(call);
        self.wants_claims = claims;
        let wanted =
            json!({"access_token": {"nbf": {"essential": true, "value": now.as_second().to_string()}}});
        let header = format!(
            "Bearer realm=\"\", authorization_uri=\"{}/common/oauth2/authorize\", error=\"insufficient_claims\", \
             error_description=\"Continuous access evaluation resulted in challenge with result: \
             InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp\", claims=\"{}\"",
            self.base,
            STANDARD.encode(wanted.to_string()),
        );
        ArmError::gateway(401, "AuthenticationFailed", "Authentication failed.")
            .into_reply()
            .with("WWW-Authenticate", header)
    }

    fn unauthorized(&self, code: &'static str, message: &str, description: &str) -> Reply {
        let header = format!(
            "Bearer authorization_uri=\"{}/{}\", error=\"invalid_token\", error_description=\"{description}\"",
            self.base, self.world.tenant
        );
        ArmError::gateway(401, code, message).into_reply().with("WWW-Authenticate", header)
    }

    /// Counts a token request and complains when there are too many within one token lifetime.
    pub(crate) fn note_token_request(&mut self, now: Timestamp) {
        self.token_requests.retain(|at| now.duration_since(*at) < SignedDuration::from_secs(LIFETIME));
        self.token_requests.push(now);
        let count = self.token_requests.len();
        if count as u64 > u64::from(self.token_limit) {
            self.violations
                .push(format!("{count} token requests within one token lifetime: tokens are not cached"));
        }
    }
}
