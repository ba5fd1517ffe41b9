//! Named faults: what can be wrong with Azure or the network, as data that tests and people switch on by name.
//!
//! Owns the names and their arguments. Where a fault acts is in `inject`, and nowhere else.

mod differs;
mod inject;
mod spelling;

use std::{fmt, str::FromStr};

pub(crate) use inject::{Faults, Injected, Work};
use serde::{Deserialize, Serialize};

/// One fault. Its text form is its name, with an optional argument behind `=`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Fault {
    /// `reply-lost[=n]`: the n-th write that changes the world does so, then the connection closes without an answer.
    ReplyLost(u32),
    /// `reset-before[=n]`: the connection closes before the n-th mutating request is looked at.
    ResetBefore(u32),
    /// `throttled[=n][,no-header][,writes]`: the next n requests (or only writes) are answered with 429.
    Throttled {
        /// How many requests.
        times: u32,
        /// Whether the answers carry `Retry-After`.
        header: bool,
        /// Whether reads are spared.
        writes_only: bool,
    },
    /// `slow`: every operation takes ten times as long.
    Slow,
    /// `flaps`: every third read is answered with 503, 502 or 500 in turn.
    Flaps,
    /// `stuck`: a cluster job stays in progress for ever and does nothing.
    Stuck,
    /// `never-ends`: the work gets done, but the status address never says so.
    NeverEnds,
    /// `status-gone`: the work gets done, but nobody knows the status address any more.
    StatusGone,
    /// `succeeded-but-updating`: the status address says Succeeded while the resource is still being worked on.
    SucceededButUpdating,
    /// `other-spelling`: ids, types and status words come in another letter case, cancelled with two l.
    OtherSpelling,
    /// `host-moves`: the VM moves to another node while the first port is being opened for it.
    HostMoves,
    /// `wrong-address`: no node answers on the address that the VM names.
    WrongAddress,
    /// `host-unreachable`: no address of any node answers.
    HostUnreachable,
    /// `token-expires`: one poll is refused with `ExpiredAuthenticationToken`; that token stays dead.
    TokenExpires,
    /// `cae-challenge[=claims]`: one request is answered with a claims challenge; that token stays dead. With
    /// `claims`, only a token that was asked for with the challenge's claims is good afterwards.
    CaeChallenge {
        /// Whether a new token must answer the challenge.
        claims: bool,
    },
    /// `old-api[=v,v,..]`: `clusters/jobs` is registered for these api-versions only.
    OldApi(Vec<String>),
    /// `role-missing[=path part]`: writes (to such paths) are refused with `AuthorizationFailed`.
    RoleMissing(String),
    /// `denied=ACTION[@path part]`: whoever calls lacks this action of Azure RBAC, such as
    /// `Microsoft.HybridCompute/machines/read` or `Microsoft.HybridConnectivity/*` (below such paths).
    Denied {
        /// The action, with `*` for anything.
        action: String,
        /// What the path of a request contains; anything, when empty.
        scope: String,
    },
    /// `job-fails`: jobs that open a port end as Failed.
    JobFails,
    /// `extension-fails`: what installs an extension ends as Failed.
    ExtensionFails,
    /// `garbage[=n][,html|,truncated|,null]`: the n-th read is answered with 200 and something that is not the resource.
    Garbage {
        /// Which read, from 1.
        nth: u32,
        /// What comes instead.
        kind: Garbage,
    },
    /// `long-poll-url`: status addresses are signed and 3.2 KB long.
    LongPollUrl,
    /// `conflict[=seconds]`: writes to Azure Local are refused with 409 until an earlier one is done.
    Conflict(u32),
    /// `location-only`: VM actions carry no `Azure-AsyncOperation`.
    LocationOnly,
    /// `async-only`: VM actions carry no `Location`.
    AsyncOnly,
    /// `agent-offline[=machine]`: the Arc agent of every node (or of this machine) has lost its connection.
    AgentOffline(String),
    /// `old-agent[=machine]`: the Arc agent of any machine (or of this one) is older than 1.31, and has a list of ports of its own
    /// with nothing on it.
    OldAgent(String),
    /// `relay-drops[=machine][,bytes|,Ns]`: connections through the relay are cut once they have carried so many bytes
    /// (1 MiB), or after so many seconds. With a machine only the first one to it that gets so far.
    RelayDrops {
        /// The machine; any, when empty.
        machine: String,
        /// When a connection is cut.
        after: Carried,
    },
    /// `relay-slow[=kB]`: a connection through the relay carries so many kB a second (1000).
    RelaySlow(u32),
    /// `listener-late[=machine]`: the agent of any machine (or of this one) registers at the relay a minute later than it
    /// should.
    ListenerLate(String),
    /// `credentials-expire[=n][,open]`: the relay takes the next n credentials (1) for expired, whatever they say themselves. With
    /// `open`, connections that are open count among them: it ends them as it does what outlives its credentials.
    CredentialsExpire {
        /// How many.
        times: u32,
        /// Whether open connections end, too.
        open: bool,
    },
    /// `host-key-changed[=machine]`: any machine (or this one) shows other SSH host keys than before.
    HostKeyChanged(String),
    /// `port-blocked[=vm]`: whoever manages all networks lets nobody through to any VM in Azure (or to this one), whatever its
    /// own security groups say.
    PortBlocked(String),
    /// `sshd-down[=vm]`: nothing listens on the SSH port of any VM in Azure (or of this one).
    SshdDown(String),
    /// `vm-off[=vm]`: every VM in Azure (or this one) is deallocated at that moment.
    VmOff(String),
    /// `address-changes[=vm]`: every VM in Azure (or this one) has another public address after each start.
    AddressChanges(String),
    /// `script-fails`: scripts that an agent runs end with exit code 1 and do nothing.
    ScriptFails,
    /// `no-diagnostics[=vm]`: what the screen and the serial port of any VM in Azure (or of this one) show is not there yet.
    NoDiagnostics(String),
    /// `wire-differs[=thing,thing..]`: Azure answers otherwise than was inferred, in these things of
    /// [`DIFFERENCES`](Fault::DIFFERENCES) or in all of them.
    WireDiffers(Vec<String>),
}

