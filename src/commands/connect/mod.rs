//! `relight connect`: a shell, or a command, on a machine without a public address.

mod config;
mod forward;
mod keys;
mod login;
mod terminal;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use relight_engine::clock::SystemClock;
use relight_engine::{Error, ErrorKind, Result as EngineResult};
use relight_stdlib::azure::{Origin, ResourceId};
use relight_stdlib::relay::Target;
use relight_stdlib::road::Connection;
use relight_stdlib::ssh::{By, Ended, HOST_KEY_UNKNOWN, HostName, Line, Session, Trust, fingerprint};
use relight_stdlib::{Azure, Ref};

use super::machine::{advised, named};
use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::setup::Home;
use crate::{platform, terminal as screen};
use forward::Forward;

/// What OpenSSH ends with when it could not run what it was asked to.
const NOT_RUN: Exit = Exit::OnMachine(255);

const EXAMPLES: &str = "\
Examples:
  relight connect azureuser@app-01
  relight connect app-01 --entra
  relight connect azureuser@app-01 -- systemctl status nginx
  relight connect administrator@db-01 --rdp
  relight connect azureuser@app-01 -N -L 5432:localhost:5432
  relight connect azureuser@app-01 --print-config >> ~/.ssh/config

A shell is left as in OpenSSH: `exit`, or Enter ~ . when it does not answer.
Ends with the exit code of what ran there, or with 255.";

/// Sign in on a machine through Azure Arc, for a shell or one command
///
/// No address, no open port and no other program is needed; with OpenSSH's own, see `relight proxy`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Connect {
    /// Machine, such as `azureuser@app-01`: its name in the configured resource group, or its resource id
    #[arg(value_name = "[USER@]MACHINE")]
    machine: String,

    /// Command to run there instead of a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,

    /// Resource group of the machine
    #[arg(short, long, value_name = "NAME")]
    group: Option<String>,

    /// Private key to sign in by; those of the SSH agent and of ~/.ssh are tried without being named
    #[arg(short, long, value_name = "FILE")]
    identity: Vec<PathBuf>,

    /// Where the password is kept: env:NAME, file:PATH, keyring:SERVICE/NAME or keyvault:VAULT/NAME
    #[arg(long, value_name = "SECRET")]
    password: Option<String>,

    /// Sign in as you are signed in to Azure, by an SSH certificate of Entra ID; Linux machines only
    #[arg(long, conflicts_with_all = ["identity", "password"])]
    entra: bool,

    /// Port of the SSH server on the machine
    #[arg(short, long, default_value_t = 22)]
    port: u16,

    /// Reach a virtual machine in Azure at its private addresses alone, such as over a VPN
    #[arg(long)]
    private: bool,

    /// Open a port of this machine that leads to one that the machine can reach, as in OpenSSH
    #[arg(short = 'L', long, value_name = "[PORT:]HOST:PORT")]
    forward: Vec<Forward>,

    /// Run nothing: hold what is forwarded open until Ctrl-C
    #[arg(short = 'N', long, conflicts_with_all = ["command", "terminal"])]
    no_command: bool,

    /// Open the machine's desktop, with the viewer that is here, by Remote Desktop through SSH
    #[arg(long, conflicts_with_all = ["command", "terminal", "no_command"])]
    rdp: bool,

    /// Port of Remote Desktop on the machine
    #[arg(long, value_name = "PORT", default_value_t = 3389, requires = "rdp")]
    rdp_port: u16,

    /// Print the address for a viewer of your own, and hold it open until Ctrl-C
    #[arg(long, requires = "rdp")]
    no_viewer: bool,

    /// Give the command a terminal, as a shell has one
    #[arg(short, long)]
    terminal: bool,

    /// How long to wait for the machine's agent to listen, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,

    /// Print what lets `ssh`, `scp`, `rsync` and others do the same, for ~/.ssh/config
    #[arg(long)]
    print_config: bool,
}

impl Connect {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let azure = home.reach().await?;
        // What is advised later must be right without the option, too.
        let there = Azure { group: self.group.clone().or(azure.group.clone()), ..azure.clone() };
        let (user, machine) = match self.machine.rsplit_once('@') {
            Some((user, machine)) if !user.is_empty() => (Some(user.to_owned()), machine),
            _ => (None, self.machine.as_str()),
        };
        let machine = match self.entra {
            true => there.locate(&Origin::outside_runs(), &Ref::parse(machine)?, None).await?.for_entra()?,
            false => named(&there, machine).await?,
        };
        if self.print_config {
            let entry = config::Entry {
                azure: &azure,
                machine: &machine,
                port: self.port,
                private: self.private,
                home: &home,
            };
            return match self.entra {
                true => entry.print_for_entra(user).await,
                false => entry.print(&user.unwrap_or_else(platform::user)),
            };
        }
        match self.carry(azure, machine, user, home.same_place()).await {
            // What was asked for is what failed to run, as with OpenSSH.
            Err(Failure::Error(error)) => {
                screen::complain(&error);
                Ok(NOT_RUN)
            }
            other => other,
        }
    }

    /// Signs in and does what was asked for.
    async fn carry(self, azure: Azure, machine: ResourceId, user: Option<String>, place: String) -> Result {
        let by = login::of(&self, &azure, user.as_deref(), &machine).await?;
        let way = Arc::new(Way { azure, machine, by, place, connect: self });
        let line = way.open().await?;
        way.carry(&Arc::new(line)).await
    }
}

