//! `ssh::config`: what lets OpenSSH's own programs come to a machine.

use std::fmt;
use std::path::Path;

use super::known_hosts::HostName;
use super::target::PORT;
use crate::prelude::*;

/// The words that entries of ours begin with. A file with others is somebody's own.
const OURS: [&str; 8] = [
    "Host",
    "HostName",
    "Port",
    "User",
    "HostKeyAlias",
    "UserKnownHostsFile",
    "IdentityFile",
    "ProxyCommand",
];
/// The largest file that is looked at.
const LARGEST: u64 = 64 * 1024;

/// An entry of OpenSSH's configuration. Nothing in it ever expires: its proxy asks for credentials with every connection.
#[derive(Clone, Debug)]
pub struct ConfigEntry<'a> {
    /// The name under which OpenSSH is called.
    pub name: &'a str,
    /// The machine.
    pub machine: &'a ResourceId,
    /// The user on it.
    pub user: &'a str,
    /// The port of its SSH server.
    pub port: u16,
    /// The private key to sign in with; OpenSSH's own choice when left out.
    pub key: Option<&'a str>,
    /// The list of host keys; OpenSSH's own when left out.
    pub known_hosts: Option<&'a Path>,
    /// The command that carries the bytes, without machine and port.
    pub proxy: &'a str,
}

impl ConfigEntry<'_> {
    /// Returns whether each value stays what it is in a file of lines.
    fn is_sound(&self) -> bool {
        let known_hosts = self.known_hosts.map(Path::to_string_lossy).unwrap_or_default();
        let all = [self.user, self.key.unwrap_or_default(), &known_hosts];
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
        !self.name.is_empty()
            && self.name.chars().all(is_name)
            && !all.iter().any(|it| it.contains(|c: char| c.is_control() || c == '"'))
            && !self.proxy.contains(char::is_control)
    }
}

impl fmt::Display for ConfigEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Host {}", self.name)?;
        writeln!(f, "    HostName {}", self.machine)?;
        if self.port != PORT {
            writeln!(f, "    Port {}", self.port)?;
        }
        writeln!(f, "    User {}", config_value(self.user))?;
        writeln!(f, "    HostKeyAlias {}", HostName::of(self.machine, self.port).as_str())?;
        if let Some(file) = self.known_hosts {
            writeln!(f, "    UserKnownHostsFile {}", config_value(&file.display().to_string()))?;
        }
        if let Some(key) = self.key {
            writeln!(f, "    IdentityFile {}", config_value(key))?;
        }
        // A percent sign of a path is not one of OpenSSH's own.
        writeln!(f, "    ProxyCommand {} %h %p", self.proxy.replace('%', "%%"))
    }
}

/// Returns a value as OpenSSH's configuration has it.
pub fn config_value(text: &str) -> String {
    let text = text.replace('%', "%%");
    if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text }
}

/// Writes a file that lets `ssh`, `scp`, `sftp`, `rsync`, Ansible and others come to a machine: `ssh -F FILE NAME`, or a line
/// `Include FILE` in `~/.ssh/config`. Nothing in it ever expires, since credentials are asked for with every connection. Host keys are those
/// that are known here (`ssh::trust`).
///
/// A file that is there already is replaced only when it holds nothing but what this operation writes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// File to write, below the run's folder or named by a `path` parameter.
    #[schemars(extend("format" = "path"))]
    path: String,
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// User on the machine.
    user: String,
    /// Name under which OpenSSH is called; that of the machine when left out.
    #[serde(default)]
    name: Option<String>,
    /// File of the private key to sign in with; OpenSSH's own choice when left out.
    #[serde(default)]
    key: Option<String>,
    /// Port of the SSH server on the machine; 22 when left out.
    #[serde(default)]
    port: Option<u16>,
    /// Whether to replace whatever file is there.
    #[serde(default)]
    overwrite: Option<bool>,
    /// Resource group of the machine. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// A file for OpenSSH.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Written {
    /// Path of the file.
    path: String,
    /// Name under which OpenSSH is called.
    name: String,
    /// Resource id of the machine.
    id: ResourceId,
}