/// How far a connection through the relay gets under [`Fault::RelayDrops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// So many bytes, both ways together.
    Bytes(u64),
    /// So many seconds of the wall clock.
    Seconds(u32),
}

/// What a read is answered with under [`Fault::Garbage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// A web page.
    Html,
    /// The first half of the right answer.
    Truncated,
    /// The JSON literal `null`.
    Null,
}

/// The api-versions of `clusters/jobs` under a plain `old-api`.
const OLD_VERSIONS: [&str; 3] = ["2026-02-15-preview", "2026-03-01-preview", "2026-05-01-preview"];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::ReplyLost(1) => f.write_str("reply-lost"),
            Fault::ReplyLost(nth) => write!(f, "reply-lost={nth}"),
            Fault::ResetBefore(1) => f.write_str("reset-before"),
            Fault::ResetBefore(nth) => write!(f, "reset-before={nth}"),
            Fault::Throttled { times, header, writes_only } => {
                write!(f, "throttled={times}")?;
                f.write_str(if *header { "" } else { ",no-header" })?;
                f.write_str(if *writes_only { ",writes" } else { "" })
            }
            Fault::Slow => f.write_str("slow"),
            Fault::Flaps => f.write_str("flaps"),
            Fault::Stuck => f.write_str("stuck"),
            Fault::NeverEnds => f.write_str("never-ends"),
            Fault::StatusGone => f.write_str("status-gone"),
            Fault::SucceededButUpdating => f.write_str("succeeded-but-updating"),
            Fault::OtherSpelling => f.write_str("other-spelling"),
            Fault::HostMoves => f.write_str("host-moves"),
            Fault::WrongAddress => f.write_str("wrong-address"),
            Fault::HostUnreachable => f.write_str("host-unreachable"),
            Fault::TokenExpires => f.write_str("token-expires"),
            Fault::CaeChallenge { claims: false } => f.write_str("cae-challenge"),
            Fault::CaeChallenge { claims: true } => f.write_str("cae-challenge=claims"),
            Fault::OldApi(versions) => write!(f, "old-api={}", versions.join(",")),
            Fault::RoleMissing(part) if part.is_empty() => f.write_str("role-missing"),
            Fault::RoleMissing(part) => write!(f, "role-missing={part}"),
            Fault::Denied { action, scope } if scope.is_empty() => write!(f, "denied={action}"),
            Fault::Denied { action, scope } => write!(f, "denied={action}@{scope}"),
            Fault::JobFails => f.write_str("job-fails"),
            Fault::ExtensionFails => f.write_str("extension-fails"),
            Fault::Garbage { nth, kind } => {
                let kind = match kind {
                    Garbage::Html => "html",
                    Garbage::Truncated => "truncated",
                    Garbage::Null => "null",
                };
                write!(f, "garbage={nth},{kind}")
            }
            Fault::LongPollUrl => f.write_str("long-poll-url"),
            Fault::Conflict(seconds) => write!(f, "conflict={seconds}"),
            Fault::LocationOnly => f.write_str("location-only"),
            Fault::AsyncOnly => f.write_str("async-only"),
            Fault::AgentOffline(machine) => on(f, "agent-offline", machine),
            Fault::OldAgent(machine) => on(f, "old-agent", machine),
            Fault::RelayDrops { machine, after } => {
                let comma = if machine.is_empty() { "" } else { "," };
                match after {
                    Carried::Bytes(count) => write!(f, "relay-drops={machine}{comma}{count}"),
                    Carried::Seconds(count) => write!(f, "relay-drops={machine}{comma}{count}s"),
                }
            }
            Fault::RelaySlow(kilobytes) => write!(f, "relay-slow={kilobytes}"),
            Fault::ListenerLate(machine) => on(f, "listener-late", machine),
            Fault::CredentialsExpire { times, open } => {
                write!(f, "credentials-expire={times}{}", if *open { ",open" } else { "" })
            }
            Fault::HostKeyChanged(machine) => on(f, "host-key-changed", machine),
            Fault::PortBlocked(vm) => on(f, "port-blocked", vm),
            Fault::SshdDown(vm) => on(f, "sshd-down", vm),
            Fault::VmOff(vm) => on(f, "vm-off", vm),
            Fault::AddressChanges(vm) => on(f, "address-changes", vm),
            Fault::ScriptFails => f.write_str("script-fails"),
            Fault::NoDiagnostics(vm) => on(f, "no-diagnostics", vm),
            Fault::WireDiffers(things) if *things == Fault::DIFFERENCES => f.write_str("wire-differs"),
            Fault::WireDiffers(things) => write!(f, "wire-differs={}", things.join(",")),
        }
    }
}