/// How a machine is reached.
struct Way {
    azure: Azure,
    machine: ResourceId,
    by: By,
    /// What must follow a command to mean the same place.
    place: String,
    connect: Connect,
}

impl Way {
    /// Opens a line to the machine. A person may be asked whether it is the one that is meant, and for a password.
    async fn open(self: &Arc<Self>) -> EngineResult<Line> {
        let known = &self.azure.known_hosts;
        let host = HostName::of(&self.machine, self.connect.port);
        if known.keys(&host)?.is_empty() {
            self.get_to_know(&host).await?;
        }
        let (way, trust) = (self.clone(), Trust::Known(known.clone(), host));
        Line::open(move || {
            let (way, trust) = (way.clone(), trust.clone());
            Box::pin(async move {
                let login = way.by.login(&way.azure.arm).await?;
                let opened = Session::open(way.tunnel().await?, way.machine.name(), &login, trust).await;
                opened.map_err(|error| way.prepared(error))
            })
        })
        .await
    }

    /// Does what was asked for, until it ends.
    async fn carry(&self, line: &Arc<Line>) -> Result {
        let _forwards = forward::open(line, &self.machine, &self.connect.forward).await?;
        let exit = match (&self.connect.command.join(" "), self.connect.rdp) {
            (_, true) => {
                let user = self.by.login(&self.azure.arm).await?.user;
                let viewer = self.azure.here.viewer.as_ref().filter(|_| !self.connect.no_viewer);
                let viewer = viewer.map(|viewer| (viewer, user.as_str()));
                forward::desktop(line, &self.machine, self.connect.rdp_port, viewer).await
            }
            _ if self.connect.no_command => Ok(forward::hold().await),
            (command, _) => {
                let session = line.session().await?;
                let ended = match (command.is_empty(), self.connect.terminal) {
                    (true, _) => terminal::carry(&session, None).await?,
                    (false, true) => terminal::carry(&session, Some(command)).await?,
                    (false, false) => keys::carry(session.start(command).await?).await,
                };
                self.ended(&session, &ended)
            }
        };
        line.close().await;
        exit
    }

    /// Adds to a machine's refusal what prepares a machine for Entra ID.
    fn prepared(&self, error: Error) -> Error {
        match &self.by {
            By::Entra { .. } if error.kind() == ErrorKind::Denied => {
                error.hint(format!("relight run enable-entra-ssh machine={}{}", self.machine, self.place))
            }
            _ => error,
        }
    }

    fn ended(&self, session: &Session, ended: &Ended) -> Result {
        match (ended.code, &ended.signal) {
            (Some(code), _) => Ok(Exit::OnMachine(u8::try_from(code).unwrap_or(u8::MAX))),
            (None, Some(signal)) => {
                screen::say(format!("ended by SIG{signal} on `{}`", self.machine.name()));
                Ok(NOT_RUN)
            }
            (None, None) => Err(session.cut_off().into()),
        }
    }

    async fn tunnel(&self) -> EngineResult<Connection> {
        let to = Target {
            origin: &Origin::outside_runs(),
            machine: &self.machine,
            port: self.connect.port,
            within: Duration::from_secs(self.connect.wait),
            private: self.connect.private,
            clock: &SystemClock,
        };
        let waiting = |why: &Error| screen::say(format!("{}; trying again", why.message()));
        let connected = self.azure.connect_to(&to, waiting).await;
        match connected {
            Ok(tunnel) => Ok(tunnel),
            Err(error) => Err(advised(&self.azure, error, &self.machine, &self.place).await),
        }
    }

    /// Asks a person about a machine that nobody knows yet.
    async fn get_to_know(&self, host: &HostName) -> EngineResult<()> {
        let (known, name) = (&self.azure.known_hosts, self.machine.name());
        let key = Session::look_at_host_key(self.tunnel().await?, name, &[]).await?;
        let shown = format!("{} ({})", fingerprint(&key), key.algorithm());
        let refused = || {
            Error::rejected(format!("the host key of `{name}` is not known: {shown}"))
                .code(HOST_KEY_UNKNOWN)
                .hint(format!("relight run verify-host-keys machine={}{}", self.machine, self.place))
        };
        if !screen::can_ask() {
            return Err(refused());
        }
        screen::say(format!("Nobody has said yet by which host key `{name}` is known. It shows {shown}."));
        screen::say("The machine itself says which it has, on another way, by:");
        screen::say(format!("relight run verify-host-keys machine={}{}", self.machine, self.place));
        let asked = tokio::task::spawn_blocking(|| {
            screen::prompt("Is it this one? [yes/no]");
            screen::read_line()
        });
        match asked.await.ok().flatten().as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("yes" | "y") => known.trust(host, &[key]),
            _ => Err(refused()),
        }
    }
}
