//! `ssh::forward`: a port of this machine that leads to a port that a machine can reach, for the rest of the run.

use std::sync::Arc;

use relight_engine::{Attached, Handle, Reopen};
use tokio::io::{AsyncRead, AsyncWrite};

use super::line::Line;
use crate::net::carrier::{self, Carrier, Far};
use crate::net::forward::Forwarding;
use crate::prelude::*;

/// Opens a port of this machine, on the loopback address alone, that leads through a session to a port as the machine sees it,
/// until the run is over or put away. Nobody listening there is found before the port is opened.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Session that `ssh::connect` opened.
    session: Handle,
    /// Port, such as 3389 for Remote Desktop.
    port: u16,
    /// Host as the machine knows it; the machine itself when left out.
    #[serde(default)]
    host: Option<String>,
    /// Port of this machine; a free one when left out.
    #[serde(default)]
    local_port: Option<u16>,
}

/// `ssh::forward`.
pub(crate) struct Forward;

/// A port that a machine can reach.
#[derive(Clone)]
pub struct Behind {
    /// The way to the machine.
    pub line: Arc<Line>,
    /// What people call the machine.
    pub machine: String,
    /// The host, as the machine knows it.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// A stream of bytes, whatever it is.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytes for S {}

impl Far for Behind {
    type Stream = Box<dyn Bytes>;

    fn name(&self) -> String {
        format!("{}:{} behind {}", self.host, self.port, self.machine)
    }

    async fn dial(&self) -> Result<Box<dyn Bytes>> {
        let stream = self.line.session().await?.dial(&self.host, self.port).await?;
        Ok(Box::new(stream))
    }
}

impl Attached for Forward {
    type Args = Args;
    type Recipe = Forwarding;
    type Live = Carrier;

    const NAME: &'static str = "ssh::forward";
    const SUMMARY: &'static str =
        "Opens a port of this machine that leads to one that a machine can reach, for the rest of the run.";
    const EFFECTS: &'static [Effect] = &[Effect::Ssh, Effect::NetForward];
    const REOPEN: Reopen = Reopen::WithRun;
    const CODES: &'static [ErrorCode] = &[ErrorCode::OFF];

    fn examples() -> Vec<Example> {
        let script = r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create(app);
            arc::service_configure(app);
            ssh::trust(app, [ssh::host_key(app).key]);
            let session = ssh::connect(app, "azureuser", #{ password: secret("env:APP_PASSWORD") });
            let forward = ssh::forward(session, 22);
            net::read(forward.address, forward.port, #{ up_to: "SSH-2.0-" }).ended
        "#;
        vec![Example::new("Reach a port of a machine from here.", script).on("edge").gives(json!("found"))]
    }

    async fn open(&self, cx: &Cx, args: &Args, again: Option<&Forwarding>) -> Result<(Forwarding, Carrier)> {
        let line = cx.live::<Line>(&args.session).await?;
        let machine = line.session().await?.machine().to_owned();
        let host = args.host.clone().unwrap_or_else(|| "localhost".to_owned());
        let far = Behind { line, machine, host, port: args.port };
        // Who connects later would only see a connection that ends.
        drop(far.dial().await?);
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
