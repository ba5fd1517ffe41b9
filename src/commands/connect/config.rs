//! What OpenSSH needs to come by the same way.

use std::io::Write;

use relight_stdlib::Azure;
use relight_stdlib::azure::ResourceId;
use relight_stdlib::ssh::HostName;

use crate::certificate;
use crate::exit::{Exit, Result};
use crate::format::quoted;
use crate::setup::Home;
use crate::terminal;

/// An entry for `~/.ssh/config`. Nothing in it ever expires: credentials are asked for with every connection.
pub(super) struct Entry<'a> {
    pub(super) azure: &'a Azure,
    pub(super) machine: &'a ResourceId,
    pub(super) port: u16,
    pub(super) home: &'a Home,
}

impl Entry<'_> {
    /// Prints the entry for a user of the machine.
    pub(super) fn print(&self, user: &str) -> Result {
        let mut out = terminal::out();
        for line in self.lines(user) {
            writeln!(out, "{line}")?;
        }
        Ok(Exit::Done)
    }

    /// Prints the entry for whoever is signed in to Azure. OpenSSH has the certificate renewed before it reads it: `Match exec`
    /// runs before any file is opened.
    pub(super) async fn print_for_entra(&self, user: Option<String>) -> Result {
        let file = certificate::usual_file(self.home)?;
        let principal = certificate::renew(&self.azure.arm, &file).await?;
        let mut lines = self.lines(&user.unwrap_or(principal));
        let shown = file.display().to_string();
        lines.push(format!("    IdentityFile {}", in_quotes(&shown)));
        lines.push(format!(
            "    CertificateFile {}",
            in_quotes(&certificate::beside(&file).display().to_string())
        ));
        lines.push("    IdentitiesOnly yes".to_owned());
        let renew = format!("{} certificate{} {}", program(), self.home.same_place(), quoted(&shown));
        let renew = renew.replace('%', "%%").replace('"', "\\\"");
        lines.push(format!("Match originalhost {} exec \"{renew}\"", self.machine.name()));
        let mut out = terminal::out();
        for line in lines {
            writeln!(out, "{line}")?;
        }
        Ok(Exit::Done)
    }

    fn lines(&self, user: &str) -> Vec<String> {
        let Entry { azure, machine, port, home } = self;
        let mut lines = vec![format!("Host {}", machine.name()), format!("    HostName {machine}")];
        if *port != 22 {
            lines.push(format!("    Port {port}"));
        }
        lines.push(format!("    User {}", in_quotes(user)));
        lines.push(format!("    HostKeyAlias {}", HostName::of(machine, *port).as_str()));
        if let Some(file) = azure.known_hosts.file() {
            lines.push(format!("    UserKnownHostsFile {}", in_quotes(&file.display().to_string())));
        }
        // A percent sign of a path is not one of OpenSSH's own.
        let command = format!("{} proxy{}", program(), home.same_place()).replace('%', "%%");
        lines.push(format!("    ProxyCommand {command} %h %p"));
        lines
    }
}

/// Returns this program, as a shell reads it.
fn program() -> String {
    let program = std::env::current_exe().map(|file| file.display().to_string());
    quoted(&program.unwrap_or_else(|_| "relight".to_owned()))
}

/// Returns a value as OpenSSH reads it.
fn in_quotes(text: &str) -> String {
    let text = text.replace('%', "%%");
    if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text }
}
