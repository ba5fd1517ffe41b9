//! The one place where faults act. Everything else in the lab asks here and does as it is told.
//!
//! A request passes four stations: the connection (before anything is looked at), *instead* (an answer in place of the real
//! one), the planning of work that the request starts, and the way out.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Carried, Fault, Garbage, differs, spelling};
use crate::{
    arm_error::ArmError,
    http::{Body, Call, Outcome, Reply},
};

/// The faults that are switched on, and how often each has looked and acted.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Vec<Active>,
}

#[derive(Debug)]
struct Active {
    fault: Fault,
    /// How many requests this fault has considered.
    seen: u32,
    /// How many times it acted.
    acted: u32,
    /// When it acted first.
    since: Option<Timestamp>,
}

/// What happens in place of the real answer.
pub(crate) enum Injected {
    Answer(Reply),
    /// The token is refused as expired.
    Expire,
    /// The token is refused with a claims challenge.
    Challenge {
        claims: bool,
    },
}

/// The kinds of work a write can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Job,
    Other,
}

/// When work will be done, and when its status address will admit it. `None` is never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) done: Option<Timestamp>,
    pub(crate) told: Option<Timestamp>,
}

/// How long the resource lags behind its status address under `succeeded-but-updating`.
const LAG: SignedDuration = SignedDuration::from_secs(45);

/// How late the agent is under `listener-late`.
const LATE: SignedDuration = SignedDuration::from_secs(60);

impl Faults {
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.active.push(Active { fault, seen: 0, acted: 0, since: None });
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    fn has(&self, fault: &Fault) -> bool {
        self.active.iter().any(|a| a.fault == *fault)
    }

    /// Returns whether the connection closes before the request is looked at.
    pub(crate) fn refuses_connection(&mut self, call: &Call) -> bool {
        !call.is_read()
            && self.takes_turn(|fault| match fault {
                Fault::ResetBefore(nth) => Some(*nth),
                _ => None,
            })
    }

    /// Counts one candidate for every fault that `nth` picks, and returns whether it is the turn of any.
    fn takes_turn(&mut self, nth: impl Fn(&Fault) -> Option<u32>) -> bool {
        let mut acts = false;
        for active in &mut self.active {
            if let Some(nth) = nth(&active.fault) {
                acts |= active.is_turn(nth);
            }
        }
        acts
    }

    /// Returns what an authenticated request gets in place of its real answer.
    pub(crate) fn instead(&mut self, call: &Call, subscription: &str, now: Timestamp) -> Option<Injected> {
        self.active.iter_mut().find_map(|active| active.instead(call, subscription, now))
    }

    /// Returns the parts of paths below which the caller may write nothing; an empty one is all.
    pub(crate) fn read_only(&self) -> impl Iterator<Item = &str> {
        self.active.iter().filter_map(|active| match &active.fault {
            Fault::RoleMissing(part) => Some(part.as_str()),
            _ => None,
        })
    }

    /// Returns the actions that the caller lacks, each with the part of a path below which.
    pub(crate) fn denied(&self) -> impl Iterator<Item = (&str, &str)> {
        self.active.iter().filter_map(|active| match &active.fault {
            Fault::Denied { action, scope } => Some((action.as_str(), scope.as_str())),
            _ => None,
        })
    }

    /// Returns the only api-versions for which `clusters/jobs` is registered, when there is such a limit.
    pub(crate) fn job_versions(&self) -> Option<&[String]> {
        self.active.iter().find_map(|active| match &active.fault {
            Fault::OldApi(versions) => Some(versions.as_slice()),
            _ => None,
        })
    }

    /// Returns when work that takes `duration` will be done and told.
    pub(crate) fn timing(&self, work: Work, now: Timestamp, duration: SignedDuration) -> Timing {
        let duration = if self.has(&Fault::Slow) { duration * 10 } else { duration };
        let end = now + duration;
        if work == Work::Job && self.has(&Fault::Stuck) {
            return Timing { done: None, told: None };
        }
        let lag = if self.has(&Fault::SucceededButUpdating) { LAG } else { SignedDuration::ZERO };
        let told = if self.has(&Fault::NeverEnds) { None } else { Some(end) };
        Timing { done: Some(end + lag), told }
    }

