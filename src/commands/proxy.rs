//! `relight proxy`: the bytes of SSH to a machine without a public address, for OpenSSH's own tools.

use std::time::Duration;

use clap::Args;
use relight_engine::Error;
use relight_engine::clock::SystemClock;
use relight_stdlib::azure::Origin;
use relight_stdlib::relay::Target;
use relight_stdlib::road::Connection;
use tokio::io::{AsyncWriteExt, copy};

use super::machine::{advised, named};
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::terminal;

/// What a person writes into `~/.ssh/config`.
const EXAMPLE: &str = "\
In ~/.ssh/config, for a machine of the configured resource group:
  Host web-01
    ProxyCommand relight proxy %h %p
For any other, its resource id is the HostName";

/// Carry SSH to a machine through Azure Arc, as OpenSSH's ProxyCommand
///
/// Standard input goes to the machine's port, and what comes back to standard output. Credentials are asked for with
/// every connection, so that an entry in ~/.ssh/config never expires.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct Proxy {
    /// Resource id of the Arc machine, or its name in the configured resource group
    machine: String,

    /// Port on the machine
    #[arg(default_value_t = 22)]
    port: u16,

    /// Reach a virtual machine in Azure at its private addresses alone, such as over a VPN
    #[arg(long)]
    private: bool,

    /// How long to wait for the machine's agent to listen, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

impl Proxy {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let (azure, place) = (home.reach().await?, home.same_place());
        let machine = named(&azure, &self.machine).await?;
        let to = Target {
            origin: &Origin::outside_runs(),
            machine: &machine,
            port: self.port,
            within: Duration::from_secs(self.wait),
            private: self.private,
            clock: &SystemClock,
        };
        let waiting = |why: &Error| tracing::info!("{why}; trying again");
        let connected = azure.connect_to(&to, waiting).await;
        let mut tunnel = match connected {
            Ok(tunnel) => tunnel,
            Err(error) => return Err(advised(&azure, error, &machine, &place).await.into()),
        };
        carry(&mut tunnel).await;
        match tunnel.lost() {
            None => Ok(Exit::Done),
            Some(why) => {
                terminal::say(format!("the connection to `{}` broke off: {why}", machine.name()));
                Ok(Exit::Failed)
            }
        }
    }
}

/// Carries bytes both ways, each as fast as it goes, until the machine has said its last word or nobody listens.
async fn carry(tunnel: &mut Connection) {
    let (mut received, mut sent) = tokio::io::split(tunnel);
    let there = async {
        let _ = copy(&mut tokio::io::stdin(), &mut sent).await;
        let _ = sent.shutdown().await;
        std::future::pending().await
    };
    tokio::select! {
        _ = async { copy(&mut received, &mut tokio::io::stdout()).await } => {}
        () = there => {}
    }
}