/// Writes a fault that may be about one machine.
fn on(f: &mut fmt::Formatter<'_>, name: &str, machine: &str) -> fmt::Result {
    f.write_str(name)?;
    if machine.is_empty() { Ok(()) } else { write!(f, "={machine}") }
}

/// A fault name or argument that the lab does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultParseError {
    /// No fault has this name.
    #[error("unknown fault `{0}`")]
    Name(String),
    /// The fault exists, its argument does not.
    #[error("fault `{fault}` does not take `{argument}`")]
    Argument {
        /// The fault's name.
        fault: String,
        /// What was behind the `=`.
        argument: String,
    },
}

impl FromStr for Fault {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, FaultParseError> {
        let (name, argument) = match text.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let refused = || FaultParseError::Argument {
            fault: name.to_owned(),
            argument: argument.unwrap_or_default().to_owned(),
        };
        let machine = || argument.unwrap_or_default().to_owned();
        let number = |default: u32| match argument {
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or_else(refused),
            None => Ok(default),
        };
        let words = || argument.into_iter().flat_map(|a| a.split(',')).map(str::trim);
        let alone = |fault: Fault| {
            if argument.is_none() { Ok(fault) } else { Err(refused()) }
        };

        match name {
            "reply-lost" => Ok(Fault::ReplyLost(number(1)?)),
            "reset-before" => Ok(Fault::ResetBefore(number(1)?)),
            "throttled" => {
                let (mut times, mut header, mut writes_only) = (1, true, false);
                for word in words() {
                    match word {
                        "no-header" => header = false,
                        "writes" => writes_only = true,
                        count => times = count.parse().map_err(|_| refused())?,
                    }
                }
                Ok(Fault::Throttled { times, header, writes_only })
            }
            "slow" => alone(Fault::Slow),
            "flaps" => alone(Fault::Flaps),
            "stuck" => alone(Fault::Stuck),
            "never-ends" => alone(Fault::NeverEnds),
            "status-gone" => alone(Fault::StatusGone),
            "succeeded-but-updating" => alone(Fault::SucceededButUpdating),
            "other-spelling" => alone(Fault::OtherSpelling),
            "host-moves" => alone(Fault::HostMoves),
            "wrong-address" => alone(Fault::WrongAddress),
            "host-unreachable" => alone(Fault::HostUnreachable),
            "token-expires" => alone(Fault::TokenExpires),
            "cae-challenge" => match argument {
                None => Ok(Fault::CaeChallenge { claims: false }),
                Some("claims") => Ok(Fault::CaeChallenge { claims: true }),
                Some(_) => Err(refused()),
            },
            "old-api" => Ok(Fault::OldApi(match argument {
                Some(_) => words().map(str::to_owned).collect(),
                None => OLD_VERSIONS.map(str::to_owned).to_vec(),
            })),
            "role-missing" => Ok(Fault::RoleMissing(argument.unwrap_or_default().to_owned())),
            "denied" => {
                let (action, scope) = argument.map_or(("*", ""), |it| it.split_once('@').unwrap_or((it, "")));
                if action.is_empty() {
                    return Err(refused());
                }
                Ok(Fault::Denied { action: action.to_owned(), scope: scope.to_owned() })
            }
            "job-fails" => alone(Fault::JobFails),
            "extension-fails" => alone(Fault::ExtensionFails),
            "garbage" => {
                let (mut nth, mut kind) = (1, Garbage::Html);
                for word in words() {
                    match word {
                        "html" => kind = Garbage::Html,
                        "truncated" => kind = Garbage::Truncated,
                        "null" => kind = Garbage::Null,
                        count => nth = count.parse().map_err(|_| refused())?,
                    }
                }
                Ok(Fault::Garbage { nth, kind })
            }
            "long-poll-url" => alone(Fault::LongPollUrl),
            "conflict" => Ok(Fault::Conflict(number(60)?)),
            "location-only" => alone(Fault::LocationOnly),
            "async-only" => alone(Fault::AsyncOnly),
            "agent-offline" => Ok(Fault::AgentOffline(machine())),
            "old-agent" => Ok(Fault::OldAgent(machine())),
            "relay-drops" => {
                let (mut machine, mut after) = (String::new(), Carried::Bytes(1 << 20));
                for word in words() {
                    let seconds = word.strip_suffix('s').and_then(|count| count.parse().ok());
                    match (word.parse(), seconds) {
                        (Ok(0), _) | (_, Some(0)) => return Err(refused()),
                        (Ok(count), _) => after = Carried::Bytes(count),
                        (_, Some(count)) => after = Carried::Seconds(count),
                        _ if machine.is_empty() => machine = word.to_owned(),
                        _ => return Err(refused()),
                    }
                }
                Ok(Fault::RelayDrops { machine, after })
            }
            "relay-slow" => Ok(Fault::RelaySlow(number(1000)?)),
            "listener-late" => Ok(Fault::ListenerLate(machine())),
            "credentials-expire" => {
                let (mut times, mut open) = (1, false);
                for word in words() {
                    match (word, word.parse()) {
                        ("open", _) => open = true,
                        (_, Ok(count @ 1..)) => times = count,
                        _ => return Err(refused()),
                    }
                }
                Ok(Fault::CredentialsExpire { times, open })
            }
            "host-key-changed" => Ok(Fault::HostKeyChanged(machine())),
            "port-blocked" => Ok(Fault::PortBlocked(machine())),
            "sshd-down" => Ok(Fault::SshdDown(machine())),
            "vm-off" => Ok(Fault::VmOff(machine())),
            "address-changes" => Ok(Fault::AddressChanges(machine())),
            "script-fails" => alone(Fault::ScriptFails),
            "no-diagnostics" => Ok(Fault::NoDiagnostics(machine())),
            "wire-differs" => {
                let things: Vec<String> = match argument {
                    Some(_) => words().map(str::to_owned).collect(),
                    None => Fault::DIFFERENCES.map(str::to_owned).to_vec(),
                };
                match things.iter().all(|thing| Fault::DIFFERENCES.contains(&thing.as_str())) {
                    true => Ok(Fault::WireDiffers(things)),
                    false => Err(refused()),
                }
            }
            _ => Err(FaultParseError::Name(name.to_owned())),
        }
    }
}

