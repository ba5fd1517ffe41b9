//! `net::forward`: a port of this machine that leads to a port of a host, for the rest of the run.

use relight_engine::{Attached, Reopen};
use tokio::net::TcpStream;

use super::carrier::{self, Carrier, Far};
use super::{ATTEMPT, Dialer};
use crate::prelude::*;

/// Opens a port of this machine, on the loopback address alone, and passes every connection on to a port of a host, until
/// the run is over or put away. A run that goes on elsewhere opens the same port there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Address or name of the host.
    address: String,
    /// Port of the host.
    port: u16,
    /// Port of this machine; a free one when left out.
    #[serde(default)]
    local_port: Option<u16>,
}

/// An open forward.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Forwarding {
    /// Address of this machine to connect to.
    pub(crate) address: String,
    /// Port of this machine to connect to.
    pub(crate) port: u16,
    /// Where connections lead.
    pub(crate) to: String,
}

/// `net::forward`.
pub(crate) struct Forward(pub(crate) Dialer);

/// A port of a host.
struct Host {
    dial: Dialer,
    address: String,
    port: u16,
}

impl Far for Host {
    type Stream = TcpStream;

    fn name(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    async fn dial(&self) -> Result<TcpStream> {
        let stream = self.dial.dial(&self.address, self.port, ATTEMPT).await;
        let stream = stream.map_err(|e| Error::rejected(e.to_string()))?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Attached for Forward {
    type Args = Args;
    type Recipe = Forwarding;
    type Live = Carrier;

    const NAME: &'static str = "net::forward";
    const SUMMARY: &'static str =
        "Opens a port of this machine that leads to a port of a host, for the rest of the run.";
    const EFFECTS: &'static [Effect] = &[Effect::NetForward];
    const REOPEN: Reopen = Reopen::WithRun;

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Reach the console of a VM from this machine.",
                r#"let console = vmconnect::enable("web-01");
                   let forward = net::forward(console.addresses[1], console.port);
                   net::tcp_probe(forward.address, forward.port).open"#,
            )
            .on("edge")
            .gives(json!(true)),
        ]
    }

    async fn open(&self, cx: &Cx, args: &Args, again: Option<&Forwarding>) -> Result<(Forwarding, Carrier)> {
        let far = Host { dial: self.0.clone(), address: args.address.clone(), port: args.port };
        let to = far.name();
        let wanted = again.map(|recipe| recipe.port).or(args.local_port).unwrap_or_default();
        let carrier = carrier::for_step(cx, wanted, far).await?;
        let recipe = Forwarding { address: carrier.at().ip().to_string(), port: carrier.at().port(), to };
        Ok((recipe, carrier))
    }

    async fn close(&self, _: &Cx, carrier: &Carrier) {
        carrier.close().await;
    }
}
