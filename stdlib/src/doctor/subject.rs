//! The machine that is looked at, and what is said about any machine.

use std::fmt::Display;
use std::time::Duration;

use relight_engine::{Error, NextStep};
use russh::keys::PublicKey;

use super::check::{Next, Verdict, said};
use super::fact::Fact;
use super::run;
use crate::Azure;
use crate::azure::{Identity, ResourceId};
use crate::ssh::{HostName, Standing, fingerprint};

/// A machine, and who looks at it.
pub(super) struct Subject {
    pub(super) id: ResourceId,
    /// How long everything is to take.
    pub(super) within: Duration,
    pub(super) identity: Fact<Identity>,
}

impl Subject {
    pub(super) fn sign_in(&self, azure: &Azure) -> Verdict {
        match &self.identity {
            Fact::Known(_) => Verdict::ok(azure.arm.credential().describe()),
            Fact::Refused(error) => {
                Verdict::blocked(said(error), Next::of(error).or(Next::you(NextStep::SignIn)))
            }
            Fact::Late | Fact::NotAsked => Verdict::blocked(
                format!("no token came within {} s", self.within.as_secs()),
                Next::you("check the network, the proxy (HTTPS_PROXY) and the sign-in address"),
            ),
        }
    }

    /// Says whether Azure Resource Manager answers; `first` is what was asked of it first.
    pub(super) fn azure<T>(&self, azure: &Azure, is_there: bool, first: &Fact<T>) -> Verdict {
        let place = azure.arm.cloud().arm.as_str().trim_end_matches('/').to_owned();
        if is_there {
            return Verdict::ok(place);
        }
        let why = match first {
            Fact::Refused(error) => format!("{place} gives no answer: {}", said(error)),
            _ => format!("{place} gives no answer within {} s", self.within.as_secs()),
        };
        Verdict::blocked(why, Next::you("check the network and the proxy (HTTPS_PROXY)"))
    }

    pub(super) fn host_key(&self, azure: &Azure, key: Option<&PublicKey>, port: u16) -> Verdict {
        let Some(key) = key else {
            return Verdict::unknown("no host key was seen", None);
        };
        let (name, print) = (self.id.name(), fingerprint(key));
        let verify = || Next::you(run(azure, "verify-host-keys", ("machine", &self.id), &other_port(port)));
        match azure.known_hosts.check(&HostName::of(&self.id, port), key) {
            Ok(Standing::Known) => {
                Verdict::ok(format!("`{name}` shows the key by which it is known, {print}"))
            }
            Ok(Standing::Unknown) => Verdict::blocked(
                format!("nobody has said yet by which host key `{name}` is known; it shows {print}"),
                verify(),
            ),
            Ok(Standing::Changed { .. }) => Verdict::blocked(
                format!(
                    "`{name}` shows another host key than it has, {print}: somebody may stand between, or it was set up anew"
                ),
                verify(),
            ),
            Err(error) => Verdict::blocked(said(&error), Next::of(&error)),
        }
    }

    /// Says that an action is not in any role that whoever asks has.
    pub(super) fn lacking(&self, action: &str, role: &str, scope: &ResourceId) -> Verdict {
        Verdict::blocked(
            format!("you have no role with {action} on `{}`", scope.name()),
            self.role(role, scope),
        )
    }

    /// Says why something was not seen, and what would let it be seen.
    pub(super) fn unseen<T>(
        &self,
        fact: &Fact<T>,
        what: &str,
        role: &str,
        scope: &(impl Display + ?Sized),
    ) -> Verdict {
        match fact {
            Fact::Refused(error) if is_denied(error) => {
                Verdict::unknown(format!("{what} may not be read: {}", said(error)), self.role(role, scope))
            }
            Fact::Refused(error) => {
                Verdict::unknown(format!("{what} could not be read: {}", said(error)), Next::of(error))
            }
            Fact::Late => {
                Verdict::unknown(format!("{what}: no answer within {} s", self.within.as_secs()), None)
            }
            Fact::NotAsked | Fact::Known(_) => Verdict::unknown(format!("{what} was not asked for"), None),
        }
    }

    /// Returns what gives a role to whoever asks.
    pub(super) fn role(&self, role: &str, scope: &(impl Display + ?Sized)) -> Option<Next> {
        let id =
            self.identity.known().and_then(|identity| identity.object_id.as_deref()).unwrap_or("OBJECT_ID");
        Next::administrator(format!(
            "az role assignment create --assignee {id} --role \"{role}\" --scope {scope}"
        ))
    }
}

/// Returns the parameter for a port that is not the usual one.
pub(super) fn other_port(port: u16) -> Vec<(&'static str, String)> {
    let port = Some(port).filter(|port| *port != 22);
    port.map(|port| ("port", port.to_string())).into_iter().collect()
}

/// Returns whether Azure refuses something for want of a role.
pub(super) fn is_denied(error: &Error) -> bool {
    error.status() == Some(403)
}
