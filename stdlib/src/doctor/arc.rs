//! What the facts say about the way through Azure Arc.

use relight_engine::{Error, ErrorKind};

use super::check::{Judged, Next, Verdict, said};
use super::fact::Fact;
use super::facts::Facts;
use super::subject::{is_denied, other_port};
use super::{WAY_IN, run};
use crate::Azure;
use crate::relay::{Refusal, is_old};
use crate::vmconnect::check_vm;

/// What it takes to get to the relay.
const CONNECT: &str = "Microsoft.HybridConnectivity/endpoints/listCredentials/action";
/// What it takes to let SSH in.
const LET_IN: [&str; 2] = [
    "Microsoft.HybridConnectivity/endpoints/write",
    "Microsoft.HybridConnectivity/endpoints/serviceConfigurations/write",
];
/// What it takes to run a command, and to take its record away again.
const RUN: [&str; 3] = [
    "Microsoft.HybridCompute/machines/runCommands/write",
    "Microsoft.HybridCompute/machines/runCommands/read",
    "Microsoft.HybridCompute/machines/runCommands/delete",
];

impl Facts {
    /// Judges everything, each thing after what it needs.
    pub(super) fn judge(&self, azure: &Azure) -> Judged {
        let mut judged = Judged::default();
        judged.add("sign-in", &[], self.on.sign_in(azure));
        judged.add("azure", &["sign-in"], self.on.azure(azure, self.is_azure_there(), &self.machine));
        judged.add("machine", &["azure"], self.machine());
        if self.is_local_vm() {
            judged.add("power", &["machine"], self.power(azure));
        }
        judged.add("agent", &["machine", "power"], self.agent());
        judged.add("right to connect", &WAY_IN, self.right_to_connect());
        judged.add("provider", &WAY_IN, self.provider(azure));
        judged.add("endpoint", &["machine", "provider"], self.endpoint(azure));
        judged.add("service", &["endpoint"], self.service(azure));
        let way = ["power", "agent", "right to connect", "provider", "endpoint", "service"];
        judged.add("relay", &way, self.relay());
        judged.add("extension", &["machine", "power", "agent"], self.extension(azure));
        judged.add("SSH server", &["relay", "extension"], self.server(azure));
        judged.add("host key", &["SSH server"], self.on.host_key(azure, self.arc.key.known(), self.arc.port));
        judged.add("desktop", &["host key"], self.desktop());
        judged.add("right to run commands", &["machine"], self.right_to_run());
        if self.is_local_vm() {
            self.judge_console(azure, &mut judged);
        }
        judged
    }

    fn machine(&self) -> Verdict {
        match &self.machine {
            Fact::Known(_) => Verdict::ok(self.about()),
            Fact::Refused(error) if error.kind() == ErrorKind::Rejected => {
                Verdict::blocked(said(error), Next::of(error))
            }
            fact => self.on.unseen(fact, "the machine", "Reader", &self.on.id),
        }
    }

    pub(super) fn power(&self, azure: &Azure) -> Verdict {
        match &self.local.vm {
            Fact::Known(Some(vm)) => match check_vm(vm) {
                Ok(()) => Verdict::ok(vm.status.clone()),
                Err(_) => Verdict::blocked(
                    format!("`{}` is {}", vm.name, vm.power_state.to_lowercase()),
                    Next::you(run(azure, "restart-vm", ("vm", &self.on.id), &[])),
                ),
            },
            Fact::Known(None) => Verdict::unknown("Azure knows no VM behind it", None),
            fact => self.on.unseen(fact, "whether it is on", "Azure Stack HCI VM Reader", &self.on.id),
        }
    }

    fn agent(&self) -> Verdict {
        let Some(machine) = self.machine.known() else {
            return self.on.unseen(&self.machine, "its agent", "Reader", &self.on.id);
        };
        match machine.check_in_touch() {
            Err(error) => {
                let next = error.hints().first().map(ToString::to_string).unwrap_or_default();
                Verdict::blocked(
                    said(&error),
                    Next::on_machine(format!("{} (is it on, and may it reach Azure?)", next)),
                )
            }
            Ok(()) => match machine.agent_version.as_deref() {
                // It lets in what its own list says: that shows at the relay.
                Some(version) if is_old(version) => Verdict::ok(format!(
                    "Connected; {version} is older than 1.31 and has a list of ports of its own"
                )),
                version => Verdict::ok(format!("Connected, version {}", version.unwrap_or("unknown"))),
            },
        }
    }