    /// Returns whether a job that opens a port fails on the host.
    pub(crate) fn fails_jobs(&self) -> bool {
        self.has(&Fault::JobFails)
    }

    /// Returns whether operations cannot be asked for their status.
    pub(crate) fn forgets_operations(&self) -> bool {
        self.has(&Fault::StatusGone)
    }

    /// Returns whether the installation of an extension fails on the machine.
    pub(crate) fn fails_extensions(&self) -> bool {
        self.has(&Fault::ExtensionFails)
    }

    /// Returns, once, that the VM moves while its port is being opened.
    pub(crate) fn moves_host(&mut self) -> bool {
        self.active.iter_mut().any(|active| active.fault == Fault::HostMoves && active.is_turn(1))
    }

    /// Returns whether a node answers on its first (0) or another address, given what is usual for it.
    pub(crate) fn address_answers(&self, nic: usize, usually: bool) -> bool {
        let wrong = nic == 0 && self.has(&Fault::WrongAddress);
        usually && !wrong && !self.has(&Fault::HostUnreachable)
    }

    /// Returns whether the Arc agent of a node has lost its connection.
    pub(crate) fn is_offline(&self, node: &str) -> bool {
        self.is_on(node, |fault| match fault {
            Fault::AgentOffline(named) => Some(named),
            _ => None,
        })
    }

    /// Returns whether a machine is named as one whose agent has lost its connection.
    pub(crate) fn is_named_offline(&self, machine: &str) -> bool {
        self.active.iter().any(|active| match &active.fault {
            Fault::AgentOffline(named) => named.eq_ignore_ascii_case(machine),
            _ => false,
        })
    }

    /// Returns whether the agent of a machine is too old to do as Azure says.
    pub(crate) fn ages_agent(&self, machine: &str) -> bool {
        self.is_on(machine, |fault| match fault {
            Fault::OldAgent(named) => Some(named),
            _ => None,
        })
    }

    /// Returns how far a new connection through the relay gets, if not to its end.
    pub(crate) fn relay_carries(&self, machine: &str) -> Option<Carried> {
        self.active.iter().find_map(|active| match &active.fault {
            Fault::RelayDrops { machine: named, after } if named.is_empty() => Some(*after),
            Fault::RelayDrops { machine: named, after } => {
                (active.acted == 0 && named.eq_ignore_ascii_case(machine)).then_some(*after)
            }
            _ => None,
        })
    }

    /// Returns whether a connection that got so far is cut now.
    pub(crate) fn cuts_relay(&mut self, machine: &str) -> bool {
        self.active.iter_mut().any(|active| match &active.fault {
            Fault::RelayDrops { machine: named, .. } => {
                let acts = named.is_empty() || (active.acted == 0 && named.eq_ignore_ascii_case(machine));
                active.acted += u32::from(acts);
                acts
            }
            _ => false,
        })
    }

    /// Returns how many bytes a second a connection through the relay carries, if not as many as there are.
    pub(crate) fn relay_pace(&self) -> Option<u64> {
        self.active.iter().find_map(|active| match active.fault {
            Fault::RelaySlow(kilobytes) => Some(1000 * u64::from(kilobytes)),
            _ => None,
        })
    }

    /// Returns how much later than usual an agent registers at the relay.
    pub(crate) fn listener_delay(&self, machine: &str) -> SignedDuration {
        let is_late = self.is_on(machine, |fault| match fault {
            Fault::ListenerLate(named) => Some(named),
            _ => None,
        });
        if is_late { LATE } else { SignedDuration::ZERO }
    }

    /// Returns whether the relay takes these credentials for expired: those of who comes, or those of a connection that is open.
    pub(crate) fn expires_credentials(&mut self, is_open: bool) -> bool {
        self.active.iter_mut().any(|active| match active.fault {
            Fault::CredentialsExpire { times, open } => {
                let acts = active.acted < times && (open || !is_open);
                active.acted += u32::from(acts);
                acts
            }
            _ => false,
        })
    }

    /// Returns whether a machine shows other host keys.
    pub(crate) fn changes_host_key(&self, machine: &str) -> bool {
        self.is_on(machine, |fault| match fault {
            Fault::HostKeyChanged(named) => Some(named),
            _ => None,
        })
    }

