//! `net::wait_for_port`: waits until a port answers.

use super::{ATTEMPT, Dialer, Waiting, wait_on};
use crate::prelude::*;

/// Waits until a port answers, from the machine that drives the run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Address or name of the host.
    address: String,
    /// Port.
    port: u16,
    /// How long to wait; 5 minutes when left out.
    #[serde(default)]
    wait: Option<Span>,
}

/// `net::wait_for_port`.
pub(crate) struct WaitForPort(pub(crate) Dialer);

/// How long to wait unless told.
const WAIT: Duration = Duration::from_secs(300);

impl Operation for WaitForPort {
    type Args = Args;
    type Output = bool;

    const NAME: &'static str = "net::wait_for_port";
    const SUMMARY: &'static str = "Waits until a port answers, and fails when it never does.";
    const EFFECTS: &'static [Effect] = &[Effect::NetProbe];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::TIMED_OUT];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "A port that never answers is an error that a script can catch.",
                r#"let kind = "open";
                   try { net::wait_for_port("127.0.0.1", 1, #{ wait: "10s" }); } catch (e) { kind = e.kind; } kind"#,
            )
            .on("edge")
            .gives(json!("rejected")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<bool>> {
        self.look(cx, args, cx.after(args.wait.map_or(WAIT, Span::get))).await
    }

    async fn resume(&self, cx: &Cx, args: &Args, at: &Value) -> Result<Outcome<bool>> {
        let Waiting { until } = restored(Self::NAME, at)?;
        self.look(cx, args, until).await
    }
}

impl WaitForPort {
    async fn look(&self, cx: &Cx, args: &Args, until: Timestamp) -> Result<Outcome<bool>> {
        let Err(error) = self.0.dial(&args.address, args.port, ATTEMPT).await else {
            return Ok(Outcome::done(true));
        };
        let said = format!("{}:{} does not answer yet ({error})", args.address, args.port);
        wait_on(cx, until, &said, || {
            Error::rejected(format!("{}:{} did not answer", args.address, args.port))
                .code(ErrorCode::TIMED_OUT)
                .because(error)
                .hint("check the address, the firewall and the VPN")
        })
    }
}
