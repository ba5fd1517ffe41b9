//! `relight proxy`: the bytes of SSH to a machine without a public address, for OpenSSH's own tools.

use std::time::Duration;

use clap::Args;
use relight_engine::{Error, ErrorCode, Result as EngineResult};
use relight_stdlib::Azure;
use relight_stdlib::azure::{Origin, ResourceId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

/// How much is carried at a time.
const PIECE: usize = 64 * 1024;

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

    /// How long to wait for the machine's agent to listen, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

impl Proxy {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let azure = Home::find(global)?.reach().await?;
        let machine = named(&azure, &self.machine)?;
        let (origin, within) = (Origin::outside_runs(), Duration::from_secs(self.wait));
        let waiting = |why: &Error| tracing::info!("{why}; trying again");
        let connected = azure.connect_through_arc(&origin, &machine, self.port, within, waiting).await;
        let mut tunnel =
            connected.map_err(|error| match error.error_code() == Some(&ErrorCode::NOT_FOUND) {
                true => error.hint(format!("relight run enable-arc-ssh machine={}", machine.name())),
                false => error,
            })?;
        let (mut near, mut out) = (tokio::io::stdin(), tokio::io::stdout());
        let (mut received, mut sent) = (vec![0; PIECE], vec![0; PIECE]);
        let mut is_open = true;
        loop {
            tokio::select! {
                count = tunnel.read(&mut received) => match count {
                    Ok(count @ 1..) => {
                        // Whoever reads this may be gone, and then there is nothing left to do.
                        if out.write_all(&received[..count]).await.is_err() || out.flush().await.is_err() {
                            return Ok(Exit::Done);
                        }
                    }
                    _ => break,
                },
                count = near.read(&mut sent), if is_open => match count {
                    Ok(count @ 1..) => {
                        if tunnel.write_all(&sent[..count]).await.is_err() {
                            break;
                        }
                    }
                    _ => {
                        is_open = false;
                        let _ = tunnel.shutdown().await;
                    }
                },
            }
        }
        match tunnel.lost() {
            None => Ok(Exit::Done),
            Some(why) => {
                terminal::say(format!("the connection to `{}` broke off: {why}", machine.name()));
                Ok(Exit::Failed)
            }
        }
    }
}

/// Returns the resource id of a machine.
fn named(azure: &Azure, text: &str) -> EngineResult<ResourceId> {
    if text.starts_with('/') {
        return ResourceId::parse(text);
    }
    let (Some(subscription), Some(group)) = (&azure.subscription, &azure.group) else {
        return Err(Error::invalid(format!("where is the machine `{text}`?"))
            .hint("give its resource id, or set AZURE_SUBSCRIPTION_ID and AZURE_DEFAULTS_GROUP"));
    };
    ResourceId::parse(&format!(
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.HybridCompute/machines/{text}"
    ))
}
