//! What OpenSSH needs to come by the same way.

use std::io::Write;

use relight_stdlib::Azure;
use relight_stdlib::azure::ResourceId;
use relight_stdlib::ssh::HostName;

use crate::exit::{Exit, Result};
use crate::format::quoted;
use crate::terminal;

/// Prints an entry for `~/.ssh/config`. Nothing in it ever expires: credentials are asked for with every connection.
pub(super) fn print(azure: &Azure, machine: &ResourceId, user: &str, port: u16, place: &str) -> Result {
    let program = std::env::current_exe().map(|file| file.display().to_string());
    let program = quoted(&program.unwrap_or_else(|_| "relight".to_owned()));
    let mut out = terminal::out();
    writeln!(out, "Host {}", machine.name())?;
    writeln!(out, "    HostName {machine}")?;
    if port != 22 {
        writeln!(out, "    Port {port}")?;
    }
    writeln!(out, "    User {}", in_quotes(user))?;
    writeln!(out, "    HostKeyAlias {}", HostName::of(machine, port).as_str())?;
    if let Some(file) = azure.known_hosts.file() {
        writeln!(out, "    UserKnownHostsFile {}", in_quotes(&file.display().to_string()))?;
    }
    // A percent sign of a path is not one of OpenSSH's own.
    let command = format!("{program} proxy{place}").replace('%', "%%");
    writeln!(out, "    ProxyCommand {command} %h %p")?;
    Ok(Exit::Done)
}

/// Returns a value as OpenSSH reads it.
fn in_quotes(text: &str) -> String {
    let text = text.replace('%', "%%");
    if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text }
}