    fn right_to_connect(&self) -> Verdict {
        let blocked = || self.on.lacking(CONNECT, "Virtual Machine Local User Login", &self.on.id);
        match (&self.arc.access, &self.rights) {
            (Fact::Known(_), _) => Verdict::ok(CONNECT),
            (Fact::Refused(error), _) if is_denied(error) => blocked(),
            (_, Fact::Known(rights)) if rights.hold(CONNECT) => Verdict::ok(CONNECT),
            (_, Fact::Known(_)) => blocked(),
            (_, fact) => self.on.unseen(fact, "what you may do", "Reader", &self.on.id),
        }
    }

    fn right_to_run(&self) -> Verdict {
        match &self.rights {
            Fact::Known(rights) => match rights.lack(&RUN) {
                Some(action) => {
                    self.on.lacking(action, "Azure Connected Machine Resource Administrator", &self.on.id)
                }
                None => Verdict::ok("nothing stands against it; only a run shows it"),
            },
            fact => self.on.unseen(fact, "what you may do", "Reader", &self.on.id),
        }
    }

    fn provider(&self, azure: &Azure) -> Verdict {
        match &self.arc.provider {
            Fact::Known(state) => match state.as_str() {
                "Registered" => Verdict::ok("Microsoft.HybridConnectivity is registered"),
                "Registering" => Verdict::blocked(
                    "Microsoft.HybridConnectivity is being registered, which takes a few minutes",
                    Next::you("look again then"),
                ),
                state => self.let_in(
                    azure,
                    format!("the subscription does not know Microsoft.HybridConnectivity yet ({state})"),
                ),
            },
            // Nobody gets credentials of a provider that is not registered.
            _ if self.arc.access.known().is_some() => Verdict::ok("it gives credentials"),
            fact => {
                let subscription =
                    format!("/subscriptions/{}", self.on.id.subscription().unwrap_or_default());
                self.on.unseen(fact, "the resource provider", "Reader", &subscription)
            }
        }
    }

    fn endpoint(&self, azure: &Azure) -> Verdict {
        match &self.arc.has_endpoint {
            Fact::Known(true) => Verdict::ok("it is there"),
            Fact::Known(false) => {
                self.let_in(azure, format!("`{}` has no endpoint: it lets nobody in", self.on.id.name()))
            }
            _ if self.arc.access.known().is_some() => Verdict::ok("it gives credentials"),
            fact => self.on.unseen(fact, "its endpoint", "Reader", &self.on.id),
        }
    }

    fn service(&self, azure: &Azure) -> Verdict {
        let (name, port) = (self.on.id.name(), self.arc.port);
        match &self.arc.service {
            Fact::Known(Some(found)) if *found == port => {
                Verdict::ok(format!("SSH is let in on port {port}"))
            }
            Fact::Known(Some(found)) => {
                self.let_in(azure, format!("`{name}` lets SSH in on port {found}, and not on {port}"))
            }
            Fact::Known(None) => {
                self.let_in(azure, format!("`{name}` does not let SSH in through Azure Arc"))
            }
            _ if self.arc.access.known().is_some() => Verdict::ok("it gives credentials for SSH"),
            fact => self.on.unseen(fact, "what it lets in", "Reader", &self.on.id),
        }
    }

