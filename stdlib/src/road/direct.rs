//! Straight to an address of a virtual machine in Azure.

use std::io;
use std::time::Duration;

use relight_engine::{Error, ErrorCode, ErrorKind, NextStep, Result};
use tokio::net::TcpStream;

use crate::Azure;
use crate::compute::{AddressKind, Vm, VmAddress};
use crate::network::{Checked, Source};
use crate::relay::Target;

/// How long one address may take to answer.
const DIAL: Duration = Duration::from_secs(8);
/// How long to pause between attempts.
const PAUSE: Duration = Duration::from_secs(3);

impl Azure {
    /// Connects to a port of a virtual machine in Azure: to its public addresses first, then to its private ones, or to those alone. Where nothing listens yet it
    /// is tried again, since a VM that was just started takes a while; where nobody is let through it is not.
    pub(super) async fn connect_directly(
        &self,
        to: &Target<'_>,
        waiting: impl Fn(&Error),
    ) -> Result<TcpStream> {
        let began = to.clock.elapsed();
        let gone =
            || Error::rejected(format!("there is no VM `{}`", to.machine.name())).code(ErrorCode::NOT_FOUND);
        let vm = self.read_azure_vm(to.origin, to.machine).await?.ok_or_else(gone)?;
        if vm.is_off() {
            return Err(vm.is_not_running());
        }
        let mut addresses = self.addresses_of(to.origin, &vm.network_interfaces, to.private).await?;
        addresses.retain(|it| !to.private || it.kind == AddressKind::Private);
        if addresses.is_empty() {
            return Err(Error::rejected(format!("`{}` has no address", vm.name)).code(ErrorCode::NOT_FOUND));
        }
        loop {
            let mut said = Vec::new();
            for VmAddress { address, .. } in &addresses {
                match self.dial.dial(address, to.port, DIAL).await {
                    Ok(stream) => {
                        // What is typed is waited for.
                        let _ = stream.set_nodelay(true);
                        return Ok(stream);
                    }
                    Err(error) => said.push((address.clone(), error)),
                }
            }
            let refuses = said.iter().any(|(_, error)| error.kind() == io::ErrorKind::ConnectionRefused);
            let error = match refuses {
                true => nothing_listens(&vm, to.port, &said),
                false => return Err(self.nobody_answers(to, &vm, &addresses, &said).await),
            };
            if to.clock.elapsed().saturating_sub(began) + PAUSE > to.within {
                return Err(error);
            }
            waiting(&error);
            to.clock.sleep(PAUSE).await;
        }
    }

    /// Says why no address answers: what the rules say, as far as they can be read.
    async fn nobody_answers(
        &self,
        to: &Target<'_>,
        vm: &Vm,
        addresses: &[VmAddress],
        said: &[(String, io::Error)],
    ) -> Error {
        let (name, port) = (&vm.name, to.port);
        let error =
            Error::rejected(format!("port {port} of `{name}` does not answer")).code(ErrorCode::OUT_OF_TOUCH);
        let error = error.because(told(said));
        if to.private {
            return error.hint(
                "a private address is reached from its network, such as over a VPN or from another VM there",
            );
        }
        if !addresses.iter().any(|it| it.kind == AddressKind::Public) {
            return error.hint("it has no public address: connect from its network, such as over a VPN or from another VM there");
        }
        let Some(nic) = vm.network_interfaces.first() else { return error };
        match self.layers_before(to.origin, nic).await {
            Ok(layers) => {
                let checked = Checked::of(&layers, name, &Source::Anywhere, port);
                match checked.open {
                    true => error.hint(format!(
                        "the security groups let everybody through: see what else stands in the way, network::port_check(vm, #{{ port: {port} }})"
                    )),
                    false => error
                        .hint(checked.said)
                        .hint(format!("let yourself in for a while: network::open_port(vm, #{{ port: {port} }})"))
                        .hint(let_in(vm, port)),
                }
            }
            // Whoever may not read the rules gets the plain answer.
            Err(_) => error,
        }
    }
}

/// Returns the step that does so for whoever writes no script.
fn let_in(vm: &Vm, port: u16) -> NextStep {
    let mut params = vec![("vm".to_owned(), vm.id.to_string())];
    if port != 22 {
        params.push(("port".to_owned(), port.to_string()));
    }
    NextStep::RunWith { runbook: "open-ssh-port".to_owned(), params }
}

fn nothing_listens(vm: &Vm, port: u16, said: &[(String, io::Error)]) -> Error {
    let error = Error::new(ErrorKind::Rejected, format!("nothing listens on port {port} of `{}`", vm.name));
    error.code(ErrorCode::OFF).because(told(said)).hint(match vm.os.as_deref() {
        Some("windows") => {
            "Windows has an SSH server once there is the extension: \
             compute::extension_install(vm, \"Microsoft.Azure.OpenSSH\", \"WindowsOpenSSH\")"
        }
        _ => "its SSH server may not run, or listen elsewhere: compute::run_command(vm, \"systemctl status ssh\")",
    })
}

fn told(said: &[(String, io::Error)]) -> String {
    said.iter().map(|(address, error)| format!("{address}: {error}")).collect::<Vec<_>>().join("; ")
}