/// `ssh::config`.
pub(crate) struct WriteConfig(pub(crate) Azure);

impl Operation for WriteConfig {
    type Args = Args;
    type Output = Written;

    const NAME: &'static str = "ssh::config";
    const SUMMARY: &'static str = "Writes a file with which OpenSSH's own programs come to a machine.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::FileWrite];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        let script = r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            ssh::config("app.ssh", app, "azureuser").name
        "#;
        vec![Example::new("Write the file for one machine.", script).on("edge").gives(json!("app-01"))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Written>> {
        let proxy = self.0.here.proxy.as_deref().ok_or_else(|| {
            Error::rejected("no program is named by which OpenSSH comes to a machine")
                .hint("the program that drives the run has to say it")
        })?;
        let id = self.0.locate(&cx.into(), &args.machine, args.group.as_deref()).await?.id;
        let name = args.name.as_deref().unwrap_or(id.name());
        let entry = ConfigEntry {
            name,
            machine: &id,
            user: &args.user,
            port: args.port.unwrap_or(PORT),
            key: args.key.as_deref(),
            known_hosts: self.0.known_hosts.file(),
            proxy,
        };
        if !entry.is_sound() {
            return Err(Error::invalid(format!(
                "`{name}` and `{}` cannot stand in OpenSSH's file",
                args.user
            ))
            .hint("a name has letters, digits, `-`, `_`, `.` and `@`; nothing has quotes or line breaks"));
        }
        let file = cx.file(&args.path)?;
        let failed = |e| Error::rejected(format!("`{}` cannot be written here", args.path)).because(e);
        if file.look().map_err(failed)?.is_some() && args.overwrite != Some(true) {
            let text = file.read(LARGEST).map_err(failed)?;
            if !is_ours(&String::from_utf8_lossy(&text)) {
                return Err(Error::rejected(format!("`{}` is there already, and not from here", args.path))
                    .hint("name another file, or replace it with #{ overwrite: true }"));
            }
        }
        file.replace(entry.to_string().as_bytes()).map_err(failed)?;
        Ok(Outcome::done(Written { path: args.path.clone(), name: name.to_owned(), id: id.clone() }))
    }
}

/// Returns whether nobody added anything to a file of ours.
fn is_ours(text: &str) -> bool {
    text.lines().all(|line| line.split_whitespace().next().is_none_or(|word| OURS.contains(&word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.HybridCompute/machines/DB-01";

    #[test]
    fn an_entry_is_what_openssh_reads() {
        let machine = ResourceId::parse(ID).unwrap();
        let entry = ConfigEntry {
            name: "db",
            machine: &machine,
            user: "DOM\\ada x",
            port: 2222,
            key: Some("/home/ada/50%/id"),
            known_hosts: Some(Path::new("/state/known hosts")),
            proxy: "/usr/bin/relight proxy",
        };
        let text = entry.to_string();
        assert_eq!(
            text,
            format!(
                "Host db\n    HostName {ID}\n    Port 2222\n    User \"DOM\\ada x\"\n    HostKeyAlias {}:2222\n    \
                 UserKnownHostsFile \"/state/known hosts\"\n    IdentityFile /home/ada/50%%/id\n    \
                 ProxyCommand /usr/bin/relight proxy %h %p\n",
                ID.to_lowercase()
            )
        );
        assert!(entry.is_sound() && is_ours(&text) && is_ours(""));
        assert!(!is_ours(&format!("{text}    ForwardAgent yes\n")) && !is_ours("# mine"));
        for (name, user) in
            [("a b", "me"), ("*", "me"), ("", "me"), ("a\nHost *", "me"), ("a", "me\nx"), ("a", "m\"e")]
        {
            assert!(!ConfigEntry { name, user, ..entry.clone() }.is_sound(), "{name} {user}");
        }
    }
}