    /// Returns whether nobody gets through to a VM, whatever its own rules say.
    pub(crate) fn blocks_port(&self, vm: &str) -> bool {
        self.is_on(vm, |fault| match fault {
            Fault::PortBlocked(named) => Some(named),
            _ => None,
        })
    }

    /// Returns whether the SSH server of a VM does not run.
    pub(crate) fn stops_sshd(&self, vm: &str) -> bool {
        self.is_on(vm, |fault| match fault {
            Fault::SshdDown(named) => Some(named),
            _ => None,
        })
    }

    /// Returns whether a VM's diagnostics are not there yet.
    pub(crate) fn lacks_diagnostics(&self, vm: &str) -> bool {
        self.is_on(vm, |fault| match fault {
            Fault::NoDiagnostics(named) => Some(named),
            _ => None,
        })
    }

    /// Returns whether scripts fail before they do anything.
    pub(crate) fn fails_scripts(&self) -> bool {
        self.has(&Fault::ScriptFails)
    }

    /// Returns whether a fault that may be about one machine is about this one.
    fn is_on(&self, machine: &str, of: impl Fn(&Fault) -> Option<&String>) -> bool {
        let is_it = |named: &String| named.is_empty() || named.eq_ignore_ascii_case(machine);
        self.active.iter().filter_map(|active| of(&active.fault)).any(is_it)
    }

    /// Returns whether status addresses are as long as Azure's longest.
    pub(crate) fn has_long_addresses(&self) -> bool {
        self.has(&Fault::LongPollUrl)
    }

    /// Returns whether VM actions carry `Azure-AsyncOperation` and `Location`.
    pub(crate) fn action_headers(&self) -> (bool, bool) {
        (!self.has(&Fault::LocationOnly), !self.has(&Fault::AsyncOnly))
    }

    /// Returns what leaves the lab once the real answer is known.
    pub(crate) fn on_the_way_out(&mut self, call: &Call, mut reply: Reply, effect: bool) -> Outcome {
        let lost = effect
            && self.takes_turn(|fault| match fault {
                Fault::ReplyLost(nth) => Some(*nth),
                _ => None,
            });
        if lost {
            return Outcome::HangUp;
        }
        for active in &self.active {
            if let Fault::WireDiffers(things) = &active.fault {
                differs::act(things, call, &mut reply);
            }
        }
        if let Body::Json(body) = &mut reply.body
            && self.has(&Fault::OtherSpelling)
        {
            spelling::respell(body);
        }
        if call.method == "GET" && reply.status == 200 {
            for active in &mut self.active {
                if let Fault::Garbage { nth, kind } = active.fault
                    && active.is_turn(nth)
                {
                    reply = garbage(kind, &reply);
                }
            }
        }
        Outcome::Answer(reply)
    }
}

impl Active {
    /// Counts one candidate and returns whether it is the n-th.
    fn is_turn(&mut self, nth: u32) -> bool {
        self.seen += 1;
        if self.seen == nth {
            self.acted += 1;
            return true;
        }
        false
    }

    fn instead(&mut self, call: &Call, subscription: &str, now: Timestamp) -> Option<Injected> {
        match self.fault {
            Fault::Throttled { times, header, writes_only } => {
                let spared = self.acted >= times || (writes_only && call.is_read());
                (!spared).then(|| {
                    self.acted += 1;
                    Injected::Answer(throttled(self.acted, header, call, subscription, now))
                })
            }
            Fault::Flaps if call.is_read() => {
                self.seen += 1;
                self.seen.is_multiple_of(3).then(|| {
                    self.acted += 1;
                    Injected::Answer(flap(self.acted, subscription, now))
                })
            }
            Fault::TokenExpires if call.is_read() && is_poll(call) => {
                self.is_turn(1).then_some(Injected::Expire)
            }
            Fault::CaeChallenge { claims } => self.is_turn(1).then_some(Injected::Challenge { claims }),
            Fault::Conflict(seconds) if !call.is_read() && is_azure_local(call) => {
                let since = *self.since.get_or_insert(now);
                let over = now.duration_since(since) >= SignedDuration::from_secs(i64::from(seconds));
                (!over).then(|| Injected::Answer(ArmError::conflicting_operation(&call.path).into_reply()))
            }
            _ => None,
        }
    }
}