    fn relay(&self) -> Verdict {
        let arc = &self.arc;
        let refused = |error: &Error| Verdict::blocked(said(error), Next::of(error));
        match (&arc.access, &arc.refusal) {
            (Fact::Refused(error), _) => refused(error),
            (Fact::Late | Fact::NotAsked, _) => {
                self.on.unseen(&arc.access, "the relay", "Virtual Machine Local User Login", &self.on.id)
            }
            (Fact::Known(_), None) => Verdict::ok("the agent listens there"),
            (Fact::Known(_), Some(Refusal::NothingThere(_))) => Verdict::ok("the agent answers"),
            (Fact::Known(_), Some(refusal)) => {
                let error = refusal.error(self.on.id.name(), arc.port);
                match (refusal, self.machine.known().and_then(|it| it.agent_version.as_deref())) {
                    (Refusal::NotAllowed(_), Some(version)) if is_old(version) => Verdict::blocked(
                        format!(
                            "the agent of `{}` is of version {version}, and its own list does not have the port",
                            self.on.id.name()
                        ),
                        Next::on_machine(format!(
                            "azcmagent config set incomingconnections.ports {}",
                            arc.port
                        )),
                    ),
                    (Refusal::NobodyListens(_), _) => Verdict::blocked(
                        format!("{}; within 90 s after a change its agent does", said(&error)),
                        Next::on_machine(match self.is_windows() {
                            true => "Restart-Service himds, GCArcService",
                            false => "systemctl restart himdsd gcad",
                        }),
                    ),
                    _ => refused(&error),
                }
            }
        }
    }

    /// Windows has an SSH server when somebody installed one: by the extension, or otherwise.
    fn extension(&self, azure: &Azure) -> Verdict {
        const KIND: &str = "WindowsOpenSSH";
        match self.machine.known() {
            None => return self.on.unseen(&self.machine, "its operating system", "Reader", &self.on.id),
            Some(_) if !self.is_windows() => return Verdict::ok("Linux needs none"),
            Some(_) => {}
        }
        let is_needed = matches!(self.arc.refusal, Some(Refusal::NothingThere(_)));
        let install = || {
            Next::you(run(
                azure,
                "enable-arc-ssh",
                ("machine", &self.on.id),
                &[("openssh", "true".to_owned())],
            ))
        };
        match &self.arc.extensions {
            Fact::Known(all) => match all.iter().find(|it| it.kind.eq_ignore_ascii_case(KIND)) {
                Some(found) if found.is("Succeeded") => Verdict::ok(format!("{KIND} is installed")),
                Some(found) if is_needed => Verdict::blocked(format!("{KIND} is {}", found.state), install()),
                None if is_needed => Verdict::blocked(
                    format!("`{}` has no SSH server: {KIND} is not installed", self.on.id.name()),
                    install(),
                ),
                _ => Verdict::ok(format!("{KIND} is not installed, and nobody missed it")),
            },
            _ if !is_needed => Verdict::ok("an SSH server may be there without one"),
            fact => self.on.unseen(fact, "its extensions", "Reader", &self.on.id),
        }
    }

    fn server(&self, azure: &Azure) -> Verdict {
        let arc = &self.arc;
        match (&arc.refusal, &arc.key) {
            (Some(refusal @ Refusal::NothingThere(_)), _) => {
                let script = match self.is_windows() {
                    true => "Start-Service sshd",
                    false => "systemctl start ssh || systemctl start sshd",
                };
                Verdict::blocked(
                    refusal.error(self.on.id.name(), arc.port).message(),
                    Next::you(run(
                        azure,
                        "run-on-machine",
                        ("machine", &self.on.id),
                        &[("script", script.to_owned())],
                    )),
                )
            }
            (_, Fact::Known(_)) => Verdict::ok(format!("it answers on port {}", arc.port)),
            (_, Fact::Refused(error)) => Verdict::blocked(said(error), Next::of(error)),
            (_, fact) => {
                self.on.unseen(fact, "the SSH server", "Virtual Machine Local User Login", &self.on.id)
            }
        }
    }

    fn desktop(&self) -> Verdict {
        Verdict::unknown(
            match self.is_windows() {
                true => "whether Remote Desktop is on shows only who signs in",
                false => "whether a desktop such as xrdp is there shows only who signs in",
            },
            None,
        )
    }

    /// Says what is wrong, and lets SSH in; or who may, when whoever asks may not.
    fn let_in(&self, azure: &Azure, why: String) -> Verdict {
        let rights = self.rights.known();
        if let Some(action) = rights.and_then(|rights| rights.lack(&LET_IN)) {
            let why = format!("{why}; you may not change that, which takes {action}");
            return Verdict::blocked(why, self.on.role("Contributor", &self.on.id));
        }
        Verdict::blocked(
            why,
            Next::you(run(azure, "enable-arc-ssh", ("machine", &self.on.id), &other_port(self.arc.port))),
        )
    }
}
