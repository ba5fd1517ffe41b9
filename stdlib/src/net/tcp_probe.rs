//! `net::tcp_probe`: tries once to connect to a port.

use std::time::Instant;

use super::{ATTEMPT, Dialer};
use crate::prelude::*;

/// Tries once to connect to a port, from the machine that drives the run. Sends nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Address or name of the host.
    address: String,
    /// Port.
    port: u16,
    /// How long to try; 3 seconds when left out.
    #[serde(default)]
    timeout: Option<Span>,
}

/// What came of an attempt to connect.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Probed {
    /// Address or name that was tried.
    address: String,
    /// Port that was tried.
    port: u16,
    /// Whether somebody answered.
    open: bool,
    /// Why not, when nobody did.
    reason: Option<String>,
    /// How long it took, in milliseconds.
    took_ms: u64,
}

/// `net::tcp_probe`.
pub(crate) struct TcpProbe(pub(crate) Dialer);

impl Operation for TcpProbe {
    type Args = Args;
    type Output = Probed;

    const NAME: &'static str = "net::tcp_probe";
    const SUMMARY: &'static str = "Tries once to connect to a port.";
    const EFFECTS: &'static [Effect] = &[Effect::NetProbe];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Nobody listens on port 1.",
                r#"net::tcp_probe("127.0.0.1", 1, #{ timeout: "1s" }).open"#,
            )
            .on("edge")
            .gives(json!(false)),
        ]
    }

    async fn begin(&self, _cx: &Cx, args: &Args) -> Result<Outcome<Probed>> {
        let began = Instant::now();
        let limit = args.timeout.map_or(ATTEMPT, Span::get);
        let answer = self.0.dial(&args.address, args.port, limit).await;
        Ok(Outcome::done(Probed {
            address: args.address.clone(),
            port: args.port,
            open: answer.is_ok(),
            reason: answer.err().map(|e| crate::azure::wire::shortened(&e.to_string(), 200)),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))
    }
}