impl TryFrom<String> for Fault {
    type Error = FaultParseError;

    fn try_from(text: String) -> Result<Self, FaultParseError> {
        text.parse()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> String {
        fault.to_string()
    }
}

impl Fault {
    /// The name of every fault, for help texts and completion.
    pub const NAMES: [&'static str; 39] = [
        "reply-lost",
        "reset-before",
        "throttled",
        "slow",
        "flaps",
        "stuck",
        "never-ends",
        "status-gone",
        "succeeded-but-updating",
        "other-spelling",
        "host-moves",
        "wrong-address",
        "host-unreachable",
        "token-expires",
        "cae-challenge",
        "old-api",
        "role-missing",
        "denied",
        "job-fails",
        "extension-fails",
        "garbage",
        "long-poll-url",
        "conflict",
        "location-only",
        "async-only",
        "agent-offline",
        "old-agent",
        "relay-drops",
        "relay-slow",
        "listener-late",
        "credentials-expire",
        "host-key-changed",
        "port-blocked",
        "sshd-down",
        "vm-off",
        "address-changes",
        "script-fails",
        "no-diagnostics",
        "wire-differs",
    ];

    /// The things in which Azure may differ from what was inferred, for `wire-differs`.
    pub const DIFFERENCES: [&'static str; 24] = differs::NAMES;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for name in Fault::NAMES {
            let fault: Fault = name.parse().expect(name);
            assert_eq!(fault.to_string().parse(), Ok(fault.clone()), "{name}");
            let json = serde_json::to_string(&fault).expect("faults are strings");
            assert_eq!(serde_json::from_str::<Fault>(&json).ok(), Some(fault), "{name}");
        }
    }