fn is_poll(call: &Call) -> bool {
    let path = call.path.to_ascii_lowercase();
    path.contains("/operationstatus") || path.contains("/operationresults/")
}

fn is_azure_local(call: &Call) -> bool {
    call.path.to_ascii_lowercase().contains("/microsoft.azurestackhci/")
}

/// The 429s that were recorded, in turn.
fn throttled(turn: u32, header: bool, call: &Call, subscription: &str, now: Timestamp) -> Reply {
    let (seconds, body) = match turn % 5 {
        1 => (
            6,
            json!({"error": {"code": "SubscriptionRequestsThrottled", "message": format!(
                "Number of requests for subscription '{subscription}' and operation '{}/{}' exceeded the backend \
                 storage limit. Please try again after '6' seconds.", call.method, call.path)}}),
        ),
        2 => (
            324,
            json!({"error": {"code": "ResourceRequestsThrottled", "message":
                "Number of requests for action 'Microsoft.AzureStackHCI/clusters/read' exceeded the limit of '150' \
                 for time interval '01:00:00'. Please try again after '324' seconds."}}),
        ),
        3 => (
            12,
            json!({"error": {"code": "RetryableError", "message": "A retryable error occurred.", "details": [
                {"code": "RetryableErrorDueToAnotherOperation", "message": format!(
                    "Operation PutOperation ({}) is updating resource {}. The call can be retried in 12 seconds.",
                    crate::seed::random_uuid(), call.path)}]}}),
        ),
        4 => {
            let end = now + SignedDuration::from_secs(20);
            let detail = json!({"operationGroup": "HighCostGet3Min", "startTime": now.to_string(),
                "endTime": end.to_string(), "allowedRequestCount": 162, "measuredRequestCount": 191});
            (
                20,
                json!({"error": {"code": "OperationNotAllowed", "message": "The server rejected the request because \
                    too many requests have been received for this subscription.",
                    "details": [{"code": "TooManyRequests", "target": "HighCostGet3Min",
                        "message": detail.to_string()}],
                    "innererror": {"internalErrorCode": "TooManyRequestsReceived"}}}),
            )
        }
        _ => (
            293,
            json!({"error": {"message": "Namespace provisioning in transition. For more information visit \
                https://aka.ms/eventhubsarmexceptions.", "code": "429"}}),
        ),
    };
    let reply = Reply::json(429, body);
    if header { reply.with("Retry-After", seconds.to_string()) } else { reply }
}

/// The gateway's own failures, in turn.
fn flap(turn: u32, subscription: &str, now: Timestamp) -> Reply {
    let diagnostics = format!(
        "Diagnostic information: timestamp '{}', subscription id '{subscription}', tracking id '{id}', request \
         correlation id '{id}'.",
        now.strftime("%Y%m%dT%H%M%SZ"),
        id = crate::seed::random_uuid(),
    );
    let reply = match turn % 3 {
        1 => Reply::json(
            503,
            json!({"error": {"code": "ServerTimeout", "message": format!("The request timed out. {diagnostics}")}}),
        ),
        2 => Reply::raw(502, "text/plain", "Forbidden"),
        _ => Reply::json(
            500,
            json!({"error": {"code": "InternalServerError", "message":
                format!("Encountered internal server error. {diagnostics}")}}),
        ),
    };
    reply.with("x-ms-failure-cause", "gateway")
}

fn garbage(kind: Garbage, real: &Reply) -> Reply {
    let (content_type, text) = match kind {
        Garbage::Html => ("text/html", "<html><body><h1>Web App - Unavailable</h1></body></html>".to_owned()),
        Garbage::Null => ("application/json; charset=utf-8", "null".to_owned()),
        Garbage::Truncated => {
            let whole = match &real.body {
                Body::Json(body) => body.to_string(),
                _ => "{}".to_owned(),
            };
            ("application/json; charset=utf-8", whole.chars().take(whole.chars().count() / 2).collect())
        }
    };
    Reply { body: Body::Raw(content_type, text), ..real.clone() }
}
