//! What OpenSSH needs to come by the same way.

use std::io::Write;

use relight_engine::Error;
use relight_stdlib::Azure;
use relight_stdlib::azure::ResourceId;
use relight_stdlib::ssh::{ConfigEntry, config_value};

use crate::certificate;
use crate::exit::{Exit, Result};
use crate::format::quoted;
use crate::setup::{Home, program};
use crate::terminal;

/// An entry for `~/.ssh/config`.
pub(super) struct Entry<'a> {
    pub(super) azure: &'a Azure,
    pub(super) machine: &'a ResourceId,
    pub(super) port: u16,
    /// Whether a virtual machine in Azure is reached at its private addresses alone.
    pub(super) private: bool,
    pub(super) home: &'a Home,
}

impl Entry<'_> {
    /// Prints the entry for a user of the machine.
    pub(super) fn print(&self, user: &str) -> Result {
        write!(terminal::out(), "{}", self.text(user)?)?;
        Ok(Exit::Done)
    }

    /// Prints the entry for whoever is signed in to Azure. OpenSSH has the certificate renewed before it reads it: `Match exec`
    /// runs before any file is opened.
    pub(super) async fn print_for_entra(&self, user: Option<String>) -> Result {
        let file = certificate::usual_file(self.home)?;
        let principal = certificate::renew(&self.azure.arm, &file).await?;
        let text = self.text(&user.unwrap_or(principal))?;
        let shown = file.display().to_string();
        let beside = certificate::beside(&file).display().to_string();
        let renew = format!("{} certificate{} {}", program(), self.home.same_place(), quoted(&shown));
        let renew = renew.replace('%', "%%").replace('"', "\\\"");
        let mut out = terminal::out();
        write!(out, "{text}")?;
        writeln!(out, "    IdentityFile {}", config_value(&shown))?;
        writeln!(out, "    CertificateFile {}", config_value(&beside))?;
        writeln!(out, "    IdentitiesOnly yes")?;
        writeln!(out, "Match originalhost {} exec \"{renew}\"", self.machine.name())?;
        Ok(Exit::Done)
    }

    fn text(&self, user: &str) -> Result<String> {
        let Entry { azure, machine, port, .. } = *self;
        let proxy = azure.here.proxy.as_deref();
        let proxy = proxy.ok_or_else(|| Error::invalid("this command does not know its own name"))?;
        let proxy = if self.private { format!("{proxy} --private") } else { proxy.to_owned() };
        let known_hosts = azure.known_hosts.file();
        let entry =
            ConfigEntry { name: machine.name(), machine, user, port, key: None, known_hosts, proxy: &proxy };
        Ok(entry.to_string())
    }
}