    #[test]
    fn arguments_are_checked() {
        let throttled = Fault::Throttled { times: 3, header: false, writes_only: true };
        assert_eq!("throttled=3,no-header,writes".parse(), Ok(throttled));
        assert!(matches!("throttled=soon".parse::<Fault>(), Err(FaultParseError::Argument { .. })));
        assert!(matches!("slow=1".parse::<Fault>(), Err(FaultParseError::Argument { .. })));
        assert!(matches!("reply-lost=0".parse::<Fault>(), Err(FaultParseError::Argument { .. })));
        let drops = Fault::RelayDrops { machine: "db-01".to_owned(), after: Carried::Seconds(3) };
        assert_eq!("relay-drops=db-01,3s".parse(), Ok(drops.clone()));
        assert_eq!(drops.to_string(), "relay-drops=db-01,3s");
        assert!(matches!("relay-drops=0".parse::<Fault>(), Err(FaultParseError::Argument { .. })));
        assert_eq!("nope".parse::<Fault>(), Err(FaultParseError::Name("nope".into())));
        let differs = Fault::WireDiffers(vec!["vm-view".to_owned(), "job-words".to_owned()]);
        assert_eq!("wire-differs=vm-view,job-words".parse(), Ok(differs));
        assert!(matches!("wire-differs=moon".parse::<Fault>(), Err(FaultParseError::Argument { .. })));
    }
}
